// SPDX-License-Identifier: Apache-2.0
// The table of settings.def as constant data, and what can be asked of it. The index of a line is
// its enum setting_id, so both are made from the same file.
#include "broker/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/check.h"
#include "base/similar.h"

static const struct setting table[SETTING_COUNT] = {
#define BROKER_SETTING(id, name, type, fallback, min, max, choices, doc)                           \
    [SETTING_##id] = {name, SETTING_BROKER, type, fallback, SETTING_NONE, min, max, choices, doc},
#define TOPIC_SETTING(id, name, type, synonym, min, max, choices, doc)                             \
    [SETTING_##id] = {name, SETTING_TOPIC, type, NULL, SETTING_##synonym, min, max, choices, doc},
#include "broker/settings.def"
#undef BROKER_SETTING
#undef TOPIC_SETTING
};

// Other names under which Kafka knows a setting.
static const struct {
    const char *name;
    enum setting_id id;
} aliases[] = {
    {"broker.id", SETTING_NODE_ID},
    {"log.dir", SETTING_LOG_DIRS},
};

const struct setting *setting_get(enum setting_id id)
{
    CHECK(id < SETTING_COUNT);
    return &table[id];
}

enum setting_id setting_find(enum setting_scope scope, struct span name)
{
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (table[i].scope == scope && span_equal(span_text(table[i].name), name))
            return (enum setting_id)i;
    for (size_t i = 0; scope == SETTING_BROKER && i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (span_equal(span_text(aliases[i].name), name))
            return aliases[i].id;
    return SETTING_NONE;
}

const char *setting_suggest(enum setting_scope scope, struct span name)
{
    struct similar similar;
    similar_start(&similar, name);
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (table[i].scope == scope)
            similar_try(&similar, table[i].name);
    return similar.nearest;
}

// --- values ---------------------------------------------------------------------------------

static int check_integer(const struct setting *setting, const char *text, int64_t *number,
                         char *why, size_t why_size)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == ' ') {
        snprintf(why, why_size, "%s: \"%s\" is not a whole number", setting->name, text);
        return -EINVAL;
    }
    if (errno == ERANGE || value < setting->min || value > setting->max) {
        snprintf(why, why_size, "%s: %s is outside %" PRId64 " to %" PRId64, setting->name, text,
                 setting->min, setting->max);
        return -EINVAL;
    }
    *number = value;
    return 0;
}

static int check_boolean(const struct setting *setting, const char *text, int64_t *number,
                         char *why, size_t why_size)
{
    if (strcasecmp(text, "true") == 0)
        *number = 1;
    else if (strcasecmp(text, "false") == 0)
        *number = 0;
    else {
        snprintf(why, why_size, "%s: \"%s\" is neither true nor false", setting->name, text);
        return -EINVAL;
    }
    return 0;
}

static int check_double(const struct setting *setting, const char *text, char *why, size_t why_size)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || text[0] == ' ' ||
        !(value >= (double)setting->min && value <= (double)setting->max)) {
        snprintf(why, why_size, "%s: \"%s\" is not a number from %" PRId64 " to %" PRId64,
                 setting->name, text, setting->min, setting->max);
        return -EINVAL;
    }
    return 0;
}

// Whether `word` is one of the words of "a,b,c".
static bool is_choice(const char *choices, const char *word, size_t size)
{
    for (const char *at = choices; *at;) {
        size_t length = strcspn(at, ",");
        if (length == size && memcmp(at, word, size) == 0)
            return true;
        at += length + (at[length] == ',');
    }
    return false;
}

static int check_words(const struct setting *setting, const char *text, char *why, size_t why_size)
{
    if (!setting->choices)
        return 0;
    const char *at = text;
    for (;;) {
        size_t length = setting->type == SETTING_LIST ? strcspn(at, ",") : strlen(at);
        size_t skip = 0;
        while (setting->type == SETTING_LIST && skip < length && at[skip] == ' ')
            skip++;
        if (!is_choice(setting->choices, at + skip, length - skip)) {
            snprintf(why, why_size, "%s: \"%.*s\" is not one of: %s", setting->name,
                     (int)(length - skip), at + skip, setting->choices);
            return -EINVAL;
        }
        if (at[length] == '\0')
            return 0;
        at += length + 1;
    }
}

int setting_check(enum setting_id id, struct span text, int64_t *number, char *why, size_t why_size)
{
    const struct setting *setting = setting_get(id);
    char copy[SETTING_VALUE_MAX + 1];
    *number = 0;
    if (text.size > SETTING_VALUE_MAX ||
        memchr(text.data ? text.data : (const void *)"", 0, text.size)) {
        snprintf(why, why_size, "%s: the value is too long or contains a zero byte", setting->name);
        return -EINVAL;
    }
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    switch (setting->type) {
    case SETTING_INT:
    case SETTING_LONG:
        return check_integer(setting, copy, number, why, why_size);
    case SETTING_BOOLEAN:
        return check_boolean(setting, copy, number, why, why_size);
    case SETTING_DOUBLE:
        return check_double(setting, copy, why, why_size);
    case SETTING_STRING:
    case SETTING_LIST:
        break;
    }
    return check_words(setting, copy, why, why_size);
}
