// SPDX-License-Identifier: Apache-2.0
// What one log must hold, told by what its users did and were told: nothing in here knows how the
// log is stored.
//
// Every append is remembered as an attempt. It must be there for ever (below the start no more)
// once it was acknowledged or a reader saw it; until then a stop may or may not leave it. Offsets
// that failed attempts had may be given again.
#pragma once

#include "tests/sim/content.h"

// Told with the first thing that is wrong; does not return.
struct checker_report {
    void (*fail)(void *context, const char *text);
    void *context;
};

enum attempt_state {
    ATTEMPT_PENDING,
    ATTEMPT_ACKED,
    ATTEMPT_FAILED,
    ATTEMPT_FOUND, // unknown before a restart, there after it
};

struct attempt {
    struct content content;
    int64_t base;
    int64_t last;
    uint64_t digest; // of the bytes as they must come back
    uint32_t size;
    enum attempt_state state;
    bool exposed;      // somebody has read it
    bool checked;      // read since the last restart
    uint32_t present;  // which records were, one bit each
    int64_t latest_ms; // it has never been later since, by the clock that the log goes by
};

// Offsets that the device took away: reading them must fail, or give what was there.
struct checker_damage {
    int64_t from;
    int64_t to;
};

enum { CHECKER_DAMAGES = 8 };

struct checker {
    struct checker_report report;
    const char *name;          // of the log, for reports
    struct attempt **attempts; // by offset
    size_t count;
    size_t room;
    int64_t acked;        // one past the last that was acknowledged
    int64_t committed;    // the highest that was ever shown
    int64_t start;        // the highest that was ever shown or promised
    int64_t forgotten;    // attempts below are not remembered any more
    int64_t start_asked;  // the highest that a trim asked for
    bool retention;       // the start may move by itself
    bool sized;           // by size
    int64_t retention_ms; // the shortest there was, 0 = none: what is younger stays, unless sized
    bool compacted;       // records may vanish but for the last of each key
    bool keyed;
    struct checker_damage damages[CHECKER_DAMAGES];
    uint32_t damage_count;
    bool verifying;     // between checker_restarted and checker_verified
    bool device_failed; // in this life: appends that failed may be there all the same
    bool refusing;      // its end is lost, so it accepts nothing in this life
    bool end_damaged;   // acknowledged records at the end may be unreadable, if the log says so
    bool start_damaged; // until the next verified start: a trim may have been in what is damaged
    struct content_builder builder;
    struct arena arena;
};

void checker_init(struct checker *checker, const char *name, struct checker_report report);
void checker_free(struct checker *checker);

// An append was begun; the log gave it offsets `base` to `last`. `stored` = the bytes with base
// offset and leader epoch filled in. `latest_ms`: see checker_tell_time.
struct attempt *checker_append(struct checker *checker, const struct content *content, int64_t base,
                               int64_t last, struct span stored, int64_t latest_ms);

// How it ended.
void checker_append_done(struct checker *checker, struct attempt *attempt, int error);

// By the clock that the log goes by it may be so late now.
void checker_tell_time(struct checker *checker, int64_t latest_ms);

// Offsets that the log shows.
void checker_shown(struct checker *checker, int64_t start, int64_t committed, int64_t end);

// A trim succeeded and told this start.
void checker_trimmed(struct checker *checker, int64_t asked, int64_t start);

// A read that asked for `offset` and gave `slices`. Returns the offset behind what it gave.
int64_t checker_read(struct checker *checker, int64_t offset, const struct iovec *slices,
                     uint32_t count);

// Whether a read at `offset` may fail.
bool checker_may_be_damaged(const struct checker *checker, int64_t offset);
void checker_damage(struct checker *checker, int64_t from, int64_t to);

// After a restart: what the log says, before anything of it is read.
void checker_restarted(struct checker *checker, int64_t start, int64_t committed, int64_t end,
                       int error);

// After everything from start to committed was read: what was not found is gone.
void checker_verified(struct checker *checker, int64_t start);

// The answer to a time lookup. `start_after`: the start when it was answered; `committed_before`:
// the high watermark when it was asked. `timestamp` -3: the record with the largest.
void checker_time(struct checker *checker, int64_t timestamp, int64_t start_after,
                  int64_t committed_before, int64_t offset, int64_t found);

// The attempt that has this offset, or NULL.
struct attempt *checker_find(const struct checker *checker, int64_t offset);
