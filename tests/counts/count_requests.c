// SPDX-License-Identifier: Apache-2.0
// A whole broker on the simulated machine that answers the same requests in every run, for
// counts.py to count its instructions under callgrind. What is counted is what happens inside of
// counted(): once for each kind of request, in the order in which standard output names them.
//
// Requests are encoded before, and each kind is done once without being counted, so that buffers
// and files are there. Replies are checked then; the counted ones must have the same size.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"
#include "broker/catalog.h"
#include "tests/sim/broker_client.h"
#include "tests/sim/content.h"

enum {
    PRODUCE_VERSION = 13,
    FETCH_VERSION = 18,
    CREATE_VERSION = 7,
    PARTITIONS = 1000,
    SESSION_PARTITIONS = 200,
    TURNS_MAX = 100000,
    SETTLE_TURNS = 1000, // a second
    REQUESTS_MAX = 200,
};

struct bench {
    struct world world;
    struct broker_node node;
    struct client client;
    struct content_builder builder;
    uint8_t *batches; // of the request that is being encoded
};

// Requests of one kind, as bytes on the wire; first those that are not counted.
struct kind {
    const char *name;
    uint32_t count; // of the requests that are counted, and of those before
    uint32_t made;
    struct span requests[REQUESTS_MAX];
    size_t reply_size;
};

// What tests/sim asks of the program that has a world.
void world_failed(struct world *world, const char *text)
{
    (void)world;
    fprintf(stderr, "%s\n", text);
    exit(1);
}

// --- asking

// The bytes of the next reply, which stay with the socket.
static struct span reply_wait(struct bench *bench)
{
    const uint8_t *bytes;
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        size_t there = sim_socket_received(bench->client.socket, &bytes);
        if (there >= 4 && there >= 4 + (size_t)load_be32(bytes))
            return span_of(bytes, 4 + (size_t)load_be32(bytes));
        broker_turn(&bench->node);
    }
    world_fail(&bench->world, "a request gets no answer");
}

static struct span ask(struct bench *bench, struct span request)
{
    sim_socket_send(bench->world.sim, bench->client.socket, request.data, request.size);
    return reply_wait(bench);
}

// The one function whose instructions are counted, with what it calls. Its name is known to
// counts.py.
__attribute__((noipa)) static void counted(struct bench *bench, const struct kind *kind)
{
    for (uint32_t i = 0; i < kind->count; i++) {
        struct span reply = ask(bench, kind->requests[kind->count + i]);
        CHECK(reply.size == kind->reply_size);
        sim_socket_take(bench->client.socket, reply.size);
    }
}

// The frame that was begun with client_begin becomes one more request of the kind.
static void add(struct kind *kind, struct kp_writer *writer)
{
    struct iovec *vectors;
    kp_frame_end(writer, 0);
    int count = kp_writer_vectors(writer, &vectors);
    CHECK(count > 0 && kind->made < REQUESTS_MAX);
    uint8_t *bytes = malloc(kp_writer_total(writer)), *at = bytes;
    CHECK(bytes);
    for (int i = 0; i < count; i++) {
        memcpy(at, vectors[i].iov_base, vectors[i].iov_len);
        at += vectors[i].iov_len;
    }
    kind->requests[kind->made++] = span_of(bytes, (size_t)(at - bytes));
}

static struct kp_reader reply_body(struct bench *bench, struct span reply, int16_t key,
                                   int16_t version)
{
    struct kp_reader reader = kp_reader_init(reply.data + 4, reply.size - 4);
    int32_t correlation;
    arena_reset(&bench->client.arena);
    CHECK(kp_response_header_read(&reader, kp_api_find(key), version, &correlation) == 0);
    return reader;
}

// --- topics

static struct kp_uuid create_topic(struct bench *bench, const char *name, int32_t partitions)
{
    struct kp_create_topics_request_topic wanted;
    kp_create_topics_request_topic_init(&wanted);
    wanted.name = span_text(name);
    wanted.num_partitions = partitions;
    wanted.replication_factor = 1;
    struct kp_create_topics_request in;
    kp_create_topics_request_init(&in);
    in.topics = &wanted;
    in.topics_count = 1;
    in.timeout_ms = 1000000;
    struct kp_writer writer = client_begin(&bench->client, KP_CREATE_TOPICS_KEY, CREATE_VERSION);
    kp_create_topics_request_encode(&writer, CREATE_VERSION, &in);
    struct kp_reader reader;
    CHECK(client_call(&bench->client, &writer, &reader));
    struct kp_create_topics_response out;
    CHECK(kp_create_topics_response_decode(&reader, CREATE_VERSION, &bench->client.arena, &out) ==
          0);
    CHECK(out.topics[0].error_code == 0);
    return catalog_find(bench->node.shards[0]->catalog, span_text(name))->id;
}

