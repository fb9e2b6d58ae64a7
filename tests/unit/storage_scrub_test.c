// SPDX-License-Identifier: Apache-2.0
// The scrub: what it finds, and that it finds nothing where nothing is, whatever happens meanwhile.
#include "storage/store.h"
#include "tests/unit/storage_compact_fixture.h"

static struct log_store_stats stats_of(const struct world *world)
{
    return log_store_stats(world->store);
}

// Nothing in the tail, so that all reads go to the disk.
static void begin(struct world *world, uint64_t seed)
{
    world_begin(world, seed);
    world->tail_cache_bytes = 0;
    world->read_cache_bytes = 16 * MIB;
    cr_assert_eq(world_open(world), 0);
}

static void finish(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    world_end(world);
}

static void fill(struct world *world, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        world_append(world, 1, size);
        world_settle(world);
    }
    tail_cache_evict(&world->store->cache, 0);
}

static uint64_t payload_of(const struct world *world)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < world->model.count; i++)
        bytes += world->model.batches[i].size;
    return bytes;
}

static void expect_read(struct world *world, int64_t offset, int error)
{
    struct reading reading;
    world_read(world, &reading, offset, 1);
    cr_assert_eq(reading.op.error, error, "offset %" PRId64 ": %s", offset,
                 strerror(-reading.op.error));
    log_read_release(&reading.op);
}

static void deleted(struct log_delete *op)
{
    op->error = 1;
}

static void scrub_all(struct world *world)
{
    for (int i = 0; i < 200; i++) {
        log_store_scrub(world->store, MIB);
        world_turn(world);
        world_turn(world);
    }
}

static void begin_sealed(struct world *world, uint64_t seed)
{
    begin(world, seed);
    world->config.segment_bytes = 2 * MIB;
    log_configure(world->log, &world->config);
    fill(world, 30, 400000);
}

Test(storage, the_scrub_finds_damage_once_and_keeps_out_of_the_cache)
{
    struct world world;
    begin_sealed(&world, 80);
    char path[256];
    world_segment_path(&world, world.log->segments[1]->header.base_offset, ".log", path);
    int64_t base = world.log->segments[1]->header.base_offset;
    sim_flip(world.sim, path, UINT64_C(600000) * 8);
    scrub_all(&world);
    struct log_store_stats stats = stats_of(&world);
    cr_assert_eq(stats.damaged_frames, 1);
    cr_assert_eq(world.store->reads.bytes, 0);
    cr_assert_gt(stats.scrubbed_bytes, payload_of(&world) - 3 * MIB);
    cr_assert_lt(stats.scrubbed_bytes, payload_of(&world) + MIB, "one round, then a pause");
    expect_read(&world, base + 1, -EIO);
    expect_read(&world, base, 0);
    expect_read(&world, base + 2, 0);
    sim_advance(world.sim, UINT64_C(24) * 3600 * 1000000000);
    scrub_all(&world);
    cr_assert_eq(stats_of(&world).damaged_frames, 1, "known");
    cr_assert_gt(stats_of(&world).scrubbed_bytes, stats.scrubbed_bytes);
    finish(&world);
}

Test(storage, the_scrub_reads_what_is_durable_of_active_segments)
{
    struct world world;
    begin(&world, 83);
    fill(&world, 3, 400000);
    cr_assert_eq(world.log->segment_count, 1);
    char path[256];
    world_segment_path(&world, 0, ".log", path);
    sim_flip(world.sim, path, UINT64_C(600000) * 8);
    scrub_all(&world);
    cr_assert_geq(stats_of(&world).scrubbed_bytes, 3 * 400000);
    cr_assert_eq(stats_of(&world).damaged_frames, 1);
    finish(&world);
}

