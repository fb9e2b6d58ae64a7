// SPDX-License-Identifier: Apache-2.0
// Histories of a broker: clients create topics, produce, fetch, and commit offsets; the machine or
// the program stops at any point, also of a start, and comes back with another number of shards.
//
// What must be there afterwards: every topic whose creation was confirmed; every acknowledged batch
// at its offset, once; what was fetched before; and of a group's committed offset the last one that
// was confirmed, or one that was sent later.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/catalog.h"
#include "protocol/error.h"
#include "tests/sim/broker_client.h"

enum {
    TOPICS = 3,
    PARTITIONS = 2,
    GROUPS = 3,
    CLIENTS = 3,
    BATCHES_MAX = 2000,
    PRODUCE_VERSION = 13,
    FETCH_VERSION = 13,
    COMMIT_VERSION = 8,
    COMMITTED_VERSION = 8,
    CREATE_VERSION = 7,
};

// A batch is known by its CRC, which does not cover what the broker fills in.
struct sent_batch {
    uint32_t crc;
    int32_t records;
    int64_t base; // where it was acknowledged, or read; -1 = it need not be there
};

struct partition_model {
    struct sent_batch *sent;
    uint32_t count;
    int64_t seen; // the highest offset that was acknowledged or read, + 1
};

struct group_model {
    int64_t confirmed[TOPICS][PARTITIONS]; // -1 = none
    int64_t sent[TOPICS][PARTITIONS];      // the last one, confirmed or not
};

struct broker_model {
    struct world *world;
    struct broker_node node;
    struct client clients[CLIENTS];
    bool exists[TOPICS]; // its creation was confirmed
    struct partition_model partitions[TOPICS][PARTITIONS];
    struct group_model groups[GROUPS];
};

static const char *topic_name(int topic)
{
    static const char *const names[TOPICS] = {"orders", "payments", "events"};
    return names[topic];
}

static struct span group_name(int group)
{
    static const char *const names[GROUPS] = {"one", "two", "three"};
    return span_text(names[group]);
}

static const struct catalog_topic *topic_find(const struct broker_model *model, int topic)
{
    return catalog_find(model->node.shards[0]->catalog, span_text(topic_name(topic)));
}

// --- topics

static void create_topic(struct broker_model *model, struct client *client, int topic)
{
    struct kp_create_topics_request_topic wanted;
    kp_create_topics_request_topic_init(&wanted);
    wanted.name = span_text(topic_name(topic));
    wanted.num_partitions = PARTITIONS;
    wanted.replication_factor = 1;
    struct kp_create_topics_request in;
    kp_create_topics_request_init(&in);
    in.topics = &wanted;
    in.topics_count = 1;
    in.timeout_ms = 10000;
    struct kp_writer writer = client_begin(client, KP_CREATE_TOPICS_KEY, CREATE_VERSION);
    kp_create_topics_request_encode(&writer, CREATE_VERSION, &in);
    struct kp_reader reader;
    if (!client_call(client, &writer, &reader))
        return;
    struct kp_create_topics_response out;
    CHECK(kp_create_topics_response_decode(&reader, CREATE_VERSION, &client->arena, &out) == 0);
    int16_t error = out.topics[0].error_code;
    world_say(model->world, "create %s: %d", topic_name(topic), error);
    if (error == 0 || error == KP_ERROR_TOPIC_ALREADY_EXISTS)
        model->exists[topic] = true;
    else
        world_fail(model->world, "a topic is not created: %d", error);
}

// --- records

static struct sent_batch *sent_add(struct partition_model *partition, const struct span *batch)
{
    if (!partition->sent)
        partition->sent = calloc(BATCHES_MAX, sizeof(*partition->sent));
    CHECK(partition->sent);
    if (partition->count == BATCHES_MAX)
        return NULL;
    struct batch_header header;
    CHECK(batch_check(*batch, &header) == BATCH_OK);
    struct sent_batch *sent = &partition->sent[partition->count++];
    *sent = (struct sent_batch){.crc = header.crc, .records = header.record_count, .base = -1};
    return sent;
}

static struct sent_batch *sent_find(struct partition_model *partition, uint32_t crc)
{
    for (uint32_t i = 0; i < partition->count; i++) {
        if (partition->sent[i].crc == crc)
            return &partition->sent[i];
    }
    return NULL;
}

