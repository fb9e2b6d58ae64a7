// SPDX-License-Identifier: Apache-2.0
// One group of a coordinator: what is durable of it (the image), the live group made from that, and
// the writes between the two.
//
// 1. The image changes only when a write is durable, by the fold that start-up uses.
// 2. Nothing that a group answers leaves before all that it has written until then is durable: an
//    answer waits in the group's newest write, or goes at once when there is none in flight. Writes
//    of one group complete in their order, as appends of one log do.
// 3. A write of the group itself that fails, or memory that is short within a step, breaks the
//    group: whoever waits for it gets COORDINATOR_NOT_AVAILABLE, the live group goes, and when
//    nothing is in flight any more it comes back from the image. Until then it is out of order, and
//    everybody gets that error. Nothing else rolls back.
// 4. A write of offsets alone that fails is the failure of its operation only.
// 5. `live` is NULL for a group of which the image has no records of its own: as group_new.
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/log_line.h"
#include "broker/groups/coordinator_internal.h"
#include "broker/partition.h"
#include "broker/server.h"
#include "protocol/error.h"

enum {
    RELOAD_AGAIN_MS = 100,
    PARKED_ARENA_MAX = 128 * 1024, // of a request that waits for other members
};

// --- the groups -------------------------------------------------------------------------------

static struct span name_span(const struct coordinated *group)
{
    return span_of(group->name, group->name_size);
}

struct coordinated *coordinated_find(const struct coordinator *coordinator, struct span name)
{
    return map_get(&coordinator->groups, name);
}

static void time_has_come(struct timer *timer)
{
    struct coordinated *group = list_entry(timer, struct coordinated, timer);
    struct coordinator *coordinator = group->coordinator;
    list_remove(&group->due);
    if (list_empty(&coordinator->due) && coordinator_has_budget(coordinator)) {
        coordinated_run_time(group);
        return;
    }
    list_append(&coordinator->due, &group->due);
    coordinator_work_soon(coordinator);
}

int32_t coordinated_partition(const struct coordinator *coordinator, struct span name)
{
    return (int32_t)(XXH3_64bits(name.data, name.size) % (uint32_t)coordinator->partition_count);
}

struct coordinated *coordinated_create(struct coordinator *coordinator, struct span name)
{
    struct coordinated *group = calloc(1, sizeof(*group) + name.size + 1);
    if (!group)
        return NULL;
    group->coordinator = coordinator;
    group->timer.expired = time_has_come;
    group->name_size = name.size;
    memcpy(group->name, name.data, name.size);
    image_init(&group->image);
    list_init(&group->deferred);
    list_init(&group->due);
    if (map_put(&coordinator->groups, name_span(group), group) != 0) {
        free(group);
        return NULL;
    }
    list_append(&coordinator->order, &group->order);
    atomic_fetch_add(&coordinator->shard->server->groups, 1);
    return group;
}

struct coordinated *coordinated_obtain(struct coordinator *coordinator, struct span name,
                                       int16_t *error)
{
    struct coordinated *group = coordinated_find(coordinator, name);
    *error = 0;
    if (group)
        return group;
    if (atomic_load(&coordinator->shard->server->groups) >= coordinator->groups_max)
        *error = KP_ERROR_POLICY_VIOLATION;
    else if (!(group = coordinated_create(coordinator, name)))
        *error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    return group;
}

void coordinated_forget(struct coordinated *group)
{
    struct coordinator *coordinator = group->coordinator;
    CHECK(list_empty(&group->deferred));
    timer_cancel(&coordinator->shard->timers, &group->timer);
    list_remove(&group->order);
    list_remove(&group->due);
    map_remove(&coordinator->groups, name_span(group));
    atomic_fetch_sub(&coordinator->shard->server->groups, 1);
    if (group->live)
        group_free(group->live);
    image_free(&group->image);
    free(group);
}

void coordinated_drop_if_idle(struct coordinated *group)
{
    if (group->broken || group->in_flight > 0)
        return;
    if (group->live && group->image.records.count == 0 && group_is_idle(group->live)) {
        group_free(group->live);
        group->live = NULL;
        timer_cancel(&group->coordinator->shard->timers, &group->timer);
    }
    if (!group->live && image_is_empty(&group->image))
        coordinated_forget(group);
}

