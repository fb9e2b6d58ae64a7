// SPDX-License-Identifier: Apache-2.0
// Members as clients are: they join, sync, send heartbeats and commit, try again when nothing is
// heard, and believe what they are told. And what befalls them.
#include "tests/sim/group_sim.h"

static void set_timer(struct sim *sim, int index, int64_t delay_ms)
{
    struct sim_member *member = &sim->members[index];
    struct sim_event *event = sim_at(sim, sim->now_ms + delay_ms, SIM_MEMBER);
    event->member = index;
    event->token = member->timer = ++sim->token;
}

static int16_t version_of(const struct sim_member *member, enum sim_what what)
{
    static const int16_t most[] = {
        [SIM_JOIN] = 9, [SIM_SYNC] = 5, [SIM_HEARTBEAT] = 4, [SIM_LEAVE] = 5, [SIM_COMMIT] = 8};
    static const int16_t since_static[] = {
        [SIM_JOIN] = 5, [SIM_SYNC] = 3, [SIM_HEARTBEAT] = 3, [SIM_LEAVE] = 3, [SIM_COMMIT] = 7};
    int16_t version = member->version < most[what] ? member->version : most[what];
    if (member->instance[0] && version < since_static[what])
        return since_static[what];
    return version;
}

static struct sim_request *prepare(struct sim *sim, int index, enum sim_what what)
{
    const struct sim_member *member = &sim->members[index];
    struct sim_request *request = sim_request_new(sim, what, version_of(member, what), member->id,
                                                  member->instance, member->generation);
    request->member = index;
    request->token = member->token;
    return request;
}

static struct span instance_of(const struct sim_request *request)
{
    return request->instance[0] ? span_text(request->instance) : (struct span){0};
}

// Requests of members of mixed groups arrive in order, as over one connection after the other: what
// they say they have is right when it arrives.
static void post(struct sim *sim, int index, struct sim_request *request)
{
    if (sim->consumers)
        sim_consumer_post(sim, index, request);
    else
        sim_send(sim, request, SIM_ARRIVES);
}

// Whether it keeps its partitions while it joins again.
static bool keeps(const struct sim *sim)
{
    return sim->consumers && sim->cooperative;
}

// --- joining

static struct sim_request *join_request(struct sim *sim, int index)
{
    static const char *const offers[] = {"range=%u", "range=%u,sticky=%u", "sticky=%u,range=%u"};
    const struct sim_member *member = &sim->members[index];
    struct sim_request *request = prepare(sim, index, SIM_JOIN);
    struct kp_join_group_request *in = &request->call.in.join;
    char text[64];
    snprintf(text, sizeof(text), offers[index % 3], member->metadata, member->metadata);
    kp_join_group_request_init(in);
    in->member_id = span_text(request->id);
    in->group_instance_id = instance_of(request);
    in->protocol_type = span_text("consumer");
    in->session_timeout_ms = member->session_ms;
    in->rebalance_timeout_ms = member->rebalance_ms;
    if (member->classic)
        sim_mixed_subscribe(sim, request);
    else
        call_protocols(&request->call, text);
    return request;
}

static void join(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    member->state = SIM_JOINING;
    member->leads = false;
    member->owned = keeps(sim) ? member->owned & member->target : 0;
    member->token = ++sim->token;
    sim_say(sim, "member %d joins: %s %s, has %x", index, member->id, member->instance,
            member->owned);
    post(sim, index, join_request(sim, index));
    if (sim_chance(sim, 30))
        post(sim, index, join_request(sim, index));
    // Longer than any join takes; now and then less.
    set_timer(sim, index, sim_chance(sim, 8) ? 5000 : member->rebalance_ms + 70000);
}

// --- assigning

static bool is_listed_already(const struct sim_member *member, const char *id)
{
    for (uint32_t i = 0; i < member->listed_count; i++)
        if (strcmp(member->listed[i], id) == 0)
            return true;
    return false;
}

