// SPDX-License-Identifier: Apache-2.0
// Committed offsets as msgpack. Owns nothing between calls.
#include "broker/groups/offset_record.h"

#include <errno.h>

static int read_key(struct span key, struct offset_record *out)
{
    const msgpack_object *root;
    struct span kind;
    int64_t partition;
    int error = pack_read(&out->key_reader, key, &root);
    if (error)
        return error;
    if (!pack_text(pack_item(root, 0), &kind))
        return -EBADMSG;
    out->known = span_equal(kind, span_text("offset"));
    if (!out->known)
        return 0;
    if (!pack_text(pack_item(root, 1), &out->group) ||
        !pack_uuid(pack_item(root, 2), &out->topic_id) ||
        !pack_integer(pack_item(root, 3), 0, INT32_MAX, &partition))
        return -EBADMSG;
    out->partition = (int32_t)partition;
    return 0;
}

int offset_record_read(struct span key, struct span value, struct offset_record *out)
{
    const msgpack_object *root;
    int64_t epoch;
    *out = (struct offset_record){.tombstone = !value.data, .expires_ms = -1};
    int error = read_key(key, out);
    if (error || !out->known || out->tombstone)
        return error;
    error = pack_read(&out->value_reader, value, &root);
    if (error)
        return error;
    if (!pack_integer(pack_find(root, "offset"), 0, INT64_MAX, &out->offset) ||
        !pack_integer(pack_find(root, "epoch"), -1, INT32_MAX, &epoch) ||
        !pack_text(pack_find(root, "metadata"), &out->metadata) ||
        !pack_integer(pack_find(root, "time"), INT64_MIN, INT64_MAX, &out->time_ms))
        return -EBADMSG;
    const msgpack_object *expires = pack_find(root, "expires");
    if (expires && !pack_integer(expires, 0, INT64_MAX, &out->expires_ms))
        return -EBADMSG;
    out->leader_epoch = (int32_t)epoch;
    return 0;
}

void offset_record_free(struct offset_record *record)
{
    pack_reader_free(&record->key_reader);
    pack_reader_free(&record->value_reader);
}

void offset_record_write_key(const struct offset_record *record, msgpack_sbuffer *key)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, key, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 4);
    pack_write_key(&packer, "offset");
    pack_write_text(&packer, record->group);
    pack_write_uuid(&packer, record->topic_id);
    msgpack_pack_int32(&packer, record->partition);
}

void offset_record_write_value(const struct offset_record *record, msgpack_sbuffer *value)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, value, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, record->expires_ms < 0 ? 4 : 5);
    pack_write_key(&packer, "offset");
    msgpack_pack_int64(&packer, record->offset);
    pack_write_key(&packer, "epoch");
    msgpack_pack_int32(&packer, record->leader_epoch);
    pack_write_key(&packer, "metadata");
    pack_write_text(&packer, record->metadata);
    pack_write_key(&packer, "time");
    msgpack_pack_int64(&packer, record->time_ms);
    if (record->expires_ms < 0)
        return;
    pack_write_key(&packer, "expires");
    msgpack_pack_int64(&packer, record->expires_ms);
}
