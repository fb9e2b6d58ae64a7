// SPDX-License-Identifier: Apache-2.0
// What storage/inspect.h makes of files that are written here byte by byte: of those that no broker
// would write, and of journals. What a broker leaves is compared in weir-sim --inspect.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/record_batch.h"
#include "storage/inspect.h"
#include "storage/inspect_repair.h"

enum { SALT = 77, JOURNAL_SALT = 99, IDENTITY = 5, FILE_BYTES = 64 * 1024 };

static const struct kp_uuid topic_id = {{1}}; // 0-AQAAAAAAAAAAAAAAAAAAAA
static const char log_name[] = "topics/t/0-AQAAAAAAAAAAAAAAAAAAAA";
static const char segment_name[] = "topics/t/0-AQAAAAAAAAAAAAAAAAAAAA/00000000000000000000.log";
static const char index_name[] = "topics/t/0-AQAAAAAAAAAAAAAAAAAAAA/00000000000000000000.index";

struct room {
    char path[64];
    uint8_t *segment;
    uint64_t end;
    uint64_t sequence;
    uint8_t *journal;
    uint64_t journal_end;
    uint64_t commit;
    struct inspect_directory directory;
    struct inspect_journal found;
};

static int entry_remove(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void file_put(const struct room *room, const char *name, const void *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", room->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static void directory_put(const struct room *room, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", room->path, name);
    cr_assert_eq(mkdir(path, 0700), 0);
}

static void room_begin(struct room *room)
{
    *room = (struct room){.path = "/tmp/weir-inspect-XXXXXX",
                          .end = FORMAT_BLOCK,
                          .sequence = 1,
                          .journal_end = JOURNAL_BLOCK,
                          .commit = 1};
    cr_assert(mkdtemp(room->path));
    directory_put(room, "topics");
    directory_put(room, "topics/t");
    directory_put(room, log_name);
    directory_put(room, "journal");
    file_put(room, "format", "weir data format 2\n", 19);
    room->segment = calloc(1, FILE_BYTES);
    room->journal = calloc(1, FILE_BYTES);
    struct segment_header header = {
        .topic_id = topic_id, .salt = SALT, .alignment = FORMAT_ALIGNMENT, .first_sequence = 1};
    format_segment_write(&header, room->segment);
    struct journal_header journal = {.shard_count = 1,
                                     .identity = IDENTITY,
                                     .salt = JOURNAL_SALT,
                                     .life = 1,
                                     .sequence = 1,
                                     .created_ms = 1};
    journal_header_write(&journal, room->journal);
}

static void looked_forget(struct room *room)
{
    if (room->directory.path) {
        inspect_journal_close(&room->found);
        inspect_directory_close(&room->directory);
    }
}

static void room_end(struct room *room)
{
    looked_forget(room);
    nftw(room->path, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
    free(room->segment);
    free(room->journal);
}

// A batch of `count` records from `base` on, at `to`. Returns its size.
static size_t batch_put(uint8_t *to, int64_t base, int count)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span batch;
    batch_builder_init(&builder, 4096);
    for (int i = 0; i < count; i++)
        cr_assert_eq(batch_builder_add(&builder, 1000, span_text("k"), span_text("value"), NULL, 0),
                     BATCH_OK);
    struct batch_producer none = {.id = -1, .epoch = -1, .base_sequence = -1};
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, none, &scratch, &batch), BATCH_OK);
    memcpy(to, batch.data, batch.size);
    batch_assign(to, base, 0);
    batch_builder_free(&builder);
    free(scratch.data);
    return batch.size;
}

// A frame around what lies behind its header already.
static void frame_close(struct room *room, int64_t base, int64_t next, uint32_t batches,
                        size_t size)
{
    uint8_t *at = room->segment + room->end;
    struct frame_header frame = {.kind = FRAME_DATA,
                                 .payload_size = (uint32_t)size,
                                 .batch_count = batches,
                                 .base_offset = base,
                                 .next_offset = next,
                                 .max_timestamp = 1000,
                                 .sequence = room->sequence++};
    frame.stored_size = (uint32_t)format_stored_size(size, FORMAT_ALIGNMENT);
    frame.payload_checksum = format_payload_seal(at + FRAME_HEADER_SIZE, size, SALT);
    format_frame_write(&frame, SALT, room->end, at);
    room->end += frame.stored_size;
}

