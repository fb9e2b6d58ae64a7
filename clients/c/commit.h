// SPDX-License-Identifier: Apache-2.0
// A consumer's commits: one on its way at a time, in the order they were asked for.
#pragma once

#include "clients/c/offsets.h"

struct weir_consumer;

typedef void commit_callback(void *context, int error, const struct weir_offset *offsets,
                             size_t count);

struct commit {
    struct list link;
    struct weir_consumer *consumer;
    uint64_t number; // rises with each
    struct weir_offset *offsets;
    size_t count;
    uint64_t deadline_ns;
    bool member; // begun as a member of the group, for what that holds
    bool started;
    bool finished;
    bool silent; // the library's own: nobody is told
    int error;   // once finished: the first
    char detail[512];
    struct offset_batch batch; // of `sent`
    struct weir_offset *sent;  // those of `offsets` that the member may commit, and where they
    size_t *places;            // stand there
    commit_callback *done;
    void *context;
    bool waited; // somebody waits for it, who owns `offsets` and frees the commit
};

struct commits {
    struct list queue;    // struct commit: the first is on its way
    struct list finished; // and those to be told
    uint64_t last;        // number of the newest
    uint64_t auto_due_ns; // of enable.auto.commit; 0: not set yet
    int auto_error;       // of its last commit
};

void commits_init(struct commits *commits);

// Ends all, without telling anybody; commits_abandon tells them before.
void commits_free(struct weir_consumer *consumer);
void commits_abandon(struct weir_consumer *consumer);

// Starts what can be started. Returns when enable.auto.commit is due next.
uint64_t commits_drive(struct weir_consumer *consumer);

// Whether a commit up to that number is not finished yet.
bool commits_pending(const struct weir_consumer *consumer, uint64_t number);

// The member has lost its partitions: every commit under way ends with WEIR_ERR_NOT_ASSIGNED.
void commits_lose(struct weir_consumer *consumer);

// Queues a commit of what enable.auto.commit has to commit now; nothing if it is off, or nothing
// has changed.
void commits_auto(struct weir_consumer *consumer);

// Calls the application back for those that are finished.
bool commits_to_report(const struct weir_consumer *consumer);
void commits_report(struct weir_consumer *consumer);
