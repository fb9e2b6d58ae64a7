// SPDX-License-Identifier: Apache-2.0
// Members of a group of the consumer protocol (KIP-848), what befalls them, and what must hold.
//
// The requests of one member arrive in the order in which they were sent, as over one connection
// after the other; they and their answers may be late or lost, and a member that hears nothing asks
// again and takes no answer to what it asked before.
//
// 1. Nobody is told of a partition that somebody else was told of, until that one has sent a
//    request that says that it does not have it, or is not in the group any more, by what is
//    durable.
// 2. The epoch that a member is told never goes back as long as it does not join again, and after a
//    crash the group's is none that is older than any that was told.
// 3. When nothing goes wrong any more, everybody gets into the newest epoch, and every partition of
//    a topic that somebody wants has one owner.
#include "tests/sim/group_sim.h"

enum { LIVES = 4000, TOPICS = 2, PARTITIONS = 8, ALL_OF_ONE = 0xff };

// What somebody under this id was told that it has, and may still have.
struct life {
    char id[SIM_ID_SIZE];
    uint32_t told;
    int32_t epoch;
    uint64_t token; // of its last request at the broker: it takes no answer to an earlier one
};

struct sim_consumers {
    struct catalog catalog;
    struct catalog_topic topics[TOPICS];
    const struct catalog_topic *order[TOPICS];
    struct life lives[LIVES];
    uint32_t life_count;
    int32_t epoch; // the newest that anybody was told
};

// --- topics

void sim_consumers_open(struct sim *sim)
{
    static const char *const names[TOPICS] = {"t0", "t1"};
    struct sim_consumers *all = calloc(1, sizeof(*all));
    CHECK(all);
    sim->consumers = all;
    all->catalog = (struct catalog){.version = 1, .topics = all->order, .topic_count = TOPICS};
    for (uint32_t i = 0; i < TOPICS; i++) {
        struct catalog_topic *topic = &all->topics[i];
        *topic = (struct catalog_topic){.name = names[i]};
        topic->id.bytes[0] = (uint8_t)(i + 1u);
        topic->partition_count = 1 + (int32_t)sim_random(sim, PARTITIONS);
        all->order[i] = topic;
        CHECK(map_put(&all->catalog.by_name, span_text(names[i]), topic) == 0);
        CHECK(map_put(&all->catalog.by_id, span_of(topic->id.bytes, 16), topic) == 0);
    }
    sim->broker.step.catalog = &all->catalog;
}

void sim_consumers_close(struct sim *sim)
{
    map_free(&sim->consumers->catalog.by_name);
    map_free(&sim->consumers->catalog.by_id);
    free(sim->consumers);
}

uint32_t sim_consumer_partitions(const struct sim *sim, uint32_t topic)
{
    return ((1u << sim->consumers->topics[topic].partition_count) - 1) << (PARTITIONS * topic);
}

static uint32_t bit_of(const struct sim *sim, struct kp_uuid id, int32_t partition)
{
    (void)sim;
    return 1u << (PARTITIONS * (uint32_t)(id.bytes[0] - 1) + (uint32_t)partition);
}

static void grow_topic(struct sim *sim)
{
    struct catalog_topic *topic = &sim->consumers->topics[sim_random(sim, TOPICS)];
    const struct group *group = sim->broker.group;
    if (topic->partition_count == PARTITIONS || !group || group->type != GROUP_CONSUMER)
        return; // the leaders here do not look
    topic->partition_count++;
    sim->consumers->catalog.version++;
    sim_say(sim, "%s has %" PRId32 " partitions", topic->name, topic->partition_count);
    sim_broker_catalog_changed(sim);
}

// --- what a member sends

static void set_timer(struct sim *sim, int index, int64_t delay_ms)
{
    struct sim_member *member = &sim->members[index];
    struct sim_event *event = sim_at(sim, sim->now_ms + delay_ms, SIM_MEMBER);
    event->member = index;
    event->token = member->timer = ++sim->token;
}

