// SPDX-License-Identifier: Apache-2.0
// The rules of compaction, those of Kafka's log cleaner:
//
// 1. A record stays if no later one has its key, as far as the map has seen. What lies beyond the
//    map's end stays as it is.
// 2. A tombstone (a record without value) that is the last of its key stays until the date in its
//    batch has passed. The first pass over it sets that date.
// 3. A record without key goes: it cannot be the last of anything.
// 4. Offsets, producer fields and sequence numbers never change (record_batch_thin.c).
#include "storage/compact_batch.h"

#include <errno.h>

#include "storage/plant.h"

static bool is_expired(const struct compact_rules *rules, const struct batch_header *header)
{
    return (header->attributes & BATCH_DELETE_HORIZON) && header->base_timestamp <= rules->now_ms;
}

static bool keeps(void *context, const struct batch_header *header, const struct record *record)
{
    const struct compact_batch *work = context;
    const struct compact_rules *rules = work->rules;
    if (!record->key.data)
        return false;
    int64_t last = compact_map_get(rules->map, record->key);
    if (record->offset < last || (planted(PLANT_COMPACT_LAST) && record->offset == last))
        return false;
    return record->value.data || !is_expired(rules, header);
}

void compact_batch_init(struct compact_batch *work)
{
    *work = (struct compact_batch){0};
    // The inflated bytes, and some for the flags of the records.
    arena_init(&work->arena, COMPACT_INFLATE_MAX + COMPACT_INFLATE_MAX / 8);
    work->thinner = (struct batch_thinner){
        .keeps = keeps,
        .context = work,
        .arena = &work->arena,
        .inflate_limit = COMPACT_INFLATE_MAX,
        .contexts = &work->contexts,
    };
}

void compact_batch_free(struct compact_batch *work)
{
    batch_thinner_free(&work->thinner);
    batch_contexts_free(&work->contexts);
    arena_free(&work->arena);
}

int compact_batch_note(struct compact_batch *work, struct span batch, struct compact_map *map)
{
    struct batch_reader reader;
    struct record record;
    arena_reset(&work->arena);
    enum batch_error error =
        batch_reader_init_with(&reader, batch, &work->arena, COMPACT_INFLATE_MAX, &work->contexts);
    if (error == BATCH_NO_MEMORY)
        return -ENOMEM;
    if (error || reader.header.attributes & BATCH_CONTROL)
        return 0;
    while (batch_reader_next(&reader, &record) == 1)
        if (record.key.data && !compact_map_put(map, record.key, record.offset))
            return -ENOSPC;
    return 0;
}

int compact_batch_thin(struct compact_batch *work, const struct compact_rules *rules,
                       struct span batch, bool keep_place, struct span *out)
{
    struct batch_header header;
    enum batch_thinned how = BATCH_UNCHANGED;
    *out = batch;
    if (batch_header_read(batch, &header) != BATCH_OK || header.attributes & BATCH_CONTROL ||
        batch_last_offset(&header) >= rules->map_end)
        return 0;
    work->rules = rules;
    work->thinner.delete_horizon_ms = rules->delete_horizon_ms;
    enum batch_error error = batch_thin(&work->thinner, batch, out, &how);
    if (error == BATCH_NO_MEMORY)
        return -ENOMEM;
    if (error)
        *out = batch;
    else if (how == BATCH_EMPTIED && keep_place && header.record_count == 0)
        *out = batch;
    else if (how == BATCH_EMPTIED && keep_place) {
        batch_write_emptied(batch, work->emptied);
        *out = span_of(work->emptied, sizeof(work->emptied));
    } else if (how == BATCH_EMPTIED) {
        *out = span_of(NULL, 0);
    }
    return 0;
}
