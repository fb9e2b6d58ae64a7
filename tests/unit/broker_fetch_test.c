// SPDX-License-Identifier: Apache-2.0
// Fetch over two shards, through a connection: waiting, limits, errors, ends.
#include "gen/kp_apis.h"
#include "protocol/error.h"
#include "tests/unit/broker_peer_topics.h"

struct wanted {
    int32_t max_wait_ms;
    int32_t min_bytes;
    int32_t max_bytes;
    int32_t partition_max_bytes;
    int64_t offsets[TOPIC_PARTITIONS];
    int32_t partitions;
};

static const struct wanted anything = {.max_wait_ms = 60000,
                                       .min_bytes = 1,
                                       .max_bytes = 50 << 20,
                                       .partition_max_bytes = 1 << 20,
                                       .partitions = TOPIC_PARTITIONS};

static void ask(struct topics *t, const struct wanted *wanted, struct kp_uuid id)
{
    struct kp_fetch_request_partition parts[TOPIC_PARTITIONS];
    for (int32_t i = 0; i < wanted->partitions; i++) {
        kp_fetch_request_partition_init(&parts[i]);
        parts[i].partition = i;
        parts[i].fetch_offset = wanted->offsets[i];
        parts[i].partition_max_bytes = wanted->partition_max_bytes;
    }
    struct kp_fetch_request_topic topic = {
        .topic_id = id, .partitions = parts, .partitions_count = wanted->partitions};
    struct kp_fetch_request in;
    kp_fetch_request_init(&in);
    in.max_wait_ms = wanted->max_wait_ms;
    in.min_bytes = wanted->min_bytes;
    in.max_bytes = wanted->max_bytes;
    in.topics = &topic;
    in.topics_count = 1;
    in.rack_id = span_text("");
    struct kp_writer writer = topics_begin(t, KP_FETCH_KEY, FETCH_VERSION);
    kp_fetch_request_encode(&writer, FETCH_VERSION, &in);
    topics_send(t, &writer);
}

static struct kp_fetch_response_partition *answer(struct topics *t)
{
    struct kp_reader reader = topics_reply(t, KP_FETCH_KEY, FETCH_VERSION);
    struct kp_fetch_response *out = arena_alloc(&t->arena, sizeof(*out));
    cr_assert_eq(kp_fetch_response_decode(&reader, FETCH_VERSION, &t->arena, out), 0);
    cr_assert_eq(out->error_code, 0);
    cr_assert_eq(out->session_id, 0);
    return out->responses[0].partitions;
}

// Offset of the first batch.
static int64_t first_offset(const struct kp_fetch_response_partition *part)
{
    struct batch_header header;
    struct span bytes = span_of(part->records.slices[0].iov_base, (size_t)part->records.size);
    cr_assert_eq(batch_check(bytes, &header), BATCH_OK);
    return header.base_offset;
}

Test(broker, fetch_gives_what_is_there_at_once)
{
    struct topics *t = topics_open();
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++) {
        for (int32_t n = 0; n <= i; n++)
            cr_assert_eq(topics_produce(t, i, 100), n);
    }
    struct wanted wanted = anything;
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++)
        wanted.offsets[i] = i; // the last record of each
    ask(t, &wanted, t->topic.id);
    struct kp_fetch_response_partition *parts = answer(t);
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++) {
        cr_assert_eq(parts[i].error_code, 0);
        cr_assert_eq(parts[i].high_watermark, i + 1);
        cr_assert_eq(parts[i].last_stable_offset, i + 1);
        cr_assert_eq(parts[i].log_start_offset, 0);
        cr_assert_eq(first_offset(&parts[i]), i);
    }
    topics_close(t);
}

Test(broker, fetch_waits_for_any_of_its_partitions)
{
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++) {
        struct topics *t = topics_open();
        ask(t, &anything, t->topic.id);
        cr_assert_not(topics_has_reply(t));
        // Somebody else's connection.
        struct peer *waiting = t->peer;
        size_t waiting_at = t->read_to;
        int32_t asked = t->correlation;
        struct peer *other = peer_open(t->shards);
        other->connection->proven = true;
        t->peer = other;
        t->read_to = 0;
        topics_produce(t, i, 100);
        close(other->fd);
        free(other->received);
        free(other);
        t->peer = waiting;
        t->read_to = waiting_at;
        t->correlation = asked;
        struct kp_fetch_response_partition *parts = answer(t);
        for (int32_t n = 0; n < TOPIC_PARTITIONS; n++) {
            cr_assert_eq(parts[n].error_code, 0);
            cr_assert_eq(parts[n].records.size > 0, n == i);
            cr_assert_eq(parts[n].high_watermark, n == i);
        }
        topics_close(t);
    }
}

Test(broker, fetch_answers_with_nothing_when_time_is_over)
{
    struct topics *t = topics_open();
    topics_produce(t, 2, 100);
    struct wanted wanted = anything;
    wanted.offsets[2] = 1;
    wanted.max_wait_ms = 0;
    ask(t, &wanted, t->topic.id);
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_eq(parts[2].records.size, 0);
    cr_assert_eq(parts[2].high_watermark, 1);
    topics_close(t);
}

