// SPDX-License-Identifier: Apache-2.0
// What all commands share: reporting errors as one line, and reaching the broker.
#pragma once

#include "tools/command.h"
#include "tools/value.h"

// Prints "weir COMMAND: SENTENCE" on one line to app->err and returns `code`.
int app_fail(const struct app *app, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The same for an error of libweir: its sentence, with what to do about it. Returns the exit code
// that belongs to the error.
int app_fail_client(const struct app *app, const struct weir_client *client, int error);

// The same for a topic that cannot be described.
int app_fail_topic(const struct app *app, const struct weir_topic *topic);

// What to do about an error, to be put behind its sentence; empty when there is nothing to say.
const char *app_hint(int error);

// The exit code of two pieces of work that were both tried: that of the first one that failed.
int app_first_code(int code, int next);

// The exit code for an error code of libweir.
int app_exit_code(int error);

// An empty configuration, for the command's own settings. NULL after having reported why, with
// *code set. Freed by weir_config_free.
struct weir_config *app_config(const struct app *app, int *code);

// Sets one setting from a number; a failure is reported. 0 or an exit code.
int app_set(const struct app *app, struct weir_config *config, const char *name, int64_t value);
int app_set_text(const struct app *app, struct weir_config *config, const char *name,
                 const char *value);

// Puts the user's -X settings on top of `config` and returns a client whose broker has answered
// within --timeout. NULL after having reported why, with *code set. Waits. Freed by
// weir_client_free. Producers and consumers are made with the same `config` afterwards.
struct weir_client *app_connect(const struct app *app, struct weir_config *config, int *code);

// app_config and app_connect for commands without settings of their own.
struct weir_client *app_open(const struct app *app, int *code);

// Reads the place in a log that `option` was given. 0, or an exit code after having reported what
// would do.
int app_read_position(const struct app *app, const char *option, const char *text,
                      struct position *out);

// --timeout as libweir takes it.
int app_timeout_ms(const struct app *app);

// Writes what is due and tells whether app->out is a pipe that nobody reads any more.
bool app_reader_left(const struct app *app);

// Flushes app->out. 0, or an exit code: a reader that went away ends the program the way SIGPIPE
// does and says nothing, any other failure is reported.
int app_flush(const struct app *app);
