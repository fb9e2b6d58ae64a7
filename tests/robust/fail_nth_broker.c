// SPDX-License-Identifier: Apache-2.0
// Every allocation behind a client's requests fails, each in turn, until a run has no such one
// left: the client gets an answer or its connection ends, nothing crashes, nothing leaks, and
// afterwards the same requests are served, and what was acknowledged is there.
#include "gen/kp_apis.h"
#include "gen/kp_create_topics.h"
#include "gen/kp_delete_groups.h"
#include "gen/kp_delete_topics.h"
#include "gen/kp_describe_groups.h"
#include "gen/kp_fetch.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_init_producer_id.h"
#include "gen/kp_join_group.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_list_groups.h"
#include "gen/kp_list_offsets.h"
#include "gen/kp_metadata.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_fetch.h"
#include "gen/kp_produce.h"
#include "gen/kp_sync_group.h"
#include <inttypes.h>

#include "protocol/error.h"
#include "tests/robust/fault_alloc.h"
#include "tests/unit/broker_state_client.h"

enum { RUNS_MAX = 3000, TURNS_MAX = 4000, TOPIC_EXISTS = 36 };

struct run {
    struct client client;
    bool strict; // the fault is gone: everything must succeed
    uint64_t nth;
    int64_t stored; // records that were acknowledged
    // What the member of group "m" was told last; a static one, so that it is never another.
    char member[128];
    int32_t generation;
};

// Turns the shards until there is an answer or an end. False when neither comes.
static bool answered(struct peer *peer)
{
    enum { QUICK = 50, TURNS = 400, WAITS = 10, WAIT_MS = 500 };
    for (int i = 0; i < TURNS + WAITS && peer->size == 0 && !peer->closed; i++) {
        shards_turn(peer->shards);
        for (uint32_t k = 0; i > QUICK && k < peer->shards->server.shard_count; k++) {
            struct io *io = peer->shards->shard[k].io;
            io_run(io, io->now_ns + 50000);
        }
        // After a while with nothing to do it is a timer that is waited for.
        if (i >= TURNS)
            shards_pass_time(peer->shards, WAIT_MS);
        peer_read(peer);
    }
    return peer->size > 0 || peer->closed;
}

// The reply's body, or all zero when the connection has ended instead.
static struct kp_reader call(struct run *run, struct kp_writer *writer, int16_t key,
                             int16_t version)
{
    struct client *client = &run->client;
    kp_frame_end(writer, 0);
    cr_assert_not(writer->failed);
    struct span request = kp_writer_flat(writer);
    fault_alloc_resume();
    cr_assert_eq(write(client->peer->fd, request.data, request.size), (ssize_t)request.size);
    if (!answered(client->peer)) {
        fault_alloc_disarm(); // it may wait for memory, not longer
        answered(client->peer);
    }
    fault_alloc_pause();
    cr_assert(client->peer->size > 0 || client->peer->closed,
              "%" PRIu64 ": neither answer nor end for request %d", run->nth, key);
    cr_assert(client->peer->size > 0 || !run->strict, "%" PRIu64 ": closed at %d", run->nth, key);
    if (client->peer->size == 0) {
        peer_close(client->peer);
        client->peer = peer_open(client->shards);
        client->peer->connection->proven = true;
        return (struct kp_reader){0};
    }
    size_t size = load_be32(client->peer->received);
    for (int i = 0; i < TURNS_MAX && client->peer->size < size + 4; i++) {
        shards_turn(client->shards);
        peer_read(client->peer);
    }
    cr_assert_eq(client->peer->size, size + 4);
    uint8_t *copy = arena_raw(&client->arena, size);
    memcpy(copy, client->peer->received + 4, size);
    client->peer->size = 0;
    struct kp_reader reader = kp_reader_init(copy, size);
    int32_t correlation;
    cr_assert_eq(kp_response_header_read(&reader, kp_api_find(key), version, &correlation), 0);
    cr_assert_eq(correlation, client->correlation);
    return reader;
}

// What a reply says; errors are right as long as the fault is there.
static bool succeeded(const struct run *run, int16_t error, const char *what)
{
    cr_assert(error == 0 || !run->strict, "%" PRIu64 ": %s: error %d", run->nth, what, error);
    return error == 0;
}

