// SPDX-License-Identifier: Apache-2.0
// A package as stage 2 understands it: parsed from a paragraph of the package database, and carried
// on as a msgpack map.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACKAGE_ENCODED_MAX = 4096, PACKAGE_HEAD_MAX = 5 };

// Points into the bytes it was read from.
struct package_text {
    const char *data;
    size_t size;
};

struct package {
    struct package_text name;
    struct package_text version;
    struct package_text section; // "(none)" when the paragraph names none
    struct package_text architecture;
    uint64_t installed_kb; // 0 when the paragraph does not say
};

// The value of a paragraph's Package field; size 0 when there is none.
struct package_text package_name(const char *text, size_t size);

// Reads and checks a paragraph. Returns 0, or -1 with the reason in `reason`: what a person needs
// to find and mend the damage. Never trusts the bytes.
int package_parse(const char *text, size_t size, struct package *package, char *reason,
                  size_t reason_size);

// Writes the msgpack map to `to`, which has room for PACKAGE_ENCODED_MAX bytes. Returns the size,
// or 0 when it does not fit.
size_t package_encode(const struct package *package, char *to);

// Reads what package_encode wrote. Returns 0, or -1 when the bytes are anything else.
int package_decode(const void *bytes, size_t size, struct package *package);

// The head that makes a msgpack value of the bytes of a paragraph: returns its size.
size_t package_head_encode(size_t size, unsigned char head[PACKAGE_HEAD_MAX]);

// How long the head is that begins with this byte (1 when it is none), and the size of the
// paragraph behind a whole head; false when it is something else.
size_t package_head_size(unsigned char first);
bool package_head_decode(const unsigned char *head, size_t *size);
