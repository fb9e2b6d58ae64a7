// SPDX-License-Identifier: Apache-2.0
// The simulated machine from the inside: shared by sim_io.c (order, time, faults), sim_disk.c (what
// operations do). Tests use sim_io.h.
#pragma once

#include "base/random.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_node.h"

enum {
    SIM_FIRST_FD = 1 << 20, // beyond any real one, so that mixing them up is an error
    SIM_KINDS = IO_SHUTDOWN + 1,
    SIM_BACKLOG = 16,
};

#define SIM_NEVER UINT64_MAX // when an operation is due that waits for a peer

struct sim_file {
    struct sim_node *node; // both NULL = closed
    struct sim_socket *socket;
    int flags;
};

struct sim_fault {
    uint64_t nth; // 0 = none
    int error;
    bool for_ever;
    bool struck;
};

// An operation that has not had its effect yet.
struct sim_pending {
    struct io_op *op;
    struct sim_port *port;
    uint64_t due_ns;
    uint64_t digest; // of the bytes to be written, when that was started
};

// One io: what one thread of the broker has.
struct sim_port {
    struct io io;
    struct sim *sim;
    struct list completed; // their `done` comes with the next io_run
    bool woken;
    bool running;
};

struct sim {
    struct random random;
    struct sim_pool pool;
    struct sim_node *root;
    struct sim_file *files;
    size_t file_count;
    struct sim_port *ports[SIM_PORTS];
    uint64_t now_ns;
    int64_t wall_ms;
    uint64_t usual_ns;           // how long the device takes, mostly
    uint64_t durable_ns;         // and how much longer for a durable write,
    uint64_t sync_ns;            // for a sync
    struct sim_pending *pending; // in no order
    size_t pending_count;
    size_t pending_room;
    struct sim_fault faults[SIM_KINDS];
    uint64_t capacity;
    uint64_t completed;
    uint64_t until_off; // operations; UINT64_MAX = never
    bool off;
    uint64_t steps;
    uint64_t steps_most;
    void (*over)(void *context);
    void *over_context;
    void (*trace)(void *context, const struct io_op *op);
    void *trace_context;
};

// --- sim_disk.c

struct sim_file *sim_file_of(const struct sim *sim, int fd);
struct sim_node *sim_node_at(const struct sim *sim, const char *path);
int64_t sim_perform(struct sim *sim, const struct io_op *op);
int64_t sim_do_close(struct sim *sim, const struct io_op *op);

// Takes the caller's reference of a node; or a socket.
int sim_new_fd(struct sim *sim, struct sim_node *node, struct sim_socket *socket, int flags);

// --- sim_net.c

// Whether a socket operation can be completed now.
bool sim_socket_ready(const struct sim *sim, const struct io_op *op);
int64_t sim_socket_perform(struct sim *sim, const struct io_op *op);
void sim_socket_unref(struct sim_socket *socket);
void sim_socket_dropped(struct sim_socket *socket);

// --- sim_io.c

// Operations that waited for a peer may be ready.
void sim_socket_wake(struct sim *sim);

// --- sim_disk.c

// Any sectors of a write reach the device.
void sim_tear_write(struct sim *sim, const struct io_op *op);

// A durable write fails at its end, after the kernel's cache has taken it: as after a sync that
// failed. False, and nothing done, unless it is one through the cache.
bool sim_lose_write(struct sim *sim, const struct io_op *op);