static struct kp_writer begin(struct run *run, int16_t key, int16_t version)
{
    return client_begin(&run->client, key, version);
}

static void create_topic(struct run *run)
{
    struct kp_create_topics_request_topic topic;
    kp_create_topics_request_topic_init(&topic);
    topic.name = span_text("t");
    topic.num_partitions = 3;
    topic.replication_factor = 1;
    struct kp_create_topics_request in;
    kp_create_topics_request_init(&in);
    in.topics = &topic;
    in.topics_count = 1;
    struct kp_writer writer = begin(run, KP_CREATE_TOPICS_KEY, 5);
    kp_create_topics_request_encode(&writer, 5, &in);
    struct kp_reader reader = call(run, &writer, KP_CREATE_TOPICS_KEY, 5);
    struct kp_create_topics_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_create_topics_response_decode(&reader, 5, &run->client.arena, &out), 0);
    if (out.topics[0].error_code != TOPIC_EXISTS)
        succeeded(run, out.topics[0].error_code, "create");
}

static void ask_metadata(struct run *run)
{
    struct kp_metadata_request in;
    kp_metadata_request_init(&in);
    in.topics_count = -1;
    struct kp_writer writer = begin(run, KP_METADATA_KEY, 5);
    kp_metadata_request_encode(&writer, 5, &in);
    struct kp_reader reader = call(run, &writer, KP_METADATA_KEY, 5);
    struct kp_metadata_response out;
    if (reader.at)
        cr_assert_eq(kp_metadata_response_decode(&reader, 5, &run->client.arena, &out), 0);
}

static void init_producer_id(struct run *run)
{
    struct kp_init_producer_id_request in;
    kp_init_producer_id_request_init(&in);
    in.transactional_id = (struct span){0};
    struct kp_writer writer = begin(run, KP_INIT_PRODUCER_ID_KEY, 1);
    kp_init_producer_id_request_encode(&writer, 1, &in);
    struct kp_reader reader = call(run, &writer, KP_INIT_PRODUCER_ID_KEY, 1);
    struct kp_init_producer_id_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_init_producer_id_response_decode(&reader, 1, &run->client.arena, &out), 0);
    succeeded(run, out.error_code, "init producer id");
}

static void produce(struct run *run, int32_t partition, size_t size)
{
    struct batch_header header;
    struct span batch = shards_batch(size, &header);
    union {
        const uint8_t *from;
        void *base;
    } bytes = {.from = batch.data};
    struct iovec one = {.iov_base = bytes.base, .iov_len = batch.size};
    struct kp_produce_request_partition part = {
        .index = partition,
        .records = {.slice_count = 1, .size = (int64_t)batch.size, .slices = &one, .one = one}};
    struct kp_produce_request_topic topic = {
        .name = span_text("t"), .partition_data = &part, .partition_data_count = 1};
    struct kp_produce_request in;
    kp_produce_request_init(&in);
    in.acks = -1;
    in.topic_data = &topic;
    in.topic_data_count = 1;
    struct kp_writer writer = begin(run, KP_PRODUCE_KEY, 7);
    kp_produce_request_encode(&writer, 7, &in);
    struct kp_reader reader = call(run, &writer, KP_PRODUCE_KEY, 7);
    shards_free_batch(batch);
    struct kp_produce_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_produce_response_decode(&reader, 7, &run->client.arena, &out), 0);
    if (succeeded(run, out.responses[0].partition_responses[0].error_code, "produce") &&
        partition == 0)
        run->stored = out.responses[0].partition_responses[0].base_offset + 1;
}

