// SPDX-License-Identifier: Apache-2.0
// What drives a group without a broker: an image of what is durable, requests with room for their
// answers, and what must hold of a group between two steps.
#pragma once

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

// --- the image -----------------------------------------------------------------------------------

struct image_record {
    struct span key;
    struct span value;
};

struct image {
    struct map records; // struct image_record by key
};

static inline void image_record_free(struct image_record *record)
{
    if (!record)
        return;
    group_span_free(&record->key);
    group_span_free(&record->value);
    free(record);
}

static inline void image_put(struct image *image, struct span key, struct span value)
{
    image_record_free(map_remove(&image->records, key));
    if (!value.data)
        return;
    struct image_record *record = malloc(sizeof(*record));
    *record = (struct image_record){.key = group_copy(key), .value = group_copy(value)};
    CHECK(map_put(&image->records, record->key, record) == 0);
}

static inline void image_free(struct image *image)
{
    struct image_record *record;
    size_t at = 0;
    while ((record = map_next(&image->records, &at)))
        image_record_free(record);
    map_free(&image->records);
}

static inline void image_apply(struct image *image, const struct group_records *records)
{
    for (uint32_t i = 0; i < records->count; i++)
        image_put(image, group_records_key(records, i), group_records_value(records, i));
}

// --- calls ---------------------------------------------------------------------------------------

// One request and its answer.
struct call {
    struct group_ask ask;
    struct arena arena;
    bool answered;
    union {
        struct kp_join_group_request join;
        struct kp_sync_group_request sync;
        struct kp_heartbeat_request heartbeat;
        struct kp_leave_group_request leave;
        struct kp_consumer_group_heartbeat_request consumer;
    } in;
    union {
        struct kp_join_group_response join;
        struct kp_sync_group_response sync;
        struct kp_heartbeat_response heartbeat;
        struct kp_leave_group_response leave;
        struct kp_consumer_group_heartbeat_response consumer;
        struct kp_consumer_group_describe_response_group consumer_describe;
        struct kp_describe_groups_response_group describe;
        struct kp_delete_groups_response_group delete;
    } out;
};

static inline void call_open(struct call *call, enum group_ask_kind kind, int16_t version)
{
    *call = (struct call){0};
    arena_init(&call->arena, 64 << 20);
    call->ask = (struct group_ask){
        .kind = kind,
        .version = version,
        .client_id = span_text("client"),
        .client_host = span_text("/127.0.0.1"),
        .in = &call->in,
        .out = &call->out,
        .arena = &call->arena,
    };
}

static inline struct call *call_new(enum group_ask_kind kind, int16_t version)
{
    struct call *call = malloc(sizeof(*call));
    CHECK(call);
    call_open(call, kind, version);
    return call;
}

static inline void call_free(struct call *call)
{
    arena_free(&call->arena);
    free(call);
}

static inline struct span call_keep(struct call *call, const char *text)
{
    return text ? span_of(arena_text(&call->arena, text, strlen(text)), strlen(text))
                : (struct span){0};
}

static inline void call_encode(struct call *call, struct kp_writer *w)
{
    int16_t version = call->ask.version;
    switch (call->ask.kind) {
    case GROUP_JOIN:
        kp_join_group_response_encode(w, version, &call->out.join);
        break;
    case GROUP_SYNC:
        kp_sync_group_response_encode(w, version, &call->out.sync);
        break;
    case GROUP_HEARTBEAT:
        kp_heartbeat_response_encode(w, version, &call->out.heartbeat);
        break;
    case GROUP_LEAVE:
        kp_leave_group_response_encode(w, version, &call->out.leave);
        break;
    case GROUP_DESCRIBE:
        kp_describe_groups_response_encode(w, version,
                                           &(struct kp_describe_groups_response){
                                               .groups = &call->out.describe, .groups_count = 1});
        break;
    case GROUP_CONSUMER_HEARTBEAT:
        kp_consumer_group_heartbeat_response_encode(w, version, &call->out.consumer);
        break;
    case GROUP_CONSUMER_DESCRIBE:
        kp_consumer_group_describe_response_encode(
            w, version,
            &(struct kp_consumer_group_describe_response){.groups = &call->out.consumer_describe,
                                                          .groups_count = 1});
        break;
    default:
        break;
    }
}

