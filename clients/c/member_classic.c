// SPDX-License-Identifier: Apache-2.0
// The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//
// Invariants
//  1. An eager member joins when it holds nothing; a cooperative one when it is giving nothing up,
//     and says what it holds.
//  2. JoinGroup and SyncGroup, which the broker answers when all members are there, go over a
//     connection of their own, so that commits and other requests never wait behind them.
//  3. No heartbeat is sent between JoinGroup and SyncGroup's answer: to the broker the request that
//     waits is a sign of life.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/consumer.h"
#include "clients/c/error.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_sync_group.h"
#include "protocol/error.h"

static const char protocol_type[] = "consumer";
static const char strategies[] = "range,cooperative-sticky"; // unless others are set

static struct member *member_of(struct call *call)
{
    return list_entry(call, struct member, call);
}

static struct span instance_id(const struct member *member)
{
    return member_is_static(member) ? span_text(member->consumer->config.group_instance_id)
                                    : (struct span){0};
}

// The broker does not know the member any more, or not in this generation.
static void forgotten(struct member *member)
{
    if (member->code == KP_ERROR_UNKNOWN_MEMBER_ID) {
        member->id[0] = '\0';
        member->present = false;
    }
    member_lose(member);
}

// A joining or syncing that the broker has refused.
static void round_refused(struct member *member)
{
    switch (member->code) {
    case KP_ERROR_REBALANCE_IN_PROGRESS:
        member_retry(member);
        break;
    case KP_ERROR_UNKNOWN_MEMBER_ID:
    case KP_ERROR_ILLEGAL_GENERATION:
        forgotten(member);
        break;
    default:
        member_fail_code(member);
    }
}

// ------------------------------------------------------------------------------------- join

// What the member had when it was assigned something last.
static bool assigned_before(const struct member *member, struct arena *arena,
                            struct topic_shares *out)
{
    out->topics = arena_array(arena, member->target_count + 1, sizeof(*out->topics));
    int32_t *partitions = arena_array(arena, member->target_count + 1, sizeof(*partitions));
    out->count = 0;
    if (!out->topics || !partitions)
        return false;
    for (size_t i = 0; i < member->target_count; i++) {
        partitions[i] = member->target[i].partition;
        if (i == 0 || member->target[i].topic != member->target[i - 1].topic)
            out->topics[out->count++] = (struct topic_share){
                .topic = span_text(member->target[i].topic->name), .partitions = &partitions[i]};
        out->topics[out->count - 1].partition_count++;
    }
    return true;
}

// The metadata for one strategy. Absent when memory is short.
static struct span metadata_encode(const struct member *member, struct arena *arena,
                                   struct span strategy)
{
    const struct subscription *names = &member->subscription;
    bool sticky = span_equal(strategy, span_text("sticky"));
    bool cooperative = span_equal(strategy, span_text("cooperative-sticky"));
    struct member_subscription subscription = {
        .topics = arena_array(arena, names->count + 1, sizeof(struct span)),
        .topic_count = (int32_t)names->count,
        .generation = sticky ? member->classics.target_generation : member->generation,
    };
    bool sound =
        subscription.topics && (sticky ? assigned_before(member, arena, &subscription.owned)
                                       : member_owned(member, arena, false, &subscription.owned));
    if (!sound)
        return (struct span){0};
    for (size_t i = 0; i < names->count; i++)
        subscription.topics[i] = span_text(names->names[i]);
    struct kp_writer writer;
    kp_writer_init(&writer, arena);
    member_subscription_write(&writer, &subscription,
                              sticky        ? USER_DATA_STICKY
                              : cooperative ? USER_DATA_COOPERATIVE_STICKY
                                            : USER_DATA_NONE);
    return writer.failed ? (struct span){0} : span_of(writer.data, writer.size);
}

