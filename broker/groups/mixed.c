// SPDX-License-Identifier: Apache-2.0
// Classic members of a group of the consumer protocol: JoinGroup, SyncGroup and Heartbeat take the
// part of ConsumerGroupHeartbeat for them (KIP-848).
//
//   what the broker wants      how a classic member hears of it
//   a new epoch                Heartbeat, SyncGroup: REBALANCE_IN_PROGRESS, so that it joins again
//   what it shall give up      it is not in what SyncGroup gives; a cooperative member joins again
//                              without it, any other one has given up all before it joined
//   what has become free       Heartbeat: REBALANCE_IN_PROGRESS
//
// 1. Nobody leads: assignments come from the broker. The generation that a member is told is its
//    own epoch, and a JoinGroup is answered in its step; nobody waits for others.
// 2. What a member has stands in the metadata of the first protocol that it offers, and takes the
//    place of the list that a ConsumerGroupHeartbeat brings. Who does not say has nothing.
// 3. A member that was told to join, or has joined and was told a generation, has its rebalance
//    timeout to join or to sync; then it is removed.
// 4. Offsets are committed in the generation that the member was last told, and in no other.
// 5. A static member may come over from the other protocol, whether its former self has left or
//    has not: that one is fenced.
#include <errno.h>

#include "broker/groups/consumer_protocol.h"
#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"
#include "gen/kp_consumer_group_heartbeat.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_sync_group.h"

// --- what a JoinGroup says -----------------------------------------------------------------------

// All of it is held until it is the member's.
struct entry {
    struct group_offers *offers;
    struct consumer_subscription *wanted;
    struct consumer_owned owned; // in the ask's arena
    struct span rack;
};

static size_t count_parts(struct consumer_parts parts)
{
    size_t count = 0;
    struct span topic;
    int32_t partition;
    while (consumer_parts_next(&parts, &topic, &partition))
        count++;
    return count;
}

// The list as a ConsumerGroupHeartbeat would bring it. Topics that there are not are left out.
static int list_owned(const struct group *group, const struct group_step *step,
                      struct group_ask *ask, struct consumer_parts parts,
                      struct consumer_owned *out)
{
    struct kp_consumer_group_heartbeat_request_topic_partition *topics;
    struct kp_consumer_group_heartbeat_request_topic_partition *to = NULL;
    const uint8_t *last = NULL;
    struct span name;
    int32_t partition;
    size_t count = count_parts(parts);
    *out = (struct consumer_owned){0};
    if (count == 0 || group_planted(GROUP_PLANT_HEAR_NOTHING))
        return 0;
    if (count > CONSUMER_OWNED_MAX && count > 2 * group->consumer.parts)
        return KP_ERROR_INVALID_REQUEST;
    int32_t *numbers = arena_array(ask->arena, count, sizeof(*numbers));
    topics = arena_array(ask->arena, (size_t)parts.topics_left, sizeof(*topics));
    if (!numbers || !topics)
        return -ENOMEM;
    while (consumer_parts_next(&parts, &name, &partition)) {
        if (name.data != last) {
            const struct catalog_topic *topic =
                step->catalog ? catalog_find(step->catalog, name) : NULL;
            last = name.data;
            to = topic ? &topics[out->count++] : NULL;
            if (to) {
                kp_consumer_group_heartbeat_request_topic_partition_init(to);
                to->topic_id = topic->id;
                to->partitions = numbers;
            }
        }
        if (!to)
            continue;
        *numbers++ = partition;
        to->partitions_count++;
    }
    out->topics = topics;
    return 0;
}

static int hold_wanted(struct group *group, struct group_step *step, struct group_ask *ask,
                       struct consumer_topics topics, struct consumer_subscription **out)
{
    if (topics.left > CONSUMER_TOPICS_MAX)
        return KP_ERROR_INVALID_REQUEST;
    struct span *names = arena_array(ask->arena, (size_t)topics.left + 1, sizeof(*names));
    uint32_t count = 0;
    if (!names)
        return -ENOMEM;
    while (consumer_topics_next(&topics, &names[count]))
        count++;
    return consumer_subscription_hold(group, step, names, count, (struct span){0}, out);
}

// `member` NULL: a new one. `more`: bytes that it will take besides what it brings here.
static int read_entry(struct group *group, struct group_step *step, struct group_ask *ask,
                      const struct group_member *member, size_t more, struct entry *out)
{
    const struct kp_join_group_request *in = ask->in;
    struct consumer_said said;
    if (!consumer_said_read(in->protocols[0].metadata, &said))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    *out = (struct entry){.rack = said.rack.size ? said.rack : (struct span){0}};
    if (said.rack.size > CONSUMER_TEXT_MAX)
        return KP_ERROR_INVALID_REQUEST;
    int error = list_owned(group, step, ask, said.owned, &out->owned);
    if (!error)
        error = hold_wanted(group, step, ask, said.topics, &out->wanted);
    if (error)
        return error;
    size_t weight = consumer_subscription_weight(out->wanted);
    size_t now = member ? consumer_subscription_weight(member->consumer->subscription) : 0;
    error = classic_join_offers(group, member, in, more + (weight > now ? weight - now : 0),
                                &out->offers);
    if (error)
        consumer_subscription_let_go(group, out->wanted);
    return error;
}