// What was acknowledged in partition 0 comes back. The fetch session, 0 when there is none.
static int32_t fetch(struct run *run, int32_t session_id, int32_t session_epoch)
{
    struct kp_fetch_request_partition part;
    kp_fetch_request_partition_init(&part);
    part.partition_max_bytes = 1 << 20;
    struct kp_fetch_request_topic topic = {
        .topic = span_text("t"), .partitions = &part, .partitions_count = 1};
    struct kp_fetch_request in;
    kp_fetch_request_init(&in);
    in.max_bytes = 1 << 20;
    in.min_bytes = 1;
    in.session_id = session_id;
    in.session_epoch = session_epoch;
    in.topics = &topic;
    in.topics_count = 1;
    in.rack_id = span_text("");
    struct kp_writer writer = begin(run, KP_FETCH_KEY, 11);
    kp_fetch_request_encode(&writer, 11, &in);
    struct kp_reader reader = call(run, &writer, KP_FETCH_KEY, 11);
    struct kp_fetch_response out;
    if (!reader.at)
        return 0;
    cr_assert_eq(kp_fetch_response_decode(&reader, 11, &run->client.arena, &out), 0);
    if (!succeeded(run, out.error_code, "fetch") || out.responses_count == 0 ||
        !succeeded(run, out.responses[0].partitions[0].error_code, "fetch"))
        return 0;
    cr_assert_geq(out.responses[0].partitions[0].high_watermark, run->stored, "%" PRIu64, run->nth);
    return out.session_id;
}

static void fetch_in_session(struct run *run)
{
    int32_t id = fetch(run, 0, 0);
    cr_assert(id > 0 || !run->strict);
    if (id > 0)
        fetch(run, id, 1);
    fetch(run, id, -1);
}

static void list_offsets(struct run *run, int64_t timestamp)
{
    struct kp_list_offsets_request_partition part = {.timestamp = timestamp};
    struct kp_list_offsets_request_topic topic = {
        .name = span_text("t"), .partitions = &part, .partitions_count = 1};
    struct kp_list_offsets_request in;
    kp_list_offsets_request_init(&in);
    in.replica_id = -1;
    in.topics = &topic;
    in.topics_count = 1;
    struct kp_writer writer = begin(run, KP_LIST_OFFSETS_KEY, 5);
    kp_list_offsets_request_encode(&writer, 5, &in);
    struct kp_reader reader = call(run, &writer, KP_LIST_OFFSETS_KEY, 5);
    struct kp_list_offsets_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_list_offsets_response_decode(&reader, 5, &run->client.arena, &out), 0);
    succeeded(run, out.topics[0].partitions[0].error_code, "list offsets");
}

static void commit_offset(struct run *run)
{
    struct kp_offset_commit_request_partition part = {.committed_offset = 1};
    part.committed_metadata = span_text("");
    struct kp_offset_commit_request_topic topic = {
        .name = span_text("t"), .partitions = &part, .partitions_count = 1};
    struct kp_offset_commit_request in;
    kp_offset_commit_request_init(&in);
    in.group_id = span_text("g");
    in.generation_id_or_member_epoch = -1;
    in.member_id = span_text("");
    in.topics = &topic;
    in.topics_count = 1;
    struct kp_writer writer = begin(run, KP_OFFSET_COMMIT_KEY, 6);
    kp_offset_commit_request_encode(&writer, 6, &in);
    struct kp_reader reader = call(run, &writer, KP_OFFSET_COMMIT_KEY, 6);
    struct kp_offset_commit_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_offset_commit_response_decode(&reader, 6, &run->client.arena, &out), 0);
    succeeded(run, out.topics[0].partitions[0].error_code, "commit");
}

static void fetch_offset(struct run *run)
{
    int32_t zero = 0;
    struct kp_offset_fetch_request_topic topic = {
        .name = span_text("t"), .partition_indexes = &zero, .partition_indexes_count = 1};
    struct kp_offset_fetch_request in;
    kp_offset_fetch_request_init(&in);
    in.group_id = span_text("g");
    in.topics = &topic;
    in.topics_count = 1;
    struct kp_writer writer = begin(run, KP_OFFSET_FETCH_KEY, 5);
    kp_offset_fetch_request_encode(&writer, 5, &in);
    struct kp_reader reader = call(run, &writer, KP_OFFSET_FETCH_KEY, 5);
    struct kp_offset_fetch_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_offset_fetch_response_decode(&reader, 5, &run->client.arena, &out), 0);
    if (succeeded(run, out.error_code, "fetch offset") && run->strict)
        cr_assert_eq(out.topics[0].partitions[0].committed_offset, 1);
}

// --- a group ------------------------------------------------------------------------------------

