// SPDX-License-Identifier: Apache-2.0
// The controller: the queue of changes, the metadata partition, and publishing. Lives on shard 0;
// everything here runs on that shard's thread but publication_arrived and what it calls.
//
// One change at a time:
//   queued -> prepared -> appended -> durable -> applied to the fold -> published -> done
// 1. A change is applied to the fold only after its records are durable, by the same function that
//    applies them at start-up. What the fold holds is what a restart would find.
// 2. `current` is the snapshot that every shard has. While a publication is under way some have the
//    next one. The topics that only older snapshots know are freed when all have acknowledged.
// 3. `done` follows the last acknowledgement, so a change that was announced is visible everywhere.
// 4. The files of a deleted topic go after it has vanished for everybody; when the last is gone a
//    tombstone says so. A crash in between leaves the topic doomed: the next start goes on there.
//
// When an append fails nothing has changed and the change is refused. When memory is short after an
// append, the change is durable but not visible: it is refused with a log line, and appears with
// the next change or the next start.
#include "broker/controller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "base/random.h"
#include "broker/catalog_record.h"
#include "broker/config.h"
#include "broker/state_log.h"
#include "broker/topic_changes.h"
#include "broker/topics.h"
#include "protocol/error.h"

// A snapshot on its way to one shard, and back.
struct delivery {
    struct message message;       // there and back
    struct message files_message; // back: the files of dropped partitions are gone
    struct publication *publication;
    struct topics_update update;
    bool has_files; // files_message will follow
};

// Lives until all shards have acknowledged and all files are gone.
struct publication {
    struct controller *controller;
    uint32_t unacknowledged;
    uint32_t waiting_files; // shards
    bool files_stay;        // the topics stay doomed: the next start tries again
    struct list node;       // controller->publications
    uint32_t deleted_count;
    struct kp_uuid *deleted; // topics
    struct delivery deliveries[];
};

struct controller {
    struct shard *shard;
    struct log *log;
    struct catalog_fold *fold;
    struct catalog *current;
    struct catalog *next; // being published
    struct list queue;    // struct controller_op
    struct controller_op *active;
    struct state_batch batch;
    struct log_append append;
    struct list publications;
    int64_t producer_id; // the next one that is given out; below the limit it is reserved
    int64_t producer_id_limit;
};

// The metadata partition is the broker's own and the same in every cluster; it is in no catalog.
static const struct kp_uuid metadata_id = {{[15] = 1}};

static void advance(struct controller *controller);

// --- the way back to who asked --------------------------------------------------------------

static void op_returned(struct shard *here, struct message *message)
{
    (void)here;
    struct controller_op *op = list_entry(message, struct controller_op, message);
    op->done(op);
}

static void finish(struct controller *controller, struct controller_op *op)
{
    if (op->kind == CONTROLLER_FORGET_TOPICS) { // our own: nobody waits behind a mailbox
        op->done(op);
        return;
    }
    op->message.deliver = op_returned;
    shard_post(controller->shard, op->home, &op->message);
}

static void finish_active(struct controller *controller)
{
    struct controller_op *op = controller->active;
    controller->active = NULL;
    finish(controller, op);
    advance(controller);
}

// --- files of deleted topics ----------------------------------------------------------------

struct forget {
    struct controller_op op;
    struct controller_change changes[];
};

static void forget_done(struct controller_op *op)
{
    free(list_entry(op, struct forget, op));
}

// Queues tombstones for topics whose files are gone. If there is no memory for it they stay doomed
// and the next start tries again.
static void forget_topics(struct controller *controller, const struct kp_uuid *ids, uint32_t count)
{
    struct forget *forget = calloc(1, sizeof(*forget) + count * sizeof(*forget->changes));
    if (!forget)
        return;
    forget->op = (struct controller_op){.home = controller->shard,
                                        .kind = CONTROLLER_FORGET_TOPICS,
                                        .changes = forget->changes,
                                        .change_count = count,
                                        .done = forget_done};
    for (uint32_t i = 0; i < count; i++)
        forget->changes[i].id = ids[i];
    list_append(&controller->queue, &forget->op.node);
    advance(controller);
}

