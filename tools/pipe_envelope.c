// SPDX-License-Identifier: Apache-2.0
// Values are put into an envelope, and in msgpack taken out of it, as the bytes they are.
//
// An answer is read twice: the first time only to see that its form is right, so that no output of
// a bad answer is ever sent.
#include "tools/pipe_envelope.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/encoding.h"
#include "tools/report.h"

enum { HEADERS_MAX = 256 };

static int refuse(struct pipe_refusal *why, const char *sentence)
{
    why->field = NULL;
    snprintf(why->reason, sizeof(why->reason), "the command's answer %s", sentence);
    return -EBADMSG;
}

static json_t *json_headers(const struct pipe_record *record)
{
    json_t *headers = json_array();

    for (size_t i = 0; i < record->header_count; i++) {
        const struct weir_header *header = &record->headers[i];
        json_t *pair = json_object();
        report_set_bytes(pair, "name", header->name.data, header->name.size);
        report_set_bytes(pair, "value", header->value.data, header->value.size);
        json_array_append_new(headers, pair);
    }
    return headers;
}

static int write_json(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_bytes *to)
{
    json_t *object = json_object();

    json_object_set_new(object, "topic", json_string(format->topic));
    json_object_set_new(object, "partition", json_integer(record->partition));
    json_object_set_new(object, "offset", json_integer(record->entry.offset));
    json_object_set_new(object, "timestamp", json_integer(record->timestamp));
    report_set_bytes(object, "key", record->key.data, record->key.size);
    json_object_set_new(object, "headers", json_headers(record));
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return -ENOMEM;
    // The value comes last, in place of the closing brace.
    int rc = pipe_bytes_add(to, text, strlen(text) - 1);
    free(text);
    if (rc == 0)
        rc = pipe_bytes_add_text(to, ",\"value\":");
    if (rc == 0)
        rc = record->value.data != NULL ? pipe_bytes_add(to, record->value.data, record->value.size)
                                        : pipe_bytes_add_text(to, "null");
    return rc != 0 ? rc : pipe_bytes_add(to, "}", 1);
}

static int add_pack_headers(struct pipe_bytes *to, const struct pipe_record *record)
{
    int rc = pipe_pack_add_array(to, (uint32_t)record->header_count);

    for (size_t i = 0; i < record->header_count && rc == 0; i++) {
        const struct weir_header *header = &record->headers[i];
        rc |= pipe_pack_add_map(to, 2);
        rc |= pipe_pack_add_text(to, "name");
        rc |= pipe_pack_add_binary(to, header->name.data, header->name.size);
        rc |= pipe_pack_add_text(to, "value");
        rc |= pipe_pack_add_binary(to, header->value.data, header->value.size);
    }
    return rc;
}

static int write_msgpack(const struct pipe_format *format, const struct pipe_record *record,
                         struct pipe_bytes *to)
{
    int rc = pipe_pack_add_map(to, 7);

    rc |= pipe_pack_add_text(to, "topic");
    rc |= pipe_pack_add_text(to, format->topic);
    rc |= pipe_pack_add_text(to, "partition");
    rc |= pipe_pack_add_integer(to, record->partition);
    rc |= pipe_pack_add_text(to, "offset");
    rc |= pipe_pack_add_integer(to, record->entry.offset);
    rc |= pipe_pack_add_text(to, "timestamp");
    rc |= pipe_pack_add_integer(to, record->timestamp);
    rc |= pipe_pack_add_text(to, "key");
    rc |= pipe_pack_add_binary(to, record->key.data, record->key.size);
    rc |= pipe_pack_add_text(to, "headers");
    rc |= add_pack_headers(to, record);
    rc |= pipe_pack_add_text(to, "value");
    rc |= record->value.data != NULL ? pipe_bytes_add(to, record->value.data, record->value.size)
                                     : pipe_pack_add_binary(to, NULL, 0);
    return rc != 0 ? -ENOMEM : 0;
}

