// SPDX-License-Identifier: Apache-2.0
// Describing groups. Nobody knows beforehand which protocol a group speaks: all are first asked for
// as groups of the newer one, and those that are none of these then as classic ones.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "clients/c/group_calls.h"
#include "gen/kp_consumer_group_describe.h"
#include "gen/kp_describe_groups.h"
#include "protocol/error.h"

enum { RESULT_LIMIT = 512 << 20 };

struct descriptions_result {
    struct weir_group_descriptions list;
    struct weir_group *groups; // list.groups
    struct arena arena;
};

// One round of calls, about the groups at `at`.
struct describe_groups {
    struct weir_group *groups;
    const size_t *at;
    struct arena *arena;
};

static struct weir_group *group_of(struct call *call, struct arena **arena)
{
    const struct describe_groups *describe = group_call_of(call)->all->context;
    *arena = describe->arena;
    struct weir_group *group = &describe->groups[describe->at[group_call_of(call)->index]];
    group->coordinator = call->request.last->node->id;
    return group;
}

static void group_ended(struct group_call *call, int error)
{
    const struct describe_groups *describe = call->all->context;
    describe->groups[describe->at[call->index]].error = error;
}

// NULL stays NULL; *failed is set when memory is short.
static const char *text_or_null(struct arena *arena, struct span text, bool *failed)
{
    if (!text.data)
        return NULL;
    const char *copy = arena_text(arena, text.data, text.size);
    *failed |= !copy;
    return copy;
}

static const char *text_copy(struct arena *arena, struct span text, bool *failed)
{
    const char *copy = admin_text(arena, text);
    *failed |= !copy;
    return copy;
}

static struct weir_bytes bytes_copy(struct arena *arena, struct span bytes, bool *failed)
{
    if (!bytes.data)
        return weir_bytes_of(NULL, 0);
    void *copy = arena_raw(arena, bytes.size);
    *failed |= !copy;
    if (copy && bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return weir_bytes_of(copy, copy ? bytes.size : 0);
}

// --------------------------------------------------------------------------- the newer protocol

static void newer_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_consumer_group_describe_request message;
    struct span name = span_text(group_call_of(call)->name);
    kp_consumer_group_describe_request_init(&message);
    message.group_ids = &name;
    message.group_ids_count = 1;
    kp_consumer_group_describe_request_encode(writer, call->request.version, &message);
}

static size_t assignment_store(struct arena *arena,
                               const struct kp_consumer_group_describe_response_assignment *from,
                               const struct weir_topic_partition **to, bool *failed)
{
    size_t count = 0;
    for (int32_t t = 0; t < from->topic_partitions_count; t++)
        count += (size_t)from->topic_partitions[t].partitions_count;
    struct weir_topic_partition *partitions = arena_array(arena, count, sizeof(*partitions));
    *to = partitions;
    *failed |= !partitions;
    if (!partitions)
        return 0;
    size_t used = 0;
    for (int32_t t = 0; t < from->topic_partitions_count; t++) {
        const struct kp_consumer_group_describe_response_topic_partition *topic =
            &from->topic_partitions[t];
        const char *name = text_copy(arena, topic->topic_name, failed);
        for (int32_t p = 0; p < topic->partitions_count; p++)
            partitions[used++] = (struct weir_topic_partition){name, topic->partitions[p]};
    }
    return used;
}

static void newer_member(struct arena *arena,
                         const struct kp_consumer_group_describe_response_member *from,
                         struct weir_member *to, bool *failed)
{
    to->id = text_copy(arena, from->member_id, failed);
    to->instance_id = text_or_null(arena, from->instance_id, failed);
    to->client_id = text_copy(arena, from->client_id, failed);
    to->host = text_copy(arena, from->client_host, failed);
    to->rack = text_or_null(arena, from->rack_id, failed);
    to->epoch = from->member_epoch;
    if (from->subscribed_topic_regex.size > 0)
        to->pattern = text_or_null(arena, from->subscribed_topic_regex, failed);
    const char **topics =
        arena_array(arena, (size_t)from->subscribed_topic_names_count, sizeof(*topics));
    *failed |= !topics;
    for (int32_t i = 0; i < from->subscribed_topic_names_count && topics; i++)
        topics[i] = text_copy(arena, from->subscribed_topic_names[i], failed);
    to->topics = topics;
    to->topic_count = topics ? (size_t)from->subscribed_topic_names_count : 0;
    to->assigned_count = assignment_store(arena, &from->assignment, &to->assigned, failed);
    to->target_count = assignment_store(arena, &from->target_assignment, &to->target, failed);
}

