// SPDX-License-Identifier: Apache-2.0
// The records of groups, in the offsets partition of the group.
//
//   ["group", group] -> {"type": "classic", "generation": int, "phase": "empty" | "preparing" |
//                        "completing" | "stable", "since": ms, "protocol_type": str,
//                        "protocol": str, "leader": member id}
//   ["member", group, member id] -> {"client_id": str, "client_host": str, "instance": str,
//                        "session_ms": int, "rebalance_ms": int, "joined": int,
//                        "protocols": [[name, metadata: bin], ...]}
//   ["target", group, member id] -> {"generation": int, "assignment": bin}
//
// and for groups of the consumer protocol (KIP-848)
//
//   ["group", group] -> {"type": "consumer", "epoch": int, "since": ms, "hash": int}
//   ["member", group, member id] -> {"client_id": str, "client_host": str, "instance": str,
//                        "rebalance_ms": int, "joined": int, "topics": [name, ...], "regex": str,
//                        "assignor": str, "rack": str,
//                        "classic": {"session_ms": int, "protocols": [[name, metadata: bin], ...]}}
//   ["target", group, member id] -> {"parts": partitions}
//   ["current", group, member id] -> {"epoch": int, "previous": int, "state": int,
//                        "assigned": partitions, "revoking": partitions}
//
// or a tombstone. "since" is the wall-clock time at which the group became empty; "instance" is
// there for static members, "classic" for those of the classic protocol; "joined" orders members by
// age. "hash" tells whether topics have changed since the targets were computed. "partitions"
// stands for [[topic id, number, ...], ...]. Unknown fields and other kinds of keys are ignored.
#pragma once

#include "broker/pack.h"

// Records that a step wants written, in order.
struct group_records {
    struct group_records_item *items;
    uint32_t count;
    uint32_t capacity;
    msgpack_sbuffer bytes;
    bool failed; // memory was short: records are missing
};

void group_records_init(struct group_records *records);
void group_records_clear(struct group_records *records); // keeps the memory
void group_records_free(struct group_records *records);
// Valid until the next change. The value of a tombstone is an absent span.
struct span group_records_key(const struct group_records *records, uint32_t index);
struct span group_records_value(const struct group_records *records, uint32_t index);

enum group_record_kind {
    GROUP_RECORD_OTHER,
    GROUP_RECORD_GROUP,
    GROUP_RECORD_MEMBER,
    GROUP_RECORD_TARGET,
    GROUP_RECORD_CURRENT
};

// A record, read. Spans point into key and value.
struct group_record {
    enum group_record_kind kind; // OTHER: nothing else is set
    struct span group;
    struct span member_id;
    const msgpack_object *value; // NULL: a tombstone
    // Private: what the spans point into, besides key and value.
    struct pack_reader key_reader;
    struct pack_reader value_reader;
};

// 0, -EBADMSG when it is not a record of ours, -ENOMEM; call group_record_free in every case.
int group_record_read(struct span key, struct span value, struct group_record *out);
void group_record_free(struct group_record *record);
