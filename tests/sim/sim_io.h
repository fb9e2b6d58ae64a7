// SPDX-License-Identifier: Apache-2.0
// io.h on a simulated disk, in memory, driven by a seed: the same seed and the same calls give the
// same run. For tests of what happens when a machine stops, a device fails or fills up.
//
// What survives a crash, never more than a real file system promises:
//  - bytes: those written `durable`, and those written before a sync of the file was started and
//    has succeeded. Of the rest any part may have survived, in units of 512 bytes, each by itself;
//  - a file's size: as far as durable writes reach, or as it was at a sync; else the old or the
//    new;
//  - names (created, renamed, removed): after a sync of their directory. Of the changes since, any
//    number of first ones may have survived, for each directory by itself. A file whose name did
//    not survive is gone.
// After a sync that failed, what it should have saved is still read; but of what was written
// through the kernel's cache some sectors have not reached the device: no later sync saves them, no
// crash leaves them, and O_DIRECT does not read them.
//
// Each operation takes its time, so those that are pending together complete in any order. The
// clock is simulated: io_run moves it to where the next operation completes, or to its deadline.
// Memory that is being written is watched: changing it before that is done is an error.
//
// Several ios may share the machine: disk, clock and fate.
//
// O_DIRECT requires offset, size and memory to be multiples of 4096. Not supported: "..", renaming
// to another directory (-EXDEV). The space of a removed file counts as free at once, also while it
// is open. Descriptors are numbers that no real file has.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/io.h"

struct sim;

// An empty disk with a root directory "/"; relative paths start there, too.
struct sim *sim_create(uint64_t seed);
void sim_destroy(struct sim *sim);

// The way to the disk. The same pointer for as long as the disk lives.
struct io *sim_io(struct sim *sim);

// Further ones; 0 is the same as sim_io.
enum { SIM_PORTS = 4 };
struct io *sim_io_at(struct sim *sim, size_t index);

// Moves both clocks.
void sim_advance(struct sim *sim, uint64_t ns);

// Sets the wall clock forward or back.
void sim_jump(struct sim *sim, int64_t ms);

// How long the device mostly takes for an operation, at most, and how much longer for a durable
// write and for a sync. Without this call it depends on the seed, and all kinds take the same.
void sim_set_device(struct sim *sim, uint64_t usual_ns, uint64_t durable_ns, uint64_t sync_ns);

// Bytes that files may take, in whole sectors; 0 = without limit (the default).
void sim_set_capacity(struct sim *sim, uint64_t bytes);
uint64_t sim_used_bytes(const struct sim *sim);

// The `nth` operation of this kind from now (1 = the next) ends with `error` (negative), or, with
// `for_ever`, that one and all that follow. One fault per kind at a time; `nth` 0 takes it away.
// A write that fails with -EIO may have reached the device in part; a durable one through the
// kernel's cache may be there as after a sync that failed.
void sim_fail(struct sim *sim, enum io_kind kind, uint64_t nth, int error, bool for_ever);

// Whether that has happened since.
bool sim_has_failed(const struct sim *sim, enum io_kind kind);

// Flips a stored bit, as a decaying device does. 0, or -ENOENT, or -EINVAL beyond the end.
int sim_flip(struct sim *sim, const char *path, uint64_t bit);

// Reads that touch these bytes of the file end with -EIO, until this is called with from = to.
// 0 or -ENOENT.
int sim_make_unreadable(struct sim *sim, const char *path, uint64_t from, uint64_t to);

// The power fails: of what is pending anything may have happened. From then on every operation ends
// with -EIO and no effect (closing and io_nop succeed), so that the code under test can be brought
// to an end. `after` counts operations that still complete before; 0 = at once.
void sim_power_off(struct sim *sim, uint64_t after);
bool sim_power_is_off(const struct sim *sim);

// How many operations have completed since sim_create. A run without power_off tells how many
// points there are at which to try it.
uint64_t sim_completed(const struct sim *sim);

// Calls `over` once, when operations have completed and ios have been run so often in all: what
// needs more than that turns in circles.
void sim_set_bound(struct sim *sim, uint64_t most, void (*over)(void *context), void *context);

// Calls `trace` with every operation that has just taken effect.
void sim_trace(struct sim *sim, void (*trace)(void *context, const struct io_op *op),
               void *context);

// The machine starts again on what survived (the power fails now, if it has not before). Pending
// operations are forgotten: their `done` is never called, and their memory may go after this call,
// not before. Descriptors are invalid; faults and capacity are as before. The io is as new.
void sim_restart(struct sim *sim);

// The same when only the program ends, killed: what was written and not synced is still read, and
// may still be lost when the machine stops later.
void sim_restart_process(struct sim *sim);

// Time passes until the next operation of any io has had its effect. False when none is pending.
bool sim_pass(struct sim *sim);

// The monotonic time.
uint64_t sim_now(const struct sim *sim);

// Whether an io_run that waits until then would return now: something has completed, it was woken,
// or that time has come.
bool sim_has_news(struct io *io, uint64_t deadline_ns);

// --- connections: the test is the other end of each

struct sim_socket;

// What io_listen gives, for programs that listen before they have an io.
int sim_listen(struct sim *sim);

// NULL when nobody listens there (any more), or too many wait to be accepted. The caller's until
// sim_socket_close.
struct sim_socket *sim_connect(struct sim *sim, int listen_fd);
void sim_socket_send(struct sim *sim, struct sim_socket *socket, const void *bytes, size_t size);

// Bytes that came and were not taken.
size_t sim_socket_received(const struct sim_socket *socket, const uint8_t **bytes);
void sim_socket_take(struct sim_socket *socket, size_t size);
bool sim_socket_is_closed(const struct sim_socket *socket); // by the program, or a crash
void sim_socket_close(struct sim *sim, struct sim_socket *socket);

// Descriptors that are open.
uint32_t sim_open_files(const struct sim *sim);