// Too little is no reason to answer before the time, and every reason then.
Test(broker, fetch_waits_for_min_bytes)
{
    struct topics *t = topics_open();
    topics_produce(t, 0, 100);
    topics_produce(t, 1, 100);
    struct wanted wanted = anything;
    wanted.min_bytes = 5000;
    ask(t, &wanted, t->topic.id);
    peer_settle(t->peer);
    cr_assert_not(topics_has_reply(t));
    shards_pass_time(t->shards, 60001);
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_eq(first_offset(&parts[0]), 0);
    cr_assert_eq(first_offset(&parts[1]), 0);
    topics_close(t);
}

// KIP-74: at least one batch, and otherwise the limits.
Test(broker, fetch_keeps_to_its_limits)
{
    struct topics *t = topics_open();
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++) {
        topics_produce(t, i, 5000);
        topics_produce(t, i, 5000);
    }
    struct wanted wanted = anything;
    wanted.partition_max_bytes = 10;
    ask(t, &wanted, t->topic.id);
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_gt(parts[0].records.size, 5000);
    cr_assert_lt(parts[0].records.size, 10000);
    for (int32_t i = 1; i < TOPIC_PARTITIONS; i++) {
        cr_assert_eq(parts[i].records.size, 0);
        cr_assert_eq(parts[i].error_code, 0);
        cr_assert_eq(parts[i].high_watermark, 2);
    }
    wanted = anything;
    wanted.max_bytes = 12000; // two batches, not three
    ask(t, &wanted, t->topic.id);
    parts = answer(t);
    int64_t total = 0;
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++) {
        total += parts[i].records.size;
        cr_assert_eq(parts[i].high_watermark, 2);
    }
    cr_assert_gt(total, 10000);
    cr_assert_leq(total, 12000);
    topics_close(t);
}

Test(broker, fetch_tells_errors_at_once)
{
    struct topics *t = topics_open();
    struct wanted wanted = anything;
    wanted.offsets[3] = 1;
    ask(t, &wanted, t->topic.id);
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_eq(parts[2].error_code, 0);
    cr_assert_eq(parts[3].error_code, KP_ERROR_OFFSET_OUT_OF_RANGE);
    ask(t, &anything, (struct kp_uuid){{9}});
    parts = answer(t);
    cr_assert_eq(parts[0].error_code, KP_ERROR_UNKNOWN_TOPIC_ID);
    t->topic.partition_count = 2;
    ask(t, &anything, t->topic.id);
    parts = answer(t);
    cr_assert_eq(parts[1].error_code, 0);
    cr_assert_eq(parts[2].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    topics_close(t);
}

static bool gone;

static void note_gone(struct log_delete *op)
{
    (void)op;
    gone = true;
}

// The catalog may know of a partition that its shard has just dropped.
Test(broker, fetch_of_a_partition_that_is_gone)
{
    struct topics *t = topics_open();
    t->topic.partition_count = TOPIC_PARTITIONS + 1;
    struct wanted wanted = anything;
    ask(t, &wanted, t->topic.id);
    struct partition_key key = {.topic_id = t->topic.id, .partition = 3};
    struct shard *owner = shard_of_partition(&t->shards->shard[0], key.topic_id, 3);
    struct log_delete *op = calloc(1, sizeof(*op));
    op->done = note_gone;
    gone = false;
    partition_delete(owner, partition_find(owner, key.topic_id, 3), op);
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_eq(parts[0].error_code, 0);
    cr_assert_eq(parts[3].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    shards_until(t->shards, &gone);
    free(op);
    topics_close(t);
}

// A client that goes while it waits leaves nothing behind; topics_close checks that.
Test(broker, fetch_of_a_client_that_goes)
{
    struct topics *t = topics_open();
    ask(t, &anything, t->topic.id);
    cr_assert_not(topics_has_reply(t));
    cr_assert_eq(t->peer->connection->in_flight, 1);
    topics_close(t);
}

// The next request of the connection waits, as with Apache Kafka's broker.
Test(broker, fetch_holds_back_the_requests_behind_it)
{
    struct topics *t = topics_open();
    ask(t, &anything, t->topic.id);
    struct wanted wanted = anything;
    wanted.max_wait_ms = 0;
    ask(t, &wanted, t->topic.id);
    cr_assert_eq(t->peer->connection->in_flight, 1);
    shards_pass_time(t->shards, 60001);
    t->correlation--;
    answer(t);
    t->correlation++;
    answer(t);
    topics_close(t);
}

static bool drained;

static void note_drained(struct shard *shard)
{
    (void)shard;
    drained = true;
}

Test(broker, fetch_that_waits_is_answered_when_the_broker_stops)
{
    struct topics *t = topics_open();
    ask(t, &anything, t->topic.id);
    drained = false;
    listener_stop(t->shards->shard[0].listener, note_drained);
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_eq(parts[0].records.size, 0);
    peer_settle(t->peer);
    cr_assert(drained);
    cr_assert(t->peer->closed);
    topics_close(t);
}

// With no room for replies nothing is read, and the client is told so late.
Test(broker, fetch_gives_nothing_while_replies_use_all_their_memory)
{
    struct topics *t = topics_open();
    topics_produce(t, 0, 100);
    struct listener *listener = t->shards->shard[0].listener;
    size_t limit = listener->reply_bytes_limit;
    listener->reply_bytes_limit = 0;
    ask(t, &anything, t->topic.id);
    peer_settle(t->peer);
    cr_assert_not(topics_has_reply(t));
    listener->reply_bytes_limit = limit;
    struct kp_fetch_response_partition *parts = answer(t);
    cr_assert_eq(first_offset(&parts[0]), 0);
    topics_close(t);
}