static void note_members(struct sim_member *member, const struct kp_join_group_response *out)
{
    member->listed_count = 0;
    for (int32_t i = 0; i < out->members_count && i < SIM_LISTED; i++)
        snprintf(member->listed[member->listed_count++], SIM_ID_SIZE, "%.*s",
                 (int)out->members[i].member_id.size, (const char *)out->members[i].member_id.data);
}

// Every partition goes to one member; now and then a member is left out, or a stranger is added.
static void assign(struct sim *sim, struct sim_request *request, const struct sim_member *member,
                   uint32_t number)
{
    struct kp_sync_group_request *in = &request->call.in.sync;
    uint32_t count = member->listed_count;
    uint32_t first = (uint32_t)sim_random(sim, count);
    uint32_t used = count > 1 && sim_chance(sim, 10) ? count - 1 : count;
    if (member->classic) {
        sim_mixed_assign(request, member);
        return;
    }
    in->assignments = arena_array(&request->call.arena, count + 1, sizeof(*in->assignments));
    if (!in->assignments)
        return;
    for (uint32_t i = 0; i < used; i++) {
        char text[128];
        int size = snprintf(text, sizeof(text), "%u:", number);
        for (uint32_t p = i; p < SIM_PARTITIONS; p += used)
            size += snprintf(text + size, sizeof(text) - (size_t)size, "%u,", p);
        in->assignments[in->assignments_count++] = (struct kp_sync_group_request_assignment){
            .member_id = call_keep(&request->call, member->listed[(first + i) % count]),
            .assignment = call_keep(&request->call, text),
        };
    }
    if (sim_chance(sim, 10) && !is_listed_already(member, "stranger"))
        in->assignments[in->assignments_count++] = (struct kp_sync_group_request_assignment){
            .member_id = span_text("stranger"), .assignment = span_text("all")};
}

static struct sim_request *sync_request(struct sim *sim, int index, const char *protocol)
{
    struct sim_request *request = prepare(sim, index, SIM_SYNC);
    struct kp_sync_group_request *in = &request->call.in.sync;
    kp_sync_group_request_init(in);
    in->member_id = span_text(request->id);
    in->group_instance_id = instance_of(request);
    in->generation_id = request->generation;
    in->protocol_type = span_text("consumer");
    in->protocol_name = call_keep(&request->call, protocol);
    return request;
}

static void sync(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    member->state = SIM_SYNCING;
    member->token = ++sim->token;
    const char *protocol =
        member->classic || (sim->broker.group && sim->broker.group->protocol &&
                            span_equal(sim->broker.group->protocol->name, span_text("sticky")))
            ? "sticky"
            : "range";
    struct sim_request *request = sync_request(sim, index, protocol);
    if (member->leads) {
        uint32_t number = (uint32_t)++sim->token;
        assign(sim, request, member, number);
        if (!member->classic)
            sim_checker_gives(sim, request, number);
    }
    sim_say(sim, "member %d syncs generation %" PRId32 "%s", index, member->generation,
            member->leads ? " as its leader" : "");
    post(sim, index, request);
    if (!member->leads && sim_chance(sim, 30))
        post(sim, index, sync_request(sim, index, protocol));
    set_timer(sim, index, sim_chance(sim, 8) ? 5000 : member->rebalance_ms + 10000);
}

// --- being a member

static void beat(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    member->token = ++sim->token;
    struct sim_request *request = prepare(sim, index, SIM_HEARTBEAT);
    struct kp_heartbeat_request *in = &request->call.in.heartbeat;
    kp_heartbeat_request_init(in);
    in->member_id = span_text(request->id);
    in->group_instance_id = instance_of(request);
    in->generation_id = request->generation;
    post(sim, index, request);
    if (sim_random(sim, 2) == 0) {
        request = prepare(sim, index, SIM_COMMIT);
        request->owned = member->owned;
        sim_send(sim, request, SIM_ARRIVES);
    }
    set_timer(sim, index, member->session_ms / 3);
}

