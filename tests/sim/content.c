// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"

enum { BATCH_BYTES_MAX = 64 * 1024 * 1024, KEY_TEXT = 16 };

void content_builder_init(struct content_builder *builder)
{
    *builder = (struct content_builder){0};
    batch_builder_init(&builder->builder, BATCH_BYTES_MAX);
}

void content_builder_free(struct content_builder *builder)
{
    batch_builder_free(&builder->builder);
    free(builder->scratch.data);
    free(builder->value);
}

static uint64_t number_of(const struct content *content, int32_t index)
{
    struct random random = {.state = content->id * 1000003 + (uint64_t)index};
    return random_next(&random);
}

int content_key(const struct content *content, int32_t index)
{
    if (content->keys == 0)
        return -1;
    return (int)(number_of(content, index) % content->keys);
}

bool content_is_null(const struct content *content, int32_t index)
{
    return content->keys > 0 && (number_of(content, index) >> 32) % 8 == 0;
}

static struct span key_text(const struct content *content, int32_t index, char to[KEY_TEXT])
{
    int key = content_key(content, index);
    if (key < 0)
        return (struct span){0};
    int size = snprintf(to, KEY_TEXT, "key-%d", key);
    return span_of(to, (size_t)size);
}

static struct span value_bytes(struct content_builder *builder, const struct content *content,
                               int32_t index)
{
    if (content_is_null(content, index))
        return (struct span){0};
    if (!builder->value || builder->value_room < content->value_bytes) {
        builder->value_room = content->value_bytes + 1;
        builder->value = realloc(builder->value, builder->value_room);
        CHECK(builder->value);
    }
    uint64_t number = number_of(content, index);
    size_t head = content->value_bytes < sizeof(number) ? content->value_bytes : sizeof(number);
    memset(builder->value, (int)(number >> 8 & 0xff), content->value_bytes);
    memcpy(builder->value, &number, head);
    return span_of(builder->value, content->value_bytes);
}

struct span content_build(struct content_builder *builder, const struct content *content)
{
    batch_builder_reset(&builder->builder);
    for (int32_t i = 0; i < content->records; i++) {
        char text[KEY_TEXT];
        enum batch_error error = batch_builder_add(&builder->builder, content_timestamp(content, i),
                                                   key_text(content, i, text),
                                                   value_bytes(builder, content, i), NULL, 0);
        CHECK(error == BATCH_OK);
    }
    struct span out;
    enum batch_error error = batch_builder_finish(&builder->builder, content->codec, 0,
                                                  content->producer, &builder->scratch, &out);
    CHECK(error == BATCH_OK);
    return out;
}

static bool same_bytes(struct span one, struct span other)
{
    return (one.data == NULL) == (other.data == NULL) && span_equal(one, other);
}

bool content_matches(struct content_builder *builder, const struct content *content, int32_t index,
                     const struct record *record)
{
    char text[KEY_TEXT];
    return record->timestamp == content_timestamp(content, index) &&
           same_bytes(record->key, key_text(content, index, text)) &&
           same_bytes(record->value, value_bytes(builder, content, index));
}
