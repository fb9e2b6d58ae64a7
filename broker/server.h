// SPDX-License-Identifier: Apache-2.0
// The process: the data directory, the shards' threads, signals, start and stop.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/directory.h"
#include "broker/shard.h"

struct config;

enum { SERVER_WHY_SIZE = 512 };

struct server {
    const struct config *config;
    struct shard **shards;
    uint32_t shard_count;
    int listen_fd;           // set before the first shard accepts
    uint16_t port;           // that is listened on, likewise
    atomic_uint connections; // of all shards, against max.connections
    atomic_uint groups;      // of all shards, against weir.max.groups
    atomic_uint unopened;    // partitions, of all shards, whose logs could not be opened
    atomic_bool unclosed;    // closing the logs of a shard has failed
    struct log_space space;  // whether the disk is full, for all stores
    struct directory directory;
    // Private to server.c from here on.
    pthread_t *threads;
    int stop_pipe[2];      // main thread -> shard 0
    pthread_mutex_t mutex; // for what follows
    pthread_cond_t met;
    uint32_t arrived;          // at the present meeting
    uint64_t meetings;         // that have ended
    int failure;               // the first error that any shard brought to a meeting
    char why[SERVER_WHY_SIZE]; // and its sentence
    int outcome;               // of the last meeting that has ended
    bool serving;
    uint32_t finished_threads;
};

// Runs a broker until a signal ends it. Returns the process's exit code: 0 after an orderly stop, 1
// when it could not start or not stop in order; the reason has then been printed as one line.
int server_run(const struct config *config);

// A shard's thread waits here for all others, and brings its outcome: 0, or a negative errno with a
// sentence. Returns what the meeting amounts to, the same for all: 0, or the first error. After an
// error the shards close what they have opened and return.
int server_meet(struct server *server, int error, const char *why);

// Shard 0, once everybody can serve: opens the listening socket and prints the line that says so.
// 0, or a negative errno with a sentence in `why`.
int server_listen(struct server *server, struct shard *shard, char *why, size_t why_size);

// The descriptor from which shard 0 receives a byte when the server is to stop.
int server_stop_descriptor(const struct server *server);
