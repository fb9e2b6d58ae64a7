// SPDX-License-Identifier: Apache-2.0
// Rules for changes of topics, one function per kind of change, and the records that result.
//
// 1. A change either gets an error or adds exactly one record.
// 2. No two records of one operation are about the same topic: a name that is there twice gets an
//    error at every place.
#include "broker/topic_changes.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/catalog_record.h"
#include "broker/config.h"
#include "broker/topic_settings.h"
#include "protocol/error.h"

enum { PARTITIONS_MAX = 100000 }; // of one topic

struct preparation {
    const struct catalog_fold *fold;
    const struct config *config;
    struct controller_op *op;
    struct state_batch *batch;
    int64_t now_ms;
    int64_t partitions; // of all topics, with the changes so far
    msgpack_sbuffer key;
    msgpack_sbuffer value;
};

__attribute__((format(printf, 3, 4))) static void refuse(struct controller_change *change,
                                                         int16_t error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(change->why, sizeof(change->why), format, arguments);
    va_end(arguments);
    change->error = error;
}

static void add_record(struct preparation *p, const struct catalog_topic *topic, bool deleting)
{
    msgpack_sbuffer_clear(&p->key);
    msgpack_sbuffer_clear(&p->value);
    catalog_record_write_topic(topic, deleting, &p->key, &p->value);
    state_batch_add(p->batch, p->now_ms, span_of(p->key.data, p->key.size),
                    span_of(p->value.data, p->value.size));
}

static void out_of_memory(struct controller_change *change)
{
    refuse(change, KP_ERROR_UNKNOWN_SERVER_ERROR, "the request needs too much memory");
}

// --- settings -------------------------------------------------------------------------------

static enum setting_id find_setting(struct controller_change *change, struct span name)
{
    enum setting_id id = setting_find(SETTING_TOPIC, name);
    if (id != SETTING_NONE)
        return id;
    const char *near = setting_suggest(SETTING_TOPIC, name);
    refuse(change, KP_ERROR_INVALID_CONFIG, "there is no topic setting \"%.*s\"%s%s%s",
           (int)(name.size > 60 ? 60 : name.size), (const char *)name.data,
           near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return SETTING_NONE;
}

// The settings of a topic while they are being changed: at most one value for each.
struct draft {
    const char *values[SETTING_COUNT]; // NULL: not given
};

static void draft_load(struct draft *draft, const struct catalog_topic *topic)
{
    for (uint32_t i = 0; i < topic->setting_count; i++) {
        enum setting_id id = setting_find(SETTING_TOPIC, span_text(topic->settings[i].name));
        if (id != SETTING_NONE)
            draft->values[id] = topic->settings[i].value;
    }
}

// Sets `out` to the array of what is given. False when memory is short.
static bool draft_store(const struct draft *draft, struct arena *arena, struct catalog_topic *out)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        count += draft->values[i] != NULL;
    out->settings = arena_array(arena, count, sizeof(*out->settings));
    out->setting_count = 0;
    if (!out->settings)
        return false;
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (draft->values[i])
            out->settings[out->setting_count++] =
                (struct catalog_setting){setting_get((enum setting_id)i)->name, draft->values[i]};
    return true;
}

// "a,b" with `words` ("b,c") added or taken away.
static const char *edit_list(struct arena *arena, const char *list, struct span words, bool add)
{
    char *edited = arena_raw(arena, strlen(list) + words.size + 2);
    char *removed = arena_text(arena, words.data ? words.data : (const void *)"", words.size);
    size_t size = 0;
    if (!edited || !removed)
        return NULL;
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ",");
        char *word = arena_text(arena, at, length);
        if (!word)
            return NULL;
        if (length && !topic_settings_list_has(removed, word)) {
            if (size)
                edited[size++] = ',';
            memcpy(edited + size, at, length);
            size += length;
        }
        at += length + (at[length] == ',');
    }
    if (add && words.size) {
        if (size)
            edited[size++] = ',';
        memcpy(edited + size, words.data, words.size);
        size += words.size;
    }
    edited[size] = '\0';
    return edited;
}

