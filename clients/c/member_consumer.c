// SPDX-License-Identifier: Apache-2.0
// The newer protocol (KIP-848): one request, ConsumerGroupHeartbeat, with which a member joins,
// stays, says what it wants and holds, is told what to hold, and leaves.
//
// Invariants
//  1. What the broker gives is taken at once, what it takes is given up (release.c) and no longer
//     mentioned in the next heartbeat: that one tells the broker that others may have it.
//  2. A heartbeat says only what has changed since the last one that was answered; after one that
//     was not, everything.
//  3. Partitions come by topic id. One whose topic's name is not known yet is not taken before the
//     name has been asked for.
#include <stdlib.h>
#include <string.h>

#include "clients/c/consumer.h"
#include "clients/c/error.h"
#include "gen/kp_consumer_group_heartbeat.h"
#include "gen/kp_metadata.h"
#include "protocol/error.h"

enum {
    EPOCH_LEAVE = -1,
    EPOCH_AWAY = -2, // a static member that will be back
    TOPIC_NAME_MAX = 249,
    IDS_FROM = 12, // first version of Metadata that takes topic ids without names
};

static struct member *member_of(struct call *call)
{
    return list_entry(call, struct member, call);
}

// ------------------------------------------------------------------------------------- names

static struct metadata_topic *name_find(const struct member *member, struct kp_uuid id)
{
    for (size_t i = 0; i < member->newer.name_count; i++) {
        if (kp_uuid_equal(member->newer.names[i].topic_id, id))
            return member->newer.names[i].topic;
    }
    return NULL;
}

static bool name_add(struct member *member, struct kp_uuid id, struct span name)
{
    struct member_newer *newer = &member->newer;
    char text[TOPIC_NAME_MAX + 1];
    if (name.size == 0 || name.size > TOPIC_NAME_MAX || memchr(name.data, '\0', name.size))
        return true;
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    struct metadata_topic *topic = metadata_topic(&member->consumer->client->metadata, text, false);
    struct member_name *names =
        realloc(newer->names, (newer->name_count + 1) * sizeof(*newer->names));
    if (names)
        newer->names = names;
    if (!topic || !names)
        return false;
    names[newer->name_count++] = (struct member_name){.topic_id = id, .topic = topic};
    return true;
}

static void naming_encode(struct call *call, struct kp_writer *writer)
{
    const struct member *member = list_entry(call, struct member, newer.naming);
    const struct member_newer *newer = &member->newer;
    struct kp_metadata_request message;
    kp_metadata_request_init(&message);
    message.topics = arena_array(writer->arena, newer->given_count + 1, sizeof(*message.topics));
    if (!message.topics) {
        kp_writer_fail(writer);
        return;
    }
    message.topics_count = 0;
    for (size_t i = 0; i < newer->given_count; i++) {
        struct kp_uuid id = newer->given[i].topic_id;
        bool again = i > 0 && kp_uuid_equal(newer->given[i - 1].topic_id, id);
        if (again || name_find(member, id))
            continue;
        struct kp_metadata_request_topic *topic = &message.topics[message.topics_count++];
        kp_metadata_request_topic_init(topic);
        topic->topic_id = id;
        topic->name = (struct span){0};
    }
    kp_metadata_request_encode(writer, call->request.version, &message);
}

