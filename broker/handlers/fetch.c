// SPDX-License-Identifier: Apache-2.0
// Fetch: reads partitions, waiting for data when the client asks to.
//
// States, and what ends them:
//   READING    one pass over all partitions, in the order of the request, a window at a time so
//              that what is asked for stays near max_bytes -> REPLY when there is enough, an error,
//              no time left or an interruption; else -> RELEASING
//   RELEASING  gives back the too little that was read -> WAITING
//   WAITING    a watch on every partition and a timer -> STOPPING when one of them fires
//   STOPPING   the other watches are cancelled -> READING again, or REPLY with nothing when time is
//              over and there was nothing
//
// Invariants
//  1. `outstanding` counts the operations that will call back, plus one while this file itself is
//     starting some; a state ends when it is 0. So nothing is replied while anything is in flight.
//  2. Slices that were read are released exactly once: in RELEASING, when a pass ends with more
//     than is allowed, or after the reply has left.
//  3. The first partition with data gives at least one batch, however large; the others keep to
//     their limits.
//
//  4. A session (broker/fetch_session.h) that the request is part of is held from the decoded
//     request until the reply is encoded, or the request is aborted.
//
// Records go from the log to the socket without a copy.
#include <errno.h>

#include "base/check.h"
#include "base/random.h"
#include "broker/config.h"
#include "broker/fetch_session.h"
#include "broker/handlers/data_path.h"
#include "broker/handlers/handlers.h"
#include "broker/listener.h"
#include "broker/shard.h"
#include "gen/kp_fetch.h"
#include "protocol/error.h"

enum {
    READ_COMMITTED = 1,
    FIRST_WITH_TOPIC_IDS = 13,
    NO_MEMORY_PAUSE_MS = 100, // before another look when memory is short
};

static const uint64_t ns_per_ms = 1000000;

enum fetch_state { FETCH_READING, FETCH_RELEASING, FETCH_WAITING, FETCH_STOPPING, FETCH_REPLIED };

struct fetch_part {
    struct fetch *fetch;
    struct kp_fetch_response_partition *out;
    struct fetch_session_part *member; // NULL without a session
    struct partition_op op;
    struct partition_read *read; // held while it has slices
    int64_t offset;
    int64_t max_bytes;
    int64_t allowed; // in the present pass
    int16_t error;
    bool watching;
    bool surplus; // was read, but goes beyond the limits
    struct log_offsets offsets;
};

// Memory of a read that is not in use, to be used again.
union any_read {
    struct partition_read read;
    union any_read *next_idle;
};

struct fetch {
    struct request *request;
    struct kp_fetch_request in;
    struct kp_fetch_response out;
    struct fetch_part *parts;
    uint32_t part_count;
    struct fetch_session *session;
    bool incremental; // the reply lists what is new
    enum fetch_state state;
    uint32_t next; // first partition not yet read in this pass
    uint32_t outstanding;
    int64_t max_bytes; // of this pass
    int64_t bytes;     // read in this pass
    int64_t asked;     // by reads in flight
    bool error;        // some partition has one
    bool starved;      // memory is short: there may be data that was not read
    bool last;         // no more waiting
    bool replying;     // what is released is the surplus only
    bool partial;      // the last pass has found something, but not enough
    bool fired;        // a watch has, since the last pass
    uint64_t deadline_ns;
    struct timer timer;
    union any_read *idle_reads;
    // Of an incremental reply.
    struct kp_fetch_response_partition *outs;
    const struct fetch_session_topic *listed; // last
};

static void begin_pass(struct fetch *fetch);
static void state_done(struct fetch *fetch);

static void one_done(struct fetch *fetch)
{
    CHECK(fetch->outstanding > 0);
    if (--fetch->outstanding == 0)
        state_done(fetch);
}

static void fail(struct fetch_part *part, int16_t error)
{
    part->error = error;
    part->fetch->error = true;
}

static struct partition_read *take_read(struct fetch *fetch)
{
    union any_read *any = fetch->idle_reads;
    if (any)
        fetch->idle_reads = any->next_idle;
    else
        any = arena_raw(&fetch->request->arena, sizeof(*any));
    return any ? &any->read : NULL;
}

static void put_read(struct fetch *fetch, struct partition_read *read)
{
    union any_read *any = (union any_read *)read;
    any->next_idle = fetch->idle_reads;
    fetch->idle_reads = any;
}

