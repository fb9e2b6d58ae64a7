// SPDX-License-Identifier: Apache-2.0
// Fetch sessions through a connection, over two shards.
#include "gen/kp_apis.h"
#include "protocol/error.h"
#include "tests/unit/broker_peer_topics.h"

enum { NONE = -1 };

struct session {
    struct topics *t;
    int32_t id;
    int32_t epoch;
    int16_t version;
    int32_t max_wait_ms;
    int32_t max_bytes;
};

// Asks for partitions `from` and on, from offset `offset`, and forgets one.
static void ask(struct session *s, int32_t from, int32_t count, int64_t offset, int32_t forgotten)
{
    struct kp_fetch_request_partition parts[TOPIC_PARTITIONS];
    for (int32_t i = 0; i < count; i++) {
        kp_fetch_request_partition_init(&parts[i]);
        parts[i].partition = from + i;
        parts[i].fetch_offset = offset;
        parts[i].partition_max_bytes = 1 << 20;
    }
    struct span name = span_text(s->t->topic.name);
    struct kp_fetch_request_topic topic = {
        .topic = name, .topic_id = s->t->topic.id, .partitions = parts, .partitions_count = count};
    struct kp_fetch_request_forgotten_topic gone = {
        .topic = name, .topic_id = s->t->topic.id, .partitions = &forgotten, .partitions_count = 1};
    struct kp_fetch_request in;
    kp_fetch_request_init(&in);
    in.max_wait_ms = s->max_wait_ms;
    in.min_bytes = 1;
    in.max_bytes = s->max_bytes;
    in.session_id = s->id;
    in.session_epoch = s->epoch;
    in.topics = &topic;
    in.topics_count = count > 0;
    in.forgotten_topics_data = &gone;
    in.forgotten_topics_data_count = forgotten != NONE;
    in.rack_id = span_text("");
    struct kp_writer writer = topics_begin(s->t, KP_FETCH_KEY, s->version);
    kp_fetch_request_encode(&writer, s->version, &in);
    topics_send(s->t, &writer);
}

static struct kp_fetch_response *answer(struct session *s)
{
    struct kp_reader reader = topics_reply(s->t, KP_FETCH_KEY, s->version);
    struct kp_fetch_response *out = arena_alloc(&s->t->arena, sizeof(*out));
    cr_assert_eq(kp_fetch_response_decode(&reader, s->version, &s->t->arena, out), 0);
    return out;
}

// An answer with these partitions, in this order.
static struct kp_fetch_response *expect(struct session *s, int32_t count, const int32_t *parts)
{
    struct kp_fetch_response *out = answer(s);
    cr_assert_eq(out->error_code, 0);
    cr_assert_eq(out->session_id, s->id);
    cr_assert_eq(out->responses_count, count > 0);
    for (int32_t i = 0; i < count; i++) {
        cr_assert_eq(out->responses[0].partitions_count, count);
        cr_assert_eq(out->responses[0].partitions[i].partition_index, parts[i]);
    }
    s->epoch++;
    return out;
}

// With all partitions, from their start.
static struct session open_session(int16_t version)
{
    struct session s = {
        .t = topics_open(), .version = version, .max_bytes = 50 << 20, .max_wait_ms = 0};
    ask(&s, 0, TOPIC_PARTITIONS, 0, NONE);
    struct kp_fetch_response *out = answer(&s);
    cr_assert_eq(out->error_code, 0);
    cr_assert_gt(out->session_id, 0);
    cr_assert_eq(out->responses[0].partitions_count, TOPIC_PARTITIONS);
    s.id = out->session_id;
    s.epoch = 1;
    return s;
}

Test(broker, fetch_session_answers_with_news)
{
    static const int16_t versions[] = {7, 12, 13, 16};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct session s = open_session(versions[i]);
        ask(&s, 0, 0, 0, NONE);
        expect(&s, 0, NULL);
        topics_produce(s.t, 2, 100);
        topics_produce(s.t, 1, 100);
        ask(&s, 0, 0, 0, NONE);
        struct kp_fetch_response *out = expect(&s, 2, (int32_t[]){1, 2});
        cr_assert_gt(out->responses[0].partitions[0].records.size, 100);
        cr_assert_eq(out->responses[0].partitions[1].high_watermark, 1);
        // One goes on, the other is forgotten.
        ask(&s, 1, 1, 1, 2);
        expect(&s, 0, NULL);
        // At once, an error too.
        ask(&s, 3, 1, 99, NONE);
        out = expect(&s, 1, (int32_t[]){3});
        cr_assert_eq(out->responses[0].partitions[0].error_code, KP_ERROR_OFFSET_OUT_OF_RANGE);
        ask(&s, 3, 1, 0, NONE);
        expect(&s, 1, (int32_t[]){3});
        topics_close(s.t);
    }
}

