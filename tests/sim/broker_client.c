// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/broker_client.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"

enum { ARENA_MAX = 16 * 1024 * 1024, TURNS_MAX = 100000 };

bool client_connect(struct client *client, struct broker_node *node)
{
    *client = (struct client){.node = node};
    client->socket = sim_connect(node->world->sim, node->server.listen_fd);
    if (!client->socket)
        return false;
    arena_init(&client->arena, ARENA_MAX);
    return true;
}

void client_close(struct client *client)
{
    if (!client->socket)
        return;
    sim_socket_close(client->node->world->sim, client->socket);
    arena_free(&client->arena);
    client->socket = NULL;
}

struct kp_writer client_begin(struct client *client, int16_t key, int16_t version)
{
    struct kp_writer writer;
    arena_reset(&client->arena);
    kp_writer_init(&writer, &client->arena);
    kp_frame_begin(&writer);
    client->key = key;
    client->version = version;
    struct kp_request_header header = {
        .api_key = key, .api_version = version, .correlation_id = ++client->correlation};
    kp_request_header_write(&writer, &header);
    return writer;
}

static void send_vectors(struct client *client, struct kp_writer *writer)
{
    struct iovec *vectors;
    kp_frame_end(writer, 0);
    int count = kp_writer_vectors(writer, &vectors);
    CHECK(count >= 0);
    for (int i = 0; i < count; i++)
        sim_socket_send(client->node->world->sim, client->socket, vectors[i].iov_base,
                        vectors[i].iov_len);
}

bool client_call(struct client *client, struct kp_writer *writer, struct kp_reader *out)
{
    struct world *world = client->node->world;
    send_vectors(client, writer);
    const uint8_t *bytes;
    for (int turns = 0;; turns++) {
        size_t there = sim_socket_received(client->socket, &bytes);
        if (there >= 4 && there >= 4 + (size_t)load_be32(bytes))
            break;
        if (sim_socket_is_closed(client->socket) || sim_power_is_off(world->sim))
            return false;
        if (turns == TURNS_MAX)
            world_fail(world, "request %d of the client gets no answer", client->key);
        broker_turn(client->node);
    }
    size_t size = load_be32(bytes);
    uint8_t *copy = arena_raw(&client->arena, size);
    CHECK(copy);
    memcpy(copy, bytes + 4, size);
    sim_socket_take(client->socket, 4 + size);
    *out = kp_reader_init(copy, size);
    int32_t correlation;
    CHECK(kp_response_header_read(out, kp_api_find(client->key), client->version, &correlation) ==
          0);
    CHECK(correlation == client->correlation);
    return true;
}
