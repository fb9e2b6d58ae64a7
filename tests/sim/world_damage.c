// SPDX-License-Identifier: Apache-2.0
// What a decaying device does to files while the machine is off, and what may be lost by it: worked
// out from docs/disk-format.md alone. Only such damage is done that can be told from the torn rest
// of the last commit.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"
#include "tests/sim/world.h"

enum {
    BLOCK = 4096,
    FRAME_HEADER = 64,
    FRAME_MAGIC = 0x4657,
    KIND_DATA = 1,
    PAGE = 4096, // of payloads that are larger
    PAGE_ROW = 12,
    BATCH_LENGTH_AT = 8,
    BATCH_LENGTH_FROM = 12,
    BATCH_LAST_AT = 23,
    COMMIT_MAGIC = 0x434a4c57,
    COMMIT_TABLE_ENTRY = 20,
    FRAMES_MAX = 512,
    FILES_MAX = 256,
    PATH_SIZE = 256,
};

struct frame {
    uint64_t position;
    uint32_t payload;
    uint32_t stored;
    int64_t base;
    int64_t next;
    int kind;
};

// The segments of one log, and the frames of the one that is to be damaged.
struct survey {
    struct world *world;
    char directory[PATH_SIZE];
    int64_t bases[FILES_MAX]; // in order
    uint32_t count;
    struct frame frames[FRAMES_MAX];
    uint32_t frame_count;
};

static void id_text(struct kp_uuid id, char to[23])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int i = 0; i < 22; i++) {
        int number = 0;
        for (int bit = i * 6; bit < i * 6 + 6; bit++)
            number = number << 1 | (bit < 128 ? id.bytes[bit / 8] >> (7 - bit % 8) & 1 : 0);
        to[i] = digits[number];
    }
    to[22] = '\0';
}

static int note_file(void *context, const char *name)
{
    struct survey *survey = context;
    int64_t base = 0;
    int length = 0;
    if (sscanf(name, "%20" SCNd64 "%n", &base, &length) != 1 || length != 20 ||
        strcmp(name + 20, ".log") != 0 || survey->count == FILES_MAX)
        return 0;
    uint32_t at = survey->count++;
    for (; at > 0 && survey->bases[at - 1] > base; at--)
        survey->bases[at] = survey->bases[at - 1];
    survey->bases[at] = base;
    return 0;
}

static void path_of(const struct survey *survey, uint32_t segment, const char *suffix,
                    char to[PATH_SIZE + 32])
{
    snprintf(to, PATH_SIZE + 32, "%s/%020" PRId64 "%s", survey->directory, survey->bases[segment],
             suffix);
}

static uint8_t *file_read(struct world *world, const char *path, uint64_t *size)
{
    struct io *io = sim_io(world->sim);
    int fd = io_open_wait(io, path, O_RDONLY, 0);
    if (fd < 0)
        return NULL;
    int64_t length = io_file_size(io, fd);
    uint8_t *bytes = malloc((size_t)length + 1);
    CHECK(bytes && length >= 0);
    CHECK(io_read_wait(io, fd, bytes, (size_t)length, 0) == length);
    io_close_wait(io, fd);
    *size = (uint64_t)length;
    return bytes;
}

static bool frame_at(const uint8_t *bytes, uint64_t size, uint64_t position, struct frame *out)
{
    if (position + FRAME_HEADER > size || load_le16(bytes + position) != FRAME_MAGIC)
        return false;
    const uint8_t *at = bytes + position;
    *out = (struct frame){
        .position = position,
        .kind = load_le16(at + 2),
        .payload = load_le32(at + 4),
        .stored = load_le32(at + 8),
        .base = (int64_t)load_le64(at + 16),
        .next = (int64_t)load_le64(at + 24),
    };
    return out->stored >= FRAME_HEADER && position + out->stored <= size;
}

static void frames_find(struct survey *survey, uint32_t segment)
{
    char path[PATH_SIZE + 32];
    uint64_t size = 0;
    path_of(survey, segment, ".log", path);
    uint8_t *bytes = file_read(survey->world, path, &size);
    survey->frame_count = 0;
    struct frame frame;
    uint64_t position = BLOCK;
    while (bytes && survey->frame_count < FRAMES_MAX) {
        bool found = frame_at(bytes, size, position, &frame);
        uint64_t next_block = (position + BLOCK - 1) / BLOCK * BLOCK;
        if (!found && next_block != position)
            found = frame_at(bytes, size, next_block, &frame);
        uint32_t count = survey->frame_count;
        if (!found || (count > 0 && frame.base != survey->frames[count - 1].next))
            break;
        survey->frames[survey->frame_count++] = frame;
        position = frame.position + frame.stored;
    }
    free(bytes);
}

