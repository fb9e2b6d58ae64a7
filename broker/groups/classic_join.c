// SPDX-License-Identifier: Apache-2.0
// JoinGroup: who is let in, under which id, and what it is told.
//
// 1. A dynamic member that can (version 4 on) joins twice: the first time it is promised an id, so
//    that a client that never hears the answer leaves no member behind (KIP-394).
// 2. A static member that comes back without its id takes its own place over, and its former self
//    is fenced (KIP-345). In STABLE, if the chosen protocol stays, nobody else notices.
// 3. Who joins again and has nothing new to say is told the generation as it is, but for the leader
//    of a STABLE group: that is how it asks for a rebalance.
#include <errno.h>

#include "broker/groups/group_internal.h"
#include "gen/kp_join_group.h"

// --- answers -------------------------------------------------------------------------------------

static bool list_members(struct group *group, struct group_step *step, struct group_ask *ask)
{
    struct kp_join_group_response *out = ask->out;
    out->members = arena_array(ask->arena, group->member_count, sizeof(*out->members));
    if (!out->members)
        return false;
    list_each(node, &group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        struct kp_join_group_response_member *item = &out->members[out->members_count++];
        kp_join_group_response_member_init(item);
        if (!group_arena_copy(step, ask, member->id, &item->member_id) ||
            !group_arena_copy(step, ask, member->instance_id, &item->group_instance_id) ||
            !group_arena_copy(step, ask, group_offers_metadata(member, group->protocol),
                              &item->metadata))
            return false;
    }
    return true;
}

