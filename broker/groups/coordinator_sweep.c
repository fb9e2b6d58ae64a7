// SPDX-License-Identifier: Apache-2.0
// What goes by itself: offsets whose time is over (KIP-211) or whose topic has gone, and groups of
// which nothing is left. And what comes by itself: groups hear of changes to topics.
//
// A sweep looks at every group once, as the budget of each turn allows. What begins while one is
// under way is a reason for another, which begins a little later, so that many changes in a row do
// not look at all groups each time.
//
// Tombstones for topics that were deleted are written in the sweep that follows; if a crash comes
// before, the next sweep by age finds them.
#include "base/log_line.h"
#include "broker/config.h"
#include "broker/groups/coordinator_internal.h"

enum {
    SWEEP_PAUSE_MS = 100,
    TOMBSTONES_MAX = 8192, // of one group in one sweep: the others go in the next
};

static void set_timer(struct coordinator *coordinator, struct timer *timer, uint64_t delay_ms)
{
    struct shard *shard = coordinator->shard;
    if (timer_set(&shard->timers, timer, shard->io->now_ns + delay_ms * 1000000))
        log_line(LOG_ERROR, "expiry of offsets stops until the next start: out of memory");
}

// --- one group --------------------------------------------------------------------------------

static bool is_over(struct coordinated *group, const struct image_position *position)
{
    struct coordinator *coordinator = group->coordinator;
    const struct catalog_topic *topic =
        catalog_find_id(coordinator->shard->catalog, position->key.topic_id);
    if (!topic)
        return true;
    if (!(coordinator->sweep_why & SWEEP_AGE))
        return false;
    int64_t now_ms = coordinator->shard->io->wall_ms;
    int64_t keep_ms =
        config_number(coordinator->shard->config, SETTING_OFFSETS_RETENTION_MINUTES) * 60000;
    bool in_use = group->live && !group_is_empty(group->live);
    // Asking a group with members costs: not for what is too young in any case.
    if (in_use && position->expires_ms < 0 && now_ms - position->time_ms < keep_ms)
        return false;
    int64_t since_ms = position->time_ms;
    if (group->live)
        since_ms = group_unused_since_ms(group->live, span_text(topic->name), position->time_ms);
    if (since_ms == INT64_MAX)
        return false;
    if (position->expires_ms >= 0)
        return now_ms >= position->expires_ms;
    return now_ms - since_ms >= keep_ms;
}

// Tombstones for what is over. Returns how many.
static uint32_t expire(struct coordinated *group)
{
    struct coordinator *coordinator = group->coordinator;
    struct coordinator_write *write = NULL;
    const struct image_position *position;
    uint32_t count = 0;
    for (size_t at = 0; (position = map_next(&group->image.positions, &at));) {
        if (count == TOMBSTONES_MAX || !is_over(group, position))
            continue;
        if (!write)
            write = coordinated_write_create(group, NULL);
        if (!write)
            return 0; // the next sweep tries again
        count++;
        coordinated_write_add_position(
            write, &(struct offset_record){.tombstone = true,
                                           .group = span_of(group->name, group->name_size),
                                           .topic_id = position->key.topic_id,
                                           .partition = position->key.partition});
    }
    coordinator->budget -= (int64_t)(group->image.positions.count / 4 + count);
    if (count == TOMBSTONES_MAX)
        coordinator_sweep_ask(coordinator, coordinator->sweep_why);
    if (write)
        coordinated_write_start(write);
    return count;
}

// A group without members whose offsets are all gone goes too. One of which something is in flight
// is looked at again by the next sweep.
static bool is_unused(const struct coordinated *group)
{
    return group->image.positions.count == 0 && group->image.records.count > 0 &&
           group->in_flight == 0 && (!group->live || group_is_empty(group->live));
}

static void tell_of_catalog(struct coordinated *group)
{
    struct group_step step;
    struct list answers;
    coordinated_step_begin(group, &step, &answers);
    group_catalog_changed(group->live, &step);
    coordinated_step_end(group, &step);
}

static void look_at(struct coordinated *group)
{
    unsigned why = group->coordinator->sweep_why;
    if (group->broken)
        return;
    uint32_t expired = why & (SWEEP_AGE | SWEEP_GONE) ? expire(group) : 0;
    if (expired == 0 && why & SWEEP_AGE && is_unused(group))
        coordinated_remove(group, NULL);
    else if (why & SWEEP_CATALOG && group->live)
        tell_of_catalog(group);
}

// --- all of them ------------------------------------------------------------------------------

void coordinator_sweep_step(struct coordinator *coordinator)
{
    struct list *node = list_pop(&coordinator->order);
    coordinator->budget--;
    coordinator->sweep_left--;
    if (!node) {
        coordinator->sweep_left = 0;
    } else {
        list_append(&coordinator->order, node);
        look_at(list_entry(node, struct coordinated, order));
    }
    if (coordinator->sweep_left == 0 && coordinator->sweep_next)
        set_timer(coordinator, &coordinator->sweep, SWEEP_PAUSE_MS);
}

static void sweep_due(struct timer *timer)
{
    struct coordinator *coordinator = list_entry(timer, struct coordinator, sweep);
    coordinator->sweep_why = coordinator->sweep_next;
    coordinator->sweep_next = 0;
    coordinator->sweep_left = (uint32_t)coordinator->groups.count;
    coordinator_work_soon(coordinator);
}

void coordinator_sweep_ask(struct coordinator *coordinator, unsigned why)
{
    coordinator->sweep_next |= why;
    if (coordinator->sweep_left == 0 && coordinator->sweep.slot == 0)
        set_timer(coordinator, &coordinator->sweep, 0);
}

static void expiry_due(struct timer *timer)
{
    struct coordinator *coordinator = list_entry(timer, struct coordinator, expiry);
    coordinator_sweep_ask(coordinator, SWEEP_AGE | SWEEP_GONE);
    coordinator_sweep_start(coordinator);
}

void coordinator_sweep_start(struct coordinator *coordinator)
{
    const struct config *config = coordinator->shard->config;
    coordinator->sweep.expired = sweep_due;
    coordinator->expiry.expired = expiry_due;
    set_timer(coordinator, &coordinator->expiry,
              (uint64_t)config_number(config, SETTING_OFFSETS_RETENTION_CHECK_INTERVAL_MS));
}

void coordinator_sweep_stop(struct coordinator *coordinator)
{
    timer_cancel(&coordinator->shard->timers, &coordinator->sweep);
    timer_cancel(&coordinator->shard->timers, &coordinator->expiry);
}
