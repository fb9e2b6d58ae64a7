// SPDX-License-Identifier: Apache-2.0
// The table of a shard's partitions, and operations that may cross from one shard to another.
//
// An operation belongs to its home shard, except between the delivery of `message` to the owner and
// its way back: then only the owner touches it. Invariants:
//  1. `done` is called on the home shard, once, from the loop: never from inside a call of this
//     file.
//  2. A node (`message`, `second_message`) is in at most one mailbox at a time.
//  3. Slices of a read are given back on the owner's thread.
//
// A watch, seen from the owner: WAITING -> settled (fired, failed or cancelled). From home:
//   waiting -> done                            the watch's own message came back
//   waiting -> cancelling -> done              the answer to the cancel came back
// Once home has cancelled, only the answer to the cancel ends the operation, and it always comes:
// a watch that fired at the same moment has its own message on the way, which is then ignored. Both
// travel the same way in order, so the ignored one has arrived before `done` is called.
//
// An append for which the log has no memory at present waits, and all later ones of its partition
// behind it: so overload slows producers down instead of failing them, and the order of a
// connection's batches stays. Commits free memory all the time; what has waited for APPEND_WAIT_MS
// fails after all.
//
// A partition that does not exist (any more) on the owner gives -ENOENT.
#include "broker/partition.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

enum {
    APPEND_RETRY_MS = 2,
    APPEND_WAIT_MS = 10000,
    SMALL_APPEND_BYTES = 4096,
};

static const uint64_t ns_per_ms = 1000000;

static struct span key_span(const struct partition_key *key)
{
    return span_of(key, sizeof(*key));
}

// Keys are compared as bytes.
_Static_assert(sizeof(struct partition_key) == 20, "a partition key has padding");

struct partition *partition_find(struct shard *shard, struct kp_uuid topic_id, int32_t partition)
{
    struct partition_key key = {.topic_id = topic_id, .partition = partition};
    return map_get(&shard->partitions, key_span(&key));
}

int partition_open(struct shard *shard, struct log_name name, const struct log_config *config,
                   bool recover, struct log_recovery *recovery, struct partition **out)
{
    struct partition *partition = calloc(1, sizeof(*partition));
    if (!partition)
        return -ENOMEM;
    partition->key = (struct partition_key){.topic_id = name.topic_id, .partition = name.partition};
    list_init(&partition->waiting);
    list_init(&partition->stalled);
    if (map_put(&shard->partitions, key_span(&partition->key), partition) != 0) {
        free(partition);
        return -ENOMEM;
    }
    int error = recover ? log_open(shard->store, name, config, &partition->log, recovery)
                        : log_create(shard->store, name, config, &partition->log);
    if (error) {
        map_remove(&shard->partitions, key_span(&partition->key));
        free(partition);
        return error;
    }
    *out = partition;
    return 0;
}

void partition_forget_all(struct shard *shard)
{
    size_t at = 0;
    struct partition *partition;
    while ((partition = map_next(&shard->partitions, &at)) != NULL)
        free(partition);
    map_free(&shard->partitions);
}

// --- the way back -----------------------------------------------------------------------------

static void finish_at_home(struct shard *here, struct message *message)
{
    (void)here;
    struct partition_op *op = list_entry(message, struct partition_op, message);
    if (op->kind == PARTITION_WATCH && op->cancelling)
        return;
    op->done(op);
}

// From a callback of the log: at home already, `done` may be called at once.
static void settle(struct partition_op *op)
{
    op->settled = true;
    if (op->owner == op->home) {
        finish_at_home(op->home, &op->message);
        return;
    }
    op->message.deliver = finish_at_home;
    shard_post(op->owner, op->home, &op->message);
}

// From a function that the caller may be inside of: `done` comes later even at home.
static void settle_later(struct partition_op *op)
{
    op->settled = true;
    op->message.deliver = finish_at_home;
    shard_post(op->owner, op->home, &op->message);
}

static void settle_with_offsets(struct partition_op *op, int error)
{
    struct partition *partition = partition_find(op->owner, op->key.topic_id, op->key.partition);
    if (partition)
        op->offsets = log_offsets(partition->log);
    op->error = error;
    settle(op);
}