// --- the reply --------------------------------------------------------------------------------

static void let_go(struct partition_op *op)
{
    struct fetch_part *part = op->context;
    request_let_go(part->fetch->request);
}

static void cleanup(struct request *request)
{
    struct fetch *fetch = request->state;
    for (uint32_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (!part->read)
            continue;
        request_hold(request);
        partition_release(&part->op, false, let_go);
    }
}

static void fill_part(const struct fetch *fetch, struct fetch_part *part)
{
    struct kp_fetch_response_partition *out = part->out;
    out->error_code = part->error;
    out->records.size = 0;
    bool known = !part->error || part->error == KP_ERROR_OFFSET_OUT_OF_RANGE;
    out->high_watermark = known ? part->offsets.committed : -1;
    // Without transactions everything that is committed is stable.
    out->last_stable_offset = out->high_watermark;
    out->log_start_offset = known ? part->offsets.start : -1;
    out->aborted_transactions_count = fetch->in.isolation_level == READ_COMMITTED ? 0 : -1;
    if (part->read) {
        out->records.slices = part->read->log.slices;
        out->records.slice_count = part->read->log.slice_count;
        out->records.size = (int64_t)part->read->log.size;
    }
}

static void leave_session(struct fetch *fetch)
{
    if (fetch->session)
        fetch_sessions_end(fetch->request->shard->fetch_sessions, fetch->session);
    fetch->session = NULL;
}

// The next one in the reply, which moves forward to where it belongs.
static void list_part(struct fetch *fetch, const struct fetch_part *part)
{
    struct kp_fetch_response *out = &fetch->out;
    const struct fetch_session_topic *topic = part->member->topic;
    struct kp_fetch_response_topic *last = NULL;
    struct kp_fetch_response_partition *next = fetch->outs;
    if (out->responses_count > 0) {
        last = &out->responses[out->responses_count - 1];
        next = last->partitions + last->partitions_count;
    }
    if (!last || topic != fetch->listed) {
        last = &out->responses[out->responses_count++];
        *last = (struct kp_fetch_response_topic){
            .topic = topic->name, .topic_id = topic->id, .partitions = next};
        fetch->listed = topic;
    }
    last->partitions_count++;
    if (next != part->out)
        *next = *part->out;
}

// What the client was told is noted, and an incremental reply lists the news alone.
static void tell_session(struct fetch *fetch)
{
    fetch->out.session_id = fetch->session->id;
    for (uint32_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        // Forgotten by the very request that names it.
        if (!part->member)
            continue;
        bool news = fetch_session_tell(fetch->session, part->member, part->out);
        if (fetch->incremental && news)
            list_part(fetch, part);
    }
}

static void reply(struct fetch *fetch)
{
    struct request *request = fetch->request;
    fetch->state = FETCH_REPLIED;
    timer_cancel(&request->shard->timers, &fetch->timer);
    for (uint32_t i = 0; i < fetch->part_count; i++)
        fill_part(fetch, &fetch->parts[i]);
    if (fetch->session)
        tell_session(fetch);
    request->cleanup = cleanup;
    request->interrupt = NULL;
    request_begin_reply(request);
    kp_fetch_response_encode(&request->reply, request->version, &fetch->out);
    leave_session(fetch);
    request_reply(request);
}

// --- READING ----------------------------------------------------------------------------------

static void read_done(struct partition_op *op)
{
    struct fetch_part *part = op->context;
    struct fetch *fetch = part->fetch;
    struct partition_read *read = op->read;
    part->offsets = op->offsets;
    fetch->asked -= part->allowed;
    if (op->error == -ENOMEM)
        fetch->starved = true;
    else if (op->error)
        fail(part, data_path_error(op->error));
    if (!op->error && read->log.size > 0) {
        part->read = read;
        fetch->bytes += (int64_t)read->log.size;
    } else {
        put_read(fetch, read);
    }
    one_done(fetch);
}

// For partitions that get nothing in this pass: their offsets are still told.
static void offsets_done(struct partition_op *op)
{
    struct fetch_part *part = op->context;
    part->offsets = op->offsets;
    if (op->error)
        fail(part, data_path_error(op->error));
    else if (part->offset < op->offsets.start || part->offset > op->offsets.end)
        fail(part, KP_ERROR_OFFSET_OUT_OF_RANGE);
    one_done(part->fetch);
}