// Whether the answer can be sent: nothing is null that may not be.
static inline bool call_encodes(struct call *call)
{
    struct arena arena;
    struct kp_writer writer;
    arena_init(&arena, 64 << 20);
    kp_writer_init(&writer, &arena);
    call_encode(call, &writer);
    arena_free(&arena);
    return !writer.failed;
}

// "range=metadata,roundrobin=metadata"
static inline void call_protocols(struct call *call, const char *list)
{
    struct kp_join_group_request *in = &call->in.join;
    in->protocols = arena_array(&call->arena, 80, sizeof(*in->protocols));
    while (*list) {
        size_t name = strcspn(list, "=");
        size_t metadata = strcspn(list + name + 1, ",");
        in->protocols[in->protocols_count++] = (struct kp_join_group_request_protocol){
            .name = span_of(arena_text(&call->arena, list, name), name),
            .metadata = span_of(arena_text(&call->arena, list + name + 1, metadata), metadata),
        };
        list += name + 1 + metadata;
        list += *list == ',';
    }
}

// --- a sound group -------------------------------------------------------------------------------

// Every part of a set is held by its member, if it is of what members have.
static inline uint32_t group_check_set(const struct consumer_set *set,
                                       const struct consumer_member *holder)
{
    for (uint32_t i = 0; i < set->count; i++) {
        CHECK(i == 0 || consumer_part_compare(&set->parts[i - 1], &set->parts[i]) < 0);
        CHECK(!holder || consumer_holder(&set->parts[i]) == holder);
    }
    return set->count;
}

static inline uint32_t group_check_consumer(const struct group *group,
                                            const struct group_member *member)
{
    const struct consumer_member *consumer = member->consumer;
    CHECK(consumer->epoch <= group->generation && consumer->subscription);
    CHECK(consumer->revoke_due_ms >= group->members_due_ms);
    CHECK(consumer->classic_due_ms >= group->members_due_ms);
    CHECK(consumer->classic_due_ms == INT64_MAX || member->offers);
    CHECK((consumer->revoke_due_ms < INT64_MAX) == (consumer->state == CONSUMER_UNREVOKED));
    CHECK(consumer->state == CONSUMER_UNREVOKED || consumer->revoking.count == 0);
    if (consumer->state == CONSUMER_STABLE && consumer->epoch == group->generation)
        CHECK(consumer_set_equal(&consumer->target, consumer->assigned.parts,
                                 consumer->assigned.count));
    group_check_set(&consumer->target, NULL);
    return group_check_set(&consumer->assigned, consumer) +
           group_check_set(&consumer->revoking, consumer);
}

static inline void group_check_topics(const struct group *group, uint32_t held, size_t parts)
{
    const struct consumer_topic *topic;
    const struct consumer_subscription *subscription;
    uint32_t holders = 0;
    uint32_t holds = 0;
    uint32_t unknown = 0;
    for (size_t at = 0; (topic = map_next(&group->consumer.topics, &at));) {
        CHECK(topic->holds > 0);
        holds += topic->holds;
        for (int32_t i = 0; i < topic->holder_count; i++)
            holders += topic->holders[i] != NULL;
    }
    for (size_t at = 0; (subscription = map_next(&group->consumer.subscriptions, &at));) {
        holds -= subscription->topics.count + subscription->found.count;
        unknown += !subscription->known;
    }
    CHECK(holders == held && holds == parts && parts == group->consumer.parts);
    CHECK(unknown == group->consumer.unknown);
    CHECK(list_empty(&group->consumer.matching) || group->consumer.work_due_ms < INT64_MAX);
}

