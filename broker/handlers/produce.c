// SPDX-License-Identifier: Apache-2.0
// Produce: checks each partition's batch, appends it, answers when all are durable or refused.
//
// Batches are stored as they came; the broker only sets offset and leader epoch and, for topics
// with LogAppendTime, the timestamp (all outside of the records themselves). The log copies the
// bytes when it takes them. When it has taken all of a request at once, as a log of the same shard
// with memory does, the receive buffer is free for the next request before this one is durable: so
// bulk data passes through one buffer that stays in the processor's cache. For a
// topic with a compression of its own, a batch in another one is compressed anew, into the
// request's memory; that takes the shard's time, as long as the batch is large.
//
// acks=1 is answered like acks=-1, after the batch is durable. With acks=0 nothing is answered, and
// an error closes the connection, which is the only way to tell.
//
// A batch with a producer id is numbered (idempotence): the log takes each number once. One that it
// has already is answered like the first time, with the offset it got then.
#include <errno.h>

#include "base/check.h"
#include "broker/handlers/data_path.h"
#include "broker/handlers/handlers.h"
#include "broker/handlers/produce_records.h"
#include "broker/shard.h"
#include "gen/kp_produce.h"
#include "protocol/error.h"
#include "protocol/record_batch.h"

enum {
    ZSTD_VERSION = 7, // the first that may carry zstd
};

struct produce {
    struct request *request;
    struct kp_produce_request in;
    struct kp_produce_response out;
    uint32_t pending; // appends, and the handler itself while it starts them
    bool failed;
    bool needs_body; // a batch is not in its log yet
};

struct produce_part {
    struct produce *produce;
    struct kp_produce_response_partition *out;
    struct partition_op op;
    struct batch_header header;
};

static void refuse(struct produce_part *part, int16_t error, const char *why)
{
    part->out->error_code = error;
    part->out->base_offset = -1;
    part->out->log_append_time_ms = -1;
    part->out->error_message = span_text(why);
    part->produce->failed = true;
}

static void reply(struct produce *produce)
{
    struct request *request = produce->request;
    if (produce->in.acks == 0) {
        if (produce->failed)
            request_abort(request, "a failed request without acknowledgement");
        else
            request_no_reply(request);
        return;
    }
    request_begin_reply(request);
    kp_produce_response_encode(&request->reply, request->version, &produce->out);
    request_reply(request);
}

static void one_done(struct produce *produce)
{
    CHECK(produce->pending > 0);
    if (--produce->pending == 0)
        reply(produce);
}

static const char *append_error_text(int error)
{
    switch (error) {
    case -ENOSPC:
        return "the disk is full";
    case -ENOMEM:
        return "the broker's memory is in use, try again";
    case -EIO:
        return "the disk has failed; the broker's log names the error";
    case -EILSEQ:
        return "batches of this producer are missing before this one";
    case -ESTALE:
        return "the producer has begun a newer epoch";
    default:
        return NULL;
    }
}

static void append_done(struct partition_op *op)
{
    struct produce_part *part = op->context;
    if (op->error) {
        refuse(part, data_path_error(op->error), append_error_text(op->error));
    } else {
        part->out->base_offset = op->append.op.base_offset;
        if (op->append.op.duplicate && part->out->log_append_time_ms >= 0)
            part->out->log_append_time_ms = op->append.op.timestamp;
        part->out->log_start_offset = op->offsets.start;
    }
    one_done(part->produce);
}

// --- what may be appended ---------------------------------------------------------------------

static int16_t batch_error_code(enum batch_error error)
{
    switch (error) {
    case BATCH_OK:
        return KP_ERROR_NONE;
    case BATCH_BAD_CRC:
    case BATCH_TRUNCATED:
    case BATCH_BAD_COMPRESSION:
        return KP_ERROR_CORRUPT_MESSAGE;
    case BATCH_BAD_CODEC:
        return KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE;
    case BATCH_TOO_LARGE:
        return KP_ERROR_MESSAGE_TOO_LARGE;
    case BATCH_NO_MEMORY:
        return KP_ERROR_KAFKA_STORAGE_ERROR;
    default:
        return KP_ERROR_INVALID_RECORD;
    }
}

