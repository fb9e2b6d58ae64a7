// SPDX-License-Identifier: Apache-2.0
// What the parts of `weir log dump` share: lines, and what is printed of files (log_dump.c), of
// batches (cmd_log_dump.c) and of the journal (log_dump_journal.c).
#pragma once

#include "base/arena.h"
#include "storage/inspect.h"
#include "storage/producers_snapshot.h"
#include "tools/app.h"
#include "tools/pack_json.h"
#include "tools/report.h"

struct dump {
    FILE *out;
    bool json;
    bool records;
    bool frames_only;
    bool internal; // the log is one of the broker's own
    bool entries;  // of indexes
    int64_t from;  // offsets
    int64_t to;
    struct arena arena;
    struct producers producers; // of the snapshot being read
};

// A line begins with what it is about.
json_t *dump_line(const char *kind);
void dump_set(json_t *line, const char *name, int64_t value);
void dump_set_text(json_t *line, const char *name, const char *text);
void dump_set_hex(json_t *line, const char *name, uint64_t value);

void dump_set_id(json_t *line, struct kp_uuid id);
const char *dump_state_text(enum inspect_state state);

// Takes the line.
void dump_print(struct dump *dump, json_t *line);

// Whether [first, next) touches the offsets asked for.
bool dump_wants(const struct dump *dump, int64_t first, int64_t next);

// The batches in a frame's or an entry's payload, which lies at `position` of its file.
void dump_batches(struct dump *dump, uint64_t position, struct span payload);

// A control frame's payload, or an index's snapshot.
void dump_control(struct dump *dump, enum frame_kind kind, struct span payload);

// 0 or an exit code, after having said why.
int dump_log(struct app *app, struct dump *dump, struct inspect_log *log);
int dump_file(struct app *app, struct dump *dump, const char *path);

void dump_journal(struct dump *dump, const struct inspect_journal *journal);
void dump_journal_file(struct dump *dump, const struct inspect_journal_file *file);
