// SPDX-License-Identifier: Apache-2.0
// The controller: the only writer of the catalog. It lives on shard 0, takes one change after the
// other from a queue, writes its records to the metadata partition, waits until they are durable,
// publishes a new snapshot to every shard, waits until each has opened and dropped its partitions
// accordingly, and only then says that the change is done. So a client that was told of a new topic
// can use it at once, through whichever shard it is connected to.
#pragma once

#include "broker/catalog.h"
#include "broker/shard.h"

struct controller;

// --- life, on shard 0's thread --------------------------------------------------------------

// Reads the metadata partition, makes the cluster's id and the internal topics if this is the first
// start, and sets shard->controller and shard->catalog. Waits (start-up only). The shard's io, pool
// and store must be open. 0, or a negative errno with a sentence in `why`.
int controller_open(struct shard *shard, char *why, size_t why_size);

// The first snapshot, for the other shards: they set shard->catalog to it before they call
// topics_open. Valid until the first change, that is until every shard has begun to run its loop.
const struct catalog *controller_catalog(const struct controller *controller);

// Whether that is the metadata partition, which is on shard 0 whatever its hash says.
bool controller_is_metadata(struct kp_uuid topic_id);

// All shards have opened their partitions and run: topics whose deletion was interrupted are
// forgotten now.
void controller_start(struct controller *controller);

// After the loops of all shards have ended and shard 0's store is closed. Frees the controller and
// the catalogs.
void controller_close(struct shard *shard);

// --- changes, from any shard ----------------------------------------------------------------

enum controller_kind {
    CONTROLLER_CREATE_TOPICS,
    CONTROLLER_DELETE_TOPICS,
    CONTROLLER_CREATE_PARTITIONS,
    CONTROLLER_ALTER_TOPICS,  // settings
    CONTROLLER_PRODUCER_ID,   // one change, which is empty: only its error counts
    CONTROLLER_FORGET_TOPICS, // its own: the files of deleted topics are gone
};

// Producer ids are reserved in the metadata partition so many at a time. Those that are not given
// out when the broker stops are lost: no id is ever given out twice.
enum { CONTROLLER_PRODUCER_IDS = 1000 };

// The numbers are those of IncrementalAlterConfigs.
enum controller_setting_action {
    CONTROLLER_SET = 0,
    CONTROLLER_DELETE = 1,
    CONTROLLER_APPEND = 2,
    CONTROLLER_SUBTRACT = 3,
};

struct controller_setting {
    struct span name;
    struct span value; // absent: as CONTROLLER_DELETE
    int8_t action;     // enum controller_setting_action, not yet checked
};

enum { CONTROLLER_WHY_SIZE = 200 };

struct controller_change {
    struct span name;  // in; DELETE_TOPICS by id: out, from the operation's arena
    struct kp_uuid id; // in: CREATE_TOPICS, a new random one; DELETE_TOPICS with an absent name;
                       // out: of the topic
    int32_t partition_count; // in: the new total, -1 = the default; out: what it is now
    int32_t
        assignment_count; // CREATE_PARTITIONS: how many new ones the client has placed; -1: none
    struct controller_setting *settings;
    uint32_t setting_count;
    bool replace_settings;         // settings not listed go back to their defaults (AlterConfigs)
    int16_t error;                 // in: a change that has one already is left out; out: KP_ERROR_*
    char why[CONTROLLER_WHY_SIZE]; // out: a sentence with the error, or ""
};

// Owned by the caller, in place until `done`; so is everything it points to.
struct controller_op {
    struct message message;
    struct shard *home;
    enum controller_kind kind;
    bool validate_only;
    bool exists_is_fine; // CREATE_TOPICS: finding it there already is no error (auto-creation)
    struct controller_change *changes;
    uint32_t change_count;
    int64_t producer_id;                    // out: of PRODUCER_ID
    struct arena *arena;                    // for names; used on shard 0 until `done`
    void (*done)(struct controller_op *op); // on the home shard, whose catalog shows the change
    void *context;
    struct list node; // the controller's
};

// Never calls `done` from inside.
void controller_submit(struct shard *home, struct controller_op *op);
