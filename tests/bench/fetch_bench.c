// SPDX-License-Identifier: Apache-2.0
// A client that discards: it fetches a topic's partition 0 over one connection as fast as it comes,
// and looks at no record. What comes is received into one buffer, the same for all answers, as
// roofline's fetch mode does it; of each answer the head is decoded, and the heads of its batches,
// because they say where to go on. So what is measured is the broker and the kernel.
//
//   fetch_bench HOST:PORT TOPIC [--max-bytes N] [--in-flight N] [--seconds S] [--bytes N]
//
// Several requests are in flight by as many readers, which begin at equal distances in the log and
// each go on where their last answer ended; at the end of the log they begin again at its first
// offset. The log must not be empty, and nobody should write to it.
//
// Prints one line of JSON. MB are 10^6 bytes of record batches that came in full; what the kernel
// and the broker need for the first answers does not count.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "gen/kp_apis.h"
#include "gen/kp_fetch.h"
#include "gen/kp_metadata.h"
#include "protocol/error.h"
#include "protocol/frame.h"
#include "protocol/record_batch.h"
#include "tests/bench/wire.h"

enum {
    METADATA_VERSION = 4, // the first that can ask not to create the topic
    FETCH_VERSION = 11,   // the last with names and without flexible fields
    PARTITION = 0,
    MAX_WAIT_MS = 1000,
    SILENCE_MAX_S = 30,
    IN_FLIGHT_MAX = 64,
    SAMPLES_MAX = 1 << 20,
    WARM_UP = 16,             // answers that are not counted, as in roofline
    LARGEST_BATCH = 64 << 20, // a broker sends one batch even if it is larger than asked for
    ARENA = 1 << 20,
};

// One of the requests in flight.
struct place {
    int64_t offset; // what it asks for next
    uint64_t sent_ns;
};

struct bench {
    const char *address;
    const char *topic;
    int32_t max_bytes;
    unsigned in_flight;
    double seconds;
    uint64_t bytes; // 0 = until the time is over
    int fd;
    uint8_t *buffer;
    size_t buffer_size;
    struct arena arena;
    int32_t sent; // requests, which is the next correlation id
    int32_t answered;
    struct place places[IN_FLIGHT_MAX]; // request i belongs to place i % in_flight
};

// What a fetch has brought.
struct answer {
    int64_t first_offset; // of the log
    int64_t end_offset;
    int64_t next_offset; // where to go on
    uint64_t bytes;
    uint64_t messages;
};

struct tally {
    uint64_t all_bytes; // warm-up included
    uint64_t answers, bytes, messages;
    uint64_t start_ns, end_ns;
    uint32_t us[SAMPLES_MAX];
};

static void must(bool right, const char *what)
{
    if (!right)
        wire_give_up("the broker's answer is wrong", what);
}

static void must_succeed(int16_t error, const char *what)
{
    if (error != KP_ERROR_NONE)
        wire_give_up(what, kp_error_name(error));
}

// --- the wire ---------------------------------------------------------------------------------

static int connect_to(const char *address)
{
    int fd = wire_connect(address);
    int on = 1;
    struct timeval silence = {.tv_sec = SILENCE_MAX_S};
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence)) != 0)
        wire_give_up("socket options", strerror(errno));
    return fd;
}

static struct kp_writer request_begin(struct bench *bench, int16_t key, int16_t version)
{
    struct kp_request_header header = {.api_key = key,
                                       .api_version = version,
                                       .correlation_id = bench->sent++,
                                       .client_id = span_text("fetch_bench")};
    arena_reset(&bench->arena);
    return wire_begin(&bench->arena, &header);
}

// The next answer, which must be one of that kind; valid until the next one is received.
static struct kp_reader receive(struct bench *bench, int16_t key, int16_t version)
{
    uint8_t length[KP_FRAME_LENGTH_SIZE];
    int32_t correlation;
    wire_receive(bench->fd, length, sizeof(length));
    size_t size = load_be32(length);
    must(size <= bench->buffer_size, "it is longer than anything that was asked for");
    wire_receive(bench->fd, bench->buffer, size);
    struct kp_reader reader = kp_reader_init(bench->buffer, size);
    must(kp_response_header_read(&reader, kp_api_find(key), version, &correlation) == 0, "header");
    must(correlation == bench->answered++, "it belongs to another request");
    arena_reset(&bench->arena);
    return reader;
}

static bool same_name(struct span name, const char *text)
{
    return name.size == strlen(text) && memcmp(name.data, text, name.size) == 0;
}

// --- what is asked ----------------------------------------------------------------------------

