// SPDX-License-Identifier: Apache-2.0
// What members are subscribed to: names, and a pattern that names are matched with. Members with
// equal subscriptions share one, and what it amounts to is looked up once.
//
// 1. A pattern is matched with the names of all topics in passes that take a bounded part of every
//    step. What a pass has found counts when it has ended; until then what the pass before found
//    does. A pass during which the catalog has changed is followed by another one.
// 2. A subscription is known when its first pass has ended. As long as one is not, the group gets
//    no new targets, for they would take from members what they may have (consumer_target.c).
// 3. A pattern that takes too many steps matches nothing, and its members are told so.
// 4. Topics of the broker's own are not matched; they can be named.
#include <errno.h>
#include <stdlib.h>

#include "base/pattern.h"
#include "broker/groups/group_internal.h"

// --- making one ----------------------------------------------------------------------------------

static int by_bytes(const void *a, const void *b)
{
    const struct span *left = a;
    const struct span *right = b;
    size_t least = left->size < right->size ? left->size : right->size;
    int order = least ? memcmp(left->data, right->data, least) : 0;
    return order ? order : (left->size > right->size) - (left->size < right->size);
}

static uint32_t sort_names(struct span *names, uint32_t count)
{
    uint32_t kept = 0;
    qsort(names, count, sizeof(*names), by_bytes);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || !span_equal(names[i], names[kept - 1]))
            names[kept++] = names[i];
    return kept;
}

static uint8_t *put_text(uint8_t *to, struct span text, struct span *kept)
{
    uint32_t size = (uint32_t)text.size;
    memcpy(to, &size, sizeof(size));
    to += sizeof(size);
    if (size)
        memcpy(to, text.data, size);
    *kept = span_of(to, size);
    return to + size;
}

// Takes `names`, sorted. NULL without memory.
static struct consumer_subscription *subscription_new(struct span *names, uint32_t count,
                                                      struct span regex)
{
    size_t size = (1 + (size_t)count) * sizeof(uint32_t) + regex.size;
    for (uint32_t i = 0; i < count; i++)
        size += names[i].size;
    struct consumer_subscription *subscription = malloc(sizeof(*subscription) + size);
    if (!subscription) {
        free(names);
        return NULL;
    }
    *subscription = (struct consumer_subscription){.names = names, .name_count = count};
    list_init(&subscription->node);
    uint8_t *at = put_text(subscription->text, regex, &subscription->regex);
    if (regex.size == 0)
        subscription->regex = (struct span){0};
    for (uint32_t i = 0; i < count; i++)
        at = put_text(at, names[i], &names[i]);
    subscription->key = span_of(subscription->text, size);
    return subscription;
}

static void subscription_free(struct group *group, struct consumer_subscription *subscription)
{
    list_remove(&subscription->node);
    consumer_topic_list_free(group, &subscription->topics);
    consumer_topic_list_free(group, &subscription->found);
    pattern_free(subscription->pattern);
    free(subscription->names);
    free(subscription);
}

static void let_work_rest(struct group *group)
{
    if (list_empty(&group->consumer.matching))
        group->consumer.work_due_ms = INT64_MAX;
}

void consumer_subscription_let_go(struct group *group, struct consumer_subscription *subscription)
{
    if (!subscription || --subscription->members > 0)
        return;
    map_remove(&group->consumer.subscriptions, subscription->key);
    if (!subscription->known)
        group->consumer.unknown--;
    subscription_free(group, subscription);
    let_work_rest(group);
}

// --- what it amounts to --------------------------------------------------------------------------

static bool add_topic(struct group *group, struct consumer_topic_list *topics,
                      const struct catalog_topic *from)
{
    struct consumer_topic *topic = consumer_topic_get(group, from->id, from);
    if (!topic)
        return false;
    if (consumer_topic_list_add(topics, topic))
        return true;
    if (topic->holds == 0)
        consumer_topic_let_go(group, topic);
    return false;
}

