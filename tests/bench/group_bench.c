// SPDX-License-Identifier: Apache-2.0
// Rebalances of large groups, and many groups, over plain sockets: the members do nothing but ask,
// so the time is the broker's, as far as one machine for both allows. Meanwhile a producer writes
// one record after the other; how long each takes shows what a rebalance costs those beside it.
//
//   group_bench HOST:PORT members N [ROUNDS]   one group of N members; a round is: one of them
//                                              joins with another wish, all others hear of it, join
//                                              and sync
//   group_bench HOST:PORT groups N             N groups of one member each, then a heartbeat of
//                                              each
//
// Prints one line of JSON. The members do not leave: the group stays as it is for a while.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/endian.h"
#include "clients/c/weir.h"
#include "gen/kp_apis.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_sync_group.h"
#include "protocol/frame.h"
#include "tests/bench/wire.h"

enum {
    MEMBERS_MAX = 20000,
    ID_MAX = 128,
    METADATA = 200, // bytes that a member sends, and that a leader sends to each
    ASSIGNMENT = 100,
    ROUNDS_MAX = 100,
    PIPELINE = 50,
    SAMPLES_MAX = 1 << 20,
    JOIN_VERSION = 3,
    SYNC_VERSION = 2,
    HEARTBEAT_VERSION = 2,
};

struct member {
    int fd;
    char id[ID_MAX];
    char group[24];
};

struct bench {
    const char *address;
    struct member *members;
    int count;
    int32_t generation;
    int leader; // its place among the members
    char wish;  // what metadata is made of
    struct arena arena;
};

// --- the wire ---------------------------------------------------------------------------------

static struct kp_writer begin(struct bench *bench, int16_t key, int16_t version)
{
    struct kp_request_header header = {.api_key = key, .api_version = version};
    return wire_begin(&bench->arena, &header);
}

static struct kp_reader receive(struct bench *bench, int fd, int16_t key, int16_t version)
{
    uint8_t length[4];
    int32_t correlation;
    wire_receive(fd, length, sizeof(length));
    size_t size = load_be32(length);
    void *bytes = arena_raw(&bench->arena, size);
    CHECK(bytes);
    wire_receive(fd, bytes, size);
    struct kp_reader reader = kp_reader_init(bytes, size);
    CHECK(kp_response_header_read(&reader, kp_api_find(key), version, &correlation) == 0);
    return reader;
}

// --- what a member says -----------------------------------------------------------------------

static void send_join(struct bench *bench, const struct member *member)
{
    char metadata[METADATA];
    memset(metadata, bench->wish, sizeof(metadata));
    struct kp_join_group_request_protocol protocol = {
        .name = span_text("range"), .metadata = span_of(metadata, sizeof(metadata))};
    struct kp_join_group_request in;
    kp_join_group_request_init(&in);
    in.group_id = span_text(member->group);
    in.session_timeout_ms = 60000;
    in.rebalance_timeout_ms = 60000;
    in.member_id = span_text(member->id);
    in.protocol_type = span_text("bench");
    in.protocols = &protocol;
    in.protocols_count = 1;
    struct kp_writer writer = begin(bench, KP_JOIN_GROUP_KEY, JOIN_VERSION);
    kp_join_group_request_encode(&writer, JOIN_VERSION, &in);
    wire_send(member->fd, &writer);
}

static void receive_join(struct bench *bench, struct member *member)
{
    struct kp_join_group_response out;
    struct kp_reader reader = receive(bench, member->fd, KP_JOIN_GROUP_KEY, JOIN_VERSION);
    CHECK(kp_join_group_response_decode(&reader, JOIN_VERSION, &bench->arena, &out) == 0);
    if (out.error_code) {
        fprintf(stderr, "group_bench: joining: error %d\n", out.error_code);
        exit(1);
    }
    CHECK(out.member_id.size < ID_MAX);
    memcpy(member->id, out.member_id.data, out.member_id.size);
    member->id[out.member_id.size] = '\0';
    bench->generation = out.generation_id;
    if (out.members_count > 0)
        bench->leader = (int)(member - bench->members);
}

// The leader brings an assignment for each of the members [first, first + count).
static void send_sync(struct bench *bench, const struct member *member, int first, int count)
{
    static char assignment[ASSIGNMENT];
    struct kp_sync_group_request in;
    kp_sync_group_request_init(&in);
    in.group_id = span_text(member->group);
    in.generation_id = bench->generation;
    in.member_id = span_text(member->id);
    in.assignments = arena_array(&bench->arena, (size_t)count, sizeof(*in.assignments));
    in.assignments_count = count;
    CHECK(in.assignments);
    for (int i = 0; i < count; i++)
        in.assignments[i] = (struct kp_sync_group_request_assignment){
            .member_id = span_text(bench->members[first + i].id),
            .assignment = span_of(assignment, sizeof(assignment))};
    struct kp_writer writer = begin(bench, KP_SYNC_GROUP_KEY, SYNC_VERSION);
    kp_sync_group_request_encode(&writer, SYNC_VERSION, &in);
    wire_send(member->fd, &writer);
}