static bool join_group(struct run *run)
{
    struct kp_join_group_request_protocol protocol = {span_text("range"), span_text("wish")};
    struct kp_join_group_request in;
    kp_join_group_request_init(&in);
    in.group_id = span_text("m");
    in.session_timeout_ms = in.rebalance_timeout_ms = 60000;
    in.group_instance_id = span_text("one");
    in.protocol_type = span_text("test");
    in.protocols = &protocol;
    in.protocols_count = 1;
    struct kp_writer writer = begin(run, KP_JOIN_GROUP_KEY, 5);
    kp_join_group_request_encode(&writer, 5, &in);
    struct kp_reader reader = call(run, &writer, KP_JOIN_GROUP_KEY, 5);
    struct kp_join_group_response out;
    if (!reader.at)
        return false;
    cr_assert_eq(kp_join_group_response_decode(&reader, 5, &run->client.arena, &out), 0);
    if (!succeeded(run, out.error_code, "join"))
        return false;
    cr_assert_geq(out.generation_id, run->generation, "a generation goes back");
    snprintf(run->member, sizeof(run->member), "%.*s", (int)out.member_id.size,
             (const char *)out.member_id.data);
    run->generation = out.generation_id;
    return true;
}

static bool sync_group(struct run *run)
{
    struct kp_sync_group_request_assignment assignment = {span_text(run->member),
                                                          span_text("part")};
    struct kp_sync_group_request in;
    kp_sync_group_request_init(&in);
    in.group_id = span_text("m");
    in.generation_id = run->generation;
    in.member_id = span_text(run->member);
    in.assignments = &assignment;
    in.assignments_count = 1;
    struct kp_writer writer = begin(run, KP_SYNC_GROUP_KEY, 2);
    kp_sync_group_request_encode(&writer, 2, &in);
    struct kp_reader reader = call(run, &writer, KP_SYNC_GROUP_KEY, 2);
    struct kp_sync_group_response out;
    if (!reader.at)
        return false;
    cr_assert_eq(kp_sync_group_response_decode(&reader, 2, &run->client.arena, &out), 0);
    if (!succeeded(run, out.error_code, "sync"))
        return false;
    cr_assert(span_equal(out.assignment, span_text("part")));
    return true;
}

// Nobody else is there: who was told of a generation is in it.
static void heartbeat(struct run *run)
{
    struct kp_heartbeat_request in;
    kp_heartbeat_request_init(&in);
    in.group_id = span_text("m");
    in.generation_id = run->generation;
    in.member_id = span_text(run->member);
    struct kp_writer writer = begin(run, KP_HEARTBEAT_KEY, 2);
    kp_heartbeat_request_encode(&writer, 2, &in);
    struct kp_reader reader = call(run, &writer, KP_HEARTBEAT_KEY, 2);
    struct kp_heartbeat_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_heartbeat_response_decode(&reader, 2, &run->client.arena, &out), 0);
    if (out.error_code != KP_ERROR_COORDINATOR_NOT_AVAILABLE)
        cr_assert_eq(out.error_code, 0, "%" PRIu64 ": error %d", run->nth, out.error_code);
    succeeded(run, out.error_code, "heartbeat");
}

static void look_at_groups(struct run *run)
{
    struct span name = span_text("m");
    struct kp_describe_groups_request in = {.groups = &name, .groups_count = 1};
    struct kp_writer writer = begin(run, KP_DESCRIBE_GROUPS_KEY, 4);
    kp_describe_groups_request_encode(&writer, 4, &in);
    struct kp_reader reader = call(run, &writer, KP_DESCRIBE_GROUPS_KEY, 4);
    struct kp_describe_groups_response out;
    if (reader.at) {
        cr_assert_eq(kp_describe_groups_response_decode(&reader, 4, &run->client.arena, &out), 0);
        succeeded(run, out.groups[0].error_code, "describe");
    }
    struct kp_list_groups_request list = {0};
    struct kp_list_groups_response listed;
    writer = begin(run, KP_LIST_GROUPS_KEY, 2);
    kp_list_groups_request_encode(&writer, 2, &list);
    reader = call(run, &writer, KP_LIST_GROUPS_KEY, 2);
    if (!reader.at)
        return;
    cr_assert_eq(kp_list_groups_response_decode(&reader, 2, &run->client.arena, &listed), 0);
    succeeded(run, listed.error_code, "list");
}