Test(broker, fetch_session_waits_for_partitions_it_remembers)
{
    struct session s = open_session(FETCH_VERSION);
    s.max_wait_ms = 60000;
    ask(&s, 0, 0, 0, NONE);
    cr_assert_not(topics_has_reply(s.t));
    struct peer *waiting = s.t->peer;
    size_t waiting_at = s.t->read_to;
    int32_t asked = s.t->correlation;
    struct peer *other = peer_open(s.t->shards);
    other->connection->proven = true;
    s.t->peer = other;
    s.t->read_to = 0;
    // The session is in use.
    struct session thief = s;
    ask(&thief, 0, 0, 0, NONE);
    cr_assert_eq(answer(&thief)->error_code, KP_ERROR_INVALID_FETCH_SESSION_EPOCH);
    topics_produce(s.t, 3, 100);
    close(other->fd);
    free(other->received);
    free(other);
    s.t->peer = waiting;
    s.t->read_to = waiting_at;
    s.t->correlation = asked;
    expect(&s, 1, (int32_t[]){3});
    topics_close(s.t);
}

// A session closed by another connection while a fetch of it waits, whose client then goes.
Test(broker, fetch_session_is_closed_while_it_waits)
{
    struct session s = open_session(FETCH_VERSION);
    s.max_wait_ms = 60000;
    ask(&s, 0, 0, 0, NONE);
    struct peer *waiting = s.t->peer;
    struct peer *other = peer_open(s.t->shards);
    other->connection->proven = true;
    s.t->peer = other;
    s.t->read_to = 0;
    s.epoch = -1;
    ask(&s, 0, 0, 0, NONE);
    struct kp_fetch_response *out = answer(&s);
    cr_assert_eq(out->error_code, 0);
    cr_assert_eq(out->session_id, 0);
    cr_assert_eq(s.t->shards->shard[0].fetch_sessions->count, 1);
    close(waiting->fd);
    free(waiting->received);
    free(waiting);
    peer_settle(other);
    cr_assert_eq(s.t->shards->shard[0].fetch_sessions->count, 0);
    topics_close(s.t);
}

// With room for one batch at a time every partition has its turn.
Test(broker, fetch_session_takes_turns)
{
    struct session s = open_session(FETCH_VERSION);
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++)
        topics_produce(s.t, i, 1000);
    s.max_bytes = 1;
    bool had[TOPIC_PARTITIONS] = {0};
    for (int32_t n = 0; n < TOPIC_PARTITIONS; n++) {
        ask(&s, 0, 0, 0, NONE); // from the same offsets, again and again
        struct kp_fetch_response *out = answer(&s);
        s.epoch++;
        for (int32_t i = 0; i < out->responses[0].partitions_count; i++) {
            struct kp_fetch_response_partition *part = &out->responses[0].partitions[i];
            if (part->records.size > 0)
                had[part->partition_index] = true;
        }
    }
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++)
        cr_assert(had[i], "partition %d had no turn", i);
    topics_close(s.t);
}

Test(broker, fetch_session_errors_are_for_the_whole_answer)
{
    struct session s = open_session(FETCH_VERSION);
    int32_t id = s.id;
    static const struct {
        int32_t id, epoch;
        int16_t version, error;
    } cases[] = {
        {1, 2, FETCH_VERSION, KP_ERROR_INVALID_FETCH_SESSION_EPOCH},
        {1, -7, FETCH_VERSION, KP_ERROR_INVALID_FETCH_SESSION_EPOCH},
        {0, 1, FETCH_VERSION, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND},
        {-1, 1, FETCH_VERSION, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND},
        {1, 1, 12, KP_ERROR_FETCH_SESSION_TOPIC_ID_ERROR},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        s.id = id * cases[i].id;
        s.epoch = cases[i].epoch;
        s.version = cases[i].version;
        ask(&s, 0, 1, 0, NONE);
        struct kp_fetch_response *out = answer(&s);
        cr_assert_eq(out->error_code, cases[i].error);
        cr_assert_eq(out->session_id, 0);
        cr_assert_eq(out->responses_count, 0);
    }
    // None of this has harmed it.
    s.id = id;
    s.epoch = 1;
    s.version = FETCH_VERSION;
    ask(&s, 0, 0, 0, NONE);
    expect(&s, 0, NULL);
    topics_close(s.t);
}

// A client that takes no part in it.
Test(broker, fetch_without_a_session_opens_none)
{
    struct session s = {
        .t = topics_open(), .version = FETCH_VERSION, .epoch = -1, .max_bytes = 1 << 20};
    ask(&s, 0, TOPIC_PARTITIONS, 0, NONE);
    expect(&s, TOPIC_PARTITIONS, (int32_t[]){0, 1, 2, 3});
    cr_assert_null(s.t->shards->shard[0].fetch_sessions);
    topics_close(s.t);
}
