// SPDX-License-Identifier: Apache-2.0
// The consumer protocol (KIP-848): heartbeats, by which members join, stay, say what they want and
// have, and leave.
//
// 1. The group's epoch is group->generation. It grows with every change of members, of what they
//    want, and of the topics of that; the targets are those of the epoch (consumer_target.c).
// 2. A member gets to its target with its own heartbeats (consumer_reconcile.c). Nobody waits:
//    every heartbeat is answered in its step.
// 3. A member speaks in the epoch that it was last told; the one before is accepted if what it
//    lists is nobody else's, for it may not have heard. Anything else is fenced: it gives up all it
//    has and joins again, with epoch 0. Who joins has nothing.
// 4. A static member that has left with -2 keeps its place, target and partitions until its session
//    ends. As long as it has not, its instance id is nobody else's, but for one that comes over
//    from the classic protocol.
// 5. Members of the classic protocol may be in the group as well: mixed.c serves them. Who joins a
//    classic group turns it into one of this protocol (migrate.c), if nothing else is wrong with
//    the request.
#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"
#include "gen/kp_consumer_group_heartbeat.h"

void consumer_open(struct group *group)
{
    struct consumer_group *consumer = &group->consumer;
    map_init(&consumer->topics);
    map_init(&consumer->subscriptions);
    list_init(&consumer->matching);
    list_init(&consumer->loaded);
    consumer->work_due_ms = INT64_MAX;
}

void consumer_close(struct group *group)
{
    struct consumer_group *consumer = &group->consumer;
    CHECK(consumer->topics.count == 0 && consumer->subscriptions.count == 0 &&
          consumer->parts == 0 && list_empty(&consumer->matching));
    map_free(&consumer->topics);
    map_free(&consumer->subscriptions);
}

// --- members -------------------------------------------------------------------------------------

struct consumer_member *consumer_member_new(void)
{
    struct consumer_member *consumer = calloc(1, sizeof(*consumer));
    if (consumer) {
        consumer->revoke_due_ms = INT64_MAX;
        consumer->classic_due_ms = INT64_MAX;
    }
    return consumer;
}

size_t consumer_subscription_weight(const struct consumer_subscription *subscription)
{
    return subscription ? subscription->key.size + 24 * (size_t)subscription->name_count : 0;
}

void consumer_member_subscribe(struct group *group, struct group_member *member,
                               struct consumer_subscription *subscription)
{
    struct consumer_subscription *old = member->consumer->subscription;
    size_t more = consumer_subscription_weight(subscription);
    size_t less = consumer_subscription_weight(old);
    member->bytes = member->bytes + more - less;
    group->bytes = group->bytes + more - less;
    member->consumer->subscription = subscription;
    consumer_subscription_let_go(group, old);
}

void consumer_member_free(struct group *group, struct group_member *member)
{
    struct consumer_member *consumer = member->consumer;
    if (!consumer)
        return;
    consumer_release(group, consumer);
    consumer_set_free(group, &consumer->target);
    consumer_member_subscribe(group, member, NULL);
    group_span_free(&consumer->rack);
    free(consumer);
    member->consumer = NULL;
}

void consumer_members_gone(struct group *group, struct group_step *step)
{
    if (group->member_count == 0)
        group->empty_since_ms = step->wall_ms;
    if (!migrate_downgrade(group, step))
        consumer_rebalance(group, step);
}

// --- the request ---------------------------------------------------------------------------------

static bool is_configured(const struct group_step *step, enum group_assignor assignor)
{
    return assignor != GROUP_NO_ASSIGNOR &&
           (step->limits->assignors[0] == assignor || step->limits->assignors[1] == assignor);
}

static bool is_text(struct span text, size_t max)
{
    return !text.data || (text.size > 0 && text.size <= max);
}

static bool lists_too_much(const struct group *group,
                           const struct kp_consumer_group_heartbeat_request *in)
{
    uint64_t count = 0;
    for (int32_t i = 0; i < in->topic_partitions_count; i++)
        count += 1 + (uint64_t)in->topic_partitions[i].partitions_count;
    return count > CONSUMER_OWNED_MAX && count > 2 * (uint64_t)group->consumer.parts;
}

