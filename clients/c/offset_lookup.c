// SPDX-License-Identifier: Apache-2.0
// Looks offsets up with the leaders of their partitions.
//
// It goes in rounds. In each, the open queries are grouped by leader, and one call is made per
// group, addressed to the leader of its first partition. An answer closes queries; those that the
// broker refused because it no longer leads them stay open for the next round.
//
// Of a topic that the client knows nothing of yet, only one query is made into a call, which waits
// for the metadata and finds out if there are none; the others join when the metadata has come.
//
// Invariants
//  1. A query is open until it has an offset or an error that repeating cannot cure.
//  2. A round follows only if the one before closed at least one query; a call that closed none
//     ends with an error or is repeated, after a pause, by call.c. So rounds cannot spin.
//  3. `order` is sorted by topic and partition, and so are the indexes of each group: no step is
//     slower than sorting.
//  4. Groups of leaders stand before groups of a single query.
#include "clients/c/offsets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/error.h"
#include "gen/kp_list_offsets.h"
#include "protocol/error.h"

enum { MAX_TIMESTAMP_FROM = 7, LEADER_NONE = -1 };

struct lookup_group {
    struct call call;
    struct list link;
    struct offset_lookup *lookup;
    int32_t leader; // LEADER_NONE: for one query only
    bool started;
    size_t count;
    size_t capacity;
    size_t *indexes; // of queries, by topic and partition
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

static int compare_place(const struct metadata_topic *a, int32_t a_partition,
                         const struct metadata_topic *b, int32_t b_partition)
{
    if (a != b)
        return (uintptr_t)a < (uintptr_t)b ? -1 : 1;
    return (a_partition > b_partition) - (a_partition < b_partition);
}

// The group's open query for a partition that the broker named; -1 for none.
static long query_find(const struct lookup_group *group, const struct metadata_topic *topic,
                       int32_t partition)
{
    const struct offset_lookup *lookup = group->lookup;
    size_t low = 0;
    size_t high = group->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        size_t i = group->indexes[middle];
        int order =
            compare_place(lookup->topics[i], lookup->queries[i].partition, topic, partition);
        if (order == 0)
            return lookup->open[i] ? (long)i : -1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
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
        const struct metadata_topic *known =
            map_get(&group->lookup->client->metadata.topics, topic->name);
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            long i = query_find(group, known, topic->partitions[p].partition_index);
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

static bool topic_unknown(const struct metadata_topic *topic)
{
    return topic->partition_count == 0 && !topic->error;
}

// What one query has not found out in time, no other one of the topic will.
static void topic_give_up(struct offset_lookup *lookup, const struct call *call)
{
    for (size_t i = 0; i < lookup->count; i++) {
        if (lookup->open[i] && lookup->topics[i] == call->topic)
            query_close(lookup, i, call->error, call->detail);
    }
}

static void group_done(struct call *call)
{
    struct lookup_group *group = list_entry(call, struct lookup_group, call);
    struct offset_lookup *lookup = group->lookup;
    for (size_t i = 0; i < group->count && call->error; i++) {
        if (lookup->open[group->indexes[i]])
            query_close(lookup, group->indexes[i], call->error, call->detail);
    }
    if (call->error && topic_unknown(call->topic))
        topic_give_up(lookup, call);
    group_free(group);
    if (list_empty(&lookup->groups) && !lookup->starting)
        round_start(lookup);
}

// ------------------------------------------------------------------------------------- the rounds

// The group that a query belongs to, which is made if need be. NULL when memory is short.
static struct lookup_group *group_for(struct offset_lookup *lookup, int32_t leader)
{
    list_each(at, &lookup->groups) {
        struct lookup_group *group = list_entry(at, struct lookup_group, link);
        if (leader == LEADER_NONE || group->leader == LEADER_NONE)
            break;
        if (group->leader == leader && !group->started)
            return group;
    }
    struct lookup_group *group = calloc(1, sizeof(*group));
    if (!group)
        return NULL;
    group->lookup = lookup;
    group->leader = leader;
    list_append(leader == LEADER_NONE ? &lookup->groups : lookup->groups.next, &group->link);
    return group;
}

static bool group_add(struct lookup_group *group, size_t i)
{
    if (group->count == group->capacity) {
        size_t capacity = group->capacity ? 2 * group->capacity : 4;
        size_t *indexes = reallocarray(group->indexes, capacity, sizeof(*indexes));
        if (!indexes)
            return false;
        group->indexes = indexes;
        group->capacity = capacity;
    }
    group->indexes[group->count++] = i;
    return true;
}

static void group_start(struct lookup_group *group)
{
    struct offset_lookup *lookup = group->lookup;
    group->started = true;
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

static void query_add(struct offset_lookup *lookup, size_t i)
{
    int32_t leader = LEADER_NONE;
    if (!topic_unknown(lookup->topics[i]))
        leader = metadata_leader(&lookup->client->metadata, lookup->topics[i],
                                 lookup->queries[i].partition);
    struct lookup_group *group = group_for(lookup, leader < 0 ? LEADER_NONE : leader);
    lookup->asked[i] = lookup->round;
    if (group && group_add(group, i))
        return;
    query_close(lookup, i, WEIR_ERR_NO_MEMORY, "out of memory");
    if (group && group->count == 0)
        group_free(group);
}

// Adds the open queries that this round has not asked yet. Brokers refuse requests that name a
// partition twice: the second query waits for the next round. Returns whether any wait for
// metadata.
static bool queries_add(struct offset_lookup *lookup)
{
    const struct weir_offset_query *last = NULL; // asked in this round
    const struct metadata_topic *last_topic = NULL;
    bool waiting = false;
    for (size_t k = 0; k < lookup->count; k++) {
        size_t i = lookup->order[k];
        const struct weir_offset_query *query = &lookup->queries[i];
        bool same_topic = last_topic == lookup->topics[i];
        bool same = same_topic && last->partition == query->partition;
        bool probed = same_topic && topic_unknown(last_topic);
        bool due = lookup->open[i] && lookup->asked[i] != lookup->round && !same;
        waiting |= due && probed;
        if (due && !probed)
            query_add(lookup, i);
        if (lookup->asked[i] == lookup->round) {
            last = query;
            last_topic = lookup->topics[i];
        }
    }
    return waiting;
}

// A call may finish at once; the next round must not start before all of this one have.
static void groups_start(struct offset_lookup *lookup)
{
    lookup->starting = true;
    list_each(at, &lookup->groups) {
        struct lookup_group *group = list_entry(at, struct lookup_group, link);
        if (!group->started)
            group_start(group);
    }
    lookup->starting = false;
}

static void round_go_on(struct offset_lookup *lookup)
{
    if (queries_add(lookup) && list_empty(&lookup->waiter.node))
        metadata_wait(&lookup->client->metadata, &lookup->waiter);
    if (list_empty(&lookup->groups)) {
        lookup->finished = true;
        if (lookup->done)
            lookup->done(lookup);
        return;
    }
    groups_start(lookup);
    if (list_empty(&lookup->groups))
        round_start(lookup);
}

static void metadata_came(struct metadata_waiter *waiter)
{
    struct offset_lookup *lookup = list_entry(waiter, struct offset_lookup, waiter);
    if (!lookup->finished && !lookup->starting)
        round_go_on(lookup);
}

static void round_start(struct offset_lookup *lookup)
{
    lookup->round++;
    round_go_on(lookup);
}

static int compare_queries(const void *a, const void *b, void *context)
{
    const struct offset_lookup *lookup = context;
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    int order = compare_place(lookup->topics[x], lookup->queries[x].partition, lookup->topics[y],
                              lookup->queries[y].partition);
    return order ? order : (x > y) - (x < y);
}

bool offset_lookup_start(struct offset_lookup *lookup)
{
    list_init(&lookup->groups);
    lookup->finished = false;
    lookup->detail[0] = '\0';
    lookup->topics = calloc(lookup->count + 1, sizeof(struct metadata_topic *));
    lookup->open = calloc(lookup->count + 1, sizeof(bool));
    lookup->order = calloc(lookup->count + 1, sizeof(size_t));
    lookup->asked = calloc(lookup->count + 1, sizeof(uint32_t));
    lookup->round = 0;
    lookup->waiter = (struct metadata_waiter){.updated = metadata_came};
    list_init(&lookup->waiter.node);
    bool sound = lookup->topics && lookup->open && lookup->order && lookup->asked;
    for (size_t i = 0; i < lookup->count && sound; i++) {
        struct weir_offset_query *query = &lookup->queries[i];
        query->offset = query->timestamp = -1;
        query->error = WEIR_OK;
        lookup->open[i] = true;
        lookup->order[i] = i;
        lookup->topics[i] = metadata_topic(&lookup->client->metadata, query->topic, false);
        sound = lookup->topics[i] != NULL;
    }
    if (!sound) {
        offset_lookup_free(lookup);
        return false;
    }
    qsort_r(lookup->order, lookup->count, sizeof(*lookup->order), compare_queries, lookup);
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
    list_remove(&lookup->waiter.node);
    free(lookup->topics);
    free(lookup->open);
    free(lookup->order);
    free(lookup->asked);
    lookup->topics = NULL;
    lookup->open = NULL;
    lookup->order = NULL;
    lookup->asked = NULL;
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
