// SPDX-License-Identifier: Apache-2.0
// A real broker for tests of the client: this build's weir-broker, or, with WEIR_TEST_BROKERS set,
// any other (Apache Kafka, for one), where tests that kill the broker are skipped.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clients/c/weir.h"

enum { WAIT_MS = 60000, TOPIC_SIZE = 64 };

struct live {
    pid_t broker; // 0: not ours
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

// Starts weir-broker on `listen` and waits for the line that says where it is ready.
static inline void broker_start(struct live *live, const char *listen)
{
    const char *binary = build_path("broker/weir-broker");
    int lines[2];
    cr_assert_eq(pipe(lines), 0);
    live->broker = fork();
    if (live->broker == 0) {
        dup2(lines[1], STDERR_FILENO);
        close(lines[0]);
        close(lines[1]);
        execl(binary, binary, "--data-dir", live->directory, "--listen", listen, (char *)NULL);
        _exit(127);
    }
    close(lines[1]);
    FILE *stream = fdopen(lines[0], "r");
    char line[1024];
    bool ready = false;
    while (!ready && fgets(line, sizeof(line), stream)) {
        char *at = strstr(line, "ready on ");
        ready = at && sscanf(at, "ready on %255[^, ]", live->brokers) == 1;
    }
    cr_assert(ready, "weir-broker did not get ready");
    // The pipe stays open, unread: the broker says little, and must not be killed by SIGPIPE.
}

static inline struct live *live_new(void)
{
    struct live *live = calloc(1, sizeof(*live));
    const char *brokers = getenv("WEIR_TEST_BROKERS");
    if (brokers) {
        snprintf(live->brokers, sizeof(live->brokers), "%s", brokers);
    } else {
        if (access(build_path("broker/weir-broker"), X_OK) != 0)
            cr_skip_test("weir-broker is not built");
        snprintf(live->directory, sizeof(live->directory), "/tmp/weir-client-XXXXXX");
        cr_assert_not_null(mkdtemp(live->directory));
        broker_start(live, "127.0.0.1:0");
    }
    snprintf(live->topic, sizeof(live->topic), "live-%d-%ld", (int)getpid(), (long)time(NULL));
    live->client = weir_client_new(live->brokers, NULL);
    return live;
}

static inline void live_free(struct live *live)
{
    weir_client_free(live->client);
    if (live->broker) {
        int status;
        kill(live->broker, SIGTERM);
        cr_assert_eq(waitpid(live->broker, &status, 0), live->broker);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the broker stopped with %d",
                  status);
        char command[128];
        snprintf(command, sizeof(command), "rm -rf '%s'", live->directory);
        cr_assert_eq(system(command), 0);
    }
    free(live);
}

#define OK(live, call) cr_assert_eq((call), WEIR_OK, "%s", weir_last_error((live)->client))

static inline void topic_create(struct live *live, const char *name, int32_t partitions)
{
    struct weir_new_topic topic = {.name = name, .partitions = partitions};
    OK(live, weir_create_topic(live->client, &topic, WAIT_MS));
}