static int newer_decode(struct call *call, struct reply *reply)
{
    struct kp_consumer_group_describe_response message;
    if (kp_consumer_group_describe_response_decode(&reply->reader, reply->version, reply->arena,
                                                   &message) != 0 ||
        message.groups_count != 1)
        return WEIR_ERR_CORRUPT;
    const struct kp_consumer_group_describe_response_group *from = &message.groups[0];
    if (from->error_code)
        return admin_result(call, from->error_code, from->error_message);
    struct arena *arena;
    struct weir_group *to = group_of(call, &arena);
    bool failed = false;
    to->state = text_copy(arena, from->group_state, &failed);
    to->type = "consumer";
    to->protocol_type = "consumer";
    to->assignor = text_copy(arena, from->assignor_name, &failed);
    to->epoch = from->group_epoch;
    to->assignment_epoch = from->assignment_epoch;
    struct weir_member *members = arena_array(arena, (size_t)from->members_count, sizeof(*members));
    if (!members)
        return WEIR_ERR_NO_MEMORY;
    for (int32_t i = 0; i < from->members_count; i++)
        newer_member(arena, &from->members[i], &members[i], &failed);
    to->members = members;
    to->member_count = (size_t)from->members_count;
    return failed ? WEIR_ERR_NO_MEMORY : WEIR_OK;
}

// --------------------------------------------------------------------------- the classic protocol

static void classic_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_describe_groups_request message;
    struct span name = span_text(group_call_of(call)->name);
    kp_describe_groups_request_init(&message);
    message.groups = &name;
    message.groups_count = 1;
    kp_describe_groups_request_encode(writer, call->request.version, &message);
}

// What members of type "consumer" subscribe to and are given is told in messages of their own,
// which begin with a version and an array that all versions share. Members write them: what cannot
// be read is left out.
static void subscription_store(struct arena *arena, struct span metadata, struct weir_member *to,
                               bool *failed)
{
    struct kp_reader reader = kp_reader_init(metadata.data, metadata.size);
    kp_read_i16(&reader);
    int32_t count = kp_read_count(&reader, false, false, 2);
    const char **topics = arena_array(arena, count > 0 ? (size_t)count : 0, sizeof(*topics));
    *failed |= !topics;
    for (int32_t i = 0; i < count && topics && !reader.failed; i++)
        topics[i] = text_copy(arena, kp_read_string(&reader, false, false), failed);
    to->topics = topics;
    to->topic_count = topics && !reader.failed && count > 0 ? (size_t)count : 0;
}

static size_t given_count(struct span assignment)
{
    size_t sum = 0;
    struct kp_reader reader = kp_reader_init(assignment.data, assignment.size);
    kp_read_i16(&reader);
    int32_t topics = kp_read_count(&reader, false, false, 6);
    for (int32_t t = 0; t < topics && !reader.failed; t++) {
        kp_read_string(&reader, false, false);
        int32_t count = kp_read_count(&reader, false, false, 4);
        kp_skip(&reader, (size_t)(count > 0 ? count : 0) * 4);
        sum += count > 0 ? (size_t)count : 0;
    }
    return reader.failed ? 0 : sum;
}

static void given_store(struct arena *arena, struct span assignment, struct weir_member *to,
                        bool *failed)
{
    size_t count = given_count(assignment);
    struct weir_topic_partition *partitions = arena_array(arena, count, sizeof(*partitions));
    to->assigned = to->target = partitions;
    *failed |= !partitions;
    if (!partitions || count == 0)
        return;
    struct kp_reader reader = kp_reader_init(assignment.data, assignment.size);
    kp_read_i16(&reader);
    size_t used = 0;
    for (int32_t topics = kp_read_count(&reader, false, false, 6); topics > 0; topics--) {
        const char *name = text_copy(arena, kp_read_string(&reader, false, false), failed);
        for (int32_t left = kp_read_count(&reader, false, false, 4); left > 0; left--)
            partitions[used++] = (struct weir_topic_partition){name, kp_read_i32(&reader)};
    }
    to->assigned_count = to->target_count = used;
}

static void classic_member(struct arena *arena, bool consumer,
                           const struct kp_describe_groups_response_member *from,
                           struct weir_member *to, bool *failed)
{
    to->id = text_copy(arena, from->member_id, failed);
    to->instance_id = text_or_null(arena, from->group_instance_id, failed);
    to->client_id = text_copy(arena, from->client_id, failed);
    to->host = text_copy(arena, from->client_host, failed);
    to->epoch = -1;
    to->metadata = bytes_copy(arena, from->member_metadata, failed);
    to->assignment = bytes_copy(arena, from->member_assignment, failed);
    if (!consumer)
        return;
    subscription_store(arena, from->member_metadata, to, failed);
    given_store(arena, from->member_assignment, to, failed);
}