static void frame_put(struct room *room, int64_t base, int count)
{
    size_t size = batch_put(room->segment + room->end + FRAME_HEADER_SIZE, base, count);
    frame_close(room, base, base + count, 1, size);
}

static void define_put(uint8_t *payload, struct journal_entry *entry)
{
    struct journal_define define = {.topic_id = topic_id};
    journal_define_write(&define, payload);
    *entry = (struct journal_entry){
        .log = 1,
        .kind = JOURNAL_KIND_DEFINE,
        .size = JOURNAL_DEFINE_SIZE,
        .checksum = journal_entry_checksum(payload, JOURNAL_DEFINE_SIZE, JOURNAL_SALT)};
}

// A commit that defines the log and holds one batch of it. Returns its position.
static uint64_t commit_put(struct room *room, int64_t base, int count, uint32_t next_slot)
{
    uint8_t *at = room->journal + room->journal_end;
    uint8_t *payload = at + JOURNAL_COMMIT_HEADER;
    struct journal_entry entries[2];
    define_put(payload, &entries[0]);
    size_t size = batch_put(payload + JOURNAL_DEFINE_SIZE, base, count);
    entries[1] = (struct journal_entry){
        .log = 1,
        .kind = FRAME_DATA,
        .size = (uint32_t)size,
        .base_offset = base,
        .checksum = journal_entry_checksum(payload + JOURNAL_DEFINE_SIZE, size, JOURNAL_SALT)};
    struct journal_commit commit = {.entry_count = 2,
                                    .payload_size = (uint32_t)(JOURNAL_DEFINE_SIZE + size),
                                    .next_slot = next_slot,
                                    .sequence = room->commit++,
                                    .needed = 1};
    commit.stored_size = (uint32_t)journal_stored_size(commit.payload_size, 2);
    uint8_t *table = at + journal_table_at(&commit);
    for (int i = 0; i < 2; i++)
        journal_entry_write(&entries[i], table + i * JOURNAL_TABLE_ENTRY);
    commit.table_checksum = format_checksum(table, 2 * (size_t)JOURNAL_TABLE_ENTRY, JOURNAL_SALT);
    commit.payload_checksum = format_checksum(payload, commit.payload_size, JOURNAL_SALT);
    journal_commit_write(&commit, JOURNAL_SALT, room->journal_end, at);
    uint64_t position = room->journal_end;
    room->journal_end += commit.stored_size;
    return position;
}

static void state_put(struct room *room, bool in_use, uint32_t uncertain_count)
{
    uint8_t bytes[JOURNAL_STATE_HEADER + JOURNAL_STATE_ENTRY];
    struct journal_state_header state = {.shard_count = 1,
                                         .in_use = in_use,
                                         .identity = IDENTITY,
                                         .life = 1,
                                         .sequence = 1,
                                         .uncertain_count = uncertain_count};
    struct journal_uncertain uncertain = {.topic_id = topic_id, .next_offset = 4};
    journal_state_write(&state, &uncertain, bytes);
    file_put(room, "journal-000-of-001.state", bytes, journal_state_size(uncertain_count));
}

static void files_put(struct room *room)
{
    file_put(room, segment_name, room->segment, FILE_BYTES);
    file_put(room, "journal/000-000.journal", room->journal, FILE_BYTES);
}

// Surveys and judges everything.
static struct inspect_log *look(struct room *room)
{
    struct inspect_filter all = {.partition = -1};
    looked_forget(room);
    cr_assert_eq(inspect_directory_open(&room->directory, room->path, &all), 0);
    cr_assert_eq(inspect_journal_open(&room->found, &room->directory, NULL), 0);
    cr_assert_eq(room->directory.log_count, 1);
    struct inspect_log *log = &room->directory.logs[0];
    struct inspect_options options = {.records = true, .journal = &room->found};
    for (size_t i = 0; i < log->segment_count; i++)
        cr_assert_eq(inspect_segment_survey(&log->segments[i], &options), 0);
    inspect_log_judge(log, &room->found);
    return log;
}

