// SPDX-License-Identifier: Apache-2.0
// Invariants
//  1. `parts` is what the broker has been told in this session, request by request, in the order of
//     the last request's `asked`; assignment->session_place leads from an assignment to its part,
//     and counts only if that part is of this assignment.
//  2. Whatever makes it doubtful what the broker knows begins a session anew, with everything.
#include "clients/c/fetch_session.h"

#include <stdlib.h>

#include "clients/c/consumer.h"
#include "gen/kp_fetch.h"
#include "protocol/error.h"

enum {
    SESSIONS_FROM = 7,   // versions of Fetch
    TOPIC_IDS_FROM = 13, // there
    EPOCH_NONE = -1,     // no session is wanted
};

void fetch_session_free(struct fetch_session *session)
{
    free(session->parts);
}

void fetch_session_lost(struct fetch_session *session)
{
    session->epoch = 0;
}

// What the broker knows of the assignment; NULL for nothing.
static const struct session_part *part_find(const struct fetch_session *session,
                                            const struct assignment *assignment)
{
    size_t place = assignment->session_place;
    if (session->full || place >= session->count || session->parts[place].assignment != assignment)
        return NULL;
    const struct session_part *part = &session->parts[place];
    bool same = !session->topic_ids || kp_uuid_equal(part->topic_id, assignment->topic->id);
    return same ? part : NULL;
}

static struct session_part part_of(const struct asked_partition *asked)
{
    const struct assignment *assignment = asked->assignment;
    const struct metadata_topic *topic = assignment->topic;
    bool known = assignment->partition < topic->partition_count;
    return (struct session_part){
        .assignment = asked->assignment,
        .topic_id = topic->id,
        .fetch_offset = assignment->fetch_offset,
        .limit = asked->limit,
        .leader_epoch = known ? topic->partitions[assignment->partition].leader_epoch : -1,
    };
}

static void partition_fill(struct kp_fetch_request_partition *to, const struct session_part *from)
{
    kp_fetch_request_partition_init(to);
    to->partition = from->assignment->partition;
    to->fetch_offset = from->fetch_offset;
    to->partition_max_bytes = from->limit;
    to->current_leader_epoch = from->leader_epoch;
}

// Names those of `parts` that are news to the broker; marks in `kept` the places of what it knows.
static bool news_fill(const struct fetch_session *session, const struct session_part *parts,
                      size_t count, bool *kept, struct arena *arena,
                      struct kp_fetch_request *message)
{
    const struct metadata_topic *last = NULL;
    struct kp_fetch_request_partition *partitions =
        arena_array(arena, count + 1, sizeof(*partitions));
    message->topics = arena_array(arena, count + 1, sizeof(*message->topics));
    message->topics_count = 0;
    if (!partitions || !message->topics)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct session_part *known = part_find(session, parts[i].assignment);
        if (known)
            kept[known - session->parts] = true;
        if (known && known->fetch_offset == parts[i].fetch_offset &&
            known->limit == parts[i].limit && known->leader_epoch == parts[i].leader_epoch)
            continue;
        const struct metadata_topic *topic = parts[i].assignment->topic;
        if (topic != last) {
            struct kp_fetch_request_topic *to = &message->topics[message->topics_count++];
            kp_fetch_request_topic_init(to);
            to->topic = span_text(topic->name);
            to->topic_id = parts[i].topic_id;
            to->partitions = partitions;
            last = topic;
        }
        partition_fill(partitions++, &parts[i]);
        message->topics[message->topics_count - 1].partitions_count++;
    }
    return true;
}

// Names what the broker knows and is not to be asked for any more.
static bool forgotten_fill(const struct fetch_session *session, const bool *kept,
                           struct arena *arena, struct kp_fetch_request *message)
{
    const struct session_part *last = NULL;
    int32_t *partitions = arena_array(arena, session->count + 1, sizeof(*partitions));
    message->forgotten_topics_data =
        arena_array(arena, session->count + 1, sizeof(*message->forgotten_topics_data));
    message->forgotten_topics_data_count = 0;
    if (!partitions || !message->forgotten_topics_data)
        return false;
    for (size_t i = 0; i < session->count; i++) {
        const struct session_part *part = &session->parts[i];
        if (kept[i])
            continue;
        if (!last || part->assignment->topic != last->assignment->topic ||
            !kp_uuid_equal(part->topic_id, last->topic_id)) {
            struct kp_fetch_request_forgotten_topic *to =
                &message->forgotten_topics_data[message->forgotten_topics_data_count++];
            kp_fetch_request_forgotten_topic_init(to);
            to->topic = span_text(part->assignment->topic->name);
            to->topic_id = part->topic_id;
            to->partitions = partitions;
            last = part;
        }
        *partitions++ = part->assignment->partition;
        message->forgotten_topics_data[message->forgotten_topics_data_count - 1].partitions_count++;
    }
    return true;
}

bool fetch_session_fill(struct fetcher *fetcher, int16_t version, struct arena *arena,
                        struct kp_fetch_request *message)
{
    struct fetch_session *session = &fetcher->session;
    bool topic_ids = version >= TOPIC_IDS_FROM;
    session->full =
        session->epoch == 0 || version < SESSIONS_FROM || session->topic_ids != topic_ids;
    session->topic_ids = topic_ids;
    if (session->full) {
        session->epoch = 0;
        session->count = 0;
    }
    message->session_id = version < SESSIONS_FROM ? 0 : session->id;
    message->session_epoch = version < SESSIONS_FROM ? EPOCH_NONE : session->epoch;
    size_t count = fetcher->asked_count;
    struct session_part *parts = calloc(count + 1, sizeof(*parts));
    bool *kept = arena_array(arena, session->count + 1, sizeof(*kept));
    for (size_t i = 0; i < count && parts; i++)
        parts[i] = part_of(&fetcher->asked[i]);
    if (!parts || !kept || !news_fill(session, parts, count, kept, arena, message) ||
        !forgotten_fill(session, kept, arena, message)) {
        free(parts);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        parts[i].assignment->session_place = i;
    free(session->parts);
    session->parts = parts;
    session->count = count;
    return true;
}

bool fetch_session_answered(struct fetch_session *session, int16_t version,
                            const struct kp_fetch_response *message)
{
    int16_t code = message->error_code;
    bool lost = code == KP_ERROR_FETCH_SESSION_ID_NOT_FOUND ||
                code == KP_ERROR_INVALID_FETCH_SESSION_EPOCH ||
                code == KP_ERROR_FETCH_SESSION_TOPIC_ID_ERROR;
    if (code || version < SESSIONS_FROM) {
        session->id = code == KP_ERROR_FETCH_SESSION_ID_NOT_FOUND ? 0 : session->id;
        session->epoch = 0;
        return lost && !session->full;
    }
    bool same = session->full || message->session_id == session->id;
    session->id = message->session_id;
    if (session->id == 0 || !same)
        session->epoch = 0; // the broker wants no session, or ours is gone
    else
        session->epoch = session->epoch == INT32_MAX ? 1 : session->epoch + 1;
    return false;
}
