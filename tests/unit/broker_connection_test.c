// SPDX-License-Identifier: Apache-2.0
// A connection between its socket and the handlers: framing, order, bounds, ends.
#include "tests/unit/broker_peer.h"
#include "gen/kp_api_versions.h"
#include "gen/kp_apis.h"

// Correlation id of the reply at *at, which moves behind it; -1 at the end.
static int32_t next_reply(const struct peer *peer, size_t *at)
{
    if (*at == peer->size)
        return -1;
    cr_assert_geq(peer->size - *at, 8);
    size_t length = load_be32(peer->received + *at);
    int32_t correlation = (int32_t)load_be32(peer->received + *at + 4);
    *at += 4 + length;
    cr_assert_leq(*at, peer->size, "a reply is cut");
    return correlation;
}

// ApiVersions in version 0: ten bytes of header and no body.
static size_t put_request(uint8_t *to, int32_t correlation)
{
    store_be32(to, 10);
    store_be16(to + 4, 18);
    store_be16(to + 6, 0);
    store_be32(to + 8, (uint32_t)correlation);
    store_be16(to + 12, 0xffff);
    return 14;
}

static void check_replies(const struct peer *peer, int32_t count)
{
    size_t at = 0;
    for (int32_t i = 0; i < count; i++)
        cr_assert_eq(next_reply(peer, &at), i);
    cr_assert_eq(next_reply(peer, &at), -1);
}

Test(broker, requests_in_one_piece_are_answered_in_order)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    static uint8_t data[14 * 1000];
    for (int32_t i = 0; i < 1000; i++)
        put_request(data + 14 * i, i);
    peer_write(peer, data, sizeof(data));
    check_replies(peer, 1000);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, requests_byte_by_byte)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    uint8_t data[14 * 3];
    for (int32_t i = 0; i < 3; i++)
        put_request(data + 14 * i, i);
    for (size_t i = 0; i < sizeof(data); i++)
        peer_write(peer, data + i, 1);
    check_replies(peer, 3);
    peer_close(peer);
    shards_close(shards);
}

// Larger than the buffer of an idle connection, cut at every kind of place.
Test(broker, requests_larger_than_a_buffer)
{
    struct shards *shards = shards_open(1);
    enum { NAME = 32000 };
    static uint8_t data[NAME + 64];
    for (size_t cut = 1; cut < 6000; cut += 997) {
        struct peer *peer = peer_open(shards);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct kp_writer writer;
        kp_writer_init(&writer, &arena);
        memset(data, 'n', NAME);
        struct kp_api_versions_request in;
        kp_api_versions_request_init(&in);
        in.client_software_name = span_of(data, NAME);
        in.client_software_version = span_text("1");
        size_t mark = kp_frame_begin(&writer);
        struct kp_request_header header = {.api_key = 18, .api_version = 3, .correlation_id = 0};
        kp_request_header_write(&writer, &header);
        kp_api_versions_request_encode(&writer, 3, &in);
        kp_frame_end(&writer, mark);
        peer_write(peer, writer.data, cut);
        peer_write(peer, writer.data + cut, writer.size - cut);
        uint8_t next[14];
        peer_write(peer, next, put_request(next, 1));
        check_replies(peer, 2);
        cr_assert_eq(load_be16(peer->received + 8), 0, "the name is a good one");
        arena_free(&arena);
        peer_close(peer);
    }
    shards_close(shards);
}

static void check_refused(const void *data, size_t size)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    uint8_t good[14];
    peer_write(peer, good, put_request(good, 0));
    peer_write(peer, data, size);
    cr_assert(peer->closed);
    check_replies(peer, 1);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, lengths_that_are_refused)
{
    check_refused("\x7f\xff\xff\xff", 4);
    check_refused("\xff\xff\xff\xff", 4);
    check_refused("\0\0\0\0", 4);
    check_refused("\0\0\0\x09", 4);
}