int pipe_envelope_write(const struct pipe_format *format, const struct pipe_record *record,
                        struct pipe_bytes *to)
{
    return format->kind == PIPE_JSON ? write_json(format, record, to)
                                     : write_msgpack(format, record, to);
}

// An output while it is read. `owned` are blocks that live until it has been emitted.
struct output {
    struct weir_message message;
    struct weir_header headers[HEADERS_MAX];
    void *owned[2 * HEADERS_MAX + 2];
    size_t owned_count;
};

static void output_begin(struct output *output, const struct pipe_record *record)
{
    output->message = pipe_format_message(record);
    output->owned_count = 0;
}

static void output_free(struct output *output)
{
    for (size_t i = 0; i < output->owned_count; i++)
        free(output->owned[i]);
    output->owned_count = 0;
}

// Decodes `text` into memory of the output's. 0, -EBADMSG or -ENOMEM.
static int base64(struct output *output, const char *text, struct weir_bytes *out)
{
    size_t length = strlen(text);
    unsigned char *data = malloc(length + 1);

    if (data == NULL)
        return -ENOMEM;
    output->owned[output->owned_count++] = data;
    long size = encoding_from_base64(text, length, data);
    if (size < 0)
        return -EBADMSG;
    *out = weir_bytes_of(data, (size_t)size);
    return 0;
}

// Member `name` of an object as bytes: a string, null, or base64 under its other name. 1 when there
// is none.
static int json_bytes(struct output *output, const json_t *object, const char *name,
                      const char *base64_name, struct weir_bytes *out)
{
    const json_t *plain = json_object_get(object, name);
    const json_t *encoded = json_object_get(object, base64_name);

    if (json_is_string(plain))
        *out = weir_bytes_of(json_string_value(plain), json_string_length(plain));
    else if (json_is_string(encoded))
        return base64(output, json_string_value(encoded), out);
    else if (json_is_null(plain))
        *out = weir_text(NULL);
    else
        return plain == NULL && encoded == NULL ? 1 : -EBADMSG;
    return 0;
}

static int json_header_list(struct output *output, const json_t *list, struct pipe_refusal *why)
{
    size_t count = json_array_size(list);

    if (!json_is_array(list) || count > HEADERS_MAX)
        return refuse(why, "has headers that are no list of at most 256 objects");
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(list, i);
        struct weir_header *header = &output->headers[i];
        if (json_bytes(output, pair, "name", "name_base64", &header->name) != 0 ||
            header->name.data == NULL ||
            json_bytes(output, pair, "value", "value_base64", &header->value) != 0)
            return refuse(why, "has a header without name or value");
    }
    output->message.headers = output->headers;
    output->message.header_count = count;
    return 0;
}

static int json_value(struct output *output, const json_t *object, struct pipe_refusal *why)
{
    const json_t *value = json_object_get(object, "value");
    const json_t *encoded = json_object_get(object, "value_base64");

    if (json_is_null(value)) {
        output->message.value = weir_text(NULL);
        return 0;
    }
    if (value == NULL && json_is_string(encoded))
        return base64(output, json_string_value(encoded), &output->message.value) == 0
                   ? 0
                   : refuse(why, "has a value_base64 that is not base64");
    if (value == NULL)
        return refuse(why, "has no member 'value'");
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL)
        return -ENOMEM;
    output->owned[output->owned_count++] = text;
    output->message.value = weir_text(text);
    return 0;
}

static int json_output(struct output *output, const struct pipe_record *record,
                       const json_t *object, struct pipe_refusal *why)
{
    output_begin(output, record);
    if (!json_is_object(object))
        return refuse(why, "is no object, as --envelope asks for");
    int rc = json_bytes(output, object, "key", "key_base64", &output->message.key);
    if (rc < 0)
        return refuse(why, "has a key that is no text");
    const json_t *headers = json_object_get(object, "headers");
    rc = headers != NULL ? json_header_list(output, headers, why) : 0;
    return rc != 0 ? rc : json_value(output, object, why);
}

