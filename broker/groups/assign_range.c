// SPDX-License-Identifier: Apache-2.0
// The range assignor.
#include <errno.h>
#include <stdlib.h>

#include "broker/groups/assign.h"

static bool is_subscribed(const struct assign_subscription *subscription, uint32_t topic)
{
    uint32_t low = 0;
    uint32_t high = subscription->topic_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (subscription->topics[middle] < topic)
            low = middle + 1;
        else
            high = middle;
    }
    return low < subscription->topic_count && subscription->topics[low] == topic;
}

static uint32_t find_subscribers(const struct assign *assign, uint32_t topic, bool *subscribed,
                                 uint32_t *subscribers)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < assign->subscription_count; i++)
        subscribed[i] = is_subscribed(&assign->subscriptions[i], topic);
    for (uint32_t i = 0; i < assign->member_count; i++)
        if (subscribed[assign->member_subscription[i]])
            subscribers[count++] = i;
    return count;
}

static void cut(struct assign *assign, uint32_t topic, const uint32_t *subscribers, uint32_t count)
{
    uint32_t at = assign->first[topic];
    uint32_t partitions = assign->first[topic + 1] - at;
    for (uint32_t i = 0; i < partitions && count == 0; i++)
        assign->owner[at + i] = ASSIGN_NOBODY;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t share = partitions / count + (i < partitions % count);
        while (share-- > 0)
            assign->owner[at++] = subscribers[i];
    }
}

int assign_range(struct assign *assign)
{
    bool *subscribed = malloc(assign->subscription_count * sizeof(*subscribed) + 1);
    uint32_t *subscribers = malloc(assign->member_count * sizeof(*subscribers) + 1);
    int error = subscribed && subscribers ? 0 : -ENOMEM;
    uint32_t count = 0;
    for (uint32_t topic = 0; topic < assign->topic_count && !error; topic++) {
        if (topic == 0 || assign->subscription_count > 1)
            count = find_subscribers(assign, topic, subscribed, subscribers);
        cut(assign, topic, subscribers, count);
    }
    free(subscribed);
    free(subscribers);
    return error;
}
