// SPDX-License-Identifier: Apache-2.0
// The members of a group, and the member ids that are promised but not joined yet.
//
// 1. group->members, by_id and by_instance hold the same members; an instance id names at most one.
// 2. members_due_ms is never later than any deadline; it may be earlier, and group_time finds out.
// 3. A parked ask has its member, and the member has it; `joining` counts the JoinGroups among
// them.
// 4. `bytes` is what members hold, without assignments, which the leader's SyncGroup bounds.
#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"

struct group_member *group_member_find(const struct group *group, struct span id)
{
    return id.size ? map_get(&group->by_id, id) : NULL;
}

struct group_member *group_member_find_instance(const struct group *group, struct span instance_id)
{
    return instance_id.size ? map_get(&group->by_instance, instance_id) : NULL;
}

int16_t group_member_check(const struct group *group, struct span id, struct span instance_id,
                           struct group_member **out)
{
    if (instance_id.size) {
        const struct group_member *holder = group_member_find_instance(group, instance_id);
        if (!holder)
            return KP_ERROR_UNKNOWN_MEMBER_ID;
        if (!span_equal(holder->id, id))
            return KP_ERROR_FENCED_INSTANCE_ID;
    }
    *out = group_member_find(group, id);
    return *out ? 0 : KP_ERROR_UNKNOWN_MEMBER_ID;
}

// --- coming and going ----------------------------------------------------------------------------

static struct span keep(uint8_t **at, struct span bytes)
{
    struct span kept = span_of(*at, bytes.size);
    if (bytes.size)
        memcpy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return kept;
}

size_t group_identity_size(const struct group_identity *identity)
{
    return sizeof(struct group_member) + identity->id.size + identity->instance_id.size +
           identity->client_id.size + identity->client_host.size;
}

static struct group_member *member_new(const struct group_identity *identity)
{
    size_t size = group_identity_size(identity);
    struct group_member *member = malloc(size);
    if (!member)
        return NULL;
    *member = (struct group_member){.deadline_ms = INT64_MAX, .bytes = size};
    uint8_t *at = member->text;
    list_init(&member->node);
    member->id = keep(&at, identity->id);
    if (identity->instance_id.size)
        member->instance_id = keep(&at, identity->instance_id);
    member->client_id = keep(&at, identity->client_id);
    member->client_host = keep(&at, identity->client_host);
    return member;
}

static void member_free(struct group_member *member)
{
    group_span_free(&member->assignment);
    free(member);
}

static bool index_add(struct group *group, struct group_member *member)
{
    if (map_put(&group->by_id, member->id, member))
        return false;
    if (member->instance_id.data && map_put(&group->by_instance, member->instance_id, member)) {
        map_remove(&group->by_id, member->id);
        return false;
    }
    return true;
}

struct group_member *group_member_add(struct group *group, const struct group_identity *identity)
{
    struct group_member *member = member_new(identity);
    if (!member)
        return NULL;
    if (!index_add(group, member)) {
        member_free(member);
        return NULL;
    }
    member->joined = ++group->last_joined;
    list_append(&group->members, &member->node);
    group->member_count++;
    group->bytes += member->bytes;
    return member;
}

static void fail_parked(struct group *group, struct group_step *step, struct group_member *member,
                        int16_t error)
{
    struct group_ask *ask = group_member_unpark(group, member);
    if (ask)
        group_answer_error(step, ask, error);
}

static void erase(struct group *group, struct group_step *step, const struct group_member *member)
{
    if (member->durable)
        group_erase_member(step, group, member->id);
    if (member->has_target)
        group_erase_target(step, group, member->id);
    if (member->consumer && member->consumer->has_current)
        group_erase_current(step, group, member->id);
}

void group_member_remove(struct group *group, struct group_step *step, struct group_member *member)
{
    fail_parked(group, step, member, KP_ERROR_UNKNOWN_MEMBER_ID);
    erase(group, step, member);
    group_member_drop(group, member);
}

void group_member_drop(struct group *group, struct group_member *member)
{
    map_remove(&group->by_id, member->id);
    if (member->instance_id.data)
        map_remove(&group->by_instance, member->instance_id);
    if (group->leader == member)
        group->leader = NULL;
    if (member->sync_due)
        group->syncs_due--;
    group_offers_set(group, member, NULL);
    consumer_member_free(group, member);
    list_remove(&member->node);
    group->member_count--;
    group->bytes -= member->bytes;
    member_free(member);
}

// What is subscribed to counts for the one that has it.
static void take_consumer(struct group_member *member, struct group_member *old)
{
    if (!old->consumer)
        return;
    size_t wanted = consumer_subscription_weight(old->consumer->subscription);
    member->consumer = old->consumer;
    member->consumer->has_current = false;
    member->bytes += wanted;
    old->consumer = NULL;
}