Test(broker, requests_that_are_refused)
{
    // Unknown key; unknown version; client id longer than the frame.
    check_refused("\0\0\0\x0a\x03\xe7\0\0\0\0\0\1\xff\xff", 14);
    check_refused("\0\0\0\x0a\0\3\0\x63\0\0\0\1\xff\xff", 14);
    check_refused("\0\0\0\x0a\0\x12\0\0\0\0\0\1\0\x05", 14);
}

// Some clients leave such bytes, and Kafka does not mind.
Test(broker, bytes_behind_a_request_are_ignored)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    peer_write(peer, "\0\0\0\x0b\0\x12\0\0\0\0\0\0\xff\xff!", 15);
    uint8_t next[14];
    peer_write(peer, next, put_request(next, 1));
    check_replies(peer, 2);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, first_request_may_not_be_large)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    uint8_t length[4];
    store_be32(length, CONNECTION_UNPROVEN_BYTES + 1);
    peer_write(peer, length, 4);
    cr_assert(peer->closed);
    peer_close(peer);

    peer = peer_open(shards);
    uint8_t good[14];
    peer_write(peer, good, put_request(good, 0));
    peer_write(peer, length, 4);
    cr_assert_not(peer->closed, "it has proven itself");
    peer_close(peer);
    shards_close(shards);
}

// A length alone costs no memory, however large it is.
Test(broker, large_requests_get_memory_as_they_arrive)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    uint8_t good[14];
    peer_write(peer, good, put_request(good, 0));
    uint8_t length[4];
    store_be32(length, 100 << 20);
    peer_write(peer, length, 4);
    cr_assert_not(peer->closed);
    cr_assert_leq(pool_stats(shards->shard[0].pool).used_bytes, 3 << 20);
    static uint8_t bytes[5 << 20];
    peer_write(peer, bytes, sizeof(bytes));
    size_t used = pool_stats(shards->shard[0].pool).used_bytes;
    cr_assert_geq(used, 5 << 20);
    cr_assert_leq(used, 11 << 20);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, client_that_does_not_read)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    static uint8_t data[14 * 5000];
    for (int32_t i = 0; i < 5000; i++)
        put_request(data + 14 * i, i);
    size_t written = 0;
    ssize_t more = 0;
    while (written < sizeof(data) && more >= 0) {
        more = write(peer->fd, data + written, sizeof(data) - written);
        written += more > 0 ? (size_t)more : 0;
        shards_settle(shards);
        cr_assert_leq(peer->connection->in_flight, CONNECTION_IN_FLIGHT);
    }
    cr_assert_eq(peer->connection->in_flight, CONNECTION_IN_FLIGHT);
    cr_assert(peer->connection->sending);
    cr_assert_leq(pool_stats(shards->shard[0].pool).used_bytes, 256 << 10);
    peer_write(peer, data + written, sizeof(data) - written);
    check_replies(peer, 5000);
    peer_close(peer);
    shards_close(shards);
}

// --- requests that the test finishes itself ---------------------------------------------------

static struct request *make_request(struct peer *peer, int32_t correlation)
{
    // They keep a reference to the buffer that the connection receives into.
    peer_settle(peer);
    struct request *request = request_create(peer->connection);
    request->schema = kp_api_find(18);
    request->correlation_id = correlation;
    return request;
}

static void answer(struct request *request)
{
    request_begin_reply(request);
    kp_write_i32(&request->reply, 42);
    request_reply(request);
}

Test(broker, replies_keep_the_order_of_the_requests)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    struct request *requests[60];
    for (int32_t i = 0; i < 60; i++)
        requests[i] = make_request(peer, i);
    for (int32_t i = 59; i > 0; i--)
        answer(requests[i]);
    peer_settle(peer);
    cr_assert_eq(peer->size, 0, "the first one is not ready");
    answer(requests[0]);
    peer_settle(peer);
    check_replies(peer, 60);
    peer_close(peer);
    shards_close(shards);
}

enum { LARGE_SIZE = 1 << 20 };

// Large requests one after the other, the first one has number 2: the place in `data` of what comes
// after `written` bytes of them. Most of each is behind the message, which is ignored.
static size_t large_place(uint8_t *data, size_t written)
{
    if (written % LARGE_SIZE == 0) {
        put_request(data, (int32_t)(2 + written / LARGE_SIZE));
        store_be32(data, LARGE_SIZE - 4);
    }
    return written % LARGE_SIZE;
}

