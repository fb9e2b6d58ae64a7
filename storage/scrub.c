// SPDX-License-Identifier: Apache-2.0
// Reads segments slowly, in the background, for damage that nobody has come across yet: all of
// them, the active one up to where it was durable when its turn came.
//
// 1. One device read at a time per store, only while no other one is in flight (window.c), and past
//    the read cache: a scrub pushes nothing out and keeps nobody waiting.
// 2. Verifying, naming and noting damage is what reading a window does; here the result is merely
//    thrown away. Damage that is known already is passed in silence.
// 3. It goes through the logs in the order of the store and through each one's segments in the
//    order of offsets, and begins again when it is through and some hours are over. Logs and
//    segments may come and go meanwhile: only the place is remembered, and a segment is held while
//    a window of it is read.
//
// A device error ends the segment for this round.
#include "storage/scrub.h"

#include <errno.h>

#include "storage/store.h"

enum {
    LOGS_PER_CALL = 1000, // that are looked at for something to read
    BUDGET_WINDOWS = 4,   // that may be saved up
    ROUND_S = 6 * 3600,   // no two rounds begin nearer to each other
};

static void scrub_step(struct log_store *store);

// The segment under way, or the next one to begin with; NULL when this log is done.
static struct segment *next_segment(const struct scrub *scrub)
{
    const struct log *log = scrub->log;
    for (uint32_t i = 0; i < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        int64_t base = segment->header.base_offset;
        bool due = base > scrub->base_offset || (base == scrub->base_offset && scrub->position > 0);
        if (due && segment->end > FORMAT_BLOCK && !segment->bad)
            return segment;
    }
    return NULL;
}

static void begin_log(struct scrub *scrub, struct log *log)
{
    scrub->log = log;
    scrub->base_offset = -1;
    scrub->position = 0;
}

static struct log *log_behind(const struct log_store *store, const struct log *log)
{
    struct list *node = log ? log->node.next : store->logs.next;
    return node == &store->logs ? NULL : list_entry(node, struct log, node);
}

// The segment to go on with. NULL: nothing now.
static struct segment *find_work(struct log_store *store)
{
    struct scrub *scrub = &store->scrub;
    if (!scrub->log) {
        if (store->io->now_ns < scrub->next_round_ns)
            return NULL;
        scrub->next_round_ns = store->io->now_ns + ROUND_S * UINT64_C(1000000000);
        begin_log(scrub, log_behind(store, NULL));
    }
    for (int i = 0; i < LOGS_PER_CALL && scrub->log; i++) {
        struct segment *segment = scrub->log->deleting ? NULL : next_segment(scrub);
        if (segment)
            return segment->sealed && segment->sealing ? NULL : segment;
        begin_log(scrub, log_behind(store, scrub->log));
    }
    return NULL;
}

static void window_done(struct window *window)
{
    struct log_store *store = window->segment->log->store;
    struct scrub *scrub = &store->scrub;
    uint64_t bytes = window->to - window->from;
    scrub->window = NULL;
    if (window->error != -ENOMEM)
        scrub->budget -= bytes < scrub->budget ? bytes : scrub->budget;
    if (!window->error) {
        store->stats.scrubbed_bytes += bytes;
        scrub->position = window->to;
        scrub->offset = window->next_offset;
    }
    if (window->error || window->to >= window->segment->end)
        scrub->position = 0;
    if (!window->error && !store->closing)
        scrub_step(store);
}

static void scrub_step(struct log_store *store)
{
    struct scrub *scrub = &store->scrub;
    if (scrub->window || scrub->budget < WINDOW_SIZE || store->reads.active > 0)
        return;
    struct segment *segment = find_work(store);
    if (!segment)
        return;
    if (scrub->position == 0 || scrub->salt != segment->header.salt) {
        scrub->base_offset = segment->header.base_offset;
        scrub->salt = segment->header.salt;
        scrub->position = FORMAT_BLOCK;
        scrub->offset = segment->header.base_offset;
    }
    struct window *window =
        window_start(segment, scrub->offset, scrub->position, WINDOW_SIZE, WINDOW_SCRUB);
    scrub->window = window;
    if (window)
        window->done = window_done;
}

void log_store_scrub(struct log_store *store, uint64_t bytes)
{
    struct scrub *scrub = &store->scrub;
    scrub->budget += bytes;
    if (scrub->budget > BUDGET_WINDOWS * WINDOW_SIZE)
        scrub->budget = bytes > BUDGET_WINDOWS * WINDOW_SIZE ? bytes : BUDGET_WINDOWS * WINDOW_SIZE;
    if (!store->closing)
        scrub_step(store);
}

void scrub_forget(struct log *log)
{
    struct scrub *scrub = &log->store->scrub;
    if (scrub->log == log)
        begin_log(scrub, log_behind(log->store, log));
}
