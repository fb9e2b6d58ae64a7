// SPDX-License-Identifier: Apache-2.0
// The mock's implementation. Everything it is sent is decoded and everything it says encoded by the
// generated codecs, which the protocol's own tests check against a foreign one.
#include "tests/unit/client_mock.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "gen/kp_api_versions.h"
#include "gen/kp_apis.h"
#include "gen/kp_create_topics.h"
#include "gen/kp_delete_groups.h"
#include "gen/kp_fetch.h"
#include "gen/kp_find_coordinator.h"
#include "gen/kp_init_producer_id.h"
#include "gen/kp_list_offsets.h"
#include "gen/kp_metadata.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_fetch.h"
#include "gen/kp_produce.h"
#include "protocol/error.h"
#include "protocol/frame.h"

enum { CONNECTIONS_MAX = 64, FRAME_MAX = 32 << 20, ARENA_LIMIT = 64 << 20 };

static const struct kp_uuid topic_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

struct peer {
    int fd;
    int node; // 1 or 2: whose listener it came to
    bool mute;
    uint8_t *data;
    size_t size;
};

// One request being answered.
struct exchange {
    struct mock *mock;
    struct peer *peer;
    struct arena arena;
    struct kp_request_header header;
    struct kp_reader reader;
    struct kp_writer writer;
    int16_t code; // what MOCK_ERROR demands, or 0
    bool no_reply;
};

// ------------------------------------------------------------------------------------- handlers

static void handle_api_versions(struct exchange *x)
{
    struct kp_api_versions_response out;
    struct kp_api_versions_response_api_key keys[KP_APIS_COUNT];
    kp_api_versions_response_init(&out);
    out.api_keys = keys;
    for (int i = 0; i < KP_APIS_COUNT; i++) {
        const struct kp_api *api = &kp_apis[i];
        int16_t max = x->mock->version_max[api->key];
        if (max < 0)
            continue;
        kp_api_versions_response_api_key_init(&keys[out.api_keys_count]);
        keys[out.api_keys_count].api_key = api->key;
        keys[out.api_keys_count].min_version = api->min;
        keys[out.api_keys_count++].max_version = max < api->max ? max : api->max;
    }
    out.error_code = x->code;
    kp_api_versions_response_encode(&x->writer, x->header.api_version, &out);
}

// Whether the request at hand is to find no topic.
static bool hidden_now(struct mock *mock)
{
    return mock->hidden > 0 && mock->hidden-- > 0;
}

static void handle_metadata(struct exchange *x)
{
    struct mock *mock = x->mock;
    struct kp_metadata_request in;
    struct kp_metadata_response out;
    kp_metadata_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_metadata_response_init(&out);
    struct kp_metadata_response_broker brokers[2];
    for (int i = 0; i < mock->nodes; i++) {
        kp_metadata_response_broker_init(&brokers[i]);
        brokers[i].node_id = i + 1;
        brokers[i].host = span_text("127.0.0.1");
        brokers[i].port = mock->ports[i];
    }
    out.brokers = brokers;
    out.brokers_count = mock->nodes;
    out.controller_id = 1;
    out.error_code = x->code;
    int32_t count = in.topics_count > 0 ? in.topics_count : 0;
    out.topics = arena_array(&x->arena, (size_t)count, sizeof(*out.topics));
    out.topics_count = count;
    bool hidden = hidden_now(mock);
    for (int32_t i = 0; i < count; i++) {
        struct kp_metadata_response_topic *topic = &out.topics[i];
        kp_metadata_response_topic_init(topic);
        topic->name = in.topics[i].name;
        bool known = !hidden && (mock->any_topic || span_equal(topic->name, span_text("t")));
        if (known && mock->topic_missing) {
            mock->topic_missing = !in.allow_auto_topic_creation; // there the next time
            known = false;
        }
        if (!known) {
            topic->error_code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
            continue;
        }
        topic->topic_id = topic_id;
        topic->partitions = arena_array(&x->arena, MOCK_PARTITIONS, sizeof(*topic->partitions));
        topic->partitions_count = MOCK_PARTITIONS;
        for (int32_t p = 0; p < MOCK_PARTITIONS; p++) {
            kp_metadata_response_partition_init(&topic->partitions[p]);
            topic->partitions[p].partition_index = p;
            topic->partitions[p].leader_id = mock->leader;
            topic->partitions[p].leader_epoch = 5;
        }
    }
    kp_metadata_response_encode(&x->writer, x->header.api_version, &out);
}

