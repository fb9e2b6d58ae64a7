// SPDX-License-Identifier: Apache-2.0
// Committed offsets of the groups that live on one shard: folded at start, changed by commits,
// forgotten with their topics or by age.
//
// 1. A group's records are all in one partition of the offsets topic, group_partition() of its
// name,
//    which may not change: the partition count of that topic is fixed at the first start.
// 2. A commit is answered, and seen by fetches, after its records are durable; commits of one group
//    take effect in the order of arrival, as appends of one log complete in order.
// 3. Positions in topics that are not in the catalog are not shown; tombstones for them are written
//    when a topic goes, and if a crash comes before, they are left for the expiry to remove.
// 4. A partition whose records cannot be read serves no group: its groups get an error, not an
//    empty answer, and the others go on.
#include "broker/offsets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/log_line.h"
#include "broker/config.h"
#include "broker/offsets_fold.h"
#include "broker/partition.h"
#include "broker/state_log.h"
#include "protocol/error.h"

struct offsets {
    struct shard *shard;
    struct kp_uuid topic_id;
    int32_t partition_count;
    bool *unreadable; // by partition
    struct offsets_fold fold;
    struct timer expiry;
};

static int32_t group_partition(struct span group, int32_t count)
{
    return (int32_t)(XXH3_64bits(group.data, group.size) % (uint32_t)count);
}

// --- changes --------------------------------------------------------------------------------

// Records on their way to the log. Lives until they are durable; `op` is NULL for tombstones that
// nobody waits for.
struct commit {
    struct log_append append;
    struct state_batch batch;
    struct shard *shard;
    struct offsets_op *op;
};

static int apply_record(void *context, struct span key, struct span value)
{
    struct offsets *offsets = context;
    return offsets_fold_apply(&offsets->fold, key, value);
}

static void op_returned(struct shard *here, struct message *message)
{
    (void)here;
    struct offsets_op *op = list_entry(message, struct offsets_op, message);
    op->done(op);
}

static void finish(struct offsets_op *op, int16_t error)
{
    op->error = error;
    for (uint32_t i = 0; error && i < op->entry_count; i++)
        if (!op->entries[i].error)
            op->entries[i].error = error;
    op->message.deliver = op_returned;
    shard_post(op->owner, op->home, &op->message);
}

// Tombstones may become durable while the store closes: the offsets are gone by then.
static void commit_durable(struct log_append *append)
{
    struct commit *commit = list_entry(append, struct commit, append);
    int error = append->error;
    if (!error && commit->shard->offsets)
        error = state_batch_each(&commit->batch, apply_record, commit->shard->offsets);
    if (error)
        log_line(LOG_WARN, "committed offsets could not be stored: %s", strerror(-error));
    if (commit->op)
        finish(commit->op, error ? KP_ERROR_COORDINATOR_NOT_AVAILABLE : 0);
    state_batch_free(&commit->batch);
    free(commit);
}

static struct commit *commit_create(struct shard *shard, struct offsets_op *op)
{
    struct commit *commit = calloc(1, sizeof(*commit));
    if (!commit)
        return NULL;
    state_batch_init(&commit->batch);
    commit->append.done = commit_durable;
    commit->shard = shard;
    commit->op = op;
    return commit;
}

static void add_record(struct commit *commit, const struct offsets_record *record)
{
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    struct span body = {0};
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    offsets_record_write_key(record, &key);
    if (!record->tombstone) {
        offsets_record_write_value(record, &value);
        body = span_of(value.data, value.size);
    }
    state_batch_add(&commit->batch, commit->shard->io->wall_ms, span_of(key.data, key.size), body);
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
}

// Appends the records and takes over `commit`; or frees it and returns a negative errno.
static int commit_start(struct commit *commit, int32_t partition)
{
    struct offsets *offsets = commit->shard->offsets;
    struct partition *home = partition_find(commit->shard, offsets->topic_id, partition);
    int error = home ? state_log_append(home->log, &commit->batch, &commit->append) : -ENOENT;
    if (error) {
        state_batch_free(&commit->batch);
        free(commit);
    }
    return error;
}

// --- committing -----------------------------------------------------------------------------

// Without group membership there is no generation and no member to be right about.
static int16_t check_member(const struct offsets *offsets, const struct offsets_op *op)
{
    if (op->generation < 0)
        return op->member_id.size ? KP_ERROR_UNKNOWN_MEMBER_ID : 0;
    if (offsets_fold_group(&offsets->fold, op->group))
        return KP_ERROR_UNKNOWN_MEMBER_ID;
    return op->new_errors ? KP_ERROR_GROUP_ID_NOT_FOUND : KP_ERROR_ILLEGAL_GENERATION;
}