// --- Produce

// A batch of `records` records of `size` bytes to each of so many partitions.
static void add_produce(struct bench *bench, struct kind *kind, struct kp_uuid topic,
                        int32_t partitions, int32_t records, uint32_t size)
{
    struct kp_writer writer = client_begin(&bench->client, KP_PRODUCE_KEY, PRODUCE_VERSION);
    struct content content = {
        .id = kind->made + 1,
        .records = records,
        .value_bytes = size,
        .timestamp = bench->node.shards[0]->io->wall_ms,
        .producer = {.id = -1, .epoch = -1, .base_sequence = -1},
    };
    struct span batch = content_build(&bench->builder, &content);
    uint8_t *copy = arena_raw(&bench->client.arena, batch.size);
    struct kp_produce_request_partition *parts =
        arena_alloc(&bench->client.arena, (size_t)partitions * sizeof(*parts));
    CHECK(copy && parts);
    memcpy(copy, batch.data, batch.size);
    for (int32_t i = 0; i < partitions; i++) {
        parts[i].index = i;
        parts[i].records.one = (struct iovec){.iov_base = copy, .iov_len = batch.size};
        parts[i].records.slices = &parts[i].records.one;
        parts[i].records.slice_count = 1;
        parts[i].records.size = (int64_t)batch.size;
    }
    struct kp_produce_request_topic wanted = {
        .topic_id = topic, .partition_data = parts, .partition_data_count = partitions};
    struct kp_produce_request in;
    kp_produce_request_init(&in);
    in.acks = -1;
    in.timeout_ms = 30000;
    in.topic_data = &wanted;
    in.topic_data_count = 1;
    kp_produce_request_encode(&writer, PRODUCE_VERSION, &in);
    add(kind, &writer);
}

static void check_produced(struct bench *bench, struct span reply)
{
    struct kp_reader reader = reply_body(bench, reply, KP_PRODUCE_KEY, PRODUCE_VERSION);
    struct kp_produce_response out;
    CHECK(kp_produce_response_decode(&reader, PRODUCE_VERSION, &bench->client.arena, &out) == 0);
    for (int32_t i = 0; i < out.responses[0].partition_responses_count; i++)
        CHECK(out.responses[0].partition_responses[i].error_code == 0);
}

static void run(struct bench *bench, struct kind *kind,
                void (*check)(struct bench *bench, struct span reply));

static void produce(struct bench *bench, struct kind kind, struct kp_uuid topic, int32_t partitions,
                    int32_t records, uint32_t size)
{
    for (uint32_t i = 0; i < 2 * kind.count; i++)
        add_produce(bench, &kind, topic, partitions, records, size);
    run(bench, &kind, check_produced);
}

// --- Fetch

struct asked {
    struct kp_uuid topic;
    int32_t partitions; // 0 = those of the session
    int64_t offset;
    int32_t session_id;
    int32_t session_epoch; // -1 = without a session
};

static void add_fetch(struct bench *bench, struct kind *kind, struct asked asked)
{
    struct kp_writer writer = client_begin(&bench->client, KP_FETCH_KEY, FETCH_VERSION);
    struct kp_fetch_request_partition *parts =
        arena_alloc(&bench->client.arena, ((size_t)asked.partitions + 1) * sizeof(*parts));
    CHECK(parts);
    for (int32_t i = 0; i < asked.partitions; i++) {
        kp_fetch_request_partition_init(&parts[i]);
        parts[i].partition = i;
        parts[i].fetch_offset = asked.offset;
        parts[i].partition_max_bytes = 1 << 20;
    }
    struct kp_fetch_request_topic wanted = {
        .topic_id = asked.topic, .partitions = parts, .partitions_count = asked.partitions};
    struct kp_fetch_request in;
    kp_fetch_request_init(&in);
    in.min_bytes = 1;
    in.max_bytes = 1 << 20;
    in.session_id = asked.session_id;
    in.session_epoch = asked.session_epoch;
    in.topics = &wanted;
    in.topics_count = asked.partitions > 0;
    in.rack_id = span_text("");
    kp_fetch_request_encode(&writer, FETCH_VERSION, &in);
    add(kind, &writer);
}

static struct kp_fetch_response fetched(struct bench *bench, struct span reply)
{
    struct kp_reader reader = reply_body(bench, reply, KP_FETCH_KEY, FETCH_VERSION);
    struct kp_fetch_response out;
    CHECK(kp_fetch_response_decode(&reader, FETCH_VERSION, &bench->client.arena, &out) == 0);
    CHECK(out.error_code == 0);
    for (int32_t i = 0; i < out.responses_count; i++)
        CHECK(out.responses[i].partitions[0].error_code == 0);
    return out;
}

