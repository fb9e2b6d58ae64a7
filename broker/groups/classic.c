// SPDX-License-Identifier: Apache-2.0
// The classic protocol: how a group gets from one generation to the next.
//
//   EMPTY ── first join ──► PREPARING ── all have joined, or time is up ──► COMPLETING
//     ▲                        ▲  ▲                                             │
//     │ nobody is left         │  └── a member comes, goes or changes ──────────┤
//     │ (from any phase)       │                                  leader's sync │
//                              └── a member comes, goes or changes ── STABLE ◄──┘
//
// 1. PREPARING: JoinGroups are parked until all members have one (nobody holds a promised id), or
//    the longest rebalance timeout has passed; who has none by then is removed, but for static
//    members, which only their session ends. From EMPTY nothing completes it but time: the initial
//    delay, extended while members come. COMPLETING: SyncGroups are parked until the leader's
//    comes. Who has not sent one after the longest rebalance timeout is removed, and the group
//    rebalances.
// 2. The generation grows by one with every COMPLETING and every EMPTY that was told anything. The
//    group's record and those of members that are new or changed are written with it.
// 3. From COMPLETING on, every member has offered the chosen protocol. The leader is a member; when
//    it goes, the group rebalances.
// 4. Sessions do not end while a known member waits; whoever is answered has a whole one.
#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"
#include "gen/kp_join_group.h"

enum { AWAY_MS = 1000 }; // how often at most it is looked whether static members are back

static int32_t longest_rebalance_ms(const struct group *group)
{
    int32_t longest = 0;
    list_each(node, &group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        if (member->rebalance_ms > longest)
            longest = member->rebalance_ms;
    }
    return longest;
}

static void choose_protocol(struct group *group, struct group_protocol *protocol)
{
    if (protocol)
        protocol->holds++;
    group_protocol_let_go(group, group->protocol);
    group->protocol = protocol;
    classic_topics_forget(group);
}

static int32_t next_generation(const struct group *group)
{
    return group->generation == INT32_MAX ? 1 : group->generation + 1;
}

void classic_sync_come(struct group *group, struct group_member *member)
{
    if (!member->sync_due)
        return;
    member->sync_due = false;
    if (--group->syncs_due == 0 && group->phase == CLASSIC_STABLE)
        group->phase_due_ms = INT64_MAX;
}

void classic_end(struct group *group)
{
    list_each(node, &group->members)
        list_entry(node, struct group_member, node)->sync_due = false;
    group->syncs_due = 0;
    group->initial = false;
    group->phase = CLASSIC_EMPTY;
    group->phase_due_ms = INT64_MAX;
    group->leader = NULL;
    choose_protocol(group, NULL);
}

// --- to EMPTY ------------------------------------------------------------------------------------

static void become_empty(struct group *group, struct group_step *step)
{
    CHECK(group->member_count == 0 && group->joining == 0);
    // Members that came and went within the first rebalance were told nothing.
    if (!group->initial) {
        group->generation = next_generation(group);
        group->empty_since_ms = step->wall_ms;
        group_write(group);
    }
    classic_end(group);
}

void classic_members_gone(struct group *group, struct group_step *step)
{
    if (group->member_count)
        classic_rebalance(group, step);
    else if (group->phase != CLASSIC_EMPTY)
        become_empty(group, step);
}

// --- to COMPLETING -------------------------------------------------------------------------------

static void remove_absent(struct group *group, struct group_step *step)
{
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        if (!member->ask && !member->instance_id.data)
            group_member_remove(group, step, member);
    }
}

static struct group_member *elect_leader(const struct group *group)
{
    if (group->leader && group->leader->ask)
        return group->leader;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        if (member->ask)
            return member;
    }
    return NULL;
}

static void begin_generation(struct group *group, struct group_step *step)
{
    if (!group_planted(GROUP_PLANT_SAME_GENERATION))
        group->generation = next_generation(group);
    choose_protocol(group, group_offers_vote(group));
    CHECK(group->protocol);
    group->initial = false;
    group->phase = CLASSIC_COMPLETING;
    group->phase_due_ms = step->now_ms + longest_rebalance_ms(group);
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        group_member_assign(member, (struct span){0});
        member->sync_due = true;
        if (!member->durable || (member->changed && !group_planted(GROUP_PLANT_FORGET_JOIN)))
            group_write_member(step, group, member);
        member->durable = true;
        member->changed = false;
    }
    group->syncs_due = group->member_count;
    group_write(group);
}

static void complete(struct group *group, struct group_step *step)
{
    remove_absent(group, step);
    if (group->member_count == 0) {
        become_empty(group, step);
        return;
    }
    group->leader = elect_leader(group);
    if (!group->leader) {
        // Static members only, and all away: until their sessions end, or one comes back.
        int32_t longest_ms = longest_rebalance_ms(group);
        group->phase_due_ms = step->now_ms + (longest_ms > AWAY_MS ? longest_ms : AWAY_MS);
        return;
    }
    begin_generation(group, step);
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        struct group_ask *ask = group_member_unpark(group, member);
        if (!ask)
            continue;
        member->is_new = false;
        group_member_touch(group, step, member);
        classic_answer_join(group, step, member, ask);
    }
}

void classic_try_complete(struct group *group, struct group_step *step)
{
    if (group->phase == CLASSIC_PREPARING && !group->initial &&
        group->joining == group->member_count && group->pending_by_id.count == 0)
        complete(group, step);
}

// --- to PREPARING --------------------------------------------------------------------------------

