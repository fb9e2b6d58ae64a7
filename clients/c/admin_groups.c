// SPDX-License-Identifier: Apache-2.0
// Listing groups, deleting them, and removing their members.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "clients/c/group_calls.h"
#include "gen/kp_delete_groups.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_list_groups.h"

enum {
    RESULT_LIMIT = 512 << 20,
    STATES_FROM = 4, // ListGroups
    TYPES_FROM = 5,
    MEMBERS_FROM = 3, // LeaveGroup
    UNANSWERED = -99, // in a removal's error until the reply has come
};

const char *admin_text(struct arena *arena, struct span text)
{
    return arena_text(arena, text.data ? (const char *)text.data : "", text.size);
}

static struct span *spans_of(struct arena *arena, const char *const *texts, size_t count)
{
    struct span *spans = arena_array(arena, count, sizeof(*spans));
    for (size_t i = 0; i < count && spans; i++)
        spans[i] = span_text(texts[i]);
    return spans;
}

bool admin_names_given(const char *const *names, size_t count)
{
    if (count > INT32_MAX || (count > 0 && !names))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!names[i])
            return false;
    }
    return true;
}

// ------------------------------------------------------------------------------------- list

struct list_result {
    struct weir_group_list list;
    struct arena arena;
    struct weir_group_entry *groups; // list.groups, while it grows
};

struct list_groups {
    struct call call;
    const struct weir_group_filter *filter;
    struct list_result *result;
    int32_t broker;
};

static void list_encode(struct call *call, struct kp_writer *writer)
{
    const struct weir_group_filter *filter = list_entry(call, struct list_groups, call)->filter;
    struct kp_list_groups_request message;
    kp_list_groups_request_init(&message);
    message.states_filter = spans_of(writer->arena, filter->states, filter->state_count);
    message.states_filter_count = (int32_t)filter->state_count;
    message.types_filter = spans_of(writer->arena, filter->types, filter->type_count);
    message.types_filter_count = (int32_t)filter->type_count;
    if (!message.states_filter || !message.types_filter)
        writer->failed = true;
    else
        kp_list_groups_request_encode(writer, call->request.version, &message);
}

static int entry_store(struct arena *arena, const struct kp_list_groups_response_group *from,
                       int32_t broker, struct weir_group_entry *to)
{
    to->name = admin_text(arena, from->group_id);
    to->protocol_type = admin_text(arena, from->protocol_type);
    to->state = admin_text(arena, from->group_state);
    to->type = admin_text(arena, from->group_type);
    to->coordinator = broker;
    return to->name && to->protocol_type && to->state && to->type ? WEIR_OK : WEIR_ERR_NO_MEMORY;
}

static int list_decode(struct call *call, struct reply *reply)
{
    struct list_groups *own = list_entry(call, struct list_groups, call);
    struct list_result *result = own->result;
    struct kp_list_groups_response message;
    if (kp_list_groups_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    bool chosen = (own->filter->state_count == 0 || reply->version >= STATES_FROM) &&
                  (own->filter->type_count == 0 || reply->version >= TYPES_FROM);
    if (!chosen) {
        snprintf(call->detail, sizeof(call->detail), "%s is too old to choose by state or type",
                 call->request.last->node->name);
        return WEIR_ERR_UNSUPPORTED;
    }
    if (message.error_code)
        return admin_result(call, message.error_code, (struct span){0});
    size_t count = result->list.count, more = (size_t)message.groups_count;
    struct weir_group_entry *groups = realloc(result->groups, (count + more + 1) * sizeof(*groups));
    if (!groups)
        return WEIR_ERR_NO_MEMORY;
    result->groups = groups;
    for (size_t i = 0; i < more; i++) {
        int error =
            entry_store(&result->arena, &message.groups[i], own->broker, &groups[count + i]);
        if (error)
            return error;
    }
    result->list.count = count + more;
    return WEIR_OK;
}

static int entry_compare(const void *a, const void *b)
{
    return strcmp(((const struct weir_group_entry *)a)->name,
                  ((const struct weir_group_entry *)b)->name);
}

int admin_left_ms(const struct weir_client *client, uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX)
        return WEIR_FOREVER;
    uint64_t left_ns = deadline_ns > client->now_ns ? deadline_ns - client->now_ns : 0;
    return (int)((left_ns + MS - 1) / MS);
}

