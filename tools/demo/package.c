// SPDX-License-Identifier: Apache-2.0
// Parsing follows Debian's control files: "Name: value" per line, continuation lines begin with a
// space or a tab.
//
// Decoding is done by hand, and takes only flat maps of short texts and whole numbers: msgpack-c's
// unpacker allocates what a length field claims, before it looks whether the bytes are there.
#include "tools/demo/package.h"

#include <msgpack.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum field { FIELD_PACKAGE, FIELD_VERSION, FIELD_SECTION, FIELD_ARCHITECTURE, FIELD_SIZE, FIELDS };

static const struct {
    const char *name;
    bool required;
} fields[FIELDS] = {
    [FIELD_PACKAGE] = {"Package", true},      [FIELD_VERSION] = {"Version", true},
    [FIELD_SECTION] = {"Section", false},     [FIELD_ARCHITECTURE] = {"Architecture", true},
    [FIELD_SIZE] = {"Installed-Size", false},
};

static const char no_section[] = "(none)";

static struct package_text trimmed(const char *from, const char *end)
{
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (from < end && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    return (struct package_text){from, (size_t)(end - from)};
}

static int field_named(const char *name, size_t size)
{
    for (int i = 0; i < FIELDS; i++) {
        if (strlen(fields[i].name) == size && memcmp(fields[i].name, name, size) == 0)
            return i;
    }
    return FIELDS;
}

static int take_line(const char *line, const char *end, int number,
                     struct package_text values[FIELDS], char *reason, size_t reason_size)
{
    if (line < end && (*line == ' ' || *line == '\t'))
        return 0;
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (colon == NULL) {
        snprintf(reason, reason_size, "line %d is no field, the text may have been cut there",
                 number);
        return -1;
    }
    int field = field_named(line, (size_t)(colon - line));
    if (field == FIELDS)
        return 0;
    if (values[field].data != NULL) {
        snprintf(reason, reason_size, "field %s stands there twice", fields[field].name);
        return -1;
    }
    values[field] = trimmed(colon + 1, end);
    return 0;
}

static int split_fields(const char *text, size_t size, struct package_text values[FIELDS],
                        char *reason, size_t reason_size)
{
    const char *end = text + size;
    int number = 1;

    for (const char *line = text; line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline != NULL ? newline : end;
        if (take_line(line, line_end, number, values, reason, reason_size) != 0)
            return -1;
        line = newline != NULL ? newline + 1 : end;
    }
    return 0;
}

// Control characters have no place in a text; their presence is what garbage is recognised by.
static int check_text(const char *text, size_t size, char *reason, size_t reason_size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if ((byte < ' ' && byte != '\n' && byte != '\t' && byte != '\r') || byte == 0x7F) {
            snprintf(reason, reason_size, "not a text: byte 0x%02x at place %zu", byte, i);
            return -1;
        }
    }
    return 0;
}

static int check_name(struct package_text name, char *reason, size_t reason_size)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    (i > 0 && strchr("+-.", c) != NULL && c != '\0');
        if (!good) {
            snprintf(reason, reason_size, "'%.*s' is no name for a package",
                     (int)(name.size < 100 ? name.size : 100), name.data);
            return -1;
        }
    }
    return 0;
}

static int read_size(struct package_text text, uint64_t *out, char *reason, size_t reason_size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i > 12) {
            snprintf(reason, reason_size, "field Installed-Size is no number: '%.*s'",
                     (int)(text.size < 40 ? text.size : 40), text.data);
            return -1;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = value;
    return 0;
}

struct package_text package_name(const char *text, size_t size)
{
    struct package_text values[FIELDS] = {{0}};
    char reason[100];

    split_fields(text, size, values, reason, sizeof(reason));
    return values[FIELD_PACKAGE];
}

int package_parse(const char *text, size_t size, struct package *package, char *reason,
                  size_t reason_size)
{
    struct package_text values[FIELDS] = {{0}};

    if (check_text(text, size, reason, reason_size) != 0 ||
        split_fields(text, size, values, reason, reason_size) != 0)
        return -1;
    for (int i = 0; i < FIELDS; i++) {
        if (fields[i].required && values[i].size == 0) {
            snprintf(reason, reason_size, "field %s is missing", fields[i].name);
            return -1;
        }
    }
    *package = (struct package){
        .name = values[FIELD_PACKAGE],
        .version = values[FIELD_VERSION],
        .section = values[FIELD_SECTION],
        .architecture = values[FIELD_ARCHITECTURE],
    };
    if (package->section.size == 0)
        package->section = (struct package_text){no_section, sizeof(no_section) - 1};
    if (check_name(package->name, reason, reason_size) != 0)
        return -1;
    return read_size(values[FIELD_SIZE], &package->installed_kb, reason, reason_size);
}

