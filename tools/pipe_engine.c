// SPDX-License-Identifier: Apache-2.0
// The bookkeeping of a pipeline stage.
//
// Invariants:
//  1. Entries of a lane stand in order of their offsets: concluded ones first; from lane->open on
//     `running` running ones, then `waiting` waiting ones.
//  2. lane->done never passes an entry that is not concluded or has an output pending: what is
//     committed has been answered, and its outputs are stored.
//  3. A record is blamed only for a failure that it was alone with. A run of several that fails is
//     cut in halves until one record is alone; runs that succeed grow again.
//  4. A lane begins no run while it has one: its records are answered in order.
#include "tools/pipe_engine.h"

#include "base/check.h"

static struct pipe_entry *entry_of(struct list *node)
{
    return list_entry(node, struct pipe_entry, node);
}

void pipe_engine_init(struct pipe_engine *engine, const struct pipe_rules *rules)
{
    engine->rules = *rules;
    list_init(&engine->lanes);
}

void pipe_lane_open(struct pipe_engine *engine, struct pipe_lane *lane)
{
    *lane = (struct pipe_lane){
        .engine = engine,
        .limit = engine->rules.run_records,
        .done = -1,
    };
    list_init(&lane->entries);
    lane->open = &lane->entries;
    list_append(&engine->lanes, &lane->node);
}

void pipe_lane_remove(struct pipe_lane *lane)
{
    CHECK(lane->count == 0);
    list_remove(&lane->node);
}

void pipe_lane_take(struct pipe_lane *lane, struct pipe_entry *entry, int64_t offset, size_t bytes,
                    int64_t now_ms)
{
    *entry = (struct pipe_entry){
        .lane = lane,
        .offset = offset,
        .bytes = bytes,
        .arrived_ms = now_ms,
    };
    list_append(&lane->entries, &entry->node);
    if (lane->open == &lane->entries)
        lane->open = &entry->node;
    lane->count++;
    lane->waiting++;
    lane->bytes += bytes;
}

bool pipe_lane_full(const struct pipe_lane *lane)
{
    const struct pipe_rules *rules = &lane->engine->rules;

    return lane->count >= rules->lane_records || lane->bytes >= rules->lane_bytes;
}

bool pipe_lane_hungry(const struct pipe_lane *lane)
{
    const struct pipe_rules *rules = &lane->engine->rules;

    return lane->count <= rules->lane_records / 2 && lane->bytes <= rules->lane_bytes / 2;
}

// When the lane's next run may begin; INT64_MAX: not without something else happening.
static int64_t lane_due_ms(const struct pipe_lane *lane)
{
    const struct pipe_rules *rules = &lane->engine->rules;

    if (lane->closed || lane->running > 0 || lane->waiting == 0)
        return INT64_MAX;
    if (lane->complete || rules->linger_ms == 0 || lane->waiting >= lane->limit ||
        pipe_lane_full(lane))
        return lane->rest_until_ms;
    int64_t full_ms = entry_of(lane->open)->arrived_ms + rules->linger_ms;
    return full_ms > lane->rest_until_ms ? full_ms : lane->rest_until_ms;
}

static void begin(struct pipe_lane *lane)
{
    size_t bytes = 0;

    for (struct list *node = lane->open; node != &lane->entries && lane->running < lane->limit;
         node = node->next) {
        struct pipe_entry *entry = entry_of(node);
        if (lane->running > 0 && bytes + entry->bytes > lane->engine->rules.run_bytes)
            break;
        entry->state = PIPE_RUNNING;
        bytes += entry->bytes;
        lane->running++;
        lane->waiting--;
    }
}

struct pipe_lane *pipe_run_begin(struct pipe_engine *engine, int64_t now_ms)
{
    list_each(node, &engine->lanes) {
        struct pipe_lane *lane = list_entry(node, struct pipe_lane, node);
        if (lane_due_ms(lane) > now_ms)
            continue;
        begin(lane);
        // The others come first next time.
        list_remove(&lane->node);
        list_append(&engine->lanes, &lane->node);
        return lane;
    }
    return NULL;
}

