// SPDX-License-Identifier: Apache-2.0
// Every file and socket operation of the broker goes through this interface. One `struct io`
// belongs to one thread. Implementations: io_uring (io_uring.c) and a simulated one for tests.
//
// An operation (`struct io_op`) is owned by the caller, usually embedded in a larger structure. It
// is all zero before its first use, may be used again when it is no longer pending, and must stay
// in place from the call that starts it until its `done` is called. Starting never fails: every
// outcome, also a bad descriptor or a full queue, arrives as `result` in `done`. `done` is called
// from io_run, never from inside the call that starts the operation; it may start further
// operations, also the same one again, and must not wait. It may be NULL. Paths, buffers and
// vectors must stay valid until then; vectors are changed while a transfer goes on.
//
// `result` is what the system call of that name returns, or a negative errno. Interrupted calls
// are repeated and short reads and writes of files continued inside the implementation, so a file
// read is short only at the end of the file, and a file write is never short. Sends are continued
// until everything is sent or an error occurs; receives return what is there.
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "base/list.h"

enum io_kind {
    IO_NOP,   // completes in the next io_run: defers a call out of the present one
    IO_PAUSE, // completes when some time has passed
    IO_OPEN,
    IO_CLOSE,
    IO_READ,
    IO_WRITE,
    IO_SYNC,
    IO_ALLOCATE,
    IO_TRUNCATE,
    IO_RENAME,
    IO_UNLINK,
    IO_MKDIR,
    IO_ACCEPT, // first of the socket operations
    IO_RECEIVE,
    IO_SEND,
    IO_SHUTDOWN,
};

struct io_op {
    void (*done)(struct io_op *op);
    int64_t result;
    bool pending; // from start until just before `done` is called; owners may read it
    // The rest belongs to the implementation from start to done.
    bool cancelled;
    uint8_t place;
    enum io_kind kind;
    int fd;
    uint32_t flags; // open and send flags; durable, data only, directory, whole as 0 or 1
    mode_t mode;
    uint64_t offset;
    uint64_t length;   // bytes wanted in all
    uint64_t progress; // bytes done so far, when continued
    const char *path;
    const char *path2;
    struct iovec one;      // for single-buffer calls
    struct iovec *vectors; // consumed in place while a transfer is continued
    uint32_t vector_count;
    struct msghdr message;
    struct timespec pause;
    struct list node;
};

struct io_stats {
    uint64_t operations;   // started
    uint64_t system_calls; // entries into the kernel to submit or wait
};

// What tells whether a file or a directory is still the one it was.
struct io_stamp {
    uint64_t size;
    int64_t changed_ns; // when bytes, names or attributes were changed last
};

struct io;

// What an implementation provides; callers use the functions below.
struct io_ops {
    void (*start)(struct io *io, struct io_op *op);
    void (*cancel)(struct io *io, struct io_op *op);
    void (*run)(struct io *io, uint64_t deadline_ns);
    void (*wake)(struct io *from, struct io *to);
    int (*listen)(struct io *io, const char *host, uint16_t port, uint16_t *bound_port);
    int (*list_directory)(struct io *io, const char *path,
                          int (*each)(void *context, const char *name), void *context);
    int64_t (*file_size)(struct io *io, int fd);
    int (*stamp_of)(struct io *io, const char *path, struct io_stamp *out);
    int64_t (*next_data)(struct io *io, int fd, uint64_t offset);
    int (*sync_filesystem)(struct io *io, const char *path);
    void (*destroy)(struct io *io);
};

struct io {
    const struct io_ops *ops;
    uint64_t now_ns; // monotonic; as of the last return from waiting
    int64_t wall_ms; // wall clock, likewise
    struct io_stats stats;
};

// An io_uring of `entries` submission entries for the calling thread. On failure returns a negative
// errno and *why is a constant sentence for the user (for instance that the kernel or the container
// forbids io_uring).
int io_uring_create(unsigned entries, struct io **out, const char **why);

// Operations that cannot be done without blocking are moved by the kernel to worker threads, which
// makes them several times slower. It does not tell which ones; but the workers can be watched.
struct io_uring_workers {
    unsigned threads; // alive now, of all rings of the process; after the first move, one stays
    uint64_t runs;    // how often these have gone back to sleep: about one per operation moved,
                      // less when many come at once
};

// Any thread; reads /proc, so not for every request.
struct io_uring_workers io_uring_workers(void);

// No operation may be pending.
void io_destroy(struct io *io);

// Submits, waits until at least one operation completed, io_wake was called or `deadline_ns`
// (monotonic; 0 = do not wait) has passed, then calls the `done` of everything that completed:
// all completions are reaped first, called after.
void io_run(struct io *io, uint64_t deadline_ns);

// Runs until `op` (started by the caller) is done. For start-up and shutdown only, never from a
// callback. Other operations complete meanwhile. Returns op->result.
int64_t io_wait(struct io *io, struct io_op *op);

