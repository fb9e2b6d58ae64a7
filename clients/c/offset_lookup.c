// SPDX-License-Identifier: Apache-2.0
// Looks offsets up with the leaders of their partitions.
//
// It goes in rounds. In each, the open queries are grouped by leader, and one call is made per
// group, addressed to the leader of its first partition. An answer closes queries; those that the
// broker refused because it no longer leads them stay open for the next round.
//
// Invariants
//  1. A query is open until it has an offset or an error that repeating cannot cure.
//  2. A round follows only if the one before closed at least one query; a call that closed none
//     ends with an error or is repeated, after a pause, by call.c. So rounds cannot spin.
#include "clients/c/offsets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/error.h"
#include "gen/kp_list_offsets.h"
#include "protocol/error.h"

enum { MAX_TIMESTAMP_FROM = 7 };

struct lookup_group {
    struct call call;
    struct list link;
    struct offset_lookup *lookup;
    int32_t leader;
    size_t count;
    size_t *indexes; // of queries, by topic
};

static void round_start(struct offset_lookup *lookup);

static void query_close(struct offset_lookup *lookup, size_t i, int error, const char *detail)
{
    lookup->open[i] = false;
    lookup->queries[i].error = error;
    if (error && !lookup->detail[0])
        snprintf(lookup->detail, sizeof(lookup->detail), "%s", detail);
}

// ------------------------------------------------------------------------------------- one call

static void group_encode(struct call *call, struct kp_writer *writer)
{
    struct lookup_group *group = list_entry(call, struct lookup_group, call);
    const struct offset_lookup *lookup = group->lookup;
    struct kp_list_offsets_request message;
    kp_list_offsets_request_init(&message);
    message.replica_id = -1;
    message.isolation_level = lookup->isolation;
    message.timeout_ms = (int32_t)lookup->client->config.request_timeout_ms;
    message.topics = arena_array(writer->arena, group->count, sizeof(*message.topics));
    struct kp_list_offsets_request_partition *partitions =
        arena_array(writer->arena, group->count, sizeof(*partitions));
    if (!message.topics || !partitions) {
        writer->failed = true;
        return;
    }
    const struct metadata_topic *last = NULL;
    for (size_t i = 0; i < group->count; i++) {
        const struct weir_offset_query *query = &lookup->queries[group->indexes[i]];
        const struct metadata_topic *topic = lookup->topics[group->indexes[i]];
        if (topic != last) {
            struct kp_list_offsets_request_topic *to = &message.topics[message.topics_count++];
            kp_list_offsets_request_topic_init(to);
            to->name = span_text(topic->name);
            to->partitions = &partitions[i];
            last = topic;
        }
        kp_list_offsets_request_partition_init(&partitions[i]);
        partitions[i].partition_index = query->partition;
        partitions[i].timestamp = query->at;
        message.topics[message.topics_count - 1].partitions_count++;
    }
    kp_list_offsets_request_encode(writer, call->request.version, &message);
}

// Returns the answer's error if the query has to stay open.
static int answer_apply(struct lookup_group *group, size_t i, int16_t version,
                        const struct kp_list_offsets_response_partition *answer)
{
    struct offset_lookup *lookup = group->lookup;
    int error = error_from_wire(answer->error_code);
    if (weir_error_retriable(error)) {
        call_detail(&group->call, answer->error_code, (struct span){0});
        return error;
    }
    if (lookup->queries[i].at == WEIR_MAX_TIMESTAMP && version < MAX_TIMESTAMP_FROM) {
        query_close(lookup, i, WEIR_ERR_UNSUPPORTED,
                    "the broker is too old to find the largest timestamp");
        return WEIR_OK;
    }
    lookup->queries[i].offset = answer->offset;
    lookup->queries[i].timestamp = answer->timestamp;
    if (error)
        call_detail(&group->call, answer->error_code, (struct span){0});
    char detail[sizeof(lookup->detail)];
    snprintf(detail, sizeof(detail), "topic '%.249s' partition %d: %.200s",
             lookup->queries[i].topic, lookup->queries[i].partition, group->call.detail);
    query_close(lookup, i, error, detail);
    return WEIR_OK;
}

