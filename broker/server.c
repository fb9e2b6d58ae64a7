// SPDX-License-Identifier: Apache-2.0
// The process around the shards. The main thread prepares, starts one thread per shard and then
// only waits for signals:
//   SIGTERM, SIGINT   while serving: an orderly stop, begun by a byte to shard 0. A second one, or
//                     one before the broker serves, ends the process at once, which is as safe as
//                     a power failure: everything acknowledged is durable.
//   SIGUSR1           from the last shard's thread when it returns.
//
// Invariants: signals are blocked in all threads, so they only ever arrive in the main thread's
// sigwait. Shards meet in server_meet an equal number of times, whatever fails.
#include "broker/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log_line.h"
#include "broker/background.h"
#include "broker/config.h"
#include "broker/shard_life.h"

enum { LISTEN_TRIES = 50 };

static const uint64_t listen_pause_ns = 100000000;

int server_meet(struct server *server, int error, const char *why)
{
    pthread_mutex_lock(&server->mutex);
    if (error && !server->failure) {
        server->failure = error;
        snprintf(server->why, sizeof(server->why), "%s", why);
    }
    uint64_t meeting = server->meetings;
    if (++server->arrived == server->shard_count) {
        server->arrived = 0;
        server->meetings++;
        // Kept apart from `failure`, which a quick shard may set again before a slow one has left;
        // the next meeting cannot end before that.
        server->outcome = server->failure;
        pthread_cond_broadcast(&server->met);
    }
    while (meeting == server->meetings)
        pthread_cond_wait(&server->met, &server->mutex);
    int outcome = server->outcome;
    pthread_mutex_unlock(&server->mutex);
    return outcome;
}

// The kernel closes what a killed process's ring had open in the background, the listening socket
// too: the port of a broker that was killed a moment ago may still be taken.
static int listen_patiently(struct server *server, struct io *io)
{
    const struct config *config = server->config;
    for (int tries = 0;; tries++) {
        int fd = io_listen(io, config->listen_host, config->listen_port, &server->port);
        if (fd != -EADDRINUSE || tries == LISTEN_TRIES)
            return fd;
        // What else goes on in the ring ends io_run early.
        for (uint64_t until = io->now_ns + listen_pause_ns; io->now_ns < until;)
            io_run(io, until);
    }
}

int server_listen(struct server *server, struct shard *shard, char *why, size_t why_size)
{
    const struct config *config = server->config;
    int fd = listen_patiently(server, shard->io);
    if (fd < 0) {
        snprintf(why, why_size, "cannot listen on %s:%u: %s", config->listen_host,
                 config->listen_port, strerror(-fd));
        return fd;
    }
    server->listen_fd = fd;
    pthread_mutex_lock(&server->mutex);
    server->serving = true;
    pthread_mutex_unlock(&server->mutex);
    if (!server->directory.first_use && !server->directory.found_clean)
        log_line(LOG_INFO, "the last run did not end in order; its logs were checked");
    bool v6 = strchr(config->listen_host, ':') != NULL;
    log_line(LOG_INFO, "weir-broker ready on %s%s%s:%u, data %s, %u shard%s", v6 ? "[" : "",
             config->listen_host, v6 ? "]" : "", server->port, config->data_directory,
             server->shard_count, server->shard_count == 1 ? "" : "s");
    return 0;
}

int server_stop_descriptor(const struct server *server)
{
    return server->stop_pipe[0];
}

// --- threads ----------------------------------------------------------------------------------

static void *thread_main(void *argument)
{
    struct shard *shard = argument;
    struct server *server = shard->server;
    shard_run(shard);
    pthread_mutex_lock(&server->mutex);
    bool last = ++server->finished_threads == server->shard_count;
    pthread_mutex_unlock(&server->mutex);
    if (last)
        kill(getpid(), SIGUSR1);
    return NULL;
}