// All findings in one line, as kinds with their offsets.
static void assert_found(struct room *room, const char *expected)
{
    char text[512] = "";
    size_t used = 0;
    struct inspect_log *log = look(room);
    const struct inspect_findings *all[] = {&room->directory.findings, &room->found.findings,
                                            &log->findings};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < all[i]->count && used < sizeof(text); j++) {
            const struct inspect_finding *finding = &all[i]->items[j];
            int size = snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? " " : "",
                                inspect_rules[finding->kind].name);
            used += (size_t)size;
            if (finding->next > finding->first && used < sizeof(text))
                used += (size_t)snprintf(text + used, sizeof(text) - used,
                                         "[%" PRId64 ",%" PRId64 ")", finding->first,
                                         finding->next == INT64_MAX ? -1 : finding->next);
        }
    }
    cr_expect_str_eq(text, expected);
}

// --- segments

Test(storage, inspection_finds_nothing_wrong_with_sound_frames)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 3);
    frame_put(&room, 3, 1);
    room.end = format_next_block(room.end); // a writer that has begun a new block
    frame_put(&room, 4, 2);
    files_put(&room);
    assert_found(&room, "");
    const struct inspect_log *log = &room.directory.logs[0];
    cr_expect_eq(log->start, 0);
    cr_expect_eq(log->end, 6);
    cr_expect_eq(log->segments[0].records, 6);
    room_end(&room);
}

Test(storage, inspection_looks_into_sound_frames)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 3);
    uint8_t *payload = room.segment + room.end + FRAME_HEADER_SIZE;
    size_t size = batch_put(payload, 3, 2);
    payload[size - 1] ^= 1; // before the frame was made: only the batch's own checksum knows
    frame_close(&room, 3, 5, 1, size);
    payload = room.segment + room.end + FRAME_HEADER_SIZE;
    size = batch_put(payload, 5, 2);
    size += batch_put(payload + size, 8, 1); // 7 is missing
    frame_close(&room, 5, 9, 2, size);
    frame_put(&room, 9, 1);
    frame_close(&room, 10, 12, 1, batch_put(room.segment + room.end + FRAME_HEADER_SIZE, 10, 1));
    files_put(&room);
    assert_found(&room, "bad-batch[3,4) bad-batch[8,9) bad-batch[10,11)");
    room_end(&room);
}

Test(storage, inspection_reads_on_where_a_journal_lost_offsets)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 3);
    frame_put(&room, 5, 1); // the next number, later offsets
    files_put(&room);
    assert_found(&room, "damaged-range[3,5)");
    cr_expect_eq(room.directory.logs[0].end, 6);
    room_end(&room);
}

static void index_put(struct room *room, struct index_header header, struct index_entry entry)
{
    uint8_t bytes[INDEX_HEADER_SIZE + INDEX_ENTRY_SIZE];
    header.salt = SALT;
    header.entry_count = 1;
    format_entry_write(&entry, bytes + INDEX_HEADER_SIZE);
    header.entries_checksum = format_checksum(bytes + INDEX_HEADER_SIZE, INDEX_ENTRY_SIZE, SALT);
    format_index_write(&header, bytes);
    file_put(room, index_name, bytes, sizeof(bytes));
}

Test(storage, inspection_compares_an_index_with_the_frames)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 3);
    frame_put(&room, 3, 1);
    files_put(&room);
    struct index_header right = {.covered = room.end,
                                 .next_offset = 4,
                                 .last_frame = FORMAT_BLOCK + FORMAT_ALIGNMENT,
                                 .sequence = 3,
                                 .max_timestamp = 1000};
    struct index_entry entry = {.offset = 0, .position = FORMAT_BLOCK, .max_before = -1};
    index_put(&room, right, entry);
    assert_found(&room, "");
    struct index_header wrong[] = {right, right, right, right};
    wrong[0].next_offset = 3;
    wrong[1].sequence = 4;
    wrong[2].last_frame = FORMAT_BLOCK;
    wrong[3].max_timestamp = 1001;
    for (int i = 0; i < 4; i++) {
        index_put(&room, wrong[i], entry);
        assert_found(&room, "wrong-index");
    }
    struct index_entry bad[] = {entry, entry, entry};
    bad[0].offset = 1;
    bad[1].position += FORMAT_ALIGNMENT / 2;
    bad[2].max_before = 5;
    for (int i = 0; i < 3; i++) {
        index_put(&room, right, bad[i]);
        assert_found(&room, "wrong-index");
    }
    room_end(&room);
}

