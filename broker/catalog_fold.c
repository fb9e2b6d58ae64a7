// SPDX-License-Identifier: Apache-2.0
// The fold of the metadata partition's records into the catalog. Owns all topics; snapshots point
// to them.
//
// 1. A topic is immutable once made: a change makes a new one, and the old one lives on for the
//    snapshots that have it, until catalog_fold_forget.
// 2. `sorted`, `by_name` and `by_id` hold the same live topics. A name or an id is there once.
// 3. `doomed` holds topics whose deletion is durable and whose files may still exist; they are in
//    no snapshot.
// 4. Applying a record either succeeds or leaves the fold unchanged.
#include "broker/catalog.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/catalog_record.h"
#include "broker/topic_settings.h"

struct catalog_fold {
    const struct config *config;
    struct kp_uuid cluster_id;
    int64_t next_producer_id;
    uint64_t version;
    struct catalog_topic **sorted; // by name
    uint32_t count;
    uint32_t capacity;
    struct map by_name;
    struct map by_id;
    struct map doomed; // by id
    struct catalog_change *changes;
    uint32_t change_count;
    uint32_t change_capacity;
};

struct catalog_fold *catalog_fold_create(const struct config *config)
{
    struct catalog_fold *fold = calloc(1, sizeof(*fold));
    if (!fold)
        return NULL;
    fold->config = config;
    map_init(&fold->by_name);
    map_init(&fold->by_id);
    map_init(&fold->doomed);
    return fold;
}

void catalog_fold_free(struct catalog_fold *fold)
{
    if (!fold)
        return;
    catalog_fold_forget(fold);
    for (uint32_t i = 0; i < fold->count; i++)
        free(fold->sorted[i]);
    struct catalog_topic *topic;
    for (size_t at = 0; (topic = map_next(&fold->doomed, &at));)
        free(topic);
    map_free(&fold->by_name);
    map_free(&fold->by_id);
    map_free(&fold->doomed);
    free(fold->sorted);
    free(fold->changes);
    free(fold);
}

static struct span id_span(const struct kp_uuid *id)
{
    return span_of(id->bytes, sizeof(id->bytes));
}

// --- topics ---------------------------------------------------------------------------------

static int compare_settings(const void *a, const void *b)
{
    const struct catalog_setting *left = a;
    const struct catalog_setting *right = b;
    return strcmp(left->name, right->name);
}

static const char *copy_text(char **at, struct span text)
{
    char *copy = *at;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *at += text.size + 1;
    return copy;
}

// One piece of memory holds a topic, its settings and all its texts: free() ends it.
static struct catalog_topic *make_topic(const struct config *config,
                                        const struct catalog_record *record)
{
    uint32_t count = record->settings ? record->settings->size : 0;
    size_t texts = record->name.size + 1;
    struct span text;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(pack_text(&record->settings->ptr[i].key, &text));
        texts += text.size + 1;
        CHECK(pack_text(&record->settings->ptr[i].val, &text));
        texts += text.size + 1;
    }
    struct catalog_topic *topic =
        calloc(1, sizeof(*topic) + count * sizeof(*topic->settings) + texts);
    if (!topic)
        return NULL;
    topic->settings = (struct catalog_setting *)(topic + 1);
    char *at = (char *)(topic->settings + count);
    topic->name = copy_text(&at, record->name);
    topic->id = record->id;
    topic->partition_count = record->partitions;
    topic->internal = record->internal;
    topic->setting_count = count;
    for (uint32_t i = 0; i < count; i++) {
        pack_text(&record->settings->ptr[i].key, &text);
        topic->settings[i].name = copy_text(&at, text);
        pack_text(&record->settings->ptr[i].val, &text);
        topic->settings[i].value = copy_text(&at, text);
    }
    qsort(topic->settings, count, sizeof(*topic->settings), compare_settings);
    topic_settings_resolve(config, topic->settings, count, &topic->effective);
    if (topic->internal)
        catalog_keep_state(&topic->effective.log);
    return topic;
}