static bool joins_rightly(const struct kp_consumer_group_heartbeat_request *in, int16_t version)
{
    return in->rebalance_timeout_ms >= 0 && in->topic_partitions_count == 0 &&
           (in->subscribed_topic_names_count >= 0 || in->subscribed_topic_regex.data) &&
           (in->member_id.size > 0 || version == 0);
}

static int16_t check_request(const struct group *group, const struct group_step *step,
                             const struct group_ask *ask)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    if (!is_text(in->instance_id, GROUP_INSTANCE_ID_MAX) ||
        !is_text(in->rack_id, CONSUMER_TEXT_MAX) || in->member_id.size > CONSUMER_TEXT_MAX ||
        in->rebalance_timeout_ms < -1 || lists_too_much(group, in))
        return KP_ERROR_INVALID_REQUEST;
    if (in->member_epoch == 0 ? !joins_rightly(in, ask->version) : in->member_id.size == 0)
        return KP_ERROR_INVALID_REQUEST;
    if (in->member_epoch < CONSUMER_LEFT ||
        (in->member_epoch == CONSUMER_LEFT && !in->instance_id.data))
        return KP_ERROR_INVALID_REQUEST;
    if (in->server_assignor.size && !is_configured(step, group_assignor_find(in->server_assignor)))
        return KP_ERROR_UNSUPPORTED_ASSIGNOR;
    return 0;
}

// --- the answer ----------------------------------------------------------------------------------

static uint32_t count_topics(const struct consumer_set *set)
{
    uint32_t topics = 0;
    for (uint32_t i = 0; i < set->count; i++)
        topics += i == 0 || set->parts[i].topic != set->parts[i - 1].topic;
    return topics;
}

static bool tell_assignment(struct group_ask *ask, const struct consumer_set *set)
{
    struct kp_consumer_group_heartbeat_response *out = ask->out;
    struct kp_consumer_group_heartbeat_response_assignment *to =
        arena_alloc(ask->arena, sizeof(*to));
    int32_t *numbers = arena_array(ask->arena, set->count, sizeof(*numbers));
    if (!to || !numbers)
        return false;
    kp_consumer_group_heartbeat_response_assignment_init(to);
    to->topic_partitions =
        arena_array(ask->arena, count_topics(set), sizeof(*to->topic_partitions));
    if (!to->topic_partitions)
        return false;
    struct kp_consumer_group_heartbeat_response_topic_partition *topic = NULL;
    for (uint32_t i = 0; i < set->count; i++) {
        if (i == 0 || set->parts[i].topic != set->parts[i - 1].topic) {
            topic = &to->topic_partitions[to->topic_partitions_count++];
            kp_consumer_group_heartbeat_response_topic_partition_init(topic);
            topic->topic_id = set->parts[i].topic->id;
            topic->partitions = &numbers[i];
        }
        numbers[i] = set->parts[i].partition;
        topic->partitions_count++;
    }
    out->assignment = to;
    return true;
}

static void answer(struct group_step *step, struct group_ask *ask,
                   const struct group_member *member, bool with_assignment)
{
    struct kp_consumer_group_heartbeat_response *out = ask->out;
    kp_consumer_group_heartbeat_response_init(out);
    out->member_epoch = member->consumer->epoch;
    out->heartbeat_interval_ms = step->limits->consumer_heartbeat_interval_ms;
    if (!group_arena_copy(step, ask, member->id, &out->member_id) ||
        (with_assignment && !tell_assignment(ask, &member->consumer->assigned))) {
        group_refuse(step, ask, -1);
        return;
    }
    group_answer(step, ask);
}

// --- what members say of themselves --------------------------------------------------------------

