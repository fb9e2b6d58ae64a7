// SPDX-License-Identifier: Apache-2.0
// The live view of weir top.
#pragma once

#include "tools/app.h"
#include "tools/report.h"

enum { TOP_TOPIC_COLUMNS = 4, TOP_GROUP_COLUMNS = 5 };

// The columns of both tables, here and on paper.
extern const struct report_column top_topic_columns[];
extern const struct report_column top_group_columns[];

// Shows topics and groups on the terminal that app->out and standard input are, until q, Ctrl-C or
// SIGTERM. A broker that goes away is waited for, and the view says so. The terminal is as before
// on return. 0, or an exit code after having reported why there is nothing to show.
int top_view(struct app *app, struct weir_client *client, int64_t interval_ms);
