// SPDX-License-Identifier: Apache-2.0
// Topics for tests of the data path, and requests to them as bytes, by way of the generated codecs.
#pragma once

#include "broker/catalog.h"
#include "gen/kp_fetch.h"
#include "gen/kp_produce.h"
#include "tests/unit/broker_peer.h"

enum { TOPIC_PARTITIONS = 4 };

struct topics {
    struct shards *shards;
    struct peer *peer;
    struct catalog catalog;
    struct catalog_topic topic;
    struct arena arena; // of requests and replies
    int32_t correlation;
    size_t read_to; // in the peer's bytes
};

// Topic 1, called "topic-1", with partitions on both shards.
static inline struct topics *topics_open(void)
{
    struct topics *t = calloc(1, sizeof(*t));
    t->shards = shards_open(2);
    for (int32_t i = 0; i < TOPIC_PARTITIONS; i++)
        shards_add_partition(t->shards, 1, i);
    t->topic = (struct catalog_topic){
        .name = "topic-1",
        .id = {{[0] = 1, [15] = 1}},
        .partition_count = TOPIC_PARTITIONS,
        .effective = {.max_message_bytes = 1 << 20,
                      .timestamp_before_max_ms = INT64_MAX,
                      .timestamp_after_max_ms = 3600000},
    };
    map_init(&t->catalog.by_name);
    map_init(&t->catalog.by_id);
    cr_assert_eq(map_put(&t->catalog.by_name, span_text(t->topic.name), &t->topic), 0);
    cr_assert_eq(map_put(&t->catalog.by_id, span_of(t->topic.id.bytes, 16), &t->topic), 0);
    for (uint32_t i = 0; i < 2; i++)
        t->shards->shard[i].catalog = &t->catalog;
    t->peer = peer_open(t->shards);
    t->peer->connection->proven = true;
    arena_init(&t->arena, 64 << 20);
    return t;
}

static inline void topics_close(struct topics *t)
{
    peer_close(t->peer);
    shards_close(t->shards);
    map_free(&t->catalog.by_name);
    map_free(&t->catalog.by_id);
    arena_free(&t->arena);
    free(t);
}

static inline struct kp_writer topics_begin(struct topics *t, int16_t key, int16_t version)
{
    struct kp_writer writer;
    kp_writer_init(&writer, &t->arena);
    kp_frame_begin(&writer);
    struct kp_request_header header = {
        .api_key = key, .api_version = version, .correlation_id = ++t->correlation};
    kp_request_header_write(&writer, &header);
    return writer;
}

static inline void topics_send(struct topics *t, struct kp_writer *writer)
{
    kp_frame_end(writer, 0);
    struct iovec *vectors;
    int count = kp_writer_vectors(writer, &vectors);
    cr_assert_geq(count, 0);
    size_t total = kp_writer_total(writer), at = 0;
    uint8_t *whole = arena_raw(&t->arena, total);
    for (int i = 0; i < count; i++) {
        memcpy(whole + at, vectors[i].iov_base, vectors[i].iov_len);
        at += vectors[i].iov_len;
    }
    peer_write(t->peer, whole, total);
}

static inline bool topics_has_reply(const struct topics *t)
{
    return t->peer->size > t->read_to;
}

// The body of the next reply, which must be there.
static inline struct kp_reader topics_reply(struct topics *t, int16_t key, int16_t version)
{
    for (int i = 0; i < SHARDS_SETTLES && !topics_has_reply(t); i++)
        peer_settle(t->peer);
    cr_assert(topics_has_reply(t), "there is no reply");
    const uint8_t *at = t->peer->received + t->read_to;
    size_t size = load_be32(at);
    t->read_to += 4 + size;
    cr_assert_leq(t->read_to, t->peer->size);
    struct kp_reader reader = kp_reader_init(at + 4, size);
    int32_t correlation;
    cr_assert_eq(kp_response_header_read(&reader, kp_api_find(key), version, &correlation), 0);
    cr_assert_eq(correlation, t->correlation);
    return reader;
}

// --- Produce ----------------------------------------------------------------------------------

enum { PRODUCE_VERSION = 13, FETCH_VERSION = 13 };

static inline void topics_send_batch(struct topics *t, int32_t partition, struct span batch,
                                     int16_t acks)
{
    struct kp_produce_request_partition part = {
        .index = partition,
        .records = {.slice_count = 1, .size = (int64_t)batch.size},
    };
    union {
        const uint8_t *from;
        void *base;
    } bytes = {.from = batch.data};
    part.records.one = (struct iovec){.iov_base = bytes.base, .iov_len = batch.size};
    part.records.slices = &part.records.one;
    struct kp_produce_request_topic topic = {
        .topic_id = t->topic.id, .partition_data = &part, .partition_data_count = 1};
    struct kp_produce_request in;
    kp_produce_request_init(&in);
    in.acks = acks;
    in.topic_data = &topic;
    in.topic_data_count = 1;
    struct kp_writer writer = topics_begin(t, KP_PRODUCE_KEY, PRODUCE_VERSION);
    kp_produce_request_encode(&writer, PRODUCE_VERSION, &in);
    topics_send(t, &writer);
}

static inline struct kp_produce_response_partition topics_produced(struct topics *t)
{
    struct kp_reader reader = topics_reply(t, KP_PRODUCE_KEY, PRODUCE_VERSION);
    struct kp_produce_response out;
    cr_assert_eq(kp_produce_response_decode(&reader, PRODUCE_VERSION, &t->arena, &out), 0);
    return out.responses[0].partition_responses[0];
}

// One record of `size` bytes, acknowledged; its offset.
static inline int64_t topics_produce(struct topics *t, int32_t partition, size_t size)
{
    struct batch_header header;
    struct span batch = shards_batch(size, &header);
    topics_send_batch(t, partition, batch, -1);
    shards_free_batch(batch);
    struct kp_produce_response_partition out = topics_produced(t);
    cr_assert_eq(out.error_code, 0);
    return out.base_offset;
}
