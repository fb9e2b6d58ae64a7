// SPDX-License-Identifier: Apache-2.0
// A group's offsets, seen and changed from outside the group.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "clients/c/group_calls.h"
#include "clients/c/offsets.h"
#include "gen/kp_offset_delete.h"
#include "gen/kp_offset_fetch.h"

enum {
    RESULT_LIMIT = 512 << 20,
    NAMES_UNTIL = 9, // later versions of OffsetFetch name topics by id
    GROUPS_FROM = 8, // OffsetFetch for several groups at once
};

static bool offsets_given(const char *group, const struct weir_offset *offsets, size_t count)
{
    if (!group || count > INT32_MAX || (count > 0 && !offsets))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!offsets[i].topic || offsets[i].partition < 0)
            return false;
    }
    return true;
}

static void nothing_ended(struct group_call *call, int error)
{
    (void)call;
    (void)error;
}

// ------------------------------------------------------------------------------------- read

struct offsets_result {
    struct weir_offset_list list;
    struct weir_offset *offsets; // list.offsets
    struct arena arena;
};

static void all_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_offset_fetch_request message;
    struct kp_offset_fetch_request_group group;
    kp_offset_fetch_request_init(&message);
    kp_offset_fetch_request_group_init(&group);
    message.group_id = group.group_id = span_text(group_call_of(call)->name);
    message.topics_count = group.topics_count = -1; // all
    message.groups = &group;
    message.groups_count = 1;
    kp_offset_fetch_request_encode(writer, call->request.version, &message);
}

static int offset_store(struct arena *arena, struct weir_offset *to, const char *topic,
                        int32_t partition, int64_t committed, struct span metadata, int16_t code)
{
    to->topic = topic;
    to->partition = partition;
    to->offset = committed;
    to->metadata = admin_text(arena, metadata);
    to->error = error_from_wire(code);
    return to->topic && to->metadata ? WEIR_OK : WEIR_ERR_NO_MEMORY;
}

static int all_store_new(struct offsets_result *result,
                         const struct kp_offset_fetch_response_group *group)
{
    size_t count = 0;
    for (int32_t t = 0; t < group->topics_count; t++)
        count += (size_t)group->topics[t].partitions_count;
    struct weir_offset *offsets = arena_array(&result->arena, count, sizeof(*offsets));
    if (!offsets)
        return WEIR_ERR_NO_MEMORY;
    result->list.offsets = result->offsets = offsets;
    for (int32_t t = 0; t < group->topics_count; t++) {
        const struct kp_offset_fetch_response_group_topic *topic = &group->topics[t];
        const char *name = admin_text(&result->arena, topic->name);
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            const struct kp_offset_fetch_response_group_partition *from = &topic->partitions[p];
            int error = offset_store(&result->arena, &offsets[result->list.count++], name,
                                     from->partition_index, from->committed_offset, from->metadata,
                                     from->error_code);
            if (error)
                return error;
        }
    }
    return WEIR_OK;
}

static int all_store_old(struct offsets_result *result,
                         const struct kp_offset_fetch_response *message)
{
    size_t count = 0;
    for (int32_t t = 0; t < message->topics_count; t++)
        count += (size_t)message->topics[t].partitions_count;
    struct weir_offset *offsets = arena_array(&result->arena, count, sizeof(*offsets));
    if (!offsets)
        return WEIR_ERR_NO_MEMORY;
    result->list.offsets = result->offsets = offsets;
    for (int32_t t = 0; t < message->topics_count; t++) {
        const struct kp_offset_fetch_response_topic *topic = &message->topics[t];
        const char *name = admin_text(&result->arena, topic->name);
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            const struct kp_offset_fetch_response_partition *from = &topic->partitions[p];
            int error = offset_store(&result->arena, &offsets[result->list.count++], name,
                                     from->partition_index, from->committed_offset, from->metadata,
                                     from->error_code);
            if (error)
                return error;
        }
    }
    return WEIR_OK;
}

static int offset_compare(const void *a, const void *b)
{
    const struct weir_offset *left = a, *right = b;
    int order = strcmp(left->topic, right->topic);
    return order ? order
                 : (left->partition > right->partition) - (left->partition < right->partition);
}

static int all_decode(struct call *call, struct reply *reply)
{
    struct offsets_result *result = group_call_of(call)->all->context;
    struct kp_offset_fetch_response message;
    if (kp_offset_fetch_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    bool several = reply->version >= GROUPS_FROM;
    if (several && message.groups_count != 1)
        return WEIR_ERR_CORRUPT;
    int16_t code = several ? message.groups[0].error_code : message.error_code;
    if (code)
        return admin_result(call, code, (struct span){0});
    arena_reset(&result->arena);
    result->list.count = 0;
    int error =
        several ? all_store_new(result, &message.groups[0]) : all_store_old(result, &message);
    if (!error && result->list.count > 1)
        qsort(result->offsets, result->list.count, sizeof(struct weir_offset), offset_compare);
    return error;
}

int weir_group_offsets(struct weir_client *client, const char *group,
                       struct weir_offset_list **list, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!group || !list)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "offsets of which group?");
    struct offsets_result *result = calloc(1, sizeof(*result));
    if (!result)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    arena_init(&result->arena, RESULT_LIMIT);
    struct group_calls calls = {
        .client = client,
        .names = &group,
        .count = 1,
        .api_key = KP_OFFSET_FETCH_KEY,
        .version_max = NAMES_UNTIL,
        .encode = all_encode,
        .decode = all_decode,
        .ended = nothing_ended,
        .context = result,
    };
    error = group_calls_run(&calls, client_deadline(client, timeout_ms));
    if (error) {
        weir_offset_list_free(&result->list);
        return client_fail(client, error, "cannot read offsets: %s", calls.detail);
    }
    *list = &result->list;
    return WEIR_OK;
}

