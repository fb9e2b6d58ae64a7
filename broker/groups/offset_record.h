// SPDX-License-Identifier: Apache-2.0
// The records of committed offsets, in the offsets partition of their group. Those of the group
// itself stand beside them: group_record.h.
//
//   ["offset", group, topic id: bin 16, partition]
//       -> {"offset": int, "epoch": int, "metadata": str, "time": ms, "expires": ms}
//
// or a tombstone: forgotten. "expires" is there when the client has named a time. Unknown fields
// and other kinds of keys are ignored.
#pragma once

#include "broker/pack.h"

struct offset_record {
    bool known; // it is the record of an offset
    bool tombstone;
    struct span group;
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;
    struct span metadata;
    int64_t time_ms;    // of the commit
    int64_t expires_ms; // -1: as the broker's settings say
    // Private: what the spans point into, besides `key` and `value`.
    struct pack_reader key_reader;
    struct pack_reader value_reader;
};

// 0, -EBADMSG when it is not a record of ours, -ENOMEM; call offset_record_free in every case.
int offset_record_read(struct span key, struct span value, struct offset_record *out);
void offset_record_free(struct offset_record *record);

// Both sbuffers are appended to.
void offset_record_write_key(const struct offset_record *record, msgpack_sbuffer *key);
void offset_record_write_value(const struct offset_record *record, msgpack_sbuffer *value);