static void start_part(struct fetch_part *part, int64_t left)
{
    struct fetch *fetch = part->fetch;
    struct partition_read *read = left > 0 ? take_read(fetch) : NULL;
    if (left > 0 && !read)
        fetch->starved = true;
    part->op.context = part;
    fetch->outstanding++;
    if (!read) {
        part->op.kind = PARTITION_OFFSETS;
        part->op.done = offsets_done;
        partition_start(fetch->request->shard, &part->op);
        return;
    }
    part->allowed = part->max_bytes < left ? part->max_bytes : left;
    part->allowed = part->allowed < 0 ? 0 : part->allowed;
    fetch->asked += part->allowed;
    read->log.offset = part->offset;
    read->log.max_bytes = (uint32_t)part->allowed;
    read->log.at_least_one = fetch->bytes == 0;
    part->op.kind = PARTITION_READ;
    part->op.done = read_done;
    part->op.read = read;
    partition_start(fetch->request->shard, &part->op);
}

// Starts as many reads as may be in flight together.
static void read_window(struct fetch *fetch)
{
    for (; fetch->next < fetch->part_count; fetch->next++) {
        struct fetch_part *part = &fetch->parts[fetch->next];
        int64_t left = fetch->max_bytes - fetch->bytes - fetch->asked;
        if (left <= 0 && fetch->asked > 0)
            return;
        if (!part->error)
            start_part(part, left);
    }
}

// Drops what goes beyond a limit because several partitions were read at a time, each of them in
// the belief that it might be the first.
static void keep_to_limits(struct fetch *fetch)
{
    bool first = true;
    for (uint32_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (!part->read)
            continue;
        bool over = (int64_t)part->read->log.size > part->allowed;
        part->surplus = over && !first;
        first = false;
    }
}

static bool is_over(const struct fetch *fetch)
{
    return fetch->last || fetch->request->shard->io->now_ns >= fetch->deadline_ns;
}

static bool is_enough(const struct fetch *fetch)
{
    return fetch->error || fetch->part_count == 0 || fetch->bytes >= fetch->in.min_bytes ||
           is_over(fetch);
}

static void released(struct partition_op *op)
{
    struct fetch_part *part = op->context;
    put_read(part->fetch, part->read);
    part->read = NULL;
    one_done(part->fetch);
}

static void release(struct fetch *fetch, bool only_surplus)
{
    fetch->outstanding++;
    for (uint32_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (!part->read || (only_surplus && !part->surplus))
            continue;
        fetch->outstanding++;
        partition_release(&part->op, true, released);
    }
    one_done(fetch);
}

// --- WAITING ----------------------------------------------------------------------------------

static void stop_waiting(struct fetch *fetch)
{
    fetch->state = FETCH_STOPPING;
    timer_cancel(&fetch->request->shard->timers, &fetch->timer);
    for (uint32_t i = 0; i < fetch->part_count; i++) {
        if (fetch->parts[i].watching)
            partition_cancel_watch(&fetch->parts[i].op);
    }
}

static void watch_done(struct partition_op *op)
{
    struct fetch_part *part = op->context;
    struct fetch *fetch = part->fetch;
    part->watching = false;
    fetch->fired = fetch->fired || !op->watch.cancelled;
    if (fetch->state == FETCH_WAITING)
        stop_waiting(fetch);
    one_done(fetch);
}

static void timer_expired(struct timer *timer)
{
    struct fetch *fetch = list_entry(timer, struct fetch, timer);
    // It may have been set to look again earlier.
    fetch->last = fetch->last || timer->due_ns >= fetch->deadline_ns;
    fetch->outstanding++;
    stop_waiting(fetch);
    one_done(fetch);
}

static void watch_all(struct fetch *fetch)
{
    struct shard *shard = fetch->request->shard;
    fetch->state = FETCH_WAITING;
    uint64_t due = fetch->deadline_ns;
    uint64_t soon = shard->io->now_ns + NO_MEMORY_PAUSE_MS * ns_per_ms;
    if (fetch->starved && soon < due)
        due = soon;
    // Without memory for the timer the wait is cut short: its outstanding one stays out.
    bool timed = timer_set(&shard->timers, &fetch->timer, due) == 0;
    fetch->outstanding++;
    for (uint32_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        part->op.kind = PARTITION_WATCH;
        part->op.done = watch_done;
        part->op.watch.op.offset =
            part->offset > part->offsets.committed ? part->offset : part->offsets.committed;
        part->watching = true;
        fetch->outstanding++;
        partition_start(shard, &part->op);
    }
    if (!timed)
        stop_waiting(fetch);
    one_done(fetch);
}