static void receive_sync(struct bench *bench, const struct member *member)
{
    struct kp_sync_group_response out;
    struct kp_reader reader = receive(bench, member->fd, KP_SYNC_GROUP_KEY, SYNC_VERSION);
    CHECK(kp_sync_group_response_decode(&reader, SYNC_VERSION, &bench->arena, &out) == 0);
    CHECK(out.error_code == 0 && out.assignment.size == ASSIGNMENT);
}

static void send_heartbeat(struct bench *bench, const struct member *member)
{
    struct kp_heartbeat_request in;
    kp_heartbeat_request_init(&in);
    in.group_id = span_text(member->group);
    in.generation_id = bench->generation;
    in.member_id = span_text(member->id);
    struct kp_writer writer = begin(bench, KP_HEARTBEAT_KEY, HEARTBEAT_VERSION);
    kp_heartbeat_request_encode(&writer, HEARTBEAT_VERSION, &in);
    wire_send(member->fd, &writer);
}

static int16_t receive_heartbeat(struct bench *bench, const struct member *member)
{
    struct kp_heartbeat_response out;
    struct kp_reader reader = receive(bench, member->fd, KP_HEARTBEAT_KEY, HEARTBEAT_VERSION);
    CHECK(kp_heartbeat_response_decode(&reader, HEARTBEAT_VERSION, &bench->arena, &out) == 0);
    return out.error_code;
}

// --- the producer beside it -------------------------------------------------------------------

struct beside {
    const char *address;
    pthread_t thread;
    atomic_bool busy; // samples count as taken during rebalances
    atomic_bool end;
    uint32_t *us[2]; // quiet, busy
    size_t count[2];
};

static void *produce(void *argument)
{
    struct beside *beside = argument;
    struct weir_client *client = weir_client_new(beside->address, NULL);
    struct weir_producer *producer = weir_producer_new(client, NULL);
    struct weir_new_topic topic = {.name = "beside", .partitions = 1};
    struct weir_message message = {.value = weir_bytes_of("a record", 8)};
    CHECK(producer && weir_create_topic(client, &topic, 10000) == WEIR_OK);
    while (!atomic_load(&beside->end)) {
        bool busy = atomic_load(&beside->busy);
        uint64_t start = clock_monotonic_ns();
        CHECK(weir_produce(producer, "beside", 0, &message) == WEIR_OK);
        CHECK(weir_flush(producer, 60000) == WEIR_OK);
        // One that began while it was quiet and ended in a rebalance waited for that as well.
        busy |= atomic_load(&beside->busy);
        if (beside->count[busy] < SAMPLES_MAX)
            beside->us[busy][beside->count[busy]++] =
                (uint32_t)((clock_monotonic_ns() - start) / 1000);
    }
    weir_producer_free(producer);
    weir_client_free(client);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint32_t percentile(uint32_t *values, size_t count, size_t per_mille)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(values[0]), compare);
    return values[(count - 1) * per_mille / 1000];
}

// --- one large group --------------------------------------------------------------------------

struct rounds {
    uint32_t join_us[ROUNDS_MAX]; // until all have heard of it and joined
    uint32_t sync_us[ROUNDS_MAX]; // from there until all have their part
    int count;
};

static uint32_t since_us(uint64_t start)
{
    return (uint32_t)((clock_monotonic_ns() - start) / 1000);
}

static uint32_t sync_all(struct bench *bench)
{
    uint64_t start = clock_monotonic_ns();
    for (int i = 0; i < bench->count; i++)
        if (i != bench->leader)
            send_sync(bench, &bench->members[i], 0, 0);
    send_sync(bench, &bench->members[bench->leader], 0, bench->count);
    for (int i = 0; i < bench->count; i++)
        receive_sync(bench, &bench->members[i]);
    return since_us(start);
}

// The first members come while the group waits for others; nothing is measured.
static void gather(struct bench *bench)
{
    for (int i = 0; i < bench->count; i++)
        send_join(bench, &bench->members[i]);
    for (int i = 0; i < bench->count; i++)
        receive_join(bench, &bench->members[i]);
    sync_all(bench);
    arena_reset(&bench->arena);
}

static void rebalance(struct bench *bench, struct rounds *rounds)
{
    uint64_t start = clock_monotonic_ns();
    bench->wish = (char)('a' + rounds->count % 26);
    send_join(bench, &bench->members[0]);
    for (int i = 1; i < bench->count; i++)
        send_heartbeat(bench, &bench->members[i]);
    for (int i = 1; i < bench->count; i++) {
        // One that overtook the join hears of it the next time.
        while (receive_heartbeat(bench, &bench->members[i]) == 0)
            send_heartbeat(bench, &bench->members[i]);
        send_join(bench, &bench->members[i]);
    }
    for (int i = 0; i < bench->count; i++)
        receive_join(bench, &bench->members[i]);
    rounds->join_us[rounds->count] = since_us(start);
    rounds->sync_us[rounds->count++] = sync_all(bench);
    arena_reset(&bench->arena);
}

