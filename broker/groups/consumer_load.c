// SPDX-License-Identifier: Apache-2.0
// Groups of the consumer protocol made from their records; see group_load.c.
//
// 1. Targets and what members have wait until all members are there.
// 2. A member that has a partition that another one has too is dropped. A partition that is in two
//    targets makes new ones be computed.
// 3. Whether topics have changed meanwhile shows when everything that members want is looked up;
//    patterns are matched after the start, and until that is done the targets stay.
#include <errno.h>
#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "gen/kp_consumer_group_heartbeat.h"

enum { PARTITION_MAX = 10000000 }; // beyond any that there is

struct loaded_record {
    struct list node;
    enum group_record_kind kind;
    struct span id;
    struct span value;
    uint8_t bytes[]; // the id, then the value
};

// --- record by record ----------------------------------------------------------------------------

static int load_group(struct group *group, const msgpack_object *value)
{
    int64_t epoch;
    int64_t hash;
    if (group->durable || !pack_integer(pack_find(value, "epoch"), 0, INT32_MAX, &epoch) ||
        !pack_integer(pack_find(value, "since"), INT64_MIN, INT64_MAX, &group->empty_since_ms) ||
        !pack_integer(pack_find(value, "hash"), INT64_MIN, INT64_MAX, &hash))
        return -EBADMSG;
    group->protocol_type = group_copy(span_text("consumer"));
    if (!group->protocol_type.data)
        return -ENOMEM;
    group->type = GROUP_CONSUMER;
    group->durable = true;
    group->generation = (int32_t)epoch;
    group->consumer.hash = (uint64_t)hash;
    return 0;
}

static int keep(struct group *group, const struct group_record *record, struct span value)
{
    struct loaded_record *kept = malloc(sizeof(*kept) + record->member_id.size + value.size);
    if (!kept)
        return -ENOMEM;
    *kept = (struct loaded_record){.kind = record->kind};
    memcpy(kept->bytes, record->member_id.data, record->member_id.size);
    memcpy(kept->bytes + record->member_id.size, value.data, value.size);
    kept->id = span_of(kept->bytes, record->member_id.size);
    kept->value = span_of(kept->bytes + record->member_id.size, value.size);
    list_append(&group->consumer.loaded, &kept->node);
    return 0;
}

int consumer_load(struct group *group, const struct group_record *record, struct span value)
{
    if (record->kind == GROUP_RECORD_GROUP)
        return load_group(group, record->value);
    return keep(group, record, value);
}

static void forget(struct loaded_record *record)
{
    list_remove(&record->node);
    free(record);
}

bool consumer_load_is_ours(const struct group_record *record)
{
    if (record->kind == GROUP_RECORD_CURRENT)
        return true;
    if (record->kind == GROUP_RECORD_GROUP) {
        struct span type;
        return pack_text(pack_find(record->value, "type"), &type) &&
               span_equal(type, span_text("consumer"));
    }
    return pack_find(record->value, record->kind == GROUP_RECORD_MEMBER ? "topics" : "parts");
}

bool consumer_load_mark_all_stale(struct group *group)
{
    bool marked = true;
    list_each(node, &group->consumer.loaded)
        marked = group_load_mark_stale(group, list_entry(node, struct loaded_record, node)->id) &&
                 marked;
    return marked;
}

void consumer_load_forget(struct group *group)
{
    list_each(node, &group->consumer.loaded)
        forget(list_entry(node, struct loaded_record, node));
}

// --- members -------------------------------------------------------------------------------------

static int read_names(const msgpack_object *list, struct span **out, uint32_t *count)
{
    struct span *names = NULL;
    *count = 0;
    for (const msgpack_object *item; (item = pack_item(list, *count));) {
        if ((*count & (*count - 1)) == 0) {
            struct span *more = realloc(names, 2 * (*count + 1u) * sizeof(*names));
            if (!more) {
                free(names);
                return -ENOMEM;
            }
            names = more;
        }
        if (!pack_text(item, &names[*count])) {
            free(names);
            return -EBADMSG;
        }
        ++*count;
    }
    *out = names;
    return 0;
}