static void append_done(struct log_append *append)
{
    struct partition_op *op = list_entry(append, struct partition_op, append.op);
    if (!op->refused) {
        op->offsets.start = append->start; // no second lookup of the partition: it costs
        op->error = append->error;
        settle(op);
        return;
    }
    op->refused = false;
    // Still in the queue, unless the partition has gone.
    if (op->error)
        settle(op);
}

// A read that brought nothing is released here, which saves its home a way to the owner and back.
static void read_done(struct log_read *read)
{
    struct partition_op *op = list_entry(read, struct partition_read, log)->op;
    op->offsets = read->offsets;
    op->error = read->error;
    if (read->error || read->size == 0) {
        log_read_release(read);
        op->holds = false;
    }
    settle(op);
}

static void watch_fired(struct log_watch *watch)
{
    settle_with_offsets(list_entry(watch, struct partition_op, watch.op), 0);
}

static void time_done(struct log_time_lookup *time)
{
    settle_with_offsets(list_entry(time, struct partition_op, time), time->error);
}

static void trim_done(struct log_trim *trim)
{
    settle_with_offsets(list_entry(trim, struct partition_op, trim), trim->error);
}

// --- appending --------------------------------------------------------------------------------

// False when the log has no memory for it.
static bool append_now(struct partition_op *op, struct log *log)
{
    op->append.op.done = append_done;
    log_append(log, op->append.batch, op->append.header, op->append.leader_epoch, &op->append.op);
    op->refused = op->append.op.error == -ENOMEM;
    return !op->refused;
}

static void retry_waiting(struct shard *shard, struct partition *partition)
{
    while (!list_empty(&partition->waiting)) {
        struct partition_op *op = list_entry(partition->waiting.next, struct partition_op, node);
        if (op->refused)
            return;
        bool late = shard->io->now_ns > op->give_up_ns;
        if (!late && !append_now(op, partition->log))
            return;
        list_remove(&op->node);
        if (late)
            settle_with_offsets(op, -ENOMEM);
    }
    list_remove(&partition->stalled);
}

static void set_stalled_timer(struct shard *shard)
{
    // Without memory for a timer the next append that has to wait sets it.
    (void)timer_set(&shard->timers, &shard->stalled_timer,
                    shard->io->now_ns + APPEND_RETRY_MS * ns_per_ms);
}

static void retry_stalled(struct timer *timer)
{
    struct shard *shard = list_entry(timer, struct shard, stalled_timer);
    list_each(node, &shard->stalled)
        retry_waiting(shard, list_entry(node, struct partition, stalled));
    if (!list_empty(&shard->stalled))
        set_stalled_timer(shard);
}

static void wait_for_memory(struct partition_op *op, struct partition *partition)
{
    struct shard *shard = op->owner;
    op->waits = true;
    op->give_up_ns = shard->io->now_ns + APPEND_WAIT_MS * ns_per_ms;
    list_append(&partition->waiting, &op->node);
    if (!shard->stalled.next)
        list_init(&shard->stalled);
    if (list_empty(&partition->stalled))
        list_append(&shard->stalled, &partition->stalled);
    if (shard->stalled_timer.slot == 0) {
        shard->stalled_timer.expired = retry_stalled;
        set_stalled_timer(shard);
    }
}

static void begin_append(struct partition_op *op, struct partition *partition)
{
    if (!list_empty(&partition->waiting) || !append_now(op, partition->log))
        wait_for_memory(op, partition);
}

// --- on the owner -----------------------------------------------------------------------------

static void begin(struct partition_op *op, struct partition *partition)
{
    struct log *log = partition->log;
    switch (op->kind) {
    case PARTITION_APPEND:
        begin_append(op, partition);
        break;
    case PARTITION_READ:
        op->read->op = op;
        op->holds = true;
        op->read->log.done = read_done;
        log_read(log, &op->read->log);
        break;
    case PARTITION_WATCH:
        op->watch.op.fired = watch_fired;
        log_watch(log, &op->watch.op);
        break;
    case PARTITION_FIND_TIME:
        op->time.done = time_done;
        log_find_time(log, &op->time);
        break;
    case PARTITION_TRIM:
        op->trim.done = trim_done;
        log_trim(log, &op->trim);
        break;
    case PARTITION_OFFSETS:
        op->offsets = log_offsets(log);
        settle_later(op);
        break;
    }
}