static void say_wants(struct kp_consumer_group_heartbeat_request *in, struct call *call,
                      uint32_t wants)
{
    static const char *const names[TOPICS] = {"t0", "t1"};
    in->subscribed_topic_names_count = 0;
    in->subscribed_topic_names = arena_array(&call->arena, TOPICS, sizeof(struct span));
    in->subscribed_topic_regex = span_text(wants == 0 ? "t[0-9]" : "");
    for (uint32_t i = 0; i < TOPICS && in->subscribed_topic_names; i++)
        if (wants & (1u << i))
            in->subscribed_topic_names[in->subscribed_topic_names_count++] = span_text(names[i]);
}

static void say_owned(const struct sim *sim, struct kp_consumer_group_heartbeat_request *in,
                      struct call *call, uint32_t owned)
{
    in->topic_partitions_count = 0;
    in->topic_partitions = arena_array(&call->arena, TOPICS, sizeof(*in->topic_partitions));
    int32_t *numbers = arena_array(&call->arena, TOPICS * PARTITIONS, sizeof(*numbers));
    for (uint32_t t = 0; t < TOPICS && in->topic_partitions && numbers; t++) {
        if (!(owned >> (PARTITIONS * t) & ALL_OF_ONE))
            continue;
        struct kp_consumer_group_heartbeat_request_topic_partition *topic =
            &in->topic_partitions[in->topic_partitions_count++];
        topic->topic_id = sim->consumers->topics[t].id;
        topic->partitions = &numbers[PARTITIONS * t];
        for (int32_t i = 0; i < PARTITIONS; i++)
            if (owned & bit_of(sim, topic->topic_id, i))
                topic->partitions[topic->partitions_count++] = i;
    }
}

static struct sim_request *prepare(struct sim *sim, int index, int32_t epoch)
{
    struct sim_member *member = &sim->members[index];
    struct sim_request *request =
        sim_request_new(sim, SIM_CONSUMER, 1, member->id, member->instance, epoch);
    struct kp_consumer_group_heartbeat_request *in = &request->call.in.consumer;
    kp_consumer_group_heartbeat_request_init(in);
    request->member = index;
    request->token = member->token = ++sim->token;
    request->owned = -1;
    in->member_id = span_text(request->id);
    in->member_epoch = epoch;
    in->instance_id = request->instance[0] ? span_text(request->instance) : (struct span){0};
    in->subscribed_topic_names_count = -1;
    in->topic_partitions_count = -1;
    return request;
}

void sim_consumer_post(struct sim *sim, int index, struct sim_request *request)
{
    struct sim_member *member = &sim->members[index];
    int64_t delay_ms = (int64_t)sim_random(sim, sim_chance(sim, 10) ? 20000 : 20);
    if (sim_chance(sim, 20)) {
        sim_request_free(request);
        return;
    }
    if (sim->now_ms + delay_ms > member->arrival_ms)
        member->arrival_ms = sim->now_ms + delay_ms;
    sim_at(sim, member->arrival_ms, SIM_ARRIVES)->request = request;
}

static void commit(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    struct sim_request *request =
        sim_request_new(sim, SIM_COMMIT, 9, member->id, member->instance, member->generation);
    request->member = index;
    request->owned = member->owned;
    sim_send(sim, request, SIM_ARRIVES); // it may be overtaken
}

static void beat(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    struct sim_request *request = prepare(sim, index, member->generation);
    struct kp_consumer_group_heartbeat_request *in = &request->call.in.consumer;
    bool full = member->full || member->generation == 0;
    request->full = full;
    request->metadata = member->metadata;
    if (full) {
        in->rebalance_timeout_ms = member->rebalance_ms;
        say_wants(in, &request->call, member->metadata);
        in->server_assignor = span_text(index % 3 ? "uniform" : "range");
    }
    if (full || member->owned != member->reported) {
        say_owned(sim, in, &request->call, member->owned);
        request->owned = member->owned;
    }
    member->waits = true;
    sim_consumer_post(sim, index, request);
    if (member->generation > 0 && sim_random(sim, 3) == 0)
        commit(sim, index);
    set_timer(sim, index, sim_chance(sim, 8) ? 2000 : 10000);
}