Test(storage, the_scrub_reads_no_faster_than_it_may)
{
    struct world world;
    begin_sealed(&world, 81);
    for (int i = 0; i < 3; i++) {
        log_store_scrub(world.store, MIB);
        for (int turns = 0; turns < 50; turns++)
            world_turn(&world);
    }
    cr_assert_leq(stats_of(&world).scrubbed_bytes, 3 * MIB);
    cr_assert_gt(stats_of(&world).scrubbed_bytes, MIB);
    finish(&world);
}

Test(storage, the_scrub_does_not_mind_logs_and_segments_that_go)
{
    struct world world;
    begin_sealed(&world, 82);
    log_store_scrub(world.store, 3 * MIB);
    world_turn(&world);
    cr_assert_eq(world_trim(&world, world.model.acked - 1), 0);
    log_store_scrub(world.store, 3 * MIB);
    struct log_delete delete = {.done = deleted};
    log_delete(world.log, &delete);
    while (delete.error != 1) {
        log_store_scrub(world.store, 3 * MIB);
        world_turn(&world);
    }
    scrub_all(&world);
    cr_assert_eq(stats_of(&world).damaged_frames, 0);
    cr_assert_null(world.store->scrub.log);
    finish(&world);
}

// Until it is in the middle of a segment.
static void scrub_some(struct world *world)
{
    log_store_scrub(world->store, MIB);
    while (world->store->scrub.window)
        world_turn(world);
    cr_assert_gt(world->store->scrub.position, 0);
}

// The next one has frames already.
static bool is_being_sealed(const struct log *log)
{
    return log->segment_count == 2 && log->segments[0]->sealed && log->segments[0]->sealing &&
           log->segments[1]->end > FORMAT_BLOCK;
}

Test(storage, the_scrub_finds_its_place_when_the_segment_under_way_is_being_sealed)
{
    int met = 0;
    for (uint64_t seed = 84; seed < 94; seed++) {
        struct world world;
        begin(&world, seed);
        world.config.segment_bytes = 2 * MIB;
        log_configure(world.log, &world.config);
        fill(&world, 4, 400000);
        scrub_some(&world);
        while (!is_being_sealed(world.log) && world.log->segment_count < 3) {
            if (world.in_flight == 0)
                world_append(&world, 1, 40000);
            world_turn(&world);
        }
        met += is_being_sealed(world.log);
        scrub_all(&world);
        world_settle(&world);
        scrub_all(&world);
        cr_assert_eq(stats_of(&world).damaged_frames, 0, "seed %" PRIu64, seed);
        cr_assert_gt(stats_of(&world).scrubbed_bytes, 5 * 400000 - 2 * 4096,
                     "all of the first segment");
        finish(&world);
    }
    cr_assert_gt(met, 0);
}

// The smaller the fewer keys there are: then the new file ends before the place in the old one.
Test(storage, the_scrub_finds_its_place_when_the_segment_under_way_is_compacted)
{
    for (int keys = 200; keys <= KEYED_KEYS_MAX; keys += 600) {
        struct keyed keyed;
        keyed_begin(&keyed, 95);
        keyed.world.config.segment_bytes = 4 * MIB;
        keyed.keys = keys;
        keyed_open(&keyed);
        for (int i = 0; i < 400; i++) {
            keyed_append(&keyed, 100, 0);
            world_settle(&keyed.world);
        }
        cr_assert_gt(keyed.world.log->segment_count, 1);
        uint64_t salt = keyed.world.log->segments[0]->header.salt;
        scrub_some(&keyed.world);
        cr_assert(keyed_compact(&keyed));
        cr_assert_neq(keyed.world.log->segments[0]->header.salt, salt);
        scrub_all(&keyed.world);
        cr_assert_eq(stats_of(&keyed.world).damaged_frames, 0, "%d keys", keys);
        cr_assert_eq(keyed.world.store->scrub.position, 0);
        keyed_expect_last(&keyed, false);
        cr_assert_eq(log_store_close(keyed.world.store), 0);
        keyed_end(&keyed);
    }
}
