// SPDX-License-Identifier: Apache-2.0
// weir tail: the last records of a topic in the order of their timestamps, then whatever comes.
//
// The last N of the whole topic are among the last N of every partition: those are copied, sorted,
// and all but N forgotten. Then the same consumer follows every partition from where the first part
// stopped, so that nothing is shown twice and nothing is missed.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/printing.h"
#include "tools/topic_reader.h"

enum { WAIT_MS = 250 };

struct tail_settings {
    int64_t count;
    int64_t partition;
    bool until_end;
    const char *format;
    const char *where;
};

// Copies own the bytes their records point to. Producers may set timestamps that go back; within a
// partition the offset is the order all the same, so records are sorted by the highest timestamp
// seen in their partition so far.
struct kept {
    struct weir_record record;
    int64_t order_ms;
    char *bytes;
};

struct kept_list {
    struct kept *items;
    size_t count;
    size_t capacity;
};

static struct weir_bytes copy_bytes(struct weir_bytes bytes, char **to)
{
    struct weir_bytes copy = {.data = bytes.data != NULL ? *to : NULL, .size = bytes.size};

    if (bytes.data != NULL)
        memcpy(*to, bytes.data, bytes.size);
    *to += bytes.size;
    return copy;
}

static int64_t highest_timestamp(const struct kept_list *list, const struct weir_record *record)
{
    for (size_t i = list->count; i > 0; i--) {
        const struct kept *item = &list->items[i - 1];
        if (item->record.partition == record->partition)
            return item->order_ms > record->timestamp ? item->order_ms : record->timestamp;
    }
    return record->timestamp;
}

static int keep(struct kept_list *list, const struct weir_record *record)
{
    size_t size = record->key.size + record->value.size + record->headers.size;
    char *bytes = malloc(size + 1);

    if (bytes == NULL)
        return -ENOMEM;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        struct kept *items = reallocarray(list->items, capacity, sizeof(*items));
        if (items == NULL) {
            free(bytes);
            return -ENOMEM;
        }
        list->items = items;
        list->capacity = capacity;
    }
    int64_t order_ms = highest_timestamp(list, record);
    struct kept *item = &list->items[list->count++];
    char *to = bytes;
    *item = (struct kept){.record = *record, .order_ms = order_ms, .bytes = bytes};
    item->record.key = copy_bytes(record->key, &to);
    item->record.value = copy_bytes(record->value, &to);
    item->record.headers = copy_bytes(record->headers, &to);
    return 0;
}

static void forget(struct kept_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].bytes);
    free(list->items);
    *list = (struct kept_list){0};
}

static int compare(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_kept(const void *a, const void *b)
{
    const struct kept *left = a;
    const struct kept *right = b;
    int order = compare(left->order_ms, right->order_ms);

    if (order == 0)
        order = compare(left->record.partition, right->record.partition);
    return order != 0 ? order : compare(left->record.offset, right->record.offset);
}

static int collect(struct topic_reader *reader, struct kept_list *list)
{
    const struct app *app = reader->app;
    struct weir_record record;
    struct progress progress;
    int64_t bytes = 0;
    int code = 0;

    progress_start(&progress, app->err, progress_wanted(app->err), "read",
                   topic_reader_expected(reader));
    while (code == 0 && !topic_reader_done(reader) && !interrupt_requested()) {
        code = topic_reader_poll(reader, WAIT_MS);
        while (code == 0 && topic_reader_next(reader, &record)) {
            bytes += (int64_t)(record.key.size + record.value.size);
            if (keep(list, &record) != 0)
                code = app_fail(app, EXIT_FAILED, "out of memory");
        }
        progress_update(&progress, (int64_t)list->count, bytes);
    }
    progress_end(&progress);
    return code;
}

static int print_last(const struct kept_list *list, size_t wanted, struct printing *printing)
{
    size_t first = list->count > wanted ? list->count - wanted : 0;
    int code = 0;

    if (list->count > 0)
        qsort(list->items, list->count, sizeof(*list->items), compare_kept);
    format_begin(printing->format, printing->app->out);
    for (size_t i = first; code == 0 && i < list->count; i++)
        code = printing_record(printing, &list->items[i].record);
    return code;
}

static int follow(struct topic_reader *reader, struct printing *printing)
{
    struct weir_record record;
    int code = topic_reader_follow(reader);

    while (code == 0 && !interrupt_requested()) {
        code = app_flush(reader->app);
        if (code == 0)
            code = topic_reader_poll(reader, WAIT_MS);
        while (code == 0 && topic_reader_next(reader, &record))
            code = printing_record(printing, &record);
    }
    return code;
}

static int tail(struct printing *printing, const struct tail_settings *options, const char *topic)
{
    struct position from = {.kind = POSITION_FROM_END, .value = options->count};
    struct topic_reader reader;
    struct kept_list list = {0};
    int code =
        topic_reader_open(&reader, printing->app, topic, (int32_t)options->partition, from, true);

    if (code == 0)
        code = collect(&reader, &list);
    if (code == 0)
        code = print_last(&list, (size_t)options->count, printing);
    forget(&list);
    if (code == 0 && !options->until_end)
        code = follow(&reader, printing);
    topic_reader_close(&reader);
    return code;
}

static int run_tail(struct app *app, const void *settings, int count, char **arguments)
{
    const struct tail_settings *options = settings;
    struct printing printing;
    int code = printing_init(&printing, app, options->format, options->where);

    (void)count;
    printing.until_end = options->until_end;
    if (code == 0)
        code = tail(&printing, options, arguments[0]);
    int ended = printing_end(&printing);
    printing_free(&printing);
    return code != 0 ? code : ended;
}

static const struct option_spec tail_options[] = {
    {.name = "count",
     .letter = 'n',
     .kind = OPTION_COUNT,
     .placeholder = "COUNT",
     .help = "begin with the last COUNT records of the topic (default: 10)",
     .offset = offsetof(struct tail_settings, count),
     .min = 0,
     .max = 1000000},
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "only this partition (default: all)",
     .offset = offsetof(struct tail_settings, partition),
     .min = 0,
     .max = INT32_MAX},
    {.name = "until-end",
     .letter = 'e',
     .kind = OPTION_FLAG,
     .help = "print what is there and stop",
     .offset = offsetof(struct tail_settings, until_end)},
    {.name = "format",
     .letter = 'F',
     .kind = OPTION_TEXT,
     .placeholder = "FORMAT",
     .help = "as 'weir consume --help' says (default: '%s\\n')",
     .offset = offsetof(struct tail_settings, format),
     .choices = printing_formats},
    {.name = "where",
     .letter = 'w',
     .kind = OPTION_TEXT,
     .placeholder = "EXPRESSION",
     .help = "of these records, and of those that follow, only the ones of which this is true, as "
             "'weir consume --help' says",
     .offset = offsetof(struct tail_settings, where)},
    {.name = NULL},
};

static const struct tail_settings tail_defaults = {.count = 10, .partition = -1};

const struct command cmd_tail = {
    .name = "tail",
    .arguments = "TOPIC",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Print the last records of a topic, then follow it",
    .description = "Records of several partitions are put in the order of their timestamps.\n",
    .examples = "  weir tail orders\n"
                "  weir tail orders -n 100 --until-end --format '%D %k %s\\n'\n"
                "  weir tail orders --where 'value.amount > 100' --format json\n",
    .options = tail_options,
    .settings_size = sizeof(struct tail_settings),
    .defaults = &tail_defaults,
    .run = run_tail,
};
