// SPDX-License-Identifier: Apache-2.0
// Journal files and their state files as lines: lives, commits, entries.
#include "tools/log_dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch.h"

static void print_state(struct dump *dump, const struct inspect_journal_state *state)
{
    const struct journal_state_header *header = &state->header;
    json_t *line = dump_line("journal-state");

    dump_set_text(line, "file", state->name);
    dump_set_text(line, "state", dump_state_text(state->state));
    if (state->state == INSPECT_SOUND) {
        dump_set(line, "shard", header->shard);
        dump_set(line, "shard_count", header->shard_count);
        json_object_set_new(line, "in_use", json_boolean(header->in_use));
        dump_set_hex(line, "identity", header->identity);
        dump_set(line, "life", (int64_t)header->life);
        dump_set(line, "needed", (int64_t)header->sequence);
        dump_set(line, "uncertain", header->uncertain_count);
    }
    dump_print(dump, line);
    for (uint32_t i = 0; state->uncertain != NULL && i < header->uncertain_count; i++) {
        line = dump_line("uncertain");
        dump_set_id(line, state->uncertain[i].topic_id);
        dump_set(line, "partition", state->uncertain[i].partition);
        dump_set(line, "next_offset", state->uncertain[i].next_offset);
        dump_print(dump, line);
    }
}

static void print_file(struct dump *dump, const struct inspect_journal_file *file)
{
    const struct journal_header *header = &file->header;
    json_t *line = dump_line("journal");

    dump_set_text(line, "file", file->name);
    dump_set_text(line, "header", dump_state_text(file->state));
    dump_set(line, "size", (int64_t)file->size);
    if (file->state == INSPECT_SOUND) {
        dump_set(line, "shard", header->shard);
        dump_set(line, "shard_count", header->shard_count);
        dump_set(line, "slot", header->slot);
        dump_set_hex(line, "identity", header->identity);
        dump_set_hex(line, "salt", header->salt);
        dump_set(line, "life", (int64_t)header->life);
        dump_set(line, "first_sequence", (int64_t)header->sequence);
        dump_set(line, "needed", (int64_t)header->needed);
        dump_set(line, "created_ms", header->created_ms);
    }
    dump_print(dump, line);
}

static void print_commit(struct dump *dump, const struct inspect_commit *commit)
{
    const struct journal_commit *header = &commit->header;
    json_t *line = dump_line("commit");

    dump_set(line, "position", (int64_t)commit->position);
    dump_set(line, "stored_size", header->stored_size);
    dump_set(line, "payload_size", header->payload_size);
    dump_set(line, "entries", header->entry_count);
    dump_set(line, "sequence", (int64_t)header->sequence);
    dump_set(line, "needed", (int64_t)header->needed);
    if (header->next_slot != JOURNAL_NO_SLOT)
        dump_set(line, "next_slot", header->next_slot);
    dump_set_text(line, "table", commit->table_sound ? "sound" : "damaged");
    dump_set_text(line, "payload", commit->payload_sound ? "sound" : "damaged");
    dump_print(dump, line);
}

// The offset behind an entry's batches.
static int64_t next_of(const struct journal_entry *entry, struct span payload)
{
    int64_t next = entry->base_offset;

    for (size_t at = 0; entry->kind == FRAME_DATA && at < payload.size;) {
        struct batch_header header;
        struct span rest = span_of(payload.data + at, payload.size - at);
        if (batch_check_stored(rest, &header) != BATCH_OK)
            return next;
        next = batch_last_offset(&header) + 1;
        at += batch_total_size(&header);
    }
    return next;
}

static void print_entry(struct dump *dump, const struct inspect_commit *commit,
                        const struct journal_entry *entry, struct span payload, bool sound)
{
    static const char *const kinds[] = {"unknown", "data", "log-start", "producers", "define"};
    uint64_t position = (uint64_t)(payload.data - commit->file->image);
    int64_t next = next_of(entry, payload);

    if (entry->kind != JOURNAL_KIND_DEFINE && !dump_wants(dump, entry->base_offset, next))
        return;
    json_t *line = dump_line("journalled");
    dump_set(line, "position", (int64_t)position);
    dump_set(line, "log", entry->log);
    dump_set_text(line, "type", kinds[entry->kind <= JOURNAL_KIND_DEFINE ? entry->kind : 0]);
    dump_set(line, "size", entry->size);
    if (entry->kind == JOURNAL_KIND_DEFINE && sound && payload.size == JOURNAL_DEFINE_SIZE) {
        struct journal_define define = journal_define_read(payload.data);
        dump_set_id(line, define.topic_id);
        dump_set(line, "partition", define.partition);
    } else {
        dump_set(line, "base_offset", entry->base_offset);
        dump_set(line, "next_offset", next);
    }
    if (!sound)
        dump_set_text(line, "what", "fails its checksum");
    dump_print(dump, line);
    if (dump->frames_only || !sound || entry->kind == JOURNAL_KIND_DEFINE)
        return;
    if (entry->kind == FRAME_DATA)
        dump_batches(dump, position, payload);
    else if (entry->kind == FRAME_LOG_START || entry->kind == FRAME_PRODUCERS)
        dump_control(dump, (enum frame_kind)entry->kind, payload);
}

void dump_journal_file(struct dump *dump, const struct inspect_journal_file *file)
{
    struct inspect_commit commit;
    uint64_t at = 0;

    print_file(dump, file);
    while (inspect_commit_next(file, &at, &commit) && !ferror(dump->out)) {
        struct journal_entry entry;
        struct span payload;
        bool sound;
        uint32_t number = 0;
        uint64_t inside = 0;
        print_commit(dump, &commit);
        while (commit.table_sound &&
               inspect_entry_next(&commit, &number, &inside, &entry, &payload, &sound))
            print_entry(dump, &commit, &entry, payload, sound);
    }
}

void dump_journal(struct dump *dump, const struct inspect_journal *journal)
{
    for (size_t i = 0; i < journal->state_count; i++)
        print_state(dump, &journal->states[i]);
    for (size_t i = 0; i < journal->file_count; i++)
        dump_journal_file(dump, &journal->files[i]);
}