static void leave(struct sim *sim, int index, int32_t epoch)
{
    struct sim_member *member = &sim->members[index];
    sim_say(sim, "member %d leaves with %" PRId32, index, epoch);
    member->owned = 0;
    sim_consumer_post(sim, index, prepare(sim, index, epoch));
}

// --- a member's life

// 0: a pattern. See group_sim_member.c.
static uint32_t new_metadata(struct sim *sim, const char *instance)
{
    return sim->mixed && instance[0] ? 1 + (uint32_t)(instance[1] - '0')
                                     : (uint32_t)sim_random(sim, 4);
}

void sim_consumer_start(struct sim *sim, int index, const char *instance)
{
    struct sim_member *member = &sim->members[index];
    uint64_t timer = member->timer;
    int64_t arrival_ms = member->arrival_ms;
    *member = (struct sim_member){
        .state = SIM_STABLE,
        .rebalance_ms = 5000 + (int32_t)sim_random(sim, 30000),
        .metadata = new_metadata(sim, instance),
        .timer = timer,
        .arrival_ms = arrival_ms,
    };
    snprintf(member->instance, sizeof(member->instance), "%s", instance);
    snprintf(member->id, sizeof(member->id), "c%d-%" PRIu64, index, ++sim->token);
    sim_say(sim, "member %d starts: %s %s, wants %u", index, member->id, instance,
            member->metadata);
    beat(sim, index);
}

void sim_consumer_time(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    if (member->state == SIM_COMPUTING) { // it has let go
        member->state = SIM_STABLE;
        member->owned = member->target;
        sim_say(sim, "member %d owns %04x in epoch %" PRId32, index, member->owned,
                member->generation);
    }
    member->full = member->full || member->waits;
    beat(sim, index);
}

static void stop(struct sim *sim, int index)
{
    sim->members[index].state = SIM_OFF;
    sim->members[index].owned = 0;
}

static void begin_again(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    member->owned = 0;
    member->generation = 0;
    member->reported = 0;
    member->state = SIM_STABLE;
}

static void refused(struct sim *sim, int index, int16_t error)
{
    struct sim_member *member = &sim->members[index];
    member->full = true;
    switch (error) {
    case KP_ERROR_FENCED_MEMBER_EPOCH:
    case KP_ERROR_UNKNOWN_MEMBER_ID:
        sim_say(sim, "member %d is fenced: %d", index, error);
        begin_again(sim, index);
        break;
    case KP_ERROR_FENCED_INSTANCE_ID:
        stop(sim, index);
        return;
    case KP_ERROR_UNRELEASED_INSTANCE_ID:
        if (sim_random(sim, 3) == 0) {
            stop(sim, index);
            return;
        }
        break;
    case KP_ERROR_COORDINATOR_NOT_AVAILABLE:
    case KP_ERROR_GROUP_MAX_SIZE_REACHED:
        break;
    case KP_ERROR_GROUP_ID_NOT_FOUND: // it is a classic one, and may not be turned
        if (!sim->mixed)
            sim_fail(sim, "member %d finds no group", index);
        begin_again(sim, index);
        break;
    default:
        sim_fail(sim, "member %d is told %d", index, error);
    }
    set_timer(sim, index, 100 + (int64_t)sim_random(sim, 1000));
}

static uint32_t bits_of(const struct sim *sim,
                        const struct kp_consumer_group_heartbeat_response_assignment *from)
{
    uint32_t bits = 0;
    for (int32_t i = 0; i < from->topic_partitions_count; i++)
        for (int32_t k = 0; k < from->topic_partitions[i].partitions_count; k++)
            bits |= bit_of(sim, from->topic_partitions[i].topic_id,
                           from->topic_partitions[i].partitions[k]);
    return bits;
}

