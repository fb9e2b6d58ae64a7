// SPDX-License-Identifier: Apache-2.0
// Files as lines: segments with their frames, indexes.
#include "tools/log_dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/encoding.h"
#include "tools/interrupt.h"

// --- lines

json_t *dump_line(const char *kind)
{
    return json_pack("{s:s}", "kind", kind);
}

void dump_set(json_t *line, const char *name, int64_t value)
{
    json_object_set_new(line, name, json_integer(value));
}

void dump_set_text(json_t *line, const char *name, const char *text)
{
    json_object_set_new(line, name, json_string(text ? text : ""));
}

void dump_set_hex(json_t *line, const char *name, uint64_t value)
{
    char text[20];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    dump_set_text(line, name, text);
}

static bool is_plain(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text == '"' || *text == '=' || *text == 0x7f)
            return false;
    }
    return true;
}

static int indent_of(const char *kind)
{
    static const char *const kinds[] = {"frame",     "gap",        "end",           "entry",
                                        "commit",    "uncertain",  "batch",         "bad-batch",
                                        "log-start", "producer",   "bad-producers", "journalled",
                                        "record",    "bad-records"};
    static const int indents[] = {2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 6, 6};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kind, kinds[i]) == 0)
            return indents[i];
    }
    return 0;
}

static void print_words(FILE *out, json_t *line)
{
    const char *kind = json_string_value(json_object_get(line, "kind"));
    const char *name;
    json_t *value;

    fprintf(out, "%*s%s", indent_of(kind), "", kind);
    json_object_foreach(line, name, value)
    {
        if (strcmp(name, "kind") == 0)
            continue;
        fprintf(out, " %s=", name);
        if (json_is_string(value) && is_plain(json_string_value(value)))
            fputs(json_string_value(value), out);
        else
            json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY);
    }
    fputc('\n', out);
}

void dump_print(struct dump *dump, json_t *line)
{
    if (dump->json) {
        json_dumpf(line, dump->out, JSON_COMPACT);
        fputc('\n', dump->out);
    } else {
        print_words(dump->out, line);
    }
    json_decref(line);
}

bool dump_wants(const struct dump *dump, int64_t first, int64_t next)
{
    if (first == next) // control frames stand between offsets
        return first >= dump->from && first <= dump->to;
    return next > dump->from && first < dump->to;
}

// --- segments

void dump_set_id(json_t *line, struct kp_uuid id)
{
    char *text = encoding_base64(id.bytes, sizeof(id.bytes));

    for (char *at = text; at != NULL && *at != '\0'; at++)
        *at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? '\0' : *at;
    dump_set_text(line, "topic_id", text);
    free(text);
}

const char *dump_state_text(enum inspect_state state)
{
    static const char *const texts[] = {
        [INSPECT_UNSEEN] = "unseen",
        [INSPECT_SOUND] = "sound",
        [INSPECT_ABSENT] = "missing",
        [INSPECT_EMPTY] = "empty",
        [INSPECT_GARBLED] = "damaged",
        [INSPECT_FOREIGN] = "of another place",
        [INSPECT_VERSION] = "of another format version",
        [INSPECT_REFUSED] = "refused",
    };

    return texts[state];
}

static int segment_begins(void *context, const struct inspect_segment *segment)
{
    struct dump *dump = context;
    const struct segment_header *header = &segment->header;
    json_t *line = dump_line("segment");
    char *path = inspect_segment_path(segment, ".log", false);

    dump_set_text(line, "file", path);
    free(path);
    if (segment->log->topic)
        dump_set_text(line, "topic", segment->log->topic);
    dump_set_text(line, "header", dump_state_text(segment->state));
    dump_set(line, "file_size", (int64_t)segment->file_size);
    if (segment->state == INSPECT_VERSION)
        dump_set(line, "version", segment->version);
    if (segment->state == INSPECT_SOUND || segment->state == INSPECT_FOREIGN) {
        dump_set(line, "version", segment->version);
        dump_set_id(line, header->topic_id);
        dump_set(line, "partition", header->partition);
        dump_set(line, "base_offset", header->base_offset);
        dump_set(line, "alignment", header->alignment);
        dump_set_hex(line, "salt", header->salt);
        dump_set(line, "log_start", header->log_start);
        dump_set(line, "created_ms", header->created_ms);
        dump_set(line, "first_sequence", (int64_t)header->first_sequence);
        dump_set(line, "cleaned_to", header->cleaned_to);
        dump_set(line, "dirty_from", header->dirty_from);
    }
    dump_print(dump, line);
    return 0;
}

