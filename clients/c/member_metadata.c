// SPDX-License-Identifier: Apache-2.0
// Kafka's ConsumerProtocolSubscription and ConsumerProtocolAssignment. Owns nothing.
//
// Every version begins like the one before it, so the beginning is read whatever the version says.
#include "clients/c/member_metadata.h"

enum {
    VERSION = 3,   // what is written
    NAME_MIN = 2,  // bytes that a name of no length takes
    SHARE_MIN = 6, // a name and an empty list
    NUMBER_SIZE = 4,
};

static void shares_write(struct kp_writer *writer, const struct topic_shares *shares)
{
    kp_write_count(writer, false, false, shares->count);
    for (int32_t i = 0; i < shares->count; i++) {
        const struct topic_share *share = &shares->topics[i];
        kp_write_string(writer, false, false, share->topic);
        kp_write_count(writer, false, false, share->partition_count);
        for (int32_t p = 0; p < share->partition_count; p++)
            kp_write_i32(writer, share->partitions[p]);
    }
}

static void user_data_write(struct kp_writer *writer,
                            const struct member_subscription *subscription,
                            enum user_data user_data)
{
    if (user_data == USER_DATA_NONE) {
        kp_write_bytes(writer, false, true, (struct span){0});
        return;
    }
    size_t mark = kp_reserve_i32(writer);
    size_t begin = writer->size;
    if (user_data == USER_DATA_STICKY)
        shares_write(writer, &subscription->owned);
    kp_write_i32(writer, subscription->generation);
    kp_patch_i32(writer, mark, (int32_t)(writer->size - begin));
}

void member_subscription_write(struct kp_writer *writer,
                               const struct member_subscription *subscription,
                               enum user_data user_data)
{
    kp_write_i16(writer, VERSION);
    kp_write_count(writer, false, false, subscription->topic_count);
    for (int32_t i = 0; i < subscription->topic_count; i++)
        kp_write_string(writer, false, false, subscription->topics[i]);
    user_data_write(writer, subscription, user_data);
    shares_write(writer, &subscription->owned);
    kp_write_i32(writer, subscription->generation);
    kp_write_string(writer, false, true, (struct span){0}); // the rack
}

void member_assignment_write(struct kp_writer *writer, const struct topic_shares *assignment)
{
    kp_write_i16(writer, VERSION);
    shares_write(writer, assignment);
    kp_write_bytes(writer, false, true, (struct span){0});
}

static void shares_read(struct kp_reader *reader, struct arena *arena, struct topic_shares *out)
{
    int32_t count = kp_read_count(reader, false, false, SHARE_MIN);
    out->topics = kp_read_elements(reader, arena, count, sizeof(*out->topics));
    out->count = reader->failed ? 0 : count;
    for (int32_t i = 0; i < out->count; i++) {
        struct topic_share *share = &out->topics[i];
        share->topic = kp_read_string(reader, false, false);
        int32_t partitions = kp_read_count(reader, false, false, NUMBER_SIZE);
        share->partitions = kp_read_elements(reader, arena, partitions, sizeof(int32_t));
        share->partition_count = reader->failed ? 0 : partitions;
        for (int32_t p = 0; p < share->partition_count; p++)
            share->partitions[p] = kp_read_i32(reader);
        if (reader->failed) {
            out->count = 0;
            return;
        }
    }
}

// Data that cannot be read says nothing; the member owns nothing then, as far as anybody knows.
static void user_data_read(struct span bytes, struct arena *arena, struct member_subscription *out)
{
    struct kp_reader reader = kp_reader_init(bytes.data, bytes.size);
    out->generation = -1;
    shares_read(&reader, arena, &out->owned);
    if (!reader.failed && kp_reader_left(&reader) >= NUMBER_SIZE)
        out->generation = kp_read_i32(&reader);
}

bool member_subscription_read(struct span bytes, bool sticky, struct arena *arena,
                              struct member_subscription *out)
{
    struct kp_reader reader = kp_reader_init(bytes.data, bytes.size);
    *out = (struct member_subscription){.generation = -1};
    int16_t version = kp_read_i16(&reader);
    int32_t count = kp_read_count(&reader, false, false, NAME_MIN);
    out->topics = kp_read_elements(&reader, arena, count, sizeof(*out->topics));
    out->topic_count = reader.failed ? 0 : count;
    for (int32_t i = 0; i < out->topic_count; i++)
        out->topics[i] = kp_read_string(&reader, false, false);
    struct span user_data = kp_read_bytes(&reader, false, true);
    if (reader.failed || version < 0)
        return false;
    if (sticky) {
        user_data_read(user_data, arena, out);
        return true;
    }
    if (version >= 1)
        shares_read(&reader, arena, &out->owned);
    if (version >= 2)
        out->generation = kp_read_i32(&reader);
    else if (user_data.size >= NUMBER_SIZE)
        out->generation = (int32_t)load_be32(user_data.data);
    return !reader.failed;
}

bool member_assignment_read(struct span bytes, struct arena *arena, struct topic_shares *out)
{
    struct kp_reader reader = kp_reader_init(bytes.data, bytes.size);
    *out = (struct topic_shares){0};
    if (bytes.size == 0) // a leader that left this member out
        return true;
    int16_t version = kp_read_i16(&reader);
    shares_read(&reader, arena, out);
    return !reader.failed && version >= 0;
}
