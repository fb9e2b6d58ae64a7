// SPDX-License-Identifier: Apache-2.0
// The coordinator of one shard: brings its groups back at start, takes operations to them, and sees
// to it that groups never hold the loop for long.
//
// 1. An operation is carried out on the group's shard, in the order of arrival from each shard, and
//    goes home once.
// 2. One turn of the loop spends COORDINATOR_BUDGET on groups, and at most one operation beyond it;
//    what is left waits, in order, for the next turn. Producing and fetching go on in between.
// 3. A partition whose records cannot be read serves no group: its groups get an error, not an
//    empty answer, and the others go on.
//
// Who does the rest: coordinated.c (a group: steps, writes, failures), coordinator_offsets.c
// (committed offsets), coordinator_list.c, coordinator_sweep.c (what goes by itself).
#include "broker/groups/coordinator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log_line.h"
#include "broker/config.h"
#include "broker/groups/coordinator_internal.h"
#include "broker/partition.h"
#include "broker/server.h"
#include "protocol/error.h"

enum {
    ASK_ROOM = 3 * GROUP_BYTES_MAX, // what an answer may need
    ASK_ROOM_LEAST = 64 * 1024,
    TIMERS_AGAIN_MS = 100,
};

// --- the end of an operation ------------------------------------------------------------------

// Done and the answer to a cancel come in any order; the caller hears of it after the last.
static void go_on(struct coordinator_op *op)
{
    if (op->returned && !op->cancelling)
        op->done(op);
}

static void op_returned(struct shard *here, struct message *message)
{
    (void)here;
    struct coordinator_op *op = list_entry(message, struct coordinator_op, message);
    op->returned = true;
    go_on(op);
}

void coordinator_finish(struct coordinator_op *op, int16_t error)
{
    if (error)
        op->error = error;
    for (uint32_t i = 0; error && i < op->entry_count; i++)
        if (!op->entries[i].error)
            op->entries[i].error = error;
    op->message.deliver = op_returned;
    shard_post(op->owner, op->home, &op->message);
}

static void refuse(struct coordinator_op *op, int16_t error)
{
    if (op->kind == COORDINATOR_ASK)
        group_ask_fail(&op->ask, error);
    coordinator_finish(op, error);
}

// --- asks -------------------------------------------------------------------------------------

static bool is_about_what_exists(enum group_ask_kind kind)
{
    return kind == GROUP_DESCRIBE || kind == GROUP_CONSUMER_DESCRIBE || kind == GROUP_DELETE;
}

// A group without members is deleted here: only the coordinator knows all of its records. It waits
// until nothing is in flight, or what is would outlive the tombstones.
static void run_delete(struct coordinated *group, struct coordinator_op *op)
{
    if (group->live && !group_is_empty(group->live))
        coordinated_run_ask(group, op);
    else if (group->in_flight > 0)
        list_append(&group->deferred, &op->node);
    else
        coordinated_remove(group, &op->ask);
}

// An answer that does not fit into its request's memory is the failure of a whole step, which is
// everybody's in the group: so who brings too little is not asked for.
static bool has_room(const struct coordinated *group, const struct coordinator_op *op)
{
    const struct arena *arena = op->ask.arena;
    size_t left = arena->limit - arena->used;
    if (op->ask.kind == GROUP_JOIN || op->ask.kind == GROUP_SYNC ||
        op->ask.kind == GROUP_CONSUMER_HEARTBEAT)
        return left >= ASK_ROOM; // the group may have grown until it is answered
    return left >= ASK_ROOM_LEAST + 2 * group_memory(group->live);
}

static void run_ask(struct coordinator *coordinator, struct coordinator_op *op)
{
    struct coordinated *group = coordinated_find(coordinator, op->group);
    int16_t error = 0;
    if (is_about_what_exists(op->ask.kind) && !coordinated_is_known(group))
        error = KP_ERROR_GROUP_ID_NOT_FOUND;
    else if (!group)
        group = coordinated_obtain(coordinator, op->group, &error);
    if (!error && (!coordinated_is_well(group) || !coordinated_come_alive(group)))
        error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    if (!error && !has_room(group, op))
        error = KP_ERROR_UNKNOWN_SERVER_ERROR;
    if (error) {
        refuse(op, error);
        if (group)
            coordinated_drop_if_idle(group);
    } else if (op->ask.kind == GROUP_DELETE) {
        run_delete(group, op);
    } else {
        coordinated_run_ask(group, op);
    }
}

