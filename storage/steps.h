// SPDX-License-Identifier: Apache-2.0
// A few file-system changes, one after the other, in the order given: rule 6 of the storage design
// (files are created, renamed and removed with the directory synced, in an order that leaves every
// crash point recoverable) is kept by writing that order down in one place per change.
#pragma once

#include <stdint.h>

#include "storage/io.h"

enum step_kind {
    STEP_MAKE_DIRECTORY,   // may exist already
    STEP_REMOVE_DIRECTORY, // may be gone, or be in use
    STEP_REMOVE_FILE,      // may be gone
    STEP_RENAME,           // the source may be gone
    STEP_SYNC_DIRECTORY,
    STEP_SYNC_OPEN, // a directory that is open already: lacks no descriptor
};

enum { STEPS_MAX = 8 };

struct step {
    enum step_kind kind;
    const char *path;
    const char *target; // of STEP_RENAME
    int fd;             // of STEP_SYNC_OPEN
};

struct steps {
    void (*done)(struct steps *steps); // from io_run
    int error;                         // 0, or of the first step that failed
    // The rest is used between steps_run and done.
    struct io *io;
    struct io_op op;
    struct step list[STEPS_MAX];
    uint32_t count;
    uint32_t at;
    int fd;
};

void steps_init(struct steps *steps, struct io *io, void (*done)(struct steps *steps));
void steps_add(struct steps *steps, enum step_kind kind, const char *path, const char *target);

void steps_add_sync(struct steps *steps, int fd); // STEP_SYNC_OPEN

// Starts; paths stay valid until done. Stops at the first error.
void steps_run(struct steps *steps);
