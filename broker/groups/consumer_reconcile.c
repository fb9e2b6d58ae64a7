// SPDX-License-Identifier: Apache-2.0
// A member's way to its target, one step per heartbeat.
//
//   STABLE ── target lacks what it has ──► UNREVOKED ── it lists none of that any more ──┐
//     ▲                                                                                  │
//     └── it has all ── UNRELEASED ◄── others have partitions of its target ◄────────────┤
//     ▲                                                                                  │
//     └──────────────────────────────── it has all ──────────────────────────────────────┘
//
// 1. A partition has one holder at most: the member that was last told that it has it, until that
//    member has listed what it has without it, or is removed. Nobody else is told of it before.
// 2. A member gets the group's epoch when it has nothing left to give up, and not before: offsets
//    it commits until then are those of its old epoch. When it has given something up and is to
//    give up more, its epoch is the one after: what it commits late does not count any more.
// 3. What a step changes is written with it.
#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"
#include "gen/kp_consumer_group_heartbeat.h"

// --- what a member lists -------------------------------------------------------------------------

static bool lists_any(struct group *group, const struct consumer_owned *owned,
                      const struct consumer_set *set)
{
    if (owned->count < 0)
        return set->count > 0;
    for (int32_t i = 0; i < owned->count && set->count > 0; i++) {
        struct consumer_topic *topic = consumer_topic_find(group, owned->topics[i].topic_id);
        for (int32_t k = 0; k < owned->topics[i].partitions_count && topic; k++)
            if (consumer_set_has(set,
                                 (struct consumer_part){topic, owned->topics[i].partitions[k]}))
                return true;
    }
    return false;
}

bool consumer_owns_no_more(struct group *group, const struct consumer_owned *owned,
                           const struct consumer_member *consumer)
{
    if (owned->count < 0)
        return false;
    for (int32_t i = 0; i < owned->count; i++) {
        struct consumer_topic *topic = consumer_topic_find(group, owned->topics[i].topic_id);
        for (int32_t k = 0; k < owned->topics[i].partitions_count; k++) {
            struct consumer_part part = {topic, owned->topics[i].partitions[k]};
            if (!topic || !(consumer_set_has(&consumer->assigned, part) ||
                            consumer_set_has(&consumer->revoking, part)))
                return false;
        }
    }
    return true;
}

// --- holders -------------------------------------------------------------------------------------

static void release(const struct consumer_set *set, const struct consumer_member *consumer)
{
    for (uint32_t i = 0; i < set->count; i++) {
        CHECK(consumer_holder(&set->parts[i]) == consumer);
        set->parts[i].topic->holders[set->parts[i].partition] = NULL;
    }
}

void consumer_release_revoking(struct group *group, struct consumer_member *consumer)
{
    release(&consumer->revoking, consumer);
    consumer_set_free(group, &consumer->revoking);
}

void consumer_release(struct group *group, struct consumer_member *consumer)
{
    consumer_release_revoking(group, consumer);
    release(&consumer->assigned, consumer);
    consumer_set_free(group, &consumer->assigned);
}

static bool make_room(const struct consumer_part *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!consumer_topic_make_room(parts[i].topic, parts[i].partition))
            return false;
    return true;
}

static void hold(const struct consumer_part *parts, uint32_t count,
                 struct consumer_member *consumer)
{
    for (uint32_t i = 0; i < count; i++)
        parts[i].topic->holders[parts[i].partition] = consumer;
}

bool consumer_hold(const struct consumer_part *parts, uint32_t count,
                   struct consumer_member *consumer)
{
    if (!make_room(parts, count))
        return false;
    hold(parts, count, consumer);
    return true;
}

// --- one step ------------------------------------------------------------------------------------

// What there is to do: `kept` is in the target and was told, `lost` was told and is not in the
// target, `gained` is in the target and nobody has it.
struct changes {
    struct consumer_part *kept;
    uint32_t kept_count;
    struct consumer_part *lost;
    uint32_t lost_count;
    struct consumer_part *gained;
    uint32_t gained_count;
    bool unreleased; // others have partitions of the target
};

static bool compare(const struct consumer_member *consumer, struct changes *changes)
{
    const struct consumer_set *assigned = &consumer->assigned;
    const struct consumer_set *target = &consumer->target;
    size_t room = (size_t)assigned->count + target->count;
    *changes = (struct changes){
        .kept = malloc((2 * room + assigned->count + 1) * sizeof(struct consumer_part))};
    if (!changes->kept)
        return false;
    changes->gained = changes->kept + room;
    changes->lost = changes->gained + room;
    uint32_t a = 0;
    uint32_t t = 0;
    while (a < assigned->count || t < target->count) {
        int order = a == assigned->count ? 1
                    : t == target->count
                        ? -1
                        : consumer_part_compare(&assigned->parts[a], &target->parts[t]);
        if (order < 0) {
            changes->lost[changes->lost_count++] = assigned->parts[a++];
        } else if (order == 0) {
            changes->kept[changes->kept_count++] = assigned->parts[a++];
            t++;
        } else {
            if (consumer_holder(&target->parts[t]) && !group_planted(GROUP_PLANT_TAKE_HELD))
                changes->unreleased = true;
            else
                changes->gained[changes->gained_count++] = target->parts[t];
            t++;
        }
    }
    return true;
}

