// SPDX-License-Identifier: Apache-2.0
// One pass over each record; nothing is kept of it.
#include "tools/printing.h"

#include <inttypes.h>

#include "tools/interrupt.h"

enum { REDRAW_EVERY = 1024 };

const char *const printing_formats[] = {"json", "msgpack", "csv", "hex", "raw", NULL};

int printing_init(struct printing *printing, struct app *app, const char *format, const char *where)
{
    char error[256];

    *printing = (struct printing){.app = app};
    if (format == NULL)
        format = app->common.output == OUTPUT_JSON ? "json" : "%s\\n";
    if (format_parse(format, &printing->format, error, sizeof(error)) != 0)
        return app_fail(app, EXIT_USAGE, "--format: %s", error);
    if (where != NULL && where_parse(where, &printing->where, error, sizeof(error)) != 0)
        return app_fail(app, EXIT_USAGE, "--where: %s", error);
    return 0;
}

void printing_free(struct printing *printing)
{
    where_free(printing->where);
    format_free(printing->format);
}

// On a terminal that shows the records themselves, a second moving line only disturbs.
void printing_begin(struct printing *printing, int64_t total)
{
    const struct app *app = printing->app;
    bool shown = progress_wanted(app->err) && !progress_wanted(app->out);

    progress_start(&printing->progress, app->err, shown, "read", 0);
    printing_expect(printing, total);
    format_begin(printing->format, app->out);
}

void printing_expect(struct printing *printing, int64_t total)
{
    if (printing->count > 0 && printing->where == NULL && (total == 0 || printing->count < total))
        total = printing->count;
    printing->progress.total = total;
}

void printing_update(struct printing *printing)
{
    progress_update(&printing->progress, printing->read, printing->bytes);
}

int printing_record(struct printing *printing, const struct weir_record *record)
{
    int kept = printing->where != NULL ? where_keeps(printing->where, record) : 1;

    if (kept < 0)
        return app_fail(printing->app, EXIT_FAILED,
                        "--where: the regular expression takes too many steps on %s partition "
                        "%" PRId32 " offset %" PRId64 ", give a simpler one",
                        record->topic, record->partition, record->offset);
    if (kept > 0) {
        format_record(printing->format, record, printing->app->out);
        printing->printed++;
    }
    printing->bytes += (int64_t)(record->key.size + record->value.size);
    if (++printing->read % REDRAW_EVERY == 0)
        printing_update(printing);
    return 0;
}

bool printing_enough(const struct printing *printing)
{
    return printing->count > 0 && printing->printed >= printing->count;
}

// Without an end of its own, Ctrl-C is how this command is meant to be left.
int printing_end(struct printing *printing)
{
    bool has_end = printing->until_end || printing->count > 0;

    progress_end(&printing->progress);
    return interrupt_requested() && has_end && !printing_enough(printing) ? EXIT_INTERRUPTED : 0;
}