static int load_subscription(struct group *group, struct group_step *step,
                             struct group_member *member, const msgpack_object *value)
{
    struct span *names;
    uint32_t count;
    struct span regex = {0};
    struct consumer_subscription *subscription;
    int error = read_names(pack_find(value, "topics"), &names, &count);
    if (error)
        return error;
    pack_text(pack_find(value, "regex"), &regex);
    error = consumer_subscription_hold(group, step, names, count, regex, &subscription);
    free(names);
    if (error)
        return error > 0 ? -EBADMSG : error;
    consumer_member_subscribe(group, member, subscription);
    return 0;
}

// What makes it a member of the classic protocol; NULL: nothing.
static int load_classic(struct group *group, struct group_member *member,
                        const msgpack_object *value)
{
    struct group_offers *offers;
    int64_t session_ms;
    if (!value)
        return 0;
    if (!pack_integer(pack_find(value, "session_ms"), 0, INT32_MAX, &session_ms))
        return -EBADMSG;
    int error = group_load_offers(group, pack_find(value, "protocols"), &offers);
    if (error)
        return error;
    group_offers_set(group, member, offers);
    member->session_ms = (int32_t)session_ms;
    return 0;
}

static int load_details(struct group *group, struct group_step *step, struct group_member *member,
                        const msgpack_object *value)
{
    struct span text;
    int64_t number;
    int error = load_subscription(group, step, member, value);
    if (error)
        return error;
    if (!pack_integer(pack_find(value, "rebalance_ms"), 0, INT32_MAX, &number))
        return -EBADMSG;
    member->rebalance_ms = (int32_t)number;
    if (!pack_integer(pack_find(value, "joined"), 0, INT64_MAX, &number))
        return -EBADMSG;
    member->joined = (uint64_t)number;
    if (member->joined > group->last_joined)
        group->last_joined = member->joined;
    if (pack_text(pack_find(value, "assignor"), &text))
        member->consumer->assignor = group_assignor_find(text);
    error = load_classic(group, member, pack_find(value, "classic"));
    if (error)
        return error;
    if (pack_text(pack_find(value, "rack"), &text)) {
        member->consumer->rack = group_copy(text);
        if (!member->consumer->rack.data)
            return -ENOMEM;
    }
    return 0;
}

static int load_member(struct group *group, struct group_step *step, struct span id,
                       const msgpack_object *value)
{
    struct group_identity identity = {.id = id};
    pack_text(pack_find(value, "instance"), &identity.instance_id);
    if (!pack_text(pack_find(value, "client_id"), &identity.client_id) ||
        !pack_text(pack_find(value, "client_host"), &identity.client_host) ||
        group_member_find(group, id) || group_member_find_instance(group, identity.instance_id))
        return -EBADMSG;
    struct group_member *member = group_member_add(group, &identity);
    if (!member)
        return -ENOMEM;
    member->consumer = consumer_member_new();
    int error = member->consumer ? load_details(group, step, member, value) : -ENOMEM;
    if (error)
        group_member_drop(group, member);
    else
        member->durable = true;
    return error;
}

// --- what members have and shall have ------------------------------------------------------------

struct loading {
    struct group *group;
    const struct catalog *catalog;
    struct consumer_part_list list;
};

static int read_topic(struct loading *loading, const msgpack_object *list)
{
    struct kp_uuid id;
    int64_t partition;
    if (!pack_uuid(pack_item(list, 0), &id) ||
        !pack_integer(pack_item(list, 1), 0, PARTITION_MAX, &partition))
        return -EBADMSG;
    const struct catalog_topic *from =
        loading->catalog ? catalog_find_id(loading->catalog, id) : NULL;
    struct consumer_topic *topic = consumer_topic_get(loading->group, id, from);
    if (!topic)
        return -ENOMEM;
    topic->holds++; // of this function
    int error = 0;
    const msgpack_object *item;
    for (uint32_t i = 1; !error && (item = pack_item(list, i)); i++) {
        if (!pack_integer(item, 0, PARTITION_MAX, &partition))
            error = -EBADMSG;
        else if (!consumer_part_list_add(&loading->list, topic, (int32_t)partition))
            error = -ENOMEM;
    }
    consumer_topic_let_go(loading->group, topic);
    return error;
}

