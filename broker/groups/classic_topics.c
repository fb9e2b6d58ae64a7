// SPDX-License-Identifier: Apache-2.0
// The topics that the members of a classic group of type "consumer" are subscribed to. Offsets of
// these may not be deleted and do not expire.
//
// 1. They are counted when somebody asks, once until members change. The work is bounded: after
//    NAMES_MAX names, or where metadata cannot be read, any topic may be one of them.
// 2. Most members are subscribed to the same list: one that repeats that of the member before costs
//    a comparison.
#include "broker/groups/consumer_protocol.h"
#include "broker/groups/group_internal.h"

enum { NAMES_MAX = 100000 };

struct count {
    uint32_t names;
    struct span last; // the list of the member before
};

void classic_topics_forget(struct group *group)
{
    if (!group->topics.counted)
        return;
    map_free(&group->topics.names);
    group->topics.counted = false;
    group->topics.unknown = false;
}

// False when it is not all known.
static bool count_member(struct group *group, const struct group_member *member,
                         struct count *count)
{
    struct consumer_topics topics;
    struct span name;
    struct span metadata = group_offers_metadata(member, group->protocol);
    if (!metadata.data)
        return false;
    if (count->last.size && count->last.size <= metadata.size &&
        memcmp(metadata.data, count->last.data, count->last.size) == 0)
        return true;
    if (!consumer_topics_begin(metadata, &topics))
        return false;
    while (consumer_topics_next(&topics, &name)) {
        if (++count->names > NAMES_MAX || map_put(&group->topics.names, name, group))
            return false;
    }
    count->last = span_of(metadata.data, metadata.size - kp_reader_left(&topics.reader));
    return !topics.reader.failed;
}

static void count_topics(struct group *group)
{
    struct count count = {0};
    group->topics.counted = true;
    group->topics.unknown = !group->protocol;
    list_each(node, &group->members) {
        if (group->topics.unknown)
            return;
        if (!count_member(group, list_entry(node, struct group_member, node), &count))
            group->topics.unknown = true;
    }
}

bool classic_subscribes(struct group *group, struct span topic)
{
    if (!group->topics.counted)
        count_topics(group);
    return group->topics.unknown || map_get(&group->topics.names, topic);
}
