// SPDX-License-Identifier: Apache-2.0
// Pure functions: no state, no locale, no clock.
#include "tools/value.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <time.h>

// Reads digits only. *end points behind them; nothing else is skipped.
static int read_digits(const char *text, const char **end, int64_t *out)
{
    int64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return -ERANGE;
    }
    if (at == text)
        return -EINVAL;
    *end = at;
    *out = value;
    return 0;
}

int value_count(const char *text, int64_t min, int64_t max, int64_t *out)
{
    bool negative = *text == '-';
    const char *end;
    int64_t value;
    int rc = read_digits(text + (negative || *text == '+'), &end, &value);

    if (rc != 0)
        return rc;
    if (*end != '\0')
        return -EINVAL;
    if (negative)
        value = -value;
    if (value < min || value > max)
        return -ERANGE;
    *out = value;
    return 0;
}

struct unit {
    const char *name;
    int64_t factor;
};

static int read_with_unit(const char *text, const struct unit *units, size_t count, int64_t *out)
{
    const char *end;
    int64_t value;
    int rc = read_digits(text, &end, &value);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(end, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(value, units[i].factor, &value))
            return -ERANGE;
        *out = value;
        return 0;
    }
    if (value == 0 && *end == '\0') {
        *out = 0;
        return 0;
    }
    return -EINVAL;
}

int value_size(const char *text, int64_t *out)
{
    static const struct unit units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1024},
        {"kb", 1024},
        {"kib", 1024},
        {"m", 1 << 20},
        {"mb", 1 << 20},
        {"mib", 1 << 20},
        {"g", 1 << 30},
        {"gb", 1 << 30},
        {"gib", 1 << 30},
        {"t", INT64_C(1) << 40},
        {"tb", INT64_C(1) << 40},
        {"tib", INT64_C(1) << 40},
    };
    return read_with_unit(text, units, sizeof(units) / sizeof(units[0]), out);
}

int value_duration(const char *text, int64_t *out_ms)
{
    static const struct unit units[] = {
        {"ms", 1},          {"s", 1000},        {"m", 60 * 1000},
        {"min", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
    };
    return read_with_unit(text, units, sizeof(units) / sizeof(units[0]), out_ms);
}

// Exactly `width` digits, between min and max.
static bool take_number(const char **at, int width, int min, int max, int *out)
{
    int value = 0;

    for (int i = 0; i < width; i++) {
        if ((*at)[i] < '0' || (*at)[i] > '9')
            return false;
        value = value * 10 + ((*at)[i] - '0');
    }
    if (value < min || value > max)
        return false;
    *at += width;
    *out = value;
    return true;
}

static bool take_character(const char **at, char expected)
{
    if (**at != expected)
        return false;
    (*at)++;
    return true;
}

static bool take_clock(const char **at, struct tm *tm, int *milliseconds)
{
    if (!take_number(at, 2, 0, 23, &tm->tm_hour) || !take_character(at, ':') ||
        !take_number(at, 2, 0, 59, &tm->tm_min))
        return false;
    if (take_character(at, ':') && !take_number(at, 2, 0, 60, &tm->tm_sec))
        return false;
    return !take_character(at, '.') || take_number(at, 3, 0, 999, milliseconds);
}

static int read_calendar(const char *text, int64_t *out_ms)
{
    struct tm tm = {0};
    int milliseconds = 0;
    const char *at = text;

    if (!take_number(&at, 4, 1970, 9999, &tm.tm_year) || !take_character(&at, '-') ||
        !take_number(&at, 2, 1, 12, &tm.tm_mon) || !take_character(&at, '-') ||
        !take_number(&at, 2, 1, 31, &tm.tm_mday))
        return -EINVAL;
    if ((take_character(&at, 'T') || take_character(&at, ' ')) &&
        !take_clock(&at, &tm, &milliseconds))
        return -EINVAL;
    take_character(&at, 'Z');
    if (*at != '\0')
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;

    // timegm turns 31 February into 3 March; a person who types that means something else.
    struct tm copy = tm;
    time_t seconds = timegm(&copy);
    if (copy.tm_mday != tm.tm_mday || copy.tm_mon != tm.tm_mon)
        return -EINVAL;
    *out_ms = (int64_t)seconds * 1000 + milliseconds;
    return 0;
}

int value_time(const char *text, int64_t now_ms, int64_t *out_ms)
{
    int64_t duration_ms;

    if (*text == '-') {
        int rc = value_duration(text + 1, &duration_ms);
        if (rc != 0)
            return rc;
        if (duration_ms > now_ms)
            return -ERANGE;
        *out_ms = now_ms - duration_ms;
        return 0;
    }
    if (strchr(text, '-') != NULL)
        return read_calendar(text, out_ms);
    return value_count(text, 0, INT64_MAX, out_ms);
}

int value_position(const char *text, int64_t now_ms, struct position *out)
{
    struct position position = {0};
    int rc = 0;

    if (strcmp(text, "beginning") == 0) {
        position.kind = POSITION_BEGINNING;
    } else if (strcmp(text, "end") == 0) {
        position.kind = POSITION_END;
    } else if (strcmp(text, "newest") == 0) {
        position.kind = POSITION_NEWEST;
    } else if (*text == '@') {
        position.kind = POSITION_TIME;
        rc = value_time(text + 1, now_ms, &position.value);
    } else if (*text == '-') {
        position.kind = POSITION_FROM_END;
        rc = value_count(text + 1, 0, INT64_MAX, &position.value);
    } else {
        position.kind = POSITION_OFFSET;
        rc = value_count(text, 0, INT64_MAX, &position.value);
    }
    if (rc == 0)
        *out = position;
    return rc;
}

const char *value_assignment(const char *text, int *name_length)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text || equals - text > INT_MAX)
        return NULL;
    *name_length = (int)(equals - text);
    return equals + 1;
}
