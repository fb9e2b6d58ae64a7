// SPDX-License-Identifier: Apache-2.0
// LeaveGroup, also of members of the consumer protocol, which an administrator removes by it, and
// DescribeGroups.
//
// 1. However many leave with one request, the group is rebalanced once.
#include "broker/groups/group_internal.h"
#include "gen/kp_describe_groups.h"
#include "gen/kp_leave_group.h"

// --- leaving -------------------------------------------------------------------------------------

// What one request has led to.
struct departure {
    bool members;
    bool promises;
};

// An administrator names static members by their instance id alone.
static int16_t leave_one(struct group *group, struct group_step *step, struct span id,
                         struct span instance_id, struct departure *departure)
{
    struct group_member *member = NULL;
    struct group_pending *pending = group_pending_find(group, id);
    if (pending) {
        group_pending_remove(group, pending);
        departure->promises = true;
        return 0;
    }
    if (id.size == 0)
        member = group_member_find_instance(group, instance_id);
    int16_t error = member ? 0 : group_member_check(group, id, instance_id, &member);
    if (error)
        return error;
    group_member_remove(group, step, member);
    departure->members = true;
    return 0;
}

static int16_t leave_many(struct group *group, struct group_step *step, struct group_ask *ask,
                          struct departure *departure)
{
    const struct kp_leave_group_request *in = ask->in;
    struct kp_leave_group_response *out = ask->out;
    if (in->members_count <= 0)
        return 0;
    if ((uint32_t)in->members_count / 4 > step->limits->max_members)
        return KP_ERROR_INVALID_REQUEST;
    out->members = arena_array(ask->arena, (size_t)in->members_count, sizeof(*out->members));
    if (!out->members)
        return KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    for (int32_t i = 0; i < in->members_count; i++) {
        struct kp_leave_group_response_member *item = &out->members[out->members_count++];
        kp_leave_group_response_member_init(item);
        item->member_id = in->members[i].member_id;
        item->group_instance_id = in->members[i].group_instance_id;
        item->error_code =
            leave_one(group, step, item->member_id, item->group_instance_id, departure);
    }
    return 0;
}

void classic_leave(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_leave_group_request *in = ask->in;
    struct kp_leave_group_response *out = ask->out;
    struct departure departure = {false, false};
    kp_leave_group_response_init(out);
    if (ask->version >= 3)
        out->error_code = leave_many(group, step, ask, &departure);
    else
        out->error_code = leave_one(group, step, in->member_id, (struct span){0}, &departure);
    group_answer(step, ask);
    if (departure.members && group->type == GROUP_CONSUMER)
        consumer_members_gone(group, step);
    else if (departure.members)
        classic_members_gone(group, step);
    else if (departure.promises && group->type == GROUP_CLASSIC)
        classic_try_complete(group, step);
}

// --- describing ----------------------------------------------------------------------------------

static bool describe_member(const struct group *group, struct group_step *step,
                            struct group_ask *ask, const struct group_member *member,
                            struct kp_describe_groups_response_member *out)
{
    struct span metadata = kp_empty();
    struct span assignment = member->assignment.data ? member->assignment : kp_empty();
    if (group->phase == CLASSIC_STABLE)
        metadata = group_offers_metadata(member, group->protocol);
    kp_describe_groups_response_member_init(out);
    return group_arena_copy(step, ask, member->id, &out->member_id) &&
           group_arena_copy(step, ask, member->instance_id, &out->group_instance_id) &&
           group_arena_copy(step, ask, member->client_id, &out->client_id) &&
           group_arena_copy(step, ask, member->client_host, &out->client_host) &&
           group_arena_copy(step, ask, metadata, &out->member_metadata) &&
           group_arena_copy(step, ask, assignment, &out->member_assignment);
}

static bool describe(const struct group *group, struct group_step *step, struct group_ask *ask)
{
    struct kp_describe_groups_response_group *out = ask->out;
    out->group_state = span_text(group_state_name(group));
    if (!group_arena_copy(step, ask, group_protocol_type(group), &out->protocol_type))
        return false;
    if (group->phase == CLASSIC_STABLE &&
        !group_arena_copy(step, ask, group->protocol->name, &out->protocol_data))
        return false;
    out->members = arena_array(ask->arena, group->member_count, sizeof(*out->members));
    if (!out->members)
        return false;
    list_each(node, &group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        if (!describe_member(group, step, ask, member, &out->members[out->members_count]))
            return false;
        out->members_count++;
    }
    return true;
}

void classic_describe(struct group *group, struct group_step *step, struct group_ask *ask)
{
    bool failed = step->failed;
    if (!describe(group, step, ask)) {
        step->failed = failed; // nothing has changed: only this answer lacks memory
        group_ask_fail(ask, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    }
    group_answer(step, ask);
}
