// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/broker_node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/background.h"
#include "broker/config.h"
#include "broker/controller.h"
#include "broker/fetch_session.h"
#include "broker/groups/coordinator.h"
#include "broker/listener.h"
#include "broker/mailbox.h"
#include "broker/partition.h"
#include "broker/topics.h"

enum { POOL_BYTES = 256 * 1024 * 1024, DRAIN_TURNS = 20000 };

const struct broker_scale broker_scale_tiny = {
    .segment_bytes = "16384",
    .journal_file_bytes = 64 * 1024,
    .tail_cache_bytes = 64 * 1024,
    .read_cache_bytes = 256 * 1024,
    .retention_interval_ms = "500",
    .compaction_backoff_ms = 100,
};

static void set(struct config *config, const char *name, const char *value)
{
    char why[CONFIG_WHY_SIZE];
    CHECK(config_set(config, name, value, why) == 0);
}

static struct config *settings(const struct broker_scale *scale)
{
    struct config *config = config_create();
    char why[CONFIG_WHY_SIZE];
    CHECK(config);
    set(config, "offsets.topic.num.partitions", "3");
    set(config, "log.segment.bytes", scale->segment_bytes);
    set(config, "log.retention.check.interval.ms", scale->retention_interval_ms);
    set(config, "log.cleaner.backoff.ms", "500");
    CHECK(config_finish(config, why) == 0);
    return config;
}

static void shard_make(struct broker_node *node, uint32_t index)
{
    struct shard *shard = aligned_alloc(CACHE_LINE, (sizeof(*shard) + 63) / 64 * 64);
    CHECK(shard);
    *shard = (struct shard){.index = index, .server = &node->server, .config = node->config};
    shard->io = sim_io_at(node->world->sim, index);
    mailbox_init(&shard->mailbox);
    timers_init(&shard->timers);
    map_init(&shard->partitions);
    shard->pool = pool_create(POOL_BYTES);
    CHECK(shard->pool && listener_create(shard, &shard->listener) == 0);
    CHECK(background_create(shard) == 0);
    node->shards[index] = shard;
    node->loop[index] = (struct broker_loop){0};
}

// --- the steps of a start, each for all shards: see broker/shard.c

static bool owns(void *context, struct kp_uuid topic_id, int32_t partition)
{
    static const struct kp_uuid metadata = {{[15] = 1}}; // on shard 0, whatever its hash
    const struct shard *shard = context;
    if (kp_uuid_equal(topic_id, metadata))
        return shard->index == 0;
    return shard_of_partition(shard, topic_id, partition) == shard;
}

static int open_store(struct shard *shard)
{
    const struct broker_scale *scale =
        &list_entry(shard->server, struct broker_node, server)->scale;
    struct log_store_options options = {
        .io = shard->io,
        .pool = shard->pool,
        .directory = "/data",
        .tail_cache_bytes = scale->tail_cache_bytes,
        .read_cache_bytes = scale->read_cache_bytes,
        .direct = true,
        .shard = shard->index,
        .shard_count = shard_count(shard),
        .owns = owns,
        .owns_context = shard,
        .journal_bytes = 4 * scale->journal_file_bytes,
        .journal_file_bytes = scale->journal_file_bytes,
        .compaction = {.enabled = true,
                       .map_bytes = 4096,
                       .backoff_ms = scale->compaction_backoff_ms},
    };
    return log_store_open(&options, &shard->store);
}

static int open_controller(struct shard *shard)
{
    char why[256];
    return shard->index == 0 ? controller_open(shard, why, sizeof(why)) : 0;
}

static int open_partitions(struct shard *shard)
{
    char why[256];
    struct topics_summary summary = {0};
    shard->catalog = controller_catalog(shard_by_index(shard, 0)->controller);
    int error = topics_open(shard, shard->catalog, &summary);
    if (!error && summary.failed > 0)
        error = -EIO;
    if (!error)
        error = coordinator_open(shard, why, sizeof(why));
    if (!error)
        error = topics_start_retention(shard);
    return error ? error : background_start(shard);
}

static int settle(struct shard *shard)
{
    return log_store_settle(shard->store);
}

static int begin(struct shard *shard)
{
    return log_store_begin(shard->store, true);
}

static int open_all(struct broker_node *node)
{
    static int (*const steps[])(struct shard * shard) = {open_store, open_controller,
                                                         open_partitions, settle, begin};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        for (uint32_t k = 0; k < node->server.shard_count; k++) {
            int error = steps[i](node->shards[k]);
            if (error || sim_power_is_off(node->world->sim)) {
                world_say(node->world, "step %zu of the start: %d", i, error);
                return error ? error : -EIO;
            }
        }
    }
    return 0;
}