static void join_encode(struct call *call, struct kp_writer *writer)
{
    enum { STRATEGIES_MAX = 8 };
    struct member *member = member_of(call);
    const struct config *config = &member->consumer->config;
    struct kp_join_group_request message;
    struct kp_join_group_request_protocol protocols[STRATEGIES_MAX];
    kp_join_group_request_init(&message);
    message.group_id = span_text(config->group_id);
    message.session_timeout_ms = (int32_t)config->session_timeout_ms;
    message.rebalance_timeout_ms = (int32_t)config->max_poll_interval_ms;
    message.member_id = span_text(member->id);
    message.group_instance_id = instance_id(member);
    message.protocol_type = span_text(protocol_type);
    message.protocols = protocols;
    message.reason = span_text("");
    const char *at = config->assignment_strategy[0] ? config->assignment_strategy : strategies;
    while (*at && message.protocols_count < STRATEGIES_MAX) {
        size_t size = strcspn(at, ",");
        struct kp_join_group_request_protocol *protocol = &protocols[message.protocols_count++];
        kp_join_group_request_protocol_init(protocol);
        protocol->name = span_of(at, size);
        protocol->metadata = metadata_encode(member, writer->arena, protocol->name);
        if (!protocol->metadata.data)
            kp_writer_fail(writer);
        at += size + (at[size] == ',');
    }
    if (!writer->failed)
        kp_join_group_request_encode(writer, call->request.version, &message);
}

static bool text_take(char *to, size_t size, struct span from)
{
    if (from.size >= size || (from.size > 0 && memchr(from.data, '\0', from.size)))
        return false;
    if (from.size > 0)
        memcpy(to, from.data, from.size);
    to[from.size] = '\0';
    return true;
}