// What is left of the classic protocol: the offers of its members.
static inline void group_check_mixed(const struct group *group)
{
    struct group_protocol *protocol;
    uint32_t offering = 0;
    bool agree = false;
    list_each(node, &group->members)
        offering += list_entry(node, struct group_member, node)->offers != NULL;
    for (size_t at = 0; (protocol = map_next(&group->protocols, &at));)
        agree |= protocol->members == offering;
    CHECK(offering == group->offering && (agree || !offering));
    CHECK(group->phase == CLASSIC_EMPTY && !group->protocol && !group->leader && !group->joining);
    CHECK(group->syncs_due == 0 && group->phase_due_ms == INT64_MAX && !group->initial);
    CHECK(group->pending_by_id.count <= GROUP_PENDING_MAX);
}

static inline void group_check_consumers(const struct group *group)
{
    uint32_t members = 0;
    uint32_t instances = 0;
    uint32_t held = 0;
    uint32_t wants = 0;
    size_t parts = 0;
    size_t bytes = 0;
    const struct consumer_subscription *subscription;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        CHECK(map_get(&group->by_id, member->id) == member && !member->ask);
        CHECK(member->deadline_ms >= group->members_due_ms && member->deadline_ms < INT64_MAX);
        held += group_check_consumer(group, member);
        parts += member->consumer->target.count + member->consumer->assigned.count +
                 member->consumer->revoking.count;
        members++;
        bytes += member->bytes + (member->offers ? member->offers->bytes : 0);
        instances += member->instance_id.data != NULL;
        CHECK(!member->assignment.data && !member->is_new && !member->sync_due && !member->changed);
    }
    for (size_t at = 0; (subscription = map_next(&group->consumer.subscriptions, &at));)
        wants += subscription->members;
    CHECK(members == group->member_count && members == group->by_id.count && wants == members);
    CHECK(instances == group->by_instance.count && bytes == group->bytes && !group->changed);
    CHECK(bytes <= GROUP_BYTES_MAX);
    group_check_mixed(group);
    group_check_topics(group, held, parts);
}

// What must hold between two steps.
static inline void group_check(const struct group *group)
{
    uint32_t members = 0;
    uint32_t joining = 0;
    uint32_t syncs_due = 0;
    uint32_t instances = 0;
    size_t bytes = 0;
    bool leader = false;
    if (group->type == GROUP_CONSUMER) {
        group_check_consumers(group);
        return;
    }
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        CHECK(map_get(&group->by_id, member->id) == member);
        CHECK(member->offers && member->offers->count && !member->consumer);
        CHECK(!member->ask || member->ask->member == member);
        CHECK(member->deadline_ms >= group->members_due_ms);
        CHECK(member->deadline_ms < INT64_MAX || (member->ask && !member->is_new));
        if (member->instance_id.data) {
            CHECK(map_get(&group->by_instance, member->instance_id) == member);
            instances++;
        }
        members++;
        bytes += member->bytes + member->offers->bytes;
        joining += member->ask && member->ask->kind == GROUP_JOIN;
        syncs_due += member->sync_due;
        leader |= member == group->leader;
        if (group->phase == CLASSIC_COMPLETING)
            CHECK(!member->ask || member->ask->kind == GROUP_SYNC);
        if (group->phase == CLASSIC_STABLE || group->phase == CLASSIC_EMPTY)
            CHECK(!member->ask);
        if (group->phase == CLASSIC_PREPARING)
            CHECK(!member->ask || member->ask->kind == GROUP_JOIN);
    }
    CHECK(members == group->member_count && members == group->by_id.count);
    CHECK(instances == group->by_instance.count);
    CHECK(group->offering == members && group->consumer.parts == 0);
    CHECK(joining == group->joining && syncs_due == group->syncs_due && bytes == group->bytes);
    CHECK((members == 0) == (group->phase == CLASSIC_EMPTY));
    CHECK(!group->leader || leader);
    CHECK(group->bytes <= GROUP_BYTES_MAX && group->pending_by_id.count <= GROUP_PENDING_MAX);
    if (group->phase == CLASSIC_COMPLETING || group->phase == CLASSIC_STABLE) {
        CHECK(group->leader && group->protocol && group->protocol->members == members);
        CHECK(group->durable);
    }
    if (group->phase == CLASSIC_COMPLETING || group->phase == CLASSIC_PREPARING || syncs_due)
        CHECK(group->phase_due_ms < INT64_MAX);
    CHECK(!group->changed);
}
