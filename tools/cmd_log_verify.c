// SPDX-License-Identifier: Apache-2.0
// weir log verify: reads a whole data directory and says what is wrong with it.
#include <inttypes.h>

#include "tools/commands.h"
#include "tools/log_survey.h"
#include "tools/report.h"

struct verify_settings {
    const char *topic;
    int64_t partition;
    bool records;
    int64_t threads;
};

struct totals {
    size_t findings;
    size_t notes;
    size_t segments;
    uint64_t frames;
    uint64_t batches;
    uint64_t records;
};

typedef void (*each_finding)(void *context, const struct inspect_finding *finding);

static void each_of(const struct inspect_findings *findings, each_finding each, void *context)
{
    for (size_t i = 0; i < findings->count; i++)
        each(context, &findings->items[i]);
}

static void all_findings(const struct log_survey *survey, each_finding each, void *context)
{
    const struct inspect_directory *directory = &survey->directory;

    each_of(&directory->findings, each, context);
    each_of(&survey->journal.findings, each, context);
    for (size_t i = 0; i < directory->log_count; i++)
        each_of(&directory->logs[i].findings, each, context);
}

static void count_one(void *context, const struct inspect_finding *finding)
{
    struct totals *totals = context;

    if (inspect_rules[finding->kind].harmless)
        totals->notes++;
    else
        totals->findings++;
}

static struct totals count_all(const struct log_survey *survey)
{
    struct totals totals = {0};

    all_findings(survey, count_one, &totals);
    for (size_t i = 0; i < survey->directory.log_count; i++) {
        const struct inspect_log *log = &survey->directory.logs[i];
        totals.segments += log->segment_count;
        for (size_t j = 0; j < log->segment_count; j++) {
            totals.frames += log->segments[j].frames;
            totals.batches += log->segments[j].batches;
            totals.records += log->segments[j].records;
        }
    }
    return totals;
}

static void print_one(void *context, const struct inspect_finding *finding)
{
    log_finding_print(finding, context);
}

static double gigabytes(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

static void print_text(struct app *app, const struct log_survey *survey, struct totals totals)
{
    double seconds = (double)survey->elapsed_ns / 1e9;

    all_findings(survey, print_one, app->out);
    fprintf(app->out, "%s: ", survey->directory.path);
    if (totals.findings == 0)
        fprintf(app->out, "sound");
    else
        fprintf(app->out, "%zu finding%s", totals.findings, totals.findings > 1 ? "s" : "");
    if (totals.notes > 0)
        fprintf(app->out, ", %zu note%s", totals.notes, totals.notes > 1 ? "s" : "");
    fprintf(app->out,
            "; %zu logs, %zu segments, %" PRIu64 " batches, %" PRIu64 " records, %.3f GB in %.2f s "
            "(%.2f GB/s)\n",
            survey->directory.log_count, totals.segments, totals.batches, totals.records,
            gigabytes(survey->read_bytes), seconds,
            seconds > 0 ? gigabytes(survey->read_bytes) / seconds : 0);
}

static void add_one(void *context, const struct inspect_finding *finding)
{
    json_array_append_new(context, log_finding_json(finding));
}

static void print_json(struct app *app, const struct log_survey *survey, struct totals totals)
{
    json_t *findings = json_array();

    all_findings(survey, add_one, findings);
    json_t *report = json_pack(
        "{s:s, s:b, s:b, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:f}}", "directory",
        survey->directory.path, "sound", totals.findings == 0, "in_use", survey->directory.in_use,
        "findings", findings, "totals", "logs", (json_int_t)survey->directory.log_count, "segments",
        (json_int_t)totals.segments, "frames", (json_int_t)totals.frames, "batches",
        (json_int_t)totals.batches, "records", (json_int_t)totals.records, "bytes",
        (json_int_t)survey->read_bytes, "seconds", (double)survey->elapsed_ns / 1e9);
    report_print_json(report, app->out);
    json_decref(report);
}

static int run_verify(struct app *app, const void *settings, int count, char **arguments)
{
    const struct verify_settings *options = settings;
    struct log_selection selection = {options->topic, options->partition, false};
    struct log_survey survey;
    int code =
        log_survey_run(app, &survey, arguments[0], &selection, options->records, options->threads);

    (void)count;
    if (code == 0) {
        struct totals totals = count_all(&survey);
        if (app->common.output == OUTPUT_JSON)
            print_json(app, &survey, totals);
        else
            print_text(app, &survey, totals);
        code = totals.findings > 0 ? EXIT_FAILED : 0;
        if (survey.directory.in_use && app->common.output == OUTPUT_TEXT)
            fprintf(app->out, "A broker uses the directory: what it wrote meanwhile may be "
                              "missing, or look torn.\n");
    }
    log_survey_free(&survey);
    return code;
}

static const struct option_spec verify_options[] = {
    {.name = "topic",
     .letter = 't',
     .kind = OPTION_TEXT,
     .placeholder = "TOPIC",
     .help = "only the logs of this topic",
     .offset = offsetof(struct verify_settings, topic)},
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "only logs with this number",
     .offset = offsetof(struct verify_settings, partition),
     .max = INT32_MAX},
    {.name = "records",
     .kind = OPTION_FLAG,
     .help = "look at every record inside the batches as well (slower: inflates)",
     .offset = offsetof(struct verify_settings, records)},
    {.name = "threads",
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "how many segments are read at the same time (default: two per processor)",
     .offset = offsetof(struct verify_settings, threads),
     .min = 1,
     .max = 64},
    {.name = NULL},
};

static const struct verify_settings verify_defaults = {.partition = -1};

const struct command cmd_log_verify = {
    .name = "log verify",
    .arguments = "DIR",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Read a data directory and say what is wrong with it",
    .description =
        "Checks every checksum, the offsets' continuity, indexes and journal, without a broker.\n"
        "One line per finding: the file, the bytes, the offsets, what it means, what the broker\n"
        "does. A 'note' is what a crash may leave; the broker puts it in order. The exit code is "
        "0\n"
        "for a sound directory and 1 when there are findings.\n",
    .examples = "  weir log verify /var/lib/weir\n"
                "  weir log verify /var/lib/weir --topic orders --records\n"
                "  weir log verify /var/lib/weir -o json | jq '.findings[].file'\n",
    .options = verify_options,
    .settings_size = sizeof(struct verify_settings),
    .defaults = &verify_defaults,
    .run = run_verify,
};
