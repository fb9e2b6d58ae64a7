// SPDX-License-Identifier: Apache-2.0
// One look at a whole broker: topics with their rates, groups with their lag.
#pragma once

#include <jansson.h>

#include "tools/app.h"

// Returns {topics: [{topic, partitions, records, end, rate}], groups: [{group, state, members, lag,
// rate}]}, each list in order of names; rates are records per second since `previous`, null without
// it (NULL). Internal topics are left out. NULL after having reported why, with *code set. Waits.
json_t *top_sample(struct app *app, struct weir_client *client, const json_t *previous, int *code);