// The generation as it is; the members' metadata are for the leader alone.
static void tell_generation(struct group *group, struct group_step *step,
                            const struct group_member *member, struct group_ask *ask,
                            struct span leader, bool with_members)
{
    struct kp_join_group_response *out = ask->out;
    kp_join_group_response_init(out);
    out->generation_id = group->generation;
    if (!group_arena_copy(step, ask, group->protocol_type, &out->protocol_type) ||
        !group_arena_copy(step, ask, group->protocol->name, &out->protocol_name) ||
        !group_arena_copy(step, ask, leader, &out->leader) ||
        !group_arena_copy(step, ask, member->id, &out->member_id) ||
        (with_members && !list_members(group, step, ask))) {
        step->failed = true;
        group_answer_error(step, ask, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    group_answer(step, ask);
}

void classic_answer_join(struct group *group, struct group_step *step, struct group_member *member,
                         struct group_ask *ask)
{
    tell_generation(group, step, member, ask, group->leader->id, member == group->leader);
}

// --- members -------------------------------------------------------------------------------------

static int32_t rebalance_ms(const struct kp_join_group_request *in, int16_t version)
{
    int32_t ms = version == 0 ? in->session_timeout_ms : in->rebalance_timeout_ms;
    if (ms < 0)
        return in->session_timeout_ms;
    return ms < GROUP_REBALANCE_MS_MAX ? ms : GROUP_REBALANCE_MS_MAX;
}

int classic_join_offers(struct group *group, const struct group_member *member,
                        const struct kp_join_group_request *in, size_t more,
                        struct group_offers **out)
{
    int error = group_offers_new(group, in->protocols, in->protocols_count, out);
    if (error)
        return error;
    size_t others = group->bytes - (member && member->offers ? member->offers->bytes : 0);
    if (others + more + (*out)->bytes <= GROUP_BYTES_MAX)
        return 0;
    group_offers_free(group, *out);
    return KP_ERROR_GROUP_MAX_SIZE_REACHED;
}

void classic_join_update(struct group *group, struct group_member *member,
                         const struct group_ask *ask, struct group_offers *offers)
{
    const struct kp_join_group_request *in = ask->in;
    int32_t ms = rebalance_ms(in, ask->version);
    if (!member->offers || member->session_ms != in->session_timeout_ms ||
        member->rebalance_ms != ms ||
        !group_offers_equal(member, in->protocols, in->protocols_count))
        member->changed = true;
    group_offers_set(group, member, offers);
    member->session_ms = in->session_timeout_ms;
    member->rebalance_ms = ms;
}

static bool take_type(struct group *group, struct span type)
{
    if (group->member_count || span_equal(group->protocol_type, type))
        return true;
    struct span copy = group_copy(type);
    if (!copy.data)
        return false;
    group_span_free(&group->protocol_type);
    group->protocol_type = copy;
    return true;
}

struct group_identity classic_join_identity(const struct group_ask *ask, struct span id)
{
    const struct kp_join_group_request *in = ask->in;
    return (struct group_identity){
        .id = id,
        .instance_id = in->group_instance_id.size ? in->group_instance_id : (struct span){0},
        .client_id = ask->client_id,
        .client_host = ask->client_host,
    };
}

static void join_new(struct group *group, struct group_step *step, struct group_ask *ask,
                     struct span id)
{
    const struct kp_join_group_request *in = ask->in;
    struct group_identity identity = classic_join_identity(ask, id);
    struct group_offers *offers;
    int error = classic_join_offers(group, NULL, in, group_identity_size(&identity), &offers);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    struct group_member *member = NULL;
    if (take_type(group, in->protocol_type))
        member = group_member_add(group, &identity);
    if (!member) {
        group_offers_free(group, offers);
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    classic_join_update(group, member, ask, offers);
    member->is_new = true;
    group_member_park(group, step, member, ask);
    group_member_set_deadline(group, member, step->now_ms + GROUP_NEW_MEMBER_MS);
    if (group->phase == CLASSIC_PREPARING)
        group->newcomers = true;
    classic_rebalance(group, step);
}

void classic_join_promise(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_join_group_request *in = ask->in;
    uint8_t text[GROUP_MEMBER_ID_MAX];
    struct span id = group_member_make_id(step->random, ask->client_id, text);
    struct kp_join_group_response *out = ask->out;
    struct span copy;
    if (!group_arena_copy(step, ask, id, &copy) ||
        !group_pending_add(group, id, step->now_ms + in->session_timeout_ms)) {
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    group_ask_fail(ask, KP_ERROR_MEMBER_ID_REQUIRED);
    out->member_id = copy;
    group_answer(step, ask);
}

static void rejoin(struct group *group, struct group_step *step, struct group_ask *ask,
                   struct group_member *member)
{
    struct group_offers *offers;
    int error = classic_join_offers(group, member, ask->in, 0, &offers);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    classic_join_update(group, member, ask, offers);
    group_member_park(group, step, member, ask);
    classic_rebalance(group, step);
}

// --- static members that come back ---------------------------------------------------------------

// In STABLE, and the chosen protocol stays. A leader from before version 9 would compute
// assignments if it were told that it leads: it is told of its former self.
static void tell_returned(struct group *group, struct group_step *step, struct group_member *member,
                          struct group_ask *ask, struct span former_leader)
{
    bool leads = group->leader == member;
    bool skips = leads && ask->version >= 9;
    group_member_touch(group, step, member);
    tell_generation(group, step, member, ask, ask->version >= 9 ? group->leader->id : former_leader,
                    skips);
    struct kp_join_group_response *out = ask->out;
    out->skip_assignment = skips && out->error_code == 0;
}

static void go_on(struct group *group, struct group_step *step, struct group_member *member,
                  struct group_ask *ask, struct span former_leader)
{
    if (group->phase == CLASSIC_STABLE && group_offers_vote(group) == group->protocol) {
        tell_returned(group, step, member, ask, former_leader);
        return;
    }
    // In COMPLETING the leader may have the former id already, and would assign to nobody.
    group_member_park(group, step, member, ask);
    classic_rebalance(group, step);
}

static void write_returned(struct group *group, struct group_step *step,
                           struct group_member *member)
{
    group_write_member(step, group, member);
    member->durable = true;
    member->changed = false;
    if (member->assignment.size) {
        group_write_target(step, group, member);
        member->has_target = true;
    }
    if (group->leader == member)
        group_write(group);
}

static void return_static(struct group *group, struct group_step *step, struct group_ask *ask,
                          struct group_member *former)
{
    const struct kp_join_group_request *in = ask->in;
    struct group_offers *offers;
    struct span former_leader = {0};
    uint8_t text[GROUP_MEMBER_ID_MAX];
    struct group_identity identity =
        classic_join_identity(ask, group_member_make_id(step->random, in->group_instance_id, text));
    size_t more = group_identity_size(&identity) > former->bytes
                      ? group_identity_size(&identity) - former->bytes
                      : 0;
    int error = classic_join_offers(group, former, in, more, &offers);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    bool durable = former->durable;
    struct group_member *member = NULL;
    if (!group->leader || group_arena_copy(step, ask, group->leader->id, &former_leader))
        member = group_member_replace(group, step, former, &identity);
    if (!member) {
        group_offers_free(group, offers);
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    classic_join_update(group, member, ask, offers);
    if (durable)
        write_returned(group, step, member);
    go_on(group, step, member, ask, former_leader);
}

// --- the request ---------------------------------------------------------------------------------

// 0, or why the request is refused whoever it comes from.
static int16_t join_check(const struct group *group, const struct group_step *step,
                          const struct kp_join_group_request *in)
{
    if (in->session_timeout_ms < step->limits->min_session_timeout_ms ||
        in->session_timeout_ms > step->limits->max_session_timeout_ms)
        return KP_ERROR_INVALID_SESSION_TIMEOUT;
    if (in->group_instance_id.size > GROUP_INSTANCE_ID_MAX ||
        in->protocol_type.size > GROUP_NAME_MAX || in->protocols_count > GROUP_PROTOCOLS_MAX)
        return KP_ERROR_INVALID_REQUEST;
    if (in->protocol_type.size == 0 || in->protocols_count <= 0)
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    if (group->member_count && !span_equal(in->protocol_type, group->protocol_type))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    return 0;
}

int16_t classic_join_find(const struct group *group, const struct group_step *step,
                          const struct kp_join_group_request *in, struct group_member **member,
                          struct group_pending **pending)
{
    int16_t error = join_check(group, step, in);
    *member = NULL;
    *pending = NULL;
    if (!error && in->member_id.size == 0)
        *member = group_member_find_instance(group, in->group_instance_id);
    else if (!error && !(*pending = group_pending_find(group, in->member_id)))
        error = group_member_check(group, in->member_id, in->group_instance_id, member);
    if (!error && *pending && in->group_instance_id.size)
        error = KP_ERROR_UNKNOWN_MEMBER_ID; // ids are promised to dynamic members only
    return error;
}

// Counts who waits while the group rebalances: those of a group that has become too large who come
// last are left out.
static bool is_full(const struct group *group, const struct group_step *step,
                    const struct group_member *member)
{
    if (group->phase == CLASSIC_EMPTY)
        return false;
    if (group->phase == CLASSIC_PREPARING)
        return !(member && member->ask) && group->joining >= step->limits->max_members;
    return !member && group->member_count >= step->limits->max_members;
}

static void turn_away(struct group *group, struct group_step *step, struct group_ask *ask,
                      struct group_member *member, struct group_pending *pending)
{
    group_refuse(step, ask, KP_ERROR_GROUP_MAX_SIZE_REACHED);
    if (pending) {
        group_pending_remove(group, pending);
        classic_try_complete(group, step);
    } else if (member && ((const struct kp_join_group_request *)ask->in)->member_id.size) {
        group_member_remove(group, step, member);
        classic_members_gone(group, step);
    }
}

static void join_member(struct group *group, struct group_step *step, struct group_ask *ask,
                        struct group_member *member)
{
    const struct kp_join_group_request *in = ask->in;
    bool same = group_offers_equal(member, in->protocols, in->protocols_count);
    bool told = group->phase == CLASSIC_COMPLETING ||
                (group->phase == CLASSIC_STABLE && member != group->leader);
    if (!same || !told) {
        rejoin(group, step, ask, member);
        return;
    }
    struct group_ask *late = group_member_unpark(group, member);
    if (late)
        group_answer_error(step, late, KP_ERROR_REBALANCE_IN_PROGRESS);
    group_member_touch(group, step, member);
    classic_answer_join(group, step, member, ask);
}

static void join_without_id(struct group *group, struct group_step *step, struct group_ask *ask,
                            struct group_member *former)
{
    const struct kp_join_group_request *in = ask->in;
    uint8_t text[GROUP_MEMBER_ID_MAX];
    if (former)
        return_static(group, step, ask, former);
    else if (in->group_instance_id.size)
        join_new(group, step, ask, group_member_make_id(step->random, in->group_instance_id, text));
    else if (ask->version >= 4)
        classic_join_promise(group, step, ask);
    else
        join_new(group, step, ask, group_member_make_id(step->random, ask->client_id, text));
}

void classic_join(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_join_group_request *in = ask->in;
    struct group_pending *pending;
    struct group_member *member;
    int16_t error = classic_join_find(group, step, in, &member, &pending);
    if (error) {
        group_refuse(step, ask, error);
    } else if (is_full(group, step, member)) {
        turn_away(group, step, ask, member, pending);
    } else if (!group_offers_agree(group, in->protocols, in->protocols_count, member)) {
        group_refuse(step, ask, KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    } else if (pending) {
        group_pending_remove(group, pending);
        join_new(group, step, ask, in->member_id);
    } else if (in->member_id.size) {
        join_member(group, step, ask, member);
    } else {
        join_without_id(group, step, ask, member);
    }
}