static void publication_end(struct publication *publication)
{
    struct controller *controller = publication->controller;
    if (publication->unacknowledged || publication->waiting_files)
        return;
    list_remove(&publication->node);
    if (publication->deleted_count && !publication->files_stay)
        forget_topics(controller, publication->deleted, publication->deleted_count);
    free(publication->deleted);
    free(publication);
}

static void files_reported(struct shard *here, struct message *message)
{
    (void)here;
    struct delivery *delivery = list_entry(message, struct delivery, files_message);
    delivery->publication->files_stay |= delivery->update.files_stay;
    delivery->publication->waiting_files--;
    publication_end(delivery->publication);
}

// On any shard. After the loops have ended nobody reads messages any more; what is still there is
// freed by controller_close.
static void files_gone(struct topics_update *update)
{
    struct delivery *delivery = list_entry(update, struct delivery, update);
    if (update->shard->stopping)
        return;
    delivery->files_message.deliver = files_reported;
    shard_post(update->shard, shard_by_index(update->shard, 0), &delivery->files_message);
}

// --- publishing -----------------------------------------------------------------------------

static void publication_acknowledged(struct shard *here, struct message *message)
{
    (void)here;
    struct delivery *delivery = list_entry(message, struct delivery, message);
    struct publication *publication = delivery->publication;
    struct controller *controller = publication->controller;
    publication->waiting_files += delivery->has_files;
    if (--publication->unacknowledged)
        return;
    catalog_free(controller->current);
    controller->current = controller->next;
    controller->next = NULL;
    catalog_fold_forget(controller->fold);
    publication_end(publication);
    finish_active(controller);
}

// On any shard.
static void publication_arrived(struct shard *here, struct message *message)
{
    struct delivery *delivery = list_entry(message, struct delivery, message);
    if (topics_apply(here, &delivery->update))
        log_line(LOG_ERROR,
                 "shard %u has no memory for all of its partitions: some are not served"
                 " until the next start",
                 here->index);
    delivery->has_files = delivery->update.files_left > 0;
    delivery->message.deliver = publication_acknowledged;
    shard_post(here, shard_by_index(here, 0), &delivery->message);
}

static int note_deleted(struct publication *publication, const struct catalog_change *changes,
                        uint32_t count)
{
    publication->deleted = calloc(count + 1, sizeof(*publication->deleted));
    if (!publication->deleted)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        if (!changes[i].after)
            publication->deleted[publication->deleted_count++] = changes[i].before->id;
    return 0;
}

static struct publication *make_publication(struct controller *controller)
{
    uint32_t shards = shard_count(controller->shard);
    uint32_t count;
    const struct catalog_change *changes = catalog_fold_changes(controller->fold, &count);
    struct publication *publication =
        calloc(1, sizeof(*publication) + shards * sizeof(struct delivery));
    if (!publication || note_deleted(publication, changes, count)) {
        free(publication);
        return NULL;
    }
    publication->controller = controller;
    publication->unacknowledged = shards;
    for (uint32_t i = 0; i < shards; i++)
        publication->deliveries[i] = (struct delivery){
            .message = {.deliver = publication_arrived},
            .publication = publication,
            .update = {.changes = changes, .change_count = count, .files_gone = files_gone},
        };
    return publication;
}

static int publish(struct controller *controller)
{
    struct publication *publication = make_publication(controller);
    if (!publication)
        return -ENOMEM;
    controller->next = catalog_fold_snapshot(controller->fold);
    if (!controller->next) {
        free(publication->deleted);
        free(publication);
        return -ENOMEM;
    }
    list_append(&controller->publications, &publication->node);
    for (uint32_t i = 0; i < publication->unacknowledged; i++) {
        struct delivery *delivery = &publication->deliveries[i];
        delivery->update.catalog = controller->next;
        shard_post(controller->shard, shard_by_index(controller->shard, i), &delivery->message);
    }
    return 0;
}

