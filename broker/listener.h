// SPDX-License-Identifier: Apache-2.0
// A shard's connections: accepting, bounds over all of them, idle ones, the end.
#pragma once

#include "base/list.h"
#include "base/timer.h"
#include "storage/io.h"

struct connection;
struct shard;

struct listener {
    struct shard *shard;
    struct list connections; // the longest inactive first
    struct list dirty;       // connections to look at before the loop waits
    struct list paused;      // connections that wait for memory
    size_t request_bytes;    // in receive buffers and requests being worked on
    size_t request_bytes_limit;
    size_t request_bytes_max; // of one request
    size_t reply_bytes;       // in replies that were not sent yet
    size_t reply_bytes_limit;
    int64_t idle_ms; // -1: connections may be idle for ever
    // Private.
    struct io_op accept_op;
    bool accepting;
    bool accept_failing; // the line about that was written
    bool full;           // the line about too many connections was written
    struct timer accept_again;
    struct timer sweep;
    struct timer resume;       // memory may be there again
    struct timer give_up;      // at the end: clients that do not take their replies
    struct list idle_requests; // to be used again
    uint32_t idle_request_count;
    uint64_t complaint_second; // to which `complaints` belongs
    uint32_t complaints;
    uint32_t held_requests; // out of their connection's queue, but not yet free
    bool stopping;
    void (*drained)(struct shard *shard);
};

// 0 or -ENOMEM. Nothing is accepted yet.
int listener_create(struct shard *shard, struct listener **out);
void listener_destroy(struct listener *listener);

// Begins to accept from server->listen_fd.
void listener_start(struct listener *listener);

// Ends accepting and reading; what was read is finished and answered. `drained` is called from the
// loop when no connection is left; clients get a few seconds to take their replies.
void listener_stop(struct listener *listener, void (*drained)(struct shard *shard));

// Once per turn of the loop, before it waits: sends the replies that became ready, all of a
// connection together, and reads on.
void listener_advance(struct listener *listener);

// A connection has gone and is no longer in the list.
void listener_forget(struct listener *listener);

// Requests that live on after their connection has let them go: the end waits for them.
void listener_hold(struct listener *listener);
void listener_let_go(struct listener *listener);

// Whether requests use all the memory they may.
bool listener_is_full(const struct listener *listener);

// The connection is touched again when there may be memory.
void listener_pause(struct listener *listener, struct connection *connection);

// How many more bytes of replies the shard should have waiting for its clients.
size_t listener_reply_budget(const struct listener *listener);

// A line in the log about whose connection is closed and why, unless there were too many in this
// second.
void listener_complain(const struct connection *connection, const char *why, ...)
    __attribute__((format(printf, 2, 3)));
