// SPDX-License-Identifier: Apache-2.0
// A journal alone on a simulated disk, without logs: what is put in is remembered and compared.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/random.h"
#include "storage/journal.h"
#include "storage/journal_format.h"
#include "tests/sim/sim_io.h"

enum { DESK_LOGS = 8, DESK_ENTRIES = 4096 };

static const char *const desk_file_0 = "/data/journal/000-000.journal";
static const char *const desk_file_1 = "/data/journal/000-001.journal";

struct desk_log {
    struct journal_log log;
    int64_t end;     // next base offset to give
    int64_t flushed; // everything below is in the "segment"
    int64_t acked;
    int64_t replayed; // end of what replay gave
    int64_t gap;      // first offset that replay left out, -1 = none
    bool uncertain;
};

struct desk {
    struct sim *sim;
    struct io *io;
    struct pool *pool;
    struct journal *journal;
    struct journal_found found;
    uint64_t bytes;
    uint64_t file_bytes;
    uint32_t shard;
    uint32_t shard_count;
    struct desk_log logs[DESK_LOGS];
    bool written;
    int error;
};

static inline void desk_begin(struct desk *desk, uint64_t seed)
{
    *desk = (struct desk){.bytes = 512 * 1024, .file_bytes = 64 * 1024, .shard_count = 1};
    desk->sim = sim_create(seed);
    desk->io = sim_io(desk->sim);
    desk->pool = pool_create(64 * 1024 * 1024);
    struct io_op op = {0};
    io_mkdir(desk->io, &op, "/data", 0750);
    cr_assert_eq(io_wait(desk->io, &op), 0);
    cr_assert_eq(io_sync_directory_wait(desk->io, "/"), 0);
    for (int i = 0; i < DESK_LOGS; i++)
        desk->logs[i].log = (struct journal_log){.topic_id = {{(uint8_t)(i + 1)}}, .partition = i};
}

static inline void desk_end(struct desk *desk)
{
    sim_destroy(desk->sim);
    pool_destroy(desk->pool);
}

static inline int desk_open(struct desk *desk)
{
    struct journal_options options = {
        .io = desk->io,
        .pool = desk->pool,
        .directory = "/data",
        .shard = desk->shard,
        .shard_count = desk->shard_count,
        .bytes = desk->bytes,
        .file_bytes = desk->file_bytes,
        .direct = true,
    };
    for (int i = 0; i < DESK_LOGS; i++) {
        struct journal_log *log = &desk->logs[i].log;
        *log = (struct journal_log){.topic_id = log->topic_id, .partition = log->partition};
    }
    return journal_open(&options, &desk->journal, &desk->found);
}

// The payload of an entry: its offsets, again and again.
static inline uint8_t desk_byte(int log, int64_t base, size_t at)
{
    return (uint8_t)(log * 31 + base * 7 + (int64_t)at);
}

struct desk_replay {
    struct desk *desk;
    int log;
};

static inline int desk_each(void *context, enum frame_kind kind, int64_t base, struct span payload)
{
    struct desk_replay *replay = context;
    struct desk_log *log = &replay->desk->logs[replay->log];
    cr_assert_eq(kind, FRAME_DATA);
    for (size_t i = 0; i < payload.size; i++)
        cr_assert_eq(payload.data[i], desk_byte(replay->log, base, i), "log %d offset %" PRId64,
                     replay->log, base);
    if (base < log->replayed)
        return 0;
    if (base > log->replayed && log->gap < 0)
        log->gap = log->replayed;
    log->replayed = base + 1;
    return 0;
}

static inline void desk_replay_all(struct desk *desk)
{
    for (int i = 0; i < DESK_LOGS; i++) {
        struct desk_replay replay = {desk, i};
        struct desk_log *log = &desk->logs[i];
        log->replayed = log->flushed;
        log->gap = -1;
        cr_assert_eq(journal_replay(desk->journal, &log->log, desk_each, &replay, &log->uncertain),
                     0);
        if (log->uncertain)
            journal_uncertain(desk->journal, &log->log, log->replayed);
    }
}

// Opens, replays, settles (all that was replayed counts as flushed), begins.
static inline int desk_start(struct desk *desk)
{
    int error = desk_open(desk);
    if (error)
        return error;
    desk_replay_all(desk);
    for (int i = 0; i < DESK_LOGS; i++) {
        struct desk_log *log = &desk->logs[i];
        if (log->flushed < log->replayed)
            log->flushed = log->replayed;
        log->end = log->flushed;
    }
    error = journal_settled(desk->journal);
    return error ? error : journal_begin(desk->journal, true);
}

