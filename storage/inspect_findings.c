// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a data directory, and what a broker does about it: one row per kind. The
// same rows, with what to do, are a table in docs/operating.md.
#include "storage/inspect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char serves_rest[] =
    "serves what is before and behind; reads of these offsets get KAFKA_STORAGE_ERROR";

const struct inspect_rule inspect_rules[INSPECT_KINDS] = {
    [INSPECT_TORN_END] = {"torn-end", true, "ends the log before it; the next commit overwrites it",
                          NULL},
    [INSPECT_UNFINISHED] = {"unfinished-segment", true, "removes it", "--leftovers"},
    [INSPECT_LEFTOVER] = {"leftover", true, "removes it", "--leftovers"},
    [INSPECT_NO_INDEX] = {"no-index", true, "scans the segment and writes a new one",
                          "--rebuild-indexes"},
    [INSPECT_STRANGER] = {"strange-file", true, "ignores it", NULL},
    [INSPECT_JOURNAL_TORN] = {"torn-commit", true, "drops it", NULL},
    [INSPECT_DAMAGED_RANGE] = {"damaged-range", false, serves_rest, "--drop-range"},
    [INSPECT_DAMAGED_FILE] = {"damaged-file", false, serves_rest, "--drop-range"},
    [INSPECT_WRONG_FILE] = {"wrong-file", false, serves_rest, "--drop-range"},
    [INSPECT_MISSING_FILE] = {"missing-file", false, serves_rest, "--drop-range"},
    [INSPECT_LOST_END] = {"lost-end", false, "serves what is before; the log accepts nothing",
                          "--truncate"},
    [INSPECT_OTHER_VERSION] = {"other-version", false,
                               "does not open it, and says which version it is", NULL},
    [INSPECT_BAD_BATCH] = {"bad-batch", false, "serves it as it is; clients that check refuse it",
                           NULL},
    [INSPECT_BAD_INDEX] = {"bad-index", true, "scans the segment and writes a new one",
                           "--rebuild-indexes"},
    [INSPECT_WRONG_INDEX] = {"wrong-index", false, "may search in the wrong place",
                             "--rebuild-indexes"},
    [INSPECT_UNREADABLE] = {"unreadable", false, "leaves the log closed, and says so", NULL},
    [INSPECT_BAD_DIRECTORY] = {"bad-directory", false, "refuses to start", NULL},
    [INSPECT_JOURNAL_DAMAGED] =
        {"damaged-journal", false,
         "serves what is sound and keeps the file; logs whose end may be in "
         "it accept nothing",
         "--discard-journal"},
    [INSPECT_JOURNAL_MISSING] = {"missing-journal", false,
                                 "serves what is sound; logs whose end may be in it accept nothing",
                                 "--discard-journal"},
    [INSPECT_JOURNAL_GAP] = {"journal-gap", false, serves_rest, "--drop-range"},
    [INSPECT_UNCERTAIN_END] = {"uncertain-end", false,
                               "serves what is there; the log accepts nothing",
                               "--discard-journal"},
    [INSPECT_JOURNAL_CONFLICT] = {"journal-conflict", false, "serves what the segment holds", NULL},
};

static bool findings_grow(struct inspect_findings *findings, size_t more)
{
    size_t needed = findings->count + more;
    if (needed <= findings->capacity)
        return true;
    size_t capacity = findings->capacity ? findings->capacity * 2 : 8;
    capacity = capacity < needed ? needed : capacity;
    struct inspect_finding *items = reallocarray(findings->items, capacity, sizeof(*items));
    if (!items) {
        findings->short_of_memory = true;
        return false;
    }
    findings->items = items;
    findings->capacity = capacity;
    return true;
}

void inspect_note(struct inspect_findings *findings, struct inspect_finding finding,
                  const char *what, ...)
{
    va_list arguments;
    va_start(arguments, what);
    int length = vasprintf(&finding.what, what, arguments);
    va_end(arguments);
    if (length < 0)
        finding.what = NULL;
    finding.file = finding.file ? strdup(finding.file) : NULL;
    if (!finding.what || !findings_grow(findings, 1)) {
        findings->short_of_memory = true;
        free(finding.what);
        free(finding.file);
        return;
    }
    findings->items[findings->count++] = finding;
}

void inspect_move(struct inspect_findings *to, struct inspect_findings *from)
{
    to->short_of_memory = to->short_of_memory || from->short_of_memory;
    if (from->count > 0 && findings_grow(to, from->count)) {
        memcpy(to->items + to->count, from->items, from->count * sizeof(*from->items));
        to->count += from->count;
        from->count = 0;
    }
    inspect_findings_free(from);
}

void inspect_findings_free(struct inspect_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        free(findings->items[i].what);
        free(findings->items[i].file);
    }
    free(findings->items);
    *findings = (struct inspect_findings){0};
}