void sim_consumer_answer(struct sim *sim, const struct sim_request *request)
{
    int index = request->member;
    struct sim_member *member = &sim->members[index];
    const struct kp_consumer_group_heartbeat_response *out = &request->call.out.consumer;
    member->waits = false;
    if (out->error_code) {
        refused(sim, index, out->error_code);
        return;
    }
    member->generation = out->member_epoch;
    if (request->full && request->metadata == member->metadata)
        member->full = false;
    if (request->owned >= 0)
        member->reported = (uint32_t)request->owned;
    if (out->assignment)
        member->target = bits_of(sim, out->assignment);
    if (member->owned & ~member->target) { // it takes a while to let go
        member->state = SIM_COMPUTING;
        set_timer(sim, index, (int64_t)sim_random(sim, sim_chance(sim, 20) ? 30000 : 3000));
        return;
    }
    if (member->owned != member->target)
        sim_say(sim, "member %d owns %04x in epoch %" PRId32, index, member->target,
                member->generation);
    member->owned = member->target;
    set_timer(sim, index, member->owned != member->reported ? 0 : 3000);
}

// --- what must hold

static struct life *life_of(struct sim *sim, const char *id)
{
    struct sim_consumers *all = sim->consumers;
    for (uint32_t i = all->life_count; i-- > 0;)
        if (strcmp(all->lives[i].id, id) == 0)
            return &all->lives[i];
    CHECK(all->life_count < LIVES);
    struct life *life = &all->lives[all->life_count++];
    snprintf(life->id, sizeof(life->id), "%s", id);
    return life;
}

void sim_consumer_told_generation(struct sim *sim, const char *id, int32_t generation)
{
    struct life *life = life_of(sim, id);
    if (generation < life->epoch || generation <= 0)
        sim_fail(sim, "%s is told generation %" PRId32 " after %" PRId32, id, generation,
                 life->epoch);
    life->epoch = generation;
    if (generation > sim->consumers->epoch)
        sim->consumers->epoch = generation;
}

void sim_consumer_arrives(struct sim *sim, const struct sim_request *request)
{
    struct life *life = life_of(sim, request->id);
    life->token = request->token;
    if (request->generation <= 0)
        life->told = 0;
    if (request->generation == 0)
        life->epoch = 0;
    if (request->owned >= 0)
        life->told &= (uint32_t)request->owned;
}

static bool is_durable_member(const struct sim *sim, const char *id)
{
    const struct image_record *record;
    for (size_t at = 0; (record = map_next(&sim->broker.image.records, &at));) {
        struct group_record read;
        CHECK(group_record_read(record->key, record->value, &read) == 0);
        bool found = read.kind == GROUP_RECORD_MEMBER && span_equal(read.member_id, span_text(id));
        group_record_free(&read);
        if (found)
            return true;
    }
    return false;
}

static void check_owners(struct sim *sim, const struct life *life, uint32_t bits)
{
    struct sim_consumers *all = sim->consumers;
    for (uint32_t i = 0; i < all->life_count; i++) {
        struct life *other = &all->lives[i];
        if (other == life || !(other->told & bits))
            continue;
        if (is_durable_member(sim, other->id))
            sim_fail(sim, "%s is told of %04x, and %s has %04x", life->id, bits, other->id,
                     other->told);
        other->told = 0;
    }
}

void sim_consumer_told(struct sim *sim, const struct sim_request *request)
{
    const struct kp_consumer_group_heartbeat_response *out = &request->call.out.consumer;
    if (out->error_code || request->generation < 0)
        return;
    struct life *life = life_of(sim, request->id);
    if (request->token != life->token)
        return;
    if (out->member_epoch < life->epoch || out->member_epoch <= 0)
        sim_fail(sim, "%s is told epoch %" PRId32 " after %" PRId32, life->id, out->member_epoch,
                 life->epoch);
    life->epoch = out->member_epoch;
    if (life->epoch > sim->consumers->epoch)
        sim->consumers->epoch = life->epoch;
    if (!out->assignment)
        return;
    uint32_t bits = bits_of(sim, out->assignment);
    check_owners(sim, life, bits);
    life->told |= bits;
}

