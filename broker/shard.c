// SPDX-License-Identifier: Apache-2.0
// One shard's life: it opens in step with the others, serves, and closes in step with the others.
//
// The loop: timers, messages, connections, then one wait for completions, which also submits what
// the turn has started. Messages and completions only ever start things or finish requests;
// connections are advanced once per turn, so what became ready together leaves together.
//
// Start, with a meeting of all shards after each step: (1) ring, memory, store; (2) shard 0 reads
// the catalog; (3) everybody opens its partitions and brings its groups back; (4) shard 0 listens;
// then all accept. An error in any step ends all shards.
//
// Stop: a signal reaches shard 0, which tells all. Each stops reading, finishes what it has read
// and answers it; when its last connection has gone it tells shard 0 but goes on serving the other
// shards' messages. When all have told, shard 0 ends all loops. Nobody has a request then, so no
// message is on its way that anybody waits for. Logs are closed, and only after a last meeting do
// the rings go, so that nobody wakes a ring that is gone.
#include "broker/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <xxhash.h>

#include "base/log_line.h"
#include "broker/background.h"
#include "broker/config.h"
#include "broker/controller.h"
#include "broker/fetch_session.h"
#include "broker/groups/coordinator.h"
#include "broker/listener.h"
#include "broker/partition.h"
#include "broker/server.h"
#include "broker/shard_life.h"
#include "broker/topics.h"

enum {
    RING_ENTRIES = 1024,
    LEFT_MS = 20,         // how long a sleeping shard is not reminded of what was left there
    PATIENT_MESSAGES = 8, // that lie there until the journal's write is done
};

// --- messages and places ----------------------------------------------------------------------

void shard_post(struct shard *from, struct shard *to, struct message *message)
{
    if (mailbox_push(&to->mailbox, message))
        io_wake(from->io, to->io);
}

void shard_post_patiently(struct shard *from, struct shard *to, struct message *message)
{
    if (mailbox_push_patiently(&to->mailbox, message))
        io_wake(from->io, to->io);
}

static void remind(struct shard *from, struct shard *to)
{
    if (mailbox_remind(&to->mailbox))
        io_wake(from->io, to->io);
}

// Which shards had something left there is not noted: most have taken it long ago.
static void remind_all(struct timer *timer)
{
    struct shard *from = list_entry(timer, struct shard, left_timer);
    for (uint32_t i = 0; i < shard_count(from); i++)
        remind(from, shard_by_index(from, i));
}

void shard_leave(struct shard *from, struct shard *to, struct message *message)
{
    mailbox_leave(&to->mailbox, message);
    if (from->left_timer.slot > 0 && !from->stopping)
        return;
    from->left_timer.expired = remind_all;
    // At the end all wait for this.
    if (from->stopping || timer_set(&from->timers, &from->left_timer,
                                    from->io->now_ns + LEFT_MS * UINT64_C(1000000)) != 0)
        remind(from, to);
}

struct shard *shard_of_partition(const struct shard *any, struct kp_uuid topic_id,
                                 int32_t partition)
{
    if (shard_count(any) == 1)
        return shard_by_index(any, 0);
    // Neighbouring partitions of a topic live on different shards.
    uint64_t hash = XXH3_64bits(topic_id.bytes, sizeof(topic_id.bytes));
    return shard_by_index(any, (uint32_t)((hash + (uint32_t)partition) % shard_count(any)));
}

struct shard *shard_by_index(const struct shard *any, uint32_t index)
{
    return any->server->shards[index];
}

uint32_t shard_count(const struct shard *any)
{
    return any->server->shard_count;
}

bool shard_may_sleep(struct shard *shard)
{
    bool soon_awake = shard_count(shard) > 1 && log_store_is_journalling(shard->store);
    return mailbox_sleep(&shard->mailbox, soon_awake ? PATIENT_MESSAGES : 0);
}

// --- the loop ---------------------------------------------------------------------------------

static void deliver_messages(struct shard *shard)
{
    struct message *message = mailbox_take(&shard->mailbox);
    while (message) {
        // The receiver may put the node to another use.
        struct message *next = message->next;
        message->deliver(shard, message);
        message = next;
    }
}