// --- producer ids ---------------------------------------------------------------------------

static bool has_producer_id(const struct controller *controller)
{
    return controller->producer_id < controller->producer_id_limit;
}

static void add_producer_ids(struct controller *controller, struct controller_op *op)
{
    int64_t next = catalog_fold_next_producer_id(controller->fold);
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    catalog_record_write_producers(next + CONTROLLER_PRODUCER_IDS, &key, &value);
    state_batch_add(&controller->batch, controller->shard->io->wall_ms, span_of(key.data, key.size),
                    span_of(value.data, value.size));
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
    if (controller->batch.failed)
        topic_changes_fail(op, KP_ERROR_UNKNOWN_SERVER_ERROR, "the broker is short of memory");
}

// The record that reserves them is durable and applied.
static void take_producer_ids(struct controller *controller)
{
    controller->producer_id_limit = catalog_fold_next_producer_id(controller->fold);
    controller->producer_id = controller->producer_id_limit - CONTROLLER_PRODUCER_IDS;
}

// --- one change -----------------------------------------------------------------------------

static int apply_record(void *context, struct span key, struct span value)
{
    struct controller *controller = context;
    return catalog_fold_apply(controller->fold, key, value);
}

static void change_durable(struct log_append *append)
{
    struct controller *controller = list_entry(append, struct controller, append);
    struct controller_op *op = controller->active;
    uint32_t changes = 0;
    int error = append->error;
    if (error) {
        log_line(LOG_ERROR, "the metadata partition does not accept changes: %s", strerror(-error));
        topic_changes_fail(op, KP_ERROR_KAFKA_STORAGE_ERROR,
                           error == -ENOSPC ? "the disk is full"
                                            : "the change could not be made durable");
        finish_active(controller);
        return;
    }
    error = state_batch_each(&controller->batch, apply_record, controller);
    catalog_fold_changes(controller->fold, &changes);
    if (!error && op->kind == CONTROLLER_PRODUCER_ID) {
        take_producer_ids(controller);
        op->producer_id = controller->producer_id++;
    }
    if (!error && changes == 0) {
        finish_active(controller);
        return;
    }
    if (!error)
        error = publish(controller);
    if (error) {
        log_line(LOG_ERROR, "a durable change of topics cannot be shown yet: %s", strerror(-error));
        topic_changes_fail(op, KP_ERROR_UNKNOWN_SERVER_ERROR, "the broker is short of memory");
        finish_active(controller);
    }
}

// False when the operation is finished already.
static bool begin(struct controller *controller, struct controller_op *op)
{
    if (op->kind == CONTROLLER_PRODUCER_ID && has_producer_id(controller)) {
        op->producer_id = controller->producer_id++;
        return false;
    }
    state_batch_reset(&controller->batch);
    if (op->kind == CONTROLLER_PRODUCER_ID)
        add_producer_ids(controller, op);
    else
        topic_changes_prepare(controller->fold, controller->shard->config, op,
                              controller->shard->io->wall_ms, &controller->batch);
    if (op->validate_only || controller->batch.failed || state_batch_empty(&controller->batch))
        return false;
    controller->append = (struct log_append){.done = change_durable};
    if (state_log_append(controller->log, &controller->batch, &controller->append) == 0)
        return true;
    topic_changes_fail(op, KP_ERROR_INVALID_REQUEST, "the request changes too much at once");
    return false;
}

static void advance(struct controller *controller)
{
    while (!controller->active && !controller->shard->ended) {
        struct list *node = list_pop(&controller->queue);
        if (!node)
            return;
        struct controller_op *op = list_entry(node, struct controller_op, node);
        if (begin(controller, op))
            controller->active = op;
        else
            finish(controller, op);
    }
}

