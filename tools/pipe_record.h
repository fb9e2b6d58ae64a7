// SPDX-License-Identifier: Apache-2.0
// A record that a stage has taken: a copy, kept until its outputs are stored.
#pragma once

#include "clients/c/weir.h"
#include "tools/pipe_engine.h"

enum { PIPE_REASON_MAX = 512 };

// Why a record goes to the dead letters.
struct pipe_refusal {
    const char *field; // of the schema, or NULL; valid as long as the schema
    char reason[PIPE_REASON_MAX];
};

struct pipe_record {
    struct pipe_entry entry;
    struct list refused_node; // in the stage's list when the broker refused an output for good
    char *refused;            // its sentence; from malloc, or NULL
    uint32_t refusals;        // outputs that are pending because of that
    bool skipped;             // refused before it reached the command
    bool batched;             // carries the outputs of a run of several records
    bool rejected;            // its dead letter has been sent
    bool orphan;              // of no lane any more: freed with its last output
    int32_t partition;
    int64_t timestamp;
    struct weir_bytes key;
    struct weir_bytes value;
    struct weir_header *headers;
    size_t header_count;
};

// One allocation beside nothing. NULL without memory. Freed with pipe_record_free.
struct pipe_record *pipe_record_new(const struct weir_record *record);
void pipe_record_free(struct pipe_record *record);

// What it takes in memory.
size_t pipe_record_bytes(const struct pipe_record *record);

// Whether a header is one of those that a dead letter carries.
bool pipe_header_is_ours(const struct weir_header *header);
