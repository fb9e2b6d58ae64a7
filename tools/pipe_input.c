// SPDX-License-Identifier: Apache-2.0
// Partitions: how records come in, and how their offsets go back.
//
// Invariants:
//  1. Only lane->done is ever committed (pipe_engine.h): everything before it is stored.
//  2. A partition that is to be given up begins no run. What runs may finish within the grace; the
//     hold on the rebalance is released once all that are to be given up are empty and committed.
//  3. Of a partition that is lost, nothing is committed, and its run is abandoned.
//  4. Memory: all lanes together hold about --memory; a partition with more than its share is not
//     read, and not fetched if it keeps others from being read.
#include <inttypes.h>
#include <stdlib.h>

#include "tools/interrupt.h"
#include "tools/pipe_stage.h"

enum {
    COMMIT_MS = 500,
    STUCK_MS = 250,
    TAKE_MAX = 4096, // in one turn
    LANE_BYTES_MIN = 256 * 1024,
};

static struct pipe_input *input_of(struct list *node)
{
    return list_entry(node, struct pipe_input, node);
}

// The partition as it is ours now.
static struct pipe_input *find(struct pipe_stage *stage, int32_t partition)
{
    list_each(node, &stage->inputs) {
        struct pipe_input *input = input_of(node);
        if (input->partition == partition && !input->lost)
            return input;
    }
    return NULL;
}

// Each lane gets its share of the memory.
static void share_memory(struct pipe_stage *stage)
{
    size_t count = 0;

    list_each(node, &stage->inputs)
        count++;
    size_t share = (size_t)stage->options->memory_bytes / (count > 0 ? count : 1);
    stage->engine.rules.lane_bytes = share > LANE_BYTES_MIN ? share : LANE_BYTES_MIN;
}

static void add_input(struct pipe_stage *stage, int32_t partition)
{
    struct pipe_input *input = calloc(1, sizeof(*input));

    if (input == NULL) {
        pipe_stage_fail(stage, EXIT_FAILED, "out of memory");
        return;
    }
    input->partition = partition;
    input->committed = -1;
    input->beyond = -1;
    input->stop = group_ends_of(&stage->ends, stage->options->from, partition);
    pipe_lane_open(&stage->engine, &input->lane);
    list_append(&stage->inputs, &input->node);
    share_memory(stage);
}

static void remove_input(struct pipe_stage *stage, struct pipe_input *input)
{
    if (stage->full == input)
        stage->full = NULL;
    pipe_lane_remove(&input->lane);
    list_remove(&input->node);
    free(input);
    share_memory(stage);
}

static void rebalanced(void *context, const struct weir_rebalance *rebalance)
{
    struct pipe_stage *stage = context;

    if (rebalance->kind == WEIR_PARTITIONS_ASSIGNED)
        stage->joined = true;
    // Everything goes at once then, and there is nothing left to be held.
    if (rebalance->kind == WEIR_PARTITIONS_LOST)
        stage->held = false;
    for (size_t i = 0; i < rebalance->count; i++) {
        int32_t partition = rebalance->partitions[i].partition;
        struct pipe_input *input = find(stage, partition);
        if (rebalance->kind == WEIR_PARTITIONS_ASSIGNED && input == NULL)
            add_input(stage, partition);
        if (rebalance->kind == WEIR_PARTITIONS_LOST && input != NULL)
            input->lost = true;
        if (rebalance->kind == WEIR_PARTITIONS_REVOKED && input != NULL) {
            input->revoked = true;
            input->deadline_ms = pipe_stage_clock_ms() + stage->options->grace_ms;
        }
    }
    if (rebalance->kind == WEIR_PARTITIONS_REVOKED && rebalance->count > 0 && !stage->held)
        stage->held = weir_rebalance_hold(stage->consumer) == WEIR_OK;
}

// A topic to write to that is not there is more likely mistyped than about to be created.
static int check_outputs(struct pipe_stage *stage)
{
    const char *const names[] = {stage->options->to, stage->options->dead_letter};
    const struct group_topics topics = {.names = names, .count = names[1] != NULL ? 2 : 1};
    struct group_ends outputs;
    int code = group_ends_open(&outputs, stage->app, stage->client, &topics, false);

    group_ends_free(&outputs);
    return code;
}

bool pipe_inputs_open(struct pipe_stage *stage)
{
    const struct group_topics topics = {.names = &stage->options->from, .count = 1};

    stage->code = group_ends_open(&stage->ends, stage->app, stage->client, &topics,
                                  stage->options->until_end);
    if (stage->code == 0)
        stage->code = check_outputs(stage);
    if (stage->code != 0)
        return false;
    weir_consumer_on_rebalance(stage->consumer, rebalanced, stage);
    int error = weir_subscribe(stage->consumer, &stage->options->from, 1);
    if (error != WEIR_OK)
        pipe_stage_fail_client(stage, error);
    return error == WEIR_OK;
}

// --------------------------------------------------------------------------------------- reading

