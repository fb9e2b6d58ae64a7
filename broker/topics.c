// SPDX-License-Identifier: Apache-2.0
// A shard's partitions, as the catalog says. Runs on the shard's thread.
//
// 1. After topics_open and after each topics_apply the shard has open exactly those partitions of
//    its catalog that shard_of_partition gives it, except those that a log line has named.
// 2. Files of deleted partitions go in the background; nobody can reach them any more by then.
#include "broker/topics.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log_line.h"
#include "broker/config.h"
#include "broker/controller.h"
#include "broker/groups/coordinator.h"
#include "broker/partition.h"

static bool is_here(struct shard *shard, const struct catalog_topic *topic, int32_t partition)
{
    return shard_of_partition(shard, topic->id, partition) == shard;
}

static int open_partition(struct shard *shard, const struct catalog_topic *topic, int32_t number,
                          bool recover, struct topics_summary *summary)
{
    struct log_name name = {span_text(topic->name), topic->id, number};
    struct log_recovery recovery = {0};
    struct partition *partition;
    int error = partition_open(shard, name, &topic->effective.log, recover, &recovery, &partition);
    if (error) {
        log_line(LOG_ERROR, "partition %s-%d cannot be opened and is not served: %s", topic->name,
                 number, strerror(-error));
        summary->failed++;
        return error == -ENOMEM ? error : 0;
    }
    summary->partitions++;
    summary->torn_bytes += (uint64_t)recovery.torn_bytes;
    summary->damaged_ranges += (uint64_t)recovery.damaged_ranges;
    summary->segments += recovery.segments;
    return 0;
}

static int create_from(struct shard *shard, const struct catalog_topic *topic, int32_t first)
{
    int error = 0;
    struct topics_summary ignored = {0};
    for (int32_t i = first; i < topic->partition_count && error != -ENOMEM; i++)
        if (is_here(shard, topic, i))
            error = open_partition(shard, topic, i, false, &ignored);
    return error;
}

// --- start-up -------------------------------------------------------------------------------

struct removal {
    struct log_delete op;
    bool done;
};

static void removal_done(struct log_delete *op)
{
    list_entry(op, struct removal, op)->done = true;
}

// Opens what is left of a partition whose deletion was interrupted, and deletes it. Waits.
static void remove_partition(struct shard *shard, const struct catalog_topic *topic, int32_t number)
{
    struct log_name name = {span_text(topic->name), topic->id, number};
    struct log_recovery recovery;
    struct log *log;
    int error = log_open(shard->store, name, &topic->effective.log, &log, &recovery);
    struct removal removal = {.op = {.done = removal_done}};
    if (!error) {
        log_delete(log, &removal.op);
        while (!removal.done)
            io_run(shard->io, UINT64_MAX);
        error = removal.op.error;
    }
    if (error) {
        log_line(LOG_WARN, "files of the deleted partition %s-%d stay until the next start: %s",
                 topic->name, number, strerror(-error));
        shard->deleted_files_stay = true;
    }
}

// A walk over the partitions of the catalog that are here.
struct walk {
    uint32_t topic;
    int32_t partition;
};

// The next one; NULL at the end.
static const struct catalog_topic *walk_next(struct shard *shard, const struct catalog *catalog,
                                             struct walk *walk, int32_t *partition)
{
    for (; walk->topic < catalog->topic_count; walk->topic++, walk->partition = 0) {
        const struct catalog_topic *topic = catalog->topics[walk->topic];
        while (walk->partition < topic->partition_count) {
            *partition = walk->partition++;
            if (is_here(shard, topic, *partition))
                return topic;
        }
    }
    return NULL;
}

static void expect_next(struct shard *shard, const struct catalog *catalog, struct walk *ahead)
{
    int32_t partition;
    const struct catalog_topic *topic = walk_next(shard, catalog, ahead, &partition);
    if (topic)
        log_expect(shard->store, (struct log_name){span_text(topic->name), topic->id, partition});
}

// One after the other, while what is needed for the next ones is being read.
static int open_existing(struct shard *shard, const struct catalog *catalog,
                         struct topics_summary *out)
{
    enum { AHEAD = 32 };
    int error = 0;
    struct walk ahead = {0};
    struct walk at = {0};
    for (int i = 0; i < AHEAD; i++)
        expect_next(shard, catalog, &ahead);
    int32_t partition;
    const struct catalog_topic *topic;
    while (!error && (topic = walk_next(shard, catalog, &at, &partition))) {
        error = open_partition(shard, topic, partition, true, out);
        expect_next(shard, catalog, &ahead);
    }
    return error;
}

