// SPDX-License-Identifier: Apache-2.0
// Topics, and what members of a group of the consumer protocol (KIP-848) ask.
#pragma once

#include "tests/unit/group_fixture.h"

// --- topics --------------------------------------------------------------------------------------

enum { TOPICS_MAX = 1200 };

struct topics {
    struct catalog catalog;
    struct catalog_topic items[TOPICS_MAX];
    const struct catalog_topic *order[TOPICS_MAX];
    char names[TOPICS_MAX][24];
    uint32_t ids;
};

static inline int topics_by_name(const void *a, const void *b)
{
    const struct catalog_topic *const *left = a;
    const struct catalog_topic *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static inline void topics_index(struct topics *topics)
{
    struct catalog *catalog = &topics->catalog;
    map_free(&catalog->by_name);
    map_free(&catalog->by_id);
    catalog->topics = topics->order;
    catalog->topic_count = 0;
    catalog->version++;
    for (uint32_t i = 0; i < TOPICS_MAX; i++) {
        struct catalog_topic *topic = &topics->items[i];
        if (!topic->name)
            continue;
        topics->order[catalog->topic_count++] = topic;
        CHECK(map_put(&catalog->by_name, span_text(topic->name), topic) == 0);
        CHECK(map_put(&catalog->by_id, span_of(topic->id.bytes, 16), topic) == 0);
    }
    qsort(topics->order, catalog->topic_count, sizeof(*topics->order), topics_by_name);
}

// A new topic, one with another number of partitions, or, with none, the end of one.
static inline void topics_set(struct topics *topics, const char *name, int32_t partitions)
{
    uint32_t at = TOPICS_MAX;
    for (uint32_t i = TOPICS_MAX; i-- > 0;)
        if (!topics->items[i].name && (at == TOPICS_MAX || topics->items[at].name == NULL))
            at = i;
    for (uint32_t i = 0; i < TOPICS_MAX; i++)
        if (topics->items[i].name && strcmp(topics->items[i].name, name) == 0)
            at = i;
    CHECK(at < TOPICS_MAX);
    struct catalog_topic *topic = &topics->items[at];
    if (!topic->name) {
        *topic = (struct catalog_topic){.name = topics->names[at]};
        topic->id.bytes[0] = 1;
        topics->ids++;
        memcpy(topic->id.bytes + 12, &topics->ids, sizeof(topics->ids));
        snprintf(topics->names[at], sizeof(topics->names[at]), "%s", name);
    }
    topic->partition_count = partitions;
    if (partitions == 0)
        topic->name = NULL;
    topics_index(topics);
}

static inline void topics_free(struct topics *topics)
{
    map_free(&topics->catalog.by_name);
    map_free(&topics->catalog.by_id);
    free(topics);
}

// --- the group -----------------------------------------------------------------------------------

static inline struct topics *consumer_fixture_open(struct fixture *f)
{
    struct topics *topics = calloc(1, sizeof(*topics));
    CHECK(topics);
    fixture_open(f);
    f->limits.consumer_session_timeout_ms = 45000;
    f->limits.consumer_heartbeat_interval_ms = 5000;
    f->limits.consumer_max_members = 100;
    f->limits.assignors[0] = GROUP_UNIFORM;
    f->limits.assignors[1] = GROUP_RANGE;
    topics_index(topics);
    f->step.catalog = &topics->catalog;
    return topics;
}

static inline void consumer_fixture_close(struct fixture *f, struct topics *topics)
{
    fixture_close(f);
    topics_free(topics);
}

static inline void change_topic(struct fixture *f, struct topics *topics, const char *name,
                                int32_t partitions)
{
    topics_set(topics, name, partitions);
    group_catalog_changed(f->group, &f->step);
    fixture_settle(f);
}

// --- what members ask ----------------------------------------------------------------------------

struct pulse {
    const char *id;       // default "a"
    int32_t epoch;        // 0: joins
    const char *instance; // default none
    const char *topics;   // "t,u"; default none given, but "t" for who joins without a regex
    const char *regex;    // default none given
    const char *assignor;
    const char *rack;
    const char *owned;    // "t:0 t:1"; default none given, but "" for who joins
    int32_t rebalance_ms; // default 60000 for who joins, else none given
    int16_t version;      // default 1; -1: 0
};

static inline void pulse_topics(struct call *call, const char *list)
{
    struct kp_consumer_group_heartbeat_request *in = &call->in.consumer;
    if (!list)
        return;
    in->subscribed_topic_names_count = 0;
    in->subscribed_topic_names = arena_array(&call->arena, 1000, sizeof(struct span));
    while (*list) {
        size_t size = strcspn(list, ",");
        in->subscribed_topic_names[in->subscribed_topic_names_count++] =
            span_of(arena_text(&call->arena, list, size), size);
        list += size + (list[size] == ',');
    }
}

static inline void pulse_owned(struct call *call, const struct catalog *catalog, const char *list)
{
    struct kp_consumer_group_heartbeat_request *in = &call->in.consumer;
    if (!list)
        return;
    in->topic_partitions_count = 0;
    in->topic_partitions = arena_array(&call->arena, 1000, sizeof(*in->topic_partitions));
    while (*list) {
        size_t size = strcspn(list, ":");
        const struct catalog_topic *topic = catalog_find(catalog, span_of(list, size));
        struct kp_consumer_group_heartbeat_request_topic_partition *to =
            &in->topic_partitions[in->topic_partitions_count++];
        to->partitions = arena_array(&call->arena, 1, sizeof(int32_t));
        to->partitions_count = 1;
        to->partitions[0] = (int32_t)strtol(list + size + 1, NULL, 10);
        if (topic)
            to->topic_id = topic->id;
        list += strcspn(list, " ");
        list += *list == ' ';
    }
}

static inline struct call *pulse(struct fixture *f, struct pulse pulse)
{
    struct call *call = call_new(GROUP_CONSUMER_HEARTBEAT, pulse.version < 0 ? 0 : 1);
    struct kp_consumer_group_heartbeat_request *in = &call->in.consumer;
    bool joins = pulse.epoch == 0;
    kp_consumer_group_heartbeat_request_init(in);
    in->subscribed_topic_names_count = -1;
    in->topic_partitions_count = -1;
    in->group_id = span_text("readers");
    in->member_id = call_keep(call, pulse.id ? pulse.id : "a");
    in->member_epoch = pulse.epoch;
    in->instance_id = call_keep(call, pulse.instance);
    in->server_assignor = call_keep(call, pulse.assignor);
    in->rack_id = call_keep(call, pulse.rack);
    in->subscribed_topic_regex = call_keep(call, pulse.regex);
    in->rebalance_timeout_ms = pulse.rebalance_ms ? pulse.rebalance_ms : joins ? 60000 : -1;
    pulse_topics(call, pulse.topics ? pulse.topics : joins && !pulse.regex ? "t" : NULL);
    pulse_owned(call, f->step.catalog, pulse.owned ? pulse.owned : joins ? "" : NULL);
    fixture_ask(f, call);
    cr_assert(call->answered);
    return call;
}

static inline int16_t pulse_error(struct fixture *f, struct pulse args)
{
    return pulse(f, args)->out.consumer.error_code;
}

// "t:0 t:1", by name and number, what the answer assigns; "-" when it assigns nothing at all.
static inline const char *assigned(struct fixture *f, struct call *call)
{
    const struct kp_consumer_group_heartbeat_response_assignment *from =
        call->out.consumer.assignment;
    cr_assert_eq(call->out.consumer.error_code, 0, "%d", call->out.consumer.error_code);
    if (!from)
        return "-";
    char *text = arena_alloc(&call->arena, 65536);
    size_t size = 0;
    for (uint32_t t = 0; t < f->step.catalog->topic_count; t++) {
        const struct catalog_topic *topic = f->step.catalog->topics[t];
        for (int32_t i = 0; i < from->topic_partitions_count; i++) {
            if (!kp_uuid_equal(from->topic_partitions[i].topic_id, topic->id))
                continue;
            for (int32_t k = 0; k < from->topic_partitions[i].partitions_count; k++)
                size += (size_t)snprintf(text + size, 65536 - size, "%s%s:%d", size ? " " : "",
                                         topic->name, from->topic_partitions[i].partitions[k]);
        }
    }
    return text;
}

static inline int32_t epoch_of(const struct call *call)
{
    cr_assert_eq(call->out.consumer.error_code, 0, "%d", call->out.consumer.error_code);
    return call->out.consumer.member_epoch;
}

// A heartbeat of a member that does as it is told: it says what it has if that has changed, and is
// done when it was told nothing new.
struct obedient {
    const char *id;
    int32_t epoch;
    char owned[4096];
    bool told; // something new by the last answer
};

static inline void obey(struct fixture *f, struct obedient *member)
{
    struct call *call = pulse(f, (struct pulse){.id = member->id,
                                                .epoch = member->epoch,
                                                .owned = member->told ? member->owned : NULL});
    member->told = call->out.consumer.assignment != NULL;
    if (member->told)
        snprintf(member->owned, sizeof(member->owned), "%s", assigned(f, call));
    member->epoch = epoch_of(call);
}

static inline void obey_all(struct fixture *f, struct obedient *members, uint32_t count)
{
    for (uint32_t round = 0; round < 5; round++)
        for (uint32_t i = 0; i < count; i++)
            obey(f, &members[i]);
    cr_assert_str_eq(group_state_name(f->group), "Stable");
}

static inline struct call *describe_consumers(struct fixture *f)
{
    struct call *call = call_new(GROUP_CONSUMER_DESCRIBE, 1);
    kp_consumer_group_describe_response_group_init(&call->out.consumer_describe);
    call->out.consumer_describe.group_id = span_text("readers");
    return fixture_ask(f, call);
}