static void begin_commit(struct offsets *offsets, struct offsets_op *op)
{
    int16_t refused = check_member(offsets, op);
    struct commit *commit = refused ? NULL : commit_create(offsets->shard, op);
    if (!commit) {
        finish(op, refused ? refused : KP_ERROR_UNKNOWN_SERVER_ERROR);
        return;
    }
    uint32_t good = 0;
    for (uint32_t i = 0; i < op->entry_count; i++) {
        const struct offsets_entry *entry = &op->entries[i];
        if (entry->error)
            continue;
        good++;
        add_record(commit, &(struct offsets_record){.group = op->group,
                                                    .topic_id = entry->topic_id,
                                                    .partition = entry->partition,
                                                    .offset = entry->offset,
                                                    .leader_epoch = entry->leader_epoch,
                                                    .metadata = entry->metadata,
                                                    .time_ms = offsets->shard->io->wall_ms});
    }
    if (good == 0) {
        state_batch_free(&commit->batch);
        free(commit);
        finish(op, 0);
        return;
    }
    int error = commit_start(commit, group_partition(op->group, offsets->partition_count));
    if (error)
        finish(op,
               error == -EMSGSIZE ? KP_ERROR_INVALID_REQUEST : KP_ERROR_COORDINATOR_NOT_AVAILABLE);
}

// --- fetching -------------------------------------------------------------------------------

static bool fill_entry(struct offsets_op *op, const struct offsets_position *position,
                       struct offsets_entry *entry)
{
    entry->offset = position->offset;
    entry->leader_epoch = position->leader_epoch;
    char *metadata = arena_text(op->arena, position->metadata, position->metadata_size);
    entry->metadata = span_of(metadata, position->metadata_size);
    return metadata != NULL;
}

static int16_t fetch(struct offsets *offsets, struct offsets_op *op)
{
    const struct offsets_group *group = offsets_fold_group(&offsets->fold, op->group);
    for (uint32_t i = 0; i < op->entry_count; i++) {
        struct offsets_entry *entry = &op->entries[i];
        const struct offsets_position *position =
            entry->error ? NULL : offsets_fold_position(group, entry->topic_id, entry->partition);
        entry->offset = -1;
        entry->leader_epoch = -1;
        entry->metadata = span_text("");
        if (position && !fill_entry(op, position, entry))
            return KP_ERROR_UNKNOWN_SERVER_ERROR;
    }
    return 0;
}

static int16_t fetch_all(struct offsets *offsets, struct offsets_op *op)
{
    const struct offsets_group *group = offsets_fold_group(&offsets->fold, op->group);
    const struct offsets_position *position;
    op->entry_count = 0;
    if (!group)
        return 0;
    op->entries = arena_array(op->arena, group->positions.count, sizeof(*op->entries));
    if (!op->entries)
        return KP_ERROR_UNKNOWN_SERVER_ERROR;
    for (size_t at = 0; (position = map_next(&group->positions, &at));) {
        if (!catalog_find_id(offsets->shard->catalog, position->key.topic_id))
            continue;
        struct offsets_entry *entry = &op->entries[op->entry_count++];
        entry->topic_id = position->key.topic_id;
        entry->partition = position->key.partition;
        if (!fill_entry(op, position, entry))
            return KP_ERROR_UNKNOWN_SERVER_ERROR;
    }
    return 0;
}

// --- operations -----------------------------------------------------------------------------

