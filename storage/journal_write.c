// SPDX-License-Identifier: Apache-2.0
// Commits: forming one, writing it, and forgetting what has reached the segments.
//
// 1. One write at a time, at the end of the present file; the numbers of commits are consecutive.
//    A commit that was not the last one was therefore durable, and so was every one before it.
// 2. A failed write ends the journal for this run (rule 5 of the storage design): what it was to
//    make durable goes to the segments, as the very same bytes.
// 3. A hold exists for each log and file with an entry that is not in a segment; it is made when
//    the entry is added, so before the write, and goes with journal_flushed. A file is free to be
//    overwritten when it and all before it are without holds; `needed` never passes a file with
//    holds.
// 4. Before the first commit of the next file, a commit of the present one has announced it.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/journal_internal.h"

enum { FORMING_FIRST = 64 * 1024, TABLE_FIRST = 64 };

// What a commit may take in the present file: if the next one is not announced there yet, one block
// stays for that.
static uint64_t room_in_current(const struct journal *journal)
{
    const struct journal_file *file = journal->current;
    uint64_t kept = file->announced ? 0 : JOURNAL_BLOCK;
    uint64_t left = file->size > file->position ? file->size - file->position : 0;
    return left > kept ? left - kept : 0;
}

enum journal_state journal_state(const struct journal *journal)
{
    if (!journal || !journal->begun || journal->error || journal->closing)
        return JOURNAL_OFF;
    if (journal->writing)
        return JOURNAL_BUSY;
    return room_in_current(journal) > 0 || journal->next ? JOURNAL_READY : JOURNAL_FULL;
}

// --- forming

static uint64_t stored_with(const struct journal_forming *forming, uint64_t payload,
                            uint32_t entries)
{
    return journal_stored_size(forming->payload_size + payload, forming->entry_count + entries);
}

static void forming_aim(struct journal *journal, struct journal_file *file)
{
    struct journal_forming *forming = &journal->forming;
    uint64_t room = room_in_current(journal);
    if (file != journal->current)
        room = file->size - file->position - JOURNAL_BLOCK;
    forming->file = file;
    forming->room = room < JOURNAL_COMMIT_MAX ? room : JOURNAL_COMMIT_MAX;
}

// Whether the entry fits; the first one chooses the file.
static bool forming_fits(struct journal *journal, uint64_t payload, uint32_t entries)
{
    struct journal_forming *forming = &journal->forming;
    if (forming->entry_count > 0)
        return stored_with(forming, payload, entries) <= forming->room;
    forming->payload_size = 0;
    forming_aim(journal, journal->current);
    if (stored_with(forming, payload, entries) > forming->room && journal->next)
        forming_aim(journal, journal->next);
    return stored_with(forming, payload, entries) <= forming->room;
}

static bool buffer_reserve(struct journal *journal, uint64_t needed)
{
    struct journal_forming *forming = &journal->forming;
    if (forming->buffer && forming->buffer->capacity >= needed)
        return true;
    size_t wanted = forming->buffer ? forming->buffer->capacity * 2 : FORMING_FIRST;
    while (wanted < needed)
        wanted *= 2;
    struct buffer *buffer = pool_get(journal->options.pool, wanted);
    if (!buffer)
        return false;
    if (forming->buffer) {
        memcpy(buffer->data, forming->buffer->data, JOURNAL_COMMIT_HEADER + forming->payload_size);
        buffer_unref(forming->buffer);
    }
    forming->buffer = buffer;
    return true;
}

static bool table_reserve(struct journal_forming *forming, uint32_t entries)
{
    if (forming->entry_count + entries <= forming->table_capacity)
        return true;
    uint32_t capacity = forming->table_capacity ? forming->table_capacity * 2 : TABLE_FIRST;
    uint8_t *table = realloc(forming->table, (size_t)capacity * JOURNAL_TABLE_ENTRY);
    if (!table)
        return false;
    forming->table = table;
    forming->table_capacity = capacity;
    return true;
}

// A hold of the log in the file that the commit goes to.
static struct journal_hold *hold_take(struct journal_file *file, struct journal_log *log)
{
    if (log->newest && log->newest->file == file)
        return log->newest;
    struct journal_hold *hold = calloc(1, sizeof(*hold));
    if (!hold)
        return NULL;
    hold->file = file;
    hold->log = log;
    list_append(&file->holds, &hold->node);
    if (log->newest)
        log->newest->newer = hold;
    else
        log->oldest = hold;
    log->newest = hold;
    return hold;
}

