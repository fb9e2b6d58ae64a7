// SPDX-License-Identifier: Apache-2.0
// weir-sim: runs histories of seeds. See usage().
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/plant.h"
#include "tests/sim/world.h"

enum { JOBS_MAX = 64, LOG_TAIL = 3000, EXIT_FOUND = 3 };

struct options {
    uint64_t seeds;
    uint64_t first;
    uint32_t jobs;
    bool one; // a single seed, with everything that happens
    bool inspect;
    bool go_on; // behind a failure
    bool plants;
    bool twice;
    bool disk; // with --seed: also what the disk does
};

// Shared with the workers.
struct progress {
    struct {
        uint64_t seed; // being run
        uint64_t next; // place of the next one
        uint64_t done;
        uint64_t counts[COUNT_COUNT];
    } jobs[JOBS_MAX];
};

static const char *const count_names[COUNT_COUNT] = {
    [COUNT_LIVES] = "starts",
    [COUNT_CRASHES] = "crashes",
    [COUNT_RECOVERY_CRASHES] = "crashes during recovery",
    [COUNT_APPENDS] = "appends",
    [COUNT_ACKED] = "acknowledged",
    [COUNT_FAILED] = "failed",
    [COUNT_DUPLICATES] = "duplicates",
    [COUNT_READS] = "reads",
    [COUNT_LOOKUPS] = "time lookups",
    [COUNT_TRIMS] = "trims",
    [COUNT_DELETES] = "deletions",
    [COUNT_FAULTS] = "device errors",
    [COUNT_DAMAGES] = "damages",
    [COUNT_FULL] = "full disks",
    [COUNT_COMPACTIONS] = "compactions",
};

static void usage(void)
{
    fputs("usage: weir-sim [--seeds N] [--seed S] [--first S] [--jobs J] [--plant NAME]\n"
          "                [--go-on] [--quiet]\n"
          "\n"
          "  --seeds N     run N histories (default 1000)\n"
          "  --seed S      run one, and print everything that happens\n"
          "  --first S     begin with this one (default 1)\n"
          "  --jobs J      processes (default 1)\n"
          "  --inspect     compare each start with a reading of the disk by other code\n"
          "  --plant NAME  with a fault built in (weir-sim-plants only)\n"
          "  --plants      each of these faults in turn; fails if one is not found\n"
          "  --twice       run each history twice: it must be the same\n"
          "  --disk        with --seed: print also what the disk does\n"
          "  --go-on       do not end at the first failure\n"
          "  --quiet       of a failure, only its sentence\n",
          stderr);
}

static FILE *messages; // where failures go; standard error belongs to the log lines
static bool quiet;     // nothing of a failure but its sentence
static bool brief;     // and nothing when there is none
static int log_lines = -1;

static void print_log_tail(int fd)
{
    char tail[LOG_TAIL + 1];
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t from = size > LOG_TAIL ? size - LOG_TAIL : 0;
    ssize_t got = size > 0 ? pread(fd, tail, (size_t)(size - from), from) : 0;
    if (got > 0)
        fprintf(messages, "  its log ends:\n%.*s", (int)got, tail);
}

void world_failed(struct world *world, const char *text)
{
    if (world->out)
        fflush(world->out);
    if (!quiet) {
        uint64_t from = world->event_count > WORLD_EVENTS ? world->event_count - WORLD_EVENTS : 0;
        for (uint64_t i = from; i < world->event_count && !world->out; i++)
            fprintf(messages, "  %s\n", world->events[i % WORLD_EVENTS]);
        print_log_tail(log_lines);
    }
    fprintf(messages, "seed %" PRIu64 ": %s\n", world->seed, text);
    fflush(messages);
    _exit(EXIT_FOUND);
}

static void forget_log_lines(void)
{
    if (log_lines >= 0 && ftruncate(log_lines, 0) == 0)
        lseek(log_lines, 0, SEEK_SET);
}

static int run_one(const struct options *options)
{
    static struct world world;
    world.show_disk = options->disk;
    world.inspecting = options->inspect;
    world_history(&world, options->first, stdout);
    printf("seed %" PRIu64 ": %016" PRIx64 "\n", options->first, world.digest);
    return 0;
}

