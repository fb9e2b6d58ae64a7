// SPDX-License-Identifier: Apache-2.0
// What Produce takes and what it refuses, on both shards.
#include "base/crc32c.h"
#include "gen/kp_apis.h"
#include "protocol/error.h"
#include "tests/unit/broker_peer_topics.h"

// A batch that the test has changed, with a CRC that fits again.
struct changed {
    uint8_t bytes[4096];
    size_t size;
};

static struct changed make_batch(void)
{
    struct changed batch;
    struct batch_header header;
    struct span made = shards_batch(100, &header);
    memcpy(batch.bytes, made.data, made.size);
    batch.size = made.size;
    shards_free_batch(made);
    return batch;
}

static int16_t produce(struct topics *t, struct changed *batch)
{
    if (batch->size > 21)
        store_be32(batch->bytes + 17, crc32c(0, batch->bytes + 21, batch->size - 21));
    topics_send_batch(t, 1, span_of(batch->bytes, batch->size), -1);
    return topics_produced(t).error_code;
}

Test(broker, produce_gives_offsets)
{
    struct topics *t = topics_open();
    for (int32_t partition = 0; partition < TOPIC_PARTITIONS; partition++) {
        for (int64_t i = 0; i < 3; i++)
            cr_assert_eq(topics_produce(t, partition, 100), i);
    }
    topics_close(t);
}

Test(broker, produce_refuses_batches_that_claim_too_much)
{
    struct topics *t = topics_open();
    struct changed batch = make_batch();
    cr_assert_eq(produce(t, &batch), 0);
    store_be16(batch.bytes + 21, BATCH_CONTROL);
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_RECORD);
    store_be16(batch.bytes + 21, BATCH_LOG_APPEND_TIME);
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_TIMESTAMP);
    store_be16(batch.bytes + 21, BATCH_TRANSACTIONAL);
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_PRODUCER_ID_MAPPING);
    store_be16(batch.bytes + 21, 7);
    cr_assert_eq(produce(t, &batch), KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE);
    store_be16(batch.bytes + 21, 0);
    store_be64(batch.bytes + 43, 4000); // producer id
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_RECORD, "it has no sequence number");
    topics_close(t);
}

Test(broker, produce_refuses_more_than_one_batch_and_none)
{
    struct topics *t = topics_open();
    struct changed batch = make_batch();
    struct changed two = batch;
    memcpy(two.bytes + batch.size, batch.bytes, batch.size);
    two.size = batch.size * 2;
    topics_send_batch(t, 1, span_of(two.bytes, two.size), -1);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_INVALID_RECORD);
    topics_send_batch(t, 1, span_of(two.bytes, 0), -1);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_INVALID_RECORD);
    batch.bytes[batch.size - 1] ^= 1;
    topics_send_batch(t, 1, span_of(batch.bytes, batch.size), -1);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_CORRUPT_MESSAGE);
    t->topic.effective.max_message_bytes = (int64_t)batch.size - 1;
    topics_send_batch(t, 1, span_of(batch.bytes, batch.size), -1);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_MESSAGE_TOO_LARGE);
    topics_close(t);
}

Test(broker, produce_checks_timestamps)
{
    struct topics *t = topics_open();
    int64_t now = t->shards->shard[0].io->wall_ms;
    struct changed batch = make_batch();
    store_be64(batch.bytes + 35, (uint64_t)(now + 7200000));
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_TIMESTAMP);
    store_be64(batch.bytes + 35, (uint64_t)INT64_MAX);
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_TIMESTAMP);
    store_be64(batch.bytes + 35, (uint64_t)(now + 1800000));
    cr_assert_eq(produce(t, &batch), 0);
    t->topic.effective.timestamp_before_max_ms = 1000;
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_TIMESTAMP, "its base timestamp is of 1970");
    store_be64(batch.bytes + 27, (uint64_t)-1);
    store_be64(batch.bytes + 35, (uint64_t)-1);
    cr_assert_eq(produce(t, &batch), 0, "a producer need not give a time");
    topics_close(t);
}