static bool add_named(struct group *group, const struct group_step *step,
                      const struct consumer_subscription *subscription,
                      struct consumer_topic_list *topics)
{
    for (uint32_t i = 0; i < subscription->name_count && step->catalog; i++) {
        const struct catalog_topic *topic = catalog_find(step->catalog, subscription->names[i]);
        if (topic && !add_topic(group, topics, topic))
            return false;
    }
    return true;
}

// Takes `found` over.
static void set_topics(struct group *group, struct group_step *step,
                       struct consumer_subscription *subscription,
                       struct consumer_topic_list *found)
{
    if (!add_named(group, step, subscription, found)) {
        consumer_topic_list_free(group, found);
        step->failed = true;
        return;
    }
    consumer_topic_list_sort(group, found);
    consumer_topic_list_free(group, &subscription->topics);
    subscription->topics = *found;
    *found = (struct consumer_topic_list){0};
    if (!subscription->known)
        group->consumer.unknown--;
    subscription->known = true;
}

// --- passes --------------------------------------------------------------------------------------

static uint64_t version_of(const struct group_step *step)
{
    return step->catalog ? step->catalog->version : 0;
}

static void begin_pass(struct group *group, struct group_step *step,
                       struct consumer_subscription *subscription)
{
    subscription->found_version = version_of(step);
    subscription->after_size = 0;
    group->consumer.work_due_ms = step->now_ms;
    list_append(&group->consumer.matching, &subscription->node);
}

