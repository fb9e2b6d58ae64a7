// SPDX-License-Identifier: Apache-2.0
// When a log is compacted, as Kafka's log cleaner decides it: when the share of bytes that were not
// compacted yet is large enough, or the oldest of them have waited for too long.
//
// 1. Nothing at or behind the first segment that is not sealed, or that holds something younger
//    than min_lag_ms, is touched or counted.
// 2. A damaged segment is left alone and not counted; it is no reason to begin at it for ever.
#include "storage/compact_select.h"

// Of a damaged segment next_offset says only how far it is sound.
static int64_t end_of(const struct compact_extent *extents, uint32_t count, uint32_t at)
{
    return at + 1 < count ? extents[at + 1].base_offset : extents[at].next_offset;
}

// Up to where everything is known to be the last of its key.
static int64_t clean_end(const struct compact_extent *extents, uint32_t count)
{
    int64_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct compact_extent *extent = &extents[i];
        if (extent->damaged) {
            end = end_of(extents, count, i);
            continue;
        }
        if (extent->cleaned_to == 0)
            return extent->base_offset;
        end = extent->dirty_from;
        if (extent->dirty_from < extent->cleaned_to)
            return end;
    }
    return end;
}

struct compact_plan compact_select(const struct compact_extent *extents, uint32_t count,
                                   const struct compact_limits *limits)
{
    struct compact_plan plan = {.whole = true, .dirty_from = clean_end(extents, count)};
    uint64_t dirty = 0;
    uint64_t clean = 0;
    if (plan.dirty_from < limits->log_start)
        plan.dirty_from = limits->log_start;
    plan.clean_to = plan.dirty_from;
    for (uint32_t i = 0; i + 1 < count && extents[i].sealed; i++) {
        const struct compact_extent *extent = &extents[i];
        if (end_of(extents, count, i) <= limits->log_start)
            continue;
        if (extent->damaged) {
            plan.whole = false;
            continue;
        }
        if (extent->next_offset <= plan.dirty_from) {
            clean += extent->bytes;
            continue;
        }
        if (limits->min_lag_ms > 0 && limits->now_ms - extent->newest_ms < limits->min_lag_ms)
            break;
        dirty += extent->bytes;
        plan.overdue |= limits->now_ms - extent->created_ms >= limits->max_lag_ms;
        plan.clean_to = extent->next_offset;
    }
    if (dirty == 0)
        return plan;
    plan.ratio = (double)dirty / (double)(dirty + clean);
    plan.due = plan.overdue || plan.ratio >= limits->min_dirty_ratio;
    return plan;
}
