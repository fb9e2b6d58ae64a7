// SPDX-License-Identifier: Apache-2.0
// The rules, each with the sentence that says how it was broken. Attempts are kept in the order of
// their offsets, without overlap: when offsets are given again, whoever had them must have failed.
#include "tests/sim/checker.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"

enum { CHECKER_PRODUCERS = 4, INFLATE_MAX = 64 * 1024 * 1024, TIME_MAX = -3 };

static _Noreturn void fail(const struct checker *checker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static _Noreturn void fail(const struct checker *checker, const char *format, ...)
{
    char text[400];
    int size = snprintf(text, sizeof(text), "%s: ", checker->name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + size, sizeof(text) - (size_t)size, format, arguments);
    va_end(arguments);
    checker->report.fail(checker->report.context, text);
    abort();
}

void checker_init(struct checker *checker, const char *name, struct checker_report report)
{
    *checker = (struct checker){.name = name, .report = report};
    content_builder_init(&checker->builder);
    arena_init(&checker->arena, INFLATE_MAX);
}

static void drop_from(struct checker *checker, size_t at)
{
    while (checker->count > at)
        free(checker->attempts[--checker->count]);
}

void checker_free(struct checker *checker)
{
    drop_from(checker, 0);
    free(checker->attempts);
    content_builder_free(&checker->builder);
    arena_free(&checker->arena);
}

// The first attempt whose last offset is not below `offset`.
static size_t index_of(const struct checker *checker, int64_t offset)
{
    size_t low = 0;
    for (size_t high = checker->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (checker->attempts[middle]->last < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct attempt *checker_find(const struct checker *checker, int64_t offset)
{
    size_t at = index_of(checker, offset);
    if (at == checker->count || checker->attempts[at]->base > offset)
        return NULL;
    return checker->attempts[at];
}

// --- appending

static void forget_failed(struct checker *checker, int64_t base)
{
    size_t at = index_of(checker, base);
    for (size_t i = at; i < checker->count; i++) {
        const struct attempt *attempt = checker->attempts[i];
        if (attempt->state != ATTEMPT_FAILED || attempt->exposed)
            fail(checker,
                 "offset %" PRId64 " is given again, though offsets %" PRId64 " to %" PRId64
                 " are %s",
                 base, attempt->base, attempt->last,
                 attempt->exposed ? "read already" : "not failed");
    }
    drop_from(checker, at);
}

struct attempt *checker_append(struct checker *checker, const struct content *content, int64_t base,
                               int64_t last, struct span stored, int64_t latest_ms)
{
    forget_failed(checker, base);
    int64_t expected =
        checker->count ? checker->attempts[checker->count - 1]->last + 1 : checker->committed;
    if (base != expected || last != base + content->records - 1)
        fail(checker, "offsets %" PRId64 " to %" PRId64 " given to %d records, %" PRId64 " is next",
             base, last, (int)content->records, expected);
    if (checker->count == checker->room) {
        checker->room = checker->room ? checker->room * 2 : 64;
        checker->attempts =
            realloc(checker->attempts, checker->room * sizeof(struct attempt *)); // NOLINT
        CHECK(checker->attempts);
    }
    struct attempt *attempt = malloc(sizeof(*attempt));
    CHECK(attempt);
    *attempt = (struct attempt){
        .content = *content,
        .base = base,
        .last = last,
        .digest = XXH3_64bits(stored.data, stored.size),
        .size = (uint32_t)stored.size,
        .latest_ms = latest_ms,
    };
    checker->attempts[checker->count++] = attempt;
    return attempt;
}

void checker_append_done(struct checker *checker, struct attempt *attempt, int error)
{
    if (attempt->state != ATTEMPT_PENDING)
        fail(checker, "offset %" PRId64 ": an append ends twice", attempt->base);
    if (error) {
        if (attempt->exposed)
            fail(checker, "offset %" PRId64 " was read, and its append fails", attempt->base);
        attempt->state = ATTEMPT_FAILED;
        return;
    }
    if (attempt->base < checker->acked)
        fail(checker, "offset %" PRId64 " is acknowledged after %" PRId64, attempt->base,
             checker->acked - 1);
    attempt->state = ATTEMPT_ACKED;
    checker->acked = attempt->last + 1;
}

// --- offsets

static bool start_may_be(const struct checker *checker, int64_t start)
{
    return checker->retention || start <= checker->start || start <= checker->start_asked;
}

static bool overlaps_damage(const struct checker *checker, int64_t from, int64_t to)
{
    for (uint32_t i = 0; i < checker->damage_count; i++) {
        if (from < checker->damages[i].to && to > checker->damages[i].from)
            return true;
    }
    return false;
}

void checker_tell_time(struct checker *checker, int64_t latest_ms)
{
    for (size_t i = 0; i < checker->count; i++) {
        struct attempt *attempt = checker->attempts[i];
        if (attempt->latest_ms < latest_ms)
            attempt->latest_ms = latest_ms;
    }
}

static int64_t newest_timestamp(const struct content *content)
{
    int64_t first = content_timestamp(content, 0);
    int64_t last = content_timestamp(content, content->records - 1);
    return first > last ? first : last;
}

// Retention by time takes only what is old by the clock that it goes by.
static void check_young(const struct checker *checker, int64_t start)
{
    if (checker->sized || checker->retention_ms == 0 || checker->compacted)
        return;
    for (size_t i = index_of(checker, checker->start); i < checker->count; i++) {
        const struct attempt *attempt = checker->attempts[i];
        int64_t age_ms = attempt->latest_ms - newest_timestamp(&attempt->content);
        if (attempt->last >= start)
            return;
        if (attempt->last >= checker->start_asked && age_ms <= checker->retention_ms &&
            !overlaps_damage(checker, attempt->base, attempt->last + 1))
            fail(checker,
                 "the start moves to %" PRId64 ", offset %" PRId64 " is %" PRId64 " ms old", start,
                 attempt->last, age_ms);
    }
}

void checker_shown(struct checker *checker, int64_t start, int64_t committed, int64_t end)
{
    if (start < checker->start)
        fail(checker, "the start goes back from %" PRId64 " to %" PRId64, checker->start, start);
    if (committed < checker->committed)
        fail(checker, "the high watermark goes back from %" PRId64 " to %" PRId64,
             checker->committed, committed);
    if (start > committed || committed > end)
        fail(checker, "start %" PRId64 ", high watermark %" PRId64 ", end %" PRId64, start,
             committed, end);
    if (!start_may_be(checker, start))
        fail(checker, "the start moves to %" PRId64 ", which nobody asked for", start);
    check_young(checker, start);
    checker->start = start;
    checker->committed = committed;
}

void checker_trimmed(struct checker *checker, int64_t asked, int64_t start)
{
    if (start < asked)
        fail(checker, "a trim to %" PRId64 " succeeds at %" PRId64, asked, start);
    if (checker->start < start)
        checker->start = start;
}

void checker_damage(struct checker *checker, int64_t from, int64_t to)
{
    if (checker->damage_count < CHECKER_DAMAGES && from < to)
        checker->damages[checker->damage_count++] = (struct checker_damage){from, to};
}

bool checker_may_be_damaged(const struct checker *checker, int64_t offset)
{
    return overlaps_damage(checker, offset, offset + 1);
}

// --- reading

// A batch that compaction has thinned out: what is left of it must be what was written.
static void check_thinned(struct checker *checker, struct attempt *attempt, struct span bytes,
                          const struct batch_header *header)
{
    struct batch_header checked;
    struct batch_reader reader;
    if (batch_check_stored(bytes, &checked) != BATCH_OK ||
        header->last_offset_delta != attempt->content.records - 1 ||
        header->producer_id != attempt->content.producer.id)
        fail(checker, "offset %" PRId64 ": a batch that nobody wrote", attempt->base);
    arena_reset(&checker->arena);
    enum batch_error error = batch_reader_init(&reader, bytes, &checker->arena, INFLATE_MAX);
    struct record record;
    int more = error == BATCH_OK ? batch_reader_next(&reader, &record) : (int)error;
    for (; more > 0; more = batch_reader_next(&reader, &record)) {
        int32_t index = (int32_t)(record.offset - attempt->base);
        if (!content_matches(&checker->builder, &attempt->content, index, &record))
            fail(checker, "offset %" PRId64 ": a record that nobody wrote", record.offset);
        attempt->present |= 1u << index;
    }
    if (more < 0)
        fail(checker, "offset %" PRId64 ": a batch that cannot be read: %s", attempt->base,
             batch_error_text((enum batch_error)more));
}

static void check_batch(struct checker *checker, struct span bytes,
                        const struct batch_header *header)
{
    struct attempt *attempt = checker_find(checker, header->base_offset);
    if (!attempt && checker->end_damaged && header->base_offset < checker->forgotten)
        return; // where the start was is lost as well
    if (!attempt || attempt->base != header->base_offset)
        fail(checker, "offset %" PRId64 ": a batch begins that was not written there",
             header->base_offset);
    if (attempt->state == ATTEMPT_FAILED && !checker->verifying && !checker->device_failed)
        fail(checker, "offset %" PRId64 " is read, though its append failed", attempt->base);
    if (bytes.size == attempt->size && XXH3_64bits(bytes.data, bytes.size) == attempt->digest)
        attempt->present = UINT32_MAX;
    else if (checker->compacted)
        check_thinned(checker, attempt, bytes, header);
    else
        fail(checker, "offset %" PRId64 ": other bytes than were written", attempt->base);
    attempt->exposed = true;
    attempt->checked = true;
}

int64_t checker_read(struct checker *checker, int64_t offset, const struct iovec *slices,
                     uint32_t count)
{
    int64_t next = offset;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = slices[i].iov_base;
        for (size_t left = slices[i].iov_len; left > 0;) {
            struct batch_header header;
            if (batch_header_read(span_of(at, left), &header) != BATCH_OK ||
                batch_total_size(&header) > left)
                fail(checker, "offset %" PRId64 ": part of a batch", next);
            int64_t last = batch_last_offset(&header);
            bool first = next == offset;
            bool fits =
                first ? header.base_offset <= offset && last >= offset : header.base_offset == next;
            if (checker->compacted)
                fits = last >= next && (first || header.base_offset >= next);
            if (!fits)
                fail(checker, "offset %" PRId64 ": the batch with %" PRId64 " to %" PRId64 " comes",
                     next, header.base_offset, last);
            check_batch(checker, span_of(at, batch_total_size(&header)), &header);
            next = last + 1;
            at += batch_total_size(&header);
            left -= batch_total_size(&header);
        }
    }
    return next;
}

// --- after a restart

void checker_restarted(struct checker *checker, int64_t start, int64_t committed, int64_t end,
                       int error)
{
    bool lost_end = checker->end_damaged && error;
    checker->refusing = lost_end;
    if (error && !checker->end_damaged)
        fail(checker, "accepts nothing after a restart: %s", strerror(-error));
    int64_t least = checker->acked > checker->committed ? checker->acked : checker->committed;
    if (committed < least && !lost_end)
        fail(checker, "%" PRId64 " to %" PRId64 " were %s and are lost", committed, least - 1,
             checker->acked > committed ? "acknowledged" : "shown");
    // Where it was may have been written in what is damaged.
    if (start < checker->start && !lost_end && !checker->start_damaged)
        fail(checker, "the start goes back from %" PRId64 " to %" PRId64, checker->start, start);
    if (!start_may_be(checker, start))
        fail(checker, "the start is %" PRId64 ", which nobody asked for", start);
    check_young(checker, start);
    if (start > committed || committed != end)
        fail(checker, "start %" PRId64 ", high watermark %" PRId64 ", end %" PRId64, start,
             committed, end);
    checker->start = start;
    checker->committed = committed;
    checker->verifying = true;
    for (size_t i = 0; i < checker->count; i++) {
        checker->attempts[i]->checked = false;
        checker->attempts[i]->present = 0;
    }
}

static void check_last_of_keys(const struct checker *checker, int64_t start)
{
    struct {
        int64_t offset;
        bool there;
        bool null;
        int64_t older; // the newest of the others that is there
    } keys[CONTENT_KEYS_MAX];
    for (int key = 0; key < CONTENT_KEYS_MAX; key++) {
        keys[key].offset = -1;
        keys[key].older = -1;
    }
    for (size_t i = 0; i < checker->count; i++) {
        const struct attempt *attempt = checker->attempts[i];
        for (int32_t r = 0; r < attempt->content.records; r++) {
            int key = content_key(&attempt->content, r);
            if (key < 0 || attempt->base + r < start)
                continue;
            if (keys[key].offset >= 0 && keys[key].there)
                keys[key].older = keys[key].offset;
            keys[key].offset = attempt->base + r;
            keys[key].there = (attempt->present >> r & 1) ||
                              overlaps_damage(checker, attempt->base + r, attempt->base + r + 1);
            keys[key].null = content_is_null(&attempt->content, r);
        }
    }
    for (int key = 0; key < CONTENT_KEYS_MAX; key++) {
        if (keys[key].offset < 0 || keys[key].there)
            continue;
        if (!keys[key].null)
            fail(checker, "offset %" PRId64 ", the last value of key %d, is lost", keys[key].offset,
                 key);
        if (keys[key].older >= 0)
            fail(checker, "key %d was deleted at offset %" PRId64 " and has a value at %" PRId64,
                 key, keys[key].offset, keys[key].older);
    }
}

// No batch of an idempotent producer is there twice, and none between two others is missing.
static void check_sequences(const struct checker *checker)
{
    struct batch_producer next[CHECKER_PRODUCERS];
    uint32_t count = 0;
    for (size_t i = 0; i < checker->count; i++) {
        const struct content *content = &checker->attempts[i]->content;
        const struct batch_producer *producer = &content->producer;
        if (producer->id < 0)
            continue;
        uint32_t at = 0;
        while (at < count && next[at].id != producer->id)
            at++;
        CHECK(at < CHECKER_PRODUCERS);
        bool newer = at < count && producer->epoch > next[at].epoch;
        int32_t expected = newer        ? 0
                           : at < count ? next[at].base_sequence
                                        : producer->base_sequence;
        if ((at < count && producer->epoch < next[at].epoch) || producer->base_sequence != expected)
            fail(checker,
                 "offset %" PRId64 ": epoch %d, sequence %d of producer %" PRId64
                 " where %d is next",
                 checker->attempts[i]->base, (int)producer->epoch, (int)producer->base_sequence,
                 producer->id, (int)expected);
        count += at == count;
        next[at] = *producer;
        next[at].base_sequence += content->records;
    }
}

static bool is_missing(const struct checker *checker, const struct attempt *attempt, int64_t start)
{
    bool known = attempt->state == ATTEMPT_ACKED || attempt->state == ATTEMPT_FOUND ||
                 attempt->exposed || attempt->base < checker->committed;
    return known && !attempt->checked && attempt->last >= start && !checker->compacted &&
           !overlaps_damage(checker, attempt->base, attempt->last + 1);
}

void checker_verified(struct checker *checker, int64_t start)
{
    size_t kept = 0;
    for (size_t i = 0; i < checker->count; i++) {
        struct attempt *attempt = checker->attempts[i];
        bool inside = attempt->base < checker->committed || checker->refusing;
        if (inside && is_missing(checker, attempt, start))
            fail(checker, "offsets %" PRId64 " to %" PRId64 " are missing", attempt->base,
                 attempt->last);
        if (!inside || attempt->last < start) {
            if (inside && checker->forgotten <= attempt->last)
                checker->forgotten = attempt->last + 1;
            free(attempt);
            continue;
        }
        bool unknown = attempt->base >= checker->committed && !attempt->checked;
        if (attempt->state != ATTEMPT_ACKED && !unknown)
            attempt->state = ATTEMPT_FOUND;
        checker->attempts[kept++] = attempt;
    }
    checker->count = kept;
    checker->verifying = false;
    checker->start_damaged = false;
    if (checker->acked < checker->committed || checker->end_damaged)
        checker->acked = checker->committed;
    check_sequences(checker);
    if (checker->compacted && !checker->refusing)
        check_last_of_keys(checker, start);
}

// --- time

static bool is_better(const struct attempt *attempt, int32_t index, int64_t timestamp,
                      int64_t found)
{
    int64_t has = content_timestamp(&attempt->content, index);
    return timestamp == TIME_MAX ? has > found : has >= timestamp;
}

// No record that was there all the time would have been the right answer instead.
static void check_missed(const struct checker *checker, int64_t timestamp, int64_t from, int64_t to,
                         int64_t found)
{
    for (size_t i = index_of(checker, from); i < checker->count; i++) {
        const struct attempt *attempt = checker->attempts[i];
        for (int32_t r = 0; r < attempt->content.records; r++) {
            int64_t offset = attempt->base + r;
            if (offset >= from && offset < to && is_better(attempt, r, timestamp, found) &&
                !overlaps_damage(checker, offset, offset + 1))
                fail(checker, "looking for time %" PRId64 " misses offset %" PRId64, timestamp,
                     offset);
        }
    }
}

void checker_time(struct checker *checker, int64_t timestamp, int64_t start_after,
                  int64_t committed_before, int64_t offset, int64_t found)
{
    if (offset >= 0) {
        const struct attempt *attempt = checker_find(checker, offset);
        if (!attempt && checker->end_damaged && offset < checker->forgotten)
            return;
        if (!attempt)
            fail(checker, "looking for time %" PRId64 " finds offset %" PRId64, timestamp, offset);
        int64_t has = content_timestamp(&attempt->content, (int32_t)(offset - attempt->base));
        if (has != found || (timestamp != TIME_MAX && found < timestamp))
            fail(checker,
                 "looking for time %" PRId64 " finds %" PRId64 " at offset %" PRId64
                 ", which has %" PRId64,
                 timestamp, found, offset, has);
    }
    int64_t to = committed_before;
    if (offset >= 0 && timestamp != TIME_MAX && offset < to)
        to = offset;
    if (!checker->compacted)
        check_missed(checker, timestamp, start_after, to, found);
}