int topics_open(struct shard *shard, const struct catalog *catalog, struct topics_summary *out)
{
    *out = (struct topics_summary){0};
    int error = open_existing(shard, catalog, out);
    for (uint32_t i = 0; i < catalog->doomed_count && !error; i++)
        for (int32_t p = 0; p < catalog->doomed[i]->partition_count; p++)
            if (is_here(shard, catalog->doomed[i], p))
                remove_partition(shard, catalog->doomed[i], p);
    return error;
}

// --- a new snapshot -------------------------------------------------------------------------

struct drop {
    struct log_delete op;
    struct topics_update *update;
};

static void drop_done(struct log_delete *op)
{
    struct drop *drop = list_entry(op, struct drop, op);
    struct topics_update *update = drop->update;
    if (op->error) {
        log_line(LOG_WARN, "files of a deleted partition stay until the next start: %s",
                 strerror(-op->error));
        update->files_stay = true;
    }
    free(drop);
    if (--update->files_left == 0)
        update->files_gone(update);
}

static int drop_topic(struct shard *shard, const struct catalog_topic *topic,
                      struct topics_update *update)
{
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct partition *partition = partition_find(shard, topic->id, i);
        if (!partition)
            continue;
        struct drop *drop = calloc(1, sizeof(*drop));
        if (!drop)
            return -ENOMEM;
        drop->update = update;
        drop->op.done = drop_done;
        update->files_left++;
        partition_delete(shard, partition, &drop->op);
    }
    return 0;
}

static void configure_topic(struct shard *shard, const struct catalog_topic *topic)
{
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct partition *partition = partition_find(shard, topic->id, i);
        if (partition)
            log_configure(partition->log, &topic->effective.log);
    }
}

static int apply_change(struct shard *shard, const struct catalog_change *change,
                        struct topics_update *update)
{
    if (!change->after)
        return drop_topic(shard, change->before, update);
    if (change->before)
        configure_topic(shard, change->after);
    return create_from(shard, change->after, change->before ? change->before->partition_count : 0);
}

int topics_apply(struct shard *shard, struct topics_update *update)
{
    int error = 0;
    bool deleted = false;
    update->shard = shard;
    update->files_left = 0;
    update->files_stay = false;
    for (uint32_t i = 0; i < update->change_count; i++) {
        int result = apply_change(shard, &update->changes[i], update);
        error = error ? error : result;
        deleted |= !update->changes[i].after;
    }
    shard->catalog = update->catalog;
    if (shard->coordinator)
        coordinator_catalog_changed(shard, deleted);
    return error;
}

// --- retention ------------------------------------------------------------------------------

struct topics_retention {
    struct timer timer;
    struct shard *shard;
};

static void set_retention_timer(struct topics_retention *retention)
{
    struct shard *shard = retention->shard;
    uint64_t interval_ms =
        (uint64_t)config_number(shard->config, SETTING_LOG_RETENTION_CHECK_INTERVAL_MS);
    if (timer_set(&shard->timers, &retention->timer, shard->io->now_ns + interval_ms * 1000000))
        log_line(LOG_ERROR, "retention stops until the next start: out of memory");
}

static void retention_due(struct timer *timer)
{
    struct topics_retention *retention = list_entry(timer, struct topics_retention, timer);
    struct partition *partition;
    for (size_t at = 0; (partition = map_next(&retention->shard->partitions, &at));)
        log_retain(partition->log);
    set_retention_timer(retention);
}

int topics_start_retention(struct shard *shard)
{
    struct topics_retention *retention = calloc(1, sizeof(*retention));
    if (!retention)
        return -ENOMEM;
    *retention = (struct topics_retention){.timer = {.expired = retention_due}, .shard = shard};
    shard->retention = retention;
    set_retention_timer(retention);
    return 0;
}

void topics_stop_retention(struct shard *shard)
{
    if (!shard->retention)
        return;
    timer_cancel(&shard->timers, &shard->retention->timer);
    free(shard->retention);
    shard->retention = NULL;
}