void sim_consumer_loaded(struct sim *sim)
{
    if (sim->broker.group->generation < sim->consumers->epoch)
        sim_fail(sim, "epoch %" PRId32 " was told, and %" PRId32 " was stored",
                 sim->consumers->epoch, sim->broker.group->generation);
}

bool sim_consumer_settled(const struct sim *sim)
{
    const struct group *group = sim->broker.group;
    uint32_t owned = 0;
    uint32_t wanted = 0;
    uint32_t on = 0;
    const char *state = group ? group_state_name(group) : "";
    if (!list_empty(&sim->broker.writes) ||
        (strcmp(state, "Stable") != 0 && strcmp(state, "Empty") != 0)) // all may have given up
        return false;
    for (int i = 0; i < SIM_MEMBERS; i++) {
        const struct sim_member *member = &sim->members[i];
        if (member->state == SIM_OFF)
            continue;
        if (member->generation != group->generation || member->state != SIM_STABLE ||
            (!member->classic && member->owned != member->target) || (member->owned & owned))
            return false;
        owned |= member->owned;
        for (uint32_t t = 0; t < TOPICS; t++)
            if (member->metadata == 0 || member->metadata & (1u << t))
                wanted |= sim_consumer_partitions(sim, t);
        on++;
    }
    return on == group->member_count && owned == wanted;
}

// --- misfortunes

static void intrude(struct sim *sim, int index)
{
    static const int32_t epochs[] = {-2, -1, 1, 3, INT32_MAX};
    struct sim_request *request =
        sim_request_new(sim, SIM_CONSUMER, 1, "stranger", "", epochs[sim_random(sim, 5)]);
    struct kp_consumer_group_heartbeat_request *in = &request->call.in.consumer;
    kp_consumer_group_heartbeat_request_init(in);
    in->member_id = span_text(request->id);
    in->member_epoch = request->generation;
    in->subscribed_topic_names_count = -1;
    request->owned = -1;
    say_owned(sim, in, &request->call, (uint32_t)sim_random(sim, 0xffff));
    (void)index;
    sim_send(sim, request, SIM_ARRIVES);
}

void sim_consumer_befall(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    char instance[SIM_INSTANCE_SIZE];
    memcpy(instance, member->instance, sizeof(instance));
    switch (sim_random(sim, 9)) {
    case 0:
        sim_say(sim, "member %d dies", index);
        stop(sim, index);
        break;
    case 1:
        leave(sim, index, instance[0] && sim_random(sim, 2) ? CONSUMER_LEFT : -1);
        stop(sim, index);
        break;
    case 2:
        sim_say(sim, "member %d hangs", index);
        member->paused_until = sim->now_ms + (int64_t)sim_random(sim, 80000);
        break;
    case 3:
        if (instance[0] && !(sim->mixed && sim_random(sim, 2)))
            leave(sim, index, CONSUMER_LEFT);
        sim_member_start(sim, index, instance);
        break;
    case 4: // the old process goes on
        for (int i = 0; i < SIM_MEMBERS && instance[0]; i++) {
            if (sim->members[i].state == SIM_OFF) {
                sim_member_start(sim, i, instance);
                break;
            }
        }
        break;
    case 5:
        member->metadata = new_metadata(sim, instance);
        member->full = true;
        sim_say(sim, "member %d wants %u", index, member->metadata);
        break;
    case 6:
        begin_again(sim, index);
        break;
    case 7:
        grow_topic(sim);
        break;
    case 8:
        intrude(sim, index);
        break;
    }
}