// The text that `setting` leaves in the draft, unchecked; NULL with an error in `change`.
static const char *new_value(struct preparation *p, struct controller_change *change,
                             const struct controller_setting *setting, enum setting_id id,
                             const char *present)
{
    const struct setting *about = setting_get(id);
    const char *text;
    bool edits = setting->action == CONTROLLER_APPEND || setting->action == CONTROLLER_SUBTRACT;
    if (edits && about->type != SETTING_LIST) {
        refuse(change, KP_ERROR_INVALID_CONFIG, "%s is not a list: it can only be set",
               about->name);
        return NULL;
    }
    if (!present)
        present = p->config->values[about->synonym].text;
    if (edits)
        text =
            edit_list(p->op->arena, present, setting->value, setting->action == CONTROLLER_APPEND);
    else
        text = arena_text(p->op->arena, setting->value.data, setting->value.size);
    if (!text)
        out_of_memory(change);
    return text;
}

static void apply_setting(struct preparation *p, struct controller_change *change,
                          const struct controller_setting *setting, struct draft *draft)
{
    enum setting_id id = find_setting(change, setting->name);
    int64_t number;
    if (id == SETTING_NONE)
        return;
    if (setting->action < CONTROLLER_SET || setting->action > CONTROLLER_SUBTRACT) {
        refuse(change, KP_ERROR_INVALID_REQUEST, "unknown kind of change %d", setting->action);
        return;
    }
    if (setting->action == CONTROLLER_DELETE) {
        draft->values[id] = NULL;
        return;
    }
    if (!setting->value.data) {
        refuse(change, KP_ERROR_INVALID_CONFIG, "%s: a value is needed", setting_get(id)->name);
        return;
    }
    const char *text = new_value(p, change, setting, id, draft->values[id]);
    if (!text)
        return;
    // A value with a zero byte in it would be cut by the copy above: check what came.
    struct span given = setting->action == CONTROLLER_SET ? setting->value : span_text(text);
    if (setting_check(id, given, &number, change->why, sizeof(change->why)))
        change->error = KP_ERROR_INVALID_CONFIG;
    else
        draft->values[id] = text;
}

// `out`'s settings: those of `before` (NULL: none) with the change applied.
static void change_settings(struct preparation *p, struct controller_change *change,
                            const struct catalog_topic *before, struct catalog_topic *out)
{
    struct draft draft = {0};
    bool seen[SETTING_COUNT] = {false};
    if (before && !change->replace_settings)
        draft_load(&draft, before);
    for (uint32_t i = 0; !change->error && i < change->setting_count; i++) {
        enum setting_id id = setting_find(SETTING_TOPIC, change->settings[i].name);
        if (id != SETTING_NONE && seen[id])
            refuse(change, KP_ERROR_INVALID_REQUEST, "%s is there twice", setting_get(id)->name);
        else
            apply_setting(p, change, &change->settings[i], &draft);
        if (id != SETTING_NONE)
            seen[id] = true;
    }
    if (!change->error && !draft_store(&draft, p->op->arena, out))
        out_of_memory(change);
}

// --- creating -------------------------------------------------------------------------------

static bool same_when_folded(const char *a, struct span b)
{
    if (strlen(a) != b.size)
        return false;
    for (size_t i = 0; i < b.size; i++) {
        char left = a[i] == '.' ? '_' : a[i];
        char right = b.data[i] == '.' ? '_' : (char)b.data[i];
        if (left != right)
            return false;
    }
    return true;
}

// Names that differ only in '.' and '_' are one name in the metrics of many tools.
static const char *find_collision(const struct catalog_fold *fold, struct span name)
{
    const struct catalog_topic *topic;
    if (!memchr(name.data, '.', name.size) && !memchr(name.data, '_', name.size))
        return NULL;
    for (uint32_t i = 0; (topic = catalog_fold_topic(fold, i)); i++)
        if (same_when_folded(topic->name, name))
            return topic->name;
    return NULL;
}

