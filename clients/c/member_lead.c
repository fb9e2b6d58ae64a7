// SPDX-License-Identifier: Apache-2.0
// What the leader of a classic group does: shares the topics' partitions out among the members, and
// watches the topics afterwards.
//
// Invariants
//  1. What it shares out was written by the members, who are peers: names that cannot be topics'
//     are left out, and a member whose bytes make no sense gets nothing; nobody else suffers.
//  2. The problem lives in `round`, from JoinGroup's answer until SyncGroup's.
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "clients/c/consumer.h"
#include "gen/kp_join_group.h"

enum { TOPIC_NAME_MAX = 249, TOPICS_MAX = 100000 };

// The members' words while the problem is made of them.
struct lead {
    struct member *member;
    struct arena *arena;
    struct assignor *assignor;
    struct member_subscription *subscriptions; // of each member
    struct map topics;                         // names, as spans
};

static bool name_valid(struct span name)
{
    return name.size > 0 && name.size <= TOPIC_NAME_MAX && !memchr(name.data, '\0', name.size);
}

static struct span span_copy(struct arena *arena, struct span from)
{
    return from.data ? span_of(arena_text(arena, from.data, from.size), from.size)
                     : (struct span){0};
}

// Reads what the members say, and collects the topics.
static bool members_read(struct lead *lead, const struct kp_join_group_response *answer)
{
    bool sticky = strcmp(lead->member->classics.protocol_name, "sticky") == 0;
    for (int32_t i = 0; i < answer->members_count; i++) {
        const struct kp_join_group_response_member *from = &answer->members[i];
        struct assignor_member *to = &lead->assignor->members[i];
        struct span metadata = span_copy(lead->arena, from->metadata);
        to->id = span_copy(lead->arena, from->member_id);
        to->instance_id = span_copy(lead->arena, from->group_instance_id);
        if (!to->id.data || (from->metadata.size > 0 && !metadata.data))
            return false;
        struct member_subscription *said = &lead->subscriptions[i];
        if (!member_subscription_read(metadata, sticky, lead->arena, said))
            *said = (struct member_subscription){.generation = -1};
        to->generation = said->generation;
        for (int32_t t = 0; t < said->topic_count; t++) {
            struct span *name = &said->topics[t];
            if (name_valid(*name) && lead->topics.count < TOPICS_MAX &&
                !map_get(&lead->topics, *name) && map_put(&lead->topics, *name, name) != 0)
                return false;
        }
    }
    return true;
}

static int topic_order(const void *a, const void *b)
{
    const struct assignor_topic *left = a, *right = b;
    size_t shorter = left->name.size < right->name.size ? left->name.size : right->name.size;
    int order = memcmp(left->name.data, right->name.data, shorter);
    return order ? order
                 : (left->name.size > right->name.size) - (left->name.size < right->name.size);
}

// Puts the topics in order; from then on the map says where each one stands.
static bool topics_list(struct lead *lead)
{
    struct assignor *assignor = lead->assignor;
    struct member_classic *classics = &lead->member->classics;
    size_t count = lead->topics.count, at = 0;
    assignor->topics = arena_array(lead->arena, count + 1, sizeof(*assignor->topics));
    classics->topics = arena_array(lead->arena, count + 1, sizeof(struct metadata_topic *));
    if (!assignor->topics || !classics->topics)
        return false;
    for (struct span *name; (name = map_next(&lead->topics, &at));)
        assignor->topics[assignor->topic_count++].name = *name;
    if (count > 0)
        qsort(assignor->topics, count, sizeof(*assignor->topics), topic_order);
    for (size_t i = 0; i < count; i++) {
        struct span name = assignor->topics[i].name;
        char *text = arena_text(lead->arena, name.data, name.size);
        classics->topics[i] =
            text ? metadata_topic(&lead->member->consumer->client->metadata, text, false) : NULL;
        if (!classics->topics[i] || map_put(&lead->topics, name, &assignor->topics[i]) != 0)
            return false;
    }
    return true;
}

// The place of a topic; -1 for one that nobody subscribes to.
static long topic_place(const struct lead *lead, struct span name)
{
    const struct assignor_topic *topic = name.data ? map_get(&lead->topics, name) : NULL;
    return topic ? topic - lead->assignor->topics : -1;
}

