// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "tests/unit/broker_shards.h"

struct tried {
    struct partition_op op;
    bool done;
    bool released;
    bool inside; // of partition_start or partition_cancel_watch
};

static void tried_done(struct partition_op *op)
{
    struct tried *tried = op->context;
    cr_assert_not(tried->done, "done is called twice");
    cr_assert_not(tried->inside, "done is called from inside");
    tried->done = true;
}

static void tried_released(struct partition_op *op)
{
    struct tried *tried = op->context;
    tried->released = true;
}

static void start(struct shards *shards, struct tried *tried, struct partition_key key,
                  enum partition_kind kind)
{
    tried->op.key = key;
    tried->op.kind = kind;
    tried->op.done = tried_done;
    tried->op.context = tried;
    tried->done = tried->released = false;
    tried->inside = true;
    partition_start(&shards->shard[0], &tried->op);
    tried->inside = false;
}

static void cancel(struct tried *tried)
{
    tried->inside = true;
    partition_cancel_watch(&tried->op);
    tried->inside = false;
}

static int64_t append(struct shards *shards, struct partition_key key, size_t size)
{
    struct tried tried = {0};
    struct batch_header header;
    struct span batch = shards_batch(size, &header);
    tried.op.append.batch = batch;
    tried.op.append.header = &header;
    start(shards, &tried, key, PARTITION_APPEND);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, 0);
    shards_free_batch(batch);
    struct tried after = {0};
    start(shards, &after, key, PARTITION_OFFSETS);
    shards_until(shards, &after.done);
    cr_assert_eq(tried.op.offsets.start, after.op.offsets.start);
    cr_assert_gt(after.op.offsets.committed, tried.op.append.op.base_offset);
    return tried.op.append.op.base_offset;
}

// Every test runs for a partition on the home shard and for one on the other.
static void for_both_places(void (*test)(struct shards *shards, struct partition_key key))
{
    for (int32_t number = 0; number < 2; number++) {
        struct shards *shards = shards_open(2);
        struct partition_key key = shards_add_partition(shards, 7, number);
        test(shards, key);
        shards_close(shards);
    }
}

Test(broker, neighbouring_partitions_live_on_different_shards)
{
    struct shards *shards = shards_open(2);
    struct kp_uuid id = {{3}};
    cr_assert_neq(shard_of_partition(&shards->shard[0], id, 0),
                  shard_of_partition(&shards->shard[0], id, 1));
    cr_assert_eq(shard_of_partition(&shards->shard[0], id, 5),
                 shard_of_partition(&shards->shard[1], id, 5));
    shards_close(shards);
}

static void check_missing(struct shards *shards, struct partition_key key)
{
    key.partition += 2; // same shard, not there
    for (enum partition_kind kind = PARTITION_APPEND; kind <= PARTITION_OFFSETS; kind++) {
        struct tried tried = {0};
        struct partition_read read = {0};
        if (kind == PARTITION_READ)
            tried.op.read = &read;
        start(shards, &tried, key, kind);
        shards_until(shards, &tried.done);
        cr_assert_eq(tried.op.error, -ENOENT);
        if (kind == PARTITION_READ) {
            partition_release(&tried.op, true, tried_released);
            cr_assert(tried.released, "there is nothing to wait for");
        }
    }
}

Test(broker, partition_that_is_not_there)
{
    for_both_places(check_missing);
}

static void check_append_and_read(struct shards *shards, struct partition_key key)
{
    for (int64_t i = 0; i < 3; i++)
        cr_assert_eq(append(shards, key, 1000), i);
    struct tried tried = {0};
    struct partition_read read = {.log = {.offset = 1, .max_bytes = 1 << 20}};
    tried.op.read = &read;
    start(shards, &tried, key, PARTITION_READ);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, 0);
    cr_assert_eq(tried.op.offsets.committed, 3);
    struct batch_header header;
    cr_assert_eq(batch_header_read(span_of(read.log.slices[0].iov_base, read.log.slices[0].iov_len),
                                   &header),
                 BATCH_OK);
    cr_assert_eq(header.base_offset, 1);
    cr_assert_gt(read.log.size, 2000);
    partition_release(&tried.op, true, tried_released);
    shards_until(shards, &tried.released);

    read = (struct partition_read){.log = {.offset = 3, .max_bytes = 1 << 20}};
    start(shards, &tried, key, PARTITION_READ);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, 0);
    cr_assert_eq(read.log.size, 0);
    partition_release(&tried.op, true, tried_released);
    cr_assert(tried.released, "nothing was read");

    read = (struct partition_read){.log = {.offset = 4, .max_bytes = 1 << 20}};
    start(shards, &tried, key, PARTITION_READ);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, -ERANGE);
}

