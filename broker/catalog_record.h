// SPDX-License-Identifier: Apache-2.0
// The records of the metadata partition. The key, a msgpack array, says what a record is about; the
// value, a msgpack map, is its whole new state, so that the last record of a key is all that
// counts.
//
//   ["cluster"]    -> {"id": bin 16, "format": 1}
//   ["topic", id]  -> {"name": str, "partitions": int, "internal": bool, "deleting": bool,
//                      "settings": {name: value, ...}}        or a tombstone: forgotten
//
//   ["producers"]  -> {"next": int}                          producer ids below it may be in use
//
// "deleting" means that the topic is gone for everybody and its files may still be there; the
// tombstone follows when they are not. Unknown fields are ignored, unknown kinds of keys too.
#pragma once

#include "broker/catalog.h"
#include "broker/pack.h"

enum { CATALOG_FORMAT = 1 };

enum catalog_record_kind {
    CATALOG_RECORD_CLUSTER,
    CATALOG_RECORD_TOPIC,
    CATALOG_RECORD_PRODUCERS,
    CATALOG_RECORD_UNKNOWN,
};

struct catalog_record {
    enum catalog_record_kind kind;
    bool tombstone;
    struct kp_uuid id; // of the cluster or the topic
    struct span name;
    int32_t partitions;
    bool internal;
    bool deleting;
    int64_t next_producer_id;
    const msgpack_object_map *settings; // NULL: none; every key and value is a string
    // Private: what the above points into.
    struct pack_reader key_reader;
    struct pack_reader value_reader;
};

// 0, -EBADMSG when it is not a record of ours, -ENOMEM. Spans point into `key`, `value` and the
// record's own memory; call catalog_record_free in every case.
int catalog_record_read(struct span key, struct span value, struct catalog_record *out);
void catalog_record_free(struct catalog_record *record);

// Writing: both sbuffers are appended to.
void catalog_record_write_cluster(struct kp_uuid id, msgpack_sbuffer *key, msgpack_sbuffer *value);
void catalog_record_write_producers(int64_t next, msgpack_sbuffer *key, msgpack_sbuffer *value);
void catalog_record_write_topic_key(struct kp_uuid id, msgpack_sbuffer *key);
void catalog_record_write_topic(const struct catalog_topic *topic, bool deleting,
                                msgpack_sbuffer *key, msgpack_sbuffer *value);
