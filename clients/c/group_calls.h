// SPDX-License-Identifier: Apache-2.0
// One question about several groups, each put to its own coordinator, many under way at once.
#pragma once

#include "clients/c/coordinator.h"

struct group_calls;

// What is under way for one group.
struct group_call {
    struct call call;
    struct coordinator coordinator;
    struct group_calls *all;
    const char *name;
    size_t index; // of the group
    bool busy;
};

// Filled in by the maker up to `context`.
struct group_calls {
    struct weir_client *client;
    const char *const *names; // outlive the calls
    size_t count;
    int16_t api_key;
    int16_t version_max; // 0: whatever the schema covers
    void (*encode)(struct call *call, struct kp_writer *writer);
    int (*decode)(struct call *call, struct reply *reply);
    // A group's call has ended with an error or without. Not called for what time cut off.
    void (*ended)(struct group_call *call, int error);
    void *context;

    struct group_call *slots;
    size_t next;      // the first group not asked about
    size_t answered;  // in time
    int error;        // the first one
    char detail[512]; // a sentence about it
};

static inline struct group_call *group_call_of(struct call *call)
{
    return list_entry(call, struct group_call, call);
}

// Asks about all groups and waits. Returns WEIR_OK when every call ended without error; else the
// first error, its sentence in `detail`: WEIR_ERR_TIMED_OUT also when some were cut off.
int group_calls_run(struct group_calls *calls, uint64_t deadline_ns);