static int classic_decode(struct call *call, struct reply *reply)
{
    struct kp_describe_groups_response message;
    if (kp_describe_groups_response_decode(&reply->reader, reply->version, reply->arena,
                                           &message) != 0 ||
        message.groups_count != 1)
        return WEIR_ERR_CORRUPT;
    const struct kp_describe_groups_response_group *from = &message.groups[0];
    if (from->error_code)
        return admin_result(call, from->error_code, from->error_message);
    // Older versions describe a group that does not exist as a dead one.
    if (span_equal(from->group_state, span_text("Dead")) && from->members_count == 0)
        return admin_result(call, WEIR_ERR_GROUP_ID_NOT_FOUND, (struct span){0});
    struct arena *arena;
    struct weir_group *to = group_of(call, &arena);
    bool failed = false;
    to->state = text_copy(arena, from->group_state, &failed);
    to->type = "classic";
    to->protocol_type = text_copy(arena, from->protocol_type, &failed);
    to->assignor = text_copy(arena, from->protocol_data, &failed);
    struct weir_member *members = arena_array(arena, (size_t)from->members_count, sizeof(*members));
    if (!members)
        return WEIR_ERR_NO_MEMORY;
    bool consumer = span_equal(from->protocol_type, span_text("consumer"));
    for (int32_t i = 0; i < from->members_count; i++)
        classic_member(arena, consumer, &from->members[i], &members[i], &failed);
    to->members = members;
    to->member_count = (size_t)from->members_count;
    return failed ? WEIR_ERR_NO_MEMORY : WEIR_OK;
}

// ------------------------------------------------------------------------------------- the rounds

static bool of_the_library(int error)
{
    return error < 0 && error != WEIR_ERR_UNKNOWN_SERVER_ERROR;
}

// Asks about all groups, or about those that do not speak the newer protocol. Returns the first
// error that is not the broker's about one group.
static int round_run(struct weir_client *client, struct descriptions_result *result, bool newer,
                     uint64_t deadline_ns, struct group_calls *calls)
{
    size_t count = result->list.count, open = 0;
    struct weir_group *groups = result->groups;
    const char **names = calloc(count + 1, sizeof(*names));
    size_t *at = calloc(count + 1, sizeof(*at));
    if (!names || !at) {
        free(names);
        free(at);
        snprintf(calls->detail, sizeof(calls->detail), "out of memory");
        return WEIR_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        bool other = groups[i].error == WEIR_ERR_GROUP_ID_NOT_FOUND ||
                     groups[i].error == KP_ERROR_UNSUPPORTED_VERSION;
        if (!newer && !other)
            continue;
        at[open] = i;
        names[open++] = groups[i].name;
        groups[i].error = WEIR_ERR_TIMED_OUT;
    }
    struct describe_groups describe = {groups, at, &result->arena};
    *calls = (struct group_calls){
        .client = client,
        .names = names,
        .count = open,
        .api_key = newer ? KP_CONSUMER_GROUP_DESCRIBE_KEY : KP_DESCRIBE_GROUPS_KEY,
        .encode = newer ? newer_encode : classic_encode,
        .decode = newer ? newer_decode : classic_decode,
        .ended = group_ended,
        .context = &describe,
    };
    group_calls_run(calls, deadline_ns);
    int error = calls->error == WEIR_ERR_NO_MEMORY ? calls->error : WEIR_OK;
    for (size_t i = 0; i < open && !error; i++)
        error = of_the_library(groups[at[i]].error) ? groups[at[i]].error : WEIR_OK;
    free(names);
    free(at);
    return error;
}

static int describe_all(struct weir_client *client, struct descriptions_result *result,
                        const char *const *names, uint64_t deadline_ns, struct group_calls *calls)
{
    struct weir_group *groups = arena_array(&result->arena, result->list.count, sizeof(*groups));
    bool failed = !groups;
    for (size_t i = 0; i < result->list.count && groups; i++) {
        groups[i].name = text_copy(&result->arena, span_text(names[i]), &failed);
        groups[i].state = groups[i].type = groups[i].protocol_type = groups[i].assignor = "";
        groups[i].epoch = groups[i].assignment_epoch = groups[i].coordinator = -1;
    }
    result->list.groups = result->groups = groups;
    if (failed) {
        snprintf(calls->detail, sizeof(calls->detail), "out of memory");
        return WEIR_ERR_NO_MEMORY;
    }
    int error = round_run(client, result, true, deadline_ns, calls);
    for (size_t i = 0; i < result->list.count && error == WEIR_ERR_UNSUPPORTED; i++)
        groups[i].error = WEIR_ERR_GROUP_ID_NOT_FOUND; // all groups there are classic
    if (error && error != WEIR_ERR_UNSUPPORTED)
        return error;
    return round_run(client, result, false, deadline_ns, calls);
}

int weir_describe_groups(struct weir_client *client, const char *const *names, size_t count,
                         struct weir_group_descriptions **descriptions, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!descriptions || !admin_names_given(names, count))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "describing groups needs their names");
    struct descriptions_result *result = calloc(1, sizeof(*result));
    if (!result)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    arena_init(&result->arena, RESULT_LIMIT);
    result->list.count = count;
    struct group_calls calls;
    error = describe_all(client, result, names, client_deadline(client, timeout_ms), &calls);
    if (error) {
        weir_group_descriptions_free(&result->list);
        return client_fail(client, error, "cannot describe groups: %s", calls.detail);
    }
    *descriptions = &result->list;
    return WEIR_OK;
}

void weir_group_descriptions_free(struct weir_group_descriptions *descriptions)
{
    if (!descriptions)
        return;
    struct descriptions_result *result = list_entry(descriptions, struct descriptions_result, list);
    arena_free(&result->arena);
    free(result);
}