static void handle_init_producer_id(struct exchange *x)
{
    struct kp_init_producer_id_response out;
    kp_init_producer_id_response_init(&out);
    out.error_code = x->code;
    if (!x->code) {
        out.producer_id = 1000 + x->mock->requests[KP_INIT_PRODUCER_ID_KEY];
        out.producer_epoch = x->mock->init_epoch;
    }
    kp_init_producer_id_response_encode(&x->writer, x->header.api_version, &out);
}

// Whether the log takes a numbered batch: 0, or the error. An earlier copy's offset goes to
// *offset.
static int16_t sequence_check(const struct mock *mock, struct mock_log *log,
                              const struct batch_header *header, int64_t *offset)
{
    bool known = log->producer_id == header->producer_id;
    if (header->producer_id < 0)
        return 0;
    if (!known)
        return mock->strict && header->base_sequence != 0 ? KP_ERROR_UNKNOWN_PRODUCER_ID : 0;
    if (header->producer_epoch < log->producer_epoch)
        return KP_ERROR_INVALID_PRODUCER_EPOCH;
    if (header->producer_epoch > log->producer_epoch)
        return header->base_sequence != 0 ? KP_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER : 0;
    for (int i = 0; i < 5; i++) {
        if (log->recent[i].base_offset >= 0 &&
            log->recent[i].first_sequence == header->base_sequence) {
            *offset = log->recent[i].base_offset;
            return 0;
        }
    }
    return header->base_sequence != log->next_sequence ? KP_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER : 0;
}

static void sequence_note(struct mock_log *log, const struct batch_header *header, int64_t base)
{
    bool fresh =
        log->producer_id != header->producer_id || log->producer_epoch != header->producer_epoch;
    if (header->producer_id < 0)
        return;
    for (int i = 0; i < 5 && fresh; i++)
        log->recent[i].base_offset = -1;
    memmove(log->recent, log->recent + 1, 4 * sizeof(log->recent[0]));
    log->recent[4] = (struct mock_batch){header->base_sequence, base};
    log->producer_id = header->producer_id;
    log->producer_epoch = header->producer_epoch;
    log->next_sequence =
        (int32_t)(((int64_t)header->base_sequence + header->record_count) & INT32_MAX);
}