// --- operations -------------------------------------------------------------------------------

// Kafka lets offsets be committed under an empty name, and what can be committed can be looked at.
static bool is_valid_name(const struct coordinator_op *op)
{
    bool joins = op->kind == COORDINATOR_ASK && !is_about_what_exists(op->ask.kind);
    return op->group.size <= GROUP_NAME_MAX && (op->group.size > 0 || !joins);
}

void coordinator_run(struct coordinator *coordinator, struct coordinator_op *op)
{
    if (op->kind == COORDINATOR_LIST) {
        coordinator_list(coordinator, op);
        return;
    }
    if (coordinator->unreadable[coordinated_partition(coordinator, op->group)]) {
        refuse(op, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    switch (op->kind) {
    case COORDINATOR_ASK:
        run_ask(coordinator, op);
        break;
    case COORDINATOR_COMMIT:
        coordinator_offsets_commit(coordinator, op);
        break;
    case COORDINATOR_DELETE_OFFSETS:
        coordinator_offsets_delete(coordinator, op);
        break;
    default:
        coordinator_offsets_fetch(coordinator, op);
        break;
    }
}

// --- the budget -------------------------------------------------------------------------------

void coordinator_work_soon(struct coordinator *coordinator)
{
    // It is always set to something, so this needs no memory.
    (void)timer_set(&coordinator->shard->timers, &coordinator->work,
                    coordinator->shard->io->now_ns + 1);
}

bool coordinator_has_budget(struct coordinator *coordinator)
{
    uint64_t now_ns = coordinator->shard->io->now_ns;
    if (coordinator->turn_ns != now_ns) {
        coordinator->turn_ns = now_ns;
        coordinator->budget = COORDINATOR_BUDGET;
    }
    return coordinator->budget > 0;
}

// One of each kind in turn, so that none keeps another waiting.
static bool work_once(struct coordinator *coordinator)
{
    struct list *group = list_pop(&coordinator->due);
    if (group)
        coordinated_run_time(list_entry(group, struct coordinated, due));
    struct list *op = list_pop(&coordinator->waiting);
    if (op)
        coordinator_run(coordinator, list_entry(op, struct coordinator_op, node));
    bool swept = coordinator->sweep_left > 0;
    if (swept)
        coordinator_sweep_step(coordinator);
    return group || op || swept;
}

void coordinator_set_timers_later(struct coordinator *coordinator)
{
    struct shard *shard = coordinator->shard;
    uint64_t then_ns = shard->io->now_ns + TIMERS_AGAIN_MS * UINT64_C(1000000);
    coordinator->timers_missing = true;
    if (coordinator->work.due_ns > then_ns)
        (void)timer_set(&shard->timers, &coordinator->work, then_ns);
}

static void set_missing_timers(struct coordinator *coordinator)
{
    if (!coordinator->timers_missing)
        return;
    coordinator->timers_missing = false;
    list_each(node, &coordinator->order)
        coordinated_set_timer(list_entry(node, struct coordinated, order));
}

static void work_due(struct timer *timer)
{
    struct coordinator *coordinator = list_entry(timer, struct coordinator, work);
    coordinator->turn_ns = coordinator->shard->io->now_ns;
    coordinator->budget = COORDINATOR_BUDGET;
    (void)timer_set(&coordinator->shard->timers, timer, UINT64_MAX);
    set_missing_timers(coordinator);
    while (coordinator->budget > 0)
        if (!work_once(coordinator))
            return;
    coordinator_work_soon(coordinator);
}

static void op_arrived(struct shard *here, struct message *message)
{
    struct coordinator_op *op = list_entry(message, struct coordinator_op, message);
    struct coordinator *coordinator = here->coordinator;
    if (list_empty(&coordinator->waiting) && coordinator_has_budget(coordinator)) {
        coordinator->budget--;
        coordinator_run(coordinator, op);
        return;
    }
    list_append(&coordinator->waiting, &op->node);
    coordinator_work_soon(coordinator);
}

void coordinator_submit(struct shard *home, struct coordinator_op *op)
{
    // Every shard's coordinator knows the topic, also those that own none of its partitions.
    const struct coordinator *any = home->coordinator;
    op->home = home;
    op->returned = false;
    op->parked = false;
    op->cancelled = false;
    op->error = 0;
    if (!op->group.data)
        op->group = span_text("");
    if (op->kind == COORDINATOR_LIST)
        op->owner = shard_by_index(home, op->shard_index);
    else
        op->owner = shard_of_partition(home, any->topic_id, coordinated_partition(any, op->group));
    if (op->kind != COORDINATOR_LIST && !is_valid_name(op)) {
        op->owner = home;
        refuse(op, KP_ERROR_INVALID_GROUP_ID);
        return;
    }
    op->message.deliver = op_arrived;
    shard_post(home, op->owner, &op->message);
}

// --- cancelling -------------------------------------------------------------------------------

static void cancel_returned(struct shard *here, struct message *message)
{
    (void)here;
    struct coordinator_op *op = list_entry(message, struct coordinator_op, cancel_message);
    op->cancelling = false;
    go_on(op);
}

// An operation that is not parked ends soon by itself, or has ended; or its turn is still to come,
// and then it does not get parked.
static void cancel_arrived(struct shard *here, struct message *message)
{
    struct coordinator_op *op = list_entry(message, struct coordinator_op, cancel_message);
    op->cancelled = true;
    if (op->parked)
        coordinated_run_cancel(coordinated_find(here->coordinator, op->group), op);
    op->cancel_message.deliver = cancel_returned;
    shard_post(here, op->home, &op->cancel_message);
}

void coordinator_cancel(struct coordinator_op *op)
{
    if (op->cancelling || op->returned)
        return;
    op->cancelling = true;
    op->cancel_message.deliver = cancel_arrived;
    shard_post(op->home, op->owner, &op->cancel_message);
}

// --- start and end ----------------------------------------------------------------------------

void coordinator_catalog_changed(struct shard *shard, bool deleted)
{
    coordinator_sweep_ask(shard->coordinator, SWEEP_CATALOG | (deleted ? SWEEP_GONE : 0));
}

static int load_record(void *context, struct span key, struct span value)
{
    struct coordinator *coordinator = context;
    struct image_change change;
    int error = image_change_read(key, value, &change);
    if (!error && change.known) {
        struct coordinated *group = coordinated_find(coordinator, change.group);
        if (!group)
            group = coordinated_create(coordinator, change.group);
        error = group ? image_apply(&group->image, &change) : -ENOMEM;
        if (group)
            coordinated_drop_if_idle(group);
    }
    image_change_free(&change);
    return error;
}

static void load_partition(struct coordinator *coordinator, int32_t number)
{
    struct shard *shard = coordinator->shard;
    struct partition *partition = partition_find(shard, coordinator->topic_id, number);
    int64_t offset = 0;
    int error = partition
                    ? state_log_load(shard->io, partition->log, load_record, coordinator, &offset)
                    : -ENOENT;
    if (!error)
        return;
    coordinator->unreadable[number] = true;
    log_line(LOG_ERROR,
             "groups in %s-%d cannot be read (offset %lld): %s; the groups there are not served",
             CATALOG_OFFSETS_TOPIC, number, (long long)offset, strerror(-error));
}

// The groups of partitions that can be read; what is known of the others is not all.
static int bring_to_life(struct coordinator *coordinator)
{
    int error = 0;
    list_each(node, &coordinator->order) {
        struct coordinated *group = list_entry(node, struct coordinated, order);
        struct span name = span_of(group->name, group->name_size);
        if (coordinator->unreadable[coordinated_partition(coordinator, name)])
            coordinated_forget(group);
        else if (!error)
            error = coordinated_reload(group);
    }
    return error;
}

static int load(struct coordinator *coordinator, char *why, size_t why_size)
{
    struct shard *shard = coordinator->shard;
    for (int32_t i = 0; i < coordinator->partition_count; i++)
        if (shard_of_partition(shard, coordinator->topic_id, i) == shard)
            load_partition(coordinator, i);
    int error = bring_to_life(coordinator);
    if (!error && timer_set(&shard->timers, &coordinator->work, UINT64_MAX) != 0)
        error = -ENOMEM;
    if (error)
        snprintf(why, why_size, "not enough memory for the groups");
    return error;
}

// A list of names that the settings have checked.
static void read_assignors(const char *list, struct group_limits *limits)
{
    for (uint32_t i = 0; i < sizeof(limits->assignors) / sizeof(*limits->assignors); i++) {
        size_t size = strcspn(list, ",");
        limits->assignors[i] = group_assignor_find(span_of(list, size));
        list += size + (list[size] == ',');
    }
}

static struct group_limits limits_of(const struct config *config)
{
    struct group_limits limits = {
        .min_session_timeout_ms =
            (int32_t)config_number(config, SETTING_GROUP_MIN_SESSION_TIMEOUT_MS),
        .max_session_timeout_ms =
            (int32_t)config_number(config, SETTING_GROUP_MAX_SESSION_TIMEOUT_MS),
        .initial_rebalance_delay_ms =
            (int32_t)config_number(config, SETTING_GROUP_INITIAL_REBALANCE_DELAY_MS),
        .max_members = (uint32_t)config_number(config, SETTING_GROUP_MAX_SIZE),
        .consumer_session_timeout_ms =
            (int32_t)config_number(config, SETTING_GROUP_CONSUMER_SESSION_TIMEOUT_MS),
        .consumer_heartbeat_interval_ms =
            (int32_t)config_number(config, SETTING_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS),
        .consumer_max_members = (uint32_t)config_number(config, SETTING_GROUP_CONSUMER_MAX_SIZE),
    };
    read_assignors(config_text(config, SETTING_GROUP_CONSUMER_ASSIGNORS), &limits);
    const char *policy = config_text(config, SETTING_GROUP_CONSUMER_MIGRATION_POLICY);
    bool both = strcmp(policy, "bidirectional") == 0;
    limits.may_upgrade = both || strcmp(policy, "upgrade") == 0;
    limits.may_downgrade = both || strcmp(policy, "downgrade") == 0;
    return limits;
}

static struct coordinator *create(struct shard *shard, const struct catalog_topic *topic)
{
    struct coordinator *coordinator = calloc(1, sizeof(*coordinator));
    bool *unreadable = calloc((size_t)topic->partition_count, sizeof(*unreadable));
    if (!coordinator || !unreadable) {
        free(coordinator);
        free(unreadable);
        return NULL;
    }
    coordinator->shard = shard;
    coordinator->topic_id = topic->id;
    coordinator->partition_count = topic->partition_count;
    coordinator->unreadable = unreadable;
    coordinator->groups_max = (uint32_t)config_number(shard->config, SETTING_MAX_GROUPS);
    coordinator->limits = limits_of(shard->config);
    coordinator->work.expired = work_due;
    map_init(&coordinator->groups);
    list_init(&coordinator->order);
    list_init(&coordinator->due);
    list_init(&coordinator->waiting);
    group_records_init(&coordinator->records);
    random_system(&coordinator->random.state, sizeof(coordinator->random.state));
    return coordinator;
}

int coordinator_open(struct shard *shard, char *why, size_t why_size)
{
    const struct catalog_topic *topic =
        catalog_find(shard->catalog, span_text(CATALOG_OFFSETS_TOPIC));
    snprintf(why, why_size, "the topic %s is missing", CATALOG_OFFSETS_TOPIC);
    if (!topic)
        return -ENOENT;
    snprintf(why, why_size, "out of memory");
    shard->coordinator = create(shard, topic);
    if (!shard->coordinator)
        return -ENOMEM;
    int error = load(shard->coordinator, why, why_size);
    if (!error)
        coordinator_sweep_start(shard->coordinator);
    return error;
}

void coordinator_close(struct shard *shard)
{
    struct coordinator *coordinator = shard->coordinator;
    if (!coordinator)
        return;
    coordinator_sweep_stop(coordinator);
    timer_cancel(&shard->timers, &coordinator->work);
    list_each(node, &coordinator->order)
        coordinated_forget(list_entry(node, struct coordinated, order));
    map_free(&coordinator->groups);
    group_records_free(&coordinator->records);
    free(coordinator->unreadable);
    free(coordinator);
    shard->coordinator = NULL;
}