bool broker_start(struct broker_node *node, struct world *world, struct broker_scale scale)
{
    *node = (struct broker_node){.world = world, .scale = scale, .config = settings(&scale)};
    node->server.config = node->config;
    node->server.shards = node->shards;
    node->server.shard_count = world->shard_count;
    node->server.listen_fd = sim_listen(world->sim);
    for (uint32_t i = 0; i < world->shard_count; i++)
        shard_make(node, i);
    world->counts[COUNT_LIVES]++;
    world_say(world, "start: %u shards", world->shard_count);
    int error = open_all(node);
    if (error) {
        if (!sim_power_is_off(world->sim))
            world_fail(world, "the broker does not start: %s", strerror(-error));
        return false;
    }
    for (uint32_t i = 0; i < world->shard_count; i++)
        listener_start(node->shards[i]->listener);
    controller_start(node->shards[0]->controller);
    node->running = true;
    return true;
}

// --- the loop

// Messages may lie in the mailbox of a shard that sleeps, but not for long.
static void check_sleep(struct broker_node *node, uint32_t index)
{
    // Time may pass in large steps: whoever is to remind it must have had a turn since then.
    enum { MOST_NS = 25000000, MOST_TURNS = 3 };
    struct shard *shard = node->shards[index];
    struct broker_loop *loop = &node->loop[index];
    uint64_t now_ns = sim_now(node->world->sim);
    bool waits = atomic_load(&shard->mailbox.newest) && !log_store_is_journalling(shard->store);
    if (!waits)
        loop->since_ns = 0;
    else if (loop->since_ns == 0)
        loop->since_ns = now_ns;
    else if (now_ns - loop->since_ns <= MOST_NS)
        loop->late = 0;
    else if (++loop->late > MOST_TURNS)
        world_fail(node->world, "shard %u sleeps on what lies in its mailbox", index);
}

// As in broker/shard.c. A shard that sleeps is left alone until something of its own has completed,
// a timer is due or another shard wakes it.
static void shard_turn(struct broker_node *node, uint32_t index)
{
    struct shard *shard = node->shards[index];
    struct broker_loop *loop = &node->loop[index];
    if (loop->asleep && !sim_has_news(shard->io, timers_next(&shard->timers))) {
        check_sleep(node, index);
        return;
    }
    loop->since_ns = 0;
    io_run(shard->io, 0);
    mailbox_wake_up(&shard->mailbox);
    timers_run(&shard->timers, shard->io->now_ns);
    struct message *message = mailbox_take(&shard->mailbox);
    while (message) {
        struct message *next = message->next;
        message->deliver(shard, message);
        message = next;
    }
    listener_advance(shard->listener);
    loop->asleep = shard_may_sleep(shard);
}

void broker_turn(struct broker_node *node)
{
    enum { IDLE_NS = 1000000 };
    struct world *world = node->world;
    if (!sim_pass(world->sim))
        sim_advance(world->sim, IDLE_NS);
    uint32_t first = (uint32_t)world_random(world, world->shard_count);
    for (uint32_t i = 0; i < world->shard_count; i++)
        shard_turn(node, (first + i) % world->shard_count);
}

// --- the end

// `ended` would be more: the shard goes on serving the others.
static void drained(struct shard *shard)
{
    struct broker_node *node = list_entry(shard->server, struct broker_node, server);
    node->loop[shard->index].drained = true;
}

static bool all_drained(const struct broker_node *node)
{
    for (uint32_t i = 0; i < node->server.shard_count; i++) {
        if (!node->loop[i].drained)
            return false;
    }
    return true;
}

static void drain(struct broker_node *node)
{
    for (uint32_t i = 0; i < node->server.shard_count; i++) {
        node->shards[i]->stopping = true;
        listener_stop(node->shards[i]->listener, drained);
        node->loop[i].asleep = false; // a real one is told by a message
    }
    int turns = 0;
    while (!all_drained(node)) {
        broker_turn(node);
        if (++turns > DRAIN_TURNS)
            world_fail(node->world, "the broker does not come to an end");
    }
}

static void shard_close(struct broker_node *node, struct shard *shard)
{
    topics_stop_retention(shard);
    background_stop(shard);
    coordinator_close(shard);
    int error = shard->store ? log_store_close(shard->store) : 0;
    if (error && !sim_power_is_off(node->world->sim))
        world_fail(node->world, "closing the logs: %s", strerror(-error));
    partition_forget_all(shard);
}

void broker_stop(struct broker_node *node)
{
    if (node->running)
        drain(node);
    for (uint32_t i = 0; i < node->server.shard_count; i++)
        shard_close(node, node->shards[i]);
    for (uint32_t i = 0; i < node->server.shard_count; i++) {
        struct shard *shard = node->shards[i];
        if (shard->controller)
            controller_close(shard);
        listener_destroy(shard->listener);
        fetch_sessions_destroy(shard->fetch_sessions);
        timers_free(&shard->timers);
        pool_destroy(shard->pool);
        background_destroy(shard);
        free(shard);
    }
    config_free(node->config);
}
