// SPDX-License-Identifier: Apache-2.0
// What every group is and does, whatever its protocol: its life, the way of an ask to the code of
// its kind, answers, and what it looks like from outside.
//
// 1. A step ends with the group's own record, if the step has changed what is in it: the records
//    before it are those of members, so that a part of a step's records, in order, is sound.
// 2. An ask is parked in exactly one member, or is in `answers`; no path drops one.
// 3. Nothing is undone. A step that lacks memory says so (step->failed), and the group is made anew
//    from the image.
#include "broker/groups/group.h"

#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "gen/kp_consumer_group_describe.h"
#include "gen/kp_consumer_group_heartbeat.h"
#include "gen/kp_delete_groups.h"
#include "gen/kp_describe_groups.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_sync_group.h"

struct group *group_new(struct span name)
{
    struct group *group = calloc(1, sizeof(*group) + name.size);
    if (!group)
        return NULL;
    if (name.size)
        memcpy(group->text, name.data, name.size);
    group->name = span_of(group->text, name.size);
    list_init(&group->members);
    list_init(&group->pending);
    list_init(&group->loaded_targets);
    list_init(&group->stale);
    map_init(&group->by_id);
    map_init(&group->by_instance);
    map_init(&group->pending_by_id);
    map_init(&group->protocols);
    map_init(&group->topics.names);
    consumer_open(group);
    group->members_due_ms = INT64_MAX;
    group->phase_due_ms = INT64_MAX;
    group->empty_since_ms = INT64_MAX;
    return group;
}

void group_free(struct group *group)
{
    if (!group)
        return;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        CHECK(!member->ask);
        group_member_drop(group, member);
    }
    list_each(node, &group->pending)
        group_pending_remove(group, list_entry(node, struct group_pending, node));
    group_protocol_let_go(group, group->protocol);
    CHECK(group->protocols.count == 0);
    group_load_free(group);
    map_free(&group->by_id);
    map_free(&group->by_instance);
    map_free(&group->pending_by_id);
    map_free(&group->protocols);
    map_free(&group->topics.names);
    consumer_close(group);
    group_span_free(&group->protocol_type);
    free(group);
}