// Stores a batch as a broker does. Returns its base offset.
static int64_t log_append(const struct mock *mock, struct mock_log *log,
                          const struct kp_records *records, int16_t *error)
{
    int64_t earlier = -1;
    struct batch_header header;
    struct span bytes = span_of(records->slices[0].iov_base, records->slices[0].iov_len);
    if (batch_check(bytes, &header) != BATCH_OK || log->count == MOCK_BATCHES_MAX)
        return -1;
    *error = sequence_check(mock, log, &header, &earlier);
    if (*error || earlier >= 0)
        return earlier;
    sequence_note(log, &header, log->next);
    uint8_t *copy = malloc(bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    batch_assign(copy, log->next, 5);
    log->batches[log->count].data = copy;
    log->batches[log->count++].size = bytes.size;
    int64_t base = log->next;
    log->next += header.record_count;
    return base;
}

static void produce_partition(struct exchange *x, const struct kp_produce_request_partition *from,
                              struct kp_produce_response_partition *to)
{
    kp_produce_response_partition_init(to);
    to->index = from->index;
    to->base_offset = -1;
    if (x->peer->node != x->mock->leader)
        to->error_code = KP_ERROR_NOT_LEADER_OR_FOLLOWER;
    else if (x->code)
        to->error_code = x->code;
    else if (x->mock->batch_max && (size_t)from->records.size > x->mock->batch_max)
        to->error_code = KP_ERROR_MESSAGE_TOO_LARGE;
    else if (from->index < 0 || from->index >= MOCK_PARTITIONS)
        to->error_code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    else
        to->base_offset =
            log_append(x->mock, &x->mock->logs[from->index], &from->records, &to->error_code);
    if (!to->error_code && to->base_offset < 0)
        to->error_code = KP_ERROR_CORRUPT_MESSAGE;
}

static void handle_produce(struct exchange *x)
{
    struct kp_produce_request in;
    struct kp_produce_response out;
    kp_produce_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_produce_response_init(&out);
    if (hidden_now(x->mock))
        x->code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    out.responses = arena_array(&x->arena, (size_t)in.topic_data_count, sizeof(*out.responses));
    out.responses_count = in.topic_data_count;
    for (int32_t t = 0; t < in.topic_data_count; t++) {
        const struct kp_produce_request_topic *from = &in.topic_data[t];
        struct kp_produce_response_topic *to = &out.responses[t];
        kp_produce_response_topic_init(to);
        to->name = from->name;
        to->topic_id = from->topic_id;
        to->partition_responses = arena_array(&x->arena, (size_t)from->partition_data_count,
                                              sizeof(*to->partition_responses));
        to->partition_responses_count = from->partition_data_count;
        for (int32_t p = 0; p < from->partition_data_count; p++)
            produce_partition(x, &from->partition_data[p], &to->partition_responses[p]);
    }
    x->no_reply = in.acks == 0;
    kp_produce_response_encode(&x->writer, x->header.api_version, &out);
}

static void log_read(struct exchange *x, const struct mock_log *log,
                     const struct kp_fetch_request_partition *from,
                     struct kp_fetch_response_partition *to)
{
    struct iovec *slices = arena_array(&x->arena, MOCK_BATCHES_MAX, sizeof(*slices));
    size_t room = (size_t)from->partition_max_bytes;
    to->records = (struct kp_records){.slices = slices};
    for (size_t i = 0; i < log->count; i++) {
        struct batch_header header;
        struct span bytes = span_of(log->batches[i].data, log->batches[i].size);
        batch_header_read(bytes, &header);
        if (header.base_offset + header.last_offset_delta < from->fetch_offset)
            continue;
        bool first = to->records.slice_count == 0;
        if (bytes.size > room && (x->mock->cut || !first))
            bytes.size = x->mock->cut ? room : 0;
        if (bytes.size == 0)
            return;
        slices[to->records.slice_count++] =
            (struct iovec){.iov_base = log->batches[i].data, .iov_len = bytes.size};
        to->records.size += (int64_t)bytes.size;
        room -= bytes.size < room ? bytes.size : room;
    }
}

static void fetch_partition(struct exchange *x, const struct kp_fetch_request_partition *from,
                            struct kp_fetch_response_partition *to)
{
    kp_fetch_response_partition_init(to);
    to->partition_index = from->partition;
    to->high_watermark = -1;
    if (x->peer->node != x->mock->leader) {
        to->error_code = KP_ERROR_NOT_LEADER_OR_FOLLOWER;
    } else if (x->code) {
        to->error_code = x->code;
    } else {
        const struct mock_log *log = &x->mock->logs[from->partition];
        to->high_watermark = log->next;
        to->log_start_offset = log->low;
        if (from->fetch_offset < log->low || from->fetch_offset > log->next)
            to->error_code = KP_ERROR_OFFSET_OUT_OF_RANGE;
        else
            log_read(x, log, from, to);
    }
}

static void handle_fetch(struct exchange *x)
{
    struct kp_fetch_request in;
    struct kp_fetch_response out;
    kp_fetch_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_fetch_response_init(&out);
    out.responses = arena_array(&x->arena, (size_t)in.topics_count, sizeof(*out.responses));
    out.responses_count = in.topics_count;
    for (int32_t t = 0; t < in.topics_count; t++) {
        const struct kp_fetch_request_topic *from = &in.topics[t];
        struct kp_fetch_response_topic *to = &out.responses[t];
        kp_fetch_response_topic_init(to);
        to->topic = from->topic;
        to->topic_id = from->topic_id;
        to->partitions =
            arena_array(&x->arena, (size_t)from->partitions_count, sizeof(*to->partitions));
        to->partitions_count = from->partitions_count;
        for (int32_t p = 0; p < from->partitions_count; p++)
            fetch_partition(x, &from->partitions[p], &to->partitions[p]);
    }
    kp_fetch_response_encode(&x->writer, x->header.api_version, &out);
}

static void handle_list_offsets(struct exchange *x)
{
    struct kp_list_offsets_request in;
    struct kp_list_offsets_response out;
    kp_list_offsets_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_list_offsets_response_init(&out);
    out.topics = arena_array(&x->arena, (size_t)in.topics_count, sizeof(*out.topics));
    out.topics_count = in.topics_count;
    for (int32_t t = 0; t < in.topics_count; t++) {
        const struct kp_list_offsets_request_topic *from = &in.topics[t];
        struct kp_list_offsets_response_topic *to = &out.topics[t];
        kp_list_offsets_response_topic_init(to);
        to->name = from->name;
        to->partitions =
            arena_array(&x->arena, (size_t)from->partitions_count, sizeof(*to->partitions));
        to->partitions_count = from->partitions_count;
        for (int32_t p = 0; p < from->partitions_count; p++) {
            struct kp_list_offsets_response_partition *answer = &to->partitions[p];
            kp_list_offsets_response_partition_init(answer);
            answer->partition_index = from->partitions[p].partition_index;
            const struct mock_log *log = &x->mock->logs[answer->partition_index];
            answer->error_code =
                x->peer->node != x->mock->leader ? KP_ERROR_NOT_LEADER_OR_FOLLOWER : x->code;
            if (!answer->error_code)
                answer->offset = from->partitions[p].timestamp == -1 ? log->next : log->low;
        }
    }
    kp_list_offsets_response_encode(&x->writer, x->header.api_version, &out);
}

static void handle_find_coordinator(struct exchange *x)
{
    struct kp_find_coordinator_request in;
    struct kp_find_coordinator_response out;
    struct kp_find_coordinator_response_coordinator found;
    kp_find_coordinator_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_find_coordinator_response_init(&out);
    kp_find_coordinator_response_coordinator_init(&found);
    found.key = in.coordinator_keys_count > 0 ? in.coordinator_keys[0] : in.key;
    out.error_code = found.error_code = x->code;
    out.node_id = found.node_id = 1;
    out.host = found.host = span_text("127.0.0.1");
    out.port = found.port = x->mock->ports[0];
    out.coordinators = &found;
    out.coordinators_count = 1;
    kp_find_coordinator_response_encode(&x->writer, x->header.api_version, &out);
}

static void handle_offset_commit(struct exchange *x)
{
    struct kp_offset_commit_request in;
    struct kp_offset_commit_response out;
    kp_offset_commit_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_offset_commit_response_init(&out);
    out.topics = arena_array(&x->arena, (size_t)in.topics_count, sizeof(*out.topics));
    out.topics_count = in.topics_count;
    for (int32_t t = 0; t < in.topics_count; t++) {
        const struct kp_offset_commit_request_topic *from = &in.topics[t];
        struct kp_offset_commit_response_topic *to = &out.topics[t];
        kp_offset_commit_response_topic_init(to);
        to->name = from->name;
        to->partitions =
            arena_array(&x->arena, (size_t)from->partitions_count, sizeof(*to->partitions));
        to->partitions_count = from->partitions_count;
        for (int32_t p = 0; p < from->partitions_count; p++) {
            kp_offset_commit_response_partition_init(&to->partitions[p]);
            to->partitions[p].partition_index = from->partitions[p].partition_index;
            to->partitions[p].error_code = x->code;
            if (!x->code)
                x->mock->logs[from->partitions[p].partition_index].committed =
                    from->partitions[p].committed_offset;
        }
    }
    kp_offset_commit_response_encode(&x->writer, x->header.api_version, &out);
}

static void offset_fetch_new(struct exchange *x, const struct kp_offset_fetch_request *in,
                             struct kp_offset_fetch_response *out)
{
    const struct kp_offset_fetch_request_group *from = &in->groups[0];
    struct kp_offset_fetch_response_group *to = arena_array(&x->arena, 1, sizeof(*to));
    kp_offset_fetch_response_group_init(to);
    to->group_id = from->group_id;
    to->error_code = x->code;
    to->topics = arena_array(&x->arena, (size_t)from->topics_count, sizeof(*to->topics));
    to->topics_count = from->topics_count;
    for (int32_t t = 0; t < from->topics_count; t++) {
        struct kp_offset_fetch_response_group_topic *topic = &to->topics[t];
        kp_offset_fetch_response_group_topic_init(topic);
        topic->name = from->topics[t].name;
        topic->partitions_count = from->topics[t].partition_indexes_count;
        topic->partitions =
            arena_array(&x->arena, (size_t)topic->partitions_count, sizeof(*topic->partitions));
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            kp_offset_fetch_response_group_partition_init(&topic->partitions[p]);
            int32_t index = from->topics[t].partition_indexes[p];
            topic->partitions[p].partition_index = index;
            topic->partitions[p].committed_offset = x->mock->logs[index].committed;
        }
    }
    out->groups = to;
    out->groups_count = 1;
}