static void op_arrived(struct shard *here, struct message *message)
{
    struct controller_op *op = list_entry(message, struct controller_op, message);
    list_append(&here->controller->queue, &op->node);
    advance(here->controller);
}

void controller_submit(struct shard *home, struct controller_op *op)
{
    op->home = home;
    op->message.deliver = op_arrived;
    for (uint32_t i = 0; op->kind == CONTROLLER_CREATE_TOPICS && i < op->change_count; i++)
        random_system(op->changes[i].id.bytes, sizeof(op->changes[i].id.bytes));
    shard_post(home, shard_by_index(home, 0), &op->message);
}

// --- life -----------------------------------------------------------------------------------

static void add_first_records(struct controller *controller)
{
    // Small segments: what is compacted early is read quickly at the next start.
    struct catalog_setting settings[] = {
        {"cleanup.policy", "compact"},
        {"delete.retention.ms", "0"},
        {"segment.bytes", CATALOG_SEGMENT_BYTES},
    };
    struct catalog_topic offsets = {
        .name = CATALOG_OFFSETS_TOPIC,
        .internal = true,
        .partition_count =
            (int32_t)config_number(controller->shard->config, SETTING_OFFSETS_TOPIC_NUM_PARTITIONS),
        .settings = settings,
        .setting_count = sizeof(settings) / sizeof(settings[0]),
    };
    struct kp_uuid cluster;
    int64_t now_ms = controller->shard->io->wall_ms;
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    random_system(cluster.bytes, sizeof(cluster.bytes));
    random_system(offsets.id.bytes, sizeof(offsets.id.bytes));
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    catalog_record_write_cluster(cluster, &key, &value);
    state_batch_add(&controller->batch, now_ms, span_of(key.data, key.size),
                    span_of(value.data, value.size));
    msgpack_sbuffer_clear(&key);
    msgpack_sbuffer_clear(&value);
    catalog_record_write_topic(&offsets, false, &key, &value);
    state_batch_add(&controller->batch, now_ms, span_of(key.data, key.size),
                    span_of(value.data, value.size));
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
}

struct first_append {
    struct log_append append;
    bool done;
};

static void first_append_done(struct log_append *append)
{
    list_entry(append, struct first_append, append)->done = true;
}

// The first start of a data directory. Waits.
static int write_first_records(struct controller *controller)
{
    struct first_append first = {.append = {.done = first_append_done}};
    add_first_records(controller);
    int error = state_log_append(controller->log, &controller->batch, &first.append);
    while (!error && !first.done)
        io_run(controller->shard->io, UINT64_MAX);
    if (!error)
        error = first.append.error;
    return error ? error : state_batch_each(&controller->batch, apply_record, controller);
}

struct stray {
    char *why;
    size_t why_size;
};

static int refuse_stray(void *context, const char *name)
{
    struct stray *stray = context;
    if (name[0] == '.' || strcmp(name, CATALOG_METADATA_TOPIC) == 0)
        return 0;
    snprintf(stray->why, stray->why_size,
             "the metadata partition is missing or empty (%s), but there are topics (%s): restore "
             "it from a backup",
             CATALOG_METADATA_TOPIC, name);
    return -ENODATA;
}

// -ENODATA with a sentence when there are topics, whose records an empty broker would deny.
static int refuse_topics(const struct controller *controller, char *why, size_t why_size)
{
    struct stray stray = {why, why_size};
    char *topics = NULL;
    if (asprintf(&topics, "%s/topics", controller->shard->config->data_directory) < 0)
        return -ENOMEM;
    int error = io_list_directory(controller->shard->io, topics, refuse_stray, &stray);
    free(topics);
    return error == -ENOENT ? 0 : error;
}