Test(broker, partition_append_and_read)
{
    for_both_places(check_append_and_read);
}

static struct partition_key add_partition_of(struct shards *shards, const struct shard *owner)
{
    struct partition_key key = shards_add_partition(shards, 7, 0);
    if (shard_of_partition(owner, key.topic_id, key.partition) == owner)
        return key;
    return shards_add_partition(shards, 7, 1);
}

static bool is_asleep(struct shard *shard)
{
    return atomic_load(&shard->mailbox.sleeping) > 0;
}

// Gives back what the owner, asleep, has on another shard: nobody wakes it before its time.
Test(broker, partition_release_that_nobody_waits_for)
{
    struct shards *shards = shards_open(2);
    struct shard *home = &shards->shard[0];
    struct shard *owner = &shards->shard[1];
    struct partition_key key = add_partition_of(shards, owner);
    append(shards, key, 1000);
    struct tried tried = {0};
    struct partition_read read = {.log = {.max_bytes = 1 << 20}};
    tried.op.read = &read;
    start(shards, &tried, key, PARTITION_READ);
    shards_until(shards, &tried.done);
    cr_assert_gt(read.log.size, 1000);

    cr_assert(mailbox_sleep(&owner->mailbox, 0));
    partition_release(&tried.op, false, tried_released);
    cr_assert(is_asleep(owner));
    for (int i = 0; i < SHARDS_TURNS && is_asleep(owner); i++) {
        shards_turn_one(home);
        io_run(home->io, home->io->now_ns + 200000);
    }
    cr_assert_not(is_asleep(owner), "it is never reminded");
    shards_turn_one(owner);
    shards_until(shards, &tried.released);

    // At the end it is reminded at once.
    tried.released = false;
    start(shards, &tried, key, PARTITION_READ);
    shards_until(shards, &tried.done);
    cr_assert(mailbox_sleep(&owner->mailbox, 0));
    home->stopping = true;
    partition_release(&tried.op, false, tried_released);
    cr_assert_not(is_asleep(owner));
    shards_until(shards, &tried.released);
    shards_close(shards);
}

// A small append does not wake an owner that is about to wake; everything else does.
Test(broker, partition_append_is_patient)
{
    struct shards *shards = shards_open(2);
    struct shard *owner = &shards->shard[1];
    struct partition_key key = add_partition_of(shards, owner);
    static const size_t sizes[] = {1000, 20000};
    for (size_t i = 0; i < 2; i++) {
        struct tried tried = {0};
        struct batch_header header;
        tried.op.append.batch = shards_batch(sizes[i], &header);
        tried.op.append.header = &header;
        cr_assert(mailbox_sleep(&owner->mailbox, 1));
        start(shards, &tried, key, PARTITION_APPEND);
        cr_assert_eq(is_asleep(owner), sizes[i] == 1000);
        shards_until(shards, &tried.done);
        cr_assert_eq(tried.op.error, 0);
        shards_free_batch(tried.op.append.batch);
    }
    struct tried offsets = {0};
    cr_assert(mailbox_sleep(&owner->mailbox, 1));
    start(shards, &offsets, key, PARTITION_OFFSETS);
    cr_assert_not(is_asleep(owner));
    shards_until(shards, &offsets.done);
    shards_close(shards);
}