// The parts of a record, sorted, each once.
static int read_parts(struct loading *loading, const msgpack_object *list)
{
    int error = 0;
    const msgpack_object *item;
    for (uint32_t i = 0; !error && (item = pack_item(list, i)); i++)
        error = read_topic(loading, item);
    const struct consumer_part_list *parts = &loading->list;
    if (error || parts->count == 0)
        return error;
    qsort(parts->parts, parts->count, sizeof(*parts->parts), consumer_part_compare);
    for (uint32_t i = 1; i < parts->count; i++)
        if (consumer_part_compare(&parts->parts[i - 1], &parts->parts[i]) == 0)
            return -EBADMSG;
    return 0;
}

static bool has_holder(const struct consumer_part_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (consumer_holder(&list->parts[i]))
            return true;
    return false;
}

static int load_held(struct loading *loading, struct consumer_member *consumer,
                     const msgpack_object *list, struct consumer_set *set)
{
    int error = read_parts(loading, list);
    if (!error && has_holder(&loading->list))
        error = -EBADMSG;
    const struct consumer_part_list *parts = &loading->list;
    if (!error && !consumer_set_replace(loading->group, set, parts->parts, parts->count))
        error = -ENOMEM;
    if (!error && !consumer_hold(parts->parts, parts->count, consumer)) {
        consumer_set_free(loading->group, set);
        error = -ENOMEM;
    }
    consumer_part_list_empty(loading->group, &loading->list);
    return error;
}

static int load_current(struct loading *loading, struct group_member *member,
                        const msgpack_object *value)
{
    struct consumer_member *consumer = member->consumer;
    int64_t epoch;
    int64_t previous;
    int64_t state;
    if (!pack_integer(pack_find(value, "epoch"), CONSUMER_LEFT, INT32_MAX, &epoch) ||
        !pack_integer(pack_find(value, "previous"), CONSUMER_LEFT, INT32_MAX, &previous) ||
        !pack_integer(pack_find(value, "state"), 0, CONSUMER_UNRELEASED, &state))
        return -EBADMSG;
    int error = load_held(loading, consumer, pack_find(value, "assigned"), &consumer->assigned);
    if (!error)
        error = load_held(loading, consumer, pack_find(value, "revoking"), &consumer->revoking);
    consumer->epoch = (int32_t)epoch;
    consumer->previous_epoch = (int32_t)previous;
    consumer->state = (enum consumer_state)state;
    return error;
}

static int load_target(struct loading *loading, struct group_member *member,
                       const msgpack_object *value)
{
    int error = read_parts(loading, pack_find(value, "parts"));
    if (!error && !consumer_set_replace(loading->group, &member->consumer->target,
                                        loading->list.parts, loading->list.count))
        error = -ENOMEM;
    consumer_part_list_empty(loading->group, &loading->list);
    return error;
}

// --- all together --------------------------------------------------------------------------------

// A member that cannot be used goes, with all its records.
static bool settle(struct group *group, struct loaded_record *record, struct group_member *member,
                   int error)
{
    if (error == -ENOMEM)
        return false;
    if (error && member)
        return group_load_drop(group, member);
    return !error || group_load_mark_stale(group, record->id);
}

static bool place_members(struct group *group, struct group_step *step)
{
    list_each(node, &group->consumer.loaded) {
        struct loaded_record *record = list_entry(node, struct loaded_record, node);
        struct pack_reader reader = {0};
        const msgpack_object *value;
        if (record->kind != GROUP_RECORD_MEMBER)
            continue;
        int error = pack_read(&reader, record->value, &value);
        if (!error)
            error = load_member(group, step, record->id, value);
        bool placed = settle(group, record, NULL, error);
        pack_reader_free(&reader);
        forget(record);
        if (!placed)
            return false;
    }
    return true;
}