int64_t pipe_engine_due_ms(const struct pipe_engine *engine)
{
    int64_t due_ms = INT64_MAX;

    for (struct list *node = engine->lanes.next; node != &engine->lanes; node = node->next) {
        int64_t lane_ms = lane_due_ms(list_entry(node, struct pipe_lane, node));
        due_ms = lane_ms < due_ms ? lane_ms : due_ms;
    }
    return due_ms;
}

struct pipe_entry *pipe_run_first(const struct pipe_lane *lane)
{
    return lane->running > 0 ? entry_of(lane->open) : NULL;
}

struct pipe_entry *pipe_run_next(const struct pipe_entry *entry)
{
    struct list *node = entry->node.next;

    if (node == &entry->lane->entries || entry_of(node)->state != PIPE_RUNNING)
        return NULL;
    return entry_of(node);
}

static void grow(struct pipe_lane *lane)
{
    size_t most = lane->engine->rules.run_records;

    lane->limit = lane->limit > most / 2 ? most : lane->limit * 2;
}

void pipe_entry_conclude(struct pipe_entry *entry)
{
    struct pipe_lane *lane = entry->lane;

    CHECK(entry->state == PIPE_RUNNING && lane->open == &entry->node);
    entry->state = PIPE_CONCLUDED;
    lane->open = entry->node.next;
    lane->running--;
    if (lane->running == 0)
        grow(lane);
}

// The run is over; what has no answer waits again.
static size_t put_back(struct pipe_lane *lane)
{
    size_t count = lane->running;

    for (struct pipe_entry *entry = pipe_run_first(lane); entry != NULL;) {
        struct pipe_entry *next = pipe_run_next(entry);
        entry->state = PIPE_WAITING;
        entry = next;
    }
    lane->waiting += count;
    lane->running = 0;
    return count;
}

static int64_t pause_ms(const struct pipe_rules *rules, uint32_t failures)
{
    int64_t pause_ms = rules->pause_ms;

    for (uint32_t i = 1; i < failures && pause_ms < PIPE_PAUSE_MAX_MS; i++)
        pause_ms *= 2;
    return pause_ms < PIPE_PAUSE_MAX_MS ? pause_ms : PIPE_PAUSE_MAX_MS;
}

struct pipe_entry *pipe_run_failed(struct pipe_lane *lane, int64_t now_ms)
{
    struct pipe_entry *first = pipe_run_first(lane);
    size_t count = put_back(lane);

    lane->limit = count > 1 ? count / 2 : 1;
    if (count != 1)
        return NULL;
    first->failures++;
    if (first->failures <= lane->engine->rules.retries) {
        lane->rest_until_ms = now_ms + pause_ms(&lane->engine->rules, first->failures);
        return NULL;
    }
    first->state = PIPE_CONCLUDED;
    lane->open = first->node.next;
    lane->waiting--;
    return first;
}

void pipe_run_undone(struct pipe_lane *lane, int64_t now_ms)
{
    put_back(lane);
    lane->rest_until_ms = now_ms + lane->engine->rules.pause_ms;
}

void pipe_output_begun(struct pipe_entry *entry)
{
    entry->pending++;
}

void pipe_output_ended(struct pipe_entry *entry)
{
    CHECK(entry->pending > 0);
    entry->pending--;
}

static void take_off(struct pipe_entry *entry)
{
    struct pipe_lane *lane = entry->lane;

    if (lane->open == &entry->node)
        lane->open = entry->node.next;
    list_remove(&entry->node);
    lane->count--;
    lane->bytes -= entry->bytes;
}

struct pipe_entry *pipe_lane_pop(struct pipe_lane *lane)
{
    struct pipe_entry *entry = list_empty(&lane->entries) ? NULL : entry_of(lane->entries.next);

    if (entry == NULL || entry->state != PIPE_CONCLUDED || entry->pending > 0)
        return NULL;
    take_off(entry);
    lane->done = entry->offset + 1;
    return entry;
}

struct pipe_entry *pipe_lane_drop(struct pipe_lane *lane, bool running)
{
    struct pipe_entry *entry = list_empty(&lane->entries) ? NULL : entry_of(lane->entries.prev);

    lane->closed = true;
    if (entry == NULL || entry->state == PIPE_CONCLUDED ||
        (entry->state == PIPE_RUNNING && !running))
        return NULL;
    if (entry->state == PIPE_RUNNING)
        lane->running--;
    else
        lane->waiting--;
    take_off(entry);
    return entry;
}
