// SPDX-License-Identifier: Apache-2.0
// Changes of settings as people type them.
#include "tools/setting_changes.h"

#include <stdlib.h>
#include <string.h>

static int add(struct setting_changes *changes, const struct app *app, struct weir_setting setting,
               size_t name_length)
{
    struct weir_setting *items =
        realloc(changes->items, (changes->count + 1) * sizeof(*changes->items));
    if (items == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    changes->items = items;
    setting.name = strndup(setting.name, name_length);
    if (setting.name == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    items[changes->count++] = setting;
    return 0;
}

int setting_changes_add(struct setting_changes *changes, const struct app *app, const char *option,
                        const char *const *texts, size_t count, enum weir_setting_change change)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < count; i++) {
        int length;
        const char *value = value_assignment(texts[i], &length);
        if (value == NULL)
            return app_fail(app, EXIT_USAGE, "%s'%s' will not do, give NAME=VALUE", option,
                            texts[i]);
        struct weir_setting setting = {texts[i], value, change};
        code = add(changes, app, setting, (size_t)length);
    }
    return code;
}

int setting_changes_add_words(struct setting_changes *changes, const struct app *app,
                              const struct text_list *append, const struct text_list *subtract)
{
    int code = setting_changes_add(changes, app, "--append: ", append->items, append->count,
                                   WEIR_SETTING_APPEND);

    if (code == 0)
        code = setting_changes_add(changes, app, "--subtract: ", subtract->items, subtract->count,
                                   WEIR_SETTING_SUBTRACT);
    return code;
}

int setting_changes_unset(struct setting_changes *changes, const struct app *app,
                          const char *const *names, size_t count)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < count; i++) {
        struct weir_setting setting = {.name = names[i]};
        code = add(changes, app, setting, strlen(names[i]));
    }
    return code;
}

void setting_changes_free(struct setting_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        free((void *)(uintptr_t)changes->items[i].name);
    free(changes->items);
    *changes = (struct setting_changes){0};
}