// Ends the wait of another thread's io_run, soon or at its next wait. Called on the thread of
// `from`, and takes effect at the latest in its next io_run; until that has returned `to` must not
// be destroyed. Calls that `to` has not yet noticed are merged into one. `from` and `to` must be of
// one implementation. `from` may be NULL on a thread that has no io: the effect is then at once,
// at the price of a system call.
void io_wake(struct io *from, struct io *to);

void io_nop(struct io *io, struct io_op *op);

// Completes with 0 after `ns`, or a little later.
void io_pause(struct io *io, struct io_op *op, uint64_t ns);

// Files. `flags`: open(2) flags, O_CLOEXEC is added.
void io_open(struct io *io, struct io_op *op, const char *path, int flags, mode_t mode);
void io_close(struct io *io, struct io_op *op, int fd);
void io_read(struct io *io, struct io_op *op, int fd, void *to, size_t size, uint64_t offset);
void io_write(struct io *io, struct io_op *op, int fd, const void *from, size_t size,
              uint64_t offset, bool durable); // durable: RWF_DSYNC
void io_writev(struct io *io, struct io_op *op, int fd, struct iovec *vectors, uint32_t count,
               uint64_t offset, bool durable);
void io_sync(struct io *io, struct io_op *op, int fd, bool data_only);
void io_allocate(struct io *io, struct io_op *op, int fd, uint64_t offset, uint64_t size);
void io_truncate(struct io *io, struct io_op *op, int fd, uint64_t size);
void io_rename(struct io *io, struct io_op *op, const char *from, const char *to);
void io_unlink(struct io *io, struct io_op *op, const char *path, bool directory);
void io_mkdir(struct io *io, struct io_op *op, const char *path, mode_t mode);

// Sockets. io_listen returns a descriptor or a negative errno, at once; several ios may accept from
// one listening descriptor. A name that does not resolve is -EADDRNOTAVAIL. NULL or "" or "*"
// listens on all addresses. io_accept's result is a non-blocking descriptor with TCP_NODELAY set.
int io_listen(struct io *io, const char *host, uint16_t port, uint16_t *bound_port);
void io_accept(struct io *io, struct io_op *op, int fd);
// `whole`: completes only when all `size` bytes are there, at the end of the stream or on error.
void io_receive(struct io *io, struct io_op *op, int fd, void *to, size_t size, bool whole);
void io_send(struct io *io, struct io_op *op, int fd, struct iovec *vectors, uint32_t count);
void io_shutdown(struct io *io, struct io_op *op, int fd); // both directions

// Asks for an early end; harmless when the operation is not pending. `done` is called as always
// (-ECANCELED, or the result if it was faster). A file operation that the device has begun is not
// interrupted.
void io_cancel(struct io *io, struct io_op *op);

// The process (-EMFILE) or the machine (-ENFILE) has no descriptor to give at present.
bool io_lacks_descriptors(int64_t result);

// For start-up and shutdown; waits as io_open_wait does. `each` returns 0 to go on. "." and ".."
// are left out.
int io_list_directory(struct io *io, const char *path, int (*each)(void *context, const char *name),
                      void *context);
int64_t io_file_size(struct io *io, int fd);
int io_stamp_of(struct io *io, const char *path, struct io_stamp *out); // 0 or a negative errno

// The first position at or behind `offset` that was ever written: what is in between is allocated
// at most, and reads as zeros. The file's size or more when there is none; `offset` where the file
// system does not tell. At once.
int64_t io_next_data(struct io *io, int fd, uint64_t offset);

// The blocking forms that start-up code needs, built on io_wait: descriptor or negative errno,
// bytes or negative errno, 0 or negative errno.
// What opens files waits some seconds for descriptors before it gives up: they are the process's,
// or the machine's, and a start without one of its files is worse than a late one.
int io_open_wait(struct io *io, const char *path, int flags, mode_t mode);
int64_t io_read_wait(struct io *io, int fd, void *to, size_t size, uint64_t offset);
int64_t io_write_wait(struct io *io, int fd, const void *from, size_t size, uint64_t offset,
                      bool durable);
int io_close_wait(struct io *io, int fd);
int io_remove_wait(struct io *io, const char *path, bool directory); // 0 also when it was gone
int io_sync_directory_wait(struct io *io, const char *path);

// Puts a file in the place of `path`, or makes it: written beside it (".new"), durable, renamed,
// and the name durable in `directory`. After a crash one of the two is there, whole. After an error
// it may be either as well, and what lies beside is removed.
int io_replace_wait(struct io *io, const char *directory, const char *path, const void *bytes,
                    size_t size);

// Makes everything durable that was written to the file system of `path` before: bytes, sizes and
// names of all files. 0 or a negative errno; after an error nothing is known. At once, for
// start-up.
int io_sync_filesystem_wait(struct io *io, const char *path);