static void send_built(struct topics *t, struct batch_builder *builder, enum batch_codec codec)
{
    struct batch_scratch scratch = {0};
    struct span batch;
    struct batch_producer nobody = {.id = -1, .epoch = -1, .base_sequence = -1};
    cr_assert_eq(batch_builder_finish(builder, codec, 0, nobody, &scratch, &batch), BATCH_OK);
    topics_send_batch(t, 1, batch, -1);
    free(scratch.data);
    batch_builder_free(builder);
}

static void send_times(struct topics *t, const int64_t *timestamps, int count,
                       enum batch_codec codec)
{
    struct batch_builder builder;
    batch_builder_init(&builder, 1 << 20);
    for (int i = 0; i < count; i++)
        batch_builder_add(&builder, timestamps[i], (struct span){0}, span_text("v"), NULL, 0);
    send_built(t, &builder, codec);
}

Test(broker, produce_names_the_records_whose_timestamps_are_refused)
{
    struct topics *t = topics_open();
    int64_t now = t->shards->shard[0].io->wall_ms;
    t->topic.effective.timestamp_before_max_ms = 60000;
    int64_t mixed[] = {now, now - 3600000, now + 10, now + 86400000, now - 120000};
    for (enum batch_codec codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        send_times(t, mixed, 5, codec);
        struct kp_produce_response_partition out = topics_produced(t);
        cr_assert_eq(out.error_code, KP_ERROR_INVALID_TIMESTAMP);
        cr_assert_eq(out.record_errors_count, 3);
        cr_assert_eq(out.record_errors[0].batch_index, 1);
        cr_assert_eq(out.record_errors[1].batch_index, 3);
        cr_assert_eq(out.record_errors[2].batch_index, 4);
        cr_assert_gt(out.record_errors[0].batch_index_error_message.size, 20);
    }
    int64_t early_inside[] = {now, now - 3600000, now};
    send_times(t, early_inside, 3, CODEC_NONE);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_INVALID_TIMESTAMP);
    int64_t fine[] = {now, now - 50000, now + 1000};
    send_times(t, fine, 3, CODEC_LZ4);
    cr_assert_eq(topics_produced(t).error_code, 0);
    topics_close(t);
}

static void nothing_more(struct log_read *read)
{
    (void)read;
}

Test(broker, produce_with_append_time)
{
    struct topics *t = topics_open();
    t->topic.effective.log_append_time = true;
    struct changed batch = make_batch();
    topics_send_batch(t, 1, span_of(batch.bytes, batch.size), -1);
    struct kp_produce_response_partition out = topics_produced(t);
    cr_assert_eq(out.error_code, 0);
    cr_assert_gt(out.log_append_time_ms, 1600000000000);
    struct partition_key key = {.topic_id = t->topic.id, .partition = 1};
    struct shard *owner = shard_of_partition(&t->shards->shard[0], key.topic_id, 1);
    struct log_read read = {.done = nothing_more, .max_bytes = 4096};
    log_read(partition_find(owner, key.topic_id, 1)->log, &read);
    shards_settle(t->shards);
    cr_assert_eq(read.slice_count, 1);
    struct batch_header header;
    cr_assert_eq(batch_check(span_of(read.slices[0].iov_base, read.slices[0].iov_len), &header),
                 BATCH_OK, "the CRC fits what is stored");
    cr_assert_eq(header.max_timestamp, out.log_append_time_ms);
    cr_assert(header.attributes & BATCH_LOG_APPEND_TIME);
    log_read_release(&read);
    topics_close(t);
}

// What is stored in partition 1 at `offset`; the caller releases it.
static struct span read_stored(struct topics *t, int64_t offset, struct log_read *read)
{
    struct shard *owner = shard_of_partition(&t->shards->shard[0], t->topic.id, 1);
    *read = (struct log_read){.done = nothing_more, .offset = offset, .max_bytes = 1 << 20};
    log_read(partition_find(owner, t->topic.id, 1)->log, read);
    shards_settle(t->shards);
    cr_assert_eq(read->slice_count, 1);
    return span_of(read->slices[0].iov_base, read->slices[0].iov_len);
}

