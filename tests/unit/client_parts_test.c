// SPDX-License-Identifier: Apache-2.0
// The client's parts that need no broker.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "clients/c/aborted.h"
#include "clients/c/address.h"
#include "clients/c/batch_queue.h"
#include "clients/c/config.h"
#include "clients/c/partitioner.h"
#include "clients/c/receive.h"
#include "gen/kp_fetch.h"

// Values of org.apache.kafka.common.utils.Utils.murmur2, as its own test lists them, and of
// kafka-python's murmur2 for the longer ones.
Test(client, murmur2_agrees_with_java)
{
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        cr_assert_eq((int32_t)partitioner_murmur2(span_text(known[i].key)), known[i].hash, "%s",
                     known[i].key);
    cr_assert_eq(partitioner_keyed(span_text("foobar"), 12), (-790332482 & INT32_MAX) % 12);
}

Test(client, address_lists)
{
    struct address list[ADDRESS_LIST_MAX];
    cr_assert_eq(address_parse_list("a:1, [::1]:2 ,b,fe80::1", list), 4);
    cr_assert_str_eq(list[0].host, "a");
    cr_assert_eq(list[0].port, 1);
    cr_assert_str_eq(list[1].host, "::1");
    cr_assert_eq(list[1].port, 2);
    cr_assert_str_eq(list[2].host, "b");
    cr_assert_eq(list[2].port, 9092);
    cr_assert_str_eq(list[3].host, "fe80::1");
    static const char *const bad[] = {
        "",       ":1",     "a:",   "a:0",           "a:65536", "a:1,",    "a:x1",
        "[::1:2", "[::1]x", "a:-1", "a:99999999999", ",a:1",    "[]:9092", "a:1,,b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(address_parse_list(bad[i], list), -1, "%s", bad[i]);
}

Test(client, settings_are_checked)
{
    struct weir_config *config = weir_config_new();
    cr_assert_eq(weir_config_set(config, "batch.size", "64k"), WEIR_OK);
    cr_assert_eq(weir_config_set(config, "acks", "1"), WEIR_OK);
    cr_assert_eq(weir_config_set(config, "group.id", "stage-2"), WEIR_OK);
    struct config values = config_values(config);
    cr_assert_eq(values.batch_size, 65536);
    cr_assert_eq(values.acks, 1);
    cr_assert_str_eq(values.group_id, "stage-2");
    static const char *const bad[][2] = {
        {"acks", "2"},
        {"batch.size", "12q"},
        {"batch.size", "1"},
        {"linger.ms", "-1"},
        {"linger.ms", "5x"},
        {"no.such.setting", "1"},
        {"batch.size", "9999999999g"},
        {"linger.ms", "9223372036854775808"},
        {"check.crcs", "yes"},
        {"compression.type", "zip"},
        {"linger.ms", ""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(weir_config_set(config, bad[i][0], bad[i][1]), WEIR_ERR_BAD_ARGUMENT);
        cr_assert_neq(weir_config_error(config)[0], '\0');
    }
    struct config after = config_values(config);
    cr_assert_eq(memcmp(&values, &after, sizeof(values)), 0, "a refused value changes nothing");
    weir_config_free(config);
}

Test(client, errors_have_names_and_sentences)
{
    for (int code = -120; code < 140; code++) {
        cr_assert_neq(weir_error_name(code)[0], '\0');
        cr_assert_neq(weir_error_text(code)[0], '\0');
    }
    cr_assert_str_eq(weir_error_name(WEIR_ERR_QUEUE_FULL), "QUEUE_FULL");
    cr_assert_str_eq(weir_error_name(WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION),
                     "UNKNOWN_TOPIC_OR_PARTITION");
    cr_assert(weir_error_retriable(WEIR_ERR_NOT_LEADER));
    cr_assert_not(weir_error_retriable(WEIR_ERR_INVALID_TOPIC));
    cr_assert_not(weir_error_retriable(WEIR_OK));
}

// ------------------------------------------------------------------------------------- batch queue

static const struct batch_limits limits = {
    .batch_size = 1 << 20, .linger_ns = 100, .delivery_timeout_ns = 1000, .in_flight_max = 2};

// Opens and completes a batch with one record.
static void queue_add(struct batch_queue *queue, uint64_t now_ns)
{
    struct batch *batch = batch_new();
    batch_queue_open(queue, batch, &limits, 0, now_ns);
    cr_assert_eq(batch_builder_add(&batch->builder, 1, (struct span){0}, span_text("v"), NULL, 0),
                 BATCH_OK);
    batch->count = 1;
    batch_queue_close(queue);
}

Test(client, batches_linger_unless_flushed)
{
    struct batch_queue queue;
    batch_queue_init(&queue, NULL, 0);
    cr_assert_eq(batch_queue_ready_ns(&queue, &limits, false), UINT64_MAX);
    struct batch *batch = batch_new();
    batch_queue_open(&queue, batch, &limits, 0, 50);
    batch->count = 1;
    cr_assert_eq(batch_queue_ready_ns(&queue, &limits, false), 150);
    cr_assert_eq(batch_queue_ready_ns(&queue, &limits, true), 0);
    cr_assert_eq(batch_queue_take(&queue), batch);
    cr_assert(batch_queue_idle(&queue));
    batch_queue_settled(&queue, batch);
    batch_free(batch);
}

Test(client, repeated_batches_keep_their_order)
{
    struct batch_queue queue;
    batch_queue_init(&queue, NULL, 0);
    for (int i = 0; i < 4; i++)
        queue_add(&queue, 10);
    struct batch *first = batch_queue_take(&queue);
    struct batch *second = batch_queue_take(&queue);
    cr_assert_eq(batch_queue_ready_ns(&queue, &limits, false), UINT64_MAX, "two are in flight");
    // They come back in the wrong order; nothing else may go before both are back and sent again.
    batch_queue_repeat(&queue, second, 500);
    cr_assert_eq(batch_queue_ready_ns(&queue, &limits, false), UINT64_MAX);
    batch_queue_repeat(&queue, first, 400);
    cr_assert_eq(batch_queue_ready_ns(&queue, &limits, false), 500);
    uint64_t sequence = 0;
    for (int i = 0; i < 4; i++) {
        struct batch *batch = batch_queue_take(&queue);
        cr_assert_eq(batch->sequence / batch->places, sequence++);
        batch_queue_settled(&queue, batch);
        batch_free(batch);
    }
    cr_assert(batch_queue_idle(&queue));
}

Test(client, batches_expire_oldest_first)
{
    struct batch_queue queue;
    batch_queue_init(&queue, NULL, 0);
    queue_add(&queue, 10);
    queue_add(&queue, 20);
    cr_assert_eq(batch_queue_expiry_ns(&queue, &limits), 1010);
    cr_assert_null(batch_queue_expired(&queue, &limits, 1009));
    for (uint64_t i = 0; i < 2; i++) {
        struct batch *batch = batch_queue_expired(&queue, &limits, 1020);
        cr_assert_eq(batch->sequence / batch->places, i);
        batch_free(batch);
    }
    cr_assert_null(batch_queue_expired(&queue, &limits, 5000));
}

// ------------------------------------------------------------------------------------- frames

// Sends `size` bytes in pieces of `piece`, reads frames as they come, and returns how many came.
static int frames_read(struct receive *receive, const int *sockets, const uint8_t *bytes,
                       size_t size, size_t piece, size_t frame_size)
{
    int frames = 0;
    for (size_t at = 0; at < size; at += piece) {
        size_t step = size - at < piece ? size - at : piece;
        cr_assert_eq(write(sockets[1], bytes + at, step), (ssize_t)step);
        bool full = true;
        struct transport transport = {.kind = &transport_plain, .fd = sockets[0]};
        while (full && receive_fill(receive, &transport, &full) > 0) {
            struct frame frame;
            int result;
            while ((result = receive_next(receive, &frame)) == 1) {
                cr_assert_eq(frame.size, frame_size);
                for (size_t i = 0; i < frame.size; i++)
                    cr_assert_eq(frame.data[i], (uint8_t)(i * 7));
                frames++;
                if (frame.buffer)
                    buffer_unref(frame.buffer);
            }
            cr_assert_eq(result, 0);
        }
    }
    return frames;
}

Test(client, frames_come_whole_however_they_are_cut)
{
    static const size_t sizes[] = {0, 1, 100, RECEIVE_CHUNK - 4, RECEIVE_CHUNK - 3, 100000};
    static const size_t pieces[] = {1, 3, 1000, 70000};
    struct pool *pool = pool_create(1 << 24);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t total = (sizes[s] + 4) * 3;
        uint8_t *bytes = malloc(total);
        for (size_t f = 0; f < 3; f++) {
            uint8_t *at = bytes + f * (sizes[s] + 4);
            store_be32(at, (uint32_t)sizes[s]);
            for (size_t i = 0; i < sizes[s]; i++)
                at[4 + i] = (uint8_t)(i * 7);
        }
        for (size_t p = s < 4 ? 0 : 2; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
            int sockets[2];
            cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
            struct receive *receive = malloc(sizeof(*receive));
            receive_init(receive, pool, 1 << 20);
            cr_assert_eq(frames_read(receive, sockets, bytes, total, pieces[p], sizes[s]), 3);
            close(sockets[1]);
            bool full;
            struct transport transport = {.kind = &transport_plain, .fd = sockets[0]};
            cr_assert_eq(receive_fill(receive, &transport, &full), -EPIPE);
            receive_reset(receive);
            free(receive);
            close(sockets[0]);
        }
        free(bytes);
    }
    pool_destroy(pool);
}

static int awaited(int socket)
{
    int bytes = 0;
    socklen_t size = sizeof(bytes);
    cr_assert_eq(getsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &bytes, &size), 0);
    return bytes;
}

