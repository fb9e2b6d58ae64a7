// SPDX-License-Identifier: Apache-2.0
// What the simulated producers write: a batch is described by a few numbers, from which its bytes
// can be made again at any time, so a history remembers little.
#pragma once

#include "protocol/record_batch.h"

enum { CONTENT_KEYS_MAX = 12 };

struct content {
    uint64_t id; // unique in a history
    int32_t records;
    uint32_t value_bytes; // of each record
    int64_t timestamp;    // of the first record
    int32_t timestamp_step;
    uint32_t keys; // how many different keys; 0 = records without keys
    enum batch_codec codec;
    struct batch_producer producer;
};

struct content_builder {
    struct batch_builder builder;
    struct batch_scratch scratch;
    uint8_t *value;
    size_t value_room;
};

void content_builder_init(struct content_builder *builder);
void content_builder_free(struct content_builder *builder);

// The batch, as a producer sends it. Valid until the next call.
struct span content_build(struct content_builder *builder, const struct content *content);

// Of record `index`: its key, -1 = none; whether its value is null.
int content_key(const struct content *content, int32_t index);
bool content_is_null(const struct content *content, int32_t index);

// Whether the record is record `index` of the content: timestamp, key and value.
bool content_matches(struct content_builder *builder, const struct content *content, int32_t index,
                     const struct record *record);

static inline int64_t content_timestamp(const struct content *content, int32_t index)
{
    return content->timestamp + (int64_t)index * content->timestamp_step;
}
