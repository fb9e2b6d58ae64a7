// SPDX-License-Identifier: Apache-2.0
// A client of two shards with a controller: sends requests as bytes, decodes replies to the end.
#pragma once

#include "base/endian.h"
#include "gen/kp_apis.h"
#include "tests/unit/broker_peer.h"
#include "tests/unit/broker_state_shards.h"

struct client {
    struct shards *shards;
    struct peer *peer;
    struct arena arena; // of requests and replies
    int32_t correlation;
    size_t read_to; // in the peer's bytes
};

static inline struct client client_open(void)
{
    struct client client = {.shards = state_open()};
    client.peer = peer_open(client.shards);
    client.peer->connection->proven = true;
    arena_init(&client.arena, 64 << 20);
    return client;
}

static inline void client_close(struct client *client)
{
    peer_close(client->peer);
    state_close(client->shards);
    arena_free(&client->arena);
}

static inline struct kp_writer client_begin(struct client *client, int16_t key, int16_t version)
{
    struct kp_writer writer;
    kp_writer_init(&writer, &client->arena);
    kp_frame_begin(&writer);
    struct kp_request_header header = {
        .api_key = key, .api_version = version, .correlation_id = ++client->correlation};
    kp_request_header_write(&writer, &header);
    return writer;
}

// Sends what was encoded and waits for the reply; its body.
static inline struct kp_reader client_call(struct client *client, struct kp_writer *writer,
                                           int16_t key, int16_t version)
{
    kp_frame_end(writer, 0);
    cr_assert_not(writer->failed);
    peer_write(client->peer, writer->data, writer->size);
    for (int i = 0; i < SHARDS_SETTLES && client->peer->size == client->read_to; i++)
        peer_settle(client->peer);
    cr_assert_gt(client->peer->size, client->read_to, "no reply to %d version %d", key, version);
    const uint8_t *at = client->peer->received + client->read_to;
    size_t size = load_be32(at);
    client->read_to += 4 + size;
    cr_assert_leq(client->read_to, client->peer->size);
    uint8_t *copy = arena_raw(&client->arena, size);
    memcpy(copy, at + 4, size);
    if (client->read_to == client->peer->size)
        client->read_to = client->peer->size = 0;
    struct kp_reader reader = kp_reader_init(copy, size);
    int32_t correlation;
    cr_assert_eq(kp_response_header_read(&reader, kp_api_find(key), version, &correlation), 0);
    cr_assert_eq(correlation, client->correlation);
    return reader;
}

// After decoding: it succeeded, and nothing is left.
static inline void client_expect_end(const struct kp_reader *reader, int decoded, int16_t version)
{
    cr_assert_eq(decoded, 0, "version %d", version);
    cr_assert_eq(kp_reader_left(reader), 0, "version %d", version);
}
