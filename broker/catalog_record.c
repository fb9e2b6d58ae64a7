// SPDX-License-Identifier: Apache-2.0
// The catalog's records as msgpack. Owns nothing between calls.
#include "broker/catalog_record.h"

#include <errno.h>

static int read_key(struct span key, struct catalog_record *out)
{
    const msgpack_object *root;
    struct span kind;
    int error = pack_read(&out->key_reader, key, &root);
    if (error)
        return error;
    if (!pack_text(pack_item(root, 0), &kind))
        return -EBADMSG;
    if (span_equal(kind, span_text("cluster"))) {
        out->kind = CATALOG_RECORD_CLUSTER;
        return 0;
    }
    if (span_equal(kind, span_text("producers"))) {
        out->kind = CATALOG_RECORD_PRODUCERS;
        return 0;
    }
    if (!span_equal(kind, span_text("topic")))
        return 0;
    out->kind = CATALOG_RECORD_TOPIC;
    return pack_uuid(pack_item(root, 1), &out->id) ? 0 : -EBADMSG;
}

static bool settings_are_texts(const msgpack_object *object)
{
    struct span text;
    if (object->type != MSGPACK_OBJECT_MAP)
        return false;
    for (uint32_t i = 0; i < object->via.map.size; i++)
        if (!pack_text(&object->via.map.ptr[i].key, &text) ||
            !pack_text(&object->via.map.ptr[i].val, &text))
            return false;
    return true;
}

static int read_topic(const msgpack_object *root, struct catalog_record *out)
{
    int64_t partitions;
    const msgpack_object *settings = pack_find(root, "settings");
    const msgpack_object *internal = pack_find(root, "internal");
    const msgpack_object *deleting = pack_find(root, "deleting");
    if (!pack_text(pack_find(root, "name"), &out->name) ||
        !pack_integer(pack_find(root, "partitions"), 1, INT32_MAX, &partitions) ||
        (internal && !pack_boolean(internal, &out->internal)) ||
        (deleting && !pack_boolean(deleting, &out->deleting)) ||
        (settings && !settings_are_texts(settings)))
        return -EBADMSG;
    out->partitions = (int32_t)partitions;
    out->settings = settings ? &settings->via.map : NULL;
    return 0;
}

static int read_cluster(const msgpack_object *root, struct catalog_record *out)
{
    int64_t format;
    if (!pack_uuid(pack_find(root, "id"), &out->id) ||
        !pack_integer(pack_find(root, "format"), 0, CATALOG_FORMAT, &format))
        return -EBADMSG;
    return 0;
}

static int read_value(const msgpack_object *root, struct catalog_record *out)
{
    if (out->kind == CATALOG_RECORD_TOPIC)
        return read_topic(root, out);
    if (out->kind == CATALOG_RECORD_CLUSTER)
        return read_cluster(root, out);
    return pack_integer(pack_find(root, "next"), 0, INT64_MAX / 2, &out->next_producer_id)
               ? 0
               : -EBADMSG;
}

int catalog_record_read(struct span key, struct span value, struct catalog_record *out)
{
    const msgpack_object *root;
    *out = (struct catalog_record){.kind = CATALOG_RECORD_UNKNOWN};
    int error = read_key(key, out);
    if (error || out->kind == CATALOG_RECORD_UNKNOWN)
        return error;
    if (!value.data) {
        out->tombstone = true;
        return out->kind == CATALOG_RECORD_TOPIC ? 0 : -EBADMSG;
    }
    error = pack_read(&out->value_reader, value, &root);
    return error ? error : read_value(root, out);
}

void catalog_record_free(struct catalog_record *record)
{
    pack_reader_free(&record->key_reader);
    pack_reader_free(&record->value_reader);
}

void catalog_record_write_cluster(struct kp_uuid id, msgpack_sbuffer *key, msgpack_sbuffer *value)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, key, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 1);
    pack_write_key(&packer, "cluster");
    msgpack_packer_init(&packer, value, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, 2);
    pack_write_key(&packer, "id");
    pack_write_uuid(&packer, id);
    pack_write_key(&packer, "format");
    msgpack_pack_int32(&packer, CATALOG_FORMAT);
}

void catalog_record_write_producers(int64_t next, msgpack_sbuffer *key, msgpack_sbuffer *value)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, key, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 1);
    pack_write_key(&packer, "producers");
    msgpack_packer_init(&packer, value, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, 1);
    pack_write_key(&packer, "next");
    msgpack_pack_int64(&packer, next);
}

void catalog_record_write_topic_key(struct kp_uuid id, msgpack_sbuffer *key)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, key, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 2);
    pack_write_key(&packer, "topic");
    pack_write_uuid(&packer, id);
}

static void write_flag(msgpack_packer *packer, const char *name, bool flag)
{
    pack_write_key(packer, name);
    if (flag)
        msgpack_pack_true(packer);
    else
        msgpack_pack_false(packer);
}

void catalog_record_write_topic(const struct catalog_topic *topic, bool deleting,
                                msgpack_sbuffer *key, msgpack_sbuffer *value)
{
    msgpack_packer packer;
    catalog_record_write_topic_key(topic->id, key);
    msgpack_packer_init(&packer, value, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, 5);
    pack_write_key(&packer, "name");
    pack_write_text(&packer, span_text(topic->name));
    pack_write_key(&packer, "partitions");
    msgpack_pack_int32(&packer, topic->partition_count);
    write_flag(&packer, "internal", topic->internal);
    write_flag(&packer, "deleting", deleting);
    pack_write_key(&packer, "settings");
    msgpack_pack_map(&packer, topic->setting_count);
    for (uint32_t i = 0; i < topic->setting_count; i++) {
        pack_write_key(&packer, topic->settings[i].name);
        pack_write_key(&packer, topic->settings[i].value);
    }
}
