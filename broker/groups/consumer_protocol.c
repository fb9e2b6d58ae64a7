// SPDX-License-Identifier: Apache-2.0
// Reads ConsumerProtocolSubscription and ConsumerProtocolAssignment. Owns nothing; the bytes are a
// peer's.
//
// 1. Later versions only append, so whatever the version says, the beginning is that of version 0,
//    and what a version should have appended and has not is absent.
#include "broker/groups/consumer_protocol.h"

enum { NAME_MIN = 2, TOPIC_MIN = 6, NUMBER_SIZE = 4 }; // bytes that the least of them takes

bool consumer_topics_begin(struct span metadata, struct consumer_topics *out)
{
    out->reader = kp_reader_init(metadata.data, metadata.size);
    int16_t version = kp_read_i16(&out->reader);
    out->left = kp_read_count(&out->reader, false, false, NAME_MIN);
    return !out->reader.failed && version >= 0;
}

bool consumer_topics_next(struct consumer_topics *topics, struct span *name)
{
    if (topics->left <= 0)
        return false;
    topics->left--;
    *name = kp_read_string(&topics->reader, false, false);
    return !topics->reader.failed;
}

// --- topics with partitions ----------------------------------------------------------------------

bool consumer_parts_next(struct consumer_parts *parts, struct span *topic, int32_t *partition)
{
    while (parts->left <= 0) {
        if (parts->topics_left <= 0 || parts->reader.failed)
            return false;
        parts->topics_left--;
        parts->topic = kp_read_string(&parts->reader, false, false);
        parts->left = kp_read_count(&parts->reader, false, false, NUMBER_SIZE);
    }
    parts->left--;
    *topic = parts->topic;
    *partition = kp_read_i32(&parts->reader);
    return !parts->reader.failed;
}

// Takes them all off `reader`, which fails if they are not sound.
static struct consumer_parts read_parts(struct kp_reader *reader)
{
    struct consumer_parts parts = {.topics_left = kp_read_count(reader, false, true, TOPIC_MIN)};
    parts.reader = *reader;
    for (int32_t i = 0; i < parts.topics_left && !reader->failed; i++) {
        kp_read_string(reader, false, false);
        int32_t count = kp_read_count(reader, false, false, NUMBER_SIZE);
        if (count > 0)
            kp_reader_take(reader, (size_t)count * NUMBER_SIZE);
    }
    return parts;
}

bool consumer_assignment_read(struct span assignment, struct consumer_parts *out)
{
    *out = (struct consumer_parts){0};
    if (assignment.size == 0)
        return true;
    struct kp_reader reader = kp_reader_init(assignment.data, assignment.size);
    int16_t version = kp_read_i16(&reader);
    *out = read_parts(&reader);
    return !reader.failed && version >= 0;
}

// --- subscriptions -------------------------------------------------------------------------------

bool consumer_said_read(struct span metadata, struct consumer_said *out)
{
    struct span name;
    *out = (struct consumer_said){0};
    if (!consumer_topics_begin(metadata, &out->topics))
        return false;
    struct consumer_topics all = out->topics;
    out->version = (int16_t)load_be16(metadata.data);
    while (consumer_topics_next(&all, &name))
        continue;
    struct kp_reader *reader = &all.reader;
    if (reader->failed)
        return false;
    out->names = span_of(metadata.data + 2, metadata.size - kp_reader_left(reader) - 2);
    kp_read_bytes(reader, false, true); // what the assignor of the member says to itself
    if (out->version >= 1 && kp_reader_left(reader))
        out->owned = read_parts(reader);
    if (out->version >= 2 && kp_reader_left(reader))
        kp_read_i32(reader); // the generation in which it got what it has
    if (out->version >= 3 && kp_reader_left(reader))
        out->rack = kp_read_string(reader, false, true);
    return !reader->failed;
}