// The topic is there, and its partition has a leader.
static void find_topic(struct bench *bench)
{
    struct kp_metadata_request_topic topic = {.name = span_text(bench->topic)};
    struct kp_metadata_request in;
    kp_metadata_request_init(&in);
    in.topics = &topic;
    in.topics_count = 1;
    in.allow_auto_topic_creation = false;
    struct kp_writer writer = request_begin(bench, KP_METADATA_KEY, METADATA_VERSION);
    kp_metadata_request_encode(&writer, METADATA_VERSION, &in);
    wire_send(bench->fd, &writer);

    struct kp_reader reader = receive(bench, KP_METADATA_KEY, METADATA_VERSION);
    struct kp_metadata_response out;
    must(kp_metadata_response_decode(&reader, METADATA_VERSION, &bench->arena, &out) == 0 &&
             kp_reader_left(&reader) == 0,
         "it does not parse");
    must(out.topics_count == 1 && same_name(out.topics[0].name, bench->topic), "not that topic");
    must_succeed(out.topics[0].error_code, bench->topic);
    for (int32_t i = 0; i < out.topics[0].partitions_count; i++) {
        const struct kp_metadata_response_partition *partition = &out.topics[0].partitions[i];
        if (partition->partition_index == PARTITION) {
            must_succeed(partition->error_code, "partition 0");
            must(partition->leader_id >= 0, "partition 0 has no leader");
            return;
        }
    }
    must(false, "the topic has no partition 0");
}

static void fetch_send(struct bench *bench, struct place *place)
{
    struct kp_fetch_request_partition partition = {.partition = PARTITION,
                                                   .current_leader_epoch = -1,
                                                   .fetch_offset = place->offset,
                                                   .last_fetched_epoch = -1,
                                                   .log_start_offset = -1,
                                                   .partition_max_bytes = bench->max_bytes};
    struct kp_fetch_request_topic topic = {
        .topic = span_text(bench->topic), .partitions = &partition, .partitions_count = 1};
    struct kp_fetch_request in;
    kp_fetch_request_init(&in); // session id 0, epoch -1: no session
    in.max_wait_ms = MAX_WAIT_MS;
    in.min_bytes = 1;
    in.max_bytes = bench->max_bytes;
    in.topics = &topic;
    in.topics_count = 1;
    in.rack_id = span_text("");
    struct kp_writer writer = request_begin(bench, KP_FETCH_KEY, FETCH_VERSION);
    kp_fetch_request_encode(&writer, FETCH_VERSION, &in);
    place->sent_ns = clock_monotonic_ns();
    wire_send(bench->fd, &writer);
}

// Hops from batch to batch. The last one may have been cut off: it is left for the next answer.
static void read_heads(const struct kp_records *records, int64_t asked, struct answer *out)
{
    size_t left = records->size > 0 ? (size_t)records->size : 0;
    const uint8_t *at = left ? records->slices[0].iov_base : NULL;
    out->next_offset = asked;
    while (left >= BATCH_HEADER_SIZE) {
        struct batch_header header;
        enum batch_error error = batch_header_read(span_of(at, left), &header);
        if (error != BATCH_OK)
            wire_give_up("a batch's head", batch_error_text(error));
        size_t size = batch_total_size(&header);
        if (size > left)
            break;
        must(header.last_offset_delta >= 0 && header.record_count >= 0, "a batch without an end");
        must(out->bytes == 0 || header.base_offset >= out->next_offset, "offsets that go back");
        must(batch_last_offset(&header) >= asked, "records before those asked for");
        out->next_offset = batch_last_offset(&header) + 1;
        out->messages += (uint64_t)header.record_count;
        out->bytes += size;
        at += size;
        left -= size;
    }
    must(out->bytes > 0, "no batch came in full");
}

static struct answer fetch_receive(struct bench *bench, const struct place *place)
{
    struct kp_reader reader = receive(bench, KP_FETCH_KEY, FETCH_VERSION);
    struct kp_fetch_response out;
    must(kp_fetch_response_decode(&reader, FETCH_VERSION, &bench->arena, &out) == 0 &&
             kp_reader_left(&reader) == 0,
         "it does not parse");
    must_succeed(out.error_code, "fetch");
    must(out.responses_count == 1 && same_name(out.responses[0].topic, bench->topic) &&
             out.responses[0].partitions_count == 1,
         "not that topic");
    const struct kp_fetch_response_partition *partition = &out.responses[0].partitions[0];
    must(partition->partition_index == PARTITION, "not that partition");
    must_succeed(partition->error_code, "fetch");
    struct answer answer = {.first_offset = partition->log_start_offset,
                            .end_offset = partition->high_watermark};
    must(answer.first_offset >= 0 && answer.end_offset > answer.first_offset, "an empty log");
    read_heads(&partition->records, place->offset, &answer);
    must(answer.next_offset <= answer.end_offset, "records beyond the high watermark");
    if (answer.next_offset == answer.end_offset)
        answer.next_offset = answer.first_offset;
    return answer;
}

// --- the measurement --------------------------------------------------------------------------

