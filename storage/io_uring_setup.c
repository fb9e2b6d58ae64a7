// SPDX-License-Identifier: Apache-2.0
// Makes a ring with the best the kernel accepts, and says in words why there can be none.
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/io_system.h"
#include "storage/io_uring.h"

enum {
    COMPLETIONS_PER_ENTRY = 4, // answers of idle sockets come in bursts larger than a submission
};

// What the other files rely on, all there since Linux 5.15.
static const int needed_ops[] = {
    IORING_OP_READ,      IORING_OP_WRITE,   IORING_OP_WRITEV,   IORING_OP_FSYNC,
    IORING_OP_FALLOCATE, IORING_OP_OPENAT,  IORING_OP_CLOSE,    IORING_OP_RENAMEAT,
    IORING_OP_UNLINKAT,  IORING_OP_MKDIRAT, IORING_OP_ACCEPT,   IORING_OP_RECV,
    IORING_OP_SEND,      IORING_OP_SENDMSG, IORING_OP_SHUTDOWN, IORING_OP_ASYNC_CANCEL,
    IORING_OP_POLL_ADD,  IORING_OP_TIMEOUT,
};

static const char too_old[] = "this kernel's io_uring is too old; Linux 6.1 or newer is needed";

// The value of the switch that Linux has since 6.6; 0 when there is none.
static int disabled_by_administrator(void)
{
    char digit = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &digit, 1) != 1)
            digit = '0';
        close(fd);
    }
    return digit - '0';
}

static const char *reason(int error)
{
    switch (-error) {
    case EPERM:
    case EACCES:
        if (disabled_by_administrator() > 0)
            return "io_uring is switched off on this machine; "
                   "set the sysctl kernel.io_uring_disabled to 0";
        return "io_uring is forbidden here, as Docker's default seccomp profile does; "
               "run with a profile that allows io_uring";
    case ENOSYS:
        return "this kernel has no io_uring, or the container hides it; "
               "Linux 6.1 or newer is needed, and a seccomp profile that allows io_uring";
    case ENOMEM:
        return "there is no memory for an io_uring; "
               "raise the limit of locked memory (ulimit -l) or free some memory";
    case EMFILE:
    case ENFILE:
        return "too many open files; raise the limit (ulimit -n)";
    case EINVAL:
        return too_old;
    default:
        return "the kernel refused to make an io_uring";
    }
}

static int probe(struct uring *uring)
{
    struct io_uring_probe *found = io_uring_get_probe_ring(&uring->ring);
    if (!found)
        return -EINVAL;
    int result = 0;
    for (size_t i = 0; i < sizeof(needed_ops) / sizeof(needed_ops[0]); i++) {
        if (!io_uring_opcode_supported(found, needed_ops[i]))
            result = -EINVAL;
    }
    uring->can_truncate = io_uring_opcode_supported(found, IO_URING_OP_FTRUNCATE);
    uring->can_message = io_uring_opcode_supported(found, IORING_OP_MSG_RING) &&
                         (uring->ring.features & IORING_FEAT_CQE_SKIP);
    io_uring_free_probe(found);
    // Timeouts of waits, and completions kept when their queue is full.
    unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    if ((uring->ring.features & needed) != needed)
        result = -EINVAL;
    return result;
}

int io_uring_setup_ring(struct uring *uring, unsigned entries, const char **why)
{
    // From the best on: completions are worked off only when this thread waits for them (6.1);
    // at least without interrupting it (5.19); anyhow.
    static const unsigned steps[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
            IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && result == -EINVAL; i++) {
        struct io_uring_params parameters = {
            .flags = steps[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = entries * COMPLETIONS_PER_ENTRY,
        };
        result = io_uring_queue_init_params(entries, &uring->ring, &parameters);
    }
    if (result == 0) {
        result = probe(uring);
        if (result < 0)
            io_uring_queue_exit(&uring->ring);
    }
    if (result < 0) {
        *why = reason(result);
        return result;
    }
    // Saves the look-up of the descriptor at each entry into the kernel; needless if refused.
    io_uring_register_ring_fd(&uring->ring);
    return 0;
}

// Adds the thread up if it is a worker.
static int count_worker(void *context, const char *thread)
{
    struct io_uring_workers *workers = context;
    char path[64];
    char line[128];
    snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", thread);
    FILE *status = fopen(path, "re");
    if (!status)
        return 0; // it has ended meanwhile
    bool is_worker = false;
    unsigned long long runs = 0;
    while (fgets(line, sizeof(line), status)) {
        if (strncmp(line, "Name:\tiou-wrk-", 14) == 0)
            is_worker = true;
        else if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            runs = strtoull(line + 24, NULL, 10);
    }
    fclose(status);
    workers->threads += is_worker;
    workers->runs += is_worker ? runs : 0;
    return 0;
}

struct io_uring_workers io_uring_workers(void)
{
    struct io_uring_workers workers = {0};
    io_system_list_directory(NULL, "/proc/self/task", count_worker, &workers);
    return workers;
}