// What is behind them waits in the client's memory, not in the broker's.
Test(broker, large_requests_in_flight_are_bounded_by_their_bytes)
{
    enum { COUNT = 24, SIZE = LARGE_SIZE };
    _Static_assert(COUNT * SIZE > CONNECTION_IN_FLIGHT_BYTES + SIZE, "more than may be in flight");
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    static uint8_t data[SIZE];
    peer_write(peer, data, put_request(data, 0));
    struct request *first = make_request(peer, 1);
    size_t written = 0;
    ssize_t more = 0;
    while (written < (size_t)COUNT * SIZE && more >= 0) {
        size_t at = large_place(data, written);
        more = write(peer->fd, data + at, SIZE - at);
        written += more > 0 ? (size_t)more : 0;
        shards_settle(shards);
        cr_assert_lt(peer->connection->in_flight_bytes, CONNECTION_IN_FLIGHT_BYTES + SIZE);
    }
    cr_assert_geq(peer->connection->in_flight_bytes, CONNECTION_IN_FLIGHT_BYTES);
    answer(first);
    while (written < (size_t)COUNT * SIZE) {
        size_t at = large_place(data, written);
        peer_write(peer, data + at, SIZE - at);
        written += SIZE - at;
    }
    check_replies(peer, 2 + COUNT);
    cr_assert_eq(peer->connection->in_flight_bytes, 0);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, silent_requests_are_passed_over)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    struct request *requests[5];
    for (int32_t i = 0; i < 5; i++)
        requests[i] = make_request(peer, i / 2);
    request_no_reply(requests[3]);
    request_no_reply(requests[1]);
    answer(requests[4]);
    answer(requests[2]);
    answer(requests[0]);
    peer_settle(peer);
    check_replies(peer, 3);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, aborted_request_ends_the_connection_after_those_before)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    struct request *requests[4];
    for (int32_t i = 0; i < 4; i++)
        requests[i] = make_request(peer, i);
    answer(requests[3]);
    request_abort(requests[2], "the test says so");
    answer(requests[1]);
    peer_settle(peer);
    cr_assert_not(peer->closed, "the first one is not ready");
    answer(requests[0]);
    peer_settle(peer);
    cr_assert(peer->closed);
    check_replies(peer, 2);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, replies_of_thousands_of_slices)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    enum { SLICES = 5000, SLICE = 37 };
    static struct iovec slices[SLICES];
    static uint8_t bytes[SLICES * SLICE];
    for (size_t i = 0; i < SLICES; i++) {
        memset(bytes + i * SLICE, (int)(i % 251), SLICE);
        slices[i] = (struct iovec){.iov_base = bytes + i * SLICE, .iov_len = SLICE};
    }
    struct kp_records records = {.slices = slices, .slice_count = SLICES, .size = SLICES * SLICE};
    struct request *first = make_request(peer, 0);
    struct request *large = make_request(peer, 1);
    struct request *last = make_request(peer, 2);
    answer(last);
    request_begin_reply(large);
    kp_write_records(&large->reply, false, &records);
    request_reply(large);
    answer(first);
    peer_settle(peer);
    size_t at = 0;
    cr_assert_eq(next_reply(peer, &at), 0);
    size_t begin = at + 8;
    cr_assert_eq(next_reply(peer, &at), 1);
    cr_assert_eq(load_be32(peer->received + begin), SLICES * SLICE);
    cr_assert_eq(memcmp(peer->received + begin + 4, bytes, sizeof(bytes)), 0);
    cr_assert_eq(next_reply(peer, &at), 2);
    peer_close(peer);
    shards_close(shards);
}

// --- ends -------------------------------------------------------------------------------------

static int cleanups;
static int interrupts;

static void count_cleanup(struct request *request)
{
    cleanups++;
    request_hold(request);
}

static void count_interrupt(struct request *request)
{
    (void)request;
    interrupts++;
}

static bool drained;

static void note_drained(struct shard *shard)
{
    (void)shard;
    drained = true;
}