static void offset_fetch_old(struct exchange *x, const struct kp_offset_fetch_request *in,
                             struct kp_offset_fetch_response *out)
{
    out->error_code = x->code;
    out->topics = arena_array(&x->arena, (size_t)in->topics_count, sizeof(*out->topics));
    out->topics_count = in->topics_count;
    for (int32_t t = 0; t < in->topics_count; t++) {
        struct kp_offset_fetch_response_topic *topic = &out->topics[t];
        kp_offset_fetch_response_topic_init(topic);
        topic->name = in->topics[t].name;
        topic->partitions_count = in->topics[t].partition_indexes_count;
        topic->partitions =
            arena_array(&x->arena, (size_t)topic->partitions_count, sizeof(*topic->partitions));
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            kp_offset_fetch_response_partition_init(&topic->partitions[p]);
            int32_t index = in->topics[t].partition_indexes[p];
            topic->partitions[p].partition_index = index;
            topic->partitions[p].committed_offset = x->mock->logs[index].committed;
        }
    }
}

static void handle_offset_fetch(struct exchange *x)
{
    struct kp_offset_fetch_request in;
    struct kp_offset_fetch_response out;
    kp_offset_fetch_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_offset_fetch_response_init(&out);
    if (x->header.api_version >= 8)
        offset_fetch_new(x, &in, &out);
    else
        offset_fetch_old(x, &in, &out);
    kp_offset_fetch_response_encode(&x->writer, x->header.api_version, &out);
}