static _Noreturn void work(const struct options *options, struct progress *progress, uint32_t job)
{
    uint64_t first = progress->jobs[job].next;
    static struct world world;
    world.inspecting = options->inspect;
    CHECK(dup2(log_lines, STDERR_FILENO) >= 0);
    memcpy(world.counts, progress->jobs[job].counts, sizeof(world.counts));
    for (uint64_t i = first; i < options->seeds; i += options->jobs) {
        progress->jobs[job].seed = options->first + i;
        progress->jobs[job].next = i + options->jobs;
        forget_log_lines();
        world_history(&world, options->first + i, NULL);
        uint64_t digest = world.digest;
        if (options->twice)
            world_history(&world, options->first + i, NULL);
        if (world.digest != digest)
            world_failed(&world, "the seed does not repeat");
        progress->jobs[job].done++;
        memcpy(progress->jobs[job].counts, world.counts, sizeof(world.counts));
    }
    exit(0); // so that leaks are found
}

static void print_summary(const struct progress *progress, uint32_t jobs, double seconds)
{
    uint64_t done = 0;
    uint64_t counts[COUNT_COUNT] = {0};
    for (uint32_t i = 0; i < jobs; i++) {
        done += progress->jobs[i].done;
        for (int k = 0; k < COUNT_COUNT; k++)
            counts[k] += progress->jobs[i].counts[k];
    }
    fprintf(messages, "%" PRIu64 " histories in %.1f s:", done, seconds);
    for (int k = 0; k < COUNT_COUNT; k++) {
        if (counts[k] > 0)
            fprintf(messages, " %" PRIu64 " %s,", counts[k], count_names[k]);
    }
    fprintf(messages, " %.0f histories per minute and process\n",
            (double)done / seconds * 60 / jobs);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct worker {
    pid_t pid;
    int log; // log lines of the code under test, to be shown with a failure
};

static void worker_start(struct worker *worker, const struct options *options,
                         struct progress *progress, uint32_t job)
{
    log_lines = worker->log;
    worker->pid = fork();
    CHECK(worker->pid >= 0);
    if (worker->pid == 0)
        work(options, progress, job);
}

// Waits for its end; true when it has found something.
static bool worker_wait(const struct worker *worker, uint64_t seed)
{
    int status = 0;
    CHECK(waitpid(worker->pid, &status, 0) == worker->pid);
    if (status == 0)
        return false;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_FOUND) {
        if (!quiet)
            print_log_tail(worker->log);
        fprintf(messages, "seed %" PRIu64 ": the program crashes (status %d)\n", seed, status);
    }
    return true;
}

static int run_many(const struct options *options)
{
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(progress != MAP_FAILED);
    struct worker workers[JOBS_MAX];
    double start = now_s();
    for (uint32_t i = 0; i < options->jobs; i++) {
        workers[i].log = memfd_create("log", 0);
        CHECK(workers[i].log >= 0);
        progress->jobs[i].next = i;
        worker_start(&workers[i], options, progress, i);
    }
    uint64_t failed = 0;
    for (uint32_t i = 0; i < options->jobs; i++) {
        while (worker_wait(&workers[i], progress->jobs[i].seed)) {
            failed++;
            if (!options->go_on)
                break;
            worker_start(&workers[i], options, progress, i);
        }
    }
    if (!brief)
        print_summary(progress, options->jobs, now_s() - start);
    if (failed > 0 && !brief)
        fprintf(messages, "%" PRIu64 " failed\n", failed);
    return failed > 0;
}