// Past its stop a partition has nothing for us.
static bool behind_stop(struct pipe_stage *stage, struct pipe_input *input, int64_t offset)
{
    if (!stage->options->until_end || offset < input->stop)
        return false;
    if (input->beyond < 0)
        input->beyond = offset;
    if (!input->paused)
        weir_consumer_pause(stage->consumer, stage->options->from, input->partition);
    input->paused = true;
    return true;
}

static void take(struct pipe_stage *stage, struct pipe_input *input,
                 const struct weir_record *record)
{
    struct pipe_record *taken = pipe_record_new(record);
    struct pipe_refusal why = {0};

    if (taken == NULL) {
        pipe_stage_fail(stage, EXIT_FAILED, "out of memory");
        return;
    }
    size_t bytes = pipe_record_bytes(taken);
    pipe_lane_take(&input->lane, &taken->entry, record->offset, bytes, stage->now_ms);
    stage->counts.read++;
    stage->counts.read_bytes += (int64_t)bytes;
    if (pipe_lane_full(&input->lane)) {
        stage->full = input;
        stage->full_ms = stage->now_ms;
    }
    if (pipe_format_check(&stage->format, taken, &why) != 0) {
        taken->skipped = true;
        pipe_output_reject(stage, taken, &why);
    }
}

void pipe_inputs_take(struct pipe_stage *stage)
{
    struct weir_record record;

    if (stage->full != NULL && !pipe_lane_full(&stage->full->lane))
        stage->full = NULL;
    stage->more = false;
    for (int i = 0; stage->full == NULL && stage->code == 0; i++) {
        stage->more = i == TAKE_MAX;
        if (stage->more || !weir_consumer_next(stage->consumer, &record))
            return;
        struct pipe_input *input = find(stage, record.partition);
        if (input != NULL && !input->revoked && !behind_stop(stage, input, record.offset))
            take(stage, input, &record);
    }
}

void pipe_inputs_balance(struct pipe_stage *stage)
{
    bool idle = false;

    for (size_t i = 0; i < stage->seat_count; i++)
        idle |= stage->seats[i].input == NULL;
    // What was fetched ahead stays in memory: only for a partition that is really stuck.
    if (stage->full != NULL && idle && stage->now_ms - stage->full_ms >= STUCK_MS &&
        !stage->full->paused &&
        weir_consumer_pause(stage->consumer, stage->options->from, stage->full->partition) ==
            WEIR_OK) {
        stage->full->paused = true;
        stage->full = NULL;
    }
    list_each(node, &stage->inputs) {
        struct pipe_input *input = input_of(node);
        if (!input->paused || input->lost || input->revoked || !pipe_lane_hungry(&input->lane) ||
            input->at_stop)
            continue;
        if (stage->options->until_end && input->lane.complete)
            continue;
        weir_consumer_resume(stage->consumer, stage->options->from, input->partition);
        input->paused = false;
    }
}

// ------------------------------------------------------------------------------------ committing

// What is no longer ours may have been committed further by its new owner: never again.
static void commit_done(void *context, int error, const struct weir_offset *offsets, size_t count)
{
    struct pipe_stage *stage = context;

    stage->committing = false;
    if (error == WEIR_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        struct pipe_input *input = find(stage, offsets[i].partition);
        if (offsets[i].error != WEIR_OK && input != NULL && input->committed == offsets[i].offset)
            input->committed = -1;
    }
}

// The position of a partition that owes nothing is beyond its last record where the offsets behind
// that one hold none: who waits for the group to reach the end has to see it there.
static void look_for_gap(struct pipe_stage *stage, struct pipe_input *input)
{
    int64_t position;

    if (stage->code != 0 || input->lost || input->lane.closed || input->lane.count > 0 ||
        input->at_stop)
        return;
    if (weir_consumer_position(stage->consumer, stage->options->from, input->partition,
                               &position) == WEIR_OK &&
        position > input->lane.done)
        input->lane.done = position;
}

// The offsets that may be committed and are not; from malloc.
static struct weir_offset *to_commit(struct pipe_stage *stage, size_t *count)
{
    size_t most = 0;

    *count = 0;
    list_each(node, &stage->inputs)
        most++;
    struct weir_offset *offsets = calloc(most + 1, sizeof(*offsets));
    if (offsets == NULL)
        return NULL;
    list_each(at, &stage->inputs) {
        struct pipe_input *input = input_of(at);
        look_for_gap(stage, input);
        if (input->lost || input->lane.done <= input->committed)
            continue;
        offsets[(*count)++] = (struct weir_offset){
            .topic = stage->options->from,
            .partition = input->partition,
            .offset = input->lane.done,
        };
        input->committed = input->lane.done;
    }
    return offsets;
}

static void commit(struct pipe_stage *stage)
{
    size_t count;
    struct weir_offset *offsets = to_commit(stage, &count);

    stage->commit_ms = stage->now_ms + COMMIT_MS;
    if (offsets != NULL && count > 0) {
        stage->committing = true;
        int error = weir_commit_async(stage->consumer, offsets, count, commit_done, stage);
        if (error != WEIR_OK)
            pipe_stage_fail_client(stage, error);
    }
    free(offsets);
}

// -------------------------------------------------------------------------------------- settling

