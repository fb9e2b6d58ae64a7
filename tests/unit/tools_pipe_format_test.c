// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pipe_format.h"

struct scene {
    struct pipe_record record;
    struct weir_header headers[2];
    struct pipe_bytes shown;
    char *emitted; // "key|value|header=value;" per output, "-" for what is absent
    size_t emitted_size;
    FILE *log;
};

static void set_up(struct scene *scene, const char *key, const char *value)
{
    *scene = (struct scene){0};
    scene->headers[0].name = weir_text("source");
    scene->headers[0].value = weir_text("door");
    scene->record.partition = 3;
    scene->record.timestamp = 1700000000000;
    scene->record.entry.offset = 77;
    scene->record.key = weir_text(key);
    scene->record.value = weir_text(value);
    scene->record.headers = scene->headers;
    scene->record.header_count = 1;
    scene->log = open_memstream(&scene->emitted, &scene->emitted_size);
}

static void tear_down(struct scene *scene)
{
    fclose(scene->log);
    free(scene->emitted);
    pipe_bytes_free(&scene->shown);
}

static const char *shown(struct scene *scene, const struct pipe_format *format)
{
    struct pipe_refusal why;

    pipe_bytes_clear(&scene->shown);
    if (pipe_format_check(format, &scene->record, &why) != 0)
        return NULL;
    cr_assert_eq(pipe_format_write(format, &scene->record, &scene->shown), 0);
    cr_assert_eq(pipe_bytes_add(&scene->shown, "", 1), 0);
    return pipe_bytes_front(&scene->shown);
}

static void print(FILE *log, struct weir_bytes bytes)
{
    if (bytes.data == NULL)
        fputc('-', log);
    else
        fwrite(bytes.data, 1, bytes.size, log);
}

static int emit(void *context, const struct weir_message *message)
{
    struct scene *scene = context;

    print(scene->log, message->key);
    fputc('|', scene->log);
    print(scene->log, message->value);
    fputc('|', scene->log);
    for (size_t i = 0; i < message->header_count; i++) {
        print(scene->log, message->headers[i].name);
        fputc('=', scene->log);
        print(scene->log, message->headers[i].value);
        fputc(';', scene->log);
    }
    fputc('\n', scene->log);
    return 0;
}

static int answer(struct scene *scene, const struct pipe_format *format, bool known,
                  const void *data, size_t size)
{
    struct pipe_refusal why;

    rewind(scene->log);
    int rc = pipe_format_read(format, known ? &scene->record : NULL, data, size, emit, scene, &why);
    fflush(scene->log);
    // What an earlier answer has left behind it.
    scene->emitted[scene->emitted_size] = '\0';
    return rc;
}

static const char *answer_text(struct scene *scene, const struct pipe_format *format, bool known,
                               const char *text)
{
    cr_assert_eq(answer(scene, format, known, text, strlen(text)), 0, "%s", text);
    return scene->emitted;
}

static const struct pipe_format lines = {.kind = PIPE_LINES, .topic = "t"};
static const struct pipe_format keyed = {.kind = PIPE_LINES, .topic = "t", .delimiter = "::"};
static const struct pipe_format json = {.kind = PIPE_JSON, .topic = "t"};
static const struct pipe_format json_envelope = {.kind = PIPE_JSON, .topic = "t", .envelope = true};
static const struct pipe_format pack = {.kind = PIPE_MSGPACK, .topic = "t"};
static const struct pipe_format pack_envelope = {
    .kind = PIPE_MSGPACK, .topic = "t", .envelope = true};

Test(tools, pipe_lines_keep_what_belongs_to_the_record)
{
    struct scene scene;

    set_up(&scene, "k", "hello");
    cr_assert_str_eq(shown(&scene, &lines), "hello\n");
    cr_assert_str_eq(answer_text(&scene, &lines, true, "HELLO"), "k|HELLO|source=door;\n");
    cr_assert_str_eq(answer_text(&scene, &lines, false, "HELLO"), "-|HELLO|\n");
    answer_text(&scene, &lines, true, "");
    cr_assert_eq(scene.emitted_size, 0, "an empty line is no output");
    scene.record.value = weir_text("two\nlines");
    cr_assert_null(shown(&scene, &lines));
    scene.record.value = weir_text(NULL);
    cr_assert_str_eq(shown(&scene, &lines), "\n");
    tear_down(&scene);
}