// --- the answer ----------------------------------------------------------------------------------

// The member has this long to do what comes next.
static void expect(struct group *group, const struct group_step *step, struct group_member *member)
{
    member->consumer->classic_due_ms = step->now_ms + member->rebalance_ms;
    if (member->consumer->classic_due_ms < group->members_due_ms)
        group->members_due_ms = member->consumer->classic_due_ms;
}

static void answer_join(struct group_step *step, struct group_ask *ask,
                        const struct group_member *member)
{
    const struct kp_join_group_request *in = ask->in;
    struct kp_join_group_response *out = ask->out;
    kp_join_group_response_init(out);
    out->generation_id = member->consumer->epoch;
    out->protocol_type = span_text("consumer");
    out->protocol_name = in->protocols[0].name;
    out->leader = kp_empty();
    if (!group_arena_copy(step, ask, member->id, &out->member_id)) {
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    group_answer(step, ask);
}

// --- joining -------------------------------------------------------------------------------------

// What the request says is the member's. 0 or -ENOMEM; *rebalance: the group must know.
static int update(struct group *group, struct group_member *member, const struct group_ask *ask,
                  const struct entry *entry, bool *rebalance)
{
    struct consumer_member *consumer = member->consumer;
    classic_join_update(group, member, ask, entry->offers);
    *rebalance = entry->wanted != consumer->subscription;
    consumer_member_subscribe(group, member, entry->wanted);
    if (*rebalance)
        member->changed = true;
    if (consumer->assignor != GROUP_NO_ASSIGNOR) {
        consumer->assignor = GROUP_NO_ASSIGNOR;
        member->changed = *rebalance = true;
    }
    return consumer_member_set_rack(consumer, entry->rack, &member->changed) ? 0 : -ENOMEM;
}

// The group has only classic members now, and is classic itself: the ask waits as any other.
static void wait(struct group *group, struct group_step *step, struct group_member *member,
                 struct group_ask *ask)
{
    group_member_park(group, step, member, ask);
    classic_try_complete(group, step);
}

// The entry becomes the member's.
static void enter(struct group *group, struct group_step *step, struct group_ask *ask,
                  struct group_member *member, const struct entry *entry)
{
    bool rebalance;
    bool changed;
    bool came_over = member->offers == NULL && member->consumer->subscription;
    if (update(group, member, ask, entry, &rebalance)) {
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    group_member_touch(group, step, member);
    if (came_over && migrate_downgrade(group, step)) {
        wait(group, step, member, ask);
        return;
    }
    if (!member->durable || member->changed)
        consumer_write_member(step, group, member);
    member->durable = true;
    member->changed = false;
    if (rebalance)
        consumer_rebalance(group, step);
    if (!consumer_reconcile(group, step, member, &entry->owned, &changed)) {
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    expect(group, step, member);
    answer_join(step, ask, member);
}

static void drop_entry(struct group *group, struct group_step *step, struct group_ask *ask,
                       const struct entry *entry)
{
    group_offers_free(group, entry->offers);
    consumer_subscription_let_go(group, entry->wanted);
    group_refuse(step, ask, -ENOMEM);
}

static void join_new(struct group *group, struct group_step *step, struct group_ask *ask,
                     struct span id)
{
    struct group_identity identity = classic_join_identity(ask, id);
    struct entry entry;
    int error = read_entry(group, step, ask, NULL, group_identity_size(&identity), &entry);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    struct group_member *member = group_member_add(group, &identity);
    if (member)
        member->consumer = consumer_member_new();
    if (member && !member->consumer) {
        group_member_drop(group, member);
        member = NULL;
    }
    if (member)
        enter(group, step, ask, member, &entry);
    else
        drop_entry(group, step, ask, &entry);
}

static void join_again(struct group *group, struct group_step *step, struct group_ask *ask,
                       struct group_member *member)
{
    struct entry entry;
    int error = read_entry(group, step, ask, member, 0, &entry);
    if (error)
        group_refuse(step, ask, error);
    else
        enter(group, step, ask, member, &entry);
}

// A new process in the place of its former self, whose partitions it is to have.
static void return_static(struct group *group, struct group_step *step, struct group_ask *ask,
                          struct group_member *former)
{
    const struct kp_join_group_request *in = ask->in;
    uint8_t text[GROUP_MEMBER_ID_MAX];
    struct group_identity identity =
        classic_join_identity(ask, group_member_make_id(step->random, in->group_instance_id, text));
    size_t size = group_identity_size(&identity);
    struct entry entry;
    int error = read_entry(group, step, ask, former,
                           size > former->bytes ? size - former->bytes : 0, &entry);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    struct group_member *member = group_member_replace(group, step, former, &identity);
    if (!member) {
        drop_entry(group, step, ask, &entry);
        return;
    }
    member->consumer->epoch = 0;
    member->consumer->previous_epoch = 0;
    if (member->consumer->target.count)
        consumer_write_target(step, group, member);
    enter(group, step, ask, member, &entry);
}

static void join_by_name(struct group *group, struct group_step *step, struct group_ask *ask,
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

// Which member it is; *member NULL: none yet. 0 or why it may not join.
static int16_t admit(const struct group *group, const struct group_step *step,
                     const struct kp_join_group_request *in, struct group_member **member,
                     struct group_pending **pending)
{
    int16_t error = classic_join_find(group, step, in, member, pending);
    if (error)
        return error;
    if (in->member_id.size && *member && !(*member)->offers)
        return KP_ERROR_UNKNOWN_MEMBER_ID; // of the other protocol
    if (!*member && group->member_count >= step->limits->consumer_max_members)
        return KP_ERROR_GROUP_MAX_SIZE_REACHED;
    if (!group_offers_agree(group, in->protocols, in->protocols_count, *member))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    return 0;
}

void mixed_join(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_join_group_request *in = ask->in;
    struct group_pending *pending;
    struct group_member *member;
    int16_t error = admit(group, step, in, &member, &pending);
    if (error) {
        group_refuse(step, ask, error);
    } else if (pending) {
        group_pending_remove(group, pending);
        join_new(group, step, ask, in->member_id);
    } else if (in->member_id.size) {
        join_again(group, step, ask, member);
    } else {
        join_by_name(group, step, ask, member);
    }
}

// --- staying -------------------------------------------------------------------------------------

static int16_t find(const struct group *group, struct span id, struct span instance_id,
                    int32_t generation, struct group_member **out)
{
    int16_t error = group_member_check(group, id, instance_id, out);
    if (error)
        return error;
    if (!(*out)->offers)
        return KP_ERROR_UNKNOWN_MEMBER_ID;
    return generation == (*out)->consumer->epoch ? 0 : KP_ERROR_ILLEGAL_GENERATION;
}

// It waits for partitions, and none of them is anybody else's any more.
static bool can_have_more(const struct consumer_member *consumer)
{
    return consumer->state == CONSUMER_UNRELEASED && !consumer_waits(consumer);
}

void mixed_heartbeat(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_heartbeat_request *in = ask->in;
    struct group_member *member;
    int16_t error = find(group, in->member_id, in->group_instance_id, in->generation_id, &member);
    if (!error) {
        const struct consumer_member *consumer = member->consumer;
        group_member_touch(group, step, member);
        bool behind =
            consumer->epoch != group->generation && !group_planted(GROUP_PLANT_SAY_NOTHING);
        if (behind || consumer->state == CONSUMER_UNREVOKED || can_have_more(consumer))
            error = KP_ERROR_REBALANCE_IN_PROGRESS;
        if (error && consumer->classic_due_ms == INT64_MAX)
            expect(group, step, member);
    }
    group_answer_error(step, ask, error);
}

static bool speaks_of(const struct group_member *member, const struct kp_sync_group_request *in)
{
    return (!in->protocol_type.data || span_equal(in->protocol_type, span_text("consumer"))) &&
           (!in->protocol_name.data ||
            span_equal(in->protocol_name, member->offers->items[0].protocol->name));
}

static int16_t check_sync(const struct group *group, const struct group_ask *ask,
                          struct group_member **member)
{
    const struct kp_sync_group_request *in = ask->in;
    if (ask->version >= 5 && (!in->protocol_type.data || !in->protocol_name.data))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    int16_t error = find(group, in->member_id, in->group_instance_id, in->generation_id, member);
    if (error)
        return error;
    if (!speaks_of(*member, in))
        return KP_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    // Who has to give something up learns from this what it keeps.
    bool behind = (*member)->consumer->epoch != group->generation &&
                  (*member)->consumer->state != CONSUMER_UNREVOKED;
    return behind ? KP_ERROR_REBALANCE_IN_PROGRESS : 0;
}

void mixed_sync(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_sync_group_request *in = ask->in;
    struct kp_sync_group_response *out = ask->out;
    struct group_member *member = NULL;
    struct span assignment;
    int16_t error = check_sync(group, ask, &member);
    if (!error || error == KP_ERROR_REBALANCE_IN_PROGRESS)
        group_member_touch(group, step, member);
    if (error == KP_ERROR_REBALANCE_IN_PROGRESS)
        expect(group, step, member);
    if (error) {
        group_answer_error(step, ask, error);
        return;
    }
    kp_sync_group_response_init(out);
    out->protocol_type = in->protocol_type;
    out->protocol_name = in->protocol_name;
    uint8_t *to = arena_raw(ask->arena, migrate_assignment_size(step, member->consumer, false));
    if (!to) {
        group_refuse(step, ask, -ENOMEM);
        return;
    }
    assignment = migrate_assignment_write(step, member, false, to);
    member->consumer->classic_due_ms = INT64_MAX;
    out->assignment = assignment;
    group_answer(step, ask);
}

int16_t mixed_may_commit(struct group *group, struct group_step *step, struct span member_id,
                         struct span instance_id, int32_t generation)
{
    struct group_member *member;
    int16_t error = find(group, member_id, instance_id, generation, &member);
    if (!error)
        group_member_touch(group, step, member);
    return error;
}