// What a member is subscribed to by this request, held. `member` NULL: a new one.
static int want(struct group *group, struct group_step *step,
                const struct kp_consumer_group_heartbeat_request *in,
                const struct group_member *member, struct consumer_subscription **out)
{
    const struct consumer_subscription *now =
        member && member->consumer ? member->consumer->subscription : NULL;
    const struct span *names = in->subscribed_topic_names;
    uint32_t count = (uint32_t)in->subscribed_topic_names_count;
    struct span regex = in->subscribed_topic_regex;
    if (in->subscribed_topic_names_count < 0) {
        names = now ? now->names : NULL;
        count = now ? now->name_count : 0;
    }
    if (!regex.data && now)
        regex = now->regex;
    int error = consumer_subscription_hold(group, step, names, count, regex, out);
    if (error)
        return error;
    size_t others = group->bytes - consumer_subscription_weight(now);
    if (others + consumer_subscription_weight(*out) <= GROUP_BYTES_MAX)
        return 0;
    consumer_subscription_let_go(group, *out);
    return KP_ERROR_GROUP_MAX_SIZE_REACHED;
}

bool consumer_member_set_rack(struct consumer_member *consumer, struct span rack, bool *changed)
{
    if (!rack.data || span_equal(rack, consumer->rack))
        return true;
    struct span copy = group_copy(rack);
    if (!copy.data)
        return false;
    group_span_free(&consumer->rack);
    consumer->rack = copy;
    *changed = true;
    return true;
}

static void update_numbers(struct group_member *member,
                           const struct kp_consumer_group_heartbeat_request *in, bool *changed)
{
    int32_t ms = in->rebalance_timeout_ms;
    if (ms > GROUP_REBALANCE_MS_MAX)
        ms = GROUP_REBALANCE_MS_MAX;
    if (ms < 0 || ms == member->rebalance_ms)
        return;
    member->rebalance_ms = ms;
    *changed = true;
}

// Takes over what the request says of a member. 0 or an error; *rebalance: the group must know.
static int update(struct group *group, struct group_step *step, struct group_member *member,
                  const struct kp_consumer_group_heartbeat_request *in, bool *rebalance)
{
    struct consumer_member *consumer = member->consumer;
    struct consumer_subscription *wanted = NULL;
    bool changed = !member->durable;
    if (in->subscribed_topic_names_count >= 0 || in->subscribed_topic_regex.data) {
        int error = want(group, step, in, member, &wanted);
        if (error)
            return error;
        if (wanted != consumer->subscription)
            changed = *rebalance = true;
        consumer_member_subscribe(group, member, wanted);
    }
    enum group_assignor assignor = group_assignor_find(in->server_assignor);
    if (assignor != GROUP_NO_ASSIGNOR && assignor != consumer->assignor) {
        consumer->assignor = assignor;
        changed = *rebalance = true;
    }
    update_numbers(member, in, &changed);
    if (!consumer_member_set_rack(consumer, in->rack_id, &changed))
        return -1;
    if (changed) {
        consumer_write_member(step, group, member);
        member->durable = true;
    }
    return 0;
}

// What follows when a member is up to date with its request.
static void serve(struct group *group, struct group_step *step, struct group_ask *ask,
                  struct group_member *member, bool full, bool rebalance)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    const struct consumer_owned owned = {in->topic_partitions, in->topic_partitions_count};
    bool changed;
    if (rebalance)
        consumer_rebalance(group, step);
    group_member_touch(group, step, member);
    if (member->consumer->subscription->broken) {
        group_refuse(step, ask, KP_ERROR_INVALID_REGULAR_EXPRESSION);
        return;
    }
    if (!consumer_reconcile(group, step, member, &owned, &changed)) {
        group_refuse(step, ask, -1);
        return;
    }
    answer(step, ask, member, full || changed);
}

// --- joining -------------------------------------------------------------------------------------

// False without memory.
static bool become_consumer(struct group *group, struct group_step *step)
{
    if (group->type == GROUP_CONSUMER)
        return true;
    if (group->member_count)
        return migrate_upgrade(group, step);
    struct span type = group_copy(span_text("consumer"));
    if (!type.data)
        return false;
    list_each(node, &group->pending)
        group_pending_remove(group, list_entry(node, struct group_pending, node));
    group_span_free(&group->protocol_type);
    group->protocol_type = type;
    group->type = GROUP_CONSUMER;
    group->consumer.dirty = false;
    group->consumer.hash = 0;
    return true;
}

