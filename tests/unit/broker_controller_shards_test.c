// SPDX-License-Identifier: Apache-2.0
// The controller with its log and two shards: when changes are visible, in which order they are
// made, and what a start finds of them.
#include <sys/stat.h>

#include "protocol/error.h"
#include "tests/unit/broker_state_shards.h"

static const struct catalog_topic *find(const struct shards *shards, uint32_t shard,
                                        const char *name)
{
    return catalog_find(shards->shard[shard].catalog, span_text(name));
}

// How many partitions of the topic are open where they belong, and nowhere else.
static int32_t count_open(struct shards *shards, struct kp_uuid id, int32_t partitions)
{
    int32_t count = 0;
    for (int32_t p = 0; p < partitions; p++) {
        struct shard *owner = shard_of_partition(&shards->shard[0], id, p);
        for (uint32_t i = 0; i < shards->server.shard_count; i++) {
            bool open = partition_find(&shards->shard[i], id, p) != NULL;
            cr_assert(!open || &shards->shard[i] == owner);
            count += open;
        }
    }
    return count;
}

static bool has_files(const struct shards *shards, const char *topic)
{
    char path[200];
    struct stat status;
    snprintf(path, sizeof(path), "%s/topics/%s", shards->directory, topic);
    return stat(path, &status) == 0;
}

struct append {
    struct partition_op op;
    struct batch_header header;
    bool done;
};

static void append_done(struct partition_op *op)
{
    list_entry(op, struct append, op)->done = true;
}

// Writes one record to every partition of the topic, so that there are files.
static void fill(struct shards *shards, const char *name)
{
    const struct catalog_topic *topic = find(shards, 0, name);
    for (int32_t p = 0; p < topic->partition_count; p++) {
        struct append append = {
            .op = {.key = {topic->id, p}, .kind = PARTITION_APPEND, .done = append_done}};
        append.op.append.batch = shards_batch(100, &append.header);
        append.op.append.header = &append.header;
        partition_start(&shards->shard[0], &append.op);
        shards_until(shards, &append.done);
        cr_assert_eq(append.op.error, 0);
        shards_free_batch(append.op.append.batch);
    }
}

Test(broker, controller_first_start_makes_cluster_and_offsets_topic)
{
    struct shards *shards = state_open();
    char cluster[24];
    const struct catalog_topic *offsets = find(shards, 1, CATALOG_OFFSETS_TOPIC);
    cr_assert_not_null(offsets);
    cr_assert(offsets->internal);
    cr_assert_eq(count_open(shards, offsets->id, offsets->partition_count),
                 offsets->partition_count);
    cr_assert_null(find(shards, 0, CATALOG_METADATA_TOPIC));
    memcpy(cluster, shards->shard[0].catalog->cluster_id_text, sizeof(cluster));
    cr_assert_eq(strlen(cluster), 22);
    struct kp_uuid id = offsets->id;
    state_reopen(shards);
    cr_assert_str_eq(shards->shard[1].catalog->cluster_id_text, cluster, "it stays the same");
    cr_assert(kp_uuid_equal(find(shards, 0, CATALOG_OFFSETS_TOPIC)->id, id));
    state_close(shards);
}

Test(broker, controller_change_is_visible_everywhere_when_it_is_done)
{
    struct shards *shards = state_open();
    for (uint32_t home = 0; home < 2; home++) {
        const char *name = home ? "one" : "zero";
        struct change *change =
            change_start(&shards->shard[home], CONTROLLER_CREATE_TOPICS, name, 5);
        for (int i = 0; i < SHARDS_TURNS && !change->done; i++) {
            // Never half of it: a shard that shows the topic has its partitions open.
            for (uint32_t s = 0; s < 2; s++) {
                const struct catalog_topic *seen = find(shards, s, name);
                for (int32_t p = 0; seen && p < 5; p++)
                    if (shard_of_partition(&shards->shard[0], seen->id, p) == &shards->shard[s])
                        cr_assert_not_null(partition_find(&shards->shard[s], seen->id, p));
            }
            shards_turn(shards);
            io_run(shards->shard[0].io, shards->shard[0].io->now_ns + 200000);
        }
        cr_assert(change->done);
        cr_assert_eq(find(shards, 0, name), find(shards, 1, name));
        cr_assert_eq(count_open(shards, find(shards, 0, name)->id, 5), 5);
        cr_assert_eq(change_free(change), 0);
    }
    state_close(shards);
}