// Whoever waits for an assignment has to join again.
static void cancel_syncs(struct group *group, struct group_step *step)
{
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        member->sync_due = false;
        if (!member->ask || member->ask->kind != GROUP_SYNC)
            continue;
        struct group_ask *ask = group_member_unpark(group, member);
        group_member_touch(group, step, member);
        group_answer_error(step, ask, KP_ERROR_REBALANCE_IN_PROGRESS);
    }
    group->syncs_due = 0;
}

static void prepare_first(struct group *group, struct group_step *step)
{
    int32_t delay_ms = step->limits->initial_rebalance_delay_ms;
    int32_t longest_ms = longest_rebalance_ms(group);
    group->initial = true;
    group->newcomers = false;
    group->phase_due_ms = step->now_ms + delay_ms;
    group->initial_end_ms = step->now_ms + (delay_ms > longest_ms ? delay_ms : longest_ms);
    if (delay_ms == 0)
        complete(group, step);
}

void classic_prepare(struct group *group, struct group_step *step)
{
    CHECK(group->phase != CLASSIC_PREPARING);
    bool first = group->phase == CLASSIC_EMPTY;
    cancel_syncs(group, step);
    group->phase = CLASSIC_PREPARING;
    if (first) {
        prepare_first(group, step);
        return;
    }
    group_write(group);
    group->phase_due_ms = step->now_ms + longest_rebalance_ms(group);
    classic_try_complete(group, step);
}

void classic_rebalance(struct group *group, struct group_step *step)
{
    if (group->phase == CLASSIC_PREPARING)
        classic_try_complete(group, step);
    else
        classic_prepare(group, step);
}

// --- to STABLE -----------------------------------------------------------------------------------

void classic_become_stable(struct group *group, struct group_step *step)
{
    CHECK(group->phase == CLASSIC_COMPLETING);
    group->phase = CLASSIC_STABLE;
    if (group->syncs_due == 0)
        group->phase_due_ms = INT64_MAX;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        if (member->assignment.size == 0 || group_planted(GROUP_PLANT_FORGET_TARGETS))
            continue;
        group_write_target(step, group, member);
        member->has_target = true;
    }
    group_write(group);
}

// --- clients that have gone ----------------------------------------------------------------------

void classic_forsake(struct group *group, struct group_step *step, struct group_ask *ask)
{
    struct group_member *member = ask->member;
    bool knows_id =
        !member->is_new || ((const struct kp_join_group_request *)ask->in)->member_id.size;
    group_member_unpark(group, member);
    group_answer_error(step, ask, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    if (!knows_id) {
        group_member_remove(group, step, member);
        classic_members_gone(group, step);
        return;
    }
    group_member_touch(group, step, member);
    if (ask->kind == GROUP_SYNC) {
        member->sync_due = true;
        group->syncs_due++;
    }
}

// --- time ----------------------------------------------------------------------------------------

static void end_sessions(struct group *group, struct group_step *step)
{
    bool gone = false;
    group->members_due_ms = INT64_MAX;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        if (member->deadline_ms > step->now_ms) {
            group_member_set_deadline(group, member, member->deadline_ms);
            continue;
        }
        group_member_remove(group, step, member);
        gone = true;
    }
    group_pending_expire(group, step);
    if (gone)
        classic_members_gone(group, step);
    else
        classic_try_complete(group, step);
}

static void remove_unsynced(struct group *group, struct group_step *step)
{
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        if (member->sync_due)
            group_member_remove(group, step, member);
    }
    classic_members_gone(group, step);
}

static void end_phase(struct group *group, struct group_step *step)
{
    if (group->phase != CLASSIC_PREPARING) {
        remove_unsynced(group, step);
    } else if (group->initial && group->newcomers && step->now_ms < group->initial_end_ms) {
        int64_t next_ms = step->now_ms + step->limits->initial_rebalance_delay_ms;
        group->newcomers = false;
        group->phase_due_ms = next_ms < group->initial_end_ms ? next_ms : group->initial_end_ms;
    } else {
        complete(group, step);
    }
}

void classic_time(struct group *group, struct group_step *step)
{
    if (step->now_ms >= group->members_due_ms)
        end_sessions(group, step);
    if (step->now_ms >= group->phase_due_ms)
        end_phase(group, step);
}

// --- after a start -------------------------------------------------------------------------------

// What the phase that was stored needs to go on.
static enum classic_phase sound_phase(struct group *group)
{
    if (group->phase == CLASSIC_PREPARING || !group->leader || !group->protocol ||
        group->protocol->members != group->member_count)
        return CLASSIC_PREPARING;
    return group->phase;
}

static bool drop_all(struct group *group)
{
    bool marked = true;
    list_each(node, &group->members)
        marked = group_load_drop(group, list_entry(node, struct group_member, node)) && marked;
    return marked;
}

bool classic_load_done(struct group *group, struct group_step *step)
{
    bool sound =
        group->phase != CLASSIC_EMPTY && group->protocol_type.size && group_offers_vote(group);
    if (!sound && !drop_all(group))
        return false;
    if (group->member_count == 0) {
        if (group->phase != CLASSIC_EMPTY)
            become_empty(group, step);
        return true;
    }
    group->phase = sound_phase(group);
    if (group->phase != CLASSIC_STABLE)
        group->phase_due_ms = step->now_ms + longest_rebalance_ms(group);
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        member->sync_due = group->phase == CLASSIC_COMPLETING;
        group_member_touch(group, step, member);
    }
    group->syncs_due = group->phase == CLASSIC_COMPLETING ? group->member_count : 0;
    return true;
}
