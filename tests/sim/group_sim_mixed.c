// SPDX-License-Identifier: Apache-2.0
// Classic members of groups that have members of both protocols: what they say to each other is
// what consumers say, because the broker reads it. They are eager, and have nothing while they
// join; or cooperative, and keep what they have, say what that is, give up what they were not
// given, and join again then.
//
// 1. The generation that a member is told never goes back.
#include "tests/sim/group_sim.h"

enum { TOPICS = 2, PARTITIONS = 8, ALL_OF_ONE = 0xff };

// --- bytes

struct bytes {
    uint8_t *at;
    uint8_t data[256];
};

static void put_i16(struct bytes *to, uint32_t number)
{
    store_be16(to->at, (uint16_t)number);
    to->at += 2;
}

static void put_i32(struct bytes *to, uint32_t number)
{
    store_be32(to->at, number);
    to->at += 4;
}

static void put_name(struct bytes *to, uint32_t topic)
{
    put_i16(to, 2);
    *to->at++ = 't';
    *to->at++ = (uint8_t)('0' + topic);
}

static void put_parts(struct bytes *to, uint32_t parts)
{
    uint32_t topics = 0;
    for (uint32_t t = 0; t < TOPICS; t++)
        topics += (parts >> (PARTITIONS * t) & ALL_OF_ONE) != 0;
    put_i32(to, topics);
    for (uint32_t t = 0; t < TOPICS; t++) {
        uint32_t of_one = parts >> (PARTITIONS * t) & ALL_OF_ONE;
        if (!of_one)
            continue;
        put_name(to, t);
        put_i32(to, (uint32_t)__builtin_popcount(of_one));
        for (uint32_t p = 0; p < PARTITIONS; p++)
            if (of_one >> p & 1)
                put_i32(to, p);
    }
}

static struct span keep(struct sim_request *request, const struct bytes *bytes)
{
    size_t size = (size_t)(bytes->at - bytes->data);
    const char *copy = arena_text(&request->call.arena, bytes->data, size);
    return copy ? span_of(copy, size) : kp_empty();
}

static uint32_t read_parts(struct kp_reader *reader)
{
    uint32_t parts = 0;
    int32_t topics = kp_read_i32(reader);
    for (int32_t t = 0; t < topics && !reader->failed; t++) {
        struct span name = kp_read_string(reader, false, false);
        int32_t count = kp_read_i32(reader);
        for (int32_t i = 0; i < count && !reader->failed; i++)
            parts |=
                1u << (PARTITIONS * (uint32_t)(name.data[1] - '0') + (uint32_t)kp_read_i32(reader));
    }
    return parts;
}

// --- joining

void sim_mixed_subscribe(struct sim *sim, struct sim_request *request)
{
    const struct sim_member *member = &sim->members[request->member];
    struct kp_join_group_request *in = &request->call.in.join;
    struct bytes bytes;
    bytes.at = bytes.data;
    put_i16(&bytes, 1);
    put_i32(&bytes, (uint32_t)__builtin_popcount(member->metadata));
    for (uint32_t t = 0; t < TOPICS; t++)
        if (member->metadata >> t & 1)
            put_name(&bytes, t);
    put_i32(&bytes, UINT32_MAX);
    put_parts(&bytes, member->owned);
    call_protocols(&request->call, "sticky=");
    if (in->protocols_count)
        in->protocols[0].metadata = keep(request, &bytes);
}

// --- leading

struct plan {
    uint32_t count;
    uint32_t wants[SIM_LISTED]; // partitions
    uint32_t owned[SIM_LISTED];
    uint32_t *gives;
};

static void read_member(const struct sim *sim, struct plan *plan, struct span metadata)
{
    struct kp_reader reader = kp_reader_init(metadata.data, metadata.size);
    uint32_t at = plan->count++;
    kp_read_i16(&reader);
    int32_t topics = kp_read_i32(&reader);
    plan->wants[at] = 0;
    plan->gives[at] = 0;
    for (int32_t i = 0; i < topics && !reader.failed; i++) {
        struct span name = kp_read_string(&reader, false, false);
        plan->wants[at] |= sim_consumer_partitions(sim, (uint32_t)(name.data[1] - '0'));
    }
    kp_read_bytes(&reader, false, true);
    plan->owned[at] = read_parts(&reader);
    CHECK(!reader.failed);
}

// Who has it and may keep it, or else who wants it and has least. SIM_LISTED: nobody.
static uint32_t choose(const struct plan *plan, uint32_t part, uint32_t quota)
{
    uint32_t best = SIM_LISTED;
    int best_count = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        int count = __builtin_popcount(plan->gives[i]);
        if (!(plan->wants[i] & part))
            continue;
        if ((plan->owned[i] & part) && (uint32_t)count < quota)
            return i;
        if (best == SIM_LISTED || count < best_count) {
            best = i;
            best_count = count;
        }
    }
    return best;
}

// One who has the partition keeps it from others as long as it says so.
static bool is_free(const struct plan *plan, uint32_t part, uint32_t chosen)
{
    for (uint32_t i = 0; i < plan->count; i++)
        if (i != chosen && (plan->owned[i] & part))
            return false;
    return true;
}

void sim_mixed_plan(struct sim *sim, struct sim_member *member,
                    const struct kp_join_group_response *out)
{
    struct plan plan = {.gives = member->gives};
    uint32_t all = 0;
    for (int32_t i = 0; i < out->members_count && i < SIM_LISTED; i++) {
        read_member(sim, &plan, out->members[i].metadata);
        all |= plan.wants[i];
    }
    uint32_t total = (uint32_t)__builtin_popcount(all);
    uint32_t quota = (total + plan.count - 1) / plan.count;
    for (uint32_t part = 1; part && part <= all; part <<= 1) {
        uint32_t chosen = all & part ? choose(&plan, part, quota) : SIM_LISTED;
        if (chosen < SIM_LISTED && is_free(&plan, part, chosen))
            plan.gives[chosen] |= part;
    }
}

void sim_mixed_assign(struct sim_request *request, const struct sim_member *member)
{
    struct kp_sync_group_request *in = &request->call.in.sync;
    in->assignments =
        arena_array(&request->call.arena, member->listed_count, sizeof(*in->assignments));
    for (uint32_t i = 0; i < member->listed_count && in->assignments; i++) {
        struct bytes bytes;
        bytes.at = bytes.data;
        put_i16(&bytes, 1);
        put_parts(&bytes, member->gives[i]);
        put_i32(&bytes, UINT32_MAX);
        in->assignments[in->assignments_count++] = (struct kp_sync_group_request_assignment){
            .member_id = call_keep(&request->call, member->listed[i]),
            .assignment = keep(request, &bytes),
        };
    }
}

// --- what members are told

uint32_t sim_mixed_assigned(struct sim *sim, const struct kp_sync_group_response *out)
{
    struct kp_reader reader = kp_reader_init(out->assignment.data, out->assignment.size);
    if (out->assignment.size == 0)
        return 0;
    kp_read_i16(&reader);
    uint32_t parts = read_parts(&reader);
    kp_read_bytes(&reader, false, true);
    if (reader.failed || kp_reader_left(&reader))
        sim_fail(sim, "an assignment is none");
    return parts;
}

void sim_mixed_told(struct sim *sim, const struct sim_request *request)
{
    const struct kp_join_group_response *out = &request->call.out.join;
    char id[SIM_ID_SIZE];
    if (request->what != SIM_JOIN || out->error_code)
        return;
    snprintf(id, sizeof(id), "%.*s", (int)out->member_id.size, (const char *)out->member_id.data);
    sim_consumer_told_generation(sim, id, out->generation_id);
}
