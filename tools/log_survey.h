// SPDX-License-Identifier: Apache-2.0
// What `weir log verify` and `weir log repair` do first: every segment of a data directory is read
// and every log judged.
#pragma once

#include <jansson.h>

#include "storage/inspect.h"
#include "tools/app.h"

struct log_selection {
    const char *topic; // NULL = all
    int64_t partition; // -1 = all
    bool locked;       // we keep brokers away ourselves
};

struct log_survey {
    struct inspect_directory directory;
    struct inspect_journal journal;
    uint64_t read_bytes;
    uint64_t elapsed_ns;
};

// Opens and reads, with `threads` threads (0 = as many as help), showing progress on a terminal.
// 0 or an exit code after having said why; log_survey_free in either case.
int log_survey_run(struct app *app, struct log_survey *survey, const char *path,
                   const struct log_selection *selection, bool records, int64_t threads);
void log_survey_free(struct log_survey *survey);

// One line.
void log_finding_print(const struct inspect_finding *finding, FILE *out);
json_t *log_finding_json(const struct inspect_finding *finding);