static void check_batch_is_taken(struct shards *shards, struct partition_key key)
{
    struct batch_header header;
    struct span batch = shards_batch(20000, &header);
    struct tried tried = {0};
    tried.op.append.batch = batch;
    tried.op.append.header = &header;
    start(shards, &tried, key, PARTITION_APPEND);
    bool here = tried.op.owner == tried.op.home;
    cr_assert_eq(partition_has_taken(&tried.op), here);
    if (here)
        shards_free_batch(batch);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, 0);
    if (!here)
        shards_free_batch(batch);
}

Test(broker, partition_takes_a_batch_of_its_own_shard_at_once)
{
    for_both_places(check_batch_is_taken);
}

static void check_offsets_time_and_trim(struct shards *shards, struct partition_key key)
{
    for (int i = 0; i < 4; i++)
        append(shards, key, 100);
    struct tried tried = {0};
    tried.op.trim.offset = 2;
    start(shards, &tried, key, PARTITION_TRIM);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, 0);
    cr_assert_eq(tried.op.trim.start, 2);
    start(shards, &tried, key, PARTITION_OFFSETS);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.offsets.start, 2);
    cr_assert_eq(tried.op.offsets.committed, 4);
    tried = (struct tried){.op.time.timestamp = 500};
    start(shards, &tried, key, PARTITION_FIND_TIME);
    shards_until(shards, &tried.done);
    cr_assert_eq(tried.op.error, 0);
    cr_assert_eq(tried.op.time.offset, 2);
    cr_assert_eq(tried.op.time.found_timestamp, 1000);
}

Test(broker, partition_offsets_time_and_trim)
{
    for_both_places(check_offsets_time_and_trim);
}

static void check_watch_fires(struct shards *shards, struct partition_key key)
{
    struct tried watch = {0};
    watch.op.watch.op.offset = 1;
    start(shards, &watch, key, PARTITION_WATCH);
    append(shards, key, 10);
    shards_settle(shards);
    cr_assert_not(watch.done, "one record is not more than offset 1");
    append(shards, key, 10);
    shards_until(shards, &watch.done);
    cr_assert_not(watch.op.watch.cancelled);
    cr_assert_eq(watch.op.offsets.committed, 2);
}

Test(broker, partition_watch_fires)
{
    for_both_places(check_watch_fires);
}

static void check_watch_is_cancelled(struct shards *shards, struct partition_key key)
{
    struct tried watch = {0};
    start(shards, &watch, key, PARTITION_WATCH);
    shards_settle(shards);
    cancel(&watch);
    cancel(&watch);
    shards_until(shards, &watch.done);
    cr_assert(watch.op.watch.cancelled);
    append(shards, key, 10);
    shards_settle(shards);
}

Test(broker, partition_watch_is_cancelled)
{
    for_both_places(check_watch_is_cancelled);
}

// At once after its start, when the start itself may still be on its way.
static void check_watch_is_cancelled_at_once(struct shards *shards, struct partition_key key)
{
    struct tried watch = {0};
    start(shards, &watch, key, PARTITION_WATCH);
    cancel(&watch);
    shards_until(shards, &watch.done);
    cr_assert(watch.op.watch.cancelled);
}

Test(broker, partition_watch_is_cancelled_at_once)
{
    for_both_places(check_watch_is_cancelled_at_once);
}

// The watch fires on its owner, and home cancels before it has heard of that.
Test(broker, partition_watch_fires_and_is_cancelled)
{
    struct shards *shards = shards_open(2);
    int32_t number = shard_of_partition(&shards->shard[0], (struct kp_uuid){{1, [15] = 7}}, 0) ==
                             &shards->shard[0]
                         ? 1
                         : 0;
    struct partition_key key = shards_add_partition(shards, 7, number);
    append(shards, key, 10);
    struct tried watch = {0};
    watch.op.watch.op.offset = 0; // there is more already
    start(shards, &watch, key, PARTITION_WATCH);
    for (int i = 0; i < 10; i++)
        shards_turn_one(&shards->shard[1]);
    cr_assert_not(watch.done, "home has not looked yet");
    cancel(&watch);
    shards_until(shards, &watch.done);
    cr_assert_not(watch.op.watch.cancelled, "it had fired before");
    shards_settle(shards);
    shards_close(shards);
}