static bool check_header(struct produce_part *part, int16_t version)
{
    const struct batch_header *header = &part->header;
    if (header->attributes & BATCH_CONTROL) {
        refuse(part, KP_ERROR_INVALID_RECORD, "clients may not write control batches");
    } else if (header->attributes & BATCH_LOG_APPEND_TIME) {
        refuse(part, KP_ERROR_INVALID_TIMESTAMP, "only the broker sets the append time");
    } else if ((header->attributes & BATCH_CODEC_MASK) == CODEC_ZSTD && version < ZSTD_VERSION) {
        refuse(part, KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce version 7");
    } else if (header->attributes & BATCH_TRANSACTIONAL) {
        refuse(part, KP_ERROR_INVALID_PRODUCER_ID_MAPPING, "there are no transactions yet");
    } else if (header->producer_id >= 0 &&
               (header->producer_epoch < 0 || header->base_sequence < 0)) {
        refuse(part, KP_ERROR_INVALID_RECORD, "a producer id without an epoch and sequence number");
    } else {
        return true;
    }
    return false;
}

static bool accept_verdict(struct produce_part *part, const struct produce_verdict *verdict)
{
    if (!verdict->error)
        return true;
    refuse(part, verdict->error, verdict->why);
    part->out->record_errors = verdict->records;
    part->out->record_errors_count = verdict->record_count;
    return false;
}

static bool check_timestamps(struct produce_part *part, const struct topic_settings *settings,
                             struct span batch, int64_t now_ms)
{
    struct produce_verdict verdict =
        produce_check_times(batch, &part->header, settings, now_ms, &part->produce->request->arena);
    return accept_verdict(part, &verdict);
}

static bool check_keys(struct produce_part *part, struct span batch)
{
    struct arena arena;
    arena_init(&arena, PRODUCE_INFLATE_MAX * 2);
    struct batch_facts facts;
    enum batch_error error =
        batch_validate_records(batch, &arena, PRODUCE_INFLATE_MAX, true, &facts);
    arena_free(&arena);
    if (error == BATCH_NO_KEY) {
        struct produce_verdict verdict = produce_blame_keys(batch, &part->produce->request->arena);
        return accept_verdict(part, &verdict);
    }
    if (error) {
        refuse(part, batch_error_code(error), batch_error_text(error));
        return false;
    }
    if (!facts.dense) {
        refuse(part, KP_ERROR_INVALID_RECORD, "offset deltas are not 0, 1, 2, ...");
        return false;
    }
    return true;
}

static bool recode(struct produce_part *part, const struct topic_settings *settings,
                   struct span *batch)
{
    if (!settings->recoded || (part->header.attributes & BATCH_CODEC_MASK) == settings->codec)
        return true;
    struct arena inflated;
    arena_init(&inflated, PRODUCE_INFLATE_MAX * 2);
    enum batch_error error = batch_recode(*batch, settings->codec, PRODUCE_INFLATE_MAX, &inflated,
                                          &part->produce->request->arena, batch);
    arena_free(&inflated);
    if (!error && batch->size > (size_t)settings->max_message_bytes)
        error = BATCH_TOO_LARGE;
    if (error) {
        refuse(part, batch_error_code(error),
               error == BATCH_TOO_LARGE ? "the batch is larger than max.message.bytes in the "
                                          "topic's compression"
                                        : batch_error_text(error));
        return false;
    }
    batch_header_read(*batch, &part->header);
    return true;
}

// Checks the batch and makes it what is to be stored.
static bool prepare(struct produce_part *part, const struct topic_settings *settings,
                    struct span *stored)
{
    struct request *request = part->produce->request;
    struct span batch = *stored;
    if (batch.size > (size_t)settings->max_message_bytes) {
        refuse(part, KP_ERROR_MESSAGE_TOO_LARGE, "the batch is larger than max.message.bytes");
        return false;
    }
    enum batch_error error = batch_check(batch, &part->header);
    if (error) {
        refuse(part, batch_error_code(error), batch_error_text(error));
        return false;
    }
    if (batch_total_size(&part->header) != batch.size) {
        refuse(part, KP_ERROR_INVALID_RECORD, "more than one batch for a partition");
        return false;
    }
    int64_t now_ms = request->shard->io->wall_ms;
    if (!check_header(part, request->version))
        return false;
    if (!settings->log_append_time && !check_timestamps(part, settings, batch, now_ms))
        return false;
    if (settings->compacted && !check_keys(part, batch))
        return false;
    part->out->log_append_time_ms = -1;
    if (settings->log_append_time) {
        // The bytes are the request's own, in its receive buffer.
        uint8_t *bytes = part->produce->request->pin->data + (batch.data - request->pin->data);
        batch_set_append_time(bytes, batch.size, now_ms);
        batch_header_read(batch, &part->header);
        part->out->log_append_time_ms = now_ms;
    }
    return recode(part, settings, stored);
}

static void start_part(struct produce_part *part, const struct catalog_topic *topic,
                       const struct kp_produce_request_partition *in)
{
    int16_t error = data_path_partition(topic, in->index, &part->op.key);
    if (error) {
        refuse(part, error, NULL);
        return;
    }
    if (topic->internal) {
        refuse(part, KP_ERROR_INVALID_TOPIC_EXCEPTION, "only the broker writes internal topics");
        return;
    }
    if (in->records.size <= 0) {
        refuse(part, KP_ERROR_INVALID_RECORD, "there are no records");
        return;
    }
    struct span batch = span_of(in->records.slices[0].iov_base, (size_t)in->records.size);
    if (!prepare(part, &topic->effective, &batch))
        return;
    part->op.kind = PARTITION_APPEND;
    part->op.done = append_done;
    part->op.context = part;
    part->op.append.batch = batch;
    part->op.append.header = &part->header;
    part->op.append.leader_epoch = DATA_PATH_EPOCH;
    part->produce->pending++;
    partition_start(part->produce->request->shard, &part->op);
    if (!partition_has_taken(&part->op))
        part->produce->needs_body = true;
}

// --- the request ------------------------------------------------------------------------------

static bool acks_are_valid(int16_t acks)
{
    return acks >= -1 && acks <= 1;
}

static int start_topic(struct produce *produce, const struct kp_produce_request_topic *in,
                       struct kp_produce_response_topic *out)
{
    struct request *request = produce->request;
    size_t count = (size_t)in->partition_data_count;
    out->name.size = in->name.size;
    out->name.data = (const uint8_t *)arena_text(&request->arena, in->name.data, in->name.size);
    out->topic_id = in->topic_id;
    out->partition_responses =
        arena_array(&request->arena, count, sizeof(*out->partition_responses));
    struct produce_part *parts = arena_array(&request->arena, count, sizeof(*parts));
    if (!out->name.data || !out->partition_responses || !parts)
        return -ENOMEM;
    out->partition_responses_count = in->partition_data_count;
    int16_t error;
    const struct catalog_topic *topic = data_path_topic(request, in->name, in->topic_id, &error);
    if (!acks_are_valid(produce->in.acks))
        error = KP_ERROR_INVALID_REQUIRED_ACKS;
    for (size_t i = 0; i < count; i++) {
        parts[i].produce = produce;
        parts[i].out = &out->partition_responses[i];
        kp_produce_response_partition_init(parts[i].out);
        parts[i].out->index = in->partition_data[i].index;
        if (error)
            refuse(&parts[i], error, NULL);
        else
            start_part(&parts[i], topic, &in->partition_data[i]);
    }
    return 0;
}

void handle_produce(struct request *request)
{
    struct produce *produce = arena_alloc(&request->arena, sizeof(*produce));
    if (!produce) {
        request_abort(request, "no memory for the request");
        return;
    }
    produce->request = request;
    int decoded =
        kp_produce_request_decode(&request->body, request->version, &request->arena, &produce->in);
    if (request_is_malformed(request, decoded))
        return;
    size_t count = (size_t)produce->in.topic_data_count;
    kp_produce_response_init(&produce->out);
    produce->out.responses = arena_array(&request->arena, count, sizeof(*produce->out.responses));
    if (!produce->out.responses) {
        request_abort(request, "no memory for the request");
        return;
    }
    produce->pending = 1;
    for (size_t i = 0; i < count; i++) {
        if (start_topic(produce, &produce->in.topic_data[i], &produce->out.responses[i]) != 0) {
            // What was started goes on; the client learns nothing and will ask again.
            produce->failed = true;
            produce->in.acks = 0;
            break;
        }
        produce->out.responses_count++;
    }
    if (!produce->needs_body)
        request_unpin_body(request);
    one_done(produce);
}