static struct group_identity identity_of(const struct group_ask *ask, struct span id)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    return (struct group_identity){
        .id = id,
        .instance_id = in->instance_id,
        .client_id = ask->client_id,
        .client_host = ask->client_host,
    };
}

static struct group_member *add_member(struct group *group, struct group_step *step,
                                       const struct group_identity *identity)
{
    if (!become_consumer(group, step))
        return NULL;
    struct group_member *member = group_member_add(group, identity);
    if (!member)
        return NULL;
    member->consumer = consumer_member_new();
    if (member->consumer)
        return member;
    group_member_drop(group, member);
    return NULL;
}

static void join_new(struct group *group, struct group_step *step, struct group_ask *ask,
                     struct span id)
{
    struct group_identity identity = identity_of(ask, id);
    struct consumer_subscription *wanted;
    bool rebalance = true;
    int error = group->bytes + group_identity_size(&identity) > GROUP_BYTES_MAX
                    ? KP_ERROR_GROUP_MAX_SIZE_REACHED
                    : want(group, step, ask->in, NULL, &wanted);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    struct group_member *member = add_member(group, step, &identity);
    if (!member) {
        consumer_subscription_let_go(group, wanted);
        group_refuse(step, ask, -1);
        return;
    }
    member->session_ms = step->limits->consumer_session_timeout_ms;
    consumer_member_subscribe(group, member, wanted);
    error = update(group, step, member, ask->in, &rebalance);
    if (error)
        group_refuse(step, ask, -1);
    else
        serve(group, step, ask, member, true, rebalance);
}

// Who joins again, with the same id, has given up all it had. It is told the epoch anew.
static void join_again(struct group *group, struct group_step *step, struct group_ask *ask,
                       struct group_member *member)
{
    bool rebalance = group->consumer.dirty; // a group that was turned for this member
    int error = update(group, step, member, ask->in, &rebalance);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    if (member->consumer->epoch == CONSUMER_LEFT)
        member->consumer->epoch = 0;
    serve(group, step, ask, member, true, rebalance);
}

// A static member of the classic protocol, by a new process that speaks this one and has nothing.
static void come_over(struct group *group, const struct group_step *step,
                      struct group_member *member)
{
    group_offers_set(group, member, NULL);
    member->session_ms = step->limits->consumer_session_timeout_ms;
    member->consumer->classic_due_ms = INT64_MAX;
    member->consumer->epoch = 0;
    member->consumer->previous_epoch = 0;
}

static void return_static(struct group *group, struct group_step *step, struct group_ask *ask,
                          struct group_member *former)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    struct group_identity identity = identity_of(ask, in->member_id);
    struct consumer_subscription *wanted;
    int error = want(group, step, in, former, &wanted);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    struct group_member *member = NULL;
    if (become_consumer(group, step))
        member = group_member_replace(group, step, former, &identity);
    if (!member) {
        consumer_subscription_let_go(group, wanted);
        group_refuse(step, ask, -1);
        return;
    }
    if (member->offers)
        come_over(group, step, member);
    if (member->consumer->target.count)
        consumer_write_target(step, group, member);
    join_again(group, step, ask, member);
    consumer_subscription_let_go(group, wanted);
}

static bool is_full(const struct group *group, const struct group_step *step)
{
    return group->member_count >= step->limits->consumer_max_members;
}

// Whether the instance id is in use by a process that speaks this protocol.
static bool is_unreleased(const struct group_member *holder)
{
    return !holder->offers && holder->consumer->epoch != CONSUMER_LEFT;
}

