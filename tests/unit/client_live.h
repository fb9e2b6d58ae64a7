// SPDX-License-Identifier: Apache-2.0
// A real broker for tests of the client: this build's weir-broker, or, with WEIR_TEST_BROKERS set,
// any other (Apache Kafka, for one), where tests that kill the broker are skipped.
//
// Nothing waits for ever: loops have a patience, which says what they waited for, and whatever a
// test starts is killed by the system when the test ends, however it does.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clients/c/weir.h"

enum { WAIT_MS = 60000, TOPIC_SIZE = 64 };

struct live {
    pid_t broker;        // 0: not ours
    int reservation;     // of its port
    const char *setting; // of the broker, "name=value"; or NULL
    char directory[64];
    char brokers[256];
    char topic[TOPIC_SIZE];
    struct weir_client *client;
};

// A file of the build, relative to the tests' directory.
static inline const char *build_path(const char *name)
{
    static char path[PATH_MAX + 64];
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    cr_assert(size > 0);
    self[size] = '\0';
    snprintf(path, sizeof(path), "%s/../%s", dirname(self), name);
    return path;
}

// What a loop waits for, and until when.
struct patience {
    const char *what;
    int64_t until_ms;
};

static inline int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline struct patience patience(const char *what)
{
    return (struct patience){what, clock_ms() + WAIT_MS};
}

static inline bool patience_is_over(const struct patience *patience)
{
    return clock_ms() > patience->until_ms;
}

static inline void patience_check(const struct patience *patience)
{
    cr_assert(!patience_is_over(patience), "waited %d s for %s", WAIT_MS / 1000, patience->what);
}

// In a process just forked: it does not outlive the test, and does not hold its output open.
static inline void child_bind(pid_t parent, int output, int errors)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
}

static inline void log_name(const struct live *live, char *name, size_t size)
{
    snprintf(name, size, "%s.log", live->directory);
}

// The last line that says where the broker is ready.
static inline bool broker_ready(struct live *live, long from)
{
    char name[80], line[1024];
    bool ready = false;
    log_name(live, name, sizeof(name));
    FILE *log = fopen(name, "r");
    cr_assert_not_null(log);
    fseek(log, from, SEEK_SET);
    while (fgets(line, sizeof(line), log)) {
        const char *at = strstr(line, "ready on ");
        ready |= strchr(line, '\n') && at && sscanf(at, "ready on %255[^, ]", live->brokers) == 1;
    }
    fclose(log);
    return ready;
}

// Starts weir-broker on `listen` and waits until it is ready. What it says goes to a file beside
// its data.
static inline void broker_start(struct live *live, const char *listen)
{
    const char *binary = build_path("broker/weir-broker");
    pid_t self = getpid();
    char name[80];
    log_name(live, name, sizeof(name));
    int log = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    cr_assert(log >= 0 && null >= 0);
    long from = lseek(log, 0, SEEK_END);
    live->broker = fork();
    if (live->broker == 0) {
        child_bind(self, null, log);
        // Pauses of seconds would only make the tests longer.
        execl(binary, binary, "--data-dir", live->directory, "--listen", listen, "--set",
              "group.initial.rebalance.delay.ms=100", "--set",
              "group.consumer.min.heartbeat.interval.ms=300", "--set",
              "group.consumer.heartbeat.interval.ms=300", live->setting ? "--set" : NULL,
              live->setting, (char *)NULL);
        _exit(127);
    }
    close(log);
    close(null);
    struct patience start = patience("weir-broker to get ready");
    while (!broker_ready(live, from)) {
        cr_assert_eq(waitpid(live->broker, NULL, WNOHANG), 0, "weir-broker ended: see %s", name);
        patience_check(&start);
        usleep(5000);
    }
}

// A port that stays ours while the broker is away: another test's could be given it. A socket that
// is bound and does not listen is not in the way of one that does, with SO_REUSEADDR.
static inline void port_reserve(struct live *live, char *listen, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_size = sizeof(address);
    int on = 1;
    live->reservation = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(live->reservation, 0);
    cr_assert_eq(setsockopt(live->reservation, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    cr_assert_eq(bind(live->reservation, (struct sockaddr *)&address, address_size), 0);
    cr_assert_eq(getsockname(live->reservation, (struct sockaddr *)&address, &address_size), 0);
    snprintf(listen, size, "127.0.0.1:%d", ntohs(address.sin_port));
}

// Asks a process to end, and expects that it does so in good order.
static inline void child_stop(pid_t child, const char *what)
{
    int status;
    pid_t ended;
    kill(child, SIGTERM);
    for (struct patience end = patience(what); !(ended = waitpid(child, &status, WNOHANG));) {
        patience_check(&end);
        usleep(2000);
    }
    cr_assert_eq(ended, child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %d", what, status);
}

// With a broker that has a setting of its own; skipped where the broker is not ours.
static inline struct live *live_new_with(const char *setting)
{
    struct live *live = calloc(1, sizeof(*live));
    live->setting = setting;
    if (setting && getenv("WEIR_TEST_BROKERS"))
        cr_skip_test("the broker is not ours to configure");
    const char *brokers = getenv("WEIR_TEST_BROKERS");
    if (brokers) {
        snprintf(live->brokers, sizeof(live->brokers), "%s", brokers);
    } else {
        if (access(build_path("broker/weir-broker"), X_OK) != 0)
            cr_skip_test("weir-broker is not built");
        snprintf(live->directory, sizeof(live->directory), "/tmp/weir-client-XXXXXX");
        cr_assert_not_null(mkdtemp(live->directory));
        char listen[32];
        port_reserve(live, listen, sizeof(listen));
        broker_start(live, listen);
    }
    snprintf(live->topic, sizeof(live->topic), "live-%d-%ld", (int)getpid(), (long)time(NULL));
    live->client = weir_client_new(live->brokers, NULL);
    return live;
}

static inline struct live *live_new(void)
{
    return live_new_with(NULL);
}

static inline void live_free(struct live *live)
{
    weir_client_free(live->client);
    if (live->broker) {
        child_stop(live->broker, "weir-broker to stop");
        char command[192];
        snprintf(command, sizeof(command), "rm -rf '%s' '%s.log'", live->directory,
                 live->directory);
        cr_assert_eq(system(command), 0);
        close(live->reservation);
    }
    free(live);
}

#define OK(live, call) cr_assert_eq((call), WEIR_OK, "%s", weir_last_error((live)->client))

static inline void topic_create(struct live *live, const char *name, int32_t partitions)
{
    struct weir_new_topic topic = {.name = name, .partitions = partitions};
    OK(live, weir_create_topic(live->client, &topic, WAIT_MS));
    // Some brokers know of a topic before it is everywhere.
    bool led = false;
    for (struct patience leading = patience("the topic to be led"); !led;
         patience_check(&leading)) {
        struct weir_topic_list *list;
        OK(live, weir_describe_topics(live->client, &name, 1, &list, WAIT_MS));
        const struct weir_topic *found = &list->topics[0];
        led = !found->error && found->partition_count == (size_t)partitions;
        for (size_t i = 0; i < found->partition_count; i++)
            led &= found->partitions[i].leader >= 0;
        weir_topic_list_free(list);
        if (!led)
            weir_poll(live->client, 20);
    }
}