static void flip(struct survey *survey, uint32_t segment, const char *suffix, uint64_t byte)
{
    char path[PATH_SIZE + 32];
    path_of(survey, segment, suffix, path);
    uint64_t bit = byte * 8 + world_random(survey->world, 8);
    int error = sim_flip(survey->world->sim, path, bit);
    world_say(survey->world, "bit %" PRIu64 " of %s flips: %d", bit, path, error);
}

// Behind a file that a crash has left half made, or empty, the end cannot be known for sure.
static bool is_followed(struct survey *survey, uint32_t segment)
{
    if (segment + 1 == survey->count)
        return false;
    frames_find(survey, segment + 1);
    return survey->frame_count > 0;
}

static void damaged(struct world_log *log, int64_t from, int64_t to)
{
    log->world->counts[COUNT_DAMAGES]++;
    log->producers_unsure = true;
    checker_damage(&log->checker, from, to);
}

static uint64_t table_of(const struct frame *frame)
{
    return frame->payload > PAGE ? (frame->payload + PAGE - 1) / PAGE * PAGE_ROW : 0;
}

// Takes away what lies in the page of a byte of the payload: batches that touch it.
static void damage_page(struct world_log *log, const struct survey *survey, uint32_t segment,
                        const struct frame *frame, uint64_t byte)
{
    char path[PATH_SIZE + 32];
    uint64_t size = 0;
    uint64_t page = byte / PAGE * PAGE;
    path_of(survey, segment, ".log", path);
    uint8_t *bytes = file_read(survey->world, path, &size);
    CHECK(bytes);
    const uint8_t *payload = bytes + frame->position + FRAME_HEADER;
    int64_t from = frame->base;
    int64_t to = frame->next;
    bool behind = false;
    for (uint64_t at = 0; at < frame->payload && !behind;) {
        uint64_t end = at + BATCH_LENGTH_FROM + load_be32(payload + at + BATCH_LENGTH_AT);
        int64_t base = (int64_t)load_be64(payload + at);
        behind = at >= page + PAGE;
        if (end <= page)
            from = base + load_be32(payload + at + BATCH_LAST_AT) + 1;
        if (behind)
            to = base;
        at = end;
    }
    free(bytes);
    world_say(log->world,
              "of the frame of %" PRId64 " to %" PRId64 " that is %" PRId64 " to %" PRId64,
              frame->base, frame->next, from, to);
    damaged(log, from, to);
}

// Often one of several pages, if there is one: they are few.
static uint64_t frame_choose(struct world *world, const struct survey *survey, uint32_t count)
{
    uint64_t first = world_random(world, count);
    bool large = world_chance(world, 2);
    for (uint32_t i = 0; i < count && large; i++) {
        if (survey->frames[(first + i) % count].payload > PAGE)
            return (first + i) % count;
    }
    return first;
}

// Of frames without records nobody was told: the last one may be of a commit that failed, and be in
// the kernel's cache alone, from where a crash of the machine takes it.
static bool is_acknowledged(const struct world_log *log, const struct frame *frame)
{
    return frame->kind == KIND_DATA && frame->next <= log->checker.acked;
}

// A frame of records behind which lies something acknowledged, in this segment or the next: that is
// what proves, for ever, that the frame was durable.
static void damage_frame(struct world_log *log, struct survey *survey, uint32_t segment)
{
    struct world *world = log->world;
    bool followed = is_followed(survey, segment) && survey->frames[0].next <= log->checker.acked;
    frames_find(survey, segment);
    uint32_t count = survey->frame_count;
    while (count > 0 && !followed && !is_acknowledged(log, &survey->frames[count - 1]))
        count--;
    count -= !followed && count > 0;
    if (count == 0)
        return;
    const struct frame chosen = survey->frames[frame_choose(world, survey, count)];
    const struct frame *frame = &chosen;
    if (frame->kind != KIND_DATA)
        return;
    uint64_t bytes = FRAME_HEADER + frame->payload + table_of(frame);
    bool header = world_chance(world, 3);
    uint64_t byte = world_random(world, header ? FRAME_HEADER : bytes);
    if (byte >= FRAME_HEADER + frame->payload)
        log->table_damaged = true;
    else if (byte >= FRAME_HEADER && frame->payload > PAGE)
        damage_page(log, survey, segment, frame, byte - FRAME_HEADER);
    else
        damaged(log, frame->base, frame->next);
    flip(survey, segment, ".log", frame->position + byte);
}

static void damage_header(struct world_log *log, struct survey *survey, uint32_t segment)
{
    bool last = segment + 1 == survey->count || !is_followed(survey, segment);
    flip(survey, segment, ".log", world_random(log->world, BLOCK));
    damaged(log, survey->bases[segment], last ? INT64_MAX : survey->bases[segment + 1]);
    log->checker.end_damaged |= !is_followed(survey, segment);
}