static void produce(struct broker_model *model, struct client *client, int topic, int32_t index)
{
    struct world *world = model->world;
    struct content content = {
        .id = ++world->next_content,
        .records = 1 + (int32_t)world_random(world, 3),
        .value_bytes = (uint32_t)world_random(world, world_chance(world, 20) ? 20000 : 300),
        .timestamp = model->node.shards[0]->io->wall_ms,
        .producer = {.id = -1, .epoch = -1, .base_sequence = -1},
    };
    struct span batch = content_build(&world->builder, &content);
    struct partition_model *partition = &model->partitions[topic][index];
    struct sent_batch *sent = sent_add(partition, &batch);
    if (!sent)
        return;
    struct kp_writer writer = client_begin(client, KP_PRODUCE_KEY, PRODUCE_VERSION);
    uint8_t *copy = arena_raw(&client->arena, batch.size);
    CHECK(copy);
    memcpy(copy, batch.data, batch.size);
    struct kp_produce_request_partition part = {
        .index = index,
        .records = {.slice_count = 1,
                    .size = (int64_t)batch.size,
                    .one = {.iov_base = copy, .iov_len = batch.size}}};
    part.records.slices = &part.records.one;
    struct kp_produce_request_topic wanted = {.topic_id = topic_find(model, topic)->id,
                                              .partition_data = &part,
                                              .partition_data_count = 1};
    struct kp_produce_request in;
    kp_produce_request_init(&in);
    in.acks = -1;
    in.topic_data = &wanted;
    in.topic_data_count = 1;
    kp_produce_request_encode(&writer, PRODUCE_VERSION, &in);
    world->counts[COUNT_APPENDS]++;
    struct kp_reader reader;
    if (!client_call(client, &writer, &reader))
        return;
    struct kp_produce_response out;
    CHECK(kp_produce_response_decode(&reader, PRODUCE_VERSION, &client->arena, &out) == 0);
    const struct kp_produce_response_partition *answer = &out.responses[0].partition_responses[0];
    world_say(world, "produce to %s-%d: %d, %" PRId64, topic_name(topic), (int)index,
              answer->error_code, answer->base_offset);
    if (answer->error_code && !sim_power_is_off(world->sim))
        world_fail(world, "a record is refused: %d", answer->error_code);
    if (answer->error_code)
        return;
    world->counts[COUNT_ACKED]++;
    if (answer->base_offset < partition->seen)
        world_fail(world, "offset %" PRId64 " of %s-%d is given again", answer->base_offset,
                   topic_name(topic), (int)index);
    sent->base = answer->base_offset;
    partition->seen = sent->base + sent->records;
}

static void check_fetched(struct broker_model *model, int topic, int32_t index, int64_t base,
                          const struct batch_header *header)
{
    struct world *world = model->world;
    struct partition_model *partition = &model->partitions[topic][index];
    struct sent_batch *sent = sent_find(partition, header->crc);
    if (!sent || sent->records != header->record_count)
        world_fail(world, "%s-%d has a batch at %" PRId64 " that nobody sent", topic_name(topic),
                   (int)index, base);
    if (sent->base >= 0 && sent->base != base)
        world_fail(world, "the batch of %s-%d at %" PRId64 " is also at %" PRId64,
                   topic_name(topic), (int)index, sent->base, base);
    sent->base = base;
    if (partition->seen < base + sent->records)
        partition->seen = base + sent->records;
}

// Reads on from `offset`; the offset behind what came, or -1.
static int64_t fetch(struct broker_model *model, struct client *client, int topic, int32_t index,
                     int64_t offset)
{
    struct world *world = model->world;
    struct kp_fetch_request_partition part;
    kp_fetch_request_partition_init(&part);
    part.partition = index;
    part.fetch_offset = offset;
    part.partition_max_bytes = 1 + (int32_t)world_random(world, 50000);
    struct kp_fetch_request_topic wanted = {
        .topic_id = topic_find(model, topic)->id, .partitions = &part, .partitions_count = 1};
    struct kp_fetch_request in;
    kp_fetch_request_init(&in);
    in.max_bytes = 1 << 20;
    in.topics = &wanted;
    in.topics_count = 1;
    in.rack_id = span_text("");
    struct kp_writer writer = client_begin(client, KP_FETCH_KEY, FETCH_VERSION);
    kp_fetch_request_encode(&writer, FETCH_VERSION, &in);
    world->counts[COUNT_READS]++;
    struct kp_reader reader;
    if (!client_call(client, &writer, &reader))
        return -1;
    struct kp_fetch_response out;
    CHECK(kp_fetch_response_decode(&reader, FETCH_VERSION, &client->arena, &out) == 0);
    const struct kp_fetch_response_partition *answer = &out.responses[0].partitions[0];
    if (answer->error_code && !sim_power_is_off(world->sim))
        world_fail(world, "%s-%d cannot be read at %" PRId64 ": %d", topic_name(topic), (int)index,
                   offset, answer->error_code);
    if (answer->error_code)
        return -1;
    struct span left = {0};
    if (answer->records.slice_count > 0)
        left = span_of(answer->records.slices[0].iov_base, answer->records.slices[0].iov_len);
    while (left.size > 0) {
        struct batch_header header;
        if (batch_check(left, &header) != BATCH_OK)
            world_fail(world, "%s-%d gives bad bytes at %" PRId64, topic_name(topic), (int)index,
                       offset);
        check_fetched(model, topic, index, header.base_offset, &header);
        size_t size = batch_total_size(&header);
        offset = batch_last_offset(&header) + 1;
        left = span_of(left.data + size, left.size - size);
    }
    return offset;
}