static const char *frame_kind_text(enum frame_kind kind)
{
    switch (kind) {
    case FRAME_DATA:
        return "data";
    case FRAME_LOG_START:
        return "log-start";
    case FRAME_PRODUCERS:
        return "producers";
    default:
        return "unknown";
    }
}

static void print_frame(struct dump *dump, uint64_t position, const struct frame_header *frame,
                        bool sound)
{
    json_t *line = dump_line("frame");

    dump_set(line, "position", (int64_t)position);
    dump_set_text(line, "type", frame_kind_text(frame->kind));
    dump_set(line, "payload_size", frame->payload_size);
    dump_set(line, "stored_size", frame->stored_size);
    dump_set(line, "batches", frame->batch_count);
    dump_set(line, "base_offset", frame->base_offset);
    dump_set(line, "next_offset", frame->next_offset);
    dump_set(line, "max_timestamp", frame->max_timestamp);
    dump_set(line, "sequence", (int64_t)frame->sequence);
    if (!sound)
        dump_set_text(line, "payload", "damaged");
    dump_print(dump, line);
}

static int frame_seen(void *context, uint64_t position, const struct frame_header *frame,
                      struct span payload)
{
    struct dump *dump = context;

    if (interrupt_requested() || ferror(dump->out))
        return -EINTR;
    if (!dump_wants(dump, frame->base_offset, frame->next_offset))
        return 0;
    print_frame(dump, position, frame, true);
    if (dump->frames_only)
        return 0;
    if (frame->kind == FRAME_DATA)
        dump_batches(dump, position + FRAME_HEADER_SIZE, payload);
    else
        dump_control(dump, frame->kind, payload);
    return 0;
}

static int gap_seen(void *context, const struct inspect_gap *gap)
{
    struct dump *dump = context;

    if (!dump_wants(dump, gap->first, gap->next))
        return 0;
    json_t *line = dump_line("gap");
    dump_set(line, "position", (int64_t)gap->from);
    dump_set(line, "size", (int64_t)(gap->to - gap->from));
    dump_set(line, "base_offset", gap->first);
    dump_set(line, "next_offset", gap->next);
    dump_set_text(line, "what", gap->why);
    dump_print(dump, line);
    return 0;
}

static int broken_seen(void *context, uint64_t position, const struct frame_header *frame,
                       const struct inspect_part *parts, size_t count)
{
    struct dump *dump = context;

    if (interrupt_requested() || ferror(dump->out))
        return -EINTR;
    if (dump_wants(dump, frame->base_offset, frame->next_offset))
        print_frame(dump, position, frame, false);
    for (size_t i = 0; i < count; i++) {
        const struct inspect_part *part = &parts[i];
        if (!part->sound) {
            struct inspect_gap gap = {part->position, part->position + part->bytes.size,
                                      part->first, part->next,
                                      "a frame's payload fails its checksum"};
            gap_seen(dump, &gap);
        } else if (!dump->frames_only && frame->kind == FRAME_DATA) {
            dump_batches(dump, part->position, part->bytes);
        }
    }
    return 0;
}

static void print_end(struct dump *dump, const struct inspect_segment *segment)
{
    json_t *line = dump_line("end");

    dump_set(line, "position", (int64_t)segment->end);
    dump_set(line, "next_offset", segment->next_offset);
    dump_set(line, "next_sequence", (int64_t)segment->next_sequence);
    if (segment->content_end > segment->end) {
        dump_set(line, "bytes_behind", (int64_t)(segment->content_end - segment->end));
        dump_set_text(line, "what", segment->torn_why);
    }
    dump_print(dump, line);
}

// --- indexes

static void print_index(struct dump *dump, const char *path, const struct inspect_index *index,
                        enum inspect_state state)
{
    const struct index_header *header = &index->header;
    json_t *line = dump_line("index");

    dump_set_text(line, "file", path);
    dump_set_text(line, "state", dump_state_text(state));
    if (state == INSPECT_SOUND || state == INSPECT_FOREIGN) {
        dump_set_hex(line, "salt", header->salt);
        dump_set(line, "base_offset", header->base_offset);
        dump_set(line, "covered", (int64_t)header->covered);
        dump_set(line, "next_offset", header->next_offset);
        dump_set(line, "last_frame", (int64_t)header->last_frame);
        dump_set(line, "sequence", (int64_t)header->sequence);
        dump_set(line, "max_timestamp", header->max_timestamp);
        dump_set(line, "log_start", header->log_start);
        dump_set(line, "entries", header->entry_count);
        dump_set(line, "producers_size", header->producers_size);
    }
    dump_print(dump, line);
    for (uint32_t i = 0; dump->entries && i < index->count; i++) {
        struct index_entry entry = inspect_index_entry(index, i);
        if (!dump_wants(dump, entry.offset, entry.offset + 1))
            continue;
        line = dump_line("entry");
        dump_set(line, "offset", entry.offset);
        dump_set(line, "position", (int64_t)entry.position);
        dump_set(line, "max_before", entry.max_before);
        dump_print(dump, line);
    }
    if (dump->entries && index->producers.size > 0)
        dump_control(dump, FRAME_PRODUCERS, index->producers);
}