static inline void desk_written(void *context, int error)
{
    struct desk *desk = context;
    desk->written = true;
    desk->error = error;
}

static inline bool desk_add(struct desk *desk, int log, size_t size)
{
    struct desk_log *one = &desk->logs[log];
    uint8_t *payload = malloc(size);
    for (size_t i = 0; i < size; i++)
        payload[i] = desk_byte(log, one->end, i);
    bool added = journal_add(desk->journal, &one->log, (uint64_t)one->end, FRAME_DATA, one->end,
                             span_of(payload, size));
    free(payload);
    one->end += added;
    return added;
}

static inline int desk_write(struct desk *desk)
{
    desk->written = false;
    journal_write(desk->journal, desk_written, desk);
    cr_assert_not(desk->written, "called back from inside");
    while (!desk->written)
        io_run(desk->io, desk->io->now_ns + 1000000000);
    for (int i = 0; i < DESK_LOGS && desk->error == 0; i++)
        desk->logs[i].acked = desk->logs[i].end;
    return desk->error;
}

// One entry of each of the first `count` logs, in one commit, or in two where a file ends.
static inline void desk_commit(struct desk *desk, int count, size_t size)
{
    cr_assert_eq(journal_state(desk->journal), JOURNAL_READY);
    int formed = 0;
    for (int i = 0; i < count; i++) {
        bool added = desk_add(desk, i, size);
        if (!added && formed > 0) {
            cr_assert_eq(desk_write(desk), 0);
            formed = 0;
            added = desk_add(desk, i, size);
        }
        cr_assert(added);
        formed++;
    }
    cr_assert_eq(desk_write(desk), 0);
}

static inline void desk_flush(struct desk *desk, int log)
{
    struct desk_log *one = &desk->logs[log];
    one->flushed = one->acked;
    journal_flushed(desk->journal, &one->log, (uint64_t)one->acked - 1);
}

// The holds of logs that are not flushed go with their owners.
static inline void desk_forget(struct desk *desk)
{
    for (int i = 0; i < DESK_LOGS; i++)
        journal_flushed(desk->journal, &desk->logs[i].log, UINT64_MAX);
}

static inline void desk_crash(struct desk *desk)
{
    sim_power_off(desk->sim, 0);
    desk_forget(desk);
    journal_close(desk->journal);
    sim_restart(desk->sim);
}

static inline void desk_turns(struct desk *desk, int count)
{
    for (int i = 0; i < count; i++)
        io_run(desk->io, desk->io->now_ns + 1000000);
}

static inline void desk_overwrite(struct desk *desk, const char *path, uint64_t at,
                                  const void *bytes, size_t size)
{
    int fd = io_open_wait(desk->io, path, O_RDWR, 0);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(io_write_wait(desk->io, fd, bytes, size, at, true), (int64_t)size);
    io_close_wait(desk->io, fd);
}

static inline void desk_peek(struct desk *desk, const char *path, uint64_t at, void *to,
                             size_t size)
{
    int fd = io_open_wait(desk->io, path, O_RDONLY, 0);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(io_read_wait(desk->io, fd, to, size, at), (int64_t)size);
    io_close_wait(desk->io, fd);
}

static inline void desk_remove(struct desk *desk, const char *path)
{
    struct io_op op = {0};
    io_unlink(desk->io, &op, path, false);
    cr_assert_eq(io_wait(desk->io, &op), 0, "%s", path);
}

static inline void desk_rename(struct desk *desk, const char *from, const char *to)
{
    struct io_op op = {0};
    io_rename(desk->io, &op, from, to);
    cr_assert_eq(io_wait(desk->io, &op), 0, "%s", from);
}

static inline bool desk_has(struct desk *desk, const char *path)
{
    int fd = io_open_wait(desk->io, path, O_RDONLY, 0);
    if (fd >= 0)
        io_close_wait(desk->io, fd);
    return fd >= 0;
}

static inline void desk_some_commits(struct desk *desk, int count)
{
    for (int i = 0; i < count; i++)
        desk_commit(desk, 4, 100);
    desk_crash(desk);
}

static inline void desk_flip(struct desk *desk, const char *path, uint64_t byte)
{
    cr_assert_eq(sim_flip(desk->sim, path, byte * 8 + 3), 0);
}

// Fills files until the second one takes commits.
static inline void desk_into_the_second(struct desk *desk)
{
    cr_assert_eq(desk_start(desk), 0);
    for (int i = 0; i < 10; i++) {
        desk_commit(desk, 4, 1000);
        desk_turns(desk, 10);
    }
    cr_assert(desk_has(desk, desk_file_1));
    desk_crash(desk);
}