static void handle_delete_groups(struct exchange *x)
{
    struct kp_delete_groups_request in;
    struct kp_delete_groups_response out;
    kp_delete_groups_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_delete_groups_response_init(&out);
    out.results = arena_array(&x->arena, (size_t)in.groups_names_count, sizeof(*out.results));
    out.results_count = in.groups_names_count;
    for (int32_t i = 0; i < in.groups_names_count; i++) {
        kp_delete_groups_response_group_init(&out.results[i]);
        out.results[i].group_id = in.groups_names[i];
        out.results[i].error_code = x->code;
    }
    kp_delete_groups_response_encode(&x->writer, x->header.api_version, &out);
}

// The last one first, as brokers may. An error strikes every second topic.
static void handle_create_topics(struct exchange *x)
{
    struct kp_create_topics_request in;
    struct kp_create_topics_response out;
    kp_create_topics_request_decode(&x->reader, x->header.api_version, &x->arena, &in);
    kp_create_topics_response_init(&out);
    out.topics = arena_array(&x->arena, (size_t)in.topics_count, sizeof(*out.topics));
    out.topics_count = in.topics_count;
    for (int32_t i = 0; i < in.topics_count; i++) {
        struct kp_create_topics_response_topic *topic = &out.topics[in.topics_count - 1 - i];
        kp_create_topics_response_topic_init(topic);
        topic->name = in.topics[i].name;
        topic->error_code = i % 2 ? x->code : 0;
        x->mock->topics_refused += topic->error_code != 0;
        x->mock->topics_created += topic->error_code == 0;
    }
    kp_create_topics_response_encode(&x->writer, x->header.api_version, &out);
}