static int join_decode(struct call *call, struct reply *reply)
{
    struct member *member = member_of(call);
    struct member_classic *classics = &member->classics;
    struct kp_join_group_response message;
    if (kp_join_group_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    int error = member_answered(member, message.error_code, (struct span){0});
    if (error)
        return error;
    bool told = member->code == 0 || member->code == KP_ERROR_MEMBER_ID_REQUIRED;
    if (told && !text_take(member->id, sizeof(member->id), message.member_id))
        return WEIR_ERR_CORRUPT;
    if (member->code != 0)
        return WEIR_OK;
    if (message.generation_id < 0 ||
        !text_take(classics->protocol_name, sizeof(classics->protocol_name), message.protocol_name))
        return WEIR_ERR_CORRUPT;
    member->generation = message.generation_id;
    classics->leader = span_equal(message.leader, message.member_id);
    classics->skip = message.skip_assignment;
    return classics->leader && !lead_begin(member, &message) ? WEIR_ERR_NO_MEMORY : WEIR_OK;
}

static void sync_start(struct member *member);

static void join_start(struct member *member);

static void join_done(struct call *call)
{
    struct member *member = member_of(call);
    struct weir_consumer *consumer = member->consumer;
    member->calling = false;
    consumer->worker.due = true;
    if (call->error) {
        member_fail_call(member);
        return;
    }
    switch (member->code) {
    case 0:
        client_forget_refusal(consumer->client, member);
        if (!member->classics.leader)
            sync_start(member);
        else
            member->state = MEMBER_LEADING;
        break;
    case KP_ERROR_MEMBER_ID_REQUIRED:
        join_start(member);
        break;
    default:
        round_refused(member);
    }
}

static void join_start(struct member *member)
{
    member->state = MEMBER_JOINING;
    member->present = true;
    member->rejoin = false;
    member->joined_version = member->subscription.version;
    member_call(member, (struct member_ask){
                            .api_key = KP_JOIN_GROUP_KEY,
                            .parks = true,
                            .encode = join_encode,
                            .decode = join_decode,
                            .done = join_done,
                        });
}

// ------------------------------------------------------------------------------------- sync

static struct span assignment_encode(const struct assignor *assignor,
                                     const struct assignor_member *member, struct arena *arena)
{
    struct topic_shares shares = {
        .topics = arena_array(arena, member->assigned_count + 1, sizeof(*shares.topics))};
    int32_t *partitions = arena_array(arena, member->assigned_count + 1, sizeof(*partitions));
    if (!shares.topics || !partitions)
        return (struct span){0};
    for (size_t i = 0; i < member->assigned_count; i++) {
        partitions[i] = member->assigned[i].partition;
        if (i == 0 || member->assigned[i].topic != member->assigned[i - 1].topic)
            shares.topics[shares.count++] =
                (struct topic_share){.topic = assignor->topics[member->assigned[i].topic].name,
                                     .partitions = &partitions[i]};
        shares.topics[shares.count - 1].partition_count++;
    }
    struct kp_writer writer;
    kp_writer_init(&writer, arena);
    member_assignment_write(&writer, &shares);
    return writer.failed ? (struct span){0} : span_of(writer.data, writer.size);
}

static void sync_encode(struct call *call, struct kp_writer *writer)
{
    struct member *member = member_of(call);
    const struct assignor *assignor = &member->classics.assignor;
    struct kp_sync_group_request message;
    kp_sync_group_request_init(&message);
    message.group_id = span_text(member->consumer->config.group_id);
    message.generation_id = member->generation;
    message.member_id = span_text(member->id);
    message.group_instance_id = instance_id(member);
    message.protocol_type = span_text(protocol_type);
    message.protocol_name = span_text(member->classics.protocol_name);
    size_t count = member->classics.leader && !member->classics.skip ? assignor->member_count : 0;
    message.assignments = arena_array(writer->arena, count, sizeof(*message.assignments));
    message.assignments_count = (int32_t)count;
    bool sound = message.assignments;
    for (size_t i = 0; i < count && sound; i++) {
        struct kp_sync_group_request_assignment *to = &message.assignments[i];
        kp_sync_group_request_assignment_init(to);
        to->member_id = assignor->members[i].id;
        to->assignment = assignment_encode(assignor, &assignor->members[i], writer->arena);
        sound = to->assignment.data;
    }
    if (sound)
        kp_sync_group_request_encode(writer, call->request.version, &message);
    else
        kp_writer_fail(writer);
}

// Partitions that are named twice, or cannot be, are the leader's fault, and left out.
static int target_store(struct member *member, struct span bytes, struct arena *arena)
{
    struct topic_shares shares;
    size_t count = 0;
    if (!member_assignment_read(bytes, arena, &shares))
        return WEIR_ERR_CORRUPT;
    for (int32_t t = 0; t < shares.count; t++)
        count += (size_t)shares.topics[t].partition_count;
    struct member_target *target = arena_array(arena, count, sizeof(*target));
    if (!target)
        return WEIR_ERR_NO_MEMORY;
    count = 0;
    for (int32_t t = 0; t < shares.count; t++) {
        const struct topic_share *share = &shares.topics[t];
        char *name = arena_text(arena, share->topic.data, share->topic.size);
        struct metadata_topic *topic =
            name ? metadata_topic(&member->consumer->client->metadata, name, false) : NULL;
        if (!topic)
            return WEIR_ERR_NO_MEMORY;
        for (int32_t p = 0; p < share->partition_count; p++) {
            if (share->partitions[p] >= 0)
                target[count++] =
                    (struct member_target){.topic = topic, .partition = share->partitions[p]};
        }
    }
    return member_aim(member, target, count) ? WEIR_OK : WEIR_ERR_NO_MEMORY;
}

static int sync_decode(struct call *call, struct reply *reply)
{
    struct member *member = member_of(call);
    struct kp_sync_group_response message;
    if (kp_sync_group_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    int error = member_answered(member, message.error_code, (struct span){0});
    if (error || member->code)
        return error;
    member->classics.target_generation = member->generation;
    return target_store(member, message.assignment, reply->arena);
}

static void sync_done(struct call *call)
{
    struct member *member = member_of(call);
    struct weir_consumer *consumer = member->consumer;
    member->calling = false;
    consumer->worker.due = true;
    arena_reset(&member->classics.round);
    if (call->error) {
        member_fail_call(member);
        return;
    }
    if (member->code) {
        round_refused(member);
        return;
    }
    member->state = MEMBER_IN;
    member->attempts = 0;
    member->heartbeat_ms = consumer->config.heartbeat_interval_ms;
    member->due_ns = consumer->client->now_ns + (uint64_t)member->heartbeat_ms * MS;
}

static void sync_start(struct member *member)
{
    member->state = MEMBER_SYNCING;
    member_call(member, (struct member_ask){
                            .api_key = KP_SYNC_GROUP_KEY,
                            .parks = true,
                            .encode = sync_encode,
                            .decode = sync_decode,
                            .done = sync_done,
                        });
}

// ------------------------------------------------------------------------------------- heartbeat

static void heartbeat_encode(struct call *call, struct kp_writer *writer)
{
    const struct member *member = member_of(call);
    struct kp_heartbeat_request message;
    kp_heartbeat_request_init(&message);
    message.group_id = span_text(member->consumer->config.group_id);
    message.generation_id = member->generation;
    message.member_id = span_text(member->id);
    message.group_instance_id = instance_id(member);
    kp_heartbeat_request_encode(writer, call->request.version, &message);
}

static int heartbeat_decode(struct call *call, struct reply *reply)
{
    struct kp_heartbeat_response message;
    if (kp_heartbeat_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    return member_answered(member_of(call), message.error_code, (struct span){0});
}

static void heartbeat_done(struct call *call)
{
    struct member *member = member_of(call);
    struct weir_consumer *consumer = member->consumer;
    member->calling = false;
    consumer->worker.due = true;
    member->due_ns = consumer->client->now_ns + (uint64_t)member->heartbeat_ms * MS;
    if (call->error) {
        member_fail_call(member);
        return;
    }
    switch (member->code) {
    case 0:
        break;
    case KP_ERROR_REBALANCE_IN_PROGRESS:
        member->rejoin = true;
        break;
    case KP_ERROR_UNKNOWN_MEMBER_ID:
    case KP_ERROR_ILLEGAL_GENERATION:
        forgotten(member);
        break;
    default:
        member_fail_code(member);
    }
}

static void heartbeat_consider(struct member *member)
{
    if (member->calling || member->due_ns > member->consumer->client->now_ns)
        return;
    member_call(member, (struct member_ask){
                            .api_key = KP_HEARTBEAT_KEY,
                            .encode = heartbeat_encode,
                            .decode = heartbeat_decode,
                            .done = heartbeat_done,
                        });
}

// ------------------------------------------------------------------------------------- leave

static void leave_encode(struct call *call, struct kp_writer *writer)
{
    const struct member *member = member_of(call);
    struct kp_leave_group_request message;
    struct kp_leave_group_request_member self;
    kp_leave_group_request_init(&message);
    kp_leave_group_request_member_init(&self);
    message.group_id = span_text(member->consumer->config.group_id);
    message.member_id = self.member_id = span_text(member->id);
    self.reason = span_text(member->closing ? "the consumer is closed" : "it unsubscribed");
    message.members = &self;
    message.members_count = 1;
    kp_leave_group_request_encode(writer, call->request.version, &message);
}

static int leave_decode(struct call *call, struct reply *reply)
{
    struct kp_leave_group_response message;
    if (kp_leave_group_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    return member_answered(member_of(call), message.error_code, (struct span){0});
}

static void left(struct member *member)
{
    member->present = false;
    member->id[0] = '\0';
    member->state = MEMBER_OUT;
    member->due_ns = member->consumer->client->now_ns;
    member->consumer->worker.due = true;
}

static void leave_done(struct call *call)
{
    struct member *member = member_of(call);
    member->calling = false;
    left(member); // whatever the answer: a member that stays silent is put out
}

void classic_leave(struct member *member)
{
    if (member_is_static(member) || !member->id[0]) {
        left(member);
        return;
    }
    member_call(member, (struct member_ask){
                            .api_key = KP_LEAVE_GROUP_KEY,
                            .encode = leave_encode,
                            .decode = leave_decode,
                            .done = leave_done,
                        });
}

// ------------------------------------------------------------------------------------- driving

// Gives up what has to be given up before joining. True when that is done.
static bool join_prepare(struct member *member)
{
    if (!member->releasing)
        release_start(member, member->classics.cooperative ? RELEASE_UNSUBSCRIBED : RELEASE_ALL);
    return !member->releasing && !release_untold(member);
}

static bool rejoin_needed(const struct member *member)
{
    return member->rejoin || member->joined_version != member->subscription.version ||
           lead_outdated(member);
}

void classic_drive(struct member *member)
{
    const struct weir_client *client = member->consumer->client;
    switch (member->state) {
    case MEMBER_OUT:
        if (member->due_ns <= client->now_ns && member->subscription.listed && join_prepare(member))
            join_start(member);
        break;
    case MEMBER_LEADING:
        if (lead_ready(member) && lead_assign(member))
            sync_start(member);
        break;
    case MEMBER_IN:
        member_apply(member);
        if (member_wanted(member) && rejoin_needed(member) && join_prepare(member))
            join_start(member);
        else
            heartbeat_consider(member);
        break;
    default:
        break;
    }
}