// Two appends on their way at the same time, and both from the same connection: in order.
static void check_order(struct shards *shards, struct partition_key key)
{
    struct batch_header header;
    struct span batch = shards_batch(100, &header);
    struct tried tried[20];
    memset(tried, 0, sizeof(tried));
    for (int i = 0; i < 20; i++) {
        tried[i].op.append.batch = batch;
        tried[i].op.append.header = &header;
        start(shards, &tried[i], key, PARTITION_APPEND);
    }
    for (int i = 0; i < 20; i++) {
        shards_until(shards, &tried[i].done);
        cr_assert_eq(tried[i].op.append.op.base_offset, i);
    }
    shards_free_batch(batch);
}

Test(broker, partition_appends_keep_their_order)
{
    for_both_places(check_order);
}

enum { HOARD_MAX = 4096 };

struct hoard {
    struct buffer *buffers[HOARD_MAX];
    size_t count;
};

// Takes all memory of a shard.
static void hoard_take(struct hoard *hoard, struct pool *pool)
{
    for (size_t size = 8 << 20; size >= BUFFER_ALIGN; size /= 2) {
        struct buffer *buffer;
        while (hoard->count < HOARD_MAX && (buffer = pool_get(pool, size)) != NULL)
            hoard->buffers[hoard->count++] = buffer;
    }
}

static void hoard_give_back(struct hoard *hoard)
{
    while (hoard->count > 0)
        buffer_unref(hoard->buffers[--hoard->count]);
}

static void check_appends_wait_for_memory(struct shards *shards, struct partition_key key)
{
    struct shard *owner = shard_of_partition(&shards->shard[0], key.topic_id, key.partition);
    struct hoard hoard = {0};
    hoard_take(&hoard, owner->pool);
    struct batch_header header;
    struct span batch = shards_batch(20000, &header);
    struct tried tried[3];
    memset(tried, 0, sizeof(tried));
    for (int i = 0; i < 3; i++) {
        tried[i].op.append.batch = batch;
        tried[i].op.append.header = &header;
        start(shards, &tried[i], key, PARTITION_APPEND);
        cr_assert_not(partition_has_taken(&tried[i].op));
        shards_settle(shards);
        cr_assert_not(tried[i].done);
    }
    hoard_give_back(&hoard);
    for (int i = 0; i < 3; i++) {
        shards_until(shards, &tried[i].done);
        cr_assert_eq(tried[i].op.error, 0);
        cr_assert_eq(tried[i].op.append.op.base_offset, i);
    }
    shards_free_batch(batch);
}

Test(broker, partition_appends_wait_for_memory)
{
    for_both_places(check_appends_wait_for_memory);
}

static bool deleted;

static void note_deleted(struct log_delete *op)
{
    (void)op;
    deleted = true;
}

static void check_delete_with_waiting_appends(struct shards *shards, struct partition_key key)
{
    struct shard *owner = shard_of_partition(&shards->shard[0], key.topic_id, key.partition);
    struct hoard hoard = {0};
    hoard_take(&hoard, owner->pool);
    struct batch_header header;
    struct span batch = shards_batch(20000, &header);
    struct tried tried[3];
    memset(tried, 0, sizeof(tried));
    for (int i = 0; i < 3; i++) {
        tried[i].op.append.batch = batch;
        tried[i].op.append.header = &header;
        start(shards, &tried[i], key, PARTITION_APPEND);
        // The last one has only just been refused when the partition goes.
        if (i < 2)
            shards_settle(shards);
    }
    struct message *message = mailbox_take(&owner->mailbox);
    if (message)
        message->deliver(owner, message);
    struct log_delete op = {.done = note_deleted};
    deleted = false;
    partition_delete(owner, partition_find(owner, key.topic_id, key.partition), &op);
    for (int i = 0; i < 3; i++) {
        shards_until(shards, &tried[i].done);
        cr_assert_eq(tried[i].op.error, -ESHUTDOWN);
    }
    shards_until(shards, &deleted);
    hoard_give_back(&hoard);
    shards_free_batch(batch);
}

Test(broker, partition_deleted_while_appends_wait)
{
    for_both_places(check_delete_with_waiting_appends);
}