// The client has gone, or the broker stops.
static void interrupt(struct request *request)
{
    struct fetch *fetch = request->state;
    fetch->last = true;
    if (fetch->state == FETCH_WAITING)
        timer_expired(&fetch->timer);
}

// --- from state to state ----------------------------------------------------------------------

static void state_done(struct fetch *fetch)
{
    switch (fetch->state) {
    case FETCH_READING:
        fetch->outstanding++;
        read_window(fetch);
        if (--fetch->outstanding > 0)
            return;
        keep_to_limits(fetch);
        fetch->partial = fetch->bytes > 0;
        fetch->replying = is_enough(fetch);
        fetch->state = FETCH_RELEASING;
        release(fetch, fetch->replying);
        return;
    case FETCH_RELEASING:
        if (fetch->replying)
            reply(fetch);
        else
            watch_all(fetch);
        return;
    case FETCH_WAITING:
    case FETCH_STOPPING:
        // When nothing has happened there is nothing to read.
        if (is_over(fetch) && !fetch->fired && !fetch->partial && !fetch->starved)
            reply(fetch);
        else
            begin_pass(fetch);
        return;
    case FETCH_REPLIED:
        return;
    }
}

static void begin_pass(struct fetch *fetch)
{
    struct request *request = fetch->request;
    size_t budget = listener_reply_budget(request->shard->listener);
    int64_t most = config_number(request->shard->config, SETTING_FETCH_MAX_BYTES);
    most = fetch->in.max_bytes < most ? fetch->in.max_bytes : most;
    fetch->starved = budget == 0;
    fetch->fired = false;
    fetch->max_bytes = most < 1 ? 1 : most;
    if ((size_t)fetch->max_bytes > budget)
        fetch->max_bytes = (int64_t)budget;
    fetch->next = 0;
    fetch->bytes = 0;
    fetch->asked = 0;
    fetch->state = FETCH_READING;
    state_done(fetch);
}

// --- the request ------------------------------------------------------------------------------

static void add_part(struct fetch *fetch, const struct catalog_topic *topic, int16_t error,
                     const struct kp_fetch_request_partition *in,
                     struct kp_fetch_response_partition *out)
{
    struct fetch_part *part = &fetch->parts[fetch->part_count++];
    kp_fetch_response_partition_init(out);
    out->partition_index = in->partition;
    part->fetch = fetch;
    part->out = out;
    part->offset = in->fetch_offset;
    part->max_bytes = in->partition_max_bytes;
    if (!error)
        error = data_path_partition(topic, in->partition, &part->op.key);
    if (!error)
        error = data_path_epoch(in->current_leader_epoch);
    if (error)
        fail(part, error);
}

static int add_topic(struct fetch *fetch, const struct kp_fetch_request_topic *in,
                     struct kp_fetch_response_topic *out)
{
    struct request *request = fetch->request;
    out->topic = in->topic;
    out->topic_id = in->topic_id;
    out->partitions =
        arena_array(&request->arena, (size_t)in->partitions_count, sizeof(*out->partitions));
    if (!out->partitions)
        return -ENOMEM;
    out->partitions_count = in->partitions_count;
    int16_t error;
    const struct catalog_topic *topic = data_path_topic(request, in->topic, in->topic_id, &error);
    for (int32_t i = 0; i < in->partitions_count; i++)
        add_part(fetch, topic, error, &in->partitions[i], &out->partitions[i]);
    if (fetch->session) {
        struct fetch_part *parts =
            &fetch->parts[fetch->part_count - (uint32_t)in->partitions_count];
        for (int32_t i = 0; i < in->partitions_count; i++)
            parts[i].member = fetch_session_find(fetch->session, in, in->partitions[i].partition);
    }
    return 0;
}