bool coordinated_is_known(const struct coordinated *group)
{
    return group && (group->live || group->broken || !image_is_empty(&group->image));
}

bool coordinated_come_alive(struct coordinated *group)
{
    if (!group->live)
        group->live = group_new(name_span(group));
    return group->live != NULL;
}

// --- time -------------------------------------------------------------------------------------

static void set_timer(struct coordinated *group, int64_t due_ms)
{
    struct timers *timers = &group->coordinator->shard->timers;
    if (due_ms == INT64_MAX) {
        timer_cancel(timers, &group->timer);
        return;
    }
    if (timer_set(timers, &group->timer, due_ms <= 0 ? 0 : (uint64_t)due_ms * 1000000) != 0)
        coordinator_set_timers_later(group->coordinator);
}

void coordinated_set_timer(struct coordinated *group)
{
    if (group->live)
        set_timer(group, group_due_ms(group->live));
    else if (group->broken)
        set_timer(group, 0);
}

static int64_t now_ms(const struct coordinator *coordinator)
{
    return (int64_t)(coordinator->shard->io->now_ns / 1000000);
}

// --- from the image ---------------------------------------------------------------------------

static int load_records(struct group *live, const struct image *image)
{
    const struct image_record *record;
    for (size_t at = 0; (record = map_next(&image->records, &at));) {
        int error = group_load(live, record->key, record->value);
        if (error == -EBADMSG)
            log_line(LOG_WARN, "a record of the group %.*s makes no sense and is left out",
                     (int)(group_name(live).size > 100 ? 100 : group_name(live).size),
                     (const char *)group_name(live).data);
        else if (error)
            return error;
    }
    return 0;
}

int coordinated_reload(struct coordinated *group)
{
    struct list answers;
    struct group_step step;
    if (group->image.records.count == 0)
        return 0;
    struct group *live = group_new(name_span(group));
    if (!live)
        return -ENOMEM;
    int error = load_records(live, &group->image);
    coordinated_step_begin(group, &step, &answers);
    if (!error)
        error = group_load_done(live, &step);
    if (error) {
        group_free(live);
        return error;
    }
    group->live = live;
    set_timer(group, group_due_ms(live));
    return 0;
}

// After a failure, when nothing is in flight.
static void come_back(struct coordinated *group)
{
    if (coordinated_reload(group) == 0)
        group->broken = false;
    else
        set_timer(group, now_ms(group->coordinator) + RELOAD_AGAIN_MS);
}

bool coordinated_is_well(struct coordinated *group)
{
    if (group->broken && group->in_flight == 0)
        come_back(group);
    return !group->broken;
}

static void run_deferred(struct coordinated *group)
{
    struct coordinator *coordinator = group->coordinator;
    struct list ready;
    list_init(&ready);
    list_splice(&ready, &group->deferred);
    for (struct list *node; (node = list_pop(&ready));)
        coordinator_run(coordinator, list_entry(node, struct coordinator_op, node));
}

// What may be done when a write has ended, or a step.
static void settle(struct coordinated *group)
{
    if (group->in_flight > 0)
        return;
    if (group->broken)
        come_back(group);
    if (!list_empty(&group->deferred))
        run_deferred(group); // may be the end of the group
    else
        coordinated_drop_if_idle(group);
}

// --- answers ----------------------------------------------------------------------------------

static void answer(struct list *answers, int16_t error)
{
    for (struct list *node; (node = list_pop(answers));) {
        struct group_ask *ask = list_entry(node, struct group_ask, node);
        struct coordinator_op *op = list_entry(ask, struct coordinator_op, ask);
        op->parked = false;
        if (error)
            group_ask_fail(ask, error);
        coordinator_finish(op, 0);
    }
}

