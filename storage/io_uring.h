// SPDX-License-Identifier: Apache-2.0
// Inside the io_uring implementation of io.h: shared by io_uring*.c only.
#pragma once

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"
#include "storage/io.h"

// The kernel's number (since Linux 6.9); liburing 2.3 has no name for it.
enum { IO_URING_OP_FTRUNCATE = 55 };

enum {
    // A send copies before the call returns, some 250 us for a megabyte, and the thread does
    // nothing
    // else meanwhile. While small writes go on, for which somebody waits about as long, one entry
    // into the kernel is given no more of what is large. Otherwise all: in pieces it costs a third
    // more.
    URING_SEND_BYTES = 256 * 1024,
    URING_SEND_SMALL = 16 * 1024,  // sends that do not count
    URING_WRITE_SMALL = 64 * 1024, // below that somebody waits for one answer, not for throughput
    URING_PATIENT_MS = 20,         // so long after a small write, sends are whole again
};

struct uring {
    struct io io;
    struct io_uring ring;
    struct list ready;        // operations that are over, `done` is due
    struct list queued;       // operations waiting for room in the submission queue, in order
    struct list sends;        // small ones that go behind all else of this entry into the kernel
    struct list bulk;         // the others, of which each entry takes a little
    struct list cancels;      // operations in the kernel whose cancellation waits for room
    uint64_t in_kernel;       // operations without an answer yet
    uint64_t small_write_ns;  // when the last one was started; 0 = never
    int event_fd;             // the way to wake this ring for those who cannot send it a message
    bool event_armed;         // a poll of event_fd is in the kernel
    bool woken;               // by a callback of its own: do not wait
    bool running;             // inside io_run
    bool pressing;            // more than receives is to be submitted
    bool put_off;             // the last io_run left its entry into the kernel to the next one
    bool can_truncate;        // IORING_OP_FTRUNCATE
    bool can_message;         // IORING_OP_MSG_RING
    atomic_bool wake_pending; // somebody's wake is on its way and not yet noticed
};

// io_uring_setup.c: makes the ring, finds out what it can do. 0, or a negative errno with *why.
int io_uring_setup_ring(struct uring *uring, unsigned entries, const char **why);

// io_uring_op.c: the translation between operations and the kernel's queue entries.

// Carries out what needs no kernel queue. True: `result` is set and the operation is over.
bool io_uring_op_at_once(const struct uring *uring, struct io_op *op);

// Describes what is left of the operation in `sqe`, all but its user_data; of a send no more than
// `send_most` bytes. Returns how many bytes are sent.
uint64_t io_uring_op_prepare(struct io_op *op, struct io_uring_sqe *sqe, uint64_t send_most);

// Takes in the kernel's answer. True: `result` is set and the operation is over. False: what is
// left has to be prepared and submitted again.
bool io_uring_op_settle(struct io_op *op, int32_t answer);