static int naming_decode(struct call *call, struct reply *reply)
{
    struct member *member = list_entry(call, struct member, newer.naming);
    struct kp_metadata_response message;
    if (kp_metadata_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    for (int32_t i = 0; i < message.topics_count; i++) {
        const struct kp_metadata_response_topic *topic = &message.topics[i];
        if (topic->error_code == 0 && !name_find(member, topic->topic_id) &&
            !name_add(member, topic->topic_id, topic->name))
            return WEIR_ERR_NO_MEMORY;
    }
    return WEIR_OK;
}

static void naming_done(struct call *call)
{
    struct member *member = list_entry(call, struct member, newer.naming);
    struct weir_consumer *consumer = member->consumer;
    member->newer.naming_under_way = false;
    // A topic that is gone has no name; the broker will take its partitions back.
    member->newer.naming_due_ns = consumer->client->now_ns + (uint64_t)1000 * MS;
    member->target_new = true;
    consumer->worker.due = true;
}

static void naming_start(struct member *member)
{
    struct weir_client *client = member->consumer->client;
    if (member->newer.naming_under_way || member->newer.naming_due_ns > client->now_ns)
        return;
    member->newer.naming_under_way = true;
    member->newer.naming = (struct call){
        .client = client,
        .target = CALL_ANY,
        .api_key = KP_METADATA_KEY,
        .version_min = IDS_FROM,
        .deadline_ns = UINT64_MAX,
        .encode = naming_encode,
        .decode = naming_decode,
        .done = naming_done,
    };
    call_start(&member->newer.naming);
}

void newer_free(struct member *member)
{
    if (member->newer.naming_under_way)
        call_cancel(&member->newer.naming);
    free(member->newer.given);
    free(member->newer.names);
}

uint64_t newer_due_ns(const struct member *member)
{
    const struct member_newer *newer = &member->newer;
    return member->target_new && !newer->naming_under_way &&
                   newer->naming_due_ns > member->consumer->client->now_ns
               ? newer->naming_due_ns
               : UINT64_MAX;
}

// The target, as far as the names are known.
static void target_resolve(struct member *member)
{
    struct member_newer *newer = &member->newer;
    size_t count = 0;
    bool complete = true;
    struct member_target *target = calloc(newer->given_count + 1, sizeof(*target));
    for (size_t i = 0; i < newer->given_count && target; i++) {
        struct metadata_topic *topic = name_find(member, newer->given[i].topic_id);
        complete &= topic != NULL;
        if (topic)
            target[count++] = (struct member_target){
                .topic = topic,
                .topic_id = newer->given[i].topic_id,
                .partition = newer->given[i].partition,
            };
    }
    if (target && member_aim(member, target, count)) {
        member_apply(member);
        member->target_new |= !complete;
    }
    free(target);
    if (!complete)
        naming_start(member);
}

// ------------------------------------------------------------------------------------- heartbeat

static void names_fill(const struct member *member, struct kp_writer *writer,
                       struct kp_consumer_group_heartbeat_request *message)
{
    const struct subscription *subscription = &member->subscription;
    size_t count = subscription->pattern ? 0 : subscription->count;
    message->subscribed_topic_names = arena_array(writer->arena, count + 1, sizeof(struct span));
    if (!message->subscribed_topic_names) {
        kp_writer_fail(writer);
        return;
    }
    for (size_t i = 0; i < count; i++)
        message->subscribed_topic_names[i] = span_text(subscription->names[i]);
    message->subscribed_topic_names_count = (int32_t)count;
    // An empty pattern takes an earlier one back; a member that joins has none.
    if (subscription->pattern || member->newer.joined)
        message->subscribed_topic_regex =
            subscription->pattern ? span_text(subscription->text) : kp_empty();
}

static int id_order(const void *a, const void *b)
{
    const struct member_given *left = a, *right = b;
    int order = memcmp(left->topic_id.bytes, right->topic_id.bytes, sizeof(left->topic_id.bytes));
    return order ? order
                 : (left->partition > right->partition) - (left->partition < right->partition);
}

// What it holds, by topic id; what is being given up is still held.
static void owned_fill(const struct member *member, struct kp_writer *writer,
                       struct kp_consumer_group_heartbeat_request *message)
{
    const struct list *assignments = &member->consumer->assignments;
    size_t most = 1, count = 0;
    for (struct list *at = assignments->next; at != assignments; at = at->next)
        most++;
    struct member_given *owned = arena_array(writer->arena, most, sizeof(*owned));
    int32_t *partitions = arena_array(writer->arena, most, sizeof(*partitions));
    message->topic_partitions =
        arena_array(writer->arena, most, sizeof(*message->topic_partitions));
    message->topic_partitions_count = 0;
    if (!owned || !partitions || !message->topic_partitions) {
        kp_writer_fail(writer);
        return;
    }
    for (struct list *at = assignments->next; at != assignments; at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->claim >= CLAIM_FRESH && assignment->claim <= CLAIM_REVOKING)
            owned[count++] = (struct member_given){.topic_id = assignment->group_topic_id,
                                                   .partition = assignment->partition};
    }
    if (count > 0)
        qsort(owned, count, sizeof(*owned), id_order);
    for (size_t i = 0; i < count; i++) {
        partitions[i] = owned[i].partition;
        if (i == 0 || !kp_uuid_equal(owned[i].topic_id, owned[i - 1].topic_id)) {
            struct kp_consumer_group_heartbeat_request_topic_partition *to =
                &message->topic_partitions[message->topic_partitions_count++];
            kp_consumer_group_heartbeat_request_topic_partition_init(to);
            to->topic_id = owned[i].topic_id;
            to->partitions = &partitions[i];
        }
        message->topic_partitions[message->topic_partitions_count - 1].partitions_count++;
    }
}

