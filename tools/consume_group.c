// SPDX-License-Identifier: Apache-2.0
// Owns a client and a consumer that is a member of a group.
//
// Invariants:
//  1. Nothing is committed before it has been written to the output: weir_consumer_poll, which is
//     where partitions are given up, is only called with the output flushed.
//  2. One commit is under way at a time; positions that come meanwhile go with the next one.
//  3. Ends with an error after everything that was written has been committed, if that is possible.
#include "tools/consume_group.h"

#include <inttypes.h>
#include <string.h>

#include "tools/group_ends.h"
#include "tools/interrupt.h"

enum { WAIT_MS = 250, LEAVE_MS = 1000 };

struct group_reader {
    struct printing *printing;
    struct app *app;
    const char *group;
    struct weir_client *client;
    struct weir_consumer *consumer;
    struct group_ends ends; // with --until-end
    bool joined;            // partitions have been given, or none are for this member
    bool committing;        // one is under way
    bool uncommitted;       // records were handed out since the last commit began
    int commit_error;
};

static void commit_done(void *context, int error, const struct weir_offset *offsets, size_t count)
{
    struct group_reader *reader = context;

    (void)offsets;
    (void)count;
    reader->committing = false;
    // Partitions that moved away meanwhile are read again by their new owner: that is no failure.
    if (error != WEIR_OK && error != WEIR_ERR_NOT_ASSIGNED && error != WEIR_ERR_ABANDONED)
        reader->commit_error = error;
}

static void commit(struct group_reader *reader)
{
    if (!reader->uncommitted || reader->committing)
        return;
    int error = weir_commit_async(reader->consumer, NULL, 0, commit_done, reader);
    if (error == WEIR_OK) {
        reader->committing = true;
        reader->uncommitted = false;
    } else {
        reader->commit_error = error;
    }
}

static void rebalance_done(void *context, const struct weir_rebalance *rebalance)
{
    struct group_reader *reader = context;

    if (rebalance->kind == WEIR_PARTITIONS_ASSIGNED)
        reader->joined = true;
    // The output is flushed here, so all that was handed out may be committed.
    if (rebalance->kind == WEIR_PARTITIONS_REVOKED && reader->uncommitted &&
        weir_commit_async(reader->consumer, NULL, 0, NULL, NULL) == WEIR_OK)
        reader->uncommitted = false;
}

static int fail_commit(const struct group_reader *reader)
{
    return app_fail(reader->app, app_exit_code(reader->commit_error),
                    "records were printed, but could not be committed for group '%s': %s",
                    reader->group, weir_error_text(reader->commit_error));
}

// Whether the partition is this member's.
static bool is_mine(void *context, const char *topic, int32_t partition)
{
    const struct group_reader *reader = context;
    int64_t position;

    return weir_consumer_position(reader->consumer, topic, partition, &position) == WEIR_OK;
}

// Whether the group has read everything up to where the topics ended: this member what it has, the
// others the rest.
static bool at_end(struct group_reader *reader)
{
    if (!reader->joined)
        return false;
    for (size_t i = 0; i < reader->ends.count; i++) {
        const struct weir_offset_query *end = &reader->ends.ends[i];
        int64_t position;
        if (weir_consumer_position(reader->consumer, end->topic, end->partition, &position) ==
                WEIR_OK &&
            position < end->offset)
            return false;
    }
    return group_ends_reached(&reader->ends, reader->client, reader->consumer, is_mine, reader,
                              app_timeout_ms(reader->app));
}

// What this member has still to read, for the progress on a terminal.
static void expect_rest(struct group_reader *reader)
{
    struct printing *printing = reader->printing;
    int64_t total = printing->read;

    if (!printing->progress.shown || !printing->until_end || !reader->joined)
        return;
    for (size_t i = 0; i < reader->ends.count; i++) {
        const struct weir_offset_query *end = &reader->ends.ends[i];
        int64_t position;
        if (weir_consumer_position(reader->consumer, end->topic, end->partition, &position) ==
                WEIR_OK &&
            position >= 0 && position < end->offset)
            total += end->offset - position;
    }
    printing_expect(printing, total);
}

// Nobody takes what was printed last, so it is not committed; but the group does not have to wait
// for the session's end to go on. The program ends like any other in a pipe.
static int leave_quietly(struct group_reader *reader)
{
    reader->uncommitted = false;
    weir_consumer_close(reader->consumer, LEAVE_MS);
    reader->consumer = NULL;
    return app_flush(reader->app);
}