// The group's open query for a partition that the broker named; -1 for none.
static long query_find(const struct lookup_group *group, struct span topic, int32_t partition)
{
    const struct offset_lookup *lookup = group->lookup;
    for (size_t i = 0; i < group->count; i++) {
        size_t index = group->indexes[i];
        if (lookup->open[index] && lookup->queries[index].partition == partition &&
            span_equal(topic, span_text(lookup->topics[index]->name)))
            return (long)index;
    }
    return -1;
}

static int group_decode(struct call *call, struct reply *reply)
{
    struct lookup_group *group = list_entry(call, struct lookup_group, call);
    struct kp_list_offsets_response message;
    if (kp_list_offsets_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    bool closed = false;
    int error = WEIR_ERR_CORRUPT; // unless at least one of our partitions is answered
    for (int32_t t = 0; t < message.topics_count; t++) {
        const struct kp_list_offsets_response_topic *topic = &message.topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            long i = query_find(group, topic->name, topic->partitions[p].partition_index);
            if (i < 0)
                continue;
            error = answer_apply(group, (size_t)i, reply->version, &topic->partitions[p]);
            closed |= error == WEIR_OK;
        }
    }
    return closed ? WEIR_OK : error;
}

static void group_free(struct lookup_group *group)
{
    list_remove(&group->link);
    free(group->indexes);
    free(group);
}

static void group_done(struct call *call)
{
    struct lookup_group *group = list_entry(call, struct lookup_group, call);
    struct offset_lookup *lookup = group->lookup;
    for (size_t i = 0; i < group->count && call->error; i++) {
        if (lookup->open[group->indexes[i]])
            query_close(lookup, group->indexes[i], call->error, call->detail);
    }
    group_free(group);
    if (list_empty(&lookup->groups) && !lookup->starting)
        round_start(lookup);
}

// ------------------------------------------------------------------------------------- the rounds

// The group of a leader in this round; each partition without leader has one of its own.
static struct lookup_group *group_for(struct offset_lookup *lookup, int32_t leader)
{
    for (struct list *at = lookup->groups.next; at != &lookup->groups && leader >= 0;
         at = at->next) {
        struct lookup_group *group = list_entry(at, struct lookup_group, link);
        if (group->leader == leader)
            return group;
    }
    struct lookup_group *group = calloc(1, sizeof(*group));
    size_t *indexes = calloc(lookup->count, sizeof(*indexes));
    if (!group || !indexes) {
        free(group);
        free(indexes);
        return NULL;
    }
    group->lookup = lookup;
    group->leader = leader;
    group->indexes = indexes;
    list_append(&lookup->groups, &group->link);
    return group;
}

static void group_start(struct lookup_group *group)
{
    struct offset_lookup *lookup = group->lookup;
    group->call = (struct call){
        .client = lookup->client,
        .target = CALL_LEADER,
        .api_key = KP_LIST_OFFSETS_KEY,
        .topic = lookup->topics[group->indexes[0]],
        .partition = lookup->queries[group->indexes[0]].partition,
        .deadline_ns = lookup->deadline_ns,
        .encode = group_encode,
        .decode = group_decode,
        .done = group_done,
    };
    call_start(&group->call);
}

// Brokers refuse requests that name a partition twice: the second query waits for the next round.
static bool partition_asked(const struct lookup_group *group, size_t i)
{
    const struct offset_lookup *lookup = group->lookup;
    for (size_t j = 0; j < group->count; j++) {
        if (lookup->topics[group->indexes[j]] == lookup->topics[i] &&
            lookup->queries[group->indexes[j]].partition == lookup->queries[i].partition)
            return true;
    }
    return false;
}