// Every broker knows only the groups it coordinates, so all are asked, one after the other.
static int list_all(struct weir_client *client, const struct weir_group_filter *filter,
                    const struct weir_cluster *cluster, struct list_result *result,
                    uint64_t deadline_ns)
{
    for (size_t i = 0; i < cluster->broker_count; i++) {
        struct list_groups own = {
            .call = admin_call(client, KP_LIST_GROUPS_KEY, CALL_NODE, list_encode, list_decode),
            .filter = filter,
            .result = result,
            .broker = cluster->brokers[i].id,
        };
        own.call.node_id = own.broker;
        int error = call_run(&own.call, "cannot list groups", admin_left_ms(client, deadline_ns));
        if (error)
            return error;
    }
    if (result->list.count > 1)
        qsort(result->groups, result->list.count, sizeof(*result->groups), entry_compare);
    result->list.groups = result->groups;
    return WEIR_OK;
}

int weir_list_groups(struct weir_client *client, const struct weir_group_filter *filter,
                     struct weir_group_list **list, int timeout_ms)
{
    static const struct weir_group_filter all;
    int error = client_enter(client);
    if (error)
        return error;
    filter = filter ? filter : &all;
    if (!list || !admin_names_given(filter->states, filter->state_count) ||
        !admin_names_given(filter->types, filter->type_count))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "a filter for groups names nothing");
    uint64_t deadline_ns = client_deadline(client, timeout_ms);
    struct weir_cluster *cluster;
    error = weir_describe_cluster(client, &cluster, timeout_ms);
    if (error)
        return error;
    struct list_result *result = calloc(1, sizeof(*result));
    if (!result) {
        weir_cluster_free(cluster);
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    }
    arena_init(&result->arena, RESULT_LIMIT);
    error = list_all(client, filter, cluster, result, deadline_ns);
    weir_cluster_free(cluster);
    if (error)
        weir_group_list_free(&result->list);
    else
        *list = &result->list;
    return error;
}

void weir_group_list_free(struct weir_group_list *list)
{
    if (!list)
        return;
    struct list_result *result = list_entry(list, struct list_result, list);
    arena_free(&result->arena);
    free(result->groups);
    free(result);
}

// ------------------------------------------------------------------------------------- delete

static void delete_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_delete_groups_request message;
    struct span name = span_text(group_call_of(call)->name);
    kp_delete_groups_request_init(&message);
    message.groups_names = &name;
    message.groups_names_count = 1;
    kp_delete_groups_request_encode(writer, call->request.version, &message);
}

static int delete_decode(struct call *call, struct reply *reply)
{
    struct kp_delete_groups_response message;
    if (kp_delete_groups_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
            0 ||
        message.results_count != 1)
        return WEIR_ERR_CORRUPT;
    return admin_result(call, message.results[0].error_code, (struct span){0});
}

static void delete_ended(struct group_call *call, int error)
{
    int *errors = call->all->context;
    if (errors)
        errors[call->index] = error;
}

int weir_delete_groups(struct weir_client *client, const char *const *names, size_t count,
                       int *errors, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!admin_names_given(names, count))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "deleting groups needs their names");
    for (size_t i = 0; i < count && errors; i++)
        errors[i] = WEIR_ERR_TIMED_OUT;
    struct group_calls calls = {
        .client = client,
        .names = names,
        .count = count,
        .api_key = KP_DELETE_GROUPS_KEY,
        .encode = delete_encode,
        .decode = delete_decode,
        .ended = delete_ended,
        .context = errors,
    };
    error = group_calls_run(&calls, client_deadline(client, timeout_ms));
    return error ? client_fail(client, error, "cannot delete groups: %s", calls.detail) : WEIR_OK;
}

// ------------------------------------------------------------------------------------- members

struct remove_members {
    struct weir_removal *members;
    size_t count;
};

static void remove_encode(struct call *call, struct kp_writer *writer)
{
    const struct remove_members *remove = group_call_of(call)->all->context;
    struct kp_leave_group_request message;
    kp_leave_group_request_init(&message);
    message.group_id = span_text(group_call_of(call)->name);
    message.members = arena_array(writer->arena, remove->count, sizeof(*message.members));
    if (!message.members) {
        writer->failed = true;
        return;
    }
    message.members_count = (int32_t)remove->count;
    for (size_t i = 0; i < remove->count; i++) {
        const struct weir_removal *from = &remove->members[i];
        kp_leave_group_request_member_init(&message.members[i]);
        message.members[i].member_id = span_text(from->member_id ? from->member_id : "");
        message.members[i].group_instance_id = span_text(from->instance_id);
        message.members[i].reason = span_text("removed by an administrator");
    }
    kp_leave_group_request_encode(writer, call->request.version, &message);
}