// Nothing is lost: an index can be made again.
static void damage_index(struct survey *survey, uint32_t segment)
{
    enum { INDEX_HEADER = 128 };
    flip(survey, segment, ".index", world_random(survey->world, INDEX_HEADER));
}

static void remove_segment(struct world_log *log, struct survey *survey, uint32_t segment)
{
    if (segment == 0 || segment + 1 == survey->count)
        return;
    char path[PATH_SIZE + 32];
    path_of(survey, segment, ".log", path);
    struct io_op op = {0};
    io_unlink(sim_io(log->world->sim), &op, path, false);
    int64_t error = io_wait(sim_io(log->world->sim), &op);
    CHECK(io_sync_directory_wait(sim_io(log->world->sim), survey->directory) == 0);
    world_say(log->world, "%s is gone: %d", path, (int)error);
    damaged(log, survey->bases[segment], survey->bases[segment + 1]);
    log->checker.end_damaged |= !is_followed(survey, segment);
}

void world_damage(struct world_log *log)
{
    struct world *world = log->world;
    struct survey *survey = calloc(1, sizeof(*survey));
    CHECK(survey);
    char id[23];
    id_text(log->id, id);
    survey->world = world;
    snprintf(survey->directory, sizeof(survey->directory), "/data/topics/%s/%d-%s", log->topic,
             (int)log->partition, id);
    io_list_directory(sim_io(world->sim), survey->directory, note_file, survey);
    if (survey->count > 0) {
        uint32_t segment = (uint32_t)world_random(world, survey->count);
        switch (world_random(world, 8)) {
        case 0:
            damage_header(log, survey, segment);
            break;
        case 1:
        case 2:
            damage_index(survey, segment);
            break;
        case 3:
            remove_segment(log, survey, segment);
            break;
        default:
            damage_frame(log, survey, segment);
            break;
        }
    }
    free(survey);
}

// --- the journal

struct journal_files {
    char names[FILES_MAX][32];
    uint32_t count;
};

static int note_journal(void *context, const char *name)
{
    struct journal_files *files = context;
    if (files->count < FILES_MAX && strlen(name) < sizeof(files->names[0]))
        memcpy(files->names[files->count++], name, strlen(name) + 1);
    return 0;
}

static bool is_commit(const uint8_t *bytes, uint64_t size, uint64_t at)
{
    return at + BLOCK <= size && load_le32(bytes + at) == COMMIT_MAGIC &&
           at + load_le32(bytes + at + 12) <= size && load_le32(bytes + at + 12) >= BLOCK;
}

static bool is_followed_by(const uint8_t *bytes, uint64_t size, uint64_t at, uint64_t *next)
{
    *next = at + load_le32(bytes + at + 12);
    return is_commit(bytes, size, *next) &&
           load_le64(bytes + *next + 24) == load_le64(bytes + at + 24) + 1;
}

// A place in a commit that two others follow: the first of these was durable when the second was
// begun, and so proves, for ever, that there is damage. 0 = there is none.
static uint64_t commit_choose(struct world *world, const uint8_t *bytes, uint64_t size)
{
    uint64_t chosen = 0;
    uint64_t seen = 0;
    uint64_t next = 0;
    uint64_t after = 0;
    for (uint64_t at = BLOCK; is_commit(bytes, size, at); at = next) {
        bool followed =
            is_followed_by(bytes, size, at, &next) && is_followed_by(bytes, size, next, &after);
        uint64_t used = FRAME_HEADER + load_le32(bytes + at + 8) +
                        (uint64_t)load_le32(bytes + at + 4) * COMMIT_TABLE_ENTRY;
        if (followed && world_chance(world, ++seen))
            chosen = at + world_random(world, used);
    }
    return chosen;
}

// Whatever was not in segments may be missing then. What is served must be right all the same.
void world_damage_journal(struct world *world)
{
    struct journal_files files = {0};
    io_list_directory(sim_io(world->sim), "/data/journal", note_journal, &files);
    if (files.count == 0)
        return;
    char path[64];
    uint64_t size = 0;
    snprintf(path, sizeof(path), "/data/journal/%s", files.names[world_random(world, files.count)]);
    uint8_t *bytes = file_read(world, path, &size);
    uint64_t at = bytes ? commit_choose(world, bytes, size) : 0;
    free(bytes);
    if (at == 0)
        return;
    int error = sim_flip(world->sim, path, at * 8);
    world_say(world, "bit %" PRIu64 " of %s flips: %d", at * 8, path, error);
    for (uint32_t i = 0; i < world->log_count; i++) {
        struct world_log *log = &world->logs[i];
        if (!log->exists)
            continue;
        damaged(log, 0, INT64_MAX);
        log->checker.end_damaged = true;
        log->checker.start_damaged = true;
    }
}