// One fetch tells where the log begins and ends.
static void spread_places(struct bench *bench)
{
    struct place probe = {.offset = 0};
    fetch_send(bench, &probe);
    struct answer answer = fetch_receive(bench, &probe);
    int64_t step = (answer.end_offset - answer.first_offset) / bench->in_flight;
    for (unsigned i = 0; i < bench->in_flight; i++)
        bench->places[i].offset = answer.first_offset + step * i;
    bench->sent = bench->answered = 0; // so that requests and places go together
}

static void count(struct tally *tally, const struct answer *answer, uint64_t number,
                  uint64_t sent_ns)
{
    uint64_t now = clock_monotonic_ns();
    tally->all_bytes += answer->bytes;
    tally->end_ns = now;
    if (number < WARM_UP) {
        tally->start_ns = now;
        return;
    }
    if (tally->answers < SAMPLES_MAX)
        tally->us[tally->answers] = (uint32_t)((now - sent_ns) / 1000);
    tally->answers++;
    tally->bytes += answer->bytes;
    tally->messages += answer->messages;
}

// Keeps the wanted number in flight until time or bytes are over, then takes in the rest.
static void run(struct bench *bench, struct tally *tally)
{
    for (unsigned i = 0; i < bench->in_flight; i++)
        fetch_send(bench, &bench->places[i]);
    uint64_t time_ns = (uint64_t)(bench->seconds * 1e9);
    uint64_t under_way = bench->in_flight;
    for (uint64_t received = 0; under_way > 0; received++) {
        struct place *place = &bench->places[received % bench->in_flight];
        struct answer answer = fetch_receive(bench, place);
        count(tally, &answer, received, place->sent_ns);
        place->offset = answer.next_offset;
        bool over = bench->bytes ? tally->bytes >= bench->bytes
                                 : tally->end_ns - tally->start_ns >= time_ns;
        if (received >= WARM_UP && over)
            under_way--;
        else
            fetch_send(bench, place);
    }
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void report(const struct bench *bench, struct tally *tally)
{
    size_t samples = tally->answers < SAMPLES_MAX ? (size_t)tally->answers : SAMPLES_MAX;
    double seconds = (double)(tally->end_ns - tally->start_ns) / 1e9;
    qsort(tally->us, samples, sizeof(tally->us[0]), compare);
    printf("{\"max_bytes\": %d, \"in_flight\": %u, \"answers\": %llu, \"bytes_per_answer\": %.0f, "
           "\"bytes\": %llu, \"all_bytes\": %llu, \"messages\": %llu, \"seconds\": %.3f, "
           "\"mb_per_s\": %.1f, \"p50_us\": %u, \"p99_us\": %u}\n",
           (int)bench->max_bytes, bench->in_flight, (unsigned long long)tally->answers,
           (double)tally->bytes / (double)tally->answers, (unsigned long long)tally->bytes,
           (unsigned long long)tally->all_bytes, (unsigned long long)tally->messages, seconds,
           (double)tally->bytes / 1e6 / seconds, tally->us[(samples - 1) * 50 / 100],
           tally->us[(samples - 1) * 99 / 100]);
}

static _Noreturn void usage(void)
{
    fputs("usage: fetch_bench HOST:PORT TOPIC [--max-bytes N] [--in-flight N] [--seconds S] "
          "[--bytes N]\n",
          stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || value == 0 || value > most)
        usage();
    return value;
}

static struct bench parse(int argc, char **argv)
{
    if (argc < 3 || argc % 2 == 0)
        usage();
    struct bench bench = {
        .address = argv[1], .topic = argv[2], .max_bytes = 2 << 20, .in_flight = 2, .seconds = 4};
    for (int i = 3; i < argc; i += 2) {
        if (strcmp(argv[i], "--max-bytes") == 0)
            bench.max_bytes = (int32_t)number(argv[i + 1], LARGEST_BATCH);
        else if (strcmp(argv[i], "--in-flight") == 0)
            bench.in_flight = (unsigned)number(argv[i + 1], IN_FLIGHT_MAX);
        else if (strcmp(argv[i], "--seconds") == 0)
            bench.seconds = (double)number(argv[i + 1], 3600);
        else if (strcmp(argv[i], "--bytes") == 0)
            bench.bytes = number(argv[i + 1], UINT64_MAX / 2);
        else
            usage();
    }
    return bench;
}

int main(int argc, char **argv)
{
    static struct tally tally;
    struct bench bench = parse(argc, argv);
    bench.buffer_size = (size_t)bench.max_bytes + LARGEST_BATCH; // untouched, it costs nothing
    bench.buffer = malloc(bench.buffer_size);
    CHECK(bench.buffer);
    arena_init(&bench.arena, ARENA);
    bench.fd = connect_to(bench.address);
    find_topic(&bench);
    spread_places(&bench);
    run(&bench, &tally);
    report(&bench, &tally);
    close(bench.fd);
    arena_free(&bench.arena);
    free(bench.buffer);
    return 0;
}