static int load(struct controller *controller, char *why, size_t why_size)
{
    struct log_config limits = {.segment_bytes = strtoll(CATALOG_SEGMENT_BYTES, NULL, 10),
                                .segment_ms = INT64_MAX,
                                .min_dirty_ratio = 0.5};
    catalog_keep_state(&limits);
    struct log_name name = {.topic = span_text(CATALOG_METADATA_TOPIC), .topic_id = metadata_id};
    struct log_recovery recovery;
    int64_t offset = 0;
    int error = log_open(controller->shard->store, name, &limits, &controller->log, &recovery);
    if (!error)
        error = state_log_load(controller->shard->io, controller->log, apply_record, controller,
                               &offset);
    if (error)
        snprintf(why, why_size, "cannot read the metadata partition (%s, offset %lld): %s",
                 CATALOG_METADATA_TOPIC, (long long)offset,
                 error == -EBADMSG ? "a record there is damaged or of a newer format"
                                   : strerror(-error));
    if (error == -EIO && recovery.segments == 0)
        (void)refuse_topics(controller, why, why_size); // which says more
    return error;
}

// An empty metadata partition is that of a new directory, or its loss: then there are topics.
static int start_anew(struct controller *controller, char *why, size_t why_size)
{
    snprintf(why, why_size, "out of memory");
    int error = refuse_topics(controller, why, why_size);
    if (error == -ENODATA)
        return error;
    if (!error)
        error = write_first_records(controller);
    snprintf(why, why_size, "cannot write the metadata partition: %s", strerror(-error));
    return error;
}

static int open_fold(struct controller *controller, char *why, size_t why_size)
{
    int error = load(controller, why, why_size);
    if (!error && kp_uuid_is_zero(catalog_fold_cluster_id(controller->fold)))
        error = start_anew(controller, why, why_size);
    if (error)
        return error;
    controller->current = catalog_fold_snapshot(controller->fold);
    snprintf(why, why_size, "out of memory");
    if (!controller->current)
        return -ENOMEM;
    catalog_fold_forget(controller->fold);
    return 0;
}

int controller_open(struct shard *shard, char *why, size_t why_size)
{
    struct controller *controller = calloc(1, sizeof(*controller));
    snprintf(why, why_size, "out of memory");
    if (!controller)
        return -ENOMEM;
    controller->shard = shard;
    list_init(&controller->queue);
    list_init(&controller->publications);
    state_batch_init(&controller->batch);
    shard->controller = controller;
    controller->fold = catalog_fold_create(shard->config);
    int error = controller->fold ? open_fold(controller, why, why_size) : -ENOMEM;
    if (error) {
        controller_close(shard);
        return error;
    }
    shard->catalog = controller->current;
    return 0;
}

bool controller_is_metadata(struct kp_uuid topic_id)
{
    return kp_uuid_equal(topic_id, metadata_id);
}

const struct catalog *controller_catalog(const struct controller *controller)
{
    return controller->current;
}

void controller_start(struct controller *controller)
{
    const struct catalog_topic *topic;
    for (uint32_t i = 0; i < shard_count(controller->shard); i++)
        if (shard_by_index(controller->shard, i)->deleted_files_stay)
            return;
    for (size_t at = 0; (topic = catalog_fold_next_doomed(controller->fold, &at));)
        forget_topics(controller, &topic->id, 1);
}

void controller_close(struct shard *shard)
{
    struct controller *controller = shard->controller;
    if (!controller)
        return;
    for (struct list *node; (node = list_pop(&controller->publications));) {
        struct publication *publication = list_entry(node, struct publication, node);
        free(publication->deleted);
        free(publication);
    }
    // What is left in the queue is ours: requests are finished before the loops end.
    for (struct list *node; (node = list_pop(&controller->queue));)
        forget_done(list_entry(node, struct controller_op, node));
    catalog_free(controller->current);
    catalog_free(controller->next);
    catalog_fold_free(controller->fold);
    state_batch_free(&controller->batch);
    free(controller);
    shard->controller = NULL;
    shard->catalog = NULL;
}