// --- journals

Test(storage, inspection_adds_what_is_journalled_to_a_log)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 4);
    commit_put(&room, 0, 4, JOURNAL_NO_SLOT); // in the segment as well
    commit_put(&room, 4, 2, JOURNAL_NO_SLOT);
    state_put(&room, true, 0);
    files_put(&room);
    assert_found(&room, "");
    const struct inspect_log *log = &room.directory.logs[0];
    cr_expect_eq(log->end, 4);
    cr_expect_eq(log->journal_first, 4);
    cr_expect_eq(log->journal_next, 6);
    room_end(&room);
}

Test(storage, inspection_compares_the_journal_with_the_segment)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 4);
    commit_put(&room, 0, 3, JOURNAL_NO_SLOT);
    state_put(&room, true, 0);
    files_put(&room);
    assert_found(&room, "journal-conflict[0,1)");
    state_put(&room, false, 0); // settled: what the files hold is of no interest
    assert_found(&room, "");
    room_end(&room);
}

Test(storage, inspection_names_a_bad_commit_and_what_it_leaves_in_doubt)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 4);
    commit_put(&room, 4, 1, JOURNAL_NO_SLOT);
    uint64_t position = commit_put(&room, 5, 1, JOURNAL_NO_SLOT);
    commit_put(&room, 6, 1, JOURNAL_NO_SLOT);
    state_put(&room, true, 0);
    room.journal[position + JOURNAL_COMMIT_HEADER + 80] ^= 1; // its payload
    files_put(&room);
    assert_found(&room, "damaged-journal journal-gap[5,6)");
    memset(room.journal + position, 0, JOURNAL_BLOCK);
    files_put(&room);
    assert_found(&room, "damaged-journal journal-gap[5,6)");
    cr_expect_eq(room.found.findings.items[0].from, position);
    cr_expect_eq(room.found.findings.items[0].to, position + JOURNAL_BLOCK);
    room_end(&room);
}

Test(storage, inspection_takes_a_bad_last_commit_for_torn)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 4);
    commit_put(&room, 4, 1, JOURNAL_NO_SLOT);
    uint64_t position = commit_put(&room, 5, 1, JOURNAL_NO_SLOT);
    state_put(&room, true, 0);
    room.journal[position + JOURNAL_COMMIT_HEADER + 80] ^= 1;
    files_put(&room);
    assert_found(&room, "torn-commit");
    cr_expect_eq(room.directory.logs[0].journal_next, 5);
    room_end(&room);
}

Test(storage, inspection_misses_journal_files)
{
    struct room room;
    char path[128];
    room_begin(&room);
    frame_put(&room, 0, 4);
    commit_put(&room, 4, 1, 1); // announces slot 1
    state_put(&room, true, 0);
    files_put(&room);
    assert_found(&room, "missing-journal uncertain-end[5,-1)");
    snprintf(path, sizeof(path), "%s/journal/000-000.journal", room.path);
    cr_assert_eq(unlink(path), 0);
    assert_found(&room, "missing-journal uncertain-end[4,-1)");
    state_put(&room, false, 0);
    assert_found(&room, "");
    state_put(&room, false, 1); // an earlier start knew of a loss
    assert_found(&room, "uncertain-end[4,-1)");
    room_end(&room);
}

Test(storage, a_state_file_written_by_repair_settles_the_journal)
{
    struct room room;
    room_begin(&room);
    frame_put(&room, 0, 4);
    commit_put(&room, 4, 1, 1);
    state_put(&room, true, 1);
    files_put(&room);
    assert_found(&room, "missing-journal uncertain-end[5,-1)");
    struct journal_state_header settled = {
        .shard_count = 1, .identity = IDENTITY, .life = 2, .sequence = 2};
    cr_assert_eq(inspect_state_write(room.path, "journal-000-of-001.state", settled, NULL), 0);
    assert_found(&room, "");
    room_end(&room);
}