// --- committed offsets

static void commit(struct broker_model *model, struct client *client, int group, int topic,
                   int32_t index)
{
    struct world *world = model->world;
    struct group_model *known = &model->groups[group];
    int64_t offset = known->sent[topic][index] + 1 + (int64_t)world_random(world, 5);
    struct kp_offset_commit_request_partition part = {.partition_index = index,
                                                      .committed_offset = offset,
                                                      .committed_leader_epoch = -1,
                                                      .committed_metadata = span_text("")};
    struct kp_offset_commit_request_topic wanted = {
        .name = span_text(topic_name(topic)), .partitions = &part, .partitions_count = 1};
    struct kp_offset_commit_request in;
    kp_offset_commit_request_init(&in);
    in.group_id = group_name(group);
    in.generation_id_or_member_epoch = -1;
    in.member_id = span_text("");
    in.topics = &wanted;
    in.topics_count = 1;
    struct kp_writer writer = client_begin(client, KP_OFFSET_COMMIT_KEY, COMMIT_VERSION);
    kp_offset_commit_request_encode(&writer, COMMIT_VERSION, &in);
    known->sent[topic][index] = offset;
    struct kp_reader reader;
    if (!client_call(client, &writer, &reader))
        return;
    struct kp_offset_commit_response out;
    CHECK(kp_offset_commit_response_decode(&reader, COMMIT_VERSION, &client->arena, &out) == 0);
    int16_t error = out.topics[0].partitions[0].error_code;
    world_say(world, "commit %d %s-%d %" PRId64 ": %d", group, topic_name(topic), (int)index,
              offset, error);
    if (!error)
        known->confirmed[topic][index] = offset;
    else if (!sim_power_is_off(world->sim))
        world_fail(world, "an offset is not committed: %d", error);
}

static bool check_committed(struct broker_model *model, struct client *client, int group, int topic,
                            int32_t index)
{
    struct world *world = model->world;
    struct group_model *known = &model->groups[group];
    struct kp_offset_fetch_request_group_topic wanted = {.name = span_text(topic_name(topic)),
                                                         .partition_indexes = &index,
                                                         .partition_indexes_count = 1};
    struct kp_offset_fetch_request_group asked;
    kp_offset_fetch_request_group_init(&asked);
    asked.group_id = group_name(group);
    asked.topics = &wanted;
    asked.topics_count = 1;
    struct kp_offset_fetch_request in;
    kp_offset_fetch_request_init(&in);
    in.groups = &asked;
    in.groups_count = 1;
    struct kp_writer writer = client_begin(client, KP_OFFSET_FETCH_KEY, COMMITTED_VERSION);
    kp_offset_fetch_request_encode(&writer, COMMITTED_VERSION, &in);
    struct kp_reader reader;
    if (!client_call(client, &writer, &reader))
        return false;
    struct kp_offset_fetch_response out;
    CHECK(kp_offset_fetch_response_decode(&reader, COMMITTED_VERSION, &client->arena, &out) == 0);
    const struct kp_offset_fetch_response_group_partition *answer =
        &out.groups[0].topics[0].partitions[0];
    int64_t offset = answer->committed_offset;
    world_say(world, "committed %d %s-%d: %" PRId64 ", %d", group, topic_name(topic), (int)index,
              offset, answer->error_code);
    if (answer->error_code || out.groups[0].error_code)
        return false;
    if (offset < known->confirmed[topic][index] || offset > known->sent[topic][index])
        world_fail(world,
                   "group %d has %" PRId64 " for %s-%d, confirmed is %" PRId64 " and sent %" PRId64,
                   group, offset, topic_name(topic), (int)index, known->confirmed[topic][index],
                   known->sent[topic][index]);
    known->confirmed[topic][index] = offset; // it was shown
    return true;
}

// --- after a start

