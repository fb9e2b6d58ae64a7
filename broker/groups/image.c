// SPDX-License-Identifier: Apache-2.0
// The fold of a group's records. Owns positions and records.
//
// 1. Positions and records are replaced, never changed in place.
// 2. The last record of a key is what there is of it, whatever stood there before; the values of a
//    group's own records are not looked into here.
#include "broker/groups/image.h"

#include <errno.h>
#include <stdlib.h>

// Keys are compared as bytes.
_Static_assert(sizeof(struct image_key) == 20, "a key of the map has padding");

static struct span key_span(const struct image_key *key)
{
    return span_of(key, sizeof(*key));
}

void image_init(struct image *image)
{
    map_init(&image->positions);
    map_init(&image->records);
}

static void free_values(struct map *map)
{
    void *value;
    for (size_t at = 0; (value = map_next(map, &at));)
        free(value);
    map_free(map);
}

void image_free(struct image *image)
{
    free_values(&image->positions);
    free_values(&image->records);
}

bool image_is_empty(const struct image *image)
{
    return image->positions.count == 0 && image->records.count == 0;
}

// --- reading ----------------------------------------------------------------------------------

static int read_group_key(struct image_change *out)
{
    const msgpack_object *root;
    struct span kind;
    int error = pack_read(&out->reader, out->key, &root);
    if (error)
        return error;
    if (!pack_text(pack_item(root, 0), &kind))
        return -EBADMSG;
    out->known = span_equal(kind, span_text("group")) || span_equal(kind, span_text("member")) ||
                 span_equal(kind, span_text("target")) || span_equal(kind, span_text("current"));
    if (out->known && !pack_text(pack_item(root, 1), &out->group))
        return -EBADMSG;
    return 0;
}

int image_change_read(struct span key, struct span value, struct image_change *out)
{
    *out = (struct image_change){.key = key, .value = value};
    int error = offset_record_read(key, value, &out->position);
    if (error || !out->position.known)
        return error ? error : read_group_key(out);
    out->known = true;
    out->group = out->position.group;
    return 0;
}

void image_change_free(struct image_change *change)
{
    offset_record_free(&change->position);
    pack_reader_free(&change->reader);
}

// --- applying ---------------------------------------------------------------------------------

// A map's small table is larger than what most groups have in it.
static void drop_table_if_empty(struct map *map)
{
    if (map->count == 0)
        map_free(map);
}

// Puts `value`, which it takes over, in the place of what is there. 0 or -ENOMEM.
static int replace(struct map *map, struct span key, void *value)
{
    void *old = value ? map_get(map, key) : NULL;
    if (!value || map_put(map, key, value) != 0) {
        free(value);
        return -ENOMEM;
    }
    free(old);
    return 0;
}

static void drop(struct map *map, struct span key)
{
    free(map_remove(map, key));
    drop_table_if_empty(map);
}

static int put_position(struct image *image, const struct offset_record *record)
{
    struct image_position *position = calloc(1, sizeof(*position) + record->metadata.size);
    if (!position)
        return -ENOMEM;
    position->key = (struct image_key){record->topic_id, record->partition};
    position->offset = record->offset;
    position->leader_epoch = record->leader_epoch;
    position->time_ms = record->time_ms;
    position->expires_ms = record->expires_ms;
    position->metadata_size = (uint32_t)record->metadata.size;
    memcpy(position->metadata, record->metadata.data, record->metadata.size);
    return replace(&image->positions, key_span(&position->key), position);
}

static int put_record(struct image *image, struct span key, struct span value)
{
    struct image_record *record = malloc(sizeof(*record) + key.size + value.size);
    if (!record)
        return -ENOMEM;
    memcpy(record->bytes, key.data, key.size);
    memcpy(record->bytes + key.size, value.data, value.size);
    record->key = span_of(record->bytes, key.size);
    record->value = span_of(record->bytes + key.size, value.size);
    return replace(&image->records, record->key, record);
}

int image_apply(struct image *image, const struct image_change *change)
{
    const struct offset_record *position = &change->position;
    if (!change->known)
        return 0;
    if (position->known && position->tombstone) {
        struct image_key key = {position->topic_id, position->partition};
        drop(&image->positions, key_span(&key));
        return 0;
    }
    if (position->known)
        return put_position(image, position);
    if (change->value.data)
        return put_record(image, change->key, change->value);
    drop(&image->records, change->key);
    return 0;
}

const struct image_position *image_position(const struct image *image, struct kp_uuid topic_id,
                                            int32_t partition)
{
    struct image_key key = {topic_id, partition};
    return map_get(&image->positions, key_span(&key));
}
