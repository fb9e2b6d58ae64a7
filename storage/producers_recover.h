// SPDX-License-Identifier: Apache-2.0
// Brings a log's producer state back while the log is recovered. The calls follow the log: the
// index of a segment, or its frames, then the next segment, then what the journal has behind it.
#pragma once

#include "base/span.h"
#include "storage/format.h"

struct log;

// The frames that an index covers are not read: `section` says who is known behind them. Empty:
// nobody, or it is of no importance since more segments follow. A bad section is named in a log
// line and counts as an empty one. 0 or -ENOMEM.
int producers_recover_section(struct log *log, struct span section);

// A sound frame (or an entry of the journal that is not in the segments) comes next. A snapshot in
// it replaces what is known, batches are counted. 0 or -ENOMEM.
int producers_recover_frame(struct log *log, enum frame_kind kind, struct span payload);

// Frames that come next cannot be read: nobody is known behind them, until a snapshot says who is.
void producers_recover_gap(struct log *log);

// The log ends at log->end.
void producers_recover_end(struct log *log);