Test(tools, pipe_lines_show_keys_before_a_delimiter)
{
    struct scene scene;

    set_up(&scene, "k", "a::b");
    cr_assert_str_eq(shown(&scene, &keyed), "k::a::b\n");
    cr_assert_str_eq(answer_text(&scene, &keyed, true, "x::y::z"), "x|y::z|source=door;\n");
    cr_assert_str_eq(answer_text(&scene, &keyed, true, "plain"), "-|plain|source=door;\n");
    scene.record.key = weir_text("a::b");
    cr_assert_null(shown(&scene, &keyed));
    scene.record.key = weir_text("a\nb");
    cr_assert_null(shown(&scene, &keyed));
    scene.record.key = weir_text(NULL);
    cr_assert_str_eq(shown(&scene, &keyed), "a::b\n");
    tear_down(&scene);
}

Test(tools, pipe_json_keeps_the_bytes_of_values_and_takes_nothing_else)
{
    struct scene scene;

    set_up(&scene, "k", "{\"a\": 12345678901234567890,\n \"b\": 1e2}");
    cr_assert_str_eq(shown(&scene, &json), "{\"a\": 12345678901234567890,  \"b\": 1e2}\n");
    cr_assert_str_eq(answer_text(&scene, &json, true, "[1, 2]"), "k|[1, 2]|source=door;\n");
    cr_assert_eq(answer(&scene, &json, true, "{", 1), -EBADMSG);
    cr_assert_eq(scene.emitted_size, 0);
    answer_text(&scene, &json, true, "");
    cr_assert_eq(scene.emitted_size, 0);
    static const char *const bad[] = {"{\"a\":}", "", "hello", "1 2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        scene.record.value = weir_text(bad[i]);
        cr_assert_null(shown(&scene, &json), "%s", bad[i]);
    }
    scene.record.value = weir_text(NULL);
    cr_assert_null(shown(&scene, &json));
    tear_down(&scene);
}

Test(tools, pipe_json_envelopes_show_and_take_everything)
{
    struct scene scene;

    set_up(&scene, "k", "{\"a\":\n1}");
    cr_assert_str_eq(shown(&scene, &json_envelope),
                     "{\"topic\":\"t\",\"partition\":3,\"offset\":77,\"timestamp\":1700000000000,"
                     "\"key\":\"k\",\"headers\":[{\"name\":\"source\",\"value\":\"door\"}],"
                     "\"value\":{\"a\": 1}}\n");
    cr_assert_str_eq(answer_text(&scene, &json_envelope, true, "{\"value\":{\"b\":2}}"),
                     "k|{\"b\":2}|source=door;\n");
    cr_assert_str_eq(
        answer_text(&scene, &json_envelope, true,
                    "[{\"value\":1,\"key\":\"x\"},{\"value\":null,\"key\":null,\"headers\":"
                    "[{\"name\":\"n\",\"value\":null}]},{\"value_base64\":\"/w==\"}]"),
        "x|1|source=door;\n-|-|n=-;\nk|\xff|source=door;\n");
    cr_assert_str_eq(answer_text(&scene, &json_envelope, false, "{\"value\":\"s\"}"), "-|\"s\"|\n");
    answer_text(&scene, &json_envelope, true, "[]");
    cr_assert_eq(scene.emitted_size, 0);
    static const char *const bad[] = {
        "5",
        "{}",
        "{\"key\":\"x\"}",
        "{\"value\":1,\"key\":5}",
        "{\"value\":1,\"headers\":{}}",
        "{\"value\":1,\"headers\":[{\"name\":\"x\"}]}",
        "{\"value_base64\":\"!\"}",
        "[{\"value\":1},{}]",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(answer(&scene, &json_envelope, true, bad[i], strlen(bad[i])), -EBADMSG, "%s",
                     bad[i]);
        cr_assert_eq(scene.emitted_size, 0, "nothing of a bad answer is sent: %s", bad[i]);
    }
    scene.record.key = weir_bytes_of("\xff", 1);
    cr_assert_not_null(strstr(shown(&scene, &json_envelope), "\"key_base64\":\"/w==\""));
    scene.record.value = weir_text(NULL);
    cr_assert_not_null(strstr(shown(&scene, &json_envelope), "\"value\":null}\n"));
    tear_down(&scene);
}

