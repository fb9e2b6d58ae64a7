// SPDX-License-Identifier: Apache-2.0
// InitProducerId on both shards.
#include "gen/kp_init_producer_id.h"
#include "protocol/error.h"
#include "tests/unit/broker_state_client.h"

static struct kp_init_producer_id_response init(struct client *client, int16_t version,
                                                const char *transactional_id, int64_t id,
                                                int16_t epoch)
{
    struct kp_init_producer_id_request in;
    struct kp_init_producer_id_response out;
    kp_init_producer_id_request_init(&in);
    in.transactional_id = transactional_id ? span_text(transactional_id) : (struct span){0};
    in.transaction_timeout_ms = 1000;
    in.producer_id = id;
    in.producer_epoch = epoch;
    struct kp_writer writer = client_begin(client, KP_INIT_PRODUCER_ID_KEY, version);
    kp_init_producer_id_request_encode(&writer, version, &in);
    struct kp_reader reader = client_call(client, &writer, KP_INIT_PRODUCER_ID_KEY, version);
    client_expect_end(&reader,
                      kp_init_producer_id_response_decode(&reader, version, &client->arena, &out),
                      version);
    return out;
}

static int64_t new_id(struct client *client)
{
    struct kp_init_producer_id_response out = init(client, 5, NULL, -1, -1);
    cr_assert_eq(out.error_code, 0);
    cr_assert_eq(out.producer_epoch, 0);
    return out.producer_id;
}

Test(broker, producer_ids_in_every_version)
{
    struct client client = client_open();
    for (int16_t version = 0; version <= KP_INIT_PRODUCER_ID_MAX; version++) {
        struct kp_init_producer_id_response out = init(&client, version, NULL, -1, -1);
        cr_assert_eq(out.error_code, 0);
        cr_assert_eq(out.producer_id, version);
        cr_assert_eq(out.producer_epoch, 0);
    }
    client_close(&client);
}

Test(broker, producer_ids_never_come_back)
{
    struct client client = client_open();
    for (int64_t id = 0; id < 2 * CONTROLLER_PRODUCER_IDS + 5; id++)
        cr_assert_eq(new_id(&client), id);
    int64_t last = new_id(&client);
    for (int i = 0; i < 3; i++) {
        peer_close(client.peer);
        state_reopen(client.shards);
        client.peer = peer_open(client.shards);
        client.peer->connection->proven = true;
        client.read_to = 0;
        int64_t id = new_id(&client);
        cr_assert_gt(id, last);
        last = id;
    }
    client_close(&client);
}

Test(broker, producer_ids_are_given_once_when_many_ask)
{
    enum { ASKING = 3000 };
    struct shards *shards = state_open();
    static struct change *asked[ASKING];
    static bool given[4 * CONTROLLER_PRODUCER_IDS];
    for (uint32_t i = 0; i < ASKING; i++)
        asked[i] = change_start(&shards->shard[i % 2], CONTROLLER_PRODUCER_ID, "", -1);
    for (uint32_t i = 0; i < ASKING; i++) {
        shards_until(shards, &asked[i]->done);
        int64_t id = asked[i]->op.producer_id;
        cr_assert(id >= 0 && id < 4 * CONTROLLER_PRODUCER_IDS && !given[id]);
        given[id] = true;
        cr_assert_eq(change_free(asked[i]), 0);
    }
    state_close(shards);
}

Test(broker, producer_ids_with_transactions_are_refused)
{
    struct client client = client_open();
    struct kp_init_producer_id_response out = init(&client, 4, "tx", -1, -1);
    cr_assert_eq(out.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    cr_assert_eq(out.producer_id, -1);
    cr_assert_eq(init(&client, 4, "", -1, -1).error_code, KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(init(&client, 4, NULL, 5, -1).error_code, KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(init(&client, 4, NULL, -1, 5).error_code, KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(init(&client, 4, NULL, 5, 5).error_code, 0, "a new id");
    client_close(&client);
}
