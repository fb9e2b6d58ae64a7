// SPDX-License-Identifier: Apache-2.0
// The insides of a coordinator, for the files that share the work: coordinator.c (start, routing,
// the budget of a turn), coordinated.c (a group's life: steps, writes, failures),
// coordinator_offsets.c (committed offsets), coordinator_sweep.c (what goes by itself).
#pragma once

#include "broker/groups/coordinator.h"
#include "broker/groups/image.h"
#include "broker/state_log.h"

enum {
    // What one turn of the loop does for groups before it goes on with everything else, in units of
    // a microsecond or two.
    COORDINATOR_BUDGET = 1024,
};

// Why a sweep looks at all groups.
enum {
    SWEEP_AGE = 1,     // offsets may be too old, groups unused
    SWEEP_GONE = 2,    // topics have been deleted
    SWEEP_CATALOG = 4, // members may have to be told
};

struct coordinator {
    struct shard *shard;
    struct kp_uuid topic_id;
    int32_t partition_count;
    bool *unreadable; // by partition
    struct map groups;
    uint32_t groups_max; // of all shards together
    struct list order;   // all groups; a sweep takes them from the front and puts them to the end
    struct list due;     // groups whose time has come
    struct list waiting; // operations that the budget of their turn was too small for
    int64_t budget;      // left of this turn's
    uint64_t turn_ns;    // that turn
    struct timer work;   // goes on with what waits
    struct timer sweep;  // begins a sweep
    struct timer expiry; // asks for one by age
    uint32_t sweep_left; // groups that the present sweep has yet to look at
    unsigned sweep_why;
    unsigned sweep_next; // why the next one will be
    struct group_limits limits;
    struct random random;
    struct group_records records; // of the present step
    bool timers_missing;          // some group's timer could not be set
    bool failing;                 // the last write has failed, and a line has said so
};

// Records on their way to the log. Lives until they are durable.
struct coordinator_write {
    struct log_append append;
    struct state_batch batch;
    struct shard *shard;
    struct coordinated *group; // not valid when shard->coordinator is gone
    struct coordinator_op *op; // COMMIT or DELETE_OFFSETS that waits for it, or NULL
    struct list answers;       // group_ask: what the group has answered since
    bool of_group;             // there are records of the group itself in it
};

struct coordinated {
    struct coordinator *coordinator;
    struct image image;
    struct group *live;             // NULL: as a group that nobody has joined yet
    struct coordinator_write *last; // the newest that is in flight and of the group itself
    uint32_t in_flight;             // writes of all kinds
    bool broken;          // a write has failed: comes back from the image when none is in flight
    struct list deferred; // operations that wait until nothing of the group is in flight
    struct timer timer;   // group_due_ms
    struct list order;    // in the coordinator's list of the same name
    struct list due;      // likewise, when its time has come
    size_t name_size;
    char name[]; // also the key in the coordinator's map
};

// --- coordinator.c ----------------------------------------------------------------------------

// Ends an operation: it goes home with this error.
void coordinator_finish(struct coordinator_op *op, int16_t error);
// Carries it out, whatever the budget.
void coordinator_run(struct coordinator *coordinator, struct coordinator_op *op);
// Whether something may be done for groups in this turn yet.
bool coordinator_has_budget(struct coordinator *coordinator);
// There was no memory for a group's timer: all are set again in a moment.
void coordinator_set_timers_later(struct coordinator *coordinator);
// Goes on in the next turn with what waits.
void coordinator_work_soon(struct coordinator *coordinator);

// --- coordinated.c ----------------------------------------------------------------------

// NULL when there is none.
struct coordinated *coordinated_find(const struct coordinator *coordinator, struct span name);
// A new one, known by nothing yet; NULL without memory.
struct coordinated *coordinated_create(struct coordinator *coordinator, struct span name);
// The one there is, or a new one; NULL and a KP_ERROR when memory is short or there are too many.
struct coordinated *coordinated_obtain(struct coordinator *coordinator, struct span name,
                                       int16_t *error);
// Frees it when nothing is known of it and nothing is under way.
void coordinated_drop_if_idle(struct coordinated *group);
// Frees it whatever is known.
void coordinated_forget(struct coordinated *group);
// Whether it may be asked at all, or soon comes back from the image after a failure.
bool coordinated_is_well(struct coordinated *group);
bool coordinated_is_known(const struct coordinated *group);
// Makes sure that group->live is there. False without memory.
bool coordinated_come_alive(struct coordinated *group);
// Makes the live group what the image says. 0 or -ENOMEM.
int coordinated_reload(struct coordinated *group);
// Of the offsets topic. May not change: the number of partitions is fixed at the first start.
int32_t coordinated_partition(const struct coordinator *coordinator, struct span name);

// Around every call of a live group: what it has written and answered goes where it belongs, and
// its timer is set. The group may be broken, its `live` gone, after that.
void coordinated_step_begin(struct coordinated *group, struct group_step *step,
                            struct list *answers);
void coordinated_step_end(struct coordinated *group, struct group_step *step);

// An ask; the group exists.
void coordinated_run_ask(struct coordinated *group, struct coordinator_op *op);
// The end of a parked ask whose client has gone.
void coordinated_run_cancel(struct coordinated *group, struct coordinator_op *op);
// Sets its timer to when it is due.
void coordinated_set_timer(struct coordinated *group);
void coordinated_run_time(struct coordinated *group);

// A write of a group; add records to its batch, then start it. NULL without memory.
struct coordinator_write *coordinated_write_create(struct coordinated *group,
                                                   struct coordinator_op *op);
// Takes `write` over. 0, or a negative errno: it is freed then, and nobody was told.
int coordinated_write_start(struct coordinator_write *write);
void coordinated_write_free(struct coordinator_write *write);
void coordinated_write_add_position(struct coordinator_write *write,
                                    const struct offset_record *record);

// Writes tombstones for all that is known of a group, which has no members, and makes it one that
// nobody has joined. `ask` (or NULL) is answered when they are durable.
void coordinated_remove(struct coordinated *group, struct group_ask *ask);

// --- coordinator_offsets.c --------------------------------------------------------------------

void coordinator_offsets_commit(struct coordinator *coordinator, struct coordinator_op *op);
void coordinator_offsets_fetch(struct coordinator *coordinator, struct coordinator_op *op);
void coordinator_offsets_delete(struct coordinator *coordinator, struct coordinator_op *op);

// --- coordinator_list.c -----------------------------------------------------------------------

void coordinator_list(struct coordinator *coordinator, struct coordinator_op *op);

// --- coordinator_sweep.c ----------------------------------------------------------------------

void coordinator_sweep_ask(struct coordinator *coordinator, unsigned why);
// One group of the present sweep.
void coordinator_sweep_step(struct coordinator *coordinator);
void coordinator_sweep_start(struct coordinator *coordinator);
void coordinator_sweep_stop(struct coordinator *coordinator);
