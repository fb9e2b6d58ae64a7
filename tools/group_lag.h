// SPDX-License-Identifier: Apache-2.0
// How far groups have come: committed offsets beside the ends of the partitions.
#pragma once

#include <jansson.h>

#include "tools/app.h"
#include "tools/places.h"

// Adds every partition that the group has committed, with `committed`. Waits. 0 or an exit code.
int group_lag_committed(struct places *places, const struct app *app, struct weir_client *client,
                        const char *name);

// Adds every partition that the group has committed or, with `group`, that a member reads, with
// `committed`, `first` and `end` (-1 for what there is not). Waits. 0 or an exit code after having
// reported why.
int group_lag_collect(struct places *places, const struct app *app, struct weir_client *client,
                      const char *name, const struct weir_group *group);

// Records between the committed offset and the end; -1 when one of them is missing.
int64_t group_lag_of(const struct place *place);

// The sum over all partitions where there is one.
int64_t group_lag_total(const struct places *places);

// Rows topic, partition, committed, end, lag, member (its id), client; null for none.
json_t *group_lag_rows(const struct places *places, const struct weir_group *group);