static int dump_single_journal(struct app *app, struct dump *dump, const char *path)
{
    struct inspect_journal_file file = {.name = strdup(path)};
    int error = file.name ? inspect_journal_file_open(&file, path, NULL) : -ENOMEM;

    if (error == 0)
        dump_journal_file(dump, &file);
    inspect_journal_file_close(&file);
    return error == 0 ? 0
                      : app_fail(app, EXIT_FAILED, "cannot read %s: %s", path, strerror(-error));
}

static int dump_index(struct app *app, struct dump *dump, const char *path, const char *shown,
                      uint64_t salt, int64_t base)
{
    struct inspect_index index;
    enum inspect_state state = inspect_index_read(&index, path, salt, base, NULL);
    int code = 0;

    if (state == INSPECT_REFUSED)
        code = app_fail(app, EXIT_FAILED, "cannot read %s: %s", path, strerror(-index.error));
    else
        print_index(dump, shown, &index, state);
    inspect_index_free(&index);
    return code;
}

// --- logs and single files

static int end_code(struct app *app, int error)
{
    if (error == 0 || (error == -EINTR && ferror(app->out)))
        return 0;
    if (error == -EINTR)
        return EXIT_INTERRUPTED;
    return app_fail(app, EXIT_FAILED, "%s", strerror(-error));
}

static int dump_segment(struct app *app, struct dump *dump, struct inspect_segment *segment)
{
    struct inspect_visitor visitor = {dump, segment_begins, frame_seen, gap_seen, broken_seen};
    int error = inspect_segment_walk(segment, &visitor, NULL);

    if (error == 0 && segment->state == INSPECT_REFUSED)
        return app_fail(app, EXIT_FAILED, "cannot read a segment: %s", strerror(-segment->refused));
    if (error == 0 && segment->state == INSPECT_SOUND)
        print_end(dump, segment);
    return end_code(app, error);
}

// Whether anything of the segment can be asked for: its offsets end where the next one begins.
static bool wants_segment(const struct dump *dump, const struct inspect_log *log, size_t i)
{
    int64_t next = INT64_MAX;

    for (size_t j = i + 1; j < log->segment_count && next == INT64_MAX; j++)
        next = log->segments[j].has_data ? log->segments[j].base : next;
    return dump_wants(dump, log->segments[i].base, next);
}

int dump_log(struct app *app, struct dump *dump, struct inspect_log *log)
{
    int code = 0;

    dump->internal = strncmp(log->topic, "__weir_", 7) == 0;
    for (size_t i = 0; code == 0 && i < log->segment_count; i++) {
        struct inspect_segment *segment = &log->segments[i];
        if (!wants_segment(dump, log, i))
            continue;
        if (segment->has_data)
            code = dump_segment(app, dump, segment);
        char *path = inspect_segment_path(segment, ".index", true);
        char *shown = inspect_segment_path(segment, ".index", false);
        if (code == 0 && segment->has_index && path && shown)
            code = dump_index(app, dump, path, shown,
                              segment->state == INSPECT_SOUND ? segment->header.salt : 0,
                              segment->base);
        free(path);
        free(shown);
    }
    return code;
}

int dump_file(struct app *app, struct dump *dump, const char *path)
{
    struct inspect_log log = {.single = path, .partition = -1};
    struct inspect_segment segment = {.log = &log, .has_data = true, .limit = INT64_MAX};
    log.segments = &segment;
    log.segment_count = 1;
    uint8_t magic[8] = {0};
    struct inspect_file file;
    int error = inspect_file_open(&file, path);

    if (error != 0)
        return app_fail(app, EXIT_FAILED, "cannot read %s: %s", path, strerror(-error));
    const uint8_t *bytes = inspect_file_at(&file, 0, sizeof(magic));
    if (bytes != NULL)
        memcpy(magic, bytes, sizeof(magic));
    inspect_file_close(&file);
    dump->internal = strstr(path, "/__weir_") != NULL;
    dump->entries = true;
    int code;
    if (memcmp(magic, "WEIRIDX", 8) == 0)
        return dump_index(app, dump, path, path, 0, -1);
    if (memcmp(magic, "WEIRJNL", 8) == 0)
        return dump_single_journal(app, dump, path);
    code = dump_segment(app, dump, &segment);
    free(segment.gaps);
    return code;
}