static void join(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    uint8_t text[GROUP_MEMBER_ID_MAX];
    struct group_member *member = group_member_find(group, in->member_id);
    struct group_member *holder = group_member_find_instance(group, in->instance_id);
    if (group->type == GROUP_CLASSIC && group->member_count && !migrate_may_upgrade(group, step))
        group_refuse(step, ask, KP_ERROR_GROUP_ID_NOT_FOUND);
    else if (holder && holder != member && is_unreleased(holder))
        group_refuse(step, ask, KP_ERROR_UNRELEASED_INSTANCE_ID);
    else if (member && (member->offers || (in->instance_id.data && holder != member)))
        group_refuse(step, ask, KP_ERROR_INVALID_REQUEST); // its id is another's
    else if (member)
        join_again(group, step, ask, member);
    else if (holder)
        return_static(group, step, ask, holder);
    else if (is_full(group, step))
        group_refuse(step, ask, KP_ERROR_GROUP_MAX_SIZE_REACHED);
    else if (in->member_id.size)
        join_new(group, step, ask, in->member_id);
    else
        join_new(group, step, ask, group_member_make_id(step->random, (struct span){0}, text));
}

// --- staying and leaving -------------------------------------------------------------------------

// Who was in the group before it became a classic one is to join it, and turn it, again; but not if
// somebody else has come under its instance id.
static int16_t find_in_classic(const struct group *group, const struct group_step *step,
                               const struct kp_consumer_group_heartbeat_request *in)
{
    const struct group_member *holder = group_member_find_instance(group, in->instance_id);
    if (holder && !span_equal(holder->id, in->member_id))
        return KP_ERROR_FENCED_INSTANCE_ID;
    return group->member_count && !migrate_is_open(group, step) ? KP_ERROR_GROUP_ID_NOT_FOUND
                                                                : KP_ERROR_UNKNOWN_MEMBER_ID;
}

static int16_t find(const struct group *group, const struct group_step *step,
                    const struct kp_consumer_group_heartbeat_request *in, struct group_member **out)
{
    if (group->type != GROUP_CONSUMER)
        return find_in_classic(group, step, in);
    int16_t error = group_member_check(group, in->member_id, in->instance_id, out);
    return !error && (*out)->offers ? KP_ERROR_UNKNOWN_MEMBER_ID : error;
}

static bool is_fenced(struct group *group, const struct kp_consumer_group_heartbeat_request *in,
                      const struct consumer_member *consumer)
{
    const struct consumer_owned owned = {in->topic_partitions, in->topic_partitions_count};
    if (in->member_epoch == consumer->epoch)
        return false;
    return in->member_epoch != consumer->previous_epoch ||
           !consumer_owns_no_more(group, &owned, consumer);
}

static void stay(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    struct group_member *member = NULL;
    bool rebalance = false;
    int error = find(group, step, in, &member);
    if (!error && is_fenced(group, in, member->consumer))
        error = KP_ERROR_FENCED_MEMBER_EPOCH;
    if (!error)
        error = update(group, step, member, in, &rebalance);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    bool full = in->topic_partitions_count >= 0 && in->rebalance_timeout_ms >= 0 &&
                (in->subscribed_topic_names_count >= 0 || in->subscribed_topic_regex.data);
    serve(group, step, ask, member, full || in->member_epoch != member->consumer->epoch, rebalance);
}

static void leave_for_a_while(struct group *group, struct group_step *step,
                              struct group_member *member)
{
    struct consumer_member *consumer = member->consumer;
    consumer_release_revoking(group, consumer);
    consumer->epoch = CONSUMER_LEFT;
    consumer->previous_epoch = CONSUMER_LEFT;
    consumer->state = CONSUMER_STABLE;
    consumer->revoke_due_ms = INT64_MAX;
    consumer_write_current(step, group, member);
    group_member_touch(group, step, member);
}

static void leave(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    struct kp_consumer_group_heartbeat_response *out = ask->out;
    struct group_member *member = NULL;
    int16_t error = find(group, step, in, &member);
    if (error) {
        group_refuse(step, ask, error);
        return;
    }
    if (in->member_epoch == CONSUMER_LEFT) {
        leave_for_a_while(group, step, member);
    } else {
        group_member_remove(group, step, member);
        consumer_members_gone(group, step);
    }
    kp_consumer_group_heartbeat_response_init(out);
    out->member_id = in->member_id;
    out->member_epoch = in->member_epoch;
    group_answer(step, ask);
}

