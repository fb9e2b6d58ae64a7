// SPDX-License-Identifier: Apache-2.0
// What a stage shows: one moving line on a terminal, and a summary at the end.
#include <inttypes.h>
#include <jansson.h>

#include "base/clock.h"
#include "tools/pipe_stage.h"
#include "tools/report.h"

enum { PACE_SECONDS = 3 };

static const double ns_per_second = 1e9;

static double seconds_of(const struct pipe_stage *stage)
{
    return (double)(clock_monotonic_ns() - stage->start_ns) / ns_per_second;
}

static void count_text(char *text, int64_t value)
{
    progress_count(text, 32, value);
}

// Records per second of late: over a whole day it would say nothing about now.
static int64_t recent_rate(struct pipe_stage *stage)
{
    struct pipe_pace *pace = &stage->pace;
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t since_ns = pace->since_ns != 0 ? pace->since_ns : stage->start_ns;
    double seconds = (double)(now_ns - since_ns) / ns_per_second;

    if (seconds >= PACE_SECONDS || pace->since_ns == 0)
        pace->rate = seconds > 0 ? (double)(stage->counts.read - pace->read) / seconds : 0;
    if (seconds >= PACE_SECONDS) {
        pace->since_ns = now_ns;
        pace->read = stage->counts.read;
    }
    return (int64_t)pace->rate;
}

void pipe_summary_update(struct pipe_stage *stage)
{
    const struct pipe_counts *counts = &stage->counts;
    char text[256];
    char numbers[5][32];

    if (!progress_due(&stage->progress))
        return;
    count_text(numbers[0], counts->read);
    count_text(numbers[1], recent_rate(stage));
    count_text(numbers[2], counts->written);
    count_text(numbers[3], counts->rejected);
    count_text(numbers[4], pipe_inputs_lag(stage));
    const char *trouble = weir_trouble(stage->client);
    snprintf(text, sizeof(text), "read %s (%s/s), wrote %s, rejected %s, lag %s%s%s", numbers[0],
             numbers[1], numbers[2], numbers[3], numbers[4], trouble != NULL ? "; " : "",
             trouble != NULL ? trouble : "");
    progress_show(&stage->progress, text);
}

static void print_json(const struct pipe_stage *stage)
{
    const struct pipe_counts *counts = &stage->counts;
    json_t *object = json_object();

    json_object_set_new(object, "from", json_string(stage->options->from));
    json_object_set_new(object, "to", json_string(stage->options->to));
    json_object_set_new(object, "group", json_string(stage->options->group));
    json_object_set_new(object, "read", json_integer(counts->read));
    json_object_set_new(object, "written", json_integer(counts->written));
    json_object_set_new(object, "dropped", json_integer(counts->dropped));
    json_object_set_new(object, "rejected", json_integer(counts->rejected));
    json_object_set_new(object, "failures", json_integer(counts->failures));
    json_object_set_new(object, "timeouts", json_integer(counts->timeouts));
    json_object_set_new(object, "processes", json_integer(counts->started));
    json_object_set_new(object, "seconds", json_real(seconds_of(stage)));
    report_print_json(object, stage->app->out);
    json_decref(object);
}

void pipe_summary_print(const struct pipe_stage *stage)
{
    const struct pipe_counts *counts = &stage->counts;
    double seconds = seconds_of(stage);
    char numbers[6][32];

    if (stage->app->common.output == OUTPUT_JSON) {
        print_json(stage);
        return;
    }
    count_text(numbers[0], counts->read);
    count_text(numbers[1], counts->written);
    count_text(numbers[2], counts->dropped);
    count_text(numbers[3], counts->rejected);
    count_text(numbers[4], counts->failures);
    count_text(numbers[5], seconds > 0 ? (int64_t)((double)counts->read / seconds) : 0);
    fprintf(stage->app->out,
            "read %s records, wrote %s, dropped %s, rejected %s; the command failed %s times; "
            "%.1f s, %s/s\n",
            numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], seconds, numbers[5]);
}