struct span group_copy(struct span bytes)
{
    uint8_t *copy = malloc(bytes.size ? bytes.size : 1);
    if (!copy)
        return (struct span){0};
    if (bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return span_of(copy, bytes.size);
}

void group_span_free(struct span *bytes)
{
    free((void *)(uintptr_t)bytes->data);
    *bytes = (struct span){0};
}

void group_write(struct group *group)
{
    group->changed = true;
}

// --- answers -------------------------------------------------------------------------------------

bool group_arena_copy(struct group_step *step, struct group_ask *ask, struct span bytes,
                      struct span *out)
{
    if (!bytes.data) {
        *out = bytes;
        return true;
    }
    uint8_t *copy = arena_raw(ask->arena, bytes.size);
    if (!copy) {
        step->failed = true;
        return false;
    }
    if (bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    *out = span_of(copy, bytes.size);
    return true;
}

void group_answer(struct group_step *step, struct group_ask *ask)
{
    list_append(step->answers, &ask->node);
}

static void fail_join(struct group_ask *ask, int16_t error)
{
    const struct kp_join_group_request *in = ask->in;
    struct kp_join_group_response *out = ask->out;
    kp_join_group_response_init(out);
    out->error_code = error;
    out->member_id = in->member_id;
}

static void fail_sync(struct group_ask *ask, int16_t error)
{
    struct kp_sync_group_response *out = ask->out;
    kp_sync_group_response_init(out);
    out->error_code = error;
}

static void fail_describe(struct group_ask *ask, int16_t error)
{
    struct kp_describe_groups_response_group *out = ask->out;
    struct span group_id = out->group_id;
    kp_describe_groups_response_group_init(out);
    out->group_id = group_id;
    out->error_code = error;
}

static void fail_consumer_heartbeat(struct group_ask *ask, int16_t error)
{
    struct kp_consumer_group_heartbeat_response *out = ask->out;
    kp_consumer_group_heartbeat_response_init(out);
    out->error_code = error;
    out->error_message = span_text(kp_error_text(error));
}

static void fail_consumer_describe(struct group_ask *ask, int16_t error)
{
    struct kp_consumer_group_describe_response_group *out = ask->out;
    struct span group_id = out->group_id;
    kp_consumer_group_describe_response_group_init(out);
    out->group_id = group_id;
    out->error_code = error;
}

void group_ask_fail(struct group_ask *ask, int16_t error)
{
    switch (ask->kind) {
    case GROUP_JOIN:
        fail_join(ask, error);
        break;
    case GROUP_SYNC:
        fail_sync(ask, error);
        break;
    case GROUP_HEARTBEAT:
        kp_heartbeat_response_init(ask->out);
        ((struct kp_heartbeat_response *)ask->out)->error_code = error;
        break;
    case GROUP_LEAVE:
        kp_leave_group_response_init(ask->out);
        ((struct kp_leave_group_response *)ask->out)->error_code = error;
        break;
    case GROUP_DESCRIBE:
        fail_describe(ask, error);
        break;
    case GROUP_DELETE:
        ((struct kp_delete_groups_response_group *)ask->out)->error_code = error;
        break;
    case GROUP_CONSUMER_HEARTBEAT:
        fail_consumer_heartbeat(ask, error);
        break;
    case GROUP_CONSUMER_DESCRIBE:
        fail_consumer_describe(ask, error);
        break;
    }
}

void group_answer_error(struct group_step *step, struct group_ask *ask, int16_t error)
{
    group_ask_fail(ask, error);
    group_answer(step, ask);
}

void group_refuse(struct group_step *step, struct group_ask *ask, int error)
{
    if (error < 0) {
        step->failed = true;
        error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    }
    group_answer_error(step, ask, (int16_t)error);
}

void group_give_up(struct group *group, struct list *answers, int16_t error)
{
    list_each(node, &group->members) {
        struct group_ask *ask =
            group_member_unpark(group, list_entry(node, struct group_member, node));
        if (!ask)
            continue;
        group_ask_fail(ask, error);
        list_append(answers, &ask->node);
    }
}

// --- events --------------------------------------------------------------------------------------

void group_end_step(struct group *group, struct group_step *step)
{
    group_load_erase(group, step);
    if (group->changed) {
        group_write_group(step, group);
        group->changed = false;
        group->durable = true;
    }
    if (step->records->failed)
        step->failed = true;
}

static void answer_delete(struct group *group, struct group_step *step, struct group_ask *ask)
{
    struct kp_delete_groups_response_group *out = ask->out;
    out->error_code = group_is_empty(group) ? 0 : KP_ERROR_NON_EMPTY_GROUP;
    group_answer(step, ask);
}

static void ask_classic(struct group *group, struct group_step *step, struct group_ask *ask)
{
    switch (ask->kind) {
    case GROUP_JOIN:
        classic_join(group, step, ask);
        break;
    case GROUP_SYNC:
        classic_sync(group, step, ask);
        break;
    case GROUP_HEARTBEAT:
        classic_heartbeat(group, step, ask);
        break;
    case GROUP_LEAVE:
        classic_leave(group, step, ask);
        break;
    case GROUP_DESCRIBE:
        classic_describe(group, step, ask);
        break;
    default:
        CHECK(false);
    }
}

// A group without members takes the protocol of who joins.
static void ask_consumer(struct group *group, struct group_step *step, struct group_ask *ask)
{
    if (ask->kind == GROUP_JOIN && group->member_count == 0) {
        group->type = GROUP_CLASSIC;
        classic_join(group, step, ask);
        return;
    }
    switch (ask->kind) {
    case GROUP_JOIN:
        mixed_join(group, step, ask);
        break;
    case GROUP_SYNC:
        mixed_sync(group, step, ask);
        break;
    case GROUP_HEARTBEAT:
        mixed_heartbeat(group, step, ask);
        break;
    case GROUP_LEAVE:
        classic_leave(group, step, ask);
        break;
    default:
        group_answer_error(step, ask, KP_ERROR_GROUP_ID_NOT_FOUND); // DESCRIBE
    }
}

void group_ask(struct group *group, struct group_step *step, struct group_ask *ask)
{
    if (ask->kind == GROUP_DELETE)
        answer_delete(group, step, ask);
    else if (ask->kind == GROUP_CONSUMER_HEARTBEAT)
        consumer_heartbeat(group, step, ask);
    else if (ask->kind == GROUP_CONSUMER_DESCRIBE)
        consumer_describe(group, step, ask);
    else if (group->type == GROUP_CONSUMER)
        ask_consumer(group, step, ask);
    else
        ask_classic(group, step, ask);
    group_end_step(group, step);
}

void group_time(struct group *group, struct group_step *step)
{
    if (group->type == GROUP_CONSUMER)
        consumer_time(group, step);
    else
        classic_time(group, step);
    group_end_step(group, step);
}

void group_forsake(struct group *group, struct group_step *step, struct group_ask *ask)
{
    CHECK(ask->member && ask->member->ask == ask);
    classic_forsake(group, step, ask);
    group_end_step(group, step);
}

int64_t group_due_ms(const struct group *group)
{
    if (group->type == GROUP_CONSUMER)
        return group->consumer.work_due_ms < group->members_due_ms ? group->consumer.work_due_ms
                                                                   : group->members_due_ms;
    return group->members_due_ms < group->phase_due_ms ? group->members_due_ms
                                                       : group->phase_due_ms;
}

void group_catalog_changed(struct group *group, struct group_step *step)
{
    if (group->type == GROUP_CONSUMER)
        consumer_catalog_changed(group, step);
    group_end_step(group, step);
}

// --- offsets -------------------------------------------------------------------------------------

int16_t group_may_commit(struct group *group, struct group_step *step, struct span member_id,
                         struct span instance_id, int32_t generation_or_epoch, int16_t version)
{
    if (group && group->type == GROUP_CONSUMER && !group_is_idle(group))
        return consumer_may_commit(group, step, member_id, instance_id, generation_or_epoch,
                                   version);
    if (group && !group_is_idle(group))
        return classic_may_commit(group, step, member_id, instance_id, generation_or_epoch);
    // A consumer outside of a group may commit under any name that no group uses.
    if (generation_or_epoch < 0)
        return 0;
    return version >= 9 ? KP_ERROR_GROUP_ID_NOT_FOUND : KP_ERROR_ILLEGAL_GENERATION;
}

int16_t group_may_fetch(struct group *group, struct group_step *step, struct span member_id,
                        int32_t member_epoch)
{
    (void)step;
    if (group && group->type == GROUP_CONSUMER && !group_is_idle(group))
        return consumer_may_fetch(group, member_id, member_epoch);
    return 0; // the classic protocol does not ask who reads
}

// Both protocols have a consumer protocol; this is the name that classic members give theirs.
static bool uses_consumer_protocol(const struct group *group)
{
    return span_equal(group->protocol_type, span_text("consumer"));
}

int16_t group_may_delete_offsets(const struct group *group)
{
    if (group->member_count && !uses_consumer_protocol(group))
        return KP_ERROR_NON_EMPTY_GROUP;
    return 0;
}

bool group_subscribes(struct group *group, struct span topic)
{
    if (group->type == GROUP_CONSUMER)
        return consumer_subscribes(group, topic);
    return group->member_count && uses_consumer_protocol(group) && classic_subscribes(group, topic);
}

int64_t group_unused_since_ms(struct group *group, struct span topic, int64_t commit_ms)
{
    if (!group->protocol_type.data) // nobody has ever joined: consumers outside of a group
        return commit_ms;
    if (group->member_count == 0)
        return group->empty_since_ms == INT64_MAX ? commit_ms : group->empty_since_ms;
    if (group->type == GROUP_CONSUMER)
        return consumer_subscribes(group, topic) ? INT64_MAX : commit_ms;
    bool knows = uses_consumer_protocol(group) && group->phase == CLASSIC_STABLE;
    return knows && !classic_subscribes(group, topic) ? commit_ms : INT64_MAX;
}

// --- what it looks like from outside -------------------------------------------------------------

struct span group_name(const struct group *group)
{
    return group->name;
}

const char *group_type_name(const struct group *group)
{
    return group->type == GROUP_CLASSIC ? "classic" : "consumer";
}

const char *group_state_name(const struct group *group)
{
    if (group->type == GROUP_CONSUMER)
        return consumer_state_name(group);
    static const char *const names[] = {
        [CLASSIC_EMPTY] = "Empty",
        [CLASSIC_PREPARING] = "PreparingRebalance",
        [CLASSIC_COMPLETING] = "CompletingRebalance",
        [CLASSIC_STABLE] = "Stable",
    };
    return names[group->phase];
}

struct span group_protocol_type(const struct group *group)
{
    return group->protocol_type.data ? group->protocol_type : kp_empty();
}

uint32_t group_member_count(const struct group *group)
{
    return group->member_count;
}

bool group_is_empty(const struct group *group)
{
    return group->member_count == 0;
}

bool group_is_idle(const struct group *group)
{
    return group->member_count == 0 && group->pending_by_id.count == 0 && !group->durable;
}

size_t group_memory(const struct group *group)
{
    // A part of a set may be all there is of its topic, and an answer says more of that.
    return group->bytes + 32 * group->consumer.parts;
}
