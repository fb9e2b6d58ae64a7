// SPDX-License-Identifier: Apache-2.0
// What a consumer subscribes to: names of topics, or a pattern that picks them.
#pragma once

#include "base/pattern.h"
#include "clients/c/call.h"

struct subscription {
    struct weir_client *client;
    struct worker *worker; // driven when `names` have changed
    char **names;          // in order, each once; of a pattern: the topics it picks, once `listed`
    size_t count;
    char *text; // the pattern, or NULL
    struct pattern *pattern;
    uint64_t version; // rises with every change of names or pattern
    bool listed;      // the topics that the pattern picks have been looked up
    bool listing;     // `list` is under way
    struct call list; // of all topics
    uint64_t due_ns;  // when to list them again

    uint64_t known_version;               // of which all topics were seen to exist; 0: none yet
    uint64_t watch_due_ns;                // when to look again
    const struct metadata_topic *missing; // named in the client's trouble, or NULL
};

void subscription_init(struct subscription *subscription, struct weir_client *client,
                       struct worker *worker);
void subscription_free(struct subscription *subscription);

// Replace what there was. WEIR_OK, or an error with its sentence; nothing has changed then.
int subscription_set_names(struct subscription *subscription, const char *const *names,
                           size_t count);
int subscription_set_pattern(struct subscription *subscription, const char *pattern);
void subscription_clear(struct subscription *subscription);

static inline bool subscription_is_empty(const struct subscription *subscription)
{
    return subscription->count == 0 && !subscription->pattern;
}

bool subscription_has(const struct subscription *subscription, const char *name);

// Tells (weir_trouble, the log) of a topic that is subscribed to by name and does not exist, until
// all have been seen. Returns when to look again.
uint64_t subscription_watch(struct subscription *subscription);

// Looks the pattern's topics up when it is time to. Returns when the next time is.
uint64_t subscription_drive(struct subscription *subscription);