static void handle(struct exchange *x)
{
    switch (x->header.api_key) {
    case KP_API_VERSIONS_KEY:
        handle_api_versions(x);
        break;
    case KP_METADATA_KEY:
        handle_metadata(x);
        break;
    case KP_PRODUCE_KEY:
        handle_produce(x);
        break;
    case KP_FETCH_KEY:
        handle_fetch(x);
        break;
    case KP_LIST_OFFSETS_KEY:
        handle_list_offsets(x);
        break;
    case KP_FIND_COORDINATOR_KEY:
        handle_find_coordinator(x);
        break;
    case KP_OFFSET_COMMIT_KEY:
        handle_offset_commit(x);
        break;
    case KP_INIT_PRODUCER_ID_KEY:
        handle_init_producer_id(x);
        break;
    case KP_OFFSET_FETCH_KEY:
        handle_offset_fetch(x);
        break;
    case KP_CREATE_TOPICS_KEY:
        handle_create_topics(x);
        break;
    case KP_DELETE_GROUPS_KEY:
        handle_delete_groups(x);
        break;
    default:
        x->writer.failed = true;
    }
}

// ------------------------------------------------------------------------------------- answering

// The fault that hits this request, or NULL.
static struct mock_fault *fault_take(struct mock *mock, int16_t api_key)
{
    for (int i = 0; i < mock->fault_count; i++) {
        struct mock_fault *fault = &mock->faults[i];
        if (fault->api_key != api_key || fault->times == 0)
            continue;
        if (fault->skip > 0) {
            fault->skip--;
            continue;
        }
        fault->times--;
        return fault;
    }
    return NULL;
}

static void send_bytes(struct exchange *x, const uint8_t *data, size_t size)
{
    size_t step = x->mock->trickle ? 7 : size;
    for (size_t at = 0; at < size;) {
        size_t piece = size - at < step ? size - at : step;
        ssize_t sent = send(x->peer->fd, data + at, piece, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += (size_t)sent;
    }
}

static bool send_answer(struct exchange *x, const struct mock_fault *fault)
{
    struct iovec *vectors;
    int count = kp_writer_vectors(&x->writer, &vectors);
    if (count < 0)
        return false;
    size_t size = kp_writer_total(&x->writer);
    uint8_t *bytes = malloc(size);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        memcpy(bytes + at, vectors[i].iov_base, vectors[i].iov_len);
        at += vectors[i].iov_len;
    }
    if (fault && fault->action == MOCK_WRONG_ID)
        bytes[7] ^= 1;
    if (fault && fault->action == MOCK_GARBAGE)
        memset(bytes + 8, 0xff, size - 8);
    if (fault && fault->action == MOCK_FLIP)
        bytes[4 + random_below(&x->mock->random, size - 4)] ^=
            (uint8_t)(1 + random_below(&x->mock->random, 255));
    if (fault && fault->action == MOCK_HUGE)
        store_be32(bytes, 0x7fffffff);
    send_bytes(x, bytes, fault && fault->action == MOCK_HALF ? size / 2 : size);
    free(bytes);
    return !fault || fault->action != MOCK_HALF;
}

