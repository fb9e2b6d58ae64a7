// SPDX-License-Identifier: Apache-2.0
// Topics of a group, and sets of their partitions.
//
// 1. A topic is there as long as a set or a subscription holds it.
// 2. A set is sorted, and has no part twice.
#include <stdlib.h>

#include "broker/groups/group_internal.h"

// --- topics --------------------------------------------------------------------------------------

static struct span id_span(const struct kp_uuid *id)
{
    return span_of(id->bytes, sizeof(id->bytes));
}

struct consumer_topic *consumer_topic_find(struct group *group, struct kp_uuid id)
{
    return map_get(&group->consumer.topics, id_span(&id));
}

struct consumer_topic *consumer_topic_get(struct group *group, struct kp_uuid id,
                                          const struct catalog_topic *from)
{
    struct consumer_topic *topic = consumer_topic_find(group, id);
    if (topic)
        return topic;
    struct span name = from ? span_text(from->name) : kp_empty();
    topic = malloc(sizeof(*topic) + name.size);
    if (!topic)
        return NULL;
    *topic = (struct consumer_topic){.id = id, .partition_count = from ? from->partition_count : 0};
    if (name.size)
        memcpy(topic->text, name.data, name.size);
    topic->name = span_of(topic->text, name.size);
    if (map_put(&group->consumer.topics, id_span(&topic->id), topic)) {
        free(topic);
        return NULL;
    }
    return topic;
}

void consumer_topic_let_go(struct group *group, struct consumer_topic *topic)
{
    if (topic->holds > 0 && --topic->holds > 0)
        return;
    map_remove(&group->consumer.topics, id_span(&topic->id));
    free(topic->holders);
    free(topic);
}

bool consumer_topic_make_room(struct consumer_topic *topic, int32_t partition)
{
    if (partition < topic->holder_count)
        return true;
    int32_t count = topic->partition_count > partition ? topic->partition_count : partition + 1;
    struct consumer_member **holders =
        realloc(topic->holders, (size_t)count * sizeof(struct consumer_member *));
    if (!holders)
        return false;
    for (int32_t i = topic->holder_count; i < count; i++)
        holders[i] = NULL;
    topic->holders = holders;
    topic->holder_count = count;
    return true;
}

struct consumer_member *consumer_holder(const struct consumer_part *part)
{
    return part->partition < part->topic->holder_count ? part->topic->holders[part->partition]
                                                       : NULL;
}

// --- sets ----------------------------------------------------------------------------------------

int consumer_part_compare(const void *a, const void *b)
{
    const struct consumer_part *left = a;
    const struct consumer_part *right = b;
    if (left->topic != right->topic)
        return memcmp(left->topic->id.bytes, right->topic->id.bytes, sizeof(left->topic->id.bytes));
    return (left->partition > right->partition) - (left->partition < right->partition);
}

static void drop_parts(struct group *group, struct consumer_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        consumer_topic_let_go(group, set->parts[i].topic);
    free(set->parts);
    group->consumer.parts -= set->count;
}

bool consumer_set_replace(struct group *group, struct consumer_set *set,
                          const struct consumer_part *parts, uint32_t count)
{
    struct consumer_set new = {.count = count};
    if (count > 0) {
        new.parts = malloc(count * sizeof(*parts));
        if (!new.parts)
            return false;
        memcpy(new.parts, parts, count * sizeof(*parts));
    }
    for (uint32_t i = 0; i < count; i++)
        parts[i].topic->holds++;
    drop_parts(group, set);
    group->consumer.parts += count;
    *set = new;
    return true;
}

void consumer_set_free(struct group *group, struct consumer_set *set)
{
    drop_parts(group, set);
    *set = (struct consumer_set){0};
}

bool consumer_set_has(const struct consumer_set *set, struct consumer_part part)
{
    uint32_t low = 0;
    uint32_t high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = consumer_part_compare(&set->parts[middle], &part);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool consumer_set_equal(const struct consumer_set *set, const struct consumer_part *parts,
                        uint32_t count)
{
    if (set->count != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (set->parts[i].topic != parts[i].topic || set->parts[i].partition != parts[i].partition)
            return false;
    return true;
}

// --- lists of parts ------------------------------------------------------------------------------

bool consumer_part_list_add(struct consumer_part_list *list, struct consumer_topic *topic,
                            int32_t partition)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? 2 * list->capacity : 64;
        struct consumer_part *parts = realloc(list->parts, capacity * sizeof(*parts));
        if (!parts)
            return false;
        list->parts = parts;
        list->capacity = capacity;
    }
    topic->holds++;
    list->parts[list->count++] = (struct consumer_part){.topic = topic, .partition = partition};
    return true;
}

void consumer_part_list_empty(struct group *group, struct consumer_part_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        consumer_topic_let_go(group, list->parts[i].topic);
    list->count = 0;
}

// --- lists of topics -----------------------------------------------------------------------------

bool consumer_topic_list_add(struct consumer_topic_list *topics, struct consumer_topic *topic)
{
    if (topics->count == topics->capacity) {
        uint32_t capacity = topics->capacity ? 2 * topics->capacity : 4;
        struct consumer_topic **items =
            realloc(topics->items, capacity * sizeof(struct consumer_topic *));
        if (!items)
            return false;
        topics->items = items;
        topics->capacity = capacity;
    }
    topic->holds++;
    topics->items[topics->count++] = topic;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct consumer_topic *const *left = a;
    const struct consumer_topic *const *right = b;
    return memcmp((*left)->id.bytes, (*right)->id.bytes, sizeof((*left)->id.bytes));
}

void consumer_topic_list_sort(struct group *group, struct consumer_topic_list *topics)
{
    uint32_t count = 0;
    if (topics->count == 0)
        return;
    qsort(topics->items, topics->count, sizeof(struct consumer_topic *), by_id);
    for (uint32_t i = 0; i < topics->count; i++) {
        if (count > 0 && topics->items[i] == topics->items[count - 1])
            consumer_topic_let_go(group, topics->items[i]);
        else
            topics->items[count++] = topics->items[i];
    }
    topics->count = count;
}

void consumer_topic_list_free(struct group *group, struct consumer_topic_list *topics)
{
    for (uint32_t i = 0; i < topics->count; i++)
        consumer_topic_let_go(group, topics->items[i]);
    free(topics->items);
    *topics = (struct consumer_topic_list){0};
}
