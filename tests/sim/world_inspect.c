// SPDX-License-Identifier: Apache-2.0
// The second opinion: before a start the disk is copied into a real directory, read with
// storage/inspect.h, and what that says of each log is compared with what recovery makes of it.
// Neither knows the other's code, so where they agree both are likely right.
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/inspect.h"
#include "storage/listing.h"
#include "tests/sim/world.h"

enum { PIECE = 256 * 1024 };

// --- the copy

static int entry_remove(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static bool file_copy(struct io *io, const char *from, const char *to)
{
    static uint8_t piece[PIECE];
    int in = io_open_wait(io, from, O_RDONLY, 0);
    if (in < 0)
        return false;
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(out >= 0);
    int64_t size = io_file_size(io, in);
    bool whole = size >= 0;
    for (int64_t at = 0; at < size && whole;) {
        int64_t got = io_read_wait(io, in, piece, sizeof(piece), (uint64_t)at);
        whole = got > 0;
        if (whole)
            CHECK(pwrite(out, piece, (size_t)got, at) == got);
        at += got;
    }
    close(out);
    io_close_wait(io, in);
    return whole;
}

static bool tree_copy(struct io *io, const char *from, const char *to)
{
    struct listing names;
    int error = listing_read(&names, io, from);
    if (error == -ENOTDIR) {
        listing_free(&names);
        return file_copy(io, from, to);
    }
    bool whole = !error;
    CHECK(mkdir(to, 0700) == 0);
    for (size_t i = 0; i < names.count && whole; i++) {
        char *one = NULL;
        char *other = NULL;
        CHECK(asprintf(&one, "%s/%s", from, names.names[i]) > 0);
        CHECK(asprintf(&other, "%s/%s", to, names.names[i]) > 0);
        whole = tree_copy(io, one, other);
        free(one);
        free(other);
    }
    listing_free(&names);
    return whole;
}

// --- the opinion

static struct world_log *log_of(struct world *world, const struct inspect_log *log)
{
    for (uint32_t i = 0; i < world->log_count; i++) {
        struct world_log *own = &world->logs[i];
        if (own->partition == log->partition && kp_uuid_equal(own->id, log->topic_id))
            return own;
    }
    return NULL;
}

static void findings_judge(struct world *world, const struct inspect_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct inspect_finding *finding = &findings->items[i];
        const struct inspect_rule *rule = &inspect_rules[finding->kind];
        if (finding->kind == INSPECT_BAD_DIRECTORY) // the broker's own file, not the store's
            continue;
        world_say(world, "inspection: %s: %s: %s", rule->name, finding->file, finding->what);
        if (!rule->harmless && world->counts[COUNT_DAMAGES] == world->damages_before)
            world_fail(world,
                       "inspection finds what nobody did: %s: %s, offsets %" PRId64
                       " up to %" PRId64 ": %s",
                       rule->name, finding->file, finding->first, finding->next, finding->what);
    }
}

static void log_judge(struct world *world, struct inspect_log *log,
                      const struct inspect_journal *journal)
{
    struct inspect_options options = {.records = true, .journal = journal};
    for (size_t i = 0; i < log->segment_count; i++)
        CHECK(inspect_segment_survey(&log->segments[i], &options) == 0);
    inspect_log_judge(log, journal);
    findings_judge(world, &log->findings);
    struct world_log *own = log_of(world, log);
    if (!own)
        return;
    bool doubts = inspect_journal_doubts(journal, log->topic_id, log->partition);
    own->opinion = (struct world_opinion){
        .given = true,
        .start = log->start,
        .end = log->journal_next,
        .accepts = !log->end_is_lost && !doubts,
    };
}

void world_inspect(struct world *world)
{
    char copy[64] = "/dev/shm/weir-sim-XXXXXX";
    char data[96];
    if (!world->inspecting)
        return;
    for (uint32_t i = 0; i < world->log_count; i++)
        world->logs[i].opinion.given = false;
    CHECK(mkdtemp(copy));
    snprintf(data, sizeof(data), "%s/data", copy);
    struct inspect_directory directory;
    struct inspect_filter all = {.partition = -1};
    bool whole = tree_copy(sim_io(world->sim), "/data", data);
    if (whole && inspect_directory_open(&directory, data, &all) == 0) {
        struct inspect_journal journal;
        CHECK(inspect_journal_open(&journal, &directory, NULL) == 0);
        for (size_t i = 0; i < directory.log_count; i++)
            log_judge(world, &directory.logs[i], &journal);
        findings_judge(world, &directory.findings);
        findings_judge(world, &journal.findings);
        // Which logs a shard has is the broker's to say, and the simulation's here.
        for (size_t i = 0; i < journal.group_count; i++) {
            for (uint32_t k = 0; k < world->log_count && journal.groups[i].lost > 0; k++)
                world->logs[k].opinion.given = false;
        }
        inspect_journal_close(&journal);
        inspect_directory_close(&directory);
    }
    nftw(copy, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

void world_compare(struct world_log *log)
{
    const struct world_opinion *opinion = &log->opinion;
    struct log_offsets offsets = log_offsets(log->log);
    if (!opinion->given || log->world->faulty || sim_power_is_off(log->world->sim))
        return;
    log->opinion.given = false;
    if (offsets.start == opinion->start && offsets.committed == opinion->end &&
        (offsets.error == 0) == opinion->accepts)
        return;
    world_fail(log->world,
               "%s: recovery says %" PRId64 " to %" PRId64 " and %s, inspection %" PRId64
               " to %" PRId64 " and %s",
               log->name, offsets.start, offsets.committed, offsets.error ? "refuses" : "accepts",
               opinion->start, opinion->end, opinion->accepts ? "accepts" : "refuses");
}
