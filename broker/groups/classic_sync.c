// SPDX-License-Identifier: Apache-2.0
// SyncGroup hands the leader's assignments out; Heartbeat and OffsetCommit show that a member lives
// and whether it is up to date.
//
// 1. An assignment reaches only members of the generation that its leader computed it for, and only
//    after it is in the step's records. Members that the leader left out get an empty one; those
//    that are not in the group are passed over.
// 2. A SyncGroup that is refused leaves its member due: if it never sends a right one, the time
//    limit of COMPLETING ends the generation.
#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_sync_group.h"

static void answer_sync(struct group *group, struct group_step *step,
                        const struct group_member *member, struct group_ask *ask)
{
    struct kp_sync_group_response *out = ask->out;
    struct span assignment = member->assignment.data ? member->assignment : kp_empty();
    kp_sync_group_response_init(out);
    if (!group_arena_copy(step, ask, group->protocol_type, &out->protocol_type) ||
        !group_arena_copy(step, ask, group->protocol->name, &out->protocol_name) ||
        !group_arena_copy(step, ask, assignment, &out->assignment))
        group_ask_fail(ask, KP_ERROR_COORDINATOR_NOT_AVAILABLE); // the step has failed
    group_answer(step, ask);
}

static bool differs(struct span given, struct span ours)
{
    return given.data && !span_equal(given, ours);
}

static int16_t check_sync(const struct group *group, const struct group_ask *ask,
                          struct group_member **member)
{
    const struct kp_sync_group_request *in = ask->in;
    if (ask->version >= 5 && (!in->protocol_type.data || !in->protocol_name.data))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    int16_t error = group_member_check(group, in->member_id, in->group_instance_id, member);
    if (error)
        return error;
    if (in->generation_id != group->generation && !group_planted(GROUP_PLANT_STALE_SYNC))
        return KP_ERROR_ILLEGAL_GENERATION;
    if (differs(in->protocol_type, group->protocol_type) ||
        (group->protocol && differs(in->protocol_name, group->protocol->name)))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    return group->phase == CLASSIC_PREPARING ? KP_ERROR_REBALANCE_IN_PROGRESS : 0;
}

// What a leader sends is bounded before it is looked at: the entries, and the bytes that stay.
static int16_t check_assignments(const struct group *group, const struct group_step *step,
                                 const struct kp_sync_group_request *in)
{
    size_t bytes = 0;
    if (in->assignments_count > 0 &&
        (uint32_t)in->assignments_count / 4 > step->limits->max_members)
        return KP_ERROR_INVALID_REQUEST;
    for (int32_t i = 0; i < in->assignments_count; i++) {
        if (group_member_find(group, in->assignments[i].member_id))
            bytes += in->assignments[i].assignment.size;
    }
    return bytes > GROUP_BYTES_MAX ? KP_ERROR_INVALID_REQUEST : 0;
}

static void hand_out(struct group *group, struct group_step *step,
                     const struct kp_sync_group_request *in)
{
    for (int32_t i = 0; i < in->assignments_count; i++) {
        struct group_member *member = group_member_find(group, in->assignments[i].member_id);
        if (member && !group_member_assign(member, in->assignments[i].assignment))
            step->failed = true;
    }
    classic_become_stable(group, step);
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        struct group_ask *ask = group_member_unpark(group, member);
        if (!ask)
            continue;
        group_member_touch(group, step, member);
        answer_sync(group, step, member, ask);
    }
}

void classic_sync(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_sync_group_request *in = ask->in;
    struct group_member *member = NULL;
    int16_t error = check_sync(group, ask, &member);
    if (error == KP_ERROR_REBALANCE_IN_PROGRESS)
        group_member_touch(group, step, member);
    bool hands_out = !error && group->phase == CLASSIC_COMPLETING &&
                     (member == group->leader || group_planted(GROUP_PLANT_ANYBODY_ASSIGNS));
    if (hands_out)
        error = check_assignments(group, step, in);
    if (error) {
        group_answer_error(step, ask, error);
        return;
    }
    classic_sync_come(group, member);
    if (group->phase == CLASSIC_STABLE) {
        group_member_touch(group, step, member);
        answer_sync(group, step, member, ask);
        return;
    }
    group_member_park(group, step, member, ask);
    if (hands_out)
        hand_out(group, step, in);
}

void classic_heartbeat(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_heartbeat_request *in = ask->in;
    struct group_member *member;
    int16_t error = group_member_check(group, in->member_id, in->group_instance_id, &member);
    if (!error && in->generation_id != group->generation)
        error = KP_ERROR_ILLEGAL_GENERATION;
    if (!error) {
        group_member_touch(group, step, member);
        if (group->phase == CLASSIC_PREPARING)
            error = KP_ERROR_REBALANCE_IN_PROGRESS;
    }
    group_answer_error(step, ask, error);
}

int16_t classic_may_commit(struct group *group, struct group_step *step, struct span member_id,
                           struct span instance_id, int32_t generation)
{
    struct group_member *member;
    if (generation < 0 && group->phase == CLASSIC_EMPTY)
        return 0; // a consumer outside of the group, or an administrator
    int16_t error = group_member_check(group, member_id, instance_id, &member);
    if (error)
        return error;
    if (generation != group->generation && !group_planted(GROUP_PLANT_COMMIT_ANY))
        return KP_ERROR_ILLEGAL_GENERATION;
    group_member_touch(group, step, member);
    return group->phase == CLASSIC_COMPLETING ? KP_ERROR_REBALANCE_IN_PROGRESS : 0;
}
