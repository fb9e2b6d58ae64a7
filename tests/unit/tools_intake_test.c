// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/intake.h"

enum { RECORD_MAX = 1000, TEXT_MAX = 4096 };

static void describe_bytes(struct weir_bytes bytes, FILE *out)
{
    const unsigned char *at = bytes.data;

    if (at == NULL)
        fputc('-', out);
    for (size_t i = 0; at != NULL && i < bytes.size; i++)
        fprintf(out, at[i] > ' ' && at[i] < 127 ? "%c" : "<%02x>", at[i]);
}

// "key|value|name=value,...|timestamp;" for every record, so that tests can say what they expect.
static void describe(const struct weir_message *message, FILE *out)
{
    describe_bytes(message->key, out);
    fputc('|', out);
    describe_bytes(message->value, out);
    fputc('|', out);
    for (size_t i = 0; i < message->header_count; i++) {
        fputs(i > 0 ? "," : "", out);
        describe_bytes(message->headers[i].name, out);
        fputc('=', out);
        describe_bytes(message->headers[i].value, out);
    }
    fprintf(out, "|%lld;", (long long)message->timestamp);
}

static int read_lines(struct intake *intake, const char *data, size_t size, FILE *out)
{
    int rc = 0;

    while (rc >= 0 && size > 0) {
        struct weir_message message;
        const char *newline = memchr(data, '\n', size);
        size_t length = newline != NULL ? (size_t)(newline - data) : size;
        rc = intake_line(intake, data, length, &message);
        if (rc == 1)
            describe(&message, out);
        data += length + (newline != NULL);
        size -= length + (newline != NULL);
    }
    return rc;
}

static int read_packed(struct intake *intake, const char *data, size_t size, size_t piece,
                       FILE *out)
{
    struct weir_message message;
    int rc = 0;

    for (size_t at = 0; rc >= 0 && at < size; at += piece) {
        cr_assert_eq(intake_feed(intake, data + at, piece < size - at ? piece : size - at), 0);
        while ((rc = intake_packed(intake, &message)) == 1)
            describe(&message, out);
    }
    return rc;
}

// Reads everything, msgpack in pieces of `piece` bytes. What was read stands in `text`, the
// sentence in `error`, empty for none.
static void read_all(enum intake_format format, const char *data, size_t size, size_t piece,
                     char *text, char *error)
{
    struct intake *intake = intake_new(format, RECORD_MAX);
    FILE *out = fmemopen(text, TEXT_MAX, "w");
    int rc = format == INTAKE_MSGPACK ? read_packed(intake, data, size, piece, out)
                                      : read_lines(intake, data, size, out);

    if (rc >= 0)
        rc = intake_end(intake);
    fputc('\0', out);
    fclose(out);
    snprintf(error, 256, "%s", rc < 0 ? intake_error(intake) : "");
    cr_assert(rc == 0 || rc == 1 || rc == -EINVAL);
    intake_free(intake);
}

static void expect_bytes(enum intake_format format, const char *data, size_t size,
                         const char *records, const char *says)
{
    for (size_t piece = 1; piece <= 64; piece *= 8) {
        char text[TEXT_MAX] = "";
        char error[256];
        read_all(format, data, size, piece, text, error);
        cr_expect_str_eq(text, records);
        if (*says == '\0')
            cr_expect_str_eq(error, "", "%s", error);
        else
            cr_expect_not_null(strstr(error, says), "'%s' does not say '%s'", error, says);
    }
}

static void expect(enum intake_format format, const char *data, const char *records,
                   const char *says)
{
    expect_bytes(format, data, strlen(data), records, says);
}

#define PACKED(data, records, says)                                                                \
    expect_bytes(INTAKE_MSGPACK, data, sizeof(data) - 1, records, says)

