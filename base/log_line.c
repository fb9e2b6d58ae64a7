// SPDX-License-Identifier: Apache-2.0
#include "base/log_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 1000 };

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    }
    return "?";
}

static size_t clamp_length(int printed, size_t room)
{
    if (printed < 0)
        return 0;
    return (size_t)printed < room ? (size_t)printed : room - 1;
}

void log_line(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_MAX + 2];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
    used += clamp_length(snprintf(line + used, LOG_LINE_MAX - used, ".%03ldZ %s ",
                                  now.tv_nsec / 1000000, level_name(level)),
                         LOG_LINE_MAX - used);
    va_list args;
    va_start(args, format);
    used += clamp_length(vsnprintf(line + used, LOG_LINE_MAX - used, format, args),
                         LOG_LINE_MAX - used);
    va_end(args);
    line[used++] = '\n';
    // One write per line, so that lines of several threads do not mix; nowhere to report failure.
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}