Test(broker, controller_creates_once_for_many)
{
    enum { MANY = 20 };
    struct shards *shards = state_open();
    struct change *changes[MANY];
    struct kp_uuid id = {{0}};
    for (uint32_t i = 0; i < MANY; i++) {
        changes[i] = change_start(&shards->shard[i % 2], CONTROLLER_CREATE_TOPICS, "wanted", -1);
        changes[i]->op.exists_is_fine = true;
    }
    for (uint32_t i = 0; i < MANY; i++) {
        shards_until(shards, &changes[i]->done);
        cr_assert_eq(changes[i]->change.partition_count, 1);
        if (i == 0)
            id = changes[i]->change.id;
        cr_assert(kp_uuid_equal(changes[i]->change.id, id));
        cr_assert_eq(change_free(changes[i]), 0);
    }
    cr_assert(kp_uuid_equal(find(shards, 1, "wanted")->id, id));
    state_close(shards);
}

Test(broker, controller_changes_survive_a_restart)
{
    struct shards *shards = state_open();
    cr_assert_eq(change_run(shards, 1, CONTROLLER_CREATE_TOPICS, "kept", 3), 0);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_PARTITIONS, "kept", 7), 0);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "gone", 3), 0);
    cr_assert_eq(change_run(shards, 1, CONTROLLER_DELETE_TOPICS, "gone", -1), 0);
    struct kp_uuid id = find(shards, 0, "kept")->id;
    cr_assert_eq(count_open(shards, id, 7), 7);
    state_reopen(shards);
    cr_assert_eq(find(shards, 1, "kept")->partition_count, 7);
    cr_assert(kp_uuid_equal(find(shards, 1, "kept")->id, id));
    cr_assert_eq(count_open(shards, id, 7), 7);
    cr_assert_null(find(shards, 0, "gone"));
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "kept", 1),
                 KP_ERROR_TOPIC_ALREADY_EXISTS);
    state_close(shards);
}

Test(broker, controller_deletion_frees_the_name_at_once_and_the_files_soon)
{
    struct shards *shards = state_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 4), 0);
    fill(shards, "t");
    struct kp_uuid id = find(shards, 0, "t")->id;
    cr_assert(has_files(shards, "t"));
    cr_assert_eq(change_run(shards, 1, CONTROLLER_DELETE_TOPICS, "t", -1), 0);
    cr_assert_eq(count_open(shards, id, 4), 0);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 2), 0);
    fill(shards, "t");
    cr_assert(!kp_uuid_equal(find(shards, 0, "t")->id, id));
    cr_assert_eq(change_run(shards, 1, CONTROLLER_DELETE_TOPICS, "t", -1), 0);
    for (int i = 0; i < SHARDS_SETTLES && has_files(shards, "t"); i++)
        shards_settle(shards);
    cr_assert_not(has_files(shards, "t"));
    state_close(shards);
}

// Topics that the catalog on the disk still has to forget.
static uint32_t count_doomed(struct shards *shards)
{
    char why[200];
    state_end(shards);
    state_reopen_stores(shards);
    controller_close(&shards->shard[0]);
    cr_assert_eq(controller_open(&shards->shard[0], why, sizeof(why)), 0, "%s", why);
    uint32_t count = shards->shard[0].catalog->doomed_count;
    controller_close(&shards->shard[0]);
    state_reopen_stores(shards);
    return count;
}

// A broker that ends before it could say that the files are gone: the next start finishes it.
Test(broker, controller_finishes_interrupted_deletions)
{
    struct shards *shards = state_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 4), 0);
    fill(shards, "t");
    // Stopping shards do not report any more.
    shards->shard[0].stopping = shards->shard[1].stopping = true;
    cr_assert_eq(change_run(shards, 1, CONTROLLER_DELETE_TOPICS, "t", -1), 0);
    for (int i = 0; i < SHARDS_SETTLES && has_files(shards, "t"); i++)
        shards_settle(shards);
    cr_assert_eq(count_doomed(shards), 1);
    state_begin(shards);
    cr_assert_null(find(shards, 0, "t"));
    cr_assert_eq(count_doomed(shards), 0, "the start before has written the tombstone");
    state_begin(shards);
    state_close(shards);
}

Test(broker, controller_validates_without_changing)
{
    struct shards *shards = state_open();
    struct change *change = change_start(&shards->shard[1], CONTROLLER_CREATE_TOPICS, "t", 4);
    change->op.validate_only = true;
    shards_until(shards, &change->done);
    cr_assert_eq(change_free(change), 0);
    cr_assert_null(find(shards, 0, "t"));
    change = change_start(&shards->shard[1], CONTROLLER_CREATE_TOPICS, "t", 0);
    change->op.validate_only = true;
    shards_until(shards, &change->done);
    cr_assert_eq(change_free(change), KP_ERROR_INVALID_PARTITIONS);
    state_close(shards);
}