static void run_members(struct bench *bench, int count)
{
    static struct rounds rounds;
    struct beside beside = {.address = bench->address};
    for (int i = 0; i < bench->count; i++) {
        bench->members[i].fd = wire_connect(bench->address);
        snprintf(bench->members[i].group, sizeof(bench->members[i].group), "large");
    }
    for (int i = 0; i < 2; i++) {
        beside.us[i] = calloc(SAMPLES_MAX, sizeof(*beside.us[i]));
        CHECK(beside.us[i]);
    }
    gather(bench);
    CHECK(pthread_create(&beside.thread, NULL, produce, &beside) == 0);
    usleep(2000000);
    while (rounds.count < count) {
        atomic_store(&beside.busy, true);
        rebalance(bench, &rounds);
        atomic_store(&beside.busy, false);
        usleep(50000);
    }
    atomic_store(&beside.end, true);
    pthread_join(beside.thread, NULL);
    printf("{\"members\": %d, \"rounds\": %d, \"join_p50_us\": %u, \"join_max_us\": %u, "
           "\"sync_p50_us\": %u, \"sync_max_us\": %u, \"produce_quiet_p50_us\": %u, "
           "\"produce_quiet_p99_us\": %u, \"produce_quiet_max_us\": %u, "
           "\"produce_busy_p50_us\": %u, \"produce_busy_p99_us\": %u, \"produce_busy_max_us\": %u, "
           "\"produce_busy\": %zu}\n",
           bench->count, rounds.count, percentile(rounds.join_us, (size_t)rounds.count, 500),
           percentile(rounds.join_us, (size_t)rounds.count, 1000),
           percentile(rounds.sync_us, (size_t)rounds.count, 500),
           percentile(rounds.sync_us, (size_t)rounds.count, 1000),
           percentile(beside.us[0], beside.count[0], 500),
           percentile(beside.us[0], beside.count[0], 990),
           percentile(beside.us[0], beside.count[0], 1000),
           percentile(beside.us[1], beside.count[1], 500),
           percentile(beside.us[1], beside.count[1], 990),
           percentile(beside.us[1], beside.count[1], 1000), beside.count[1]);
    free(beside.us[0]);
    free(beside.us[1]);
}

// --- many groups ------------------------------------------------------------------------------

// The requests of so many groups are under way at once, over one connection.
static void each_slice(struct bench *bench, void (*ask)(struct bench *bench, int at),
                       void (*hear)(struct bench *bench, int at))
{
    for (int from = 0; from < bench->count; from += PIPELINE) {
        int end = from + PIPELINE < bench->count ? from + PIPELINE : bench->count;
        for (int i = from; i < end; i++)
            ask(bench, i);
        for (int i = from; i < end; i++)
            hear(bench, i);
        arena_reset(&bench->arena);
    }
}

static void ask_join(struct bench *bench, int at)
{
    send_join(bench, &bench->members[at]);
}

static void hear_join(struct bench *bench, int at)
{
    receive_join(bench, &bench->members[at]);
}

static void ask_sync(struct bench *bench, int at)
{
    send_sync(bench, &bench->members[at], at, 1);
}

static void hear_sync(struct bench *bench, int at)
{
    receive_sync(bench, &bench->members[at]);
}

static void ask_heartbeat(struct bench *bench, int at)
{
    send_heartbeat(bench, &bench->members[at]);
}

static void hear_heartbeat(struct bench *bench, int at)
{
    CHECK(receive_heartbeat(bench, &bench->members[at]) == 0);
}

static void run_groups(struct bench *bench)
{
    int fd = wire_connect(bench->address);
    for (int i = 0; i < bench->count; i++) {
        bench->members[i].fd = fd;
        snprintf(bench->members[i].group, sizeof(bench->members[i].group), "group-%d", i);
    }
    uint64_t start = clock_monotonic_ns();
    each_slice(bench, ask_join, hear_join);
    each_slice(bench, ask_sync, hear_sync);
    uint32_t settled_us = since_us(start);
    start = clock_monotonic_ns();
    each_slice(bench, ask_heartbeat, hear_heartbeat);
    printf("{\"groups\": %d, \"settled_us\": %u, \"heartbeats_us\": %u}\n", bench->count,
           settled_us, since_us(start));
}

// --- the command line -------------------------------------------------------------------------

static int number(const char *text, int most)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < 1 || value > most) {
        fprintf(stderr, "usage: group_bench HOST:PORT members N [ROUNDS] | groups N\n");
        exit(2);
    }
    return (int)value;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5)
        number("", 0);
    struct bench bench = {.address = argv[1], .count = number(argv[3], MEMBERS_MAX), .wish = 'z'};
    bench.members = calloc((size_t)bench.count, sizeof(*bench.members));
    CHECK(bench.members);
    arena_init(&bench.arena, 1 << 30);
    if (strcmp(argv[2], "groups") == 0)
        run_groups(&bench);
    else if (strcmp(argv[2], "members") == 0)
        run_members(&bench, argc == 5 ? number(argv[4], ROUNDS_MAX) : 20);
    else
        number("", 0);
    arena_free(&bench.arena);
    free(bench.members);
    return 0;
}
