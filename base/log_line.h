// SPDX-License-Identifier: Apache-2.0
// One line per event on standard error: time, level, sentence. Any thread; lines do not mix.
#pragma once

enum log_level { LOG_INFO, LOG_WARN, LOG_ERROR };

// printf-like; no newline at the end of `format`. Long lines are cut at 1,000 bytes.
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
