// SPDX-License-Identifier: Apache-2.0
// weir log dump: what the files of a data directory hold, one line per thing. Every line is made
// once, as a JSON object: with -o json it is printed as that, else as words. Damage is one of the
// things, and what is behind it is printed as well.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/endian.h"
#include "protocol/record_batch.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/log_dump.h"

struct dump_settings {
    const char *topic;
    int64_t partition;
    const char *offsets;
    bool records;
    bool frames;
};

enum { INFLATE_MAX = 256 * 1024 * 1024 };

// --- records and batches

static void set_record_bytes(struct dump *dump, json_t *line, const char *name, struct span bytes)
{
    json_t *state = dump->internal ? pack_json(bytes) : NULL;

    if (state != NULL)
        json_object_set_new(line, name, state);
    else
        report_set_bytes(line, name, bytes.data, bytes.size);
}

static json_t *headers_json(const struct record *record)
{
    json_t *headers = json_array();
    struct record_header header;
    size_t at = 0;

    while (record_header_next(record, &at, &header) == 1) {
        json_t *pair = json_object();
        report_set_bytes(pair, "name", header.key.data, header.key.size);
        report_set_bytes(pair, "value", header.value.data, header.value.size);
        json_array_append_new(headers, pair);
    }
    return headers;
}

static void print_record(struct dump *dump, const struct record *record)
{
    json_t *line = dump_line("record");

    dump_set(line, "offset", record->offset);
    dump_set(line, "timestamp", record->timestamp);
    set_record_bytes(dump, line, "key", record->key);
    set_record_bytes(dump, line, "value", record->value);
    if (record->header_count > 0)
        json_object_set_new(line, "headers", headers_json(record));
    dump_print(dump, line);
}

static void print_records(struct dump *dump, struct span batch)
{
    struct batch_reader reader;
    struct record record;
    int result = batch_reader_init(&reader, batch, &dump->arena, INFLATE_MAX);

    while (result == BATCH_OK && (result = batch_reader_next(&reader, &record)) == 1) {
        if (dump_wants(dump, record.offset, record.offset + 1))
            print_record(dump, &record);
        result = BATCH_OK;
    }
    if (result < 0) {
        json_t *line = dump_line("bad-records");
        dump_set_text(line, "what", batch_error_text((enum batch_error)result));
        dump_print(dump, line);
    }
    arena_reset(&dump->arena);
}

static void print_batch(struct dump *dump, uint64_t position, const struct batch_header *header)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", "5", "6", "7"};
    json_t *line = dump_line("batch");

    dump_set(line, "position", (int64_t)position);
    dump_set(line, "size", (int64_t)batch_total_size(header));
    dump_set(line, "base_offset", header->base_offset);
    dump_set(line, "last_offset", batch_last_offset(header));
    dump_set(line, "records", header->record_count);
    dump_set_text(line, "codec", codecs[header->attributes & BATCH_CODEC_MASK]);
    dump_set(line, "attributes", header->attributes);
    dump_set(line, "base_timestamp", header->base_timestamp);
    dump_set(line, "max_timestamp", header->max_timestamp);
    dump_set(line, "leader_epoch", header->leader_epoch);
    if (header->producer_id >= 0) {
        dump_set(line, "producer_id", header->producer_id);
        dump_set(line, "producer_epoch", header->producer_epoch);
        dump_set(line, "base_sequence", header->base_sequence);
    }
    dump_print(dump, line);
}

void dump_batches(struct dump *dump, uint64_t position, struct span payload)
{
    for (size_t at = 0; at < payload.size && !ferror(dump->out);) {
        struct batch_header header;
        struct span rest = span_of(payload.data + at, payload.size - at);
        enum batch_error error = batch_check_stored(rest, &header);
        if (error != BATCH_OK) {
            json_t *line = dump_line("bad-batch");
            dump_set(line, "position", (int64_t)(position + at));
            dump_set_text(line, "what", batch_error_text(error));
            dump_print(dump, line);
            return;
        }
        size_t size = batch_total_size(&header);
        if (dump_wants(dump, header.base_offset, batch_last_offset(&header) + 1)) {
            print_batch(dump, position + at, &header);
            if (dump->records)
                print_records(dump, span_of(rest.data, size));
        }
        at += size;
    }
}

// --- control frames

static void print_producer(struct dump *dump, const struct producer *producer)
{
    json_t *line = dump_line("producer");
    json_t *batches = json_array();

    dump_set(line, "id", producer->id);
    dump_set(line, "epoch", producer->epoch);
    dump_set(line, "next_sequence", producer->next_sequence);
    dump_set(line, "active_ms", producer->active_ms);
    for (uint32_t i = 0; i < producer->count; i++) {
        uint32_t behind = producer->count - 1 - i;
        const struct producer_batch *batch =
            &producer->batches[(producer->newest + PRODUCERS_BATCHES - behind) % PRODUCERS_BATCHES];
        json_array_append_new(batches, json_pack("{s:i, s:i, s:I, s:I}", "first_sequence",
                                                 batch->first_sequence, "last_sequence",
                                                 batch->last_sequence, "last_offset",
                                                 (json_int_t)batch->last_offset, "max_timestamp",
                                                 (json_int_t)batch->max_timestamp));
    }
    json_object_set_new(line, "batches", batches);
    dump_print(dump, line);
}

