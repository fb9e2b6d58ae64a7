// SPDX-License-Identifier: Apache-2.0
// Giving up a journal that is damaged: its state file says that nothing in it is needed, then its
// files go. And logs of which an earlier start could not know the end: their end is taken as it is.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/log_plan.h"

// --- what goes with it

static void give_up(struct plan *plan, struct inspect_log *log, int64_t first, int64_t next,
                    const char *why)
{
    char *name = NULL;

    if (asprintf(&name, "%s-%" PRId32, log->topic, log->partition) < 0)
        name = NULL;
    plan_add(plan, (struct plan_step){.action = PLAN_GIVE_UP,
                                      .file = name,
                                      .log = log,
                                      .first = first,
                                      .next = next,
                                      .why = why});
}

static bool holds_of(const struct log_survey *survey, const struct inspect_journal_group *group,
                     const struct inspect_log *log)
{
    const struct inspect_journal_log *journalled =
        inspect_journal_log(&survey->journal, log->topic_id, log->partition);

    for (size_t i = 0; journalled != NULL && i < journalled->count; i++) {
        const struct inspect_journalled *item = &journalled->items[i];
        if (item->next > log->end && inspect_journal_has(group, item->file))
            return true;
    }
    return false;
}

static void records_give_up(struct plan *plan, struct log_survey *survey,
                            const struct inspect_journal_group *group)
{
    for (size_t i = 0; i < survey->directory.log_count; i++) {
        struct inspect_log *log = &survey->directory.logs[i];
        if (log->journal_first >= 0 && holds_of(survey, group, log))
            give_up(plan, log, log->journal_first, log->journal_next,
                    "sound records that only the journal holds");
    }
}

static void ends_accept(struct plan *plan, struct log_survey *survey)
{
    for (size_t i = 0; i < survey->directory.log_count; i++) {
        struct inspect_log *log = &survey->directory.logs[i];
        for (size_t j = 0; j < log->findings.count; j++) {
            const struct inspect_finding *finding = &log->findings.items[j];
            if (finding->kind == INSPECT_UNCERTAIN_END)
                give_up(plan, log, finding->first, INT64_MAX,
                        "whatever the lost part of the journal held of it");
        }
    }
}

// --- state files

static bool is_surveyed(const struct log_survey *survey, const struct journal_uncertain *one)
{
    for (size_t i = 0; i < survey->directory.log_count; i++) {
        const struct inspect_log *log = &survey->directory.logs[i];
        if (kp_uuid_equal(log->topic_id, one->topic_id) && log->partition == one->partition)
            return true;
    }
    return false;
}

// The list of logs whose end nobody knows, without those surveyed.
static bool list_keep(const struct log_survey *survey, const struct inspect_journal_state *state,
                      bool filtered, struct plan_step *step)
{
    uint32_t count = state != NULL ? state->header.uncertain_count : 0;

    step->state.uncertain_count = 0;
    step->uncertain = calloc((size_t)count + 1, sizeof(*step->uncertain));
    for (uint32_t i = 0; step->uncertain != NULL && i < count; i++) {
        if (filtered && !is_surveyed(survey, &state->uncertain[i]))
            step->uncertain[step->state.uncertain_count++] = state->uncertain[i];
    }
    return step->uncertain != NULL;
}

static char *state_name(const struct inspect_journal_group *group)
{
    char *name = NULL;

    if (group->state != NULL)
        return strdup(group->state->name);
    if (asprintf(&name, "journal-%03" PRIu32 "-of-%03" PRIu32 ".state", group->shard,
                 group->shard_count) < 0)
        return NULL;
    return name;
}

static void state_plan(struct plan *plan, const struct log_survey *survey,
                       const struct inspect_journal_group *group, bool filtered)
{
    bool discard = group->damaged && !filtered;
    struct plan_step step = {
        .action = PLAN_STATE,
        .why = discard ? "nothing in the journal is needed any more"
                       : "the ends of logs are taken as they are",
        .state = {.shard = group->shard,
                  .shard_count = group->shard_count,
                  .identity = group->identity,
                  .life = group->life + 1,
                  .sequence = group->sequence + 1},
    };
    if (!discard && group->state != NULL)
        step.state = group->state->header;
    uint32_t before = group->state != NULL ? group->state->header.uncertain_count : 0;
    if (!list_keep(survey, group->state, filtered, &step)) {
        plan->short_of_memory = true;
        return;
    }
    if (!discard && before == step.state.uncertain_count) {
        free(step.uncertain);
        return;
    }
    step.file = state_name(group);
    plan_add(plan, step);
}

static void files_plan(struct plan *plan, const struct inspect_journal *journal,
                       const struct inspect_journal_group *group)
{
    for (size_t i = 0; i < journal->file_count; i++) {
        if (inspect_journal_has(group, &journal->files[i]))
            plan_remove(plan, NULL, journal->files[i].name, "of the journal that is given up");
    }
}

void plan_journal(struct plan *plan, struct log_survey *survey, bool filtered)
{
    const struct inspect_journal *journal = &survey->journal;

    ends_accept(plan, survey);
    for (size_t i = 0; i < journal->group_count; i++) {
        const struct inspect_journal_group *group = &journal->groups[i];
        bool discard = group->damaged && !filtered;
        if (discard)
            records_give_up(plan, survey, group);
        state_plan(plan, survey, group, filtered);
        if (discard)
            files_plan(plan, journal, group);
    }
    for (size_t i = 0; i < journal->state_count && !filtered; i++) {
        if (journal->states[i].state == INSPECT_GARBLED)
            plan_remove(plan, NULL, journal->states[i].name, "damaged");
    }
    for (size_t i = 0; i < journal->file_count && !filtered; i++) {
        if (journal->files[i].set_aside && !journal->files[i].unsettled)
            plan_remove(plan, NULL, journal->files[i].name, "was set aside as damaged");
    }
}
