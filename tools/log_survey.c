// SPDX-License-Identifier: Apache-2.0
// Surveys segments in parallel: threads take them one after the other from a list, the main thread
// shows how far they are. A thread reads and hashes in turn, so two per processor keep both the
// device and the processors busy.
#include "tools/log_survey.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/interrupt.h"
#include "tools/progress.h"

enum { THREADS_MAX = 64, SHOW_EVERY_NS = 50 * 1000 * 1000 };

struct crew {
    struct inspect_segment **segments; // largest first
    size_t count;
    atomic_size_t next;
    atomic_size_t done;
    atomic_int error;
    struct inspect_options options;
    atomic_uint_fast64_t read_bytes;
};

static void *work(void *context)
{
    struct crew *crew = context;
    for (;;) {
        size_t index = atomic_fetch_add(&crew->next, 1);
        if (index >= crew->count || interrupt_requested() || atomic_load(&crew->error))
            return NULL;
        int error = inspect_segment_survey(crew->segments[index], &crew->options);
        if (error)
            atomic_store(&crew->error, error);
        atomic_fetch_add(&crew->done, 1);
    }
}

static int size_compare(const void *a, const void *b)
{
    const struct inspect_segment *one = *(struct inspect_segment *const *)a;
    const struct inspect_segment *other = *(struct inspect_segment *const *)b;
    return (one->file_size < other->file_size) - (one->file_size > other->file_size);
}

static int crew_gather(struct crew *crew, struct inspect_directory *directory, uint64_t *bytes)
{
    for (size_t i = 0; i < directory->log_count; i++)
        crew->count += directory->logs[i].segment_count;
    crew->segments = calloc(crew->count + 1, sizeof(struct inspect_segment *));
    if (!crew->segments)
        return -ENOMEM;
    size_t at = 0;
    for (size_t i = 0; i < directory->log_count; i++) {
        struct inspect_log *log = &directory->logs[i];
        for (size_t j = 0; j < log->segment_count; j++) {
            crew->segments[at++] = &log->segments[j];
            *bytes += log->segments[j].file_size;
        }
    }
    qsort(crew->segments, crew->count, sizeof(struct inspect_segment *), size_compare);
    return 0;
}

static int threads_wanted(const struct crew *crew, int64_t asked)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t count = asked > 0 ? asked : 2 * (processors > 0 ? processors : 1);
    count = count > THREADS_MAX ? THREADS_MAX : count;
    return (size_t)count > crew->count ? (int)crew->count : (int)count;
}

static int crew_run(struct crew *crew, int64_t asked, struct progress *progress)
{
    pthread_t threads[THREADS_MAX];
    int wanted = threads_wanted(crew, asked);
    int started = 0;
    while (started < wanted && pthread_create(&threads[started], NULL, work, crew) == 0)
        started++;
    if (started == 0)
        work(crew);
    while (progress->shown && started > 0 && atomic_load(&crew->done) < crew->count &&
           !atomic_load(&crew->error) && !interrupt_requested()) {
        nanosleep(&(struct timespec){.tv_nsec = SHOW_EVERY_NS}, NULL);
        progress_update(progress, 0, (int64_t)atomic_load(&crew->read_bytes));
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&crew->error);
}

static int directory_open(struct app *app, struct log_survey *survey, const char *path,
                          const struct log_selection *selection)
{
    struct inspect_filter filter = {selection->topic, (int32_t)selection->partition};
    int error = inspect_directory_open(&survey->directory, path, &filter);
    if (error == -ENOMEM)
        return app_fail(app, EXIT_FAILED, "out of memory");
    if (error)
        return app_fail(app, EXIT_USAGE, "cannot read %s: %s; give the data directory of a broker",
                        path, strerror(-error));
    if (selection->locked)
        survey->directory.in_use = false;
    if (survey->directory.log_count > 0)
        return 0;
    if (selection->topic || selection->partition >= 0)
        return app_fail(app, EXIT_NOT_FOUND, "%s holds no such log", path);
    if (survey->directory.findings.count > 0)
        return app_fail(app, EXIT_USAGE, "%s is not the data directory of a broker", path);
    return 0;
}

int log_survey_run(struct app *app, struct log_survey *survey, const char *path,
                   const struct log_selection *selection, bool records, int64_t threads)
{
    *survey = (struct log_survey){0};
    interrupt_catch();
    struct crew crew = {.options = {.records = records}};
    crew.options.progress = &crew.read_bytes;
    uint64_t bytes = 0;
    int code = directory_open(app, survey, path, selection);
    if (code != 0)
        return code;
    struct progress progress;
    uint64_t begin_ns = clock_monotonic_ns();
    int error = crew_gather(&crew, &survey->directory, &bytes);
    progress_start_bytes(&progress, app->err, progress_wanted(app->err), "verified",
                         (int64_t)bytes);
    if (!error)
        error = inspect_journal_open(&survey->journal, &survey->directory, &crew.read_bytes);
    crew.options.journal = &survey->journal;
    if (!error)
        error = crew_run(&crew, threads, &progress);
    progress_end(&progress);
    free(crew.segments);
    if (error)
        return app_fail(app, EXIT_FAILED, "%s", strerror(-error));
    if (interrupt_requested())
        return EXIT_INTERRUPTED;
    for (size_t i = 0; i < survey->directory.log_count; i++)
        inspect_log_judge(&survey->directory.logs[i], &survey->journal);
    survey->read_bytes = atomic_load(&crew.read_bytes);
    survey->elapsed_ns = clock_monotonic_ns() - begin_ns;
    return 0;
}

void log_survey_free(struct log_survey *survey)
{
    inspect_journal_close(&survey->journal);
    inspect_directory_close(&survey->directory);
}

// --- findings

void log_finding_print(const struct inspect_finding *finding, FILE *out)
{
    const struct inspect_rule *rule = &inspect_rules[finding->kind];

    fprintf(out, "%s%s: %s", rule->harmless ? "note: " : "", rule->name,
            finding->file ? finding->file : "-");
    if (finding->to > finding->from)
        fprintf(out, ", bytes %" PRIu64 " up to %" PRIu64, finding->from, finding->to - 1);
    if (finding->next == INT64_MAX)
        fprintf(out, ", offsets from %" PRId64 " on", finding->first);
    else if (finding->next > finding->first)
        fprintf(out, ", offsets %" PRId64 " up to %" PRId64, finding->first, finding->next - 1);
    fprintf(out, ": %s. The broker %s.", finding->what, rule->broker);
    if (rule->repair && !rule->harmless)
        fprintf(out, " Repair: %s.", rule->repair);
    fputc('\n', out);
}

json_t *log_finding_json(const struct inspect_finding *finding)
{
    const struct inspect_rule *rule = &inspect_rules[finding->kind];
    json_t *object =
        json_pack("{s:s, s:b, s:s?, s:s?, s:s, s:s, s:s?}", "kind", rule->name, "harmless",
                  rule->harmless, "file", finding->file, "topic", finding->topic, "what",
                  finding->what, "broker", rule->broker, "repair", rule->repair);

    if (finding->topic)
        json_object_set_new(object, "partition", json_integer(finding->partition));
    if (finding->to > finding->from) {
        json_object_set_new(object, "from_byte", json_integer((json_int_t)finding->from));
        json_object_set_new(object, "to_byte", json_integer((json_int_t)finding->to));
    }
    if (finding->next > finding->first) {
        json_object_set_new(object, "first_offset", json_integer(finding->first));
        json_object_set_new(object, "next_offset",
                            finding->next == INT64_MAX ? json_null() : json_integer(finding->next));
    }
    return object;
}