int pipe_envelope_read_json(const struct pipe_record *record, const json_t *answer,
                            pipe_emit_function *emit, void *context, struct pipe_refusal *why)
{
    bool several = json_is_array(answer);
    size_t count = several ? json_array_size(answer) : 1;
    struct output *output = malloc(sizeof(*output));
    int rc = output != NULL ? 0 : -ENOMEM;

    if (json_is_null(answer))
        count = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < count && rc == 0; i++) {
            const json_t *object = several ? json_array_get(answer, i) : answer;
            rc = json_output(output, record, object, why);
            if (rc == 0 && pass == 1)
                rc = emit(context, &output->message);
            output_free(output);
        }
    }
    free(output);
    return rc;
}

// Text, binary or nil.
static bool pack_bytes(struct span value, struct weir_bytes *out)
{
    struct span bytes;

    if (pipe_pack_take_nil(&value)) {
        *out = weir_text(NULL);
        return true;
    }
    if (!pipe_pack_take_bytes(&value, &bytes))
        return false;
    *out = weir_bytes_of(bytes.data, bytes.size);
    return true;
}

static bool pack_header(struct span map, struct weir_header *header)
{
    uint32_t pairs;
    struct span name;
    struct span value;
    bool sound = true;
    int seen = 0;

    if (!pipe_pack_take_map(&map, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs && sound; i++) {
        sound = pipe_pack_take_bytes(&map, &name) && pipe_pack_take_any(&map, &value);
        if (sound && span_equal(name, span_text("name"))) {
            sound = pack_bytes(value, &header->name) && header->name.data != NULL;
            seen |= 1;
        } else if (sound && span_equal(name, span_text("value"))) {
            sound = pack_bytes(value, &header->value);
            seen |= 2;
        }
    }
    return sound && seen == 3;
}

static bool pack_headers(struct output *output, struct span list)
{
    uint32_t count;
    struct span map;

    if (!pipe_pack_take_array(&list, &count) || count > HEADERS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!pipe_pack_take_any(&list, &map) || !pack_header(map, &output->headers[i]))
            return false;
    }
    output->message.headers = output->headers;
    output->message.header_count = count;
    return true;
}

static int pack_output(struct output *output, const struct pipe_record *record, struct span map,
                       struct pipe_refusal *why)
{
    uint32_t pairs;
    struct span name;
    struct span value;
    bool has_value = false;

    output_begin(output, record);
    if (!pipe_pack_take_map(&map, &pairs))
        return refuse(why, "is no map, as --envelope asks for");
    for (uint32_t i = 0; i < pairs; i++) {
        if (!pipe_pack_take_bytes(&map, &name) || !pipe_pack_take_any(&map, &value))
            return refuse(why, "has a key in its map that is no text");
        if (span_equal(name, span_text("key")) && !pack_bytes(value, &output->message.key))
            return refuse(why, "has a key that is neither text nor binary");
        if (span_equal(name, span_text("headers")) && !pack_headers(output, value))
            return refuse(why, "has headers that are no list of at most 256 maps");
        if (span_equal(name, span_text("value"))) {
            bool nil = value.data[0] == 0xc0;
            output->message.value = nil ? weir_text(NULL) : weir_bytes_of(value.data, value.size);
            has_value = true;
        }
    }
    return has_value ? 0 : refuse(why, "has no member 'value'");
}

int pipe_envelope_read_msgpack(const struct pipe_record *record, struct span answer,
                               pipe_emit_function *emit, void *context, struct pipe_refusal *why)
{
    struct span first = answer;
    uint32_t count = 1;
    bool several = pipe_pack_take_array(&first, &count);
    struct output *output = malloc(sizeof(*output));
    int rc = output != NULL ? 0 : -ENOMEM;

    for (int pass = 0; pass < 2 && rc == 0; pass++) {
        struct span rest = several ? first : answer;
        for (uint32_t i = 0; i < count && rc == 0; i++) {
            struct span map;
            if (!pipe_pack_take_any(&rest, &map))
                rc = refuse(why, "is cut off");
            else
                rc = pack_output(output, record, map, why);
            if (rc == 0 && pass == 1)
                rc = emit(context, &output->message);
        }
    }
    free(output);
    return rc;
}
