// SPDX-License-Identifier: Apache-2.0
// weir top: topics, rates, groups and lag, live on a terminal or as text or JSON for scripts.
//
// The view itself is in top_view.c.
#include <unistd.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/report.h"
#include "tools/top_sample.h"
#include "tools/top_view.h"

struct top_settings {
    bool once;
    int64_t interval_ms;
};

enum { SLICE_MS = 100 };

// -------------------------------------------------------------------------------- for scripts

static void print_sample(struct app *app, const json_t *sample)
{
    if (app->common.output == OUTPUT_JSON) {
        json_t *shown = json_pack("{s:O, s:O}", "topics", json_object_get(sample, "topics"),
                                  "groups", json_object_get(sample, "groups"));
        json_dumpf(shown, app->out, JSON_COMPACT);
        fputc('\n', app->out);
        json_decref(shown);
        return;
    }
    report_print_table(json_object_get(sample, "topics"), top_topic_columns, TOP_TOPIC_COLUMNS,
                       app->out);
    fputc('\n', app->out);
    report_print_table(json_object_get(sample, "groups"), top_group_columns, TOP_GROUP_COLUMNS,
                       app->out);
}

// Notices meanwhile when the reader of a pipe goes away.
static int wait_ms(const struct app *app, int64_t milliseconds)
{
    int code = 0;

    for (; code == 0 && milliseconds > 0 && !interrupt_requested(); milliseconds -= SLICE_MS) {
        int64_t slice = milliseconds < SLICE_MS ? milliseconds : SLICE_MS;
        usleep((useconds_t)slice * 1000);
        code = app_flush(app);
    }
    return code;
}

// Rates need two looks: the first one is not printed.
static int print_samples(struct app *app, struct weir_client *client,
                         const struct top_settings *options)
{
    int code = 0;
    json_t *previous = top_sample(app, client, NULL, &code);

    while (code == 0) {
        code = wait_ms(app, options->interval_ms);
        if (code != 0 || interrupt_requested())
            break;
        json_t *sample = top_sample(app, client, previous, &code);
        if (sample == NULL)
            break;
        json_decref(previous);
        previous = sample;
        print_sample(app, sample);
        code = app_flush(app);
        if (options->once)
            break;
    }
    json_decref(previous);
    return code == 0 && options->once && interrupt_requested() ? EXIT_INTERRUPTED : code;
}

static int run_top(struct app *app, const void *settings, int count, char **arguments)
{
    const struct top_settings *options = settings;
    bool live = !options->once && app->common.output == OUTPUT_TEXT;
    int code = 0;

    (void)count;
    (void)arguments;
    if (live && (isatty(fileno(app->out)) != 1 || isatty(STDIN_FILENO) != 1))
        return app_fail(app, EXIT_USAGE, "the live view needs a terminal, give --once or -o json");
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    interrupt_catch();
    code = live ? top_view(app, client, options->interval_ms) : print_samples(app, client, options);
    weir_client_free(client);
    return code;
}

static const struct option_spec top_options[] = {
    {.name = "once",
     .letter = '1',
     .kind = OPTION_FLAG,
     .help = "look twice, one interval apart, print what there is and end",
     .offset = offsetof(struct top_settings, once)},
    {.name = "interval",
     .letter = 'i',
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "how long between two looks (default: 2s)",
     .offset = offsetof(struct top_settings, interval_ms),
     .min = 100,
     .max = 3600 * 1000},
    {.name = NULL},
};

static const struct top_settings top_defaults = {.interval_ms = 2000};

const struct command cmd_top = {
    .name = "top",
    .arguments = "",
    .summary = "Watch topics, rates, groups and lag",
    .description =
        "Topics with most records per second and groups with the greatest lag stand first. The\n"
        "arrow and page keys move to those that do not fit, q leaves the view. It stays while the\n"
        "broker is away, and says so. With -o json one object is printed per interval.\n",
    .examples = "  weir top\n"
                "  weir top --once\n"
                "  weir top -o json --interval 10s | jq '.groups[] | select(.lag > 1000)'\n",
    .options = top_options,
    .settings_size = sizeof(struct top_settings),
    .defaults = &top_defaults,
    .run = run_top,
};
