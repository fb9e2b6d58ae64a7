// SPDX-License-Identifier: Apache-2.0
// A group made from its records, after a start or a failed write.
//
// 1. Records come in any order; what belongs to a member waits until all are there.
// 2. A member comes back as the last step that was durable left it, with its whole session timeout.
//    Nobody waits: asks do not survive.
// 3. What does not fit together is dropped, not repaired: two members with one instance id, members
//    without a protocol in common, a phase that lacks what it needs (then the group rebalances).
//    Only records that were lost can lead there. The tombstones wait for the next step, which is
//    due at once: groups are loaded before anything can be written.
#include <errno.h>
#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "gen/kp_join_group.h"

struct loaded_target {
    struct list node;
    int32_t generation;
    size_t id_size;
    size_t assignment_size;
    uint8_t bytes[]; // the id, then the assignment
};

struct stale_record {
    struct list node;
    struct span id;
    uint8_t text[];
};

static void forget_loaded(struct group *group)
{
    list_each(node, &group->loaded_targets) {
        list_remove(node);
        free(list_entry(node, struct loaded_target, node));
    }
    group_span_free(&group->loaded_leader);
    consumer_load_forget(group);
}

void group_load_free(struct group *group)
{
    forget_loaded(group);
    list_each(node, &group->stale) {
        list_remove(node);
        free(list_entry(node, struct stale_record, node));
    }
}

bool group_load_mark_stale(struct group *group, struct span id)
{
    struct stale_record *stale = malloc(sizeof(*stale) + id.size);
    if (!stale)
        return false;
    memcpy(stale->text, id.data, id.size);
    stale->id = span_of(stale->text, id.size);
    list_append(&group->stale, &stale->node);
    return true;
}

bool group_load_drop(struct group *group, struct group_member *member)
{
    bool marked = group_load_mark_stale(group, member->id);
    group_member_drop(group, member);
    return marked;
}

void group_load_erase(struct group *group, struct group_step *step)
{
    struct list *node;
    while ((node = list_pop(&group->stale))) {
        struct stale_record *stale = list_entry(node, struct stale_record, node);
        group_erase_member(step, group, stale->id);
        group_erase_target(step, group, stale->id);
        group_erase_current(step, group, stale->id);
        free(stale);
    }
}

static bool load_phase(struct span name, enum classic_phase *out)
{
    static const char *const names[] = {"empty", "preparing", "completing", "stable"};
    for (uint32_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (span_equal(name, span_text(names[i]))) {
            *out = (enum classic_phase)i;
            return true;
        }
    }
    return false;
}

static int load_group(struct group *group, const msgpack_object *value)
{
    struct span type;
    struct span phase_name;
    struct span protocol_type;
    struct span protocol;
    struct span leader;
    int64_t generation;
    enum classic_phase phase;
    if (!pack_text(pack_find(value, "type"), &type) || !span_equal(type, span_text("classic")) ||
        !pack_integer(pack_find(value, "generation"), 0, INT32_MAX, &generation) ||
        !pack_text(pack_find(value, "phase"), &phase_name) || !load_phase(phase_name, &phase) ||
        !pack_integer(pack_find(value, "since"), INT64_MIN, INT64_MAX, &group->empty_since_ms) ||
        !pack_text(pack_find(value, "protocol_type"), &protocol_type) ||
        !pack_text(pack_find(value, "protocol"), &protocol) ||
        !pack_text(pack_find(value, "leader"), &leader) || group->durable)
        return -EBADMSG;
    group->durable = true;
    group->generation = (int32_t)generation;
    group->phase = phase;
    group->protocol_type = group_copy(protocol_type);
    group->loaded_leader = group_copy(leader);
    if (protocol.size)
        group->protocol = group_protocol_hold(group, protocol);
    bool whole = group->protocol_type.data && group->loaded_leader.data &&
                 (group->protocol || !protocol.size);
    return whole ? 0 : -ENOMEM;
}

int group_load_offers(struct group *group, const msgpack_object *list, struct group_offers **out)
{
    struct kp_join_group_request_protocol protocols[GROUP_PROTOCOLS_MAX];
    int32_t count = 0;
    const msgpack_object *item;
    while ((item = pack_item(list, (uint32_t)count))) {
        if (count == GROUP_PROTOCOLS_MAX ||
            !pack_text(pack_item(item, 0), &protocols[count].name) ||
            !pack_bytes(pack_item(item, 1), &protocols[count].metadata))
            return -EBADMSG;
        count++;
    }
    if (count == 0)
        return -EBADMSG;
    int error = group_offers_new(group, protocols, count, out);
    return error > 0 ? -EBADMSG : error;
}