static void check_full(struct bench *bench, struct span reply)
{
    struct kp_fetch_response out = fetched(bench, reply);
    CHECK(out.responses[0].partitions[0].records.size > 900000);
}

static void check_empty(struct bench *bench, struct span reply)
{
    struct kp_fetch_response out = fetched(bench, reply);
    CHECK(out.responses_count == 0 || out.responses[0].partitions[0].records.size <= 0);
}

static void fetch(struct bench *bench, struct kind kind, struct asked asked,
                  void (*check)(struct bench *bench, struct span reply))
{
    for (uint32_t i = 0; i < 2 * kind.count; i++) {
        add_fetch(bench, &kind, asked);
        asked.session_epoch += asked.session_epoch >= 0;
    }
    run(bench, &kind, check);
}

// Of all partitions from their present end; its id.
static int32_t open_session(struct bench *bench, struct kp_uuid topic)
{
    struct kind opening = {.name = "opening"};
    add_fetch(bench, &opening, (struct asked){.topic = topic, .partitions = SESSION_PARTITIONS});
    struct span reply = ask(bench, opening.requests[0]);
    int32_t id = fetched(bench, reply).session_id;
    sim_socket_take(bench->client.socket, reply.size);
    CHECK(id > 0);
    return id;
}

// --- the run

// So that what the kinds before have left to do in the background is not counted with this one.
static void settle(struct bench *bench)
{
    for (int turns = 0; turns < SETTLE_TURNS; turns++)
        broker_turn(&bench->node);
}

static void run(struct bench *bench, struct kind *kind,
                void (*check)(struct bench *bench, struct span reply))
{
    settle(bench);
    for (uint32_t i = 0; i < kind->count; i++) {
        struct span reply = ask(bench, kind->requests[i]);
        check(bench, reply);
        kind->reply_size = reply.size;
        sim_socket_take(bench->client.socket, reply.size);
    }
    counted(bench, kind);
    printf("%s %u\n", kind->name, kind->count);
    for (uint32_t i = 0; i < kind->made; i++)
        free((void *)(uintptr_t)kind->requests[i].data);
}

static void run_all(struct bench *bench)
{
    struct kp_uuid one = create_topic(bench, "one", 1);
    struct kp_uuid bulk = create_topic(bench, "bulk", 1);
    struct kp_uuid wide = create_topic(bench, "wide", PARTITIONS);
    struct kp_uuid quiet = create_topic(bench, "quiet", SESSION_PARTITIONS);
    produce(bench, (struct kind){"produce-1-of-1KiB", .count = 50}, one, 1, 1, 1024);
    produce(bench, (struct kind){"produce-1000-of-100B", .count = 20}, bulk, 1, 1000, 100);
    produce(bench, (struct kind){"produce-1-to-each-of-1000", .count = 3}, wide, PARTITIONS, 1,
            100);
    fetch(bench, (struct kind){"fetch-1MiB", .count = 20},
          (struct asked){.topic = bulk, .partitions = 1, .session_epoch = -1}, check_full);
    fetch(bench, (struct kind){"fetch-nothing", .count = 50},
          (struct asked){.topic = quiet, .partitions = 1, .session_epoch = -1}, check_empty);
    fetch(bench, (struct kind){"fetch-nothing-session-of-200", .count = 50},
          (struct asked){.session_id = open_session(bench, quiet), .session_epoch = 1},
          check_empty);
}

int main(void)
{
    enum { SEED = 1 };
    static struct bench bench;
    static const struct broker_scale scale = {
        .segment_bytes = "67108864",
        .journal_file_bytes = 4 << 20,
        .tail_cache_bytes = 64 << 20,
        .read_cache_bytes = 16 << 20,
        .retention_interval_ms = "300000",
        .compaction_backoff_ms = 15000,
    };
    world_begin(&bench.world, SEED, NULL);
    sim_set_bound(bench.world.sim, UINT64_MAX, NULL, NULL);
    sim_set_device(bench.world.sim, 1, 0, 0); // so that nothing waits, and the order is the same
    bench.world.shard_count = 1;
    content_builder_init(&bench.builder);
    CHECK(broker_start(&bench.node, &bench.world, scale));
    CHECK(client_connect(&bench.client, &bench.node));
    run_all(&bench);
    client_close(&bench.client);
    broker_stop(&bench.node);
    content_builder_free(&bench.builder);
    sim_destroy(bench.world.sim);
    return 0;
}
