// SPDX-License-Identifier: Apache-2.0
// weir log repair: does what it is told to a data directory, and says before what will be lost.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/inspect_repair.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/log_plan.h"
#include "tools/report.h"

struct repair_settings {
    const char *topic;
    int64_t partition;
    struct plan_wishes wishes;
    bool yes;
    int64_t threads;
};

static void print_findings(struct app *app, const struct inspect_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (!inspect_rules[findings->items[i].kind].harmless)
            log_finding_print(&findings->items[i], app->out);
    }
}

static void print_plan(struct app *app, const struct log_survey *survey, const struct plan *plan,
                       bool yes)
{
    if (app->common.output == OUTPUT_JSON) {
        json_t *steps = json_array();
        for (size_t i = 0; i < plan->count; i++)
            json_array_append_new(steps, plan_step_json(&plan->steps[i]));
        json_t *report = json_pack("{s:b, s:o, s:I}", "done", yes, "steps", steps, "left",
                                   (json_int_t)plan->left);
        report_print_json(report, app->out);
        json_decref(report);
        return;
    }
    print_findings(app, &survey->directory.findings);
    print_findings(app, &survey->journal.findings);
    for (size_t i = 0; i < survey->directory.log_count; i++)
        print_findings(app, &survey->directory.logs[i].findings);
    for (size_t i = 0; i < plan->count; i++)
        plan_step_print(&plan->steps[i], app->out);
    if (plan->count == 0)
        fprintf(app->out, "Nothing to do.");
    else if (!yes)
        fprintf(app->out, "Nothing was changed; --yes does these %zu steps.", plan->count);
    else
        fprintf(app->out, "Done.");
    if (plan->left > 0)
        fprintf(app->out, " %zu findings need another option, or a backup.", plan->left);
    fputc('\n', app->out);
}

static int do_plan(struct app *app, const struct plan *plan, const char *root)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_step *step = &plan->steps[i];
        int error = plan_step_do(step, root);
        if (error != 0)
            return app_fail(app, EXIT_FAILED, "%s: %s; %zu of %zu steps are done", step->file,
                            strerror(-error), i, plan->count);
    }
    return 0;
}

static int repair(struct app *app, const struct repair_settings *options, const char *root)
{
    struct log_selection selection = {options->topic, options->partition, true};
    struct log_survey survey;
    struct plan plan = {0};
    int code = log_survey_run(app, &survey, root, &selection, false, options->threads);

    if (code == 0)
        plan_make(&plan, &survey, &options->wishes,
                  options->topic != NULL || options->partition >= 0);
    if (code == 0 && plan.short_of_memory)
        code = app_fail(app, EXIT_FAILED, "out of memory");
    if (code == 0 && options->yes)
        code = do_plan(app, &plan, root);
    if (code == 0)
        print_plan(app, &survey, &plan, options->yes);
    plan_free(&plan);
    log_survey_free(&survey);
    return code;
}

static int run_repair(struct app *app, const void *settings, int count, char **arguments)
{
    const struct repair_settings *options = settings;
    const struct plan_wishes *wishes = &options->wishes;
    int lock = -1;

    (void)count;
    if (!wishes->indexes && !wishes->truncate && !wishes->drop_range && !wishes->discard_journal &&
        !wishes->leftovers)
        return app_fail(app, EXIT_USAGE,
                        "say what to repair; 'weir log verify' tells which option helps");
    // What is begun is not left half done.
    interrupt_catch();
    if (!inspect_is_data_directory(arguments[0]))
        return app_fail(app, EXIT_USAGE, "%s is not the data directory of a broker", arguments[0]);
    int error = inspect_lock(arguments[0], &lock);
    if (error == -EBUSY)
        return app_fail(app, EXIT_FAILED, "a broker uses %s; stop it first", arguments[0]);
    if (error != 0)
        return app_fail(app, EXIT_FAILED, "cannot lock %s: %s", arguments[0], strerror(-error));
    int code = repair(app, options, arguments[0]);
    close(lock);
    return code;
}

static const struct option_spec repair_options[] = {
    {.name = "topic",
     .letter = 't',
     .kind = OPTION_TEXT,
     .placeholder = "TOPIC",
     .help = "only the logs of this topic",
     .offset = offsetof(struct repair_settings, topic)},
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "only logs with this number",
     .offset = offsetof(struct repair_settings, partition),
     .max = INT32_MAX},
    {.name = "rebuild-indexes",
     .kind = OPTION_FLAG,
     .help =
         "remove indexes that are damaged or wrong; the next start of the broker makes new ones",
     .offset = offsetof(struct repair_settings, wishes.indexes)},
    {.name = "drop-range",
     .kind = OPTION_FLAG,
     .help =
         "give up the damaged and missing offsets inside logs: they become holes, which readers "
         "pass over; everything else is kept",
     .offset = offsetof(struct repair_settings, wishes.drop_range)},
    {.name = "truncate",
     .kind = OPTION_FLAG,
     .help = "end logs whose end is lost behind their last sound record, so that they accept again",
     .offset = offsetof(struct repair_settings, wishes.truncate)},
    {.name = "discard-journal",
     .kind = OPTION_FLAG,
     .help = "give up what damaged or missing journal files held; start and stop the broker "
             "before, which saves what is sound in them",
     .offset = offsetof(struct repair_settings, wishes.discard_journal)},
    {.name = "leftovers",
     .kind = OPTION_FLAG,
     .help = "remove what interrupted work has left (the broker does that as well)",
     .offset = offsetof(struct repair_settings, wishes.leftovers)},
    {.name = "yes",
     .kind = OPTION_FLAG,
     .help = "do it; without this, only say what would be done",
     .offset = offsetof(struct repair_settings, yes)},
    {.name = NULL},
};

static const struct repair_settings repair_defaults = {.partition = -1};

const struct command cmd_log_repair = {
    .name = "log repair",
    .arguments = "DIR",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Repair a data directory as told, and say before what is lost by it",
    .description =
        "Reads everything first, as 'weir log verify' does, and prints what it would do. Only\n"
        "--yes changes something. Refuses while a broker uses the directory. Damaged bytes are\n"
        "gone afterwards: make a copy of the directory first if there is any hope for them.\n",
    .examples = "  weir log repair /var/lib/weir --drop-range\n"
                "  weir log repair /var/lib/weir --drop-range --topic orders --yes\n"
                "  weir log repair /var/lib/weir --truncate --topic orders --partition 3 --yes\n",
    .options = repair_options,
    .settings_size = sizeof(struct repair_settings),
    .defaults = &repair_defaults,
    .run = run_repair,
};