void sim_member_time(struct sim *sim, int index, uint64_t timer)
{
    struct sim_member *member = &sim->members[index];
    if (timer != member->timer || member->state == SIM_OFF)
        return;
    if (sim->now_ms < member->paused_until) {
        set_timer(sim, index, member->paused_until - sim->now_ms);
        return;
    }
    if (sim->consumers && !member->classic)
        sim_consumer_time(sim, index);
    else if (member->state == SIM_COMPUTING)
        sync(sim, index);
    else if (member->state == SIM_STABLE && sim->now_ms - member->heard_ms < member->session_ms)
        beat(sim, index);
    else
        join(sim, index);
}

// In a mixed group, what it wants. A static member that comes back wants what it wanted before: a
// classic group does not notice anything else.
static uint32_t new_metadata(struct sim *sim, const char *instance)
{
    if (!sim->mixed)
        return (uint32_t)sim_random(sim, 1000);
    return instance[0] ? 1 + (uint32_t)(instance[1] - '0') : 1 + (uint32_t)sim_random(sim, 3);
}

void sim_member_start(struct sim *sim, int index, const char *instance)
{
    if (sim->consumers && (!sim->mixed || sim_random(sim, 2))) {
        sim_consumer_start(sim, index, instance);
        return;
    }
    struct sim_member *member = &sim->members[index];
    uint64_t timer = member->timer;
    int64_t arrival_ms = member->arrival_ms;
    *member = (struct sim_member){
        .version = (int16_t)sim_random(sim, 10),
        .session_ms = 6000 + (int32_t)sim_random(sim, 20000),
        .rebalance_ms = 5000 + (int32_t)sim_random(sim, 30000),
        .metadata = new_metadata(sim, instance),
        .timer = timer,
        .arrival_ms = arrival_ms,
        .classic = sim->mixed,
    };
    snprintf(member->instance, sizeof(member->instance), "%s", instance);
    if (instance[0] && member->version < 5)
        member->version = 5;
    join(sim, index);
}

static void stop(struct sim *sim, int index)
{
    sim->members[index].state = SIM_OFF;
    sim->members[index].owned = 0;
}

// --- answers

static void take_id(struct sim_member *member, struct span id)
{
    snprintf(member->id, sizeof(member->id), "%.*s", (int)id.size, (const char *)id.data);
}

static void joined(struct sim *sim, int index, const struct kp_join_group_response *out)
{
    struct sim_member *member = &sim->members[index];
    take_id(member, out->member_id);
    // In a classic group, who has missed a generation may have lost what it has to others, and the
    // broker does not know: it is for clients not to commit that.
    if (out->leader.size && out->generation_id > member->generation + 1)
        member->owned = 0;
    member->generation = out->generation_id;
    member->heard_ms = sim->now_ms;
    member->leads = span_equal(out->leader, out->member_id) && !out->skip_assignment;
    if (!member->leads) {
        sync(sim, index);
        return;
    }
    note_members(member, out);
    if (member->classic)
        sim_mixed_plan(sim, member, out);
    member->state = SIM_COMPUTING;
    member->token = ++sim->token;
    set_timer(sim, index, (int64_t)sim_random(sim, sim_chance(sim, 20) ? 40000 : 500));
}

static bool has_instance(const struct sim *sim, const char *instance)
{
    for (int i = 0; i < SIM_MEMBERS; i++)
        if (sim->members[i].state != SIM_OFF && strcmp(sim->members[i].instance, instance) == 0)
            return true;
    return false;
}

// A late message may fence the one that sent it. Whoever runs it starts it again, if there is no
// other one.
static void fenced(struct sim *sim, int index)
{
    char instance[SIM_INSTANCE_SIZE];
    memcpy(instance, sim->members[index].instance, sizeof(instance));
    stop(sim, index);
    if (sim->calm && !has_instance(sim, instance))
        sim_member_start(sim, index, instance);
}