Test(broker, produce_stores_in_the_topics_compression)
{
    struct topics *t = topics_open();
    int64_t now = t->shards->shard[0].io->wall_ms;
    int64_t times[200];
    for (int i = 0; i < 200; i++)
        times[i] = now + i;
    t->topic.effective.recoded = true;
    int64_t offset = 0;
    for (enum batch_codec wanted = CODEC_NONE; wanted <= CODEC_ZSTD; wanted++) {
        t->topic.effective.codec = wanted;
        t->topic.effective.log_append_time = wanted == CODEC_GZIP;
        for (enum batch_codec sent = CODEC_NONE; sent <= CODEC_ZSTD; sent++, offset += 200) {
            send_times(t, times, 200, sent);
            struct kp_produce_response_partition out = topics_produced(t);
            cr_assert_eq(out.error_code, 0);
            cr_assert_eq(out.base_offset, offset);
            struct log_read read;
            struct batch_header header;
            struct batch_facts facts;
            struct span stored = read_stored(t, offset, &read);
            cr_assert_eq(batch_check(stored, &header), BATCH_OK);
            cr_expect_eq(header.attributes & BATCH_CODEC_MASK, wanted);
            cr_expect_eq(header.base_offset, offset);
            cr_expect_eq(!(header.attributes & BATCH_LOG_APPEND_TIME), wanted != CODEC_GZIP);
            cr_assert_eq(batch_validate_records(stored, &t->arena, 1 << 20, false, &facts),
                         BATCH_OK);
            cr_expect_eq(facts.record_count, 200);
            log_read_release(&read);
        }
    }
    topics_close(t);
}

Test(broker, produce_refuses_what_the_topics_compression_makes_too_large)
{
    struct topics *t = topics_open();
    int64_t times[2000];
    for (int i = 0; i < 2000; i++)
        times[i] = t->shards->shard[0].io->wall_ms;
    t->topic.effective.recoded = true;
    t->topic.effective.codec = CODEC_NONE;
    t->topic.effective.max_message_bytes = 2000;
    send_times(t, times, 2000, CODEC_ZSTD);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_MESSAGE_TOO_LARGE);
    struct changed batch = make_batch();
    store_be16(batch.bytes + 21, CODEC_LZ4);
    cr_assert_eq(produce(t, &batch), KP_ERROR_CORRUPT_MESSAGE, "it does not inflate");
    topics_close(t);
}

Test(broker, produce_to_a_compacted_topic_needs_keys)
{
    struct topics *t = topics_open();
    t->topic.effective.compacted = true;
    struct changed batch = make_batch(); // its record has none
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_RECORD);
    topics_close(t);
}

// Records of which every third has no key.
static void send_mixed_keys(struct topics *t, int count, enum batch_codec codec)
{
    struct batch_builder builder;
    batch_builder_init(&builder, 1 << 20);
    for (int i = 0; i < count; i++)
        batch_builder_add(&builder, 1, i % 3 ? span_text("k") : (struct span){0}, span_text("v"),
                          NULL, 0);
    send_built(t, &builder, codec);
}

Test(broker, produce_names_the_records_that_have_no_key)
{
    struct topics *t = topics_open();
    t->topic.effective.compacted = true;
    for (enum batch_codec codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        send_mixed_keys(t, 7, codec);
        struct kp_produce_response_partition out = topics_produced(t);
        cr_assert_eq(out.error_code, KP_ERROR_INVALID_RECORD);
        cr_assert_eq(out.record_errors_count, 3);
        for (int i = 0; i < 3; i++) {
            cr_expect_eq(out.record_errors[i].batch_index, i * 3);
            cr_expect_gt(out.record_errors[i].batch_index_error_message.size, 20);
        }
    }
    send_mixed_keys(t, 2000, CODEC_LZ4);
    cr_assert_eq(topics_produced(t).record_errors_count, 500, "an answer has a bound");
    topics_close(t);
}

Test(broker, produce_to_internal_topics_is_refused)
{
    struct topics *t = topics_open();
    t->topic.internal = true;
    struct changed batch = make_batch();
    cr_assert_eq(produce(t, &batch), KP_ERROR_INVALID_TOPIC_EXCEPTION);
    topics_close(t);
}