Test(intake, json_records)
{
    expect(INTAKE_JSON, "{\"value\": \"v\"}\n", "-|v||0;", "");
    expect(INTAKE_JSON, "{\"value\": null, \"key\": \"k\", \"timestamp\": 17}", "k|-||17;", "");
    expect(INTAKE_JSON, "\n{\"value\": \"\"}\r\n\n", "-|||0;", "");
    expect(INTAKE_JSON, "{\"value\": {\"n\": [1, true]}, \"key\": 7}", "7|{\"n\":[1,true]}||0;",
           "");
    expect(INTAKE_JSON, "{\"value\": \"a\\u0000b\"}", "-|a<00>b||0;", "");
    expect(INTAKE_JSON,
           "{\"value\": 1, \"headers\": [{\"name\": \"a\", \"value\": null}, {\"name\": \"\", "
           "\"value\": \"x\"}, {\"name\": \"a\", \"value_base64\": \"/w==\"}]}",
           "-|1|a=-,=x,a=<ff>|0;", "");
    expect(INTAKE_JSON, "{\"value\": 1, \"topic\": \"t\", \"partition\": 1, \"offset\": 2}",
           "-|1||0;", "");
}

Test(intake, base64_of_every_length)
{
    expect(INTAKE_JSON, "{\"value_base64\": \"\"}", "-|||0;", "");
    expect(INTAKE_JSON, "{\"value_base64\": \"YQ==\"}", "-|a||0;", "");
    expect(INTAKE_JSON, "{\"value_base64\": \"YWI=\"}", "-|ab||0;", "");
    expect(INTAKE_JSON, "{\"value_base64\": \"YWJj\"}", "-|abc||0;", "");
    expect(INTAKE_JSON, "{\"value_base64\": \"YWJjZA\"}", "-|abcd||0;", "");
    expect(INTAKE_JSON, "{\"value_base64\": \"YWJjZ\"}", "", "no base64");
    expect(INTAKE_JSON, "{\"value_base64\": \"YW=j\"}", "", "no base64");
    expect(INTAKE_JSON, "{\"value_base64\": 7}", "", "no base64");
}