static int place_one(struct loading *loading, const struct loaded_record *record,
                     struct group_member *member)
{
    struct pack_reader reader = {0};
    const msgpack_object *value;
    int error = pack_read(&reader, record->value, &value);
    if (!error && record->kind == GROUP_RECORD_CURRENT) {
        member->consumer->has_current = true;
        error = load_current(loading, member, value);
    } else if (!error) {
        member->has_target = true;
        error = load_target(loading, member, value);
    }
    pack_reader_free(&reader);
    return error;
}

static bool place_rest(struct group *group, struct group_step *step)
{
    struct loading loading = {.group = group, .catalog = step->catalog};
    bool placed = true;
    list_each(node, &group->consumer.loaded) {
        struct loaded_record *record = list_entry(node, struct loaded_record, node);
        struct group_member *member = group_member_find(group, record->id);
        if (placed) {
            int error = member ? place_one(&loading, record, member) : -EBADMSG;
            placed = settle(group, record, member, error);
        }
        forget(record);
    }
    free(loading.list.parts);
    return placed;
}

// Whether no partition is in two targets. False without memory, too: then they are computed anew.
static bool targets_are_sound(const struct group *group)
{
    uint32_t count = 0;
    bool sound = true;
    struct consumer_part *all = malloc((group->consumer.parts + 1) * sizeof(*all));
    list_each(node, &group->members) {
        const struct consumer_set *target =
            &list_entry(node, struct group_member, node)->consumer->target;
        for (uint32_t i = 0; i < target->count && all; i++)
            all[count++] = target->parts[i];
    }
    if (count > 1)
        qsort(all, count, sizeof(*all), consumer_part_compare);
    for (uint32_t i = 1; i < count; i++)
        sound = sound && consumer_part_compare(&all[i - 1], &all[i]) != 0;
    free(all);
    return sound && all;
}

// What does not fit together shows as a member that has yet to get to its target.
static void settle_state(const struct group *group, struct consumer_member *consumer)
{
    const struct consumer_set *target = &consumer->target;
    bool there = consumer->epoch == group->generation &&
                 consumer_set_equal(&consumer->assigned, target->parts, target->count);
    if (consumer->revoking.count)
        consumer->state = CONSUMER_UNREVOKED;
    else if (consumer->state == CONSUMER_UNREVOKED ||
             (consumer->epoch == group->generation && !there))
        consumer->state = CONSUMER_UNRELEASED;
}

static void begin(struct group *group, struct group_step *step, struct group_member *member)
{
    struct consumer_member *consumer = member->consumer;
    if (consumer->epoch > group->generation) {
        group->generation = consumer->epoch;
        group->consumer.dirty = true;
    }
    settle_state(group, consumer);
    if (!member->offers)
        member->session_ms = step->limits->consumer_session_timeout_ms;
    group_member_touch(group, step, member);
    if (consumer->state != CONSUMER_UNREVOKED)
        return;
    consumer->revoke_due_ms = step->now_ms + member->rebalance_ms;
    if (consumer->revoke_due_ms < group->members_due_ms)
        group->members_due_ms = consumer->revoke_due_ms;
}

// Classic members that have no protocol in common cannot be in one group.
static bool drop_at_odds(struct group *group)
{
    bool marked = true;
    if (group->offering == 0 || group_offers_vote(group))
        return true;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        if (member->offers)
            marked = group_load_drop(group, member) && marked;
    }
    return marked;
}

bool consumer_load_done(struct group *group, struct group_step *step)
{
    if (!place_members(group, step) || !place_rest(group, step) || !drop_at_odds(group))
        return false;
    list_each(node, &group->members)
        begin(group, step, list_entry(node, struct group_member, node));
    if (!targets_are_sound(group))
        group->consumer.dirty = true;
    group->consumer.work_due_ms = step->now_ms;
    return !step->failed;
}