static void end_group(struct run *run)
{
    struct kp_leave_group_request_member leaver = {.group_instance_id = span_text("one"),
                                                   .member_id = span_text("")};
    struct kp_leave_group_request in;
    kp_leave_group_request_init(&in);
    in.group_id = span_text("m");
    in.members = &leaver;
    in.members_count = 1;
    struct kp_writer writer = begin(run, KP_LEAVE_GROUP_KEY, 3);
    kp_leave_group_request_encode(&writer, 3, &in);
    struct kp_reader reader = call(run, &writer, KP_LEAVE_GROUP_KEY, 3);
    struct kp_leave_group_response out;
    if (reader.at) {
        cr_assert_eq(kp_leave_group_response_decode(&reader, 3, &run->client.arena, &out), 0);
        succeeded(run, out.error_code, "leave");
    }
    struct span name = span_text("m");
    struct kp_delete_groups_request delete = {.groups_names = &name, .groups_names_count = 1};
    struct kp_delete_groups_response deleted;
    writer = begin(run, KP_DELETE_GROUPS_KEY, 1);
    kp_delete_groups_request_encode(&writer, 1, &delete);
    reader = call(run, &writer, KP_DELETE_GROUPS_KEY, 1);
    if (!reader.at)
        return;
    cr_assert_eq(kp_delete_groups_response_decode(&reader, 1, &run->client.arena, &deleted), 0);
    succeeded(run, deleted.results[0].error_code, "delete group");
    // Whether or not it was told: from here on the group may be a new one.
    run->generation = 0;
}

static void use_group(struct run *run)
{
    if (join_group(run) && sync_group(run))
        heartbeat(run);
    look_at_groups(run);
    end_group(run);
}

// --- all of them --------------------------------------------------------------------------------

static void delete_topic(struct run *run)
{
    struct span name = span_text("t");
    struct kp_delete_topics_request in;
    kp_delete_topics_request_init(&in);
    in.topic_names = &name;
    in.topic_names_count = 1;
    struct kp_writer writer = begin(run, KP_DELETE_TOPICS_KEY, 4);
    kp_delete_topics_request_encode(&writer, 4, &in);
    struct kp_reader reader = call(run, &writer, KP_DELETE_TOPICS_KEY, 4);
    struct kp_delete_topics_response out;
    if (!reader.at)
        return;
    cr_assert_eq(kp_delete_topics_response_decode(&reader, 4, &run->client.arena, &out), 0);
    if (succeeded(run, out.responses[0].error_code, "delete"))
        run->stored = 0;
}

static void all_requests(struct run *run)
{
    create_topic(run);
    ask_metadata(run);
    init_producer_id(run);
    for (int32_t i = 0; i < 3; i++)
        produce(run, i, 2000);
    produce(run, 0, 200000);
    fetch_in_session(run);
    list_offsets(run, 0);
    list_offsets(run, -3);
    commit_offset(run);
    fetch_offset(run);
    use_group(run);
}

static struct client open_without_delay(void)
{
    struct shards *shards = shards_open(2);
    shards->config->values[SETTING_GROUP_INITIAL_REBALANCE_DELAY_MS].number = 0;
    state_begin(shards);
    struct client client = {.shards = shards, .peer = peer_open(shards)};
    client.peer->connection->proven = true;
    arena_init(&client.arena, 64 << 20);
    return client;
}

// Whether the fault has struck.
static bool run_with(uint64_t nth, bool for_ever)
{
    struct run run = {.client = open_without_delay(), .nth = nth};
    fault_alloc_pause();
    fault_alloc_arm(nth, for_ever);
    all_requests(&run);
    delete_topic(&run);
    bool struck = fault_alloc_struck();
    fault_alloc_disarm();
    shards_settle(run.client.shards);
    run.strict = true;
    all_requests(&run);
    all_requests(&run);
    delete_topic(&run);
    client_close(&run.client);
    return struck;
}

static void run_each(bool for_ever)
{
    uint64_t nth = 1;
    while (run_with(nth, for_ever))
        cr_assert_lt(++nth, RUNS_MAX);
    printf("allocations%s: %" PRIu64 " points\n", for_ever ? ", from there on" : "", nth - 1);
}

Test(broker, each_allocation_behind_a_request_may_fail)
{
    run_each(false);
}

Test(broker, memory_may_be_short_from_any_point_on)
{
    run_each(true);
}