Test(broker, produce_without_acknowledgement_is_not_answered)
{
    struct topics *t = topics_open();
    struct changed batch = make_batch();
    topics_send_batch(t, 1, span_of(batch.bytes, batch.size), 0);
    for (int i = 0; i < SHARDS_SETTLES && t->peer->connection->in_flight > 0; i++)
        peer_settle(t->peer);
    cr_assert_eq(t->peer->connection->in_flight, 0);
    cr_assert_not(topics_has_reply(t));
    cr_assert_eq(topics_produce(t, 1, 10), 1, "it was stored all the same");
    batch.bytes[batch.size - 1] ^= 1;
    topics_send_batch(t, 1, span_of(batch.bytes, batch.size), 0);
    peer_settle(t->peer);
    cr_assert(t->peer->closed, "the only way to tell of an error");
    topics_close(t);
}

Test(broker, produce_with_acks_of_another_number)
{
    struct topics *t = topics_open();
    struct changed batch = make_batch();
    topics_send_batch(t, 1, span_of(batch.bytes, batch.size), 2);
    cr_assert_eq(topics_produced(t).error_code, KP_ERROR_INVALID_REQUIRED_ACKS);
    topics_close(t);
}

// --- idempotent producers ---------------------------------------------------------------------

static struct kp_produce_response_partition produce_as(struct topics *t, int64_t id, int16_t epoch,
                                                       int32_t sequence)
{
    struct batch_header header;
    struct span made = shards_batch(100, &header);
    uint8_t bytes[4096];
    memcpy(bytes, made.data, made.size);
    store_be64(bytes + 43, (uint64_t)id);
    store_be16(bytes + 51, (uint16_t)epoch);
    store_be32(bytes + 53, (uint32_t)sequence);
    store_be32(bytes + 17, crc32c(0, bytes + 21, made.size - 21));
    topics_send_batch(t, 1, span_of(bytes, made.size), -1);
    shards_free_batch(made);
    return topics_produced(t);
}

Test(broker, produce_takes_a_numbered_batch_once)
{
    struct topics *t = topics_open();
    for (int32_t i = 0; i < 3; i++)
        cr_assert_eq(produce_as(t, 7, 0, i).base_offset, i);
    for (int32_t i = 0; i < 3; i++) {
        struct kp_produce_response_partition out = produce_as(t, 7, 0, i);
        cr_assert_eq(out.error_code, 0);
        cr_assert_eq(out.base_offset, i);
        cr_assert_eq(out.log_append_time_ms, -1);
    }
    cr_assert_eq(topics_produce(t, 1, 100), 3, "nothing was stored twice");
    cr_assert_eq(produce_as(t, 7, 0, 4).error_code, KP_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    cr_assert_eq(produce_as(t, 7, 1, 0).base_offset, 4);
    struct kp_produce_response_partition out = produce_as(t, 7, 0, 3);
    cr_assert_eq(out.error_code, KP_ERROR_INVALID_PRODUCER_EPOCH);
    cr_assert_eq(out.base_offset, -1);
    cr_assert(out.error_message.size > 0);
    cr_assert_eq(produce_as(t, 7, 1, -1).error_code, KP_ERROR_INVALID_RECORD);
    cr_assert_eq(produce_as(t, 7, -1, 1).error_code, KP_ERROR_INVALID_RECORD);
    topics_close(t);
}

Test(broker, produce_repeats_the_append_time_of_the_first_answer)
{
    struct topics *t = topics_open();
    t->topic.effective.log_append_time = true;
    int64_t first_ms = produce_as(t, 7, 0, 0).log_append_time_ms;
    cr_assert_gt(first_ms, 0);
    int64_t other_ms = first_ms;
    for (int32_t i = 0; other_ms == first_ms; i++)
        other_ms = produce_as(t, 8, 0, i).log_append_time_ms;
    cr_assert_gt(other_ms, first_ms);
    cr_assert_eq(produce_as(t, 7, 0, 0).log_append_time_ms, first_ms);
    topics_close(t);
}