// Of a frame whose first `filled` bytes are there.
static void fill_to(struct receive *receive, struct transport *transport, int socket,
                    const uint8_t *bytes, size_t *filled, size_t to)
{
    struct frame frame;
    while (*filled < to) {
        size_t step = to - *filled < 50000 ? to - *filled : 50000;
        cr_assert_eq(write(socket, bytes + *filled, step), (ssize_t)step);
        *filled += step;
        bool full = true;
        while (full && receive_fill(receive, transport, &full) > 0) {
            if (receive_next(receive, &frame) == 1)
                buffer_unref(frame.buffer);
        }
    }
}

Test(client, much_of_a_large_frame_is_awaited_at_a_time)
{
    enum { SIZE = 400000 };
    struct pool *pool = pool_create(1 << 24);
    uint8_t *bytes = calloc(1, SIZE + 4);
    store_be32(bytes, SIZE);
    int sockets[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    struct receive *receive = malloc(sizeof(*receive));
    receive_init(receive, pool, 1 << 20);
    struct transport transport = {.kind = &transport_plain, .fd = sockets[0]};
    size_t filled = 0;
    fill_to(receive, &transport, sockets[1], bytes, &filled, 100);
    cr_assert_eq(awaited(sockets[0]), 1);
    fill_to(receive, &transport, sockets[1], bytes, &filled, 100000);
    cr_assert_eq(awaited(sockets[0]), 256 << 10);
    fill_to(receive, &transport, sockets[1], bytes, &filled, 300000);
    cr_assert_eq(awaited(sockets[0]), SIZE + 4 - 300000);
    fill_to(receive, &transport, sockets[1], bytes, &filled, SIZE + 4);
    cr_assert_eq(awaited(sockets[0]), 1, "what comes next may be small");
    receive_reset(receive);
    close(sockets[0]);
    close(sockets[1]);
    free(receive);
    free(bytes);
    pool_destroy(pool);
}

Test(client, impossible_frame_lengths_are_refused)
{
    static const uint32_t lengths[] = {0xffffffff, 0x80000000, 0x7fffffff, (1 << 20) + 1};
    struct pool *pool = pool_create(1 << 24);
    struct receive *receive = malloc(sizeof(*receive));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        int sockets[2];
        uint8_t bytes[8] = {0};
        store_be32(bytes, lengths[i]);
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
        cr_assert_eq(write(sockets[1], bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
        receive_init(receive, pool, 1 << 20);
        bool full;
        struct transport transport = {.kind = &transport_plain, .fd = sockets[0]};
        cr_assert_eq(receive_fill(receive, &transport, &full), (long)sizeof(bytes));
        struct frame frame;
        cr_assert_eq(receive_next(receive, &frame), -EMSGSIZE);
        receive_reset(receive);
        close(sockets[0]);
        close(sockets[1]);
    }
    free(receive);
    cr_assert_eq(pool_stats(pool).used_bytes, 0);
    pool_destroy(pool);
}

// What the marker of a transaction's end is told by: its first record's key.
static struct span marker(struct batch_builder *builder, uint8_t type)
{
    const uint8_t key[] = {0, 0, 0, type};
    struct batch_scratch scratch = {0};
    struct span bytes;
    batch_builder_reset(builder);
    cr_assert_eq(batch_builder_add(builder, 1, span_of(key, sizeof(key)), span_text("v"), NULL, 0),
                 BATCH_OK);
    cr_assert_eq(batch_builder_finish(builder, CODEC_NONE, 0, (struct batch_producer){1, 0, 0},
                                      &scratch, &bytes),
                 BATCH_OK);
    return bytes;
}

Test(client, aborted_transactions_end_with_their_marker)
{
    enum { ABORT, COMMIT, NORMAL = BATCH_TRANSACTIONAL, END = BATCH_TRANSACTIONAL | BATCH_CONTROL };
    // Producer 7 aborts what begins at 10, commits what begins at 30, aborts what begins at 50;
    // producer 8 aborts what begins before the answer does. Listed in no order.
    struct kp_fetch_response_aborted_transaction listed[] = {
        {.producer_id = 7, .first_offset = 50},
        {.producer_id = 8, .first_offset = 2},
        {.producer_id = 7, .first_offset = 10},
    };
    const struct step {
        int64_t offset, producer_id;
        int16_t attributes;
        uint8_t type;
        int covered;
    } steps[] = {
        {5, 7, NORMAL, 0, 0},  {6, 8, NORMAL, 0, 1},    {10, 7, NORMAL, 0, 1},
        {12, -1, 0, 0, 0},     {14, 7, 0, 0, 0},        {16, 8, END, ABORT, 1},
        {17, 8, NORMAL, 0, 0}, {18, 7, NORMAL, 0, 1},   {20, 7, END, ABORT, 1},
        {30, 7, NORMAL, 0, 0}, {40, 7, END, COMMIT, 0}, {50, 7, NORMAL, 0, 1},
        {52, 9, NORMAL, 0, 0}, {54, 7, END, COMMIT, 1}, {55, 7, NORMAL, 0, 1},
    };
    struct kp_fetch_response_partition answer = {.aborted_transactions = listed,
                                                 .aborted_transactions_count = 3};
    struct batch_builder builder;
    batch_builder_init(&builder, 1 << 16);
    struct aborted *aborted = aborted_new(&answer);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct batch_header header = {.base_offset = steps[i].offset,
                                      .producer_id = steps[i].producer_id,
                                      .attributes = steps[i].attributes};
        cr_assert_eq(aborted_covers(aborted, &header, marker(&builder, steps[i].type)),
                     steps[i].covered, "offset %lld", (long long)steps[i].offset);
    }
    aborted_free(aborted);
    batch_builder_free(&builder);
}