static void pack_text(msgpack_packer *packer, const char *name, struct package_text text)
{
    msgpack_pack_str_with_body(packer, name, strlen(name));
    msgpack_pack_str_with_body(packer, text.data, text.size);
}

size_t package_encode(const struct package *package, char *to)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;

    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, 5);
    pack_text(&packer, "name", package->name);
    pack_text(&packer, "version", package->version);
    pack_text(&packer, "section", package->section);
    pack_text(&packer, "architecture", package->architecture);
    msgpack_pack_str_with_body(&packer, "installed_kb", strlen("installed_kb"));
    msgpack_pack_uint64(&packer, package->installed_kb);

    size_t size = buffer.size <= PACKAGE_ENCODED_MAX ? buffer.size : 0;
    if (size > 0)
        memcpy(to, buffer.data, size);
    msgpack_sbuffer_destroy(&buffer);
    return size;
}

struct decoder {
    const unsigned char *at;
    const unsigned char *end;
    bool failed;
};

static uint64_t take_big_endian(struct decoder *decoder, size_t size)
{
    uint64_t value = 0;

    if ((size_t)(decoder->end - decoder->at) < size) {
        decoder->failed = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        value = value << 8 | *decoder->at++;
    return value;
}

static struct package_text take_text(struct decoder *decoder)
{
    uint64_t head = take_big_endian(decoder, 1);
    uint64_t size = 0;

    if (head >> 5 == 5)
        size = head & 31;
    else if (head == 0xD9)
        size = take_big_endian(decoder, 1);
    else if (head == 0xDA)
        size = take_big_endian(decoder, 2);
    else
        decoder->failed = true;
    if (decoder->failed || size > (uint64_t)(decoder->end - decoder->at)) {
        decoder->failed = true;
        return (struct package_text){0};
    }
    struct package_text text = {(const char *)decoder->at, size};
    decoder->at += size;
    return text;
}

static uint64_t take_number(struct decoder *decoder)
{
    uint64_t head = take_big_endian(decoder, 1);

    if (head < 0x80)
        return head;
    if (head >= 0xCC && head <= 0xCF)
        return take_big_endian(decoder, (size_t)1 << (head - 0xCC));
    decoder->failed = true;
    return 0;
}

int package_decode(const void *bytes, size_t size, struct package *package)
{
    static const char *const names[] = {"name", "version", "section", "architecture"};
    struct decoder decoder = {.at = bytes, .end = (const unsigned char *)bytes + size};
    struct package_text *const texts[] = {&package->name, &package->version, &package->section,
                                          &package->architecture};

    *package = (struct package){0};
    if (bytes == NULL || take_big_endian(&decoder, 1) != 0x85)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        struct package_text name = take_text(&decoder);
        if (decoder.failed || name.size != strlen(names[i]) ||
            memcmp(name.data, names[i], name.size) != 0)
            return -1;
        *texts[i] = take_text(&decoder);
    }
    struct package_text name = take_text(&decoder);
    if (decoder.failed || name.size != strlen("installed_kb") ||
        memcmp(name.data, "installed_kb", name.size) != 0)
        return -1;
    package->installed_kb = take_number(&decoder);
    return decoder.failed || decoder.at != decoder.end ? -1 : 0;
}

enum { BINARY_8 = 0xC4, BINARY_16 = 0xC5, BINARY_32 = 0xC6 };

size_t package_head_encode(size_t size, unsigned char head[PACKAGE_HEAD_MAX])
{
    size_t width = size <= UINT8_MAX ? 1 : size <= UINT16_MAX ? 2 : 4;

    head[0] = width == 1 ? BINARY_8 : width == 2 ? BINARY_16 : BINARY_32;
    for (size_t i = 0; i < width; i++)
        head[1 + i] = (unsigned char)(size >> 8 * (width - 1 - i));
    return 1 + width;
}

size_t package_head_size(unsigned char first)
{
    switch (first) {
    case BINARY_8:
        return 2;
    case BINARY_16:
        return 3;
    case BINARY_32:
        return 5;
    default:
        return 1;
    }
}

bool package_head_decode(const unsigned char *head, size_t *size)
{
    size_t width = package_head_size(head[0]) - 1;

    *size = 0;
    for (size_t i = 0; i < width; i++)
        *size = *size << 8 | head[1 + i];
    return width > 0;
}
