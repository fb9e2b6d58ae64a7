// SPDX-License-Identifier: Apache-2.0
// Groups as msgpack: what a step wants written, and the keys and values of it.
//
// 1. A shortage of memory sticks (records->failed), so that writing needs no checks on the way.
#include "broker/groups/group_record.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/groups/group_internal.h"

struct group_records_item {
    size_t key_at;
    size_t key_size;
    size_t value_size; // 0: a tombstone
};

void group_records_init(struct group_records *records)
{
    *records = (struct group_records){0};
    msgpack_sbuffer_init(&records->bytes);
}

void group_records_clear(struct group_records *records)
{
    records->count = 0;
    records->failed = false;
    msgpack_sbuffer_clear(&records->bytes);
}

void group_records_free(struct group_records *records)
{
    free(records->items);
    msgpack_sbuffer_destroy(&records->bytes);
    group_records_init(records);
}

struct span group_records_key(const struct group_records *records, uint32_t index)
{
    const struct group_records_item *item = &records->items[index];
    return span_of(records->bytes.data + item->key_at, item->key_size);
}

struct span group_records_value(const struct group_records *records, uint32_t index)
{
    const struct group_records_item *item = &records->items[index];
    if (item->value_size == 0)
        return (struct span){0};
    return span_of(records->bytes.data + item->key_at + item->key_size, item->value_size);
}

// --- writing -------------------------------------------------------------------------------------

static int records_write(void *data, const char *bytes, size_t size)
{
    struct group_records *records = data;
    if (records->failed || msgpack_sbuffer_write(&records->bytes, bytes, size) != 0) {
        records->failed = true;
        return -1;
    }
    return 0;
}

static bool records_add(struct group_records *records)
{
    if (records->count == records->capacity) {
        uint32_t capacity = records->capacity ? 2 * records->capacity : 16;
        void *items = realloc(records->items, capacity * sizeof(*records->items));
        if (!items) {
            records->failed = true;
            return false;
        }
        records->items = items;
        records->capacity = capacity;
    }
    records->items[records->count++] = (struct group_records_item){.key_at = records->bytes.size};
    return true;
}

// Begins a record with its key; `id` absent: the key has none. What follows is its value.
static bool write_key(struct group_records *records, msgpack_packer *packer, const char *kind,
                      const struct group *group, struct span id)
{
    if (records->failed || !records_add(records))
        return false;
    msgpack_packer_init(packer, records, records_write);
    msgpack_pack_array(packer, id.data ? 3 : 2);
    pack_write_key(packer, kind);
    pack_write_text(packer, group->name);
    if (id.data)
        pack_write_text(packer, id);
    struct group_records_item *item = &records->items[records->count - 1];
    item->key_size = records->bytes.size - item->key_at;
    return true;
}

static void write_done(struct group_records *records)
{
    struct group_records_item *item = &records->items[records->count - 1];
    item->value_size = records->bytes.size - item->key_at - item->key_size;
}

bool group_record_begin(struct group_step *step, msgpack_packer *packer, const char *kind,
                        const struct group *group, struct span id)
{
    return write_key(step->records, packer, kind, group, id);
}

void group_record_end(struct group_step *step)
{
    write_done(step->records);
}

void group_pack_text(msgpack_packer *packer, const char *name, struct span text)
{
    pack_write_key(packer, name);
    pack_write_text(packer, text);
}

void group_pack_number(msgpack_packer *packer, const char *name, int64_t number)
{
    pack_write_key(packer, name);
    msgpack_pack_int64(packer, number);
}

void group_write_group(struct group_step *step, const struct group *group)
{
    static const char *const phases[] = {
        [CLASSIC_EMPTY] = "empty",
        [CLASSIC_PREPARING] = "preparing",
        [CLASSIC_COMPLETING] = "completing",
        [CLASSIC_STABLE] = "stable",
    };
    msgpack_packer packer;
    if (group->type == GROUP_CONSUMER) {
        consumer_write_group(step, group);
        return;
    }
    if (!write_key(step->records, &packer, "group", group, (struct span){0}))
        return;
    msgpack_pack_map(&packer, 7);
    group_pack_text(&packer, "type", span_text("classic"));
    group_pack_number(&packer, "generation", group->generation);
    group_pack_text(&packer, "phase", span_text(phases[group->phase]));
    group_pack_number(&packer, "since", group->empty_since_ms);
    group_pack_text(&packer, "protocol_type", group->protocol_type);
    group_pack_text(&packer, "protocol", group->protocol ? group->protocol->name : kp_empty());
    group_pack_text(&packer, "leader", group->leader ? group->leader->id : kp_empty());
    write_done(step->records);
}