static bool verify_partition(struct broker_model *model, struct client *client, int topic,
                             int32_t index)
{
    struct partition_model *partition = &model->partitions[topic][index];
    struct world *world = model->world;
    // What was found by the last reading must be found by this one, at its place.
    int64_t seen = partition->seen;
    int64_t offset = 0;
    for (;;) {
        int64_t next = fetch(model, client, topic, index, offset);
        if (next < 0)
            return false;
        if (next == offset)
            break;
        offset = next;
    }
    world_say(world, "%s-%d ends at %" PRId64, topic_name(topic), (int)index, offset);
    if (offset < seen)
        world_fail(world, "%" PRId64 " to %" PRId64 " of %s-%d are lost", offset, seen - 1,
                   topic_name(topic), (int)index);
    // What is not there now will not come.
    uint32_t kept = 0;
    for (uint32_t i = 0; i < partition->count; i++) {
        if (partition->sent[i].base >= 0)
            partition->sent[kept++] = partition->sent[i];
    }
    partition->count = kept;
    return true;
}

static bool verify(struct broker_model *model)
{
    struct client client;
    bool whole = client_connect(&client, &model->node);
    for (int topic = 0; topic < TOPICS && whole; topic++) {
        if (!topic_find(model, topic)) {
            if (model->exists[topic])
                world_fail(model->world, "topic %s is lost", topic_name(topic));
            continue;
        }
        model->exists[topic] = true;
        for (int32_t index = 0; index < PARTITIONS && whole; index++) {
            whole = verify_partition(model, &client, topic, index);
            for (int group = 0; group < GROUPS && whole; group++)
                whole = check_committed(model, &client, group, topic, index);
        }
    }
    client_close(&client);
    return whole;
}

// --- a life

static void one_step(struct broker_model *model)
{
    struct world *world = model->world;
    struct client *client = &model->clients[world_random(world, CLIENTS)];
    if (!client->socket || sim_socket_is_closed(client->socket)) {
        client_close(client);
        if (!client_connect(client, &model->node))
            return;
    }
    int topic = (int)world_random(world, TOPICS);
    int32_t index = (int32_t)world_random(world, PARTITIONS);
    uint64_t dice = world_random(world, 16);
    if (!model->exists[topic])
        create_topic(model, client, topic);
    else if (dice < 7)
        produce(model, client, topic, index);
    else if (dice < 11)
        commit(model, client, (int)world_random(world, GROUPS), topic, index);
    else if (dice < 13)
        fetch(model, client, topic, index,
              (int64_t)world_random(world, (uint64_t)model->partitions[topic][index].seen + 1));
    else if (dice < 14)
        check_committed(model, client, (int)world_random(world, GROUPS), topic, index);
    else if (dice < 15)
        sim_advance(world->sim, world_random(world, 800) * 1000000);
    else
        broker_turn(&model->node);
}

static void stop(struct broker_model *model, bool clean)
{
    struct world *world = model->world;
    bool machine = !world_chance(world, 4);
    world_say(world, clean ? "stop" : machine ? "crash of the machine" : "crash of the program");
    if (!clean) {
        world->counts[COUNT_CRASHES]++;
        sim_power_off(world->sim, 0);
    }
    broker_stop(&model->node);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&model->clients[i]);
    if (machine)
        sim_restart(world->sim);
    else
        sim_restart_process(world->sim);
}

static void one_life(struct broker_model *model, bool last)
{
    struct world *world = model->world;
    world->shard_count = 1 + (uint32_t)world_random(world, WORLD_SHARDS);
    bool clean = last || world_chance(world, 4);
    if (!last && world_chance(world, 3)) {
        sim_power_off(world->sim, 1 + world_random(world, 150));
        clean = false;
    }
    if (!broker_start(&model->node, world, broker_scale_tiny) || !verify(model)) {
        world->counts[COUNT_RECOVERY_CRASHES]++;
        if (last)
            world_fail(world, "the last start fails");
        stop(model, false);
        return;
    }
    if (!clean)
        sim_power_off(world->sim, 1 + world_random(world, 800));
    for (uint64_t i = 20 + world_random(world, 60); i > 0 && !sim_power_is_off(world->sim); i--)
        one_step(model);
    stop(model, clean);
}

void world_history(struct world *world, uint64_t seed, FILE *out)
{
    world_begin(world, seed, out);
    content_builder_init(&world->builder);
    struct broker_model *model = calloc(1, sizeof(*model));
    CHECK(model);
    model->world = world;
    memset(model->groups, 0xff, sizeof(model->groups)); // -1 everywhere
    for (uint64_t lives = 2 + world_random(world, 4); lives > 0; lives--)
        one_life(model, false);
    one_life(model, true);
    for (int topic = 0; topic < TOPICS; topic++) {
        for (int index = 0; index < PARTITIONS; index++)
            free(model->partitions[topic][index].sent);
    }
    free(model);
    content_builder_free(&world->builder);
    sim_destroy(world->sim);
}