Test(intake, json_that_makes_no_sense)
{
    static const char *const cases[][2] = {
        {"{\"value\": \"x\"", "it is no JSON"},
        {"[1]", "it is no object"},
        {"7", "it is no JSON"},
        {"{\"key\": 1}", "there is no 'value'"},
        {"{\"value\": 1, \"vlaue\": 1}", "there is no 'vlaue'"},
        {"{\"value\": 1, \"value\": 2}", "it is no JSON"},
        {"{\"value\": 1, \"timestamp\": -1}", "'timestamp' is no number"},
        {"{\"value\": 1, \"timestamp\": 1.5}", "'timestamp' is no number"},
        {"{\"value\": 1, \"headers\": [{\"value\": \"x\"}]}", "a header has no name"},
        {"{\"value\": 1, \"headers\": [7]}", "a header has no name"},
        {"{\"value\": 1, \"headers\": {}}", "'headers' is no list"},
        {"{\"value\": \"\xff\"}", "it is no JSON"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(INTAKE_JSON, cases[i][0], "", cases[i][1]);
}

Test(intake, csv_records)
{
    expect(INTAKE_CSV, "key,value\nk,v\n,v2\r\n\"\",\"\"\n", "k|v||0;-|v2||0;|||0;", "");
    expect(INTAKE_CSV, "value,timestamp,topic,offset\nx,17,t,9\nx,,,\n", "-|x||17;-|x||0;", "");
    expect(INTAKE_CSV, "value,header.a,header.b\nx,1,\ny,\"\",2\n", "-|x|a=1|0;-|y|a=,b=2|0;", "");
    expect(INTAKE_CSV, "value\n\"a \"\"b\"\", c\nd\"\n", "-|a<20>\"b\",<20>c<0a>d||0;", "");
    expect(INTAKE_CSV, "value\n\nx\n", "-|-||0;-|x||0;", "");
    expect(INTAKE_CSV, "\nkey,value\n\nk,v\n", "k|v||0;", "");
    expect(INTAKE_CSV,
           "value,headers\nx,\"[{\"\"name\"\": \"\"h\"\", \"\"value\"\": \"\"1\"\"}]\"\n",
           "-|x|h=1|0;", "");
    expect(INTAKE_CSV, "value,key\n\xff,\xfe", "<fe>|<ff>||0;", "");
    expect(INTAKE_CSV, "value,key\n", "", "");
}

Test(intake, csv_that_makes_no_sense)
{
    static const char *const cases[][3] = {
        {"key\n", "", "names no column 'value'"},
        {"value,size\n", "", "column 'size' is unknown"},
        {"value,header.\n", "", "column 'header.' is unknown"},
        {"value,\n", "", "column '' is unknown"},
        {"value,key\nx,y\nx\n", "y|x||0;", "it has 1 columns, the first line names 2"},
        {"value\nx,y\n", "", "it has 2 columns"},
        {"value\n\"x\"y\n", "", "behind a closing quote a comma is expected"},
        {"value\n\"x\n", "", "inside quotes"},
        {"value,timestamp\nx,-1\n", "", "'timestamp' is no number"},
        {"value,timestamp\nx,111111111111111111111111111\n", "", "'timestamp' is no number"},
        {"value,headers\nx,y\n", "", "'headers' is no list"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(INTAKE_CSV, cases[i][0], cases[i][1], cases[i][2]);
}

Test(intake, csv_is_bounded)
{
    char wide[300 + 8] = "";
    char open_quote[RECORD_MAX + 64] = "value\n\"";

    memset(wide, ',', 300);
    expect(INTAKE_CSV, wide, "", "more than 256 columns");
    size_t start = strlen(open_quote);
    memset(open_quote + start, '\n', sizeof(open_quote) - start - 1);
    open_quote[sizeof(open_quote) - 1] = '\0';
    expect(INTAKE_CSV, open_quote, "", "longer than 1000 bytes");
}

Test(intake, hex_records)
{
    expect(INTAKE_HEX, "6162\n", "-|ab||0;", "");
    expect(INTAKE_HEX, "6b\t76\t61=31\t62=-\n-\t-\n\t\n", "k|v|a=1,b=-|0;-|-||0;|||0;", "");
    expect(INTAKE_HEX, "FFfe\r\n", "-|<ff><fe>||0;", "");
    expect(INTAKE_HEX, "616\n", "", "odd");
    expect(INTAKE_HEX, "6g\n", "", "'6g' is no pair");
    expect(INTAKE_HEX, "61\t62\t63\n", "", "a header is NAME=VALUE");
    expect(INTAKE_HEX, "61\t62\t-=63\n", "", "a header needs a name");
}

Test(intake, msgpack_records)
{
    PACKED("\x81\xa5value\xa1v\x82\xa3key\xc4\x01\xff\xa5value\xc0", "-|v||0;<ff>|-||0;", "");
    PACKED("\x83\xa5value\x93\x01\x02\x03\xa9timestamp\x11\xa5other\xa1x",
           "-|<93><01><02><03>||17;", "");
    PACKED("\x82\xa5value\xa0\xa7headers\x92\x82\xa4name\xa1"
           "a\xa5value\xa1"
           "1\x81\xa4name\xa1"
           "b",
           "-||a=1,b=-|0;", "");
}

Test(intake, msgpack_that_makes_no_sense)
{
    PACKED("\x81\xa5value\xa1v\xc1", "-|v||0;", "it is no msgpack");
    PACKED("\x07", "", "it is no map");
    PACKED("\x80", "", "there is no 'value'");
    PACKED("\x81\xa5val", "", "the input ends inside a record");
    PACKED("\x82\xa5value\xa1v\xa7headers\x80", "", "'headers' is no list");
    PACKED("\x82\xa5value\xa1v\xa7headers\x91\x80", "", "a header has no name");
    PACKED("\x82\xa5value\xa1v\xa9timestamp\xff", "", "'timestamp' is no number");
}

// A length is not believed: nothing is allocated for values that are not there.
Test(intake, msgpack_lengths_are_not_believed)
{
    PACKED("\xdd\xff\xff\xff\xff", "", "the input ends inside a record");
    PACKED("\xdf\xff\xff\xff\xff\xa5value", "", "the input ends inside a record");
    PACKED("\x81\xa5value\xdd\xff\xff\xff\xff\x01", "", "the input ends inside a record");
    char long_value[RECORD_MAX + 64];
    memset(long_value, 'x', sizeof(long_value));
    memcpy(long_value, "\x81\xa5value\xda\xff\xff", 10);
    expect_bytes(INTAKE_MSGPACK, long_value, sizeof(long_value), "", "longer than 1000 bytes");
}

Test(intake, msgpack_nests_within_bounds)
{
    char deep[256];

    memset(deep, 0x91, sizeof(deep));
    memcpy(deep, "\x81\xa5value", 7);
    deep[sizeof(deep) - 1] = 0x01;
    expect_bytes(INTAKE_MSGPACK, deep, sizeof(deep), "", "nested too deep");
}
