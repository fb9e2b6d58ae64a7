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
    // Where the end is lost it is a matter of words where it is.
    bool same_end = !opinion->accepts || offsets.committed == opinion->end;
    if (offsets.start == opinion->start && same_end && (offsets.error == 0) == opinion->accepts)
        return;
    world_fail(log->world,
               "%s: recovery says %" PRId64 " to %" PRId64 " and %s, inspection %" PRId64
               " to %" PRId64 " and %s",
               log->name, offsets.start, offsets.committed, offsets.error ? "refuses" : "accepts",
               opinion->start, opinion->end, opinion->accepts ? "accepts" : "refuses");
}

// --- ruins: damage of any kind, where no checker knows what should be there

enum { RUINS_FILES = 128, ROUNDS = 4 };

struct ruins {
    struct world *world;
    struct io *io;
    char *files[RUINS_FILES];
    uint32_t count;
};

static void files_find(struct ruins *ruins, const char *path)
{
    struct listing names;
    int error = listing_read(&names, ruins->io, path);
    if (error == -ENOTDIR && ruins->count < RUINS_FILES)
        ruins->files[ruins->count++] = strdup(path);
    for (size_t i = 0; i < names.count && !error; i++) {
        char *below = NULL;
        CHECK(asprintf(&below, "%s/%s", path, names.names[i]) > 0);
        files_find(ruins, below);
        free(below);
    }
    listing_free(&names);
}

static void zeros_write(struct ruins *ruins, const char *path)
{
    static const uint8_t zeros[8192];
    struct world *world = ruins->world;
    int fd = io_open_wait(ruins->io, path, O_RDWR, 0);
    if (fd < 0)
        return;
    int64_t size = io_file_size(ruins->io, fd);
    uint64_t at = size > 0 ? world_random(world, (uint64_t)size) / 512 * 512 : 0;
    uint64_t length = 512 * (1 + world_random(world, 16));
    length = at + length > (uint64_t)size ? (uint64_t)size - at : length;
    if (size > 0)
        io_write_wait(ruins->io, fd, zeros, length, at, false);
    world_say(world, "%s: zeros from byte %" PRIu64 " to %" PRIu64, path, at, at + length);
    io_close_wait(ruins->io, fd);
}

static void cut(struct ruins *ruins, const char *path)
{
    int fd = io_open_wait(ruins->io, path, O_RDWR, 0);
    if (fd < 0)
        return;
    int64_t size = io_file_size(ruins->io, fd);
    int64_t to = size > 0 ? (int64_t)world_random(ruins->world, (uint64_t)size) : 0;
    struct io_op op = {0};
    io_truncate(ruins->io, &op, fd, (uint64_t)to);
    io_wait(ruins->io, &op);
    world_say(ruins->world, "%s: cut to %" PRId64 " of %" PRId64, path, to, size);
    io_close_wait(ruins->io, fd);
}

static void rename_over(struct ruins *ruins, const char *from, const char *to)
{
    struct io_op op = {0};
    io_rename(ruins->io, &op, from, to);
    io_wait(ruins->io, &op);
}

static void remove_file(struct ruins *ruins, const char *path)
{
    struct io_op op = {0};
    io_unlink(ruins->io, &op, path, false);
    io_wait(ruins->io, &op);
    world_say(ruins->world, "%s: removed", path);
}

static void swap_files(struct ruins *ruins, const char *one, const char *other)
{
    char beside[512];
    const char *slash = strrchr(one, '/');
    if (strcmp(one, other) == 0 || slash - one != strrchr(other, '/') - other ||
        strncmp(one, other, (size_t)(slash - one)) != 0)
        return;
    snprintf(beside, sizeof(beside), "%.*s/swap", (int)(slash - one), one);
    rename_over(ruins, one, beside);
    rename_over(ruins, other, one);
    rename_over(ruins, beside, other);
    world_say(ruins->world, "%s and %s change places", one, other);
}

static void spoil(struct ruins *ruins)
{
    struct world *world = ruins->world;
    if (ruins->count == 0)
        return;
    const char *path = ruins->files[world_random(world, ruins->count)];
    switch (world_random(world, 8)) {
    case 0:
        cut(ruins, path);
        break;
    case 1:
        remove_file(ruins, path);
        break;
    case 2:
        swap_files(ruins, path, ruins->files[world_random(world, ruins->count)]);
        break;
    case 3:
    case 4:
        zeros_write(ruins, path);
        break;
    default: {
        uint64_t bit = world_random(world, world_chance(world, 2) ? 80000 : 2000000);
        int error = sim_flip(world->sim, path, bit);
        world_say(world, "%s: bit %" PRIu64 " flips: %d", path, bit, error);
    }
    }
}

static bool logs_compare(struct world *world, struct log_store *store)
{
    bool all = true;
    for (uint32_t i = 0; i < world->log_count; i++) {
        struct world_log *log = &world->logs[i];
        struct log_name name = {span_text(log->topic), log->id, log->partition};
        if (!log->exists)
            continue;
        int error = log_open(store, name, &log->config, &log->log, NULL);
        world_say(world, "%s opened: %d", log->name, error);
        if (error)
            all = false;
        else
            world_compare(log);
    }
    return all;
}

static void round_run(struct world *world, struct pool *pool)
{
    struct ruins ruins = {.world = world, .io = sim_io(world->sim)};
    files_find(&ruins, "/data");
    for (uint64_t i = world_random(world, 4); i > 0; i--)
        spoil(&ruins);
    for (uint32_t i = 0; i < ruins.count; i++)
        free(ruins.files[i]);
    world->counts[COUNT_DAMAGES]++;
    world_inspect(world);
    struct log_store_options options = {.io = sim_io(world->sim),
                                        .pool = pool,
                                        .directory = "/data",
                                        .direct = true,
                                        .shard_count = 1,
                                        .journal_bytes = world_random(world, 4) * 64 * 1024,
                                        .journal_file_bytes = 64 * 1024,
                                        .sync = LOG_SYNC_DSYNC};
    struct log_store *store;
    int error = log_store_open(&options, &store);
    world_say(world, "ruins opened: %d", error);
    if (error)
        return;
    bool all = logs_compare(world, store);
    if (log_store_settle(store) == 0)
        log_store_begin(store, all);
    log_store_close(store);
    for (uint32_t i = 0; i < world->log_count; i++)
        world->logs[i].log = NULL;
}

void world_ruin(struct world *world)
{
    struct pool *pool = pool_create(64 * 1024 * 1024);
    CHECK(pool);
    for (int i = 0; i < ROUNDS && world->inspecting; i++)
        round_run(world, pool);
    pool_destroy(pool);
}