static void turn(struct shard *shard)
{
    timers_run(&shard->timers, shard->io->now_ns);
    deliver_messages(shard);
    if (shard->ended)
        return; // nothing will come any more, so there is nothing to wait for
    listener_advance(shard->listener);
    if (shard_may_sleep(shard)) {
        uint64_t due = timers_next(&shard->timers);
        // 0 would mean not to wait, which is right for a timer that is due.
        io_run(shard->io, due <= shard->io->now_ns ? 0 : due);
        mailbox_wake_up(&shard->mailbox);
    } else {
        io_run(shard->io, 0);
    }
}

// --- start ------------------------------------------------------------------------------------

// Each shard's part must be enough for one new segment and for compacting one.
static uint64_t ballast_bytes(const struct config *config, size_t shards)
{
    enum { LEAST = 2 * 1024 * 1024 };
    uint64_t bytes = (uint64_t)config_number(config, SETTING_RESERVE_BYTES) / shards;
    if (bytes == 0)
        return 0;
    return bytes < LEAST ? LEAST : bytes & ~UINT64_C(4095);
}

// Each shard has its share of the memory and of the device.
static struct log_compaction compaction_options(const struct config *config, size_t shards)
{
    double rate = strtod(config_text(config, SETTING_LOG_CLEANER_IO_MAX_BYTES_PER_SECOND), NULL);
    rate /= (double)shards;
    return (struct log_compaction){
        .enabled = config_number(config, SETTING_LOG_CLEANER_ENABLE) != 0,
        .map_bytes = (size_t)config_number(config, SETTING_LOG_CLEANER_DEDUPE_BUFFER_SIZE) / shards,
        .bytes_per_second = rate < 1e18 ? (uint64_t)rate : 0,
        .backoff_ms = (uint64_t)config_number(config, SETTING_LOG_CLEANER_BACKOFF_MS),
    };
}

static enum log_sync sync_method(const struct config *config)
{
    const char *method = config_text(config, SETTING_SYNC_METHOD);
    if (strcmp(method, "dsync") == 0)
        return LOG_SYNC_DSYNC;
    return strcmp(method, "fdatasync") == 0 ? LOG_SYNC_FSYNC : LOG_SYNC_AUTO;
}