static void check_new_name(struct preparation *p, struct controller_change *change)
{
    const char *why;
    int16_t error = catalog_check_name(change->name, &why);
    if (error) {
        refuse(change, error, "%s", why);
        return;
    }
    const char *other = find_collision(p->fold, change->name);
    if (span_equal(change->name, span_text(CATALOG_METADATA_TOPIC)))
        refuse(change, KP_ERROR_INVALID_TOPIC_EXCEPTION, "this name is the broker's own");
    else if (other)
        refuse(change, KP_ERROR_INVALID_TOPIC_EXCEPTION,
               "the name differs from the topic %.100s only in '.' and '_'", other);
}

static void check_new_count(struct preparation *p, struct controller_change *change, int32_t before)
{
    int64_t limit = config_number(p->config, SETTING_MAX_PARTITIONS);
    if (change->partition_count < 1 || change->partition_count > PARTITIONS_MAX)
        refuse(change, KP_ERROR_INVALID_PARTITIONS, "a topic has 1 to %d partitions",
               PARTITIONS_MAX);
    else if (p->partitions + change->partition_count - before > limit)
        refuse(change, KP_ERROR_POLICY_VIOLATION,
               "the broker would have more than weir.max.partitions=%lld partitions",
               (long long)limit);
}

static bool take_existing(struct preparation *p, struct controller_change *change)
{
    const struct catalog_topic *existing = catalog_fold_find(p->fold, change->name);
    if (!existing)
        return false;
    change->id = existing->id;
    change->partition_count = existing->partition_count;
    if (!p->op->exists_is_fine)
        refuse(change, KP_ERROR_TOPIC_ALREADY_EXISTS, "the topic exists already");
    return true;
}

static void prepare_create(struct preparation *p, struct controller_change *change)
{
    struct catalog_topic topic = {.id = change->id};
    if (take_existing(p, change))
        return;
    check_new_name(p, change);
    if (change->partition_count == -1)
        change->partition_count = (int32_t)config_number(p->config, SETTING_NUM_PARTITIONS);
    if (!change->error)
        check_new_count(p, change, 0);
    if (!change->error)
        change_settings(p, change, NULL, &topic);
    if (change->error)
        return;
    topic.name = arena_text(p->op->arena, change->name.data, change->name.size);
    topic.partition_count = change->partition_count;
    if (!topic.name) {
        out_of_memory(change);
        return;
    }
    p->partitions += topic.partition_count;
    add_record(p, &topic, false);
}

// --- changing what exists -------------------------------------------------------------------