// A snapshot may have several parts, in frames one behind the other; it is shown with the last.
static void print_snapshot(struct dump *dump, struct span payload)
{
    int error = producers_snapshot_load(&dump->producers, payload, INT64_MAX);
    struct producer *producer;
    size_t at = 0;

    if (error != 0) {
        json_t *line = dump_line("bad-producers");
        dump_set_text(line, "what", strerror(-error));
        dump_print(dump, line);
        return;
    }
    if (dump->producers.incoming != NULL)
        return;
    while ((producer = map_next(&dump->producers.map, &at)) != NULL)
        print_producer(dump, producer);
}

void dump_control(struct dump *dump, enum frame_kind kind, struct span payload)
{
    if (kind == FRAME_PRODUCERS) {
        print_snapshot(dump, payload);
        return;
    }
    json_t *line = dump_line("log-start");
    dump_set(line, "offset", (int64_t)load_le64(payload.data));
    dump_print(dump, line);
}

// --- the command

static int dump_journals(struct app *app, struct dump *dump,
                         const struct inspect_directory *directory)
{
    struct inspect_journal journal;
    int error = inspect_journal_open(&journal, directory, NULL);

    if (error != 0)
        return app_fail(app, EXIT_FAILED, "cannot read the journal: %s", strerror(-error));
    dump_journal(dump, &journal);
    inspect_journal_close(&journal);
    return 0;
}

static int dump_directory(struct app *app, struct dump *dump, const char *path,
                          const struct dump_settings *options)
{
    struct inspect_filter filter = {options->topic, (int32_t)options->partition};
    struct inspect_directory directory;
    int error = inspect_directory_open(&directory, path, &filter);

    if (error != 0)
        return app_fail(app, EXIT_FAILED, "cannot read %s: %s", path, strerror(-error));
    if (directory.in_use)
        fprintf(app->err, "weir log dump: a broker uses %s; what it writes now may be missing\n",
                path);
    int code = 0;
    if (directory.log_count == 0)
        code = app_fail(app, EXIT_NOT_FOUND, "%s holds no such log", path);
    if (code == 0 && options->topic == NULL && options->partition < 0)
        code = dump_journals(app, dump, &directory);
    for (size_t i = 0; code == 0 && i < directory.log_count; i++)
        code = dump_log(app, dump, &directory.logs[i]);
    inspect_directory_close(&directory);
    return code;
}

static int read_offsets(struct app *app, const char *text, struct dump *dump)
{
    int used = 0;

    dump->from = 0;
    dump->to = INT64_MAX;
    if (text == NULL)
        return 0;
    int fields = sscanf(text, "%" SCNd64 "-%n%" SCNd64 "%n", &dump->from, &used, &dump->to, &used);
    if (fields < 1 || used == 0 || text[used] != '\0' || dump->from < 0 || dump->to < dump->from)
        return app_fail(app, EXIT_USAGE, "--offsets: '%s' will not do, give FROM-TO or FROM-",
                        text);
    if (dump->to < INT64_MAX)
        dump->to++;
    return 0;
}

static int run_dump(struct app *app, const void *settings, int count, char **arguments)
{
    const struct dump_settings *options = settings;
    struct dump dump = {.out = app->out,
                        .json = app->common.output == OUTPUT_JSON,
                        .records = options->records,
                        .frames_only = options->frames};
    struct stat stat_buffer;
    int code = read_offsets(app, options->offsets, &dump);

    (void)count;
    if (code != 0)
        return code;
    interrupt_catch();
    if (stat(arguments[0], &stat_buffer) != 0)
        return app_fail(app, EXIT_USAGE, "cannot read %s: %s", arguments[0], strerror(errno));
    arena_init(&dump.arena, INFLATE_MAX);
    if (S_ISDIR(stat_buffer.st_mode))
        code = dump_directory(app, &dump, arguments[0], options);
    else
        code = dump_file(app, &dump, arguments[0]);
    arena_free(&dump.arena);
    producers_free(&dump.producers);
    return code;
}

static const struct option_spec dump_options[] = {
    {.name = "topic",
     .letter = 't',
     .kind = OPTION_TEXT,
     .placeholder = "TOPIC",
     .help = "only the logs of this topic",
     .offset = offsetof(struct dump_settings, topic)},
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "only logs with this number",
     .offset = offsetof(struct dump_settings, partition),
     .max = INT32_MAX},
    {.name = "offsets",
     .kind = OPTION_TEXT,
     .placeholder = "FROM-TO",
     .help = "only what holds offsets of this range, both ends included; TO may be missing",
     .offset = offsetof(struct dump_settings, offsets)},
    {.name = "records",
     .kind = OPTION_FLAG,
     .help = "the records inside the batches as well",
     .offset = offsetof(struct dump_settings, records)},
    {.name = "frames",
     .kind = OPTION_FLAG,
     .help = "nothing inside frames",
     .offset = offsetof(struct dump_settings, frames)},
    {.name = NULL},
};

static const struct dump_settings dump_defaults = {.partition = -1};

const struct command cmd_log_dump = {
    .name = "log dump",
    .arguments = "DIR|FILE",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Print what a data directory, a segment, an index or a journal file holds",
    .description =
        "One line per file, frame, batch and record, damage included; with -o json one object per\n"
        "line. Records of the broker's own topics (__weir_metadata, __weir_offsets) are shown\n"
        "decoded. Only reads, so it may be used beside a running broker.\n",
    .examples = "  weir log dump /var/lib/weir --topic orders --partition 3 --offsets 1000-1099\n"
                "  weir log dump /var/lib/weir --topic __weir_metadata --records -o json\n"
                "  weir log dump 00000000000000000000.log --frames\n",
    .options = dump_options,
    .settings_size = sizeof(struct dump_settings),
    .defaults = &dump_defaults,
    .run = run_dump,
};