// Whether that is the answer about a member: the broker repeats what it was asked for.
static bool removal_is(const struct weir_removal *removal,
                       const struct kp_leave_group_response_member *answer)
{
    if (removal->instance_id)
        return span_equal(answer->group_instance_id, span_text(removal->instance_id));
    return !answer->group_instance_id.data &&
           span_equal(answer->member_id, span_text(removal->member_id));
}

static int remove_decode(struct call *call, struct reply *reply)
{
    const struct remove_members *remove = group_call_of(call)->all->context;
    struct kp_leave_group_response message;
    if (kp_leave_group_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    if (reply->version < MEMBERS_FROM) {
        snprintf(call->detail, sizeof(call->detail), "%s is too old to remove members",
                 call->request.last->node->name);
        return WEIR_ERR_UNSUPPORTED;
    }
    if (message.error_code)
        return admin_result(call, message.error_code, (struct span){0});
    if ((size_t)message.members_count != remove->count)
        return WEIR_ERR_CORRUPT;
    int first = WEIR_OK;
    for (size_t i = 0; i < remove->count; i++) {
        const struct kp_leave_group_response_member *answer = &message.members[i];
        if (!removal_is(&remove->members[i], answer))
            return WEIR_ERR_CORRUPT;
        remove->members[i].error = error_from_wire(answer->error_code);
        if (!first)
            first = admin_result(call, answer->error_code, (struct span){0});
    }
    return first;
}

static void remove_ended(struct group_call *call, int error)
{
    (void)call;
    (void)error;
}

static bool removals_given(const struct weir_removal *members, size_t count)
{
    if (!members || count == 0 || count > INT32_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!members[i].member_id && !members[i].instance_id)
            return false;
    }
    return true;
}

int weir_remove_members(struct weir_client *client, const char *group, struct weir_removal *members,
                        size_t count, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!group || !removals_given(members, count))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "removing members needs a group and their ids");
    struct remove_members remove = {members, count};
    struct group_calls calls = {
        .client = client,
        .names = &group,
        .count = 1,
        .api_key = KP_LEAVE_GROUP_KEY,
        .encode = remove_encode,
        .decode = remove_decode,
        .ended = remove_ended,
        .context = &remove,
    };
    for (size_t i = 0; i < count; i++)
        members[i].error = UNANSWERED;
    error = group_calls_run(&calls, client_deadline(client, timeout_ms));
    // Refused as a whole: that is each one's error.
    for (size_t i = 0; i < count; i++) {
        if (members[i].error == UNANSWERED)
            members[i].error = error;
    }
    return error ? client_fail(client, error, "cannot remove members: %s", calls.detail) : WEIR_OK;
}

// Of those that were there a moment ago, some may have left by now. In groups of the newer protocol
// it may also mean that the broker (before Kafka 4.0) removes none of it.
static int remove_described(struct weir_client *client, const struct weir_group *group,
                            int timeout_ms)
{
    struct weir_removal *members = calloc(group->member_count, sizeof(*members));
    if (!members)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < group->member_count; i++) {
        members[i].instance_id = group->members[i].instance_id;
        if (!members[i].instance_id)
            members[i].member_id = group->members[i].id;
    }
    int error = weir_remove_members(client, group->name, members, group->member_count, timeout_ms);
    bool left = error == WEIR_ERR_UNKNOWN_MEMBER_ID && strcmp(group->type, "consumer") != 0;
    for (size_t i = 0; i < group->member_count && left; i++)
        left = members[i].error == WEIR_OK || members[i].error == WEIR_ERR_UNKNOWN_MEMBER_ID;
    free(members);
    return left ? WEIR_OK : error;
}

int weir_remove_all_members(struct weir_client *client, const char *group, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    struct weir_group_descriptions *described;
    uint64_t deadline_ns = client_deadline(client, timeout_ms);
    error = weir_describe_groups(client, &group, 1, &described, timeout_ms);
    if (error)
        return error;
    const struct weir_group *found = &described->groups[0];
    if (found->error)
        error = client_fail(client, found->error, "cannot remove members: group '%.249s': %s",
                            group, weir_error_text(found->error));
    else if (found->member_count > 0)
        error = remove_described(client, found, admin_left_ms(client, deadline_ns));
    weir_group_descriptions_free(described);
    return error;
}