// Answers the request in `reader`. Returns false to have the connection closed.
static bool answer(struct exchange *x, struct mock_fault *fault)
{
    struct mock *mock = x->mock;
    if (fault && fault->action == MOCK_CLOSE)
        return false;
    x->peer->mute |= fault && fault->action == MOCK_MUTE;
    if (x->peer->mute || (fault && fault->action == MOCK_SILENT))
        return true;
    if (fault && fault->action == MOCK_ERROR)
        x->code = fault->code;
    if (fault && fault->action == MOCK_MOVE_LEADER) {
        mock->leader = 3 - mock->leader;
        x->code = KP_ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    size_t mark = kp_frame_begin(&x->writer);
    const struct kp_api *api = kp_api_find(x->header.api_key);
    bool old = mock->old_api_versions && x->header.api_key == KP_API_VERSIONS_KEY &&
               x->header.api_version > 0;
    if (old) {
        x->header.api_version = 0;
        x->code = KP_ERROR_UNSUPPORTED_VERSION;
    }
    kp_response_header_write(&x->writer, api, x->header.api_version, x->header.correlation_id);
    handle(x);
    kp_frame_end(&x->writer, mark);
    if (fault && fault->action == MOCK_APPLY_AND_CLOSE)
        return false;
    return x->no_reply || send_answer(x, fault);
}

static bool request_serve(struct mock *mock, struct peer *peer, const uint8_t *data, size_t size)
{
    struct exchange x = {.mock = mock, .peer = peer};
    arena_init(&x.arena, ARENA_LIMIT);
    kp_writer_init(&x.writer, &x.arena);
    x.reader = kp_reader_init(data, size);
    const struct kp_api *api;
    bool open = kp_request_header_read(&x.reader, &x.header, &api) == KP_FRAME_OK;
    if (open) {
        mock->requests[x.header.api_key]++;
        open = answer(&x, fault_take(mock, x.header.api_key));
    }
    arena_free(&x.arena);
    return open;
}

// ------------------------------------------------------------------------------------- the thread

static void peer_close(struct peer *peer)
{
    close(peer->fd);
    free(peer->data);
    *peer = (struct peer){.fd = -1};
}

static void peer_serve(struct mock *mock, struct peer *peer)
{
    if (!peer->data)
        peer->data = malloc(FRAME_MAX);
    ssize_t got = recv(peer->fd, peer->data + peer->size, FRAME_MAX - peer->size, 0);
    if (got <= 0) {
        peer_close(peer);
        return;
    }
    peer->size += (size_t)got;
    size_t at = 0;
    while (peer->size - at >= 4) {
        size_t size = load_be32(peer->data + at);
        if (size > peer->size - at - 4)
            break;
        if (!request_serve(mock, peer, peer->data + at + 4, size)) {
            peer_close(peer);
            return;
        }
        at += 4 + size;
    }
    memmove(peer->data, peer->data + at, peer->size - at);
    peer->size -= at;
}

static void peer_accept(struct mock *mock, struct peer *peers, int node)
{
    int fd = accept(mock->listeners[node - 1], NULL, NULL);
    mock->connections++;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (peers[i].fd < 0) {
            peers[i] = (struct peer){.fd = fd, .node = node};
            return;
        }
    }
    close(fd);
}

static void *mock_run(void *context)
{
    struct mock *mock = context;
    struct peer peers[CONNECTIONS_MAX];
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        peers[i] = (struct peer){.fd = -1};
    for (;;) {
        struct pollfd polls[3 + CONNECTIONS_MAX] = {
            {.fd = mock->wake[0], .events = POLLIN},
            {.fd = mock->listeners[0], .events = POLLIN},
            {.fd = mock->listeners[1], .events = POLLIN},
        };
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            polls[3 + i] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
        poll(polls, 3 + CONNECTIONS_MAX, -1);
        pthread_mutex_lock(&mock->lock);
        for (int i = 0; i < CONNECTIONS_MAX; i++) {
            if (polls[3 + i].revents && peers[i].fd >= 0)
                peer_serve(mock, &peers[i]);
        }
        for (int node = 1; node <= 2; node++) {
            if (polls[node].revents)
                peer_accept(mock, peers, node);
        }
        pthread_mutex_unlock(&mock->lock);
        if (polls[0].revents)
            break;
    }
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (peers[i].fd >= 0)
            peer_close(&peers[i]);
    }
    return NULL;
}