struct group_member *group_member_replace(struct group *group, struct group_step *step,
                                          struct group_member *old,
                                          const struct group_identity *identity)
{
    struct group_member *member = member_new(identity);
    if (!member)
        return NULL;
    map_remove(&group->by_instance, old->instance_id);
    if (!index_add(group, member)) {
        // There was room for the old one a moment ago.
        CHECK(map_put(&group->by_instance, old->instance_id, old) == 0);
        member_free(member);
        return NULL;
    }
    fail_parked(group, step, old, KP_ERROR_FENCED_INSTANCE_ID);
    erase(group, step, old);
    map_remove(&group->by_id, old->id);
    member->joined = ++group->last_joined;
    member->session_ms = old->session_ms;
    member->rebalance_ms = old->rebalance_ms;
    member->offers = old->offers;
    member->assignment = old->assignment;
    member->sync_due = old->sync_due;
    take_consumer(member, old);
    if (group->leader == old)
        group->leader = member;
    list_append(&old->node, &member->node);
    list_remove(&old->node);
    group->bytes += member->bytes;
    group->bytes -= old->bytes;
    free(old);
    return member;
}

bool group_member_assign(struct group_member *member, struct span assignment)
{
    struct span copy = {0};
    if (assignment.data) {
        copy = group_copy(assignment);
        if (!copy.data)
            return false;
    }
    group_span_free(&member->assignment);
    member->assignment = copy;
    return true;
}

// --- waiting -------------------------------------------------------------------------------------

void group_member_set_deadline(struct group *group, struct group_member *member, int64_t at_ms)
{
    member->deadline_ms = at_ms;
    if (at_ms < group->members_due_ms)
        group->members_due_ms = at_ms;
}

void group_member_touch(struct group *group, struct group_step *step, struct group_member *member)
{
    if (!member->ask)
        group_member_set_deadline(group, member, step->now_ms + member->session_ms);
}

void group_member_park(struct group *group, struct group_step *step, struct group_member *member,
                       struct group_ask *ask)
{
    if (group_planted(GROUP_PLANT_DROP_ASK))
        group_member_unpark(group, member);
    fail_parked(group, step, member, KP_ERROR_REBALANCE_IN_PROGRESS);
    list_init(&ask->node);
    ask->member = member;
    member->ask = ask;
    if (ask->kind == GROUP_JOIN)
        group->joining++;
    if (!member->is_new)
        member->deadline_ms = INT64_MAX;
}

struct group_ask *group_member_unpark(struct group *group, struct group_member *member)
{
    struct group_ask *ask = member->ask;
    if (!ask)
        return NULL;
    CHECK(ask->member == member);
    if (ask->kind == GROUP_JOIN)
        group->joining--;
    member->ask = NULL;
    ask->member = NULL;
    return ask;
}

// --- promised ids --------------------------------------------------------------------------------

// Digits of a number, low ones first.
static void write_hex(uint8_t *to, uint64_t number, uint32_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t i = 0; i < count; i++)
        to[i] = (uint8_t)digits[(number >> (4 * i)) & 15];
}

struct span group_member_make_id(struct random *random, struct span client,
                                 uint8_t out[GROUP_MEMBER_ID_MAX])
{
    size_t size = client.size < 128 ? client.size : 128;
    if (size)
        memcpy(out, client.data, size);
    uint8_t *at = out + size;
    uint64_t high = random_next(random);
    uint64_t low = random_next(random);
    static const uint8_t marks[37] = "-00000000-0000-4000-8000-000000000000"; // of a random UUID
    memcpy(at, marks, sizeof(marks));
    write_hex(at + 1, high, 8);
    write_hex(at + 10, high >> 32, 4);
    write_hex(at + 16, high >> 48, 3);
    write_hex(at + 21, low, 3);
    write_hex(at + 25, low >> 12, 12);
    return span_of(out, size + sizeof(marks));
}

struct group_pending *group_pending_find(const struct group *group, struct span id)
{
    return id.size ? map_get(&group->pending_by_id, id) : NULL;
}

void group_pending_remove(struct group *group, struct group_pending *pending)
{
    map_remove(&group->pending_by_id, pending->id);
    list_remove(&pending->node);
    free(pending);
}

void group_pending_expire(struct group *group, const struct group_step *step)
{
    list_each(node, &group->pending) {
        struct group_pending *pending = list_entry(node, struct group_pending, node);
        if (pending->deadline_ms <= step->now_ms)
            group_pending_remove(group, pending);
        else if (pending->deadline_ms < group->members_due_ms)
            group->members_due_ms = pending->deadline_ms;
    }
}

bool group_pending_add(struct group *group, struct span id, int64_t deadline_ms)
{
    struct group_pending *pending = malloc(sizeof(*pending) + id.size);
    if (!pending)
        return false;
    *pending = (struct group_pending){.deadline_ms = deadline_ms};
    memcpy(pending->text, id.data, id.size);
    pending->id = span_of(pending->text, id.size);
    if (map_put(&group->pending_by_id, pending->id, pending)) {
        free(pending);
        return false;
    }
    list_append(&group->pending, &pending->node);
    if (deadline_ms < group->members_due_ms)
        group->members_due_ms = deadline_ms;
    if (group->pending_by_id.count > GROUP_PENDING_MAX)
        group_pending_remove(group, list_entry(group->pending.next, struct group_pending, node));
    return true;
}