Test(tools, pipe_msgpack_passes_values_unchanged)
{
    static const char value[] = "\x82\xa1"
                                "a\x01\xa1"
                                "b\x92\xc3\xc4\x01\xff";
    struct scene scene;

    set_up(&scene, "k", NULL);
    scene.record.value = weir_bytes_of(value, sizeof(value) - 1);
    cr_assert_not_null(shown(&scene, &pack));
    cr_assert_arr_eq(pipe_bytes_front(&scene.shown), value, sizeof(value) - 1);
    cr_assert_eq(answer(&scene, &pack, true, value, sizeof(value) - 1), 0);
    cr_assert_gt(scene.emitted_size, sizeof(value));
    cr_assert_eq(answer(&scene, &pack, true, "\xc0", 1), 0);
    cr_assert_eq(scene.emitted_size, 0, "nil is no output");
    scene.record.value = weir_bytes_of("\x01\x02", 2);
    cr_assert_null(shown(&scene, &pack), "two values");
    scene.record.value = weir_bytes_of("\x92\x02", 2);
    cr_assert_null(shown(&scene, &pack), "half a value");
    scene.record.value = weir_bytes_of("\xc1", 1);
    cr_assert_null(shown(&scene, &pack));
    tear_down(&scene);
}

Test(tools, pipe_msgpack_envelopes_come_back_as_they_went)
{
    struct scene scene;

    set_up(&scene, "k", NULL);
    scene.record.value = weir_bytes_of("\x93\x01\x02\x03", 4);
    cr_assert_not_null(shown(&scene, &pack_envelope));
    size_t size = pipe_bytes_left(&scene.shown) - 1;
    cr_assert_eq(pipe_pack_size(span_of(pipe_bytes_front(&scene.shown), size)), size);
    cr_assert_eq(answer(&scene, &pack_envelope, false, pipe_bytes_front(&scene.shown), size), 0);
    cr_assert_str_eq(scene.emitted, "k|\x93\x01\x02\x03|source=door;\n");
    // An array of them is several, an empty one none.
    static const char two[] = "\x92\x81\xa5value\x01\x82\xa5value\xc0\xa3key\xc4\x01x";
    cr_assert_eq(answer(&scene, &pack_envelope, true, two, sizeof(two) - 1), 0);
    cr_assert_str_eq(scene.emitted, "k|\x01|source=door;\nx|-|source=door;\n");
    cr_assert_eq(answer(&scene, &pack_envelope, true, "\x90", 1), 0);
    cr_assert_eq(scene.emitted_size, 0);
    static const struct {
        const char *data;
        size_t size;
    } bad[] = {{"\x05", 1},
               {"\x80", 1},
               {"\x82\xa5value\x01\xa3key\x05", 13},
               {"\x82\xa5value\x01\xa7headers\x81\x01\x02", 19},
               {"\x92\x81\xa5value\x01\x80", 10}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(answer(&scene, &pack_envelope, true, bad[i].data, bad[i].size), -EBADMSG,
                     "%zu", i);
        cr_assert_eq(scene.emitted_size, 0);
    }
    tear_down(&scene);
}

Test(tools, pipe_cuts_lines_wherever_they_arrive)
{
    static const char text[] = "one\n\nthree";
    size_t answers = 0;
    struct pipe_cut cut = {0};
    size_t start = 0;
    size_t size;
    size_t total;

    for (size_t end = 0; end <= sizeof(text) - 1; end++) {
        while (pipe_format_cut(&lines, &cut, text + start, end - start, false, &size, &total) ==
               1) {
            cut = (struct pipe_cut){0};
            start += total;
            answers++;
        }
    }
    cr_assert_eq(answers, 2);
    cr_assert_eq(pipe_format_cut(&lines, &cut, text + start, 5, true, &size, &total), 1);
    cr_assert_eq(size, 5);
}