void consumer_heartbeat(struct group *group, struct group_step *step, struct group_ask *ask)
{
    const struct kp_consumer_group_heartbeat_request *in = ask->in;
    int16_t error = check_request(group, step, ask);
    if (error)
        group_refuse(step, ask, error);
    else if (in->member_epoch == 0)
        join(group, step, ask);
    else if (in->member_epoch > 0)
        stay(group, step, ask);
    else
        leave(group, step, ask);
}

// --- offsets -------------------------------------------------------------------------------------

int16_t consumer_may_commit(struct group *group, struct group_step *step, struct span member_id,
                            struct span instance_id, int32_t epoch, int16_t version)
{
    if (epoch < 0 && group->member_count == 0)
        return 0; // a consumer outside of the group, or an administrator
    const struct group_member *holder = group_member_find_instance(group, instance_id);
    if (holder && holder->offers && !span_equal(holder->id, member_id))
        return KP_ERROR_FENCED_INSTANCE_ID;
    const struct group_member *member = group_member_find(group, member_id);
    if (!member)
        return KP_ERROR_UNKNOWN_MEMBER_ID;
    if (member->offers)
        return mixed_may_commit(group, step, member_id, instance_id, epoch);
    if (version < 9)
        return KP_ERROR_UNSUPPORTED_VERSION;
    bool fits = epoch == member->consumer->epoch || group_planted(GROUP_PLANT_COMMIT_ANY_EPOCH);
    return fits ? 0 : KP_ERROR_STALE_MEMBER_EPOCH;
}

int16_t consumer_may_fetch(struct group *group, struct span member_id, int32_t epoch)
{
    if (!member_id.data && epoch < 0)
        return 0;
    const struct group_member *member = group_member_find(group, member_id);
    if (!member)
        return KP_ERROR_UNKNOWN_MEMBER_ID;
    if (epoch == member->consumer->epoch)
        return 0;
    return member->offers ? KP_ERROR_ILLEGAL_GENERATION : KP_ERROR_STALE_MEMBER_EPOCH;
}

// --- time ----------------------------------------------------------------------------------------

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void end_sessions(struct group *group, struct group_step *step)
{
    bool gone = false;
    group->members_due_ms = INT64_MAX;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        const struct consumer_member *consumer = member->consumer;
        int64_t due_ms = earlier(member->deadline_ms,
                                 earlier(consumer->revoke_due_ms, consumer->classic_due_ms));
        if (due_ms <= step->now_ms) {
            group_member_remove(group, step, member);
            gone = true;
        } else if (due_ms < group->members_due_ms) {
            group->members_due_ms = due_ms;
        }
    }
    group_pending_expire(group, step);
    if (gone)
        consumer_members_gone(group, step);
}

void consumer_time(struct group *group, struct group_step *step)
{
    if (step->now_ms >= group->members_due_ms)
        end_sessions(group, step);
    if (group->type != GROUP_CONSUMER || step->now_ms < group->consumer.work_due_ms)
        return;
    consumer_subscriptions_work(group, step);
    if (!step->failed)
        consumer_target_settle(group, step);
}

void consumer_catalog_changed(struct group *group, struct group_step *step)
{
    consumer_subscriptions_refresh(group, step);
    if (!step->failed)
        consumer_target_settle(group, step);
}

// --- what it looks like from outside -------------------------------------------------------------

const char *consumer_state_name(const struct group *group)
{
    if (group->member_count == 0)
        return "Empty";
    if (group->consumer.dirty)
        return "Assigning";
    list_each(node, &group->members) {
        const struct consumer_member *consumer =
            list_entry(node, struct group_member, node)->consumer;
        if (consumer->state != CONSUMER_STABLE || consumer->epoch != group->generation)
            return "Reconciling";
    }
    return "Stable";
}