static int load_member(struct group *group, struct span id, const msgpack_object *value)
{
    struct group_identity identity = {.id = id};
    int64_t session_ms;
    int64_t rebalance_ms;
    int64_t joined;
    struct group_offers *offers;
    pack_text(pack_find(value, "instance"), &identity.instance_id);
    if (!pack_text(pack_find(value, "client_id"), &identity.client_id) ||
        !pack_text(pack_find(value, "client_host"), &identity.client_host) ||
        !pack_integer(pack_find(value, "session_ms"), 0, INT32_MAX, &session_ms) ||
        !pack_integer(pack_find(value, "rebalance_ms"), 0, INT32_MAX, &rebalance_ms) ||
        !pack_integer(pack_find(value, "joined"), 0, INT64_MAX, &joined) ||
        group_member_find(group, id) || group_member_find_instance(group, identity.instance_id))
        return -EBADMSG;
    int error = group_load_offers(group, pack_find(value, "protocols"), &offers);
    if (error)
        return error;
    struct group_member *member = group_member_add(group, &identity);
    if (!member) {
        group_offers_free(group, offers);
        return -ENOMEM;
    }
    group_offers_set(group, member, offers);
    member->session_ms = (int32_t)session_ms;
    member->rebalance_ms = (int32_t)rebalance_ms;
    member->durable = true;
    member->joined = (uint64_t)joined;
    if (member->joined > group->last_joined)
        group->last_joined = member->joined;
    return 0;
}

static int load_target(struct group *group, struct span id, const msgpack_object *value)
{
    int64_t generation;
    struct span assignment;
    if (!pack_integer(pack_find(value, "generation"), 0, INT32_MAX, &generation) ||
        !pack_bytes(pack_find(value, "assignment"), &assignment))
        return -EBADMSG;
    struct loaded_target *target = malloc(sizeof(*target) + id.size + assignment.size);
    if (!target)
        return -ENOMEM;
    *target = (struct loaded_target){
        .generation = (int32_t)generation,
        .id_size = id.size,
        .assignment_size = assignment.size,
    };
    memcpy(target->bytes, id.data, id.size);
    if (assignment.size)
        memcpy(target->bytes + id.size, assignment.data, assignment.size);
    list_append(&group->loaded_targets, &target->node);
    return 0;
}

int group_load(struct group *group, struct span key, struct span value)
{
    struct group_record record;
    int error = group_record_read(key, value, &record);
    if (!error && record.kind != GROUP_RECORD_OTHER && !span_equal(record.group, group->name))
        error = -EBADMSG;
    if (!error && record.value) {
        if (consumer_load_is_ours(&record))
            error = consumer_load(group, &record, value);
        else if (record.kind == GROUP_RECORD_GROUP)
            error = load_group(group, record.value);
        else if (record.kind == GROUP_RECORD_MEMBER)
            error = load_member(group, record.member_id, record.value);
        else if (record.kind == GROUP_RECORD_TARGET)
            error = load_target(group, record.member_id, record.value);
    }
    group_record_free(&record);
    return error;
}

// --- when all are there --------------------------------------------------------------------------

static bool place_target(struct group *group, const struct loaded_target *target)
{
    struct span id = span_of(target->bytes, target->id_size);
    struct group_member *member = group_member_find(group, id);
    if (!member)
        return group_load_mark_stale(group, id);
    member->has_target = true;
    if (target->generation != group->generation || group->phase == CLASSIC_COMPLETING)
        return true;
    return group_member_assign(member,
                               span_of(target->bytes + target->id_size, target->assignment_size));
}

static int by_age(const void *a, const void *b)
{
    const struct group_member *const *left = a;
    const struct group_member *const *right = b;
    return ((*left)->joined > (*right)->joined) - ((*left)->joined < (*right)->joined);
}

static bool sort_members(struct group *group)
{
    uint32_t count = 0;
    struct group_member **members =
        malloc((group->member_count + 1u) * sizeof(struct group_member *));
    if (!members)
        return false;
    list_each(node, &group->members)
        members[count++] = list_entry(node, struct group_member, node);
    qsort(members, count, sizeof(struct group_member *), by_age);
    list_init(&group->members);
    for (uint32_t i = 0; i < count; i++)
        list_append(&group->members, &members[i]->node);
    free(members);
    return true;
}

// The consumer protocol has no use for what is left of the classic one.
static bool drop_classic(struct group *group)
{
    bool marked = true;
    list_each(node, &group->members)
        marked = group_load_drop(group, list_entry(node, struct group_member, node)) && marked;
    list_each(node, &group->loaded_targets) {
        const struct loaded_target *target = list_entry(node, struct loaded_target, node);
        marked = group_load_mark_stale(group, span_of(target->bytes, target->id_size)) && marked;
    }
    return marked;
}

static bool consumer_done(struct group *group, struct group_step *step)
{
    if (!drop_classic(group) || !consumer_load_done(group, step) || !sort_members(group))
        return false;
    forget_loaded(group);
    return true;
}

static bool classic_done(struct group *group, struct group_step *step)
{
    if (!consumer_load_mark_all_stale(group) || !sort_members(group))
        return false;
    group->leader =
        group->loaded_leader.data ? group_member_find(group, group->loaded_leader) : NULL;
    list_each(node, &group->loaded_targets) {
        if (!place_target(group, list_entry(node, struct loaded_target, node)))
            return false;
    }
    forget_loaded(group);
    return classic_load_done(group, step);
}

int group_load_done(struct group *group, struct group_step *step)
{
    bool done =
        group->type == GROUP_CONSUMER ? consumer_done(group, step) : classic_done(group, step);
    if (!done)
        return -ENOMEM;
    if (group->changed || !list_empty(&group->stale))
        group->members_due_ms = step->now_ms;
    return 0;
}