static void refused(struct sim *sim, int index, int16_t error)
{
    struct sim_member *member = &sim->members[index];
    if (error == KP_ERROR_FENCED_INSTANCE_ID) {
        fenced(sim, index);
        return;
    }
    if (error == KP_ERROR_UNKNOWN_MEMBER_ID || error == KP_ERROR_GROUP_MAX_SIZE_REACHED)
        member->id[0] = 0;
    member->state = SIM_JOINING;
    if (!keeps(sim) ||
        (error != KP_ERROR_REBALANCE_IN_PROGRESS && error != KP_ERROR_COORDINATOR_NOT_AVAILABLE))
        member->owned = 0;
    member->token = ++sim->token;
    set_timer(sim, index, 100 + (int64_t)sim_random(sim, 1000));
}

// A cooperative member that has to give something up takes a while to do that, and joins again.
static void synced_as_consumer(struct sim *sim, int index, const struct kp_sync_group_response *out)
{
    struct sim_member *member = &sim->members[index];
    uint32_t assigned = sim_mixed_assigned(sim, out);
    bool again = member->owned & ~assigned;
    member->state = again ? SIM_JOINING : SIM_STABLE;
    member->heard_ms = sim->now_ms;
    member->target = assigned;
    member->owned = again ? member->owned | assigned : assigned;
    sim_say(sim, "member %d owns %04x in generation %" PRId32, index, member->owned,
            member->generation);
    set_timer(sim, index, again ? (int64_t)sim_random(sim, 3000) : member->session_ms / 3);
}

static void synced(struct sim *sim, int index, const struct kp_sync_group_response *out)
{
    struct sim_member *member = &sim->members[index];
    if (member->classic) {
        synced_as_consumer(sim, index, out);
        return;
    }
    const char *at = (const char *)out->assignment.data;
    const char *end = at + out->assignment.size;
    member->state = SIM_STABLE;
    member->heard_ms = sim->now_ms;
    member->owned = 0;
    while (at < end && *at++ != ':')
        continue;
    while (at < end) {
        uint32_t partition = 0;
        for (; at < end && *at != ','; at++)
            partition = 10 * partition + (uint32_t)(*at - '0');
        member->owned |= 1u << partition;
        at++;
    }
    sim_say(sim, "member %d owns %x in generation %" PRId32, index, member->owned,
            member->generation);
    set_timer(sim, index, member->session_ms / 3);
}

static void take_answer(struct sim *sim, const struct sim_request *request)
{
    int index = request->member;
    struct sim_member *member = &sim->members[index];
    const struct call *call = &request->call;
    if (request->what == SIM_CONSUMER) {
        sim_consumer_answer(sim, request);
    } else if (request->what == SIM_JOIN) {
        const struct kp_join_group_response *out = &call->out.join;
        if (out->error_code == KP_ERROR_MEMBER_ID_REQUIRED) {
            take_id(member, out->member_id);
            join(sim, index);
        } else if (out->error_code) {
            refused(sim, index, out->error_code);
        } else {
            joined(sim, index, out);
        }
    } else if (request->what == SIM_SYNC) {
        if (call->out.sync.error_code)
            refused(sim, index, call->out.sync.error_code);
        else
            synced(sim, index, &call->out.sync);
    } else if (request->what == SIM_HEARTBEAT) {
        int16_t error = call->out.heartbeat.error_code;
        if (!error)
            member->heard_ms = sim->now_ms;
        else if (error == KP_ERROR_REBALANCE_IN_PROGRESS)
            join(sim, index);
        else if (error != KP_ERROR_COORDINATOR_NOT_AVAILABLE)
            refused(sim, index, error);
    }
}

void sim_member_answer(struct sim *sim, struct sim_request *request)
{
    struct sim_member *member = request->member < 0 ? NULL : &sim->members[request->member];
    if (member && member->state != SIM_OFF && member->paused_until > sim->now_ms) {
        sim_at(sim, member->paused_until, SIM_ANSWERED)->request = request;
        return;
    }
    if (member && member->state != SIM_OFF && request->token == member->token)
        take_answer(sim, request);
    sim_request_free(request);
}

// --- misfortunes

