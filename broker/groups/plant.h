// SPDX-License-Identifier: Apache-2.0
// Faults planted in groups on purpose, one at a time, to prove that their simulation finds each of
// them. Only weir-sim-groups-plants contains them (WEIR_GROUP_PLANTS); everywhere else the
// condition is a constant and costs nothing. The same for storage: storage/plant.h.
#pragma once

#include <stdbool.h>

enum group_plant {
    GROUP_PLANT_NONE,
    GROUP_PLANT_SAME_GENERATION,   // a rebalance ends in the generation that it began in
    GROUP_PLANT_FORGET_JOIN,       // what a member joins again with is not stored
    GROUP_PLANT_FORGET_TARGETS,    // assignments are handed out and not stored
    GROUP_PLANT_ANYBODY_ASSIGNS,   // any member's SyncGroup ends a rebalance
    GROUP_PLANT_STALE_SYNC,        // SyncGroup of an old generation is taken for one of the new
    GROUP_PLANT_DROP_ASK,          // a request that waits is forgotten when its member asks again
    GROUP_PLANT_COMMIT_ANY,        // members commit in any generation
    GROUP_PLANT_RELEASE_EARLY,     // a partition is free before its owner has said so
    GROUP_PLANT_TAKE_HELD,         // a member is told of a partition that another one has
    GROUP_PLANT_FORGET_CURRENT,    // what a member was told that it has is not stored
    GROUP_PLANT_FORGET_EPOCH,      // a new epoch is not stored
    GROUP_PLANT_IGNORE_TOPICS,     // new partitions of a topic are nobody's
    GROUP_PLANT_COMMIT_ANY_EPOCH,  // members commit in any epoch
    GROUP_PLANT_SAY_NOTHING,       // classic members of a mixed group do not hear of a new epoch
    GROUP_PLANT_HEAR_NOTHING,      // what classic members say that they have is not looked at
    GROUP_PLANT_UPGRADE_EMPTY,     // who is in a group that is turned has nothing
    GROUP_PLANT_UPGRADE_RELEASED,  // nor what it is still giving up
    GROUP_PLANT_UPGRADE_UNSTORED,  // the members of a group that is turned are not stored anew
    GROUP_PLANT_DOWNGRADE_EMPTY,   // a group that is turned back forgets what its members have
    GROUP_PLANT_DOWNGRADE_CURRENT, // or leaves records behind
    GROUP_PLANT_COUNT,
};

#ifdef WEIR_GROUP_PLANTS
extern enum group_plant group_plant_active; // set by the simulation while nothing runs

static inline bool group_planted(enum group_plant plant)
{
    return group_plant_active == plant;
}
#else
static inline bool group_planted(enum group_plant plant)
{
    (void)plant;
    return false;
}
#endif
