// SPDX-License-Identifier: Apache-2.0
// Partitions that a person chose, with their offsets: what commands about places in logs work on.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/app.h"
#include "tools/value.h"

struct place {
    char *topic;
    int32_t partition;
    int64_t first; // oldest offset there is
    int64_t end;   // offset the next record will get; -1 when nobody knows
    int64_t found; // what places_find found
    int64_t committed;
};

struct places {
    struct place *items; // by topic and partition
    size_t count;
};

// Frees the items; the structure may be used again.
void places_free(struct places *places);

// Adds a partition unless it is there already; keeps the order. The item, or NULL without memory.
// Pointers to other items become invalid.
struct place *places_add(struct places *places, const char *topic, int32_t partition);

// NULL when it is not there.
struct place *places_get(const struct places *places, const char *topic, int32_t partition);

// Adds what `choices` names: "orders" (all partitions), "orders:3", "orders:0,2,5-7". Asks the
// broker, so that unknown topics and partitions are told. Waits. 0 or an exit code after having
// reported why.
int places_choose(struct places *places, const struct app *app, struct weir_client *client,
                  const char *const *choices, size_t count);

// Fills in `first` and `end`. With `forgiving`, those of partitions that no longer exist become -1,
// and nothing is reported. Waits. 0 or an exit code.
int places_measure(struct places *places, const struct app *app, struct weir_client *client,
                   bool forgiving);

// Fills in `found`: where `position` is in each partition, after places_measure. An OFFSET that a
// partition does not have is an error. Waits. 0 or an exit code.
int places_find(struct places *places, const struct app *app, struct weir_client *client,
                struct position position);
