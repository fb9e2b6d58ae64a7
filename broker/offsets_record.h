// SPDX-License-Identifier: Apache-2.0
// The records of the offsets partitions.
//
//   ["offset", group, topic id: bin 16, partition]
//       -> {"offset": int, "epoch": int, "metadata": str, "time": ms}   or a tombstone: forgotten
//
// Unknown fields and unknown kinds of keys are ignored.
#pragma once

#include "broker/pack.h"

struct offsets_record {
    bool known; // a kind of key that we know
    bool tombstone;
    struct span group;
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;
    struct span metadata;
    int64_t time_ms; // of the commit
    // Private: what the spans point into, besides `key` and `value`.
    struct pack_reader key_reader;
    struct pack_reader value_reader;
};

// 0, -EBADMSG when it is not a record of ours, -ENOMEM; call offsets_record_free in every case.
int offsets_record_read(struct span key, struct span value, struct offsets_record *out);
void offsets_record_free(struct offsets_record *record);

// Both sbuffers are appended to.
void offsets_record_write_key(const struct offsets_record *record, msgpack_sbuffer *key);
void offsets_record_write_value(const struct offsets_record *record, msgpack_sbuffer *value);
