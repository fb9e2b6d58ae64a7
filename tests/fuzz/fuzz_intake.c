// SPDX-License-Identifier: Apache-2.0
// What `weir produce --format` reads. The first byte of the input chooses the format, the second
// how many bytes arrive at once; the rest is the input. Every byte of every record that is taken is
// there.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/intake.h"

enum { RECORD_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(struct weir_bytes bytes)
{
    static volatile char sink;
    const char *at = bytes.data;

    CHECK(at != NULL || bytes.size == 0);
    for (size_t i = 0; i < bytes.size; i++)
        sink = at[i];
    (void)sink;
}

static void touch_message(const struct weir_message *message)
{
    touch(message->key);
    touch(message->value);
    CHECK(message->timestamp >= 0);
    for (size_t i = 0; i < message->header_count; i++) {
        CHECK(message->headers[i].name.data != NULL);
        touch(message->headers[i].name);
        touch(message->headers[i].value);
    }
}

// What the reader says of one unit of input. False: the input ends here.
static bool take(struct intake *intake, int rc, const struct weir_message *message)
{
    if (rc == 1)
        touch_message(message);
    CHECK(rc == 0 || rc == 1 || rc == -EINVAL || rc == -ENOMEM);
    CHECK(rc != -EINVAL || intake_error(intake)[0] != '\0');
    return rc >= 0;
}

// Lines end at every newline; each is handed over in memory of just its size.
static bool feed_lines(struct intake *intake, const uint8_t *data, size_t size)
{
    struct weir_message message;
    bool going = true;

    while (going && size > 0) {
        const uint8_t *newline = memchr(data, '\n', size);
        size_t length = newline != NULL ? (size_t)(newline - data) : size;
        char *line = malloc(length + 1); // one byte in front: malloc(0) is no help
        CHECK(line != NULL);
        memcpy(line + 1, data, length);
        going = take(intake, intake_line(intake, line + 1, length, &message), &message);
        free(line);
        data += length + (newline != NULL);
        size -= length + (newline != NULL);
    }
    return going;
}

static bool feed_packed(struct intake *intake, const uint8_t *data, size_t size, size_t piece)
{
    struct weir_message message;
    bool going = true;

    while (going && size > 0) {
        size_t now = size < piece ? size : piece;
        CHECK(intake_feed(intake, (const char *)data, now) == 0);
        int rc;
        while ((rc = intake_packed(intake, &message)) == 1)
            take(intake, rc, &message);
        going = take(intake, rc, &message);
        data += now;
        size -= now;
    }
    return going;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum intake_format formats[] = {INTAKE_JSON, INTAKE_CSV, INTAKE_HEX,
                                                 INTAKE_MSGPACK};
    if (size < 2)
        return 0;
    enum intake_format format = formats[data[0] % 4];
    size_t piece = data[1] + (size_t)1;
    struct intake *intake = intake_new(format, RECORD_MAX);
    CHECK(intake != NULL);
    bool whole = format == INTAKE_MSGPACK ? feed_packed(intake, data + 2, size - 2, piece)
                                          : feed_lines(intake, data + 2, size - 2);
    if (whole) {
        int rc = intake_end(intake);
        CHECK(rc == 0 || (rc == -EINVAL && intake_error(intake)[0] != '\0'));
    }
    intake_free(intake);
    return 0;
}