static void leave(struct sim *sim, int index, const char *id)
{
    const struct sim_member *member = &sim->members[index];
    struct sim_request *request = prepare(sim, index, SIM_LEAVE);
    struct kp_leave_group_request *in = &request->call.in.leave;
    snprintf(request->id, sizeof(request->id), "%s", id);
    kp_leave_group_request_init(in);
    in->member_id = span_text(request->id);
    in->members = arena_array(&request->call.arena, 1, sizeof(*in->members));
    in->members[0].member_id = span_text(request->id);
    in->members[0].group_instance_id = instance_of(request);
    in->members_count = 1;
    sim_say(sim, "member %d leaves: %s %s", index, id, member->instance);
    post(sim, index, request);
}

// Somebody who is not in the group, or speaks of a generation that is over.
static void intrude(struct sim *sim, int index)
{
    static const int32_t generations[] = {-1, 0, 1, INT32_MAX};
    const struct sim_member *member = &sim->members[index];
    bool stranger = sim_random(sim, 2);
    struct sim_request *request = sync_request(sim, index, "range");
    struct kp_sync_group_request *in = &request->call.in.sync;
    request->member = -1;
    request->generation = stranger ? generations[sim_random(sim, 4)] : member->generation - 1;
    in->generation_id = request->generation;
    if (stranger)
        in->member_id = span_text("stranger");
    in->assignments = arena_array(&request->call.arena, 1, sizeof(*in->assignments));
    if (in->assignments) {
        in->assignments[0].member_id = span_text(request->id);
        in->assignments[0].assignment = span_text("1:0,1,2,3,");
        in->assignments_count = 1;
    }
    sim_send(sim, request, SIM_ARRIVES);
}

static void befall(struct sim *sim, int index)
{
    struct sim_member *member = &sim->members[index];
    if (sim->consumers && !member->classic) {
        sim_consumer_befall(sim, index);
        return;
    }
    char instance[SIM_INSTANCE_SIZE];
    memcpy(instance, member->instance, sizeof(instance));
    switch (sim_random(sim, 9)) {
    case 0:
        sim_say(sim, "member %d dies", index);
        stop(sim, index);
        break;
    case 1:
        leave(sim, index, member->id);
        stop(sim, index);
        break;
    case 2:
        sim_say(sim, "member %d hangs", index);
        member->paused_until = sim->now_ms + (int64_t)sim_random(sim, 60000);
        break;
    case 3:
        sim_say(sim, "member %d is started again", index);
        sim_member_start(sim, index, instance);
        break;
    case 4: // the old process goes on for a while
        sim_say(sim, "member %d is started a second time", index);
        for (int i = 0; i < SIM_MEMBERS && instance[0]; i++) {
            if (sim->members[i].state == SIM_OFF) {
                sim_member_start(sim, i, instance);
                break;
            }
        }
        break;
    case 5:
        member->metadata = new_metadata(sim, instance);
        join(sim, index);
        break;
    case 6:
        join(sim, index);
        break;
    case 7:
        if (instance[0])
            leave(sim, index, ""); // an administrator's
        break;
    case 8:
        intrude(sim, index);
        break;
    }
}

void sim_misfortune(struct sim *sim)
{
    static const char *const instances[] = {"", "", "i0", "i1", "i2"};
    if (sim->calm)
        return;
    int index = (int)sim_random(sim, SIM_MEMBERS);
    const char *instance = instances[sim_random(sim, 5)];
    switch (sim_random(sim, 12)) {
    case 0:
        sim_broker_crash(sim);
        break;
    case 1:
        sim_broker_fail_write(sim);
        break;
    case 2:
        sim_broker_forsake(sim);
        break;
    default:
        if (sim->members[index].state != SIM_OFF)
            befall(sim, index);
        else if (sim_random(sim, 4) == 0 && (!instance[0] || !has_instance(sim, instance)))
            sim_member_start(sim, index, instance);
    }
    sim_at(sim, sim->now_ms + (int64_t)sim_random(sim, sim_chance(sim, 3) ? 200 : 10000),
           SIM_MISFORTUNE);
}