static void beat_encode(struct call *call, struct kp_writer *writer)
{
    struct member *member = member_of(call);
    struct member_newer *newer = &member->newer;
    const struct config *config = &member->consumer->config;
    struct kp_consumer_group_heartbeat_request message;
    kp_consumer_group_heartbeat_request_init(&message);
    bool leaving = member->state == MEMBER_LEAVING;
    bool complete = !leaving && (newer->complete || call->attempts > 0);
    message.group_id = span_text(config->group_id);
    message.member_id = span_text(member->id);
    message.member_epoch = member->generation > 0 ? member->generation : 0;
    if (leaving)
        message.member_epoch = member_is_static(member) ? EPOCH_AWAY : EPOCH_LEAVE;
    if (member_is_static(member))
        message.instance_id = span_text(config->group_instance_id);
    if (complete) {
        message.rebalance_timeout_ms = (int32_t)config->max_poll_interval_ms;
        if (config->group_remote_assignor[0])
            message.server_assignor = span_text(config->group_remote_assignor);
    }
    message.subscribed_topic_names_count = message.topic_partitions_count = -1;
    newer->asked_ns = member->consumer->client->now_ns;
    newer->version_sent = member->subscription.version;
    newer->owned_sent = newer->owned_version;
    if (complete || (!leaving && newer->version_sent != member->joined_version))
        names_fill(member, writer, &message);
    if (complete || (!leaving && newer->owned_sent != newer->owned_known))
        owned_fill(member, writer, &message);
    if (!writer->failed)
        kp_consumer_group_heartbeat_request_encode(writer, call->request.version, &message);
}

static bool given_store(struct member *member,
                        const struct kp_consumer_group_heartbeat_response_assignment *from)
{
    size_t count = 0;
    for (int32_t t = 0; t < from->topic_partitions_count; t++)
        count += (size_t)from->topic_partitions[t].partitions_count;
    struct member_given *given = calloc(count + 1, sizeof(*given));
    if (!given)
        return false;
    count = 0;
    for (int32_t t = 0; t < from->topic_partitions_count; t++) {
        for (int32_t p = 0; p < from->topic_partitions[t].partitions_count; p++) {
            if (from->topic_partitions[t].partitions[p] >= 0)
                given[count++] =
                    (struct member_given){.topic_id = from->topic_partitions[t].topic_id,
                                          .partition = from->topic_partitions[t].partitions[p]};
        }
    }
    if (count > 0)
        qsort(given, count, sizeof(*given), id_order);
    free(member->newer.given);
    member->newer.given = given;
    member->newer.given_count = count;
    member->newer.given_ns = member->newer.asked_ns;
    member->newer.naming_due_ns = 0;
    member->target_new = true;
    return true;
}

static int beat_decode(struct call *call, struct reply *reply)
{
    struct member *member = member_of(call);
    struct kp_consumer_group_heartbeat_response message;
    if (kp_consumer_group_heartbeat_response_decode(&reply->reader, reply->version, reply->arena,
                                                    &message) != 0)
        return WEIR_ERR_CORRUPT;
    int error = member_answered(member, message.error_code, message.error_message);
    if (error || member->code || member->state == MEMBER_LEAVING)
        return error;
    member->generation = message.member_epoch;
    member->heartbeat_ms = message.heartbeat_interval_ms > 0 ? message.heartbeat_interval_ms : 1;
    if (message.assignment && !given_store(member, message.assignment))
        return WEIR_ERR_NO_MEMORY;
    return WEIR_OK;
}