// The topic a change is about; NULL with an error in `change`.
static const struct catalog_topic *find_topic(struct preparation *p,
                                              struct controller_change *change)
{
    const struct catalog_topic *topic;
    if (change->name.data) {
        topic = catalog_fold_find(p->fold, change->name);
        if (!topic)
            refuse(change, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic");
    } else {
        topic = catalog_fold_find_id(p->fold, change->id);
        if (!topic)
            refuse(change, KP_ERROR_UNKNOWN_TOPIC_ID, "there is no topic with this id");
    }
    if (topic && topic->internal) {
        refuse(change, KP_ERROR_INVALID_REQUEST, "the topic is the broker's own");
        return NULL;
    }
    return topic;
}

static void prepare_delete(struct preparation *p, struct controller_change *change)
{
    const struct catalog_topic *topic = find_topic(p, change);
    if (!topic)
        return;
    if (!config_number(p->config, SETTING_DELETE_TOPIC_ENABLE)) {
        refuse(change, KP_ERROR_TOPIC_DELETION_DISABLED, "delete.topic.enable is false");
        return;
    }
    char *name = arena_text(p->op->arena, topic->name, strlen(topic->name));
    if (!name) {
        out_of_memory(change);
        return;
    }
    change->name = span_text(name);
    change->id = topic->id;
    change->partition_count = topic->partition_count;
    add_record(p, topic, true);
}

static void prepare_grow(struct preparation *p, struct controller_change *change)
{
    const struct catalog_topic *topic = find_topic(p, change);
    if (!topic)
        return;
    int32_t before = topic->partition_count;
    struct catalog_topic grown = *topic;
    if (change->partition_count == before)
        refuse(change, KP_ERROR_INVALID_PARTITIONS, "the topic has %d partitions already", before);
    else if (change->partition_count < before)
        refuse(change, KP_ERROR_INVALID_PARTITIONS,
               "the topic has %d partitions, and there can only be more", before);
    else
        check_new_count(p, change, before);
    if (!change->error && change->assignment_count >= 0 &&
        change->assignment_count != change->partition_count - before)
        refuse(change, KP_ERROR_INVALID_REPLICA_ASSIGNMENT,
               "%d new partitions, but brokers for %d of them", change->partition_count - before,
               change->assignment_count);
    if (change->error)
        return;
    change->id = topic->id;
    grown.partition_count = change->partition_count;
    p->partitions += change->partition_count - before;
    add_record(p, &grown, false);
}

static void prepare_alter(struct preparation *p, struct controller_change *change)
{
    const struct catalog_topic *topic = find_topic(p, change);
    if (!topic)
        return;
    struct catalog_topic altered = *topic;
    change->id = topic->id;
    change->partition_count = topic->partition_count;
    change_settings(p, change, topic, &altered);
    if (!change->error)
        add_record(p, &altered, false);
}

static void prepare_forget(struct preparation *p, struct controller_change *change)
{
    msgpack_sbuffer_clear(&p->key);
    catalog_record_write_topic_key(change->id, &p->key);
    state_batch_add(p->batch, p->now_ms, span_of(p->key.data, p->key.size), (struct span){0});
}

// --- all changes ----------------------------------------------------------------------------

static struct span identity(const struct controller_change *change)
{
    return change->name.data ? change->name : span_of(change->id.bytes, sizeof(change->id.bytes));
}

static void refuse_duplicates(struct controller_op *op)
{
    struct map seen;
    map_init(&seen);
    for (uint32_t i = 0; i < op->change_count; i++) {
        struct controller_change *change = &op->changes[i];
        if (change->error)
            continue;
        struct controller_change *first = map_get(&seen, identity(change));
        if (!first && map_put(&seen, identity(change), change))
            out_of_memory(change);
        if (!first)
            continue;
        refuse(change, KP_ERROR_INVALID_REQUEST, "the topic is there twice in the request");
        refuse(first, KP_ERROR_INVALID_REQUEST, "the topic is there twice in the request");
    }
    map_free(&seen);
}

static void prepare_one(struct preparation *p, struct controller_change *change)
{
    switch (p->op->kind) {
    case CONTROLLER_CREATE_TOPICS:
        prepare_create(p, change);
        break;
    case CONTROLLER_DELETE_TOPICS:
        prepare_delete(p, change);
        break;
    case CONTROLLER_CREATE_PARTITIONS:
        prepare_grow(p, change);
        break;
    case CONTROLLER_ALTER_TOPICS:
        prepare_alter(p, change);
        break;
    case CONTROLLER_FORGET_TOPICS:
        prepare_forget(p, change);
        break;
    case CONTROLLER_PRODUCER_ID: // has nothing to do with topics
        break;
    }
}

void topic_changes_prepare(const struct catalog_fold *fold, const struct config *config,
                           struct controller_op *op, int64_t now_ms, struct state_batch *batch)
{
    struct preparation p = {
        .fold = fold, .config = config, .op = op, .batch = batch, .now_ms = now_ms};
    const struct catalog_topic *topic;
    for (uint32_t i = 0; (topic = catalog_fold_topic(fold, i)); i++)
        p.partitions += topic->partition_count;
    msgpack_sbuffer_init(&p.key);
    msgpack_sbuffer_init(&p.value);
    refuse_duplicates(op);
    for (uint32_t i = 0; i < op->change_count; i++)
        if (!op->changes[i].error)
            prepare_one(&p, &op->changes[i]);
    msgpack_sbuffer_destroy(&p.key);
    msgpack_sbuffer_destroy(&p.value);
    if (batch->failed)
        topic_changes_fail(op, KP_ERROR_INVALID_REQUEST, "the request changes too much at once");
}

void topic_changes_fail(struct controller_op *op, int16_t error, const char *why)
{
    for (uint32_t i = 0; i < op->change_count; i++)
        if (!op->changes[i].error)
            refuse(&op->changes[i], error, "%s", why);
}
