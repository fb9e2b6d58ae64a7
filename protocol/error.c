// SPDX-License-Identifier: Apache-2.0
// The table behind the error codes. A code's row is found by its position, so error.def lists the
// codes in order from -1 on: the assertion below catches a forgotten one, the unit test any other.
#include "protocol/error.h"

#include <stddef.h>

struct error_row {
    int16_t code;
    bool retriable;
    const char *name;
    const char *text;
};

static const struct error_row rows[] = {
#define K(code, name, retriable, text) {(code), (retriable), #name, (text)},
#include "protocol/error.def"
#undef K
};

enum { FIRST = -1, COUNT = sizeof(rows) / sizeof(rows[0]), LAST = FIRST + COUNT - 1 };

#define K(code, name, retriable, text) +(code)
_Static_assert((0
#include "protocol/error.def"
                ) == (LAST * (LAST + 1)) / 2 - 1,
               "error.def must list the codes from -1 on without gaps");
#undef K

static const struct error_row *find(int16_t code)
{
    return code < FIRST || code > LAST ? NULL : &rows[code - FIRST];
}

const char *kp_error_name(int16_t code)
{
    const struct error_row *row = find(code);
    return row ? row->name : "UNKNOWN";
}

const char *kp_error_text(int16_t code)
{
    const struct error_row *row = find(code);
    return row ? row->text : "an error this version does not know";
}

bool kp_error_retriable(int16_t code)
{
    const struct error_row *row = find(code);
    return row && row->retriable;
}
