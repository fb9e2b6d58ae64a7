// SPDX-License-Identifier: Apache-2.0
// Where topics ended when a member of their group began (--until-end), and whether the group has
// come that far: also in partitions that other members have, or had until they were killed.
#pragma once

#include "tools/app.h"

struct group_ends {
    struct weir_topic_list *topics;
    struct weir_offset_query *ends; // one per partition, in order; `offset` is its end
    size_t count;
    uint64_t asked_ns; // when the broker was asked how far the group has come
    bool from_end;     // a partition of which nothing is committed begins at its end
};

// What a member reads: topics by name, or all whose names match the pattern.
struct group_topics {
    const char *const *names;
    size_t count;
    const char *pattern; // or NULL
};

// Makes sure that named topics are there and, with `until_end`, looks up where they end. Waits.
// 0, or an exit code after having reported why; *ends can be freed in any case.
int group_ends_open(struct group_ends *ends, const struct app *app, struct weir_client *client,
                    const struct group_topics *topics, bool until_end);
void group_ends_free(struct group_ends *ends);

// Where a partition ended; 0 if it was not there.
int64_t group_ends_of(const struct group_ends *ends, const char *topic, int32_t partition);

// Whether everything before the ends is done with: the partitions for which `mine` is true, those
// that the group has committed to their ends, and those with no records left before them. Waits
// for the broker if it has to be asked, which it is a few times a second, however often this is
// called; false when it was not asked, or does not answer.
bool group_ends_reached(struct group_ends *ends, struct weir_client *client,
                        struct weir_consumer *consumer,
                        bool (*mine)(void *context, const char *topic, int32_t partition),
                        void *context, int timeout_ms);