// The broker does not speak the protocol, or the group does not.
static bool fall_back(struct member *member, int error)
{
    bool refused = error == WEIR_ERR_UNSUPPORTED || error == KP_ERROR_UNSUPPORTED_VERSION ||
                   error == KP_ERROR_GROUP_ID_NOT_FOUND;
    if (!refused || member->newer.joined ||
        member->consumer->config.group_protocol != GROUP_PROTOCOL_AUTO)
        return false;
    member->classic = true;
    member->present = false;
    member->id[0] = '\0';
    member->generation = -1;
    member->state = MEMBER_OUT;
    member->due_ns = member->consumer->client->now_ns;
    return true;
}

static void beat_refused(struct member *member)
{
    struct weir_consumer *consumer = member->consumer;
    switch (member->code) {
    case KP_ERROR_UNKNOWN_MEMBER_ID:
    case KP_ERROR_FENCED_MEMBER_EPOCH:
        member->present = member->newer.joined = false;
        member_lose(member);
        break;
    case KP_ERROR_UNRELEASED_INSTANCE_ID:
        // The one before may have crashed: its place is free when its session has ended.
        client_note_refusal(consumer->client, member,
                            "group '%s' still has another member with group.instance.id '%s'",
                            consumer->config.group_id, consumer->config.group_instance_id);
        member->present = false;
        member_retry(member);
        break;
    default:
        if (!fall_back(member, member->code))
            member_fail_code(member);
    }
}

static void beat_done(struct call *call)
{
    struct member *member = member_of(call);
    struct member_newer *newer = &member->newer;
    struct weir_consumer *consumer = member->consumer;
    member->calling = false;
    consumer->worker.due = true;
    if (call->error) {
        if (!fall_back(member, call->error))
            member_fail_call(member);
        return;
    }
    if (member->code) {
        beat_refused(member);
        return;
    }
    client_forget_refusal(consumer->client, member);
    member->state = MEMBER_IN;
    member->attempts = 0;
    member->due_ns = consumer->client->now_ns + (uint64_t)member->heartbeat_ms * MS;
    member->joined_version = newer->version_sent;
    newer->owned_known = newer->owned_sent;
    newer->joined = true;
    newer->complete = false;
}

static void beat_send(struct member *member)
{
    member_call(member, (struct member_ask){
                            .api_key = KP_CONSUMER_GROUP_HEARTBEAT_KEY,
                            .version_min = 1,
                            .encode = beat_encode,
                            .decode = beat_decode,
                            .done = beat_done,
                        });
}

// ------------------------------------------------------------------------------------- leaving

static void leave_done(struct call *call)
{
    struct member *member = member_of(call);
    member->calling = member->present = member->newer.joined = false;
    member->state = MEMBER_OUT;
    member->due_ns = member->consumer->client->now_ns;
    member->consumer->worker.due = true;
}

void newer_leave(struct member *member)
{
    member_call(member, (struct member_ask){
                            .api_key = KP_CONSUMER_GROUP_HEARTBEAT_KEY,
                            .version_min = 1,
                            .encode = beat_encode,
                            .decode = beat_decode,
                            .done = leave_done,
                        });
}

// ------------------------------------------------------------------------------------- driving

static void id_make(struct member *member)
{
    uint8_t bytes[16];
    random_system(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        member->id[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        member->id[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    member->id[2 * sizeof(bytes)] = '\0';
}

static void join(struct member *member)
{
    if (!member->id[0])
        id_make(member);
    member->state = MEMBER_JOINING;
    member->present = true;
    member->generation = -1;
    member->newer.complete = true;
    member->newer.joined = false;
    beat_send(member);
}

void newer_drive(struct member *member)
{
    const struct weir_client *client = member->consumer->client;
    const struct member_newer *newer = &member->newer;
    if (member->state == MEMBER_OUT && member->due_ns <= client->now_ns && release_complete(member))
        join(member);
    if (member->state != MEMBER_IN)
        return;
    if (member->target_new && member_wanted(member) && !member->releasing &&
        !release_untold(member))
        target_resolve(member);
    bool news = newer->owned_version != newer->owned_known ||
                member->subscription.version != member->joined_version;
    if (!member->calling && (member->due_ns <= client->now_ns || (news && member_wanted(member))))
        beat_send(member);
}