static int listener_open(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
              listen(fd, 64) == 0 && getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

struct mock *mock_new(int nodes)
{
    struct mock *mock = calloc(1, sizeof(*mock));
    mock->nodes = nodes;
    mock->leader = 1;
    for (int i = 0; i < MOCK_APIS; i++)
        mock->version_max[i] = INT16_MAX;
    for (int i = 0; i < MOCK_PARTITIONS; i++)
        mock->logs[i].committed = mock->logs[i].producer_id = -1;
    for (int i = 0; i < 2; i++)
        mock->listeners[i] = listener_open(&mock->ports[i]);
    cr_assert(pipe(mock->wake) == 0);
    pthread_mutex_init(&mock->lock, NULL);
    cr_assert(pthread_create(&mock->thread, NULL, mock_run, mock) == 0);
    return mock;
}

void mock_free(struct mock *mock)
{
    cr_assert(write(mock->wake[1], "x", 1) == 1);
    pthread_join(mock->thread, NULL);
    for (int i = 0; i < 2; i++) {
        close(mock->listeners[i]);
        close(mock->wake[i]);
    }
    for (int p = 0; p < MOCK_PARTITIONS; p++) {
        for (size_t i = 0; i < mock->logs[p].count; i++)
            free(mock->logs[p].batches[i].data);
    }
    pthread_mutex_destroy(&mock->lock);
    free(mock);
}

const char *mock_brokers(const struct mock *mock)
{
    static char text[64];
    snprintf(text, sizeof(text), "127.0.0.1:%d", mock->ports[0]);
    return text;
}

void mock_fault(struct mock *mock, struct mock_fault fault)
{
    pthread_mutex_lock(&mock->lock);
    cr_assert(mock->fault_count < MOCK_FAULTS_MAX);
    mock->faults[mock->fault_count++] = fault;
    pthread_mutex_unlock(&mock->lock);
}

void mock_producer_lost(struct mock *mock, int32_t partition)
{
    pthread_mutex_lock(&mock->lock);
    mock->logs[partition].producer_id = -1;
    pthread_mutex_unlock(&mock->lock);
}

void mock_topic_hide(struct mock *mock, int requests)
{
    pthread_mutex_lock(&mock->lock);
    mock->hidden = requests;
    pthread_mutex_unlock(&mock->lock);
}

void mock_batch_lost(struct mock *mock, int32_t partition)
{
    pthread_mutex_lock(&mock->lock);
    struct mock_log *log = &mock->logs[partition];
    struct batch_header header;
    cr_assert_gt(log->count, 0);
    log->count--;
    batch_header_read(span_of(log->batches[log->count].data, log->batches[log->count].size),
                      &header);
    free(log->batches[log->count].data);
    log->next = header.base_offset;
    log->next_sequence = header.base_sequence;
    log->recent[4].base_offset = -1;
    pthread_mutex_unlock(&mock->lock);
}

int mock_requests(struct mock *mock, int16_t api_key)
{
    pthread_mutex_lock(&mock->lock);
    int count = mock->requests[api_key];
    pthread_mutex_unlock(&mock->lock);
    return count;
}

const char *mock_values(struct mock *mock, int32_t partition, char *out, size_t size)
{
    struct arena arena;
    arena_init(&arena, ARENA_LIMIT);
    size_t used = 0;
    out[0] = '\0';
    pthread_mutex_lock(&mock->lock);
    const struct mock_log *log = &mock->logs[partition];
    for (size_t i = 0; i < log->count; i++) {
        struct batch_reader reader;
        struct record record;
        struct span bytes = span_of(log->batches[i].data, log->batches[i].size);
        cr_assert_eq(batch_reader_init(&reader, bytes, &arena, ARENA_LIMIT), BATCH_OK);
        while (batch_reader_next(&reader, &record) == 1 && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? " " : "",
                                     (int)record.value.size, (const char *)record.value.data);
    }
    pthread_mutex_unlock(&mock->lock);
    arena_free(&arena);
    return out;
}