static void op_arrived(struct shard *here, struct message *message)
{
    struct offsets_op *op = list_entry(message, struct offsets_op, message);
    struct offsets *offsets = here->offsets;
    if (offsets->unreadable[group_partition(op->group, offsets->partition_count)])
        finish(op, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    else if (op->kind == OFFSETS_COMMIT)
        begin_commit(offsets, op);
    else
        finish(op, op->kind == OFFSETS_FETCH ? fetch(offsets, op) : fetch_all(offsets, op));
}

void offsets_submit(struct shard *home, struct offsets_op *op)
{
    // Every shard's offsets know the topic, also those that own none of its partitions.
    const struct offsets *any = home->offsets;
    op->home = home;
    if (!op->group.data)
        op->group = span_text("");
    op->owner =
        shard_of_partition(home, any->topic_id, group_partition(op->group, any->partition_count));
    op->message.deliver = op_arrived;
    shard_post(home, op->owner, &op->message);
}

// --- forgetting -----------------------------------------------------------------------------

// Which positions to forget: those of a topic, or those committed before a time.
struct forgetting {
    const struct kp_uuid *topic_id; // NULL: by age
    int64_t before_ms;
};

static bool is_forgotten(const struct offsets *offsets, const struct offsets_position *position,
                         const struct forgetting *which)
{
    if (which->topic_id)
        return kp_uuid_equal(position->key.topic_id, *which->topic_id);
    return position->time_ms < which->before_ms ||
           !catalog_find_id(offsets->shard->catalog, position->key.topic_id);
}

static void forget_in_group(struct offsets *offsets, const struct offsets_group *group,
                            const struct forgetting *which)
{
    const struct offsets_position *position;
    struct span name = span_of(group->name, group->name_size);
    struct commit *commit = NULL;
    for (size_t at = 0; (position = map_next(&group->positions, &at));) {
        if (!is_forgotten(offsets, position, which))
            continue;
        if (!commit)
            commit = commit_create(offsets->shard, NULL);
        if (!commit)
            return; // the next check tries again
        add_record(commit, &(struct offsets_record){.tombstone = true,
                                                    .group = name,
                                                    .topic_id = position->key.topic_id,
                                                    .partition = position->key.partition});
    }
    if (commit)
        commit_start(commit, group_partition(name, offsets->partition_count));
}

static void forget(struct offsets *offsets, const struct forgetting *which)
{
    struct offsets_group *group;
    for (size_t at = 0; (group = map_next(&offsets->fold.groups, &at));)
        forget_in_group(offsets, group, which);
}

void offsets_forget_topic(struct shard *shard, struct kp_uuid topic_id)
{
    forget(shard->offsets, &(struct forgetting){.topic_id = &topic_id});
}

static void set_expiry_timer(struct offsets *offsets)
{
    struct shard *shard = offsets->shard;
    uint64_t interval_ms =
        (uint64_t)config_number(shard->config, SETTING_OFFSETS_RETENTION_CHECK_INTERVAL_MS);
    if (timer_set(&shard->timers, &offsets->expiry, shard->io->now_ns + interval_ms * 1000000))
        log_line(LOG_ERROR, "expiry of offsets stops until the next start: out of memory");
}

static void expiry_due(struct timer *timer)
{
    struct offsets *offsets = list_entry(timer, struct offsets, expiry);
    int64_t minutes = config_number(offsets->shard->config, SETTING_OFFSETS_RETENTION_MINUTES);
    forget(offsets,
           &(struct forgetting){.before_ms = offsets->shard->io->wall_ms - minutes * 60000});
    set_expiry_timer(offsets);
}

// --- life -----------------------------------------------------------------------------------

static void load_partition(struct offsets *offsets, int32_t number)
{
    struct shard *shard = offsets->shard;
    struct partition *partition = partition_find(shard, offsets->topic_id, number);
    int64_t offset = 0;
    int error = partition
                    ? state_log_load(shard->io, partition->log, apply_record, offsets, &offset)
                    : -ENOENT;
    if (!error)
        return;
    offsets->unreadable[number] = true;
    log_line(
        LOG_ERROR,
        "committed offsets in %s-%d cannot be read (offset %lld): %s; the groups there are not "
        "served",
        CATALOG_OFFSETS_TOPIC, number, (long long)offset, strerror(-error));
}

int offsets_open(struct shard *shard, char *why, size_t why_size)
{
    const struct catalog_topic *topic =
        catalog_find(shard->catalog, span_text(CATALOG_OFFSETS_TOPIC));
    snprintf(why, why_size, "the topic %s is missing", CATALOG_OFFSETS_TOPIC);
    if (!topic)
        return -ENOENT;
    struct offsets *offsets = calloc(1, sizeof(*offsets));
    bool *unreadable = calloc((size_t)topic->partition_count, sizeof(*unreadable));
    if (!offsets || !unreadable) {
        snprintf(why, why_size, "out of memory");
        free(offsets);
        free(unreadable);
        return -ENOMEM;
    }
    *offsets = (struct offsets){.shard = shard,
                                .topic_id = topic->id,
                                .partition_count = topic->partition_count,
                                .unreadable = unreadable,
                                .expiry = {.expired = expiry_due}};
    offsets_fold_init(&offsets->fold);
    shard->offsets = offsets;
    for (int32_t i = 0; i < offsets->partition_count; i++)
        if (shard_of_partition(shard, offsets->topic_id, i) == shard)
            load_partition(offsets, i);
    set_expiry_timer(offsets);
    return 0;
}

void offsets_close(struct shard *shard)
{
    struct offsets *offsets = shard->offsets;
    if (!offsets)
        return;
    timer_cancel(&shard->timers, &offsets->expiry);
    offsets_fold_free(&offsets->fold);
    free(offsets->unreadable);
    free(offsets);
    shard->offsets = NULL;
}
