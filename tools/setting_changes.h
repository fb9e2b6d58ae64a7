// SPDX-License-Identifier: Apache-2.0
// Changes of settings as people type them, for libweir.
#pragma once

#include "clients/c/weir.h"
#include "tools/app.h"

struct setting_changes {
    struct weir_setting *items; // their values point into the texts
    size_t count;
};

// Adds one change for each text "NAME=VALUE". `option` stands before what is said about a text that
// is none ("" or "--append: "). 0, or an exit code after having reported why; to be freed in any
// case.
int setting_changes_add(struct setting_changes *changes, const struct app *app, const char *option,
                        const char *const *texts, size_t count, enum weir_setting_change change);

// Adds what --append and --subtract were given. 0, or an exit code as above.
int setting_changes_add_words(struct setting_changes *changes, const struct app *app,
                              const struct text_list *append, const struct text_list *subtract);

// Adds the way back to the default for each name. 0, or an exit code as above.
int setting_changes_unset(struct setting_changes *changes, const struct app *app,
                          const char *const *names, size_t count);

void setting_changes_free(struct setting_changes *changes);