static void start_on_owner(struct shard *here, struct message *message)
{
    struct partition_op *op = list_entry(message, struct partition_op, message);
    struct partition *partition = partition_find(here, op->key.topic_id, op->key.partition);
    if (partition) {
        begin(op, partition);
        return;
    }
    op->error = -ENOENT;
    settle_later(op);
}

// A larger one is work that the owner can do while its journal is written, or a write of its own.
static bool is_small_append(const struct partition_op *op)
{
    return op->kind == PARTITION_APPEND && op->append.batch.size <= SMALL_APPEND_BYTES;
}

void partition_start(struct shard *home, struct partition_op *op)
{
    op->home = home;
    op->owner = shard_of_partition(home, op->key.topic_id, op->key.partition);
    op->error = 0;
    op->offsets = (struct log_offsets){0};
    op->waits = false;
    op->refused = false;
    op->holds = false;
    op->settled = false;
    op->cancelling = false;
    if (op->kind == PARTITION_WATCH)
        op->watch.cancelled = false;
    if (op->owner == home) {
        start_on_owner(home, &op->message);
        return;
    }
    op->message.deliver = start_on_owner;
    if (is_small_append(op))
        shard_post_patiently(home, op->owner, &op->message);
    else
        shard_post(home, op->owner, &op->message);
}

bool partition_has_taken(const struct partition_op *op)
{
    return op->owner == op->home && !op->waits;
}

// --- leaving the shard ------------------------------------------------------------------------

static void give_up_waiting(struct partition *partition)
{
    struct list *node;
    while ((node = list_pop(&partition->waiting)) != NULL) {
        struct partition_op *op = list_entry(node, struct partition_op, node);
        op->error = -ESHUTDOWN;
        // One that the log has just refused is settled when the log has said so.
        if (!op->refused)
            settle_later(op);
    }
    list_remove(&partition->stalled);
}

void partition_delete(struct shard *shard, struct partition *partition, struct log_delete *op)
{
    struct log *log = partition->log;
    CHECK(map_remove(&shard->partitions, key_span(&partition->key)) == partition);
    give_up_waiting(partition);
    free(partition);
    log_delete(log, op);
}

// --- cancelling a watch -----------------------------------------------------------------------

static void cancel_answered(struct shard *here, struct message *message)
{
    (void)here;
    struct partition_op *op = list_entry(message, struct partition_op, second_message);
    op->done(op);
}

static void cancel_on_owner(struct shard *here, struct message *message)
{
    struct partition_op *op = list_entry(message, struct partition_op, second_message);
    if (!op->settled) {
        op->settled = true;
        op->watch.cancelled = true;
        log_watch_cancel(&op->watch.op);
    }
    op->second_message.deliver = cancel_answered;
    shard_post(here, op->home, &op->second_message);
}

void partition_cancel_watch(struct partition_op *op)
{
    CHECK(op->kind == PARTITION_WATCH);
    if (op->cancelling)
        return;
    op->cancelling = true;
    if (op->owner == op->home) {
        cancel_on_owner(op->home, &op->second_message);
        return;
    }
    op->second_message.deliver = cancel_on_owner;
    shard_post(op->home, op->owner, &op->second_message);
}

// --- giving a read back -----------------------------------------------------------------------

static void post_release(struct partition_op *op, struct shard *from, struct shard *to,
                         void (*deliver)(struct shard *here, struct message *message))
{
    op->second_message.deliver = deliver;
    if (op->soon)
        shard_post(from, to, &op->second_message);
    else
        shard_leave(from, to, &op->second_message);
}

static void released_at_home(struct shard *here, struct message *message)
{
    (void)here;
    struct partition_op *op = list_entry(message, struct partition_op, second_message);
    op->released(op);
}

static void release_on_owner(struct shard *here, struct message *message)
{
    struct partition_op *op = list_entry(message, struct partition_op, second_message);
    log_read_release(&op->read->log);
    post_release(op, here, op->home, released_at_home);
}

void partition_release(struct partition_op *op, bool soon,
                       void (*released)(struct partition_op *op))
{
    CHECK(op->kind == PARTITION_READ);
    op->released = released;
    if (!op->holds) {
        released(op);
    } else if (op->owner == op->home) {
        log_read_release(&op->read->log);
        released(op);
    } else {
        op->soon = soon;
        post_release(op, op->home, op->owner, release_on_owner);
    }
}