#ifdef WEIR_PLANTS
static const char *const plant_names[PLANT_COUNT] = {
    [PLANT_ACK_BEFORE_COMMIT] = "ack-before-commit",
    [PLANT_SKIP_DIRECTORY_SYNC] = "skip-directory-sync",
    [PLANT_NO_SALT] = "no-salt",
    [PLANT_TRUST_INDEX] = "trust-index",
    [PLANT_RETRY_FAILED_SYNC] = "retry-failed-sync",
    [PLANT_REUSE_JOURNAL_EARLY] = "reuse-journal-early",
    [PLANT_DROP_PRODUCERS] = "drop-producers",
    [PLANT_CUT_MIDDLE] = "cut-middle",
    [PLANT_IGNORE_GAP] = "ignore-gap",
    [PLANT_FLUSH_EARLY] = "flush-early",
    [PLANT_SKIP_PREFIX] = "skip-prefix",
    [PLANT_COMPACT_LAST] = "compact-last",
    [PLANT_TRIM_EARLY] = "trim-early",
    [PLANT_CHECKPOINT_EARLY] = "checkpoint-early",
    [PLANT_BEGIN_UNSETTLED] = "begin-unsettled",
    [PLANT_STALE_LIFE] = "stale-life",
    [PLANT_BELIEVE_CACHE] = "believe-cache",
};

static int plant(const char *name)
{
    for (int i = 1; i < PLANT_COUNT; i++) {
        if (strcmp(name, plant_names[i]) == 0) {
            plant_active = (enum plant)i;
            return 0;
        }
    }
    fputs("there is:", stderr);
    for (int i = 1; i < PLANT_COUNT; i++)
        fprintf(stderr, " %s", plant_names[i]);
    fputs("\n", stderr);
    return 2;
}

// Each fault in turn must be found within so many seeds.
static int run_plants(const struct options *options)
{
    int missed = 0;
    quiet = true;
    brief = true;
    for (int i = 1; i < PLANT_COUNT; i++) {
        plant_active = (enum plant)i;
        fprintf(messages, "%-20s ", plant_names[i]);
        fflush(messages);
        if (run_many(options) == 0) {
            fprintf(messages, "NOT FOUND within %" PRIu64 " seeds\n", options->seeds);
            missed++;
        }
    }
    // That nothing is found without a fault is mostly the business of weir-sim.
    struct options none = *options;
    none.seeds = options->seeds / 10;
    plant_active = PLANT_NONE;
    fprintf(messages, "%-20s ", "none");
    missed += run_many(&none);
    fprintf(messages, "%d of %d missed\n", missed, PLANT_COUNT - 1);
    return missed > 0;
}
#else
static int run_plants(const struct options *options)
{
    (void)options;
    fputs("this program is built without planted faults\n", stderr);
    return 2;
}

static int plant(const char *name)
{
    (void)name;
    fputs("this program is built without planted faults\n", stderr);
    return 2;
}
#endif

int main(int count, char **arguments)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'},
        {"plant", required_argument, NULL, 'p'},
        {"quiet", no_argument, NULL, 'q'},
        {"inspect", no_argument, NULL, 'i'},
        {"plants", no_argument, NULL, 'P'},
        {"twice", no_argument, NULL, 't'},
        {"disk", no_argument, NULL, 'd'},
        {"go-on", no_argument, NULL, 'g'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct options options = {.seeds = 1000, .first = 1, .jobs = 1};
    for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        if (option == 'n')
            options.seeds = strtoull(optarg, NULL, 10);
        else if (option == 'f' || option == 's')
            options.first = strtoull(optarg, NULL, 10);
        else if (option == 'j')
            options.jobs = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'i')
            options.inspect = true;
        else if (option == 'q')
            quiet = true;
        else if (option == 'd')
            options.disk = true;
        else if (option == 'P')
            options.plants = true;
        else if (option == 't')
            options.twice = true;
        else if (option == 'g')
            options.go_on = true;
        else if (option != 'p') {
            usage();
            return option == 'h' ? 0 : 2;
        } else if (plant(optarg)) {
            return 2;
        }
        options.one = options.one || option == 's';
    }
    if (optind < count || options.jobs < 1 || options.jobs > JOBS_MAX) {
        usage();
        return 2;
    }
    messages = fdopen(dup(STDERR_FILENO), "w");
    CHECK(messages && setvbuf(messages, NULL, _IONBF, 0) == 0); // workers share it
    if (options.plants)
        return run_plants(&options);
    return options.one ? run_one(&options) : run_many(&options);
}
