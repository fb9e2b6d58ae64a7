// SPDX-License-Identifier: Apache-2.0
// From findings to steps. A finding names what is wrong; which step removes it depends on where it
// is:
//
//   damage between sound frames of a file   the file is written anew, with a hole in the offsets
//   a whole file that is bad or missing,    a small file without records takes its place
//   or the end of one that is not the last
//   the end of a log that is not known      what is behind the last sound record goes
//   an index                                it goes; the next start makes a new one
#include "tools/log_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/inspect_repair.h"

bool plan_add(struct plan *plan, struct plan_step step)
{
    struct plan_step *steps = NULL;
    if (step.file != NULL)
        steps = reallocarray(plan->steps, plan->count + 1, sizeof(*steps));
    if (steps == NULL) {
        plan->short_of_memory = true;
        free(step.file);
        free(step.uncertain);
        return false;
    }
    plan->steps = steps;
    steps[plan->count++] = step;
    return true;
}

static bool has_step(const struct plan *plan, const char *file)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (strcmp(plan->steps[i].file, file) == 0)
            return true;
    }
    return false;
}

void plan_remove(struct plan *plan, struct inspect_log *log, const char *file, const char *why)
{
    if (!has_step(plan, file))
        plan_add(plan, (struct plan_step){
                           .action = PLAN_REMOVE, .file = strdup(file), .log = log, .why = why});
}

// --- damage inside

static void rewrite(struct plan *plan, struct inspect_log *log, struct inspect_segment *segment,
                    int64_t to)
{
    int64_t first = segment->gap_count > 0 ? segment->gaps[0].first : segment->next_offset;
    int64_t next = to >= 0 ? to : segment->gaps[segment->gap_count - 1].next;
    plan_add(plan, (struct plan_step){.action = PLAN_REWRITE,
                                      .file = inspect_segment_path(segment, ".log", false),
                                      .log = log,
                                      .segment = segment,
                                      .first = first,
                                      .next = next,
                                      .why = "written anew without what is damaged"});
}

static void make_hole(struct plan *plan, struct inspect_log *log, int64_t from, int64_t to)
{
    struct inspect_segment place = {.log = log, .base = from};
    plan_add(plan, (struct plan_step){.action = PLAN_HOLE,
                                      .file = inspect_segment_path(&place, ".log", false),
                                      .log = log,
                                      .first = from,
                                      .next = to,
                                      .why = "takes the place of what is missing"});
}

static void ranges_drop(struct plan *plan, struct inspect_log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        struct inspect_segment *segment = &log->segments[i];
        if (!segment->has_data || segment->superseded)
            continue;
        bool last = segment->limit == INT64_MAX;
        if (segment->state == INSPECT_SOUND) {
            bool open_end = !last && segment->next_offset < segment->limit;
            if (segment->gap_count > 0)
                rewrite(plan, log, segment, open_end ? segment->limit : -1);
            else if (open_end && segment->next_offset > segment->base)
                make_hole(plan, log, segment->next_offset, segment->limit);
            else if (open_end)
                make_hole(plan, log, segment->base, segment->limit);
        } else if (!last && segment->state != INSPECT_VERSION &&
                   segment->state != INSPECT_REFUSED) {
            make_hole(plan, log, segment->base, segment->limit);
        }
    }
}

// --- the end

// What is behind the last sound segment, the last file first: after a crash on the way the log
// still does not know its end.
static void end_cut(struct plan *plan, struct inspect_log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        struct inspect_segment *segment = &log->segments[i];
        bool behind = segment->has_data ? segment->state != INSPECT_SOUND && !segment->superseded &&
                                              segment->limit == INT64_MAX
                                        : segment->base >= log->end;
        if (!behind)
            continue;
        char *data = inspect_segment_path(segment, ".log", false);
        char *index = inspect_segment_path(segment, ".index", false);
        size_t before = plan->count;
        if (data != NULL && segment->has_data)
            plan_remove(plan, log, data, "cannot be read, and was the log's end");
        if (index != NULL && segment->has_index)
            plan_remove(plan, log, index, "says that the log went on");
        if (plan->count > before) {
            plan->steps[before].first = log->end;
            plan->steps[before].next = INT64_MAX;
        }
        free(data);
        free(index);
    }
}

// --- findings

static bool wanted(const struct plan_wishes *wishes, const struct inspect_finding *finding)
{
    switch (finding->kind) {
    case INSPECT_DAMAGED_RANGE:
    case INSPECT_DAMAGED_FILE:
    case INSPECT_WRONG_FILE:
    case INSPECT_MISSING_FILE:
    case INSPECT_JOURNAL_GAP:
        return wishes->drop_range;
    case INSPECT_LOST_END:
        return wishes->truncate;
    case INSPECT_BAD_INDEX:
    case INSPECT_WRONG_INDEX:
        return wishes->indexes;
    case INSPECT_JOURNAL_DAMAGED:
    case INSPECT_JOURNAL_MISSING:
    case INSPECT_UNCERTAIN_END:
        return wishes->discard_journal;
    case INSPECT_LEFTOVER:
    case INSPECT_UNFINISHED:
        return wishes->leftovers;
    default:
        return false;
    }
}