static void entry_put(struct journal *journal, const struct journal_log *log, uint32_t kind,
                      int64_t base_offset, struct span payload)
{
    struct journal_forming *forming = &journal->forming;
    uint8_t *to = forming->buffer->data + JOURNAL_COMMIT_HEADER + forming->payload_size;
    memcpy(to, payload.data, payload.size);
    struct journal_entry entry = {
        .log = log->number,
        .kind = kind,
        .size = (uint32_t)payload.size,
        .base_offset = base_offset,
        .checksum = journal_entry_checksum(to, payload.size, forming->file->salt),
    };
    journal_entry_write(&entry,
                        forming->table + (size_t)forming->entry_count * JOURNAL_TABLE_ENTRY);
    forming->payload_size += (uint32_t)payload.size;
    forming->entry_count++;
}

bool journal_add(struct journal *journal, struct journal_log *log, uint64_t frame,
                 enum frame_kind kind, int64_t base_offset, struct span payload)
{
    struct journal_forming *forming = &journal->forming;
    CHECK(journal->begun && !journal->writing && payload.size <= JOURNAL_ENTRY_MAX);
    // At most two entries: what the log's number means, and this.
    if (!forming_fits(journal, payload.size + JOURNAL_DEFINE_SIZE, 2) ||
        !buffer_reserve(journal, stored_with(forming, payload.size + JOURNAL_DEFINE_SIZE, 2)) ||
        !table_reserve(forming, 2))
        return false;
    struct journal_hold *hold = hold_take(forming->file, log);
    if (!hold)
        return false;
    CHECK(hold->frame <= frame);
    hold->frame = frame;
    if (log->number == 0)
        log->number = journal->next_number++;
    if (log->defined != forming->file->life) {
        uint8_t define[JOURNAL_DEFINE_SIZE];
        journal_define_write(
            &(struct journal_define){.topic_id = log->topic_id, .partition = log->partition},
            define);
        entry_put(journal, log, JOURNAL_KIND_DEFINE, 0, span_of(define, sizeof(define)));
        log->defined = forming->file->life;
    }
    entry_put(journal, log, kind, base_offset, payload);
    return true;
}

// --- writing

static uint64_t first_needed(const struct journal *journal)
{
    if (!list_empty(&journal->held))
        return list_entry(journal->held.next, struct journal_file, node)->first_sequence;
    if (!list_empty(&journal->current->holds))
        return journal->current->first_sequence;
    return journal->sequence;
}

static void commit_header(struct journal *journal, struct journal_commit *commit)
{
    commit->next_slot = journal->next ? journal->next->slot : JOURNAL_NO_SLOT;
    journal->announcing = journal->next != NULL;
    commit->sequence = journal->sequence;
    commit->needed = first_needed(journal);
}

static void write_end(struct journal *journal, int error)
{
    struct journal_forming *forming = &journal->forming;
    forming->entry_count = 0;
    forming->payload_size = 0;
    forming->file = NULL;
    journal->writing = false;
    if (error) {
        journal->error = error;
        log_line(LOG_ERROR,
                 "%s cannot be written: %s; small commits go to the segments until the next start",
                 journal->current->path, strerror(-error));
    }
    journal_prepare(journal);
    journal->done(journal->done_context, error);
}

static void written(struct durable_op *op)
{
    struct journal *journal = list_entry(op, struct journal, write);
    if (op->result != (int64_t)journal->write_size) {
        write_end(journal, op->result < 0 ? (int)op->result : -EIO);
        return;
    }
    journal->current->position += journal->write_size;
    journal->current->announced = journal->current->announced || journal->announcing;
    journal->sequence++;
    journal->stats.commits++;
    journal->stats.entries += journal->forming.entry_count;
    journal->stats.payload_bytes += journal->forming.payload_size;
    journal->stats.written_bytes += journal->write_size;
    write_end(journal, 0);
}