static uint32_t open_files(const struct config *config, size_t shards)
{
    enum { LEAST = 16, MOST = 16384 };
    uint64_t wanted = (uint64_t)config_number(config, SETTING_OPEN_FILES);
    struct rlimit limit;
    if (wanted == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
        wanted = limit.rlim_cur / 4 < MOST ? limit.rlim_cur / 4 : MOST;
    wanted /= shards;
    return wanted < LEAST ? LEAST : (uint32_t)wanted;
}

static bool owns(void *context, struct kp_uuid topic_id, int32_t partition)
{
    const struct shard *shard = context;
    if (controller_is_metadata(topic_id))
        return shard->index == 0;
    return shard_of_partition(shard, topic_id, partition) == shard;
}

static int open_store(struct shard *shard, char *why, size_t why_size)
{
    const char *reason = NULL;
    int error = io_uring_create(RING_ENTRIES, &shard->io, &reason);
    if (error) {
        snprintf(why, why_size, "%s", reason ? reason : strerror(-error));
        return error;
    }
    const struct config *config = shard->config;
    size_t shards = shard_count(shard);
    timers_init(&shard->timers);
    map_init(&shard->partitions);
    shard->pool = pool_create((size_t)config_number(config, SETTING_BUFFER_BYTES) / shards);
    if (!shard->pool || listener_create(shard, &shard->listener) != 0) {
        snprintf(why, why_size, "not enough memory to start");
        return -ENOMEM;
    }
    struct log_store_options options = {
        .io = shard->io,
        .pool = shard->pool,
        .directory = config->data_directory,
        .tail_cache_bytes = (size_t)config_number(config, SETTING_TAIL_CACHE_BYTES) / shards,
        .read_cache_bytes = (size_t)config_number(config, SETTING_READ_CACHE_BYTES) / shards,
        .direct = config_number(config, SETTING_DIRECT_IO) != 0,
        .shard = shard->index,
        .shard_count = (uint32_t)shards,
        .owns = owns,
        .owns_context = shard,
        .journal_bytes = (uint64_t)config_number(config, SETTING_JOURNAL_BYTES) / shards,
        .sync = sync_method(config),
        .open_files = open_files(config, shards),
        .producer_expiry_ms = config_number(config, SETTING_PRODUCER_ID_EXPIRATION_MS),
        .compaction = compaction_options(config, shards),
        .space = &shard->server->space,
        .ballast_bytes = ballast_bytes(config, shards),
    };
    error = log_store_open(&options, &shard->store);
    if (error)
        snprintf(why, why_size, "cannot open the logs in %s: %s", config->data_directory,
                 strerror(-error));
    return error;
}

static int open_controller(struct shard *shard, char *why, size_t why_size)
{
    return shard->index == 0 ? controller_open(shard, why, why_size) : 0;
}

static int open_partitions(struct shard *shard, char *why, size_t why_size)
{
    shard->catalog = controller_catalog(shard_by_index(shard, 0)->controller);
    struct topics_summary summary = {0};
    int error = topics_open(shard, shard->catalog, &summary);
    atomic_fetch_add(&shard->server->unopened, summary.failed + shard->deleted_files_stay);
    if (error) {
        snprintf(why, why_size, "cannot open the partitions: %s", strerror(-error));
        return error;
    }
    if (summary.partitions > 0 || summary.failed > 0)
        log_line(LOG_INFO,
                 "shard %u: %u partitions in %llu segments, %llu torn bytes cut, %llu damaged "
                 "ranges, %u partitions not opened",
                 shard->index, summary.partitions, (unsigned long long)summary.segments,
                 (unsigned long long)summary.torn_bytes, (unsigned long long)summary.damaged_ranges,
                 summary.failed);
    error = coordinator_open(shard, why, why_size);
    if (error)
        return error;
    error = topics_start_retention(shard);
    if (!error)
        error = background_start(shard);
    if (error)
        snprintf(why, why_size, "not enough memory to start");
    return error;
}

// What the journals had goes to the segments before anything is served.
static int settle(struct shard *shard, char *why, size_t why_size)
{
    int error = log_store_settle(shard->store);
    if (error > 0) {
        atomic_fetch_add(&shard->server->unopened, 1);
        return 0;
    }
    if (error)
        snprintf(why, why_size, "cannot make the logs durable as they were found: %s",
                 strerror(-error));
    return error;
}

// All shards have settled: what is left of the journals is not needed any more.
static int begin(struct shard *shard, char *why, size_t why_size)
{
    int error = log_store_begin(shard->store, atomic_load(&shard->server->unopened) == 0);
    if (error)
        snprintf(why, why_size, "cannot begin the journal: %s", strerror(-error));
    return error;
}

static int open_listener(struct shard *shard, char *why, size_t why_size)
{
    return shard->index == 0 ? server_listen(shard->server, shard, why, why_size) : 0;
}

static int open_all(struct shard *shard)
{
    static int (*const steps[])(struct shard * shard, char *why, size_t why_size) = {
        open_store, open_controller, open_partitions, settle, begin, open_listener};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        char why[SERVER_WHY_SIZE] = "";
        int error = steps[i](shard, why, sizeof(why));
        error = server_meet(shard->server, error, why);
        if (error)
            return error;
    }
    return 0;
}

// --- stop -------------------------------------------------------------------------------------

// Everything here copes with a start that ended early.
static void close_all(struct shard *shard)
{
    topics_stop_retention(shard);
    background_stop(shard);
    coordinator_close(shard);
    int error = shard->store ? log_store_close(shard->store) : 0;
    if (error) {
        log_line(LOG_ERROR, "shard %u: closing the logs failed: %s", shard->index,
                 strerror(-error));
        atomic_store(&shard->server->unclosed, true);
    }
    partition_forget_all(shard);
    // Nobody uses the catalog, the rings or the mailboxes of others after this.
    server_meet(shard->server, error, "closing the logs failed");
    if (shard->index == 0)
        background_last_line(shard);
    if (shard->controller)
        controller_close(shard);
    if (shard->listener)
        listener_destroy(shard->listener);
    fetch_sessions_destroy(shard->fetch_sessions);
    timers_free(&shard->timers);
    if (shard->io)
        io_destroy(shard->io);
    if (shard->pool)
        pool_destroy(shard->pool);
}

void shard_run(struct shard *shard)
{
    mailbox_init(&shard->mailbox);
    if (open_all(shard) == 0) {
        shard_life_start(shard);
        listener_start(shard->listener);
        while (!shard->ended)
            turn(shard);
    }
    close_all(shard);
}