static void log_plan(struct plan *plan, struct inspect_log *log, const struct plan_wishes *wishes)
{
    bool drop = false;
    bool cut = false;
    for (size_t i = 0; i < log->findings.count; i++) {
        const struct inspect_finding *finding = &log->findings.items[i];
        if (!wanted(wishes, finding)) {
            plan->left += !inspect_rules[finding->kind].harmless;
            continue;
        }
        if (finding->kind == INSPECT_UNCERTAIN_END)
            continue; // plan_journal
        // Between two entries of the journal there is no place for a file yet: the broker, which
        // writes them to the segment, makes this a gap of that.
        if (finding->kind == INSPECT_JOURNAL_GAP && finding->first == log->end)
            make_hole(plan, log, finding->first, finding->next);
        if (finding->kind == INSPECT_JOURNAL_GAP)
            continue;
        if (finding->kind == INSPECT_LOST_END)
            cut = true;
        else if (finding->kind == INSPECT_BAD_INDEX || finding->kind == INSPECT_WRONG_INDEX)
            plan_remove(plan, log, finding->file, "the next start makes a new one");
        else if (finding->kind == INSPECT_LEFTOVER || finding->kind == INSPECT_UNFINISHED)
            plan_remove(plan, log, finding->file, "not needed");
        else
            drop = true;
    }
    if (drop)
        ranges_drop(plan, log);
    if (cut)
        end_cut(plan, log);
}

static void left_count(struct plan *plan, const struct inspect_findings *findings,
                       const struct plan_wishes *wishes, bool filtered)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct inspect_finding *finding = &findings->items[i];
        if (filtered || !wanted(wishes, finding))
            plan->left += !inspect_rules[finding->kind].harmless;
    }
}

void plan_make(struct plan *plan, struct log_survey *survey, const struct plan_wishes *wishes,
               bool filtered)
{
    struct inspect_directory *directory = &survey->directory;

    *plan = (struct plan){0};
    left_count(plan, &directory->findings, wishes, false);
    left_count(plan, &survey->journal.findings, wishes, filtered);
    for (size_t i = 0; i < directory->findings.count; i++) {
        const struct inspect_finding *finding = &directory->findings.items[i];
        if (finding->kind == INSPECT_LEFTOVER && wishes->leftovers)
            plan_remove(plan, NULL, finding->file, "not needed");
    }
    for (size_t i = 0; i < directory->log_count; i++)
        log_plan(plan, &directory->logs[i], wishes);
    if (wishes->discard_journal)
        plan_journal(plan, survey, filtered);
}

void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        free(plan->steps[i].file);
        free(plan->steps[i].uncertain);
    }
    free(plan->steps);
}

int plan_step_do(const struct plan_step *step, const char *root)
{
    switch (step->action) {
    case PLAN_REWRITE:
        return inspect_rewrite(step->segment,
                               step->segment->limit == INT64_MAX ? -1 : step->segment->limit);
    case PLAN_HOLE:
        return inspect_make_hole(step->log, step->first, step->next);
    case PLAN_STATE:
        return inspect_state_write(root, step->file, step->state, step->uncertain);
    case PLAN_GIVE_UP:
        return 0;
    default:
        return inspect_remove(root, step->file);
    }
}

static const char *verb_of(enum plan_action action)
{
    static const char *const verbs[] = {[PLAN_REMOVE] = "remove",
                                        [PLAN_REWRITE] = "rewrite",
                                        [PLAN_HOLE] = "make",
                                        [PLAN_STATE] = "rewrite",
                                        [PLAN_GIVE_UP] = "give up"};

    return verbs[action];
}

void plan_step_print(const struct plan_step *step, FILE *out)
{
    fprintf(out, "%s %s: %s", verb_of(step->action), step->file, step->why);
    if (step->action == PLAN_GIVE_UP && step->next == INT64_MAX)
        fprintf(out, ", from offset %" PRId64 " on; the log accepts records there", step->first);
    else if (step->action == PLAN_GIVE_UP)
        fprintf(out, ", offsets %" PRId64 " up to %" PRId64, step->first, step->next - 1);
    else if (step->next == INT64_MAX)
        fprintf(out,
                "; %s-%" PRId32 " ends at %" PRId64
                ", what was behind is lost, and its offsets are given to new records",
                step->log->topic, step->log->partition, step->first);
    else if (step->next > step->first)
        fprintf(out,
                "; of %s-%" PRId32 " what is damaged of offsets %" PRId64 " up to %" PRId64
                " is given up",
                step->log->topic, step->log->partition, step->first, step->next - 1);
    fputc('\n', out);
}

json_t *plan_step_json(const struct plan_step *step)
{
    json_t *object = json_pack("{s:s, s:s, s:s}", "action", verb_of(step->action), "file",
                               step->file, "why", step->why);

    if (step->log != NULL) {
        json_object_set_new(object, "topic", json_string(step->log->topic));
        json_object_set_new(object, "partition", json_integer(step->log->partition));
    }
    if (step->next > step->first) {
        json_object_set_new(object, "first_offset", json_integer(step->first));
        json_object_set_new(object, "next_offset",
                            step->next == INT64_MAX ? json_null() : json_integer(step->next));
    }
    return object;
}