static int print_records(struct group_reader *reader)
{
    struct printing *printing = reader->printing;
    struct weir_record record;

    while (weir_consumer_next(reader->consumer, &record)) {
        reader->uncommitted = true;
        int code = printing_record(printing, &record);
        if (code != 0 || printing_enough(printing) || interrupt_requested() ||
            ferror(reader->app->out))
            return code;
    }
    return 0;
}

static int follow(struct group_reader *reader)
{
    struct printing *printing = reader->printing;
    int code = 0;

    while (code == 0 && !interrupt_requested() && !printing_enough(printing)) {
        if (app_reader_left(reader->app))
            return leave_quietly(reader);
        code = app_flush(reader->app);
        if (code != 0)
            return code;
        commit(reader);
        if (reader->commit_error != WEIR_OK)
            return fail_commit(reader);
        if (printing->until_end && at_end(reader))
            return 0;
        int error = weir_consumer_poll(reader->consumer, WAIT_MS);
        if (error != WEIR_OK)
            return app_fail_client(reader->app, reader->client, error);
        code = print_records(reader);
        expect_rest(reader);
        printing_update(printing);
    }
    return code;
}

// What was written before an error is committed as well; the first error is the one that counts.
static int finish(struct group_reader *reader, int code)
{
    int timeout_ms = app_timeout_ms(reader->app);

    if (reader->uncommitted && fflush(reader->app->out) == 0) {
        int error = weir_commit(reader->consumer, timeout_ms);
        if (error != WEIR_OK && error != WEIR_ERR_NOT_ASSIGNED && code == 0) {
            reader->commit_error = error;
            code = fail_commit(reader);
        }
    }
    int error = weir_consumer_close(reader->consumer, timeout_ms);
    reader->consumer = NULL;
    if (code == 0 && reader->commit_error != WEIR_OK)
        return fail_commit(reader);
    // A broker that does not hear us leave waits for our session to end: nothing is lost.
    return code == 0 && error != WEIR_OK && error != WEIR_ERR_TIMED_OUT
               ? app_fail_client(reader->app, reader->client, error)
               : code;
}

static int open_consumer(struct group_reader *reader, const struct consume_group *what)
{
    int code = 0;
    struct weir_config *config = app_config(reader->app, &code);

    if (config == NULL)
        return code;
    bool from_end = strcmp(what->from, "end") == 0;
    code = app_set_text(reader->app, config, "auto.offset.reset", from_end ? "latest" : "earliest");
    if (code == 0)
        code = app_set_text(reader->app, config, "group.id", what->group);
    if (code == 0)
        reader->client = app_connect(reader->app, config, &code);
    if (reader->client != NULL)
        reader->consumer = weir_consumer_new(reader->client, config);
    weir_config_free(config);
    if (code == 0 && reader->consumer == NULL)
        code = app_fail(reader->app, EXIT_FAILED, "out of memory");
    return code;
}

int consume_group(struct printing *printing, const struct consume_group *what)
{
    struct group_reader reader = {
        .printing = printing,
        .app = printing->app,
        .group = what->group,
    };
    const struct group_topics topics = {
        .names = what->topics,
        .count = what->topic_count,
        .pattern = what->pattern ? what->topics[0] : NULL,
    };
    int code = open_consumer(&reader, what);

    interrupt_catch();
    // A name that is not there is more likely mistyped than about to be created.
    if (code == 0)
        code =
            group_ends_open(&reader.ends, reader.app, reader.client, &topics, printing->until_end);
    if (code == 0) {
        reader.ends.from_end = strcmp(what->from, "end") == 0;
        weir_consumer_on_rebalance(reader.consumer, rebalance_done, &reader);
        int error = what->pattern
                        ? weir_subscribe_pattern(reader.consumer, what->topics[0])
                        : weir_subscribe(reader.consumer, what->topics, what->topic_count);
        if (error != WEIR_OK)
            code = app_fail_client(reader.app, reader.client, error);
    }
    if (code == 0) {
        printing_begin(printing, 0);
        code = finish(&reader, follow(&reader));
    }
    group_ends_free(&reader.ends);
    weir_consumer_free(reader.consumer);
    weir_client_free(reader.client);
    return code;
}