static void forming_write(struct journal *journal)
{
    struct journal_forming *forming = &journal->forming;
    struct journal_file *file = journal->current;
    struct journal_commit commit = {
        .entry_count = forming->entry_count,
        .payload_size = forming->payload_size,
        .stored_size = (uint32_t)journal_stored_size(forming->payload_size, forming->entry_count),
    };
    uint8_t *bytes = forming->buffer->data;
    size_t table_size = (size_t)forming->entry_count * JOURNAL_TABLE_ENTRY;
    uint8_t *table = bytes + journal_table_at(&commit);
    memcpy(table, forming->table, table_size);
    memset(table + table_size, 0, commit.stored_size - journal_table_at(&commit) - table_size);
    commit.table_checksum = format_checksum(table, table_size, file->salt);
    commit.payload_checksum =
        format_checksum(bytes + JOURNAL_COMMIT_HEADER, forming->payload_size, file->salt);
    commit_header(journal, &commit);
    journal_commit_write(&commit, file->salt, file->position, bytes);
    journal->write_size = commit.stored_size;
    journal->write.done = written;
    durable_write(&journal->write, journal->options.io, journal->options.way, file->fd, bytes,
                  commit.stored_size, file->position);
}

static void announced(struct durable_op *op)
{
    struct journal *journal = list_entry(op, struct journal, write);
    if (op->result != JOURNAL_BLOCK) {
        write_end(journal, op->result < 0 ? (int)op->result : -EIO);
        return;
    }
    journal->sequence++;
    journal->stats.written_bytes += JOURNAL_BLOCK;
    journal->current->position += JOURNAL_BLOCK;
    journal->current->announced = true;
    journal_switch(journal);
    forming_write(journal);
}

// An empty commit that names the next file.
static void announce(struct journal *journal)
{
    struct journal_file *file = journal->current;
    struct journal_commit commit = {.stored_size = JOURNAL_BLOCK};
    commit.table_checksum = format_checksum(NULL, 0, file->salt);
    commit.payload_checksum = commit.table_checksum;
    commit_header(journal, &commit);
    memset(journal->block->data, 0, JOURNAL_BLOCK);
    journal_commit_write(&commit, file->salt, file->position, journal->block->data);
    journal->write.done = announced;
    durable_write(&journal->write, journal->options.io, journal->options.way, file->fd,
                  journal->block->data, JOURNAL_BLOCK, file->position);
}

void journal_write(struct journal *journal, void (*done)(void *context, int error), void *context)
{
    struct journal_forming *forming = &journal->forming;
    CHECK(journal->begun && !journal->writing && forming->entry_count > 0);
    journal->writing = true;
    journal->done = done;
    journal->done_context = context;
    if (forming->file == journal->current) {
        forming_write(journal);
    } else if (!journal->current->announced) {
        announce(journal);
    } else {
        journal_switch(journal);
        forming_write(journal);
    }
}

// --- flushed

void journal_flushed(struct journal *journal, struct journal_log *log, uint64_t frame)
{
    while (log->oldest && log->oldest->frame <= frame) {
        struct journal_hold *hold = log->oldest;
        log->oldest = hold->newer;
        if (!log->oldest)
            log->newest = NULL;
        list_remove(&hold->node);
        free(hold);
    }
    journal_free_flushed(journal);
    journal_prepare(journal);
}

static uint64_t held_bytes(const struct journal *journal)
{
    uint64_t bytes = journal->current ? journal->current->position : 0;
    for (struct list *node = journal->held.next; node != &journal->held; node = node->next)
        bytes += list_entry(node, struct journal_file, node)->size;
    return bytes;
}

bool journal_is_short(const struct journal *journal)
{
    return journal && journal->begun &&
           held_bytes(journal) > journal->file_limit * journal->file_bytes / 2;
}

static struct journal_log *first_of(const struct journal_file *file, const struct list *from)
{
    for (struct list *node = from->next; node != &file->holds; node = node->next) {
        struct journal_hold *hold = list_entry(node, struct journal_hold, node);
        if (hold->log->oldest == hold)
            return hold->log;
    }
    return NULL;
}

struct journal_log *journal_oldest(const struct journal *journal, const struct journal_log *after)
{
    if (!journal || !journal->current)
        return NULL;
    const struct journal_file *file = NULL;
    const struct list *from = NULL;
    if (after) {
        file = after->oldest->file;
        from = &after->oldest->node;
    } else {
        file = list_empty(&journal->held)
                   ? journal->current
                   : list_entry(journal->held.next, struct journal_file, node);
        from = &file->holds;
    }
    for (;;) {
        struct journal_log *log = first_of(file, from);
        if (log || file == journal->current || file == journal->next)
            return log;
        file = file->node.next == &journal->held
                   ? journal->current
                   : list_entry(file->node.next, struct journal_file, node);
        from = &file->holds;
    }
}

struct journal_stats journal_stats(const struct journal *journal)
{
    struct journal_stats stats = journal->stats;
    stats.held_bytes = held_bytes(journal);
    stats.error = journal->error;
    return stats;
}