void group_pack_offers(msgpack_packer *packer, const struct group_offers *offers)
{
    pack_write_key(packer, "protocols");
    msgpack_pack_array(packer, offers->count);
    for (uint32_t i = 0; i < offers->count; i++) {
        msgpack_pack_array(packer, 2);
        pack_write_text(packer, offers->items[i].protocol->name);
        pack_write_bytes(packer, offers->items[i].metadata);
    }
}

void group_write_member(struct group_step *step, const struct group *group,
                        const struct group_member *member)
{
    msgpack_packer packer;
    if (!write_key(step->records, &packer, "member", group, member->id))
        return;
    msgpack_pack_map(&packer, member->instance_id.data ? 7 : 6);
    group_pack_text(&packer, "client_id", member->client_id);
    group_pack_text(&packer, "client_host", member->client_host);
    if (member->instance_id.data)
        group_pack_text(&packer, "instance", member->instance_id);
    group_pack_number(&packer, "session_ms", member->session_ms);
    group_pack_number(&packer, "rebalance_ms", member->rebalance_ms);
    group_pack_number(&packer, "joined", (int64_t)member->joined);
    group_pack_offers(&packer, member->offers);
    write_done(step->records);
}

void group_write_target(struct group_step *step, const struct group *group,
                        const struct group_member *member)
{
    msgpack_packer packer;
    if (!write_key(step->records, &packer, "target", group, member->id))
        return;
    msgpack_pack_map(&packer, 2);
    group_pack_number(&packer, "generation", group->generation);
    pack_write_key(&packer, "assignment");
    pack_write_bytes(&packer, member->assignment);
    write_done(step->records);
}

void group_erase_member(struct group_step *step, const struct group *group, struct span id)
{
    msgpack_packer packer;
    write_key(step->records, &packer, "member", group, id);
}

void group_erase_target(struct group_step *step, const struct group *group, struct span id)
{
    msgpack_packer packer;
    write_key(step->records, &packer, "target", group, id);
}

void group_erase_current(struct group_step *step, const struct group *group, struct span id)
{
    msgpack_packer packer;
    write_key(step->records, &packer, "current", group, id);
}

// --- reading -------------------------------------------------------------------------------------

static enum group_record_kind kind_of(struct span kind)
{
    if (span_equal(kind, span_text("group")))
        return GROUP_RECORD_GROUP;
    if (span_equal(kind, span_text("member")))
        return GROUP_RECORD_MEMBER;
    if (span_equal(kind, span_text("target")))
        return GROUP_RECORD_TARGET;
    if (span_equal(kind, span_text("current")))
        return GROUP_RECORD_CURRENT;
    return GROUP_RECORD_OTHER;
}

static int read_key(struct span key, struct group_record *out)
{
    const msgpack_object *root;
    struct span kind;
    int error = pack_read(&out->key_reader, key, &root);
    if (error)
        return error;
    if (!pack_text(pack_item(root, 0), &kind))
        return -EBADMSG;
    enum group_record_kind known = kind_of(kind);
    if (known == GROUP_RECORD_OTHER)
        return 0;
    if (!pack_text(pack_item(root, 1), &out->group) || out->group.size == 0)
        return -EBADMSG;
    if (known != GROUP_RECORD_GROUP &&
        (!pack_text(pack_item(root, 2), &out->member_id) || out->member_id.size == 0))
        return -EBADMSG;
    out->kind = known;
    return 0;
}

int group_record_read(struct span key, struct span value, struct group_record *out)
{
    *out = (struct group_record){.kind = GROUP_RECORD_OTHER};
    int error = read_key(key, out);
    if (error || out->kind == GROUP_RECORD_OTHER || !value.data)
        return error;
    return pack_read(&out->value_reader, value, &out->value);
}

void group_record_free(struct group_record *record)
{
    pack_reader_free(&record->key_reader);
    pack_reader_free(&record->value_reader);
}