// Adds all open queries of one topic, so that a request names each topic once.
static void topic_add(struct offset_lookup *lookup, size_t first)
{
    struct metadata_topic *topic = lookup->topics[first];
    for (size_t i = first; i < lookup->count; i++) {
        if (!lookup->open[i] || lookup->topics[i] != topic)
            continue;
        int32_t leader =
            metadata_leader(&lookup->client->metadata, topic, lookup->queries[i].partition);
        struct lookup_group *group = group_for(lookup, leader);
        if (!group)
            query_close(lookup, i, WEIR_ERR_NO_MEMORY, "out of memory");
        else if (!partition_asked(group, i))
            group->indexes[group->count++] = i;
    }
}

static bool topic_seen(const struct offset_lookup *lookup, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (lookup->open[j] && lookup->topics[j] == lookup->topics[i])
            return true;
    }
    return false;
}

static void round_start(struct offset_lookup *lookup)
{
    for (size_t i = 0; i < lookup->count; i++) {
        if (lookup->open[i] && !topic_seen(lookup, i))
            topic_add(lookup, i);
    }
    if (list_empty(&lookup->groups)) {
        lookup->finished = true;
        if (lookup->done)
            lookup->done(lookup);
        return;
    }
    // A call may finish at once; the next round must not start before all of this one have.
    lookup->starting = true;
    list_each(at, &lookup->groups)
        group_start(list_entry(at, struct lookup_group, link));
    lookup->starting = false;
    if (list_empty(&lookup->groups))
        round_start(lookup);
}

bool offset_lookup_start(struct offset_lookup *lookup)
{
    list_init(&lookup->groups);
    lookup->finished = false;
    lookup->detail[0] = '\0';
    lookup->topics = calloc(lookup->count + 1, sizeof(struct metadata_topic *));
    lookup->open = calloc(lookup->count + 1, sizeof(bool));
    bool sound = lookup->topics && lookup->open;
    for (size_t i = 0; i < lookup->count && sound; i++) {
        struct weir_offset_query *query = &lookup->queries[i];
        query->offset = query->timestamp = -1;
        query->error = WEIR_OK;
        lookup->open[i] = true;
        lookup->topics[i] = metadata_topic(&lookup->client->metadata, query->topic, false);
        sound = lookup->topics[i] != NULL;
    }
    if (!sound) {
        offset_lookup_free(lookup);
        return false;
    }
    round_start(lookup);
    return true;
}

void offset_lookup_free(struct offset_lookup *lookup)
{
    list_each(at, &lookup->groups) {
        struct lookup_group *group = list_entry(at, struct lookup_group, link);
        call_cancel(&group->call);
        group_free(group);
    }
    free(lookup->topics);
    free(lookup->open);
    lookup->topics = NULL;
    lookup->open = NULL;
}

static bool lookup_finished(void *context)
{
    return ((const struct offset_lookup *)context)->finished;
}

int weir_list_offsets(struct weir_client *client, struct weir_offset_query *queries, size_t count,
                      int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    for (size_t i = 0; i < count; i++) {
        if (!queries[i].topic || queries[i].partition < 0 || queries[i].at < WEIR_MAX_TIMESTAMP)
            return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                               "query %zu names no topic, or an impossible partition or place", i);
    }
    struct offset_lookup lookup = {
        .client = client,
        .queries = queries,
        .count = count,
        .deadline_ns = client_deadline(client, timeout_ms),
    };
    if (!offset_lookup_start(&lookup))
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    client_wait(client, lookup_finished, &lookup, lookup.deadline_ns);
    for (size_t i = 0; i < count; i++) {
        if (lookup.open[i])
            query_close(&lookup, i, WEIR_ERR_TIMED_OUT, weir_error_text(WEIR_ERR_TIMED_OUT));
        if (!error)
            error = queries[i].error;
    }
    if (error)
        client_fail(client, error, "cannot look up offsets: %s", lookup.detail);
    offset_lookup_free(&lookup);
    return error;
}