static void start_threads(struct server *server)
{
    for (uint32_t i = 0; i < server->shard_count; i++) {
        int error = pthread_create(&server->threads[i], NULL, thread_main, server->shards[i]);
        if (!error)
            continue;
        // Those that run already wait for this one; nothing has been written yet.
        fprintf(stderr, "weir-broker: cannot start a thread: %s\n", strerror(error));
        _exit(1);
    }
}

static void wait_for_end(struct server *server, const sigset_t *signals)
{
    bool stopping = false, finished = false;
    while (!finished) {
        int number = 0;
        if (sigwait(signals, &number) != 0)
            continue;
        pthread_mutex_lock(&server->mutex);
        finished = server->finished_threads == server->shard_count;
        bool serving = server->serving;
        pthread_mutex_unlock(&server->mutex);
        if (number == SIGUSR1 || finished)
            continue;
        if (stopping || !serving) {
            log_line(LOG_WARN, "ended at once by a signal");
            _exit(1);
        }
        stopping = true;
        log_line(LOG_INFO, "stopping: finishing what was accepted");
        if (write(server->stop_pipe[1], "s", 1) != 1)
            _exit(1);
    }
    for (uint32_t i = 0; i < server->shard_count; i++)
        pthread_join(server->threads[i], NULL);
}

// --- the server -------------------------------------------------------------------------------

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        // With fewer descriptors fewer connections are accepted; that is said when it happens.
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void free_server(struct server *server)
{
    for (uint32_t i = 0; server->shards && i < server->shard_count; i++) {
        if (server->shards[i]) {
            shard_life_destroy(server->shards[i]);
            background_destroy(server->shards[i]);
        }
        free(server->shards[i]);
    }
    free(server->shards);
    free(server->threads);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->stop_pipe[0] >= 0) {
        close(server->stop_pipe[0]);
        close(server->stop_pipe[1]);
    }
    pthread_mutex_destroy(&server->mutex);
    pthread_cond_destroy(&server->met);
    free(server);
}

static struct server *create_server(const struct config *config)
{
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return NULL;
    server->config = config;
    server->shard_count = config->shards;
    server->listen_fd = server->stop_pipe[0] = server->stop_pipe[1] = -1;
    pthread_mutex_init(&server->mutex, NULL);
    pthread_cond_init(&server->met, NULL);
    server->shards = calloc(server->shard_count, sizeof(struct shard *));
    server->threads = calloc(server->shard_count, sizeof(*server->threads));
    bool good = server->shards && server->threads &&
                socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, server->stop_pipe) == 0;
    for (uint32_t i = 0; good && i < server->shard_count; i++) {
        struct shard *shard = aligned_alloc(CACHE_LINE, sizeof(*shard));
        good = shard != NULL;
        if (!good)
            break;
        *shard = (struct shard){.index = i, .server = server, .config = config};
        server->shards[i] = shard;
        good = shard_life_create(shard) == 0 && background_create(shard) == 0;
    }
    if (good)
        return server;
    free_server(server);
    return NULL;
}

static int run_in_directory(struct server *server)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    start_threads(server);
    wait_for_end(server, &signals);
    // A start that has failed and was closed in order leaves things as it found them.
    bool was_clean = server->directory.found_clean && !server->unclosed;
    int error = 0;
    if (!server->failure || was_clean)
        error = directory_mark_clean(&server->directory);
    if (server->failure) {
        fprintf(stderr, "weir-broker: %s\n", server->why);
        return 1;
    }
    if (error)
        log_line(LOG_WARN, "cannot leave the mark of an orderly end: %s", strerror(-error));
    log_line(LOG_INFO, "stopped");
    return 0;
}

int server_run(const struct config *config)
{
    struct server *server = create_server(config);
    if (!server) {
        fprintf(stderr, "weir-broker: not enough memory to start\n");
        return 1;
    }
    int code = 1;
    if (directory_open(&server->directory, config->data_directory, server->why,
                       sizeof(server->why)) != 0) {
        fprintf(stderr, "weir-broker: %s\n", server->why);
    } else {
        code = run_in_directory(server);
        directory_close(&server->directory);
    }
    free_server(server);
    return code;
}
