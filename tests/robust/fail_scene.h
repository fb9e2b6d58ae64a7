// SPDX-License-Identifier: Apache-2.0
// A store with a few logs on the simulated disk, what is done to them, and what they must then
// hold. Every step may be told an error; none may crash, and what was acknowledged stays.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/log.h"
#include "tests/sim/sim_io.h"

enum { SCENE_LOGS = 3, SCENE_BATCHES = 64 };

// One batch as it must come back.
struct stored {
    uint8_t *bytes;
    size_t size;
    int64_t base_offset;
    int64_t last_offset;
    int64_t first_timestamp; // of its records, each one more than the one before
};

struct scene_log {
    struct log *log; // NULL = not open
    struct stored batches[SCENE_BATCHES];
    uint32_t count;
    int64_t acked;      // everything below was acknowledged
    int64_t start_most; // the highest start that was asked for
    bool damaged;       // as opening it said
    bool compacts;
    bool gone; // its deletion was asked for
};

struct scene {
    uint64_t seed;
    struct sim *sim;
    struct io *io;
    struct pool *pool;
    enum log_sync sync;
    bool direct;
    struct log_store *store; // NULL = not open
    bool settled;
    bool begun;
    struct scene_log logs[SCENE_LOGS];
    uint32_t in_flight;
    int64_t next_timestamp;
    uint32_t errors; // told so far, by any step
    int last_error;
    void (*told)(struct scene *scene, const char *step, int error); // checks each one
    bool strict;                                                    // no error is right any more
    // A log that says after its start that it accepts nothing, because something of it could not be
    // read, is left alone from then on.
    bool forgives;
};

void scene_begin(struct scene *scene, uint64_t seed,
                 void (*told)(struct scene *scene, const char *step, int error));
void scene_end(struct scene *scene);

// Opens what is not open: the store, and all logs that are not gone. What a log holds is compared
// with what it must hold. False when something could not be opened.
bool scene_open(struct scene *scene);

// Appends, reads, looks up times, trims, rolls, retains.
void scene_work(struct scene *scene);

// Asks for the deletion of the last log.
void scene_delete(struct scene *scene);

void scene_close(struct scene *scene);
void scene_crash(struct scene *scene); // the power fails: what is in memory is lost

// Every acknowledged record is there, byte for byte. Errors of reading are told.
void scene_verify(struct scene *scene);

// A record more in each log that accepts any; errors are told.
void scene_append_one(struct scene *scene);
