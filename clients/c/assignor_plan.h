// SPDX-License-Identifier: Apache-2.0
// What the assignors share: members in their order, partitions numbered through, one owner each.
#pragma once

#include "clients/c/assignor.h"

#define PLAN_NOBODY UINT32_MAX

struct plan {
    struct assignor *assignor;
    uint32_t member_count;
    uint32_t *members;     // rank -> index of assignor->members
    uint32_t *first;       // topic -> number of its first partition; [topic_count] = total
    uint32_t *subscribers; // ranks, topic after topic, ascending within one
    uint32_t *listed;      // topic -> where its subscribers begin; [topic_count] = their total
    uint32_t *owner;       // partition -> rank, or PLAN_NOBODY
};

// False when memory is short.
bool assignor_plan_make(struct plan *plan, struct assignor *assignor);

// The number of a partition that a member named; PLAN_NOBODY if there is none.
uint32_t assignor_plan_number(const struct plan *plan, struct assignor_partition partition);

// Whether the member of that rank subscribes to the topic.
bool assignor_plan_subscribes(const struct plan *plan, uint32_t rank, uint32_t topic);

// Writes the owners into the members' answers. False when memory is short.
bool assignor_plan_deal(struct plan *plan);