// The group is out of order from here on; `answers` are those of the step that led to it.
static void break_group(struct coordinated *group, struct list *answers)
{
    if (group->live) {
        group_give_up(group->live, answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
        group_free(group->live);
        group->live = NULL;
    }
    group->broken = true;
    timer_cancel(&group->coordinator->shard->timers, &group->timer);
    answer(answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
}

// --- writes -----------------------------------------------------------------------------------

static void say_failure(struct coordinator *coordinator, int error)
{
    if (error && !coordinator->failing)
        log_line(LOG_WARN, "changes of groups and their offsets cannot be stored: %s",
                 strerror(-error));
    if (!error && coordinator->failing)
        log_line(LOG_INFO, "changes of groups and their offsets are stored again");
    coordinator->failing = error != 0;
}

static int apply_record(void *context, struct span key, struct span value)
{
    struct coordinated *group = context;
    struct image_change change;
    int error = image_change_read(key, value, &change);
    if (!error)
        error = image_apply(&group->image, &change);
    image_change_free(&change);
    return error;
}

void coordinated_write_free(struct coordinator_write *write)
{
    state_batch_free(&write->batch);
    free(write);
}

static void write_durable(struct log_append *append)
{
    struct coordinator_write *write = list_entry(append, struct coordinator_write, append);
    struct coordinator *coordinator = write->shard->coordinator;
    struct coordinated *group = write->group;
    int error = append->error;
    if (!coordinator) { // the broker stops, and nobody waits
        coordinated_write_free(write);
        return;
    }
    if (!error)
        error = state_batch_each(&write->batch, apply_record, group);
    say_failure(coordinator, error);
    group->in_flight--;
    if (group->last == write)
        group->last = NULL;
    if (write->op)
        coordinator_finish(write->op, error ? KP_ERROR_COORDINATOR_NOT_AVAILABLE : 0);
    if (error && write->of_group)
        break_group(group, &write->answers);
    else
        answer(&write->answers, group->broken ? KP_ERROR_COORDINATOR_NOT_AVAILABLE : 0);
    coordinated_write_free(write);
    settle(group);
}

struct coordinator_write *coordinated_write_create(struct coordinated *group,
                                                   struct coordinator_op *op)
{
    struct coordinator_write *write = calloc(1, sizeof(*write));
    if (!write)
        return NULL;
    state_batch_init(&write->batch);
    list_init(&write->answers);
    write->append.done = write_durable;
    write->shard = group->coordinator->shard;
    write->group = group;
    write->op = op;
    return write;
}

int coordinated_write_start(struct coordinator_write *write)
{
    struct coordinated *group = write->group;
    struct coordinator *coordinator = group->coordinator;
    struct partition *home = partition_find(coordinator->shard, coordinator->topic_id,
                                            coordinated_partition(coordinator, name_span(group)));
    int error = home ? state_log_append(home->log, &write->batch, &write->append) : -ENOENT;
    if (error) {
        say_failure(coordinator, error);
        coordinated_write_free(write);
        return error;
    }
    group->in_flight++;
    if (write->of_group)
        group->last = write;
    return 0;
}

static void add(struct coordinator_write *write, struct span key, struct span value)
{
    state_batch_add(&write->batch, write->shard->io->wall_ms, key, value);
}

void coordinated_write_add_position(struct coordinator_write *write,
                                    const struct offset_record *record)
{
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    struct span body = {0};
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    offset_record_write_key(record, &key);
    if (!record->tombstone) {
        offset_record_write_value(record, &value);
        body = span_of(value.data, value.size);
    }
    add(write, span_of(key.data, key.size), body);
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
}

// The records of the present step. 0 or a negative errno.
static int write_records(struct coordinated *group)
{
    const struct group_records *records = &group->coordinator->records;
    struct coordinator_write *write = coordinated_write_create(group, NULL);
    if (!write)
        return -ENOMEM;
    write->of_group = true;
    for (uint32_t i = 0; i < records->count; i++)
        add(write, group_records_key(records, i), group_records_value(records, i));
    return coordinated_write_start(write);
}

// --- steps ------------------------------------------------------------------------------------

void coordinated_step_begin(struct coordinated *group, struct group_step *step,
                            struct list *answers)
{
    struct coordinator *coordinator = group->coordinator;
    list_init(answers);
    group_records_clear(&coordinator->records);
    *step = (struct group_step){
        .now_ms = now_ms(coordinator),
        .wall_ms = coordinator->shard->io->wall_ms,
        .catalog = coordinator->shard->catalog,
        .limits = &coordinator->limits,
        .random = &coordinator->random,
        .records = &coordinator->records,
        .answers = answers,
    };
}

// Returns what the answers have cost: an answer may carry what all members have said.
static int64_t note_answered(const struct group_step *step)
{
    int64_t cost = 0;
    list_each(node, step->answers) {
        struct group_ask *ask = list_entry(node, struct group_ask, node);
        list_entry(ask, struct coordinator_op, ask)->parked = false;
        cost += 1 + (int64_t)(ask->arena->used / 4096);
    }
    return cost;
}

// A step that changes or tells much has cost as much.
static void charge(struct coordinated *group, const struct group_step *step)
{
    int64_t cost = 1 + step->cost + step->records->count + note_answered(step);
    cost += (int64_t)(step->records->bytes.size / 4096);
    group->coordinator->budget -= cost;
}

void coordinated_step_end(struct coordinated *group, struct group_step *step)
{
    charge(group, step);
    bool failed = step->failed || step->records->failed;
    if (!failed && step->records->count > 0)
        failed = write_records(group) != 0;
    if (failed) {
        break_group(group, step->answers);
    } else {
        if (group->last)
            list_splice(&group->last->answers, step->answers);
        else
            answer(step->answers, 0);
        set_timer(group, group_due_ms(group->live));
    }
    settle(group);
}

// --- events -----------------------------------------------------------------------------------

static void op_waits(struct shard *here, struct message *message)
{
    (void)here;
    struct coordinator_op *op = list_entry(message, struct coordinator_op, waits_message);
    op->waits(op);
}

// Its request may wait for long, and what it holds must not keep others from being read: the bytes
// go. Who has filled memory with what no member has to say is not waited for, nor who has gone
// before the ask came to its turn.
static void park(struct coordinated *group, struct group_step *step, struct coordinator_op *op)
{
    if (op->cancelled || op->arena->used > PARKED_ARENA_MAX) {
        group_forsake(group->live, step, &op->ask);
        return;
    }
    op->waits_message.deliver = op_waits;
    if (op->waits)
        shard_post(op->owner, op->home, &op->waits_message);
}

void coordinated_run_ask(struct coordinated *group, struct coordinator_op *op)
{
    struct group_step step;
    struct list answers;
    coordinated_step_begin(group, &step, &answers);
    op->parked = true;
    group_ask(group->live, &step, &op->ask);
    note_answered(&step);
    if (op->parked && !step.failed)
        park(group, &step, op);
    coordinated_step_end(group, &step);
}

void coordinated_run_cancel(struct coordinated *group, struct coordinator_op *op)
{
    struct group_step step;
    struct list answers;
    coordinated_step_begin(group, &step, &answers);
    group_forsake(group->live, &step, &op->ask);
    coordinated_step_end(group, &step);
}

void coordinated_run_time(struct coordinated *group)
{
    struct group_step step;
    struct list answers;
    if (group->broken || !group->live) {
        settle(group);
        return;
    }
    coordinated_step_begin(group, &step, &answers);
    group_time(group->live, &step);
    coordinated_step_end(group, &step);
}

// --- the end of a group -----------------------------------------------------------------------

static void add_tombstones(struct coordinator_write *write, const struct coordinated *group)
{
    const struct image_record *record;
    const struct image_position *position;
    for (size_t at = 0; (record = map_next(&group->image.records, &at));)
        add(write, record->key, (struct span){0});
    for (size_t at = 0; (position = map_next(&group->image.positions, &at));)
        coordinated_write_add_position(
            write, &(struct offset_record){.tombstone = true,
                                           .group = name_span(group),
                                           .topic_id = position->key.topic_id,
                                           .partition = position->key.partition});
}

void coordinated_remove(struct coordinated *group, struct group_ask *ask)
{
    struct list answers;
    list_init(&answers);
    if (ask)
        list_append(&answers, &ask->node);
    struct coordinator_write *write = coordinated_write_create(group, NULL);
    if (write) {
        write->of_group = true;
        add_tombstones(write, group);
    }
    bool nothing = write && state_batch_empty(&write->batch);
    if (nothing) {
        coordinated_write_free(write);
    } else if (!write || coordinated_write_start(write) != 0) {
        break_group(group, &answers);
        settle(group);
        return;
    } else {
        list_splice(&write->answers, &answers);
    }
    if (group->live) {
        group_give_up(group->live, &answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
        group_free(group->live);
        group->live = NULL;
        timer_cancel(&group->coordinator->shard->timers, &group->timer);
    }
    answer(&answers, 0);
    settle(group);
}
