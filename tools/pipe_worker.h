// SPDX-License-Identifier: Apache-2.0
// A running command: bytes in, bytes out, what it says on standard error, and how it ends. Nothing
// here waits; nothing here knows what a record is.
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "tools/pipe_bytes.h"

enum { PIPE_WORKER_FDS = 4, PIPE_WORDS_MAX = 256 };

// Zeroed, it is one that does not run, but for the descriptors: pipe_worker_init.
struct pipe_worker {
    pid_t pid; // 0: does not run. Also the number of its process group
    int input; // descriptors; -1: closed
    int output;
    int words;
    int handle;
    struct pipe_bytes to;   // to be written; the input is closed behind it when `last`
    struct pipe_bytes from; // read, and not used up
    bool last;
    bool ended;                      // it has ended and said all it had to say
    int status;                      // as of waitpid, once it has ended
    char last_words[PIPE_WORDS_MAX]; // the last line on its standard error
    size_t last_size;
    bool line_over;
};

void pipe_worker_init(struct pipe_worker *worker);

// Starts `command` (as execvp takes it) in a process group of its own; it is killed when this
// process dies. 0; -errno of what the system refused; or of execvp, with *found false: the command
// cannot be run at all.
int pipe_worker_start(struct pipe_worker *worker, char *const *command, bool *found);

static inline bool pipe_worker_runs(const struct pipe_worker *worker)
{
    return worker->pid != 0;
}

// Whether a running one has ended in the meantime. Does not wait.
bool pipe_worker_has_died(struct pipe_worker *worker);

// Fills in what it waits for, and returns how many descriptors these are. Without `reading` it is
// not asked for output, and has to wait with it.
size_t pipe_worker_wants(const struct pipe_worker *worker, struct pollfd *fds, bool reading);

// Moves bytes as poll found it possible. What it says on standard error is passed on to `words`.
// Returns 0, or -ENOMEM.
int pipe_worker_turn(struct pipe_worker *worker, const struct pollfd *fds, size_t count,
                     FILE *words);

// Kills the whole group at once, waits for the process (which cannot take long), and forgets it.
void pipe_worker_kill(struct pipe_worker *worker);

// Forgets one that has ended.
void pipe_worker_forget(struct pipe_worker *worker);

// How it ended, as a sentence's end: "ended with exit code 3: its last line on standard error".
void pipe_worker_end_text(const struct pipe_worker *worker, char *text, size_t size);

void pipe_worker_free(struct pipe_worker *worker);