void consumer_let_revoke(struct group *group, struct group_step *step, struct group_member *member)
{
    struct consumer_member *consumer = member->consumer;
    if (consumer->state != CONSUMER_UNREVOKED) {
        consumer->revoke_due_ms = step->now_ms + member->rebalance_ms;
        if (consumer->revoke_due_ms < group->members_due_ms)
            group->members_due_ms = consumer->revoke_due_ms;
    }
    consumer->state = CONSUMER_UNREVOKED;
}

static void take_epoch(struct group *group, struct consumer_member *consumer, bool unreleased)
{
    if (consumer->epoch != group->generation) {
        consumer->previous_epoch = consumer->epoch;
        consumer->epoch = group->generation;
    }
    consumer->state = unreleased ? CONSUMER_UNRELEASED : CONSUMER_STABLE;
    consumer->revoke_due_ms = INT64_MAX;
}

// Some epoch that it was not told before.
static void leave_epoch(const struct group *group, struct consumer_member *consumer)
{
    if (consumer->epoch == group->generation)
        return; // of which it was to give up nothing
    consumer->previous_epoch = consumer->epoch;
    consumer->epoch = consumer->epoch == INT32_MAX ? 1 : consumer->epoch + 1;
}

// Lists what is kept and what is gained, sorted, in `kept`.
static void merge_gained(struct changes *changes)
{
    memcpy(changes->kept + changes->kept_count, changes->gained,
           changes->gained_count * sizeof(*changes->kept));
    changes->kept_count += changes->gained_count;
    qsort(changes->kept, changes->kept_count, sizeof(*changes->kept), consumer_part_compare);
}

// What members have and who holds it agree whatever fails, for the group is freed after that.
static bool revoke(struct group *group, struct group_step *step, struct group_member *member,
                   const struct changes *changes)
{
    struct consumer_member *consumer = member->consumer;
    if (!consumer_set_replace(group, &consumer->revoking, changes->lost, changes->lost_count))
        return false;
    if (!consumer_set_replace(group, &consumer->assigned, changes->kept, changes->kept_count)) {
        consumer_set_free(group, &consumer->revoking);
        return false;
    }
    consumer_let_revoke(group, step, member);
    return true;
}

static bool move_on(struct group *group, struct consumer_member *consumer, struct changes *changes)
{
    const struct consumer_set lost = {.parts = changes->lost, .count = changes->lost_count};
    if (!make_room(changes->gained, changes->gained_count))
        return false;
    if (changes->gained_count)
        merge_gained(changes);
    if (changes->gained_count || changes->lost_count) {
        // Before the set changes, which may be the end of a topic.
        release(&lost, consumer);
        if (!consumer_set_replace(group, &consumer->assigned, changes->kept, changes->kept_count)) {
            hold(lost.parts, lost.count, consumer);
            return false;
        }
        hold(changes->gained, changes->gained_count, consumer);
    }
    take_epoch(group, consumer, changes->unreleased);
    return true;
}

static bool advance(struct group *group, struct group_step *step, struct group_member *member,
                    const struct consumer_owned *owned, bool *assigned_changed)
{
    struct changes changes;
    if (!compare(member->consumer, &changes))
        return false;
    const struct consumer_set lost = {.parts = changes.lost, .count = changes.lost_count};
    bool done;
    if (lists_any(group, owned, &lost)) {
        done = revoke(group, step, member, &changes);
        *assigned_changed = true;
    } else {
        done = move_on(group, member->consumer, &changes);
        *assigned_changed = changes.gained_count || changes.lost_count;
    }
    free(changes.kept);
    return done;
}

bool consumer_waits(const struct consumer_member *consumer)
{
    for (uint32_t i = 0; i < consumer->target.count; i++) {
        const struct consumer_member *holder = consumer_holder(&consumer->target.parts[i]);
        if (holder && holder != consumer)
            return true;
    }
    return false;
}

bool consumer_reconcile(struct group *group, struct group_step *step, struct group_member *member,
                        const struct consumer_owned *owned, bool *assigned_changed)
{
    struct consumer_member *consumer = member->consumer;
    const enum consumer_state state = consumer->state;
    const int32_t epoch = consumer->epoch;
    *assigned_changed = false;
    if (state == CONSUMER_STABLE && epoch == group->generation)
        return true;
    if (state == CONSUMER_UNREVOKED) {
        if (lists_any(group, owned, &consumer->revoking) &&
            !group_planted(GROUP_PLANT_RELEASE_EARLY))
            return true;
        consumer_release_revoking(group, consumer);
        consumer->state = CONSUMER_STABLE;
    }
    if (!advance(group, step, member, owned, assigned_changed))
        return false;
    if (state == CONSUMER_UNREVOKED && consumer->state == CONSUMER_UNREVOKED)
        leave_epoch(group, consumer);
    bool changed = *assigned_changed || consumer->state != state || consumer->epoch != epoch;
    if (changed && !group_planted(GROUP_PLANT_FORGET_CURRENT))
        consumer_write_current(step, group, member);
    return true;
}