static void pop_done(struct pipe_input *input)
{
    struct pipe_entry *entry;

    while ((entry = pipe_lane_pop(&input->lane)) != NULL)
        pipe_output_release(pipe_record_of(entry));
}

static void drop(struct pipe_stage *stage, struct pipe_input *input, bool running)
{
    struct pipe_entry *entry;

    if (running)
        pipe_seat_abandon(stage, input);
    while ((entry = pipe_lane_drop(&input->lane, running)) != NULL)
        pipe_output_release(pipe_record_of(entry));
}

// Everything there is has been taken, or there is nothing up to the stop. Others may have come
// further before the partition was ours: what is committed never goes back.
static void look_for_end(struct pipe_stage *stage, struct pipe_input *input)
{
    int64_t position;

    if (!stage->options->until_end || input->lost || input->lane.closed || input->at_stop ||
        weir_consumer_position(stage->consumer, stage->options->from, input->partition,
                               &position) != WEIR_OK)
        return;
    if (position >= input->stop)
        input->lane.complete = true;
    if (!input->lane.complete || input->lane.count > 0)
        return;
    // The last offsets before that may hold no records; they need not be read again.
    int64_t next = input->beyond >= 0 ? input->beyond : position;
    if (input->lane.done < next)
        input->lane.done = next;
    input->at_stop = true;
    stage->commit_ms = stage->now_ms;
}

// The lane is to be emptied: nothing new begins, and what runs has until its deadline.
static void settle(struct pipe_stage *stage, struct pipe_input *input)
{
    int64_t deadline_ms = input->revoked ? input->deadline_ms : INT64_MAX;

    if (stage->stopping && stage->stop_by_ms < deadline_ms)
        deadline_ms = stage->stop_by_ms;
    pop_done(input);
    look_for_end(stage, input);
    if (input->lost)
        drop(stage, input, true);
    else if (input->revoked || stage->stopping)
        drop(stage, input, stage->now_ms >= deadline_ms);
    pop_done(input);
}

void pipe_inputs_settle(struct pipe_stage *stage)
{
    bool holding = false;
    bool leaving = false;

    list_each(node, &stage->inputs) {
        struct pipe_input *input = input_of(node);
        settle(stage, input);
        if (input->lost && input->lane.count == 0)
            remove_input(stage, input);
        else if (input->revoked && !input->lost) {
            leaving = true;
            holding |= input->lane.count > 0;
        }
    }
    bool release = leaving && !holding;
    if (release || (!stage->committing && stage->now_ms >= stage->commit_ms))
        commit(stage);
    if (!release)
        return;
    list_each(at, &stage->inputs) {
        struct pipe_input *input = input_of(at);
        if (input->revoked && !input->lost)
            remove_input(stage, input);
    }
    if (stage->held)
        weir_rebalance_release(stage->consumer);
    stage->held = false;
}

// ------------------------------------------------------------------------------------- the end

static bool finished(const struct pipe_input *input)
{
    return input->at_stop && input->lane.done <= input->committed;
}

static bool is_finished(void *context, const char *topic, int32_t partition)
{
    const struct pipe_input *input = find(context, partition);

    (void)topic;
    return input != NULL && finished(input);
}

// What others have, or had until they were killed, is done with when it is committed.
bool pipe_inputs_finished(struct pipe_stage *stage)
{
    if (!stage->options->until_end || !stage->joined || stage->committing || stage->held)
        return false;
    list_each(node, &stage->inputs) {
        if (!finished(input_of(node)))
            return false;
    }
    return group_ends_reached(&stage->ends, stage->client, stage->consumer, is_finished, stage,
                              app_timeout_ms(stage->app));
}

void pipe_inputs_close(struct pipe_stage *stage)
{
    int timeout_ms = app_timeout_ms(stage->app);
    size_t count;

    list_each(node, &stage->inputs)
        settle(stage, input_of(node));
    struct weir_offset *offsets = to_commit(stage, &count);
    if (offsets != NULL && count > 0) {
        int error = weir_commit_offsets(stage->consumer, offsets, count, timeout_ms);
        if (error != WEIR_OK && stage->code == 0)
            pipe_stage_fail_client(stage, error);
    }
    free(offsets);
    weir_consumer_on_rebalance(stage->consumer, NULL, NULL);
    if (stage->held)
        weir_rebalance_release(stage->consumer);
    weir_consumer_close(stage->consumer, timeout_ms);
    stage->consumer = NULL;
}

int64_t pipe_inputs_lag(const struct pipe_stage *stage)
{
    int64_t lag = 0;

    for (struct list *node = stage->inputs.next; node != &stage->inputs; node = node->next) {
        const struct pipe_input *input = input_of(node);
        int64_t low;
        int64_t high = -1;
        int64_t position = 0;
        const char *topic = stage->options->from;
        if (input->lost ||
            weir_consumer_watermarks(stage->consumer, topic, input->partition, &low, &high) != 0 ||
            weir_consumer_position(stage->consumer, topic, input->partition, &position) != 0)
            continue;
        if (high > position && position >= 0)
            lag += high - position;
        lag += (int64_t)input->lane.count;
    }
    return lag;
}
