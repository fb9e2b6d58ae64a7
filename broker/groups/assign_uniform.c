// SPDX-License-Identifier: Apache-2.0
// The uniform assignor, for members with one and the same subscription.
//
// Every member gets the same number of partitions, or one more. Who has that many or less keeps
// them all; those that may have one more are such as have it already, as far as there are any. So a
// partition moves only if its owner has too many, or has gone.
#include <errno.h>
#include <stdlib.h>

#include "broker/groups/assign.h"

// How many each member keeps or gets.
static void set_shares(const struct assign *assign, uint32_t *shares)
{
    uint32_t members = assign->member_count;
    uint32_t partitions = assign_partition_count(assign);
    uint32_t least = partitions / members;
    uint32_t more = partitions % members;
    for (uint32_t i = 0; i < partitions; i++)
        if (assign->owner[i] < members)
            shares[assign->owner[i]]++;
    for (uint32_t i = 0; i < members; i++) {
        bool keeps_more = shares[i] > least && more > 0;
        more -= keeps_more;
        shares[i] = least + keeps_more;
    }
    for (uint32_t i = 0; i < members && more > 0; i++) {
        if (shares[i] == least) {
            shares[i]++;
            more--;
        }
    }
}

int assign_uniform(struct assign *assign)
{
    uint32_t members = assign->member_count;
    uint32_t partitions = assign_partition_count(assign);
    if (assign->subscription_count > 1)
        return assign_uneven(assign);
    uint32_t *left = calloc(members + 1, sizeof(*left));
    if (!left)
        return -ENOMEM;
    if (members > 0)
        set_shares(assign, left);
    for (uint32_t i = 0; i < partitions; i++) {
        if (assign->owner[i] < members && left[assign->owner[i]] > 0)
            left[assign->owner[i]]--;
        else
            assign->owner[i] = ASSIGN_NOBODY;
    }
    // Turn by turn, so that a topic is spread over the members.
    uint32_t next = 0;
    for (uint32_t i = 0; i < partitions && members > 0; i++) {
        if (assign->owner[i] != ASSIGN_NOBODY)
            continue;
        while (left[next] == 0)
            next = next + 1 < members ? next + 1 : 0;
        assign->owner[i] = next;
        left[next]--;
        next = next + 1 < members ? next + 1 : 0;
    }
    free(left);
    return 0;
}