static int place_order(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static bool subscription_place(const struct lead *lead, size_t m)
{
    const struct member_subscription *said = &lead->subscriptions[m];
    struct assignor_member *member = &lead->assignor->members[m];
    member->topics =
        arena_array(lead->arena, (size_t)said->topic_count + 1, sizeof(*member->topics));
    if (!member->topics)
        return false;
    size_t count = 0;
    for (int32_t i = 0; i < said->topic_count; i++) {
        long place = topic_place(lead, said->topics[i]);
        if (place >= 0)
            member->topics[count++] = (uint32_t)place;
    }
    if (count > 0)
        qsort(member->topics, count, sizeof(*member->topics), place_order);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || member->topics[i] != member->topics[i - 1])
            member->topics[member->topic_count++] = member->topics[i];
    }
    return true;
}

static bool owned_place(const struct lead *lead, size_t m)
{
    const struct topic_shares *owned = &lead->subscriptions[m].owned;
    struct assignor_member *member = &lead->assignor->members[m];
    size_t most = 0;
    for (int32_t t = 0; t < owned->count; t++)
        most += (size_t)owned->topics[t].partition_count;
    member->owned = arena_array(lead->arena, most + 1, sizeof(*member->owned));
    if (!member->owned)
        return false;
    for (int32_t t = 0; t < owned->count; t++) {
        long place = topic_place(lead, owned->topics[t].topic);
        for (int32_t p = 0; p < owned->topics[t].partition_count && place >= 0; p++)
            member->owned[member->owned_count++] = (struct assignor_partition){
                .topic = (uint32_t)place, .partition = owned->topics[t].partitions[p]};
    }
    return true;
}

bool lead_begin(struct member *member, const struct kp_join_group_response *answer)
{
    struct arena *arena = &member->classics.round;
    struct assignor *assignor = &member->classics.assignor;
    size_t count = answer->members_count > 0 ? (size_t)answer->members_count : 0;
    arena_reset(arena);
    *assignor = (struct assignor){.arena = arena, .member_count = count};
    struct lead lead = {.member = member, .arena = arena, .assignor = assignor};
    assignor->members = arena_array(arena, count + 1, sizeof(*assignor->members));
    lead.subscriptions = arena_array(arena, count + 1, sizeof(*lead.subscriptions));
    map_init(&lead.topics);
    bool sound = assignor->members && lead.subscriptions && members_read(&lead, answer) &&
                 topics_list(&lead);
    for (size_t m = 0; m < count && sound; m++)
        sound = subscription_place(&lead, m) && owned_place(&lead, m);
    map_free(&lead.topics);
    return sound;
}

bool lead_ready(const struct member *member)
{
    const struct member_classic *classics = &member->classics;
    for (size_t i = 0; i < classics->assignor.topic_count; i++) {
        if (classics->topics[i]->partition_count == 0 && !classics->topics[i]->error)
            return false;
    }
    return true;
}

// Remembers what the assignment is made from.
static bool watches_set(struct member_classic *classics)
{
    size_t count = classics->assignor.topic_count;
    struct member_watch *watches = calloc(count + 1, sizeof(*watches));
    if (!watches)
        return false;
    for (size_t i = 0; i < count; i++) {
        watches[i] = (struct member_watch){
            .topic = classics->topics[i],
            .partition_count = classics->topics[i]->partition_count,
        };
        classics->assignor.topics[i].partition_count = watches[i].partition_count;
    }
    free(classics->watches);
    classics->watches = watches;
    classics->watch_count = count;
    return true;
}

bool lead_assign(struct member *member)
{
    struct member_classic *classics = &member->classics;
    assignor_function *assign = assignor_find(span_text(classics->protocol_name));
    if (!watches_set(classics))
        return false;
    return classics->skip || !assign || assign(&classics->assignor);
}

bool lead_outdated(const struct member *member)
{
    const struct member_classic *classics = &member->classics;
    if (!classics->leader)
        return false;
    for (size_t i = 0; i < classics->watch_count; i++) {
        if (classics->watches[i].topic->partition_count != classics->watches[i].partition_count)
            return true;
    }
    return false;
}