static uint32_t first_behind(const struct catalog *catalog, struct span name)
{
    uint32_t low = 0;
    uint32_t high = catalog->topic_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct span other = span_text(catalog->topics[middle]->name);
        if (by_bytes(&other, &name) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remember(struct consumer_subscription *subscription, const char *name)
{
    size_t size = strlen(name);
    CHECK(size < sizeof(subscription->after));
    memcpy(subscription->after, name, size);
    subscription->after_size = (uint8_t)size;
}

// False when the pattern turns out to be of no use, or memory is short.
static bool match_topic(struct group *group, struct group_step *step,
                        struct consumer_subscription *subscription,
                        const struct catalog_topic *topic, uint32_t *cost)
{
    int matches =
        topic->internal ? 0 : pattern_match(subscription->pattern, span_text(topic->name), cost);
    if (matches == -E2BIG) {
        subscription->broken = true;
        return false;
    }
    if (matches < 0) {
        step->failed = true;
        return false;
    }
    if (matches && !add_topic(group, &subscription->found, topic)) {
        step->failed = true;
        return false;
    }
    return true;
}

static void end_pass(struct group *group, struct group_step *step,
                     struct consumer_subscription *subscription)
{
    list_remove(&subscription->node);
    if (subscription->broken)
        consumer_topic_list_free(group, &subscription->found);
    set_topics(group, step, subscription, &subscription->found);
    if (!subscription->broken && subscription->found_version != version_of(step))
        begin_pass(group, step, subscription);
}

// Goes on with a pass while `cost` is below the bound.
static void go_on(struct group *group, struct group_step *step,
                  struct consumer_subscription *subscription, uint32_t *cost)
{
    const struct catalog *catalog = step->catalog;
    struct span after = span_of(subscription->after, subscription->after_size);
    uint32_t i = catalog && subscription->after_size ? first_behind(catalog, after) : 0;
    for (; catalog && i < catalog->topic_count; i++) {
        if (*cost >= CONSUMER_PATTERN_COST)
            return;
        if (!match_topic(group, step, subscription, catalog->topics[i], cost))
            break;
        remember(subscription, catalog->topics[i]->name);
    }
    if (!step->failed)
        end_pass(group, step, subscription);
}

void consumer_subscriptions_work(struct group *group, struct group_step *step)
{
    uint32_t cost = 0;
    while (!list_empty(&group->consumer.matching) && cost < CONSUMER_PATTERN_COST && !step->failed)
        go_on(group, step,
              list_entry(group->consumer.matching.next, struct consumer_subscription, node), &cost);
    step->cost += cost;
    let_work_rest(group);
}

static void look_up(struct group *group, struct group_step *step,
                    struct consumer_subscription *subscription)
{
    struct consumer_topic_list found = {0};
    if (!subscription->pattern || subscription->broken)
        set_topics(group, step, subscription, &found);
    else if (list_empty(&subscription->node))
        begin_pass(group, step, subscription);
    step->cost += subscription->name_count / 8;
}

static void refresh_topics(struct group *group, struct group_step *step)
{
    const struct consumer_topic *each;
    for (size_t at = 0; (each = map_next(&group->consumer.topics, &at));) {
        struct consumer_topic *topic = consumer_topic_find(group, each->id);
        const struct catalog_topic *now =
            step->catalog ? catalog_find_id(step->catalog, topic->id) : NULL;
        topic->partition_count = now ? now->partition_count : 0;
    }
}

void consumer_subscriptions_refresh(struct group *group, struct group_step *step)
{
    struct consumer_subscription *subscription;
    refresh_topics(group, step);
    for (size_t at = 0; (subscription = map_next(&group->consumer.subscriptions, &at));)
        look_up(group, step, subscription);
    consumer_subscriptions_work(group, step);
}

// --- holding one ---------------------------------------------------------------------------------

static int compile(struct consumer_subscription *subscription)
{
    if (!subscription->regex.data)
        return 0;
    int error = pattern_compile(subscription->regex, &subscription->pattern);
    return error == -EINVAL ? KP_ERROR_INVALID_REGULAR_EXPRESSION : error;
}

static int add(struct group *group, struct group_step *step,
               struct consumer_subscription *subscription)
{
    int error = compile(subscription);
    if (!error && map_put(&group->consumer.subscriptions, subscription->key, subscription))
        error = -ENOMEM;
    if (error) {
        subscription_free(group, subscription);
        return error;
    }
    subscription->members = 1;
    group->consumer.unknown++;
    look_up(group, step, subscription);
    consumer_subscriptions_work(group, step);
    if (!subscription->broken)
        return 0;
    consumer_subscription_let_go(group, subscription);
    return KP_ERROR_INVALID_REGULAR_EXPRESSION;
}

int consumer_subscription_hold(struct group *group, struct group_step *step,
                               const struct span *names, uint32_t name_count, struct span regex,
                               struct consumer_subscription **out)
{
    if (name_count > CONSUMER_TOPICS_MAX)
        return KP_ERROR_INVALID_REQUEST;
    if (regex.size > PATTERN_MAX)
        return KP_ERROR_INVALID_REGULAR_EXPRESSION;
    struct span *copy = malloc((name_count + 1u) * sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    if (name_count)
        memcpy(copy, names, name_count * sizeof(*copy));
    name_count = sort_names(copy, name_count);
    struct consumer_subscription *new = subscription_new(copy, name_count, regex);
    if (!new)
        return -ENOMEM;
    struct consumer_subscription *old = map_get(&group->consumer.subscriptions, new->key);
    if (!old) {
        *out = new;
        return add(group, step, new);
    }
    subscription_free(group, new);
    if (old->broken)
        return KP_ERROR_INVALID_REGULAR_EXPRESSION;
    old->members++;
    *out = old;
    return 0;
}

bool consumer_subscribes(const struct group *group, struct span topic)
{
    const struct consumer_subscription *subscription;
    for (size_t at = 0; (subscription = map_next(&group->consumer.subscriptions, &at));) {
        if (!subscription->known ||
            bsearch(&topic, subscription->names, subscription->name_count, sizeof(topic), by_bytes))
            return true;
        for (uint32_t i = 0; subscription->pattern && i < subscription->topics.count; i++)
            if (span_equal(subscription->topics.items[i]->name, topic))
                return true;
    }
    return false;
}