Test(tools, pipe_finds_the_end_of_msgpack_byte_by_byte)
{
    static const struct {
        const char *data;
        size_t size;
    } values[] = {
        {"\x00", 1},
        {"\xff", 1},
        {"\xc0", 1},
        {"\xa3xyz", 4},
        {"\xd9\x03xyz", 5},
        {"\xda\x00\x01x", 4},
        {"\xdb\x00\x00\x00\x01x", 6},
        {"\xc4\x02xy", 4},
        {"\xc7\x02\x05xy", 5},
        {"\xd4\x01x", 3},
        {"\xd8\x01"
         "0123456789abcdef",
         18},
        {"\xca\x00\x00\x00\x00", 5},
        {"\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 9},
        {"\xcf\x00\x00\x00\x00\x00\x00\x00\x00", 9},
        {"\xd3\x00\x00\x00\x00\x00\x00\x00\x00", 9},
        {"\x92\x01\x93\x01\x02\x80", 6},
        {"\xdc\x00\x02\x01\xa1x", 6},
        {"\xdd\x00\x00\x00\x01\x01", 6},
        {"\x82\x01\x02\x03\x04", 5},
        {"\xde\x00\x01\xa1x\x90", 6},
        {"\xdf\x00\x00\x00\x01\x01\x02", 7},
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct pipe_pack_scan scan = {0};
        for (size_t size = 0; size < values[i].size; size++)
            cr_assert_eq(pipe_pack_scan(&scan, values[i].data, size), 0, "%zu, %zu", i, size);
        cr_assert_eq(pipe_pack_scan(&scan, values[i].data, values[i].size), 1, "%zu", i);
        cr_assert_eq(scan.at, values[i].size);
    }
    // A head that claims four thousand million values costs nothing.
    struct pipe_pack_scan scan = {0};
    cr_assert_eq(pipe_pack_scan(&scan, "\xdd\xff\xff\xff\xff\xdd\xff\xff\xff\xff", 10), 0);
}

Test(tools, pipe_checks_name_the_field)
{
    static const char schema[] =
        "id:integer, name : string, # a comment, with: commas\n"
        "address.city:string?\n price:number,tags:array?,more:any,x.y:null?";
    static const struct {
        const char *value;
        const char *field;
    } cases[] = {
        {"{\"id\":1,\"name\":\"n\",\"price\":1.5,\"more\":null}", NULL},
        {"{\"id\":1,\"name\":\"n\",\"price\":2,\"more\":[],\"address\":{\"city\":\"c\"}}", NULL},
        {"{\"id\":1,\"name\":\"n\",\"price\":2,\"more\":[],\"address\":{\"city\":5}}",
         "address.city"},
        {"{\"id\":1,\"name\":\"n\",\"price\":2,\"more\":[],\"address.city\":5}", "address.city"},
        {"{\"id\":1.5,\"name\":\"n\",\"price\":2,\"more\":1}", "id"},
        {"{\"id\":1,\"price\":2,\"more\":1}", "name"},
        {"{\"id\":1,\"name\":\"n\",\"price\":\"2\",\"more\":1}", "price"},
        {"{\"id\":1,\"name\":\"n\",\"price\":2}", "more"},
        {"{\"id\":1,\"name\":\"n\",\"price\":2,\"more\":0,\"tags\":{}}", "tags"},
        {"[1]", "id"},
        {"{}", "id"},
    };
    struct pipe_check *check;
    char reason[PIPE_REASON_MAX];

    cr_assert_eq(pipe_check_parse(schema, &check, reason, sizeof(reason)), 0, "%s", reason);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *value = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);
        const char *field = pipe_check_value(check, value, reason, sizeof(reason));
        if (cases[i].field == NULL)
            cr_assert_null(field, "%s: %s", cases[i].value, reason);
        else
            cr_assert(field != NULL && strcmp(field, cases[i].field) == 0, "%s", cases[i].value);
        json_decref(value);
    }
    json_t *value = json_pack("{s:s}", "id", "seven");
    pipe_check_value(check, value, reason, sizeof(reason));
    cr_assert_str_eq(reason, "field 'id' is string, not integer");
    json_decref(value);
    pipe_check_free(check);
}

Test(tools, pipe_checks_refuse_schemas_that_make_no_sense)
{
    static const char *const bad[] = {
        "",         " , ",    "id",        "id:int",      ":string",
        "a..b:any", ".a:any", "a.:string", "id:string,b", "@/nowhere/x"};
    struct pipe_check *check;
    char reason[PIPE_REASON_MAX];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(pipe_check_parse(bad[i], &check, reason, sizeof(reason)), -EINVAL, "%s",
                     bad[i]);
}

Test(tools, pipe_checks_msgpack_like_json)
{
    struct scene scene;
    struct pipe_check *check;
    struct pipe_refusal why;

    set_up(&scene, "k", NULL);
    cr_assert_eq(pipe_check_parse("a:integer", &check, why.reason, sizeof(why.reason)), 0);
    struct pipe_format format = {.kind = PIPE_MSGPACK, .topic = "t", .check = check};
    scene.record.value = weir_text("\x81\xa1"
                                   "a\x05");
    cr_assert_eq(pipe_format_check(&format, &scene.record, &why), 0);
    scene.record.value = weir_text("\x81\xa1"
                                   "a\xa1x");
    cr_assert_eq(pipe_format_check(&format, &scene.record, &why), -EBADMSG);
    cr_assert_str_eq(why.field, "a");
    pipe_check_free(check);
    tear_down(&scene);
}
