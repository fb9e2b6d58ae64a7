// SPDX-License-Identifier: Apache-2.0
// Bytes that somebody else's codec wrote (tests/foreign/golden): they must decode to the values it
// was given and encode to the same bytes again.
#include <criterion/criterion.h>

#include <stdlib.h>

#include "gen/kp_apis.h"
#include "gen/kp_consumer_group_describe.h"
#include "gen/kp_consumer_group_heartbeat.h"

enum { LINE_MAX_SIZE = 1 << 16 };

// One line of a golden file: api, kind, version, hex, values.
struct golden {
    const struct kp_message *desc;
    int16_t version;
    const char *hex;
    const char *values;
};

static FILE *open_golden(const char *name)
{
    char path[4096];
    const char *slash = strrchr(__FILE__, '/');
    snprintf(path, sizeof(path), "%.*s/../foreign/golden/%s", (int)(slash - __FILE__), __FILE__,
             name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "cannot open %s", path);
    return file;
}

static void split(char *line, struct golden *out)
{
    char *rest = line;
    const char *api = strsep(&rest, " ");
    const char *kind = strsep(&rest, " ");
    const char *version = strsep(&rest, " ");
    out->hex = strsep(&rest, " ");
    cr_assert_not_null(rest, "a line of another form: %s", line);
    rest[strcspn(rest, "\n")] = 0;
    out->values = rest;
    out->version = (int16_t)strtol(version, NULL, 10);
    out->desc = NULL;
    for (int i = 0; i < KP_APIS_COUNT; i++) {
        if (strcmp(kp_apis[i].snake, api) == 0)
            out->desc = strcmp(kind, "request") == 0 ? kp_apis[i].request : kp_apis[i].response;
    }
    cr_assert_not_null(out->desc, "%s is unknown", api);
}

static struct span from_hex(const char *hex, struct arena *arena)
{
    size_t size = strlen(hex) / 2;
    uint8_t *bytes = arena_alloc(arena, size);
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        cr_assert_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    return span_of(bytes, size);
}

static void check(const struct golden *golden, struct arena *arena)
{
    const char *name = golden->desc->name;
    struct span bytes = from_hex(golden->hex, arena);
    void *message = arena_alloc(arena, golden->desc->body->size);
    struct kp_reader r = kp_reader_init(bytes.data, bytes.size);
    cr_expect_eq(golden->desc->decode(&r, golden->version, arena, message), 0, "%s %d is refused",
                 name, golden->version);
    cr_expect_eq(kp_reader_left(&r), 0, "%s %d leaves bytes", name, golden->version);
    if (r.failed)
        return;

    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    kp_describe_dump(golden->desc, golden->version, message, out);
    fclose(out);
    cr_expect_str_eq(text, golden->values, "%s %d:\n%s\n%s", name, golden->version, text,
                     golden->values);
    free(text);

    struct kp_writer w;
    kp_writer_init(&w, arena);
    golden->desc->encode(&w, golden->version, message);
    cr_expect(span_equal(kp_writer_flat(&w), bytes), "%s %d is encoded differently", name,
              golden->version);
}

static int check_file(const char *name)
{
    FILE *file = open_golden(name);
    char *line = malloc(LINE_MAX_SIZE);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    int count = 0;
    while (fgets(line, LINE_MAX_SIZE, file)) {
        if (line[0] == '#')
            continue;
        struct golden golden;
        split(line, &golden);
        check(&golden, &arena);
        arena_reset(&arena);
        count++;
    }
    arena_free(&arena);
    free(line);
    fclose(file);
    return count;
}

Test(protocol, golden_bytes_of_kafka_python_2)
{
    cr_assert_geq(check_file("golden-2.0.2.txt"), 100);
}

// What kafka-python 3 does not speak; it speaks every version of everything else.
static bool is_of_kio(int16_t key)
{
    return key == KP_CONSUMER_GROUP_HEARTBEAT_KEY || key == KP_CONSUMER_GROUP_DESCRIBE_KEY;
}

static int count_messages(bool of_kio)
{
    int count = 0;
    for (int i = 0; i < KP_APIS_COUNT; i++)
        if (is_of_kio(kp_apis[i].key) == of_kio)
            count += 2 * (kp_apis[i].max - kp_apis[i].min + 1);
    return count;
}

Test(protocol, golden_bytes_of_kafka_python_3)
{
    cr_assert_eq(check_file("golden-3.0.12.txt"), count_messages(false));
}

Test(protocol, golden_bytes_of_kio)
{
    enum { ROUNDS = 4 };
    cr_assert_eq(check_file("golden-kio-0.6.5.txt"), ROUNDS * count_messages(true));
}