// The place of `name` in `sorted`, or where it would go.
static uint32_t place_of(const struct catalog_fold *fold, const char *name)
{
    uint32_t low = 0;
    uint32_t high = fold->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(fold->sorted[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Room for one more live topic and one more change, so that what follows cannot fail half-way.
static int reserve(struct catalog_fold *fold)
{
    if (fold->count == fold->capacity) {
        uint32_t capacity = fold->capacity ? fold->capacity * 2 : 16;
        void *grown = realloc(fold->sorted, capacity * sizeof(*fold->sorted));
        if (!grown)
            return -ENOMEM;
        fold->sorted = grown;
        fold->capacity = capacity;
    }
    if (fold->change_count == fold->change_capacity) {
        uint32_t capacity = fold->change_capacity ? fold->change_capacity * 2 : 16;
        void *grown = realloc(fold->changes, capacity * sizeof(*fold->changes));
        if (!grown)
            return -ENOMEM;
        fold->changes = grown;
        fold->change_capacity = capacity;
    }
    return 0;
}

static void note_change(struct catalog_fold *fold, const struct catalog_topic *before,
                        const struct catalog_topic *after)
{
    fold->changes[fold->change_count++] = (struct catalog_change){before, after};
}

static int add_topic(struct catalog_fold *fold, struct catalog_topic *topic)
{
    if (map_get(&fold->by_name, span_text(topic->name)))
        return -EBADMSG; // another id has this name: such a record is never written
    if (map_put(&fold->by_name, span_text(topic->name), topic))
        return -ENOMEM;
    if (map_put(&fold->by_id, id_span(&topic->id), topic)) {
        map_remove(&fold->by_name, span_text(topic->name));
        return -ENOMEM;
    }
    uint32_t place = place_of(fold, topic->name);
    memmove(fold->sorted + place + 1, fold->sorted + place,
            (fold->count - place) * sizeof(*fold->sorted));
    fold->sorted[place] = topic;
    fold->count++;
    note_change(fold, NULL, topic);
    return 0;
}

// The keys of both maps point into the topic, so they move to the new one. Replacing an entry of a
// map needs no memory.
static int replace_topic(struct catalog_fold *fold, struct catalog_topic *before,
                         struct catalog_topic *topic)
{
    if (strcmp(before->name, topic->name) != 0)
        return -EBADMSG; // topics cannot be renamed
    CHECK(map_put(&fold->by_name, span_text(topic->name), topic) == 0);
    CHECK(map_put(&fold->by_id, id_span(&topic->id), topic) == 0);
    fold->sorted[place_of(fold, topic->name)] = topic;
    note_change(fold, before, topic);
    return 0;
}

static void remove_live(struct catalog_fold *fold, struct catalog_topic *before)
{
    uint32_t place = place_of(fold, before->name);
    map_remove(&fold->by_name, span_text(before->name));
    map_remove(&fold->by_id, id_span(&before->id));
    fold->count--;
    memmove(fold->sorted + place, fold->sorted + place + 1,
            (fold->count - place) * sizeof(*fold->sorted));
    note_change(fold, before, NULL);
}

static int doom_topic(struct catalog_fold *fold, struct catalog_topic *before,
                      struct catalog_topic *topic)
{
    struct catalog_topic *old = map_get(&fold->doomed, id_span(&topic->id));
    if (map_put(&fold->doomed, id_span(&topic->id), topic))
        return -ENOMEM;
    free(old);
    if (before)
        remove_live(fold, before);
    return 0;
}

static int apply_topic(struct catalog_fold *fold, const struct catalog_record *record)
{
    struct catalog_topic *before = map_get(&fold->by_id, id_span(&record->id));
    int error = reserve(fold);
    if (error)
        return error;
    if (record->tombstone) {
        free(map_remove(&fold->doomed, id_span(&record->id)));
        if (before)
            remove_live(fold, before);
        return 0;
    }
    struct catalog_topic *topic = make_topic(fold->config, record);
    if (!topic)
        return -ENOMEM;
    if (record->deleting)
        error = doom_topic(fold, before, topic);
    else if (before)
        error = replace_topic(fold, before, topic);
    else
        error = add_topic(fold, topic);
    if (error)
        free(topic);
    return error;
}

int catalog_fold_apply(struct catalog_fold *fold, struct span key, struct span value)
{
    struct catalog_record record;
    int error = catalog_record_read(key, value, &record);
    if (!error && record.kind == CATALOG_RECORD_CLUSTER)
        fold->cluster_id = record.id;
    // An id must not come back, whatever the order of the records.
    if (!error && record.kind == CATALOG_RECORD_PRODUCERS &&
        fold->next_producer_id < record.next_producer_id)
        fold->next_producer_id = record.next_producer_id;
    if (!error && record.kind == CATALOG_RECORD_TOPIC)
        error = apply_topic(fold, &record);
    catalog_record_free(&record);
    return error;
}

// --- snapshots ------------------------------------------------------------------------------

static int copy_topics(const struct catalog_fold *fold, struct catalog *catalog)
{
    const struct catalog_topic *topic;
    catalog->topics = malloc(fold->count * sizeof(*catalog->topics) + 1);
    catalog->doomed = malloc(fold->doomed.count * sizeof(*catalog->doomed) + 1);
    if (!catalog->topics || !catalog->doomed)
        return -1;
    for (uint32_t i = 0; i < fold->count; i++)
        catalog->topics[i] = fold->sorted[i];
    catalog->topic_count = fold->count;
    for (size_t at = 0; (topic = map_next(&fold->doomed, &at));)
        catalog->doomed[catalog->doomed_count++] = topic;
    return 0;
}

struct catalog *catalog_fold_snapshot(struct catalog_fold *fold)
{
    struct catalog *catalog = calloc(1, sizeof(*catalog));
    if (!catalog)
        return NULL;
    if (copy_topics(fold, catalog) || map_clone(&fold->by_name, &catalog->by_name) ||
        map_clone(&fold->by_id, &catalog->by_id)) {
        catalog_free(catalog);
        return NULL;
    }
    catalog->version = ++fold->version;
    catalog->cluster_id = fold->cluster_id;
    catalog_id_text(fold->cluster_id, catalog->cluster_id_text);
    return catalog;
}

void catalog_free(struct catalog *catalog)
{
    if (!catalog)
        return;
    map_free(&catalog->by_name);
    map_free(&catalog->by_id);
    free(catalog->topics);
    free(catalog->doomed);
    free(catalog);
}

const struct catalog_change *catalog_fold_changes(const struct catalog_fold *fold, uint32_t *count)
{
    *count = fold->change_count;
    return fold->changes;
}

void catalog_fold_forget(struct catalog_fold *fold)
{
    for (uint32_t i = 0; i < fold->change_count; i++) {
        union {
            const struct catalog_topic *shared;
            void *own;
        } topic = {fold->changes[i].before};
        free(topic.own);
    }
    fold->change_count = 0;
}

const struct catalog_topic *catalog_fold_find(const struct catalog_fold *fold, struct span name)
{
    return name.data ? map_get(&fold->by_name, name) : NULL;
}

const struct catalog_topic *catalog_fold_find_id(const struct catalog_fold *fold, struct kp_uuid id)
{
    return map_get(&fold->by_id, id_span(&id));
}

const struct catalog_topic *catalog_fold_topic(const struct catalog_fold *fold, uint32_t index)
{
    return index < fold->count ? fold->sorted[index] : NULL;
}

struct kp_uuid catalog_fold_cluster_id(const struct catalog_fold *fold)
{
    return fold->cluster_id;
}

int64_t catalog_fold_next_producer_id(const struct catalog_fold *fold)
{
    return fold->next_producer_id;
}

const struct catalog_topic *catalog_fold_next_doomed(const struct catalog_fold *fold, size_t *at)
{
    return map_next(&fold->doomed, at);
}