void weir_offset_list_free(struct weir_offset_list *list)
{
    if (!list)
        return;
    struct offsets_result *result = list_entry(list, struct offsets_result, list);
    arena_free(&result->arena);
    free(result);
}

// ------------------------------------------------------------------------------------- change

// Runs a call about offsets that are known to be sound.
static int batch_run(struct offset_batch *batch, const char *what, int timeout_ms)
{
    struct weir_client *client = batch->call.client;
    if (offset_batch_repeats(batch))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "%s: a partition is named twice", what);
    for (size_t i = 0; i < batch->count; i++)
        batch->offsets[i].error = WEIR_ERR_TIMED_OUT;
    int error = call_run(&batch->call, what, timeout_ms);
    // Refused as a whole: that is each one's error.
    for (size_t i = 0; i < batch->count && error; i++)
        batch->offsets[i].error = error;
    if (error)
        return error;
    error = offset_batch_error(batch);
    return error ? client_fail(client, error, "%s: %s", what, batch->call.detail) : WEIR_OK;
}

int weir_alter_group_offsets(struct weir_client *client, const char *group,
                             struct weir_offset *offsets, size_t count, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    bool sound = offsets_given(group, offsets, count);
    for (size_t i = 0; i < count && sound; i++)
        sound = offsets[i].offset >= 0;
    if (!sound)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "altering offsets needs a group, topics, partitions and offsets");
    if (count == 0)
        return WEIR_OK;
    struct coordinator coordinator;
    struct offset_batch batch;
    coordinator_init(&coordinator, client, group);
    if (!offset_batch_init(&batch, &coordinator, offsets, count, true))
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    char what[320];
    snprintf(what, sizeof(what), "cannot alter the offsets of group '%.249s'", group);
    error = batch_run(&batch, what, timeout_ms);
    offset_batch_free(&batch);
    coordinator_free(&coordinator);
    return error;
}

// ------------------------------------------------------------------------------------- delete

static void delete_encode(struct call *call, struct kp_writer *writer)
{
    const struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct kp_offset_delete_request message;
    kp_offset_delete_request_init(&message);
    message.group_id = span_text(batch->group);
    message.topics = arena_array(writer->arena, batch->count, sizeof(*message.topics));
    struct kp_offset_delete_request_partition *partitions =
        arena_array(writer->arena, batch->count, sizeof(*partitions));
    if (!message.topics || !partitions) {
        writer->failed = true;
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct weir_offset *offset = &batch->offsets[batch->order[i]];
        if (offset_batch_topic_starts(batch, i)) {
            struct kp_offset_delete_request_topic *to = &message.topics[message.topics_count++];
            kp_offset_delete_request_topic_init(to);
            to->name = span_text(offset->topic);
            to->partitions = &partitions[i];
        }
        kp_offset_delete_request_partition_init(&partitions[i]);
        partitions[i].partition_index = offset->partition;
        message.topics[message.topics_count - 1].partitions_count++;
    }
    kp_offset_delete_request_encode(writer, call->request.version, &message);
}

static int delete_decode(struct call *call, struct reply *reply)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct kp_offset_delete_response message;
    if (kp_offset_delete_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    if (message.error_code)
        return admin_result(call, message.error_code, (struct span){0});
    offset_batch_expect(batch);
    for (int32_t t = 0; t < message.topics_count; t++) {
        const struct kp_offset_delete_response_topic *topic = &message.topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            struct weir_offset *offset =
                offset_batch_find(batch, topic->name, topic->partitions[p].partition_index);
            if (offset)
                offset->error = error_from_wire(topic->partitions[p].error_code);
        }
    }
    return offset_batch_check(batch);
}

int weir_delete_group_offsets(struct weir_client *client, const char *group,
                              struct weir_offset *offsets, size_t count, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!offsets_given(group, offsets, count))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "deleting offsets needs a group, topics and partitions");
    if (count == 0)
        return WEIR_OK;
    struct coordinator coordinator;
    struct offset_batch batch;
    coordinator_init(&coordinator, client, group);
    if (!offset_batch_init(&batch, &coordinator, offsets, count, true))
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    batch.call.api_key = KP_OFFSET_DELETE_KEY;
    batch.call.encode = delete_encode;
    batch.call.decode = delete_decode;
    char what[320];
    snprintf(what, sizeof(what), "cannot delete offsets of group '%.249s'", group);
    error = batch_run(&batch, what, timeout_ms);
    offset_batch_free(&batch);
    coordinator_free(&coordinator);
    return error;
}