// Lays out the reply and the parts. 0 or -ENOMEM.
static int prepare(struct fetch *fetch)
{
    struct arena *arena = &fetch->request->arena;
    const struct kp_fetch_request *in = &fetch->in;
    size_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++)
        count += (size_t)in->topics[i].partitions_count;
    fetch->parts = arena_array(arena, count, sizeof(*fetch->parts));
    fetch->out.responses =
        arena_array(arena, (size_t)in->topics_count, sizeof(*fetch->out.responses));
    if (!fetch->parts || !fetch->out.responses)
        return -ENOMEM;
    for (int32_t i = 0; i < in->topics_count; i++) {
        if (add_topic(fetch, &in->topics[i], &fetch->out.responses[i]) != 0)
            return -ENOMEM;
        fetch->out.responses_count++;
    }
    return 0;
}

// The parts are those of the session, in its order. 0 or -ENOMEM.
static int prepare_incremental(struct fetch *fetch)
{
    struct request *request = fetch->request;
    uint32_t count = fetch->session->part_count;
    fetch->incremental = true;
    fetch->parts = arena_array(&request->arena, count, sizeof(*fetch->parts));
    fetch->outs = arena_array(&request->arena, count, sizeof(*fetch->outs));
    if (!fetch->parts || !fetch->outs)
        return -ENOMEM;
    const struct fetch_session_topic *of = NULL;
    const struct catalog_topic *topic = NULL;
    int16_t error = 0;
    size_t runs = 0;
    list_each(node, &fetch->session->parts) {
        struct fetch_session_part *member = list_entry(node, struct fetch_session_part, node);
        if (member->topic != of) {
            of = member->topic;
            topic = data_path_topic(request, of->name, of->id, &error);
            runs++;
        }
        uint32_t at = fetch->part_count;
        add_part(fetch, topic, error, &member->in, &fetch->outs[at]);
        fetch->parts[at].member = member;
    }
    // Leaving out partitions makes no more runs.
    fetch->out.responses = arena_array(&request->arena, runs, sizeof(*fetch->out.responses));
    return fetch->out.responses ? 0 : -ENOMEM;
}

// NULL without memory.
static struct fetch_sessions *sessions_of(struct shard *shard)
{
    if (shard->fetch_sessions)
        return shard->fetch_sessions;
    uint32_t slots = (uint32_t)config_number(shard->config, SETTING_FETCH_SESSION_SLOTS);
    uint32_t shards = shard_count(shard);
    uint64_t seed;
    random_system(&seed, sizeof(seed));
    shard->fetch_sessions = fetch_sessions_create((slots + shards - 1) / shards, seed);
    return shard->fetch_sessions;
}

// The error for the whole answer, or 0 and the session that the request is part of, if any.
static int16_t enter_session(struct fetch *fetch)
{
    const struct kp_fetch_request *in = &fetch->in;
    if (in->session_epoch == -1 && in->session_id == 0)
        return KP_ERROR_NONE;
    struct shard *shard = fetch->request->shard;
    struct fetch_sessions *sessions = sessions_of(shard);
    if (!sessions) // nobody has got a session yet
        return in->session_epoch > 0 ? KP_ERROR_FETCH_SESSION_ID_NOT_FOUND : KP_ERROR_NONE;
    bool by_id = fetch->request->version >= FIRST_WITH_TOPIC_IDS;
    return fetch_sessions_begin(sessions, in, by_id, shard->io->now_ns, &fetch->session);
}

void handle_fetch(struct request *request)
{
    struct fetch *fetch = arena_alloc(&request->arena, sizeof(*fetch));
    if (!fetch) {
        request_abort(request, "no memory for the request");
        return;
    }
    fetch->request = request;
    fetch->timer.expired = timer_expired;
    int decoded =
        kp_fetch_request_decode(&request->body, request->version, &request->arena, &fetch->in);
    if (request_is_malformed(request, decoded))
        return;
    kp_fetch_response_init(&fetch->out);
    request->state = fetch;
    fetch->out.error_code = enter_session(fetch);
    if (fetch->out.error_code) {
        reply(fetch);
        return;
    }
    bool incremental = fetch->session && fetch->in.session_epoch > 0;
    if ((incremental ? prepare_incremental(fetch) : prepare(fetch)) != 0) {
        leave_session(fetch);
        request_abort(request, "no memory for the request");
        return;
    }
    int32_t wait_ms = fetch->in.max_wait_ms < 0 ? 0 : fetch->in.max_wait_ms;
    fetch->deadline_ns = request->received_ns + (uint64_t)wait_ms * ns_per_ms;
    fetch->last = request->shard->stopping;
    request->interrupt = interrupt;
    begin_pass(fetch);
}