Test(broker, requests_outlive_a_client_that_goes)
{
    struct shards *shards = shards_open(1);
    struct listener *listener = shards->shard[0].listener;
    struct peer *peer = peer_open(shards);
    struct request *request = make_request(peer, 0);
    request->cleanup = count_cleanup;
    request->interrupt = count_interrupt;
    cleanups = interrupts = 0;
    drained = false;
    close(peer->fd);
    shards_settle(shards);
    cr_assert_eq(interrupts, 1);
    cr_assert_not(list_empty(&listener->connections), "a request is still in work");
    listener_stop(listener, note_drained);
    answer(request);
    cr_assert_eq(cleanups, 0);
    shards_settle(shards);
    cr_assert_eq(cleanups, 1);
    cr_assert(list_empty(&listener->connections));
    cr_assert_not(drained, "the request is still held");
    request_let_go(request);
    cr_assert(drained);
    free(peer->received);
    free(peer);
    shards_close(shards);
}

Test(broker, client_that_only_ends_its_side_gets_its_replies)
{
    struct shards *shards = shards_open(1);
    struct peer *peer = peer_open(shards);
    struct request *request = make_request(peer, 0);
    shutdown(peer->fd, SHUT_WR);
    peer_settle(peer);
    cr_assert_not(peer->closed);
    answer(request);
    peer_settle(peer);
    check_replies(peer, 1);
    cr_assert(peer->closed);
    peer_close(peer);
    shards_close(shards);
}

Test(broker, stop_answers_what_was_read_and_gives_up_on_those_that_do_not_read)
{
    struct shards *shards = shards_open(1);
    struct listener *listener = shards->shard[0].listener;
    struct peer *good = peer_open(shards), *bad = peer_open(shards);
    struct request *request = make_request(good, 0);
    static uint8_t data[14 * 5000];
    for (int32_t i = 0; i < 5000; i++)
        put_request(data + 14 * i, i);
    cr_assert_gt(write(bad->fd, data, sizeof(data)), 0);
    shards_settle(shards);
    drained = false;
    listener_stop(listener, note_drained);
    answer(request);
    peer_settle(good);
    check_replies(good, 1);
    cr_assert(good->closed);
    cr_assert_not(drained, "the other one has not taken its replies");
    shards_pass_time(shards, 60 * 1000);
    cr_assert(drained);
    peer_close(good);
    free(bad->received);
    close(bad->fd);
    free(bad);
    shards_close(shards);
}

Test(broker, idle_connections_are_closed)
{
    struct shards *shards = shards_open(1);
    struct listener *listener = shards->shard[0].listener;
    listener->idle_ms = 1000;
    struct peer *peer = peer_open(shards);
    peer_settle(peer);
    cr_assert_leq(pool_stats(shards->shard[0].pool).used_bytes - listener->request_bytes,
                  (64 << 10) + CONNECTION_IDLE_BYTES);
    peer->connection->active_ns -= UINT64_C(500) * 1000000;
    listener->sweep.expired(&listener->sweep);
    peer_settle(peer);
    cr_assert_not(peer->closed);
    peer->connection->active_ns -= UINT64_C(1000) * 1000000;
    listener->sweep.expired(&listener->sweep);
    peer_settle(peer);
    cr_assert(peer->closed);
    peer_close(peer);
    shards_close(shards);
}

// With the shard's bound used up, a connection that has nothing begun waits until there is room.
Test(broker, connections_wait_for_memory)
{
    struct shards *shards = shards_open(1);
    struct listener *listener = shards->shard[0].listener;
    struct peer *peer = peer_open(shards);
    listener->request_bytes = listener->request_bytes_limit + 1;
    uint8_t data[14];
    cr_assert_eq(write(peer->fd, data, put_request(data, 0)), 14);
    peer_settle(peer);
    cr_assert_eq(peer->size, 0);
    cr_assert_not(list_empty(&listener->paused));
    listener->request_bytes = 0;
    peer_settle(peer);
    check_replies(peer, 1);
    peer_close(peer);
    shards_close(shards);
}
