// SPDX-License-Identifier: Apache-2.0
// Fetch sessions (KIP-227).
//
// Invariants
//  1. A session that is held by a request is changed by nobody else and is not freed: requests for
//     it are refused, and when it is closed meanwhile it goes at the end of that request.
//  2. All sessions together, closed ones included, keep to the slots and to
//     FETCH_SESSIONS_BYTES_MAX. A request for which there is no place gets session id 0, which the
//     protocol allows at any time.
//  3. `high_watermark` and `log_start` are those of the last answer that has listed the partition;
//     -1 after an error, so that its end is told as well.
#include "broker/fetch_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "protocol/error.h"

static const uint64_t ns_per_ms = 1000000;

// With the slots of the maps, which are more than a third full when they have grown.
enum {
    PART_BYTES = sizeof(struct fetch_session_part) + 3 * sizeof(struct map_slot),
    TOPIC_BYTES = sizeof(struct fetch_session_topic) + 3 * sizeof(struct map_slot),
};

// --- one session ------------------------------------------------------------------------------

struct fetch_session *fetch_session_create(bool by_id)
{
    struct fetch_session *session = calloc(1, sizeof(*session));
    if (!session)
        return NULL;
    session->by_id = by_id;
    session->epoch = 1;
    session->bytes = sizeof(*session);
    list_init(&session->parts);
    list_init(&session->node);
    map_init(&session->topics);
    map_init(&session->by_key);
    return session;
}

static struct span topic_key(const struct fetch_session *session, const struct span *name,
                             const struct kp_uuid *id)
{
    if (session->by_id)
        return span_of(id->bytes, sizeof(id->bytes));
    // A map's key has an address, also that of no bytes.
    return name->size > 0 ? *name : span_text("");
}

static struct span part_key(const uint64_t *key)
{
    return span_of((const uint8_t *)key, 2 * sizeof(*key));
}

static struct fetch_session_part *find(const struct fetch_session *session,
                                       const struct fetch_session_topic *topic, int32_t partition)
{
    uint64_t key[2] = {topic->serial, (uint32_t)partition};
    return map_get(&session->by_key, part_key(key));
}

struct fetch_session_part *fetch_session_find(const struct fetch_session *session,
                                              const struct kp_fetch_request_topic *in,
                                              int32_t partition)
{
    const struct fetch_session_topic *topic =
        map_get(&session->topics, topic_key(session, &in->topic, &in->topic_id));
    return topic ? find(session, topic, partition) : NULL;
}

static size_t topic_bytes(const struct fetch_session_topic *topic)
{
    return TOPIC_BYTES + topic->name.size;
}

static void remove_topic(struct fetch_session *session, struct fetch_session_topic *topic)
{
    session->bytes -= topic_bytes(topic);
    map_remove(&session->topics, topic_key(session, &topic->name, &topic->id));
    free(topic);
}

static void remove_part(struct fetch_session *session, struct fetch_session_part *part)
{
    struct fetch_session_topic *topic = part->topic;
    map_remove(&session->by_key, part_key(part->key));
    list_remove(&part->node);
    session->part_count--;
    session->bytes -= PART_BYTES;
    free(part);
    if (--topic->parts == 0)
        remove_topic(session, topic);
}

void fetch_session_free(struct fetch_session *session)
{
    list_each(node, &session->parts)
        remove_part(session, list_entry(node, struct fetch_session_part, node));
    CHECK(session->topics.count == 0 && session->by_key.count == 0);
    map_free(&session->topics);
    map_free(&session->by_key);
    free(session);
}

// The topic, found or made. A new one has no part yet.
static struct fetch_session_topic *take_topic(struct fetch_session *session,
                                              const struct kp_fetch_request_topic *in)
{
    struct fetch_session_topic *topic =
        map_get(&session->topics, topic_key(session, &in->topic, &in->topic_id));
    if (topic)
        return topic;
    size_t name_size = session->by_id ? 0 : in->topic.size;
    topic = calloc(1, sizeof(*topic) + name_size);
    if (!topic)
        return NULL;
    uint8_t *name = (uint8_t *)(topic + 1);
    if (name_size > 0)
        memcpy(name, in->topic.data, name_size);
    topic->name = span_of(name, name_size);
    if (session->by_id)
        topic->id = in->topic_id;
    topic->serial = ++session->serial;
    if (map_put(&session->topics, topic_key(session, &topic->name, &topic->id), topic) != 0) {
        free(topic);
        return NULL;
    }
    session->bytes += topic_bytes(topic);
    return topic;
}

static int add_part(struct fetch_session *session, struct fetch_session_topic *topic,
                    const struct kp_fetch_request_partition *in)
{
    struct fetch_session_part *part = find(session, topic, in->partition);
    if (part) {
        part->in = *in;
        return 0;
    }
    if (session->bytes + PART_BYTES > FETCH_SESSION_BYTES_MAX)
        return -ENOBUFS;
    part = calloc(1, sizeof(*part));
    if (!part)
        return -ENOMEM;
    *part = (struct fetch_session_part){.topic = topic,
                                        .in = *in,
                                        .high_watermark = -1,
                                        .log_start = -1,
                                        .key = {topic->serial, (uint32_t)in->partition}};
    if (map_put(&session->by_key, part_key(part->key), part) != 0) {
        free(part);
        return -ENOMEM;
    }
    list_append(&session->parts, &part->node);
    topic->parts++;
    session->part_count++;
    session->bytes += PART_BYTES;
    return 0;
}

static int add_topic(struct fetch_session *session, const struct kp_fetch_request_topic *in)
{
    if (in->partitions_count == 0)
        return 0;
    struct fetch_session_topic *topic = take_topic(session, in);
    if (!topic)
        return -ENOMEM;
    int error = 0;
    for (int32_t i = 0; i < in->partitions_count && !error; i++)
        error = add_part(session, topic, &in->partitions[i]);
    if (topic->parts == 0)
        remove_topic(session, topic);
    return error;
}

static void forget_topic(struct fetch_session *session,
                         const struct kp_fetch_request_forgotten_topic *in)
{
    struct kp_fetch_request_topic topic = {.topic = in->topic, .topic_id = in->topic_id};
    for (int32_t i = 0; i < in->partitions_count; i++) {
        struct fetch_session_part *part = fetch_session_find(session, &topic, in->partitions[i]);
        if (part)
            remove_part(session, part);
    }
}

int fetch_session_update(struct fetch_session *session, const struct kp_fetch_request *in)
{
    for (int32_t i = 0; i < in->topics_count; i++) {
        int error = add_topic(session, &in->topics[i]);
        if (error)
            return error;
    }
    for (int32_t i = 0; i < in->forgotten_topics_data_count; i++)
        forget_topic(session, &in->forgotten_topics_data[i]);
    return 0;
}

bool fetch_session_tell(struct fetch_session *session, struct fetch_session_part *part,
                        const struct kp_fetch_response_partition *out)
{
    bool news = out->high_watermark != part->high_watermark ||
                out->log_start_offset != part->log_start || out->error_code != 0;
    part->high_watermark = out->error_code ? -1 : out->high_watermark;
    part->log_start = out->error_code ? -1 : out->log_start_offset;
    if (out->records.size <= 0)
        return news;
    list_remove(&part->node);
    list_append(&session->parts, &part->node);
    return true;
}

int32_t fetch_session_next_epoch(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

// --- the sessions of a shard ------------------------------------------------------------------

struct fetch_sessions *fetch_sessions_create(uint32_t slots, uint64_t seed)
{
    struct fetch_sessions *sessions = calloc(1, sizeof(*sessions));
    if (!sessions)
        return NULL;
    sessions->slots = slots;
    sessions->random.state = seed;
    list_init(&sessions->used);
    list_init(&sessions->closed);
    map_init(&sessions->by_id);
    return sessions;
}

static struct span id_key(const int32_t *id)
{
    return span_of((const uint8_t *)id, sizeof(*id));
}

static void drop(struct fetch_sessions *sessions, struct fetch_session *session)
{
    sessions->count--;
    sessions->bytes -= session->bytes;
    fetch_session_free(session);
}

// Nobody finds it any more.
static void close_session(struct fetch_sessions *sessions, struct fetch_session *session)
{
    map_remove(&sessions->by_id, id_key(&session->id));
    list_remove(&session->node);
    session->closed = true;
    if (session->held)
        list_append(&sessions->closed, &session->node);
    else
        drop(sessions, session);
}

static void drop_all(struct fetch_sessions *sessions, struct list *head)
{
    list_each(node, head)
        drop(sessions, list_entry(node, struct fetch_session, node));
}

void fetch_sessions_destroy(struct fetch_sessions *sessions)
{
    if (!sessions)
        return;
    drop_all(sessions, &sessions->used);
    drop_all(sessions, &sessions->closed);
    CHECK(sessions->count == 0 && sessions->bytes == 0);
    map_free(&sessions->by_id);
    free(sessions);
}

// Those that have not been used for long make room for `bytes` and a slot, as far as it takes.
static bool make_room(struct fetch_sessions *sessions, size_t bytes, uint64_t now_ns)
{
    list_each(node, &sessions->used) {
        if (sessions->count < sessions->slots &&
            sessions->bytes + bytes <= FETCH_SESSIONS_BYTES_MAX)
            return true;
        struct fetch_session *session = list_entry(node, struct fetch_session, node);
        if (now_ns - session->used_ns < FETCH_SESSION_IDLE_MS * ns_per_ms)
            return false;
        if (!session->held)
            close_session(sessions, session);
    }
    return sessions->count < sessions->slots && sessions->bytes + bytes <= FETCH_SESSIONS_BYTES_MAX;
}

static void choose_id(struct fetch_sessions *sessions, struct fetch_session *session)
{
    do
        session->id = (int32_t)(random_next(&sessions->random) & INT32_MAX);
    while (session->id == 0 || map_get(&sessions->by_id, id_key(&session->id)));
}

static void use(struct fetch_sessions *sessions, struct fetch_session *session, uint64_t now_ns)
{
    list_remove(&session->node);
    list_append(&sessions->used, &session->node);
    session->used_ns = now_ns;
    session->held = true;
}

// NULL is a refusal.
static struct fetch_session *open_session(struct fetch_sessions *sessions,
                                          const struct kp_fetch_request *in, bool by_id,
                                          uint64_t now_ns)
{
    // Asked before the work of making one, which a client without success repeats each time.
    if (in->topics_count == 0 || !make_room(sessions, 0, now_ns))
        return NULL;
    struct fetch_session *session = fetch_session_create(by_id);
    if (!session)
        return NULL;
    choose_id(sessions, session);
    if (fetch_session_update(session, in) != 0 || session->part_count == 0 ||
        !make_room(sessions, session->bytes, now_ns) ||
        map_put(&sessions->by_id, id_key(&session->id), session) != 0) {
        fetch_session_free(session);
        return NULL;
    }
    sessions->count++;
    sessions->bytes += session->bytes;
    use(sessions, session, now_ns);
    return session;
}

// False: it has become too large, or there is no memory.
static bool update(struct fetch_sessions *sessions, struct fetch_session *session,
                   const struct kp_fetch_request *in)
{
    size_t before = session->bytes;
    int error = fetch_session_update(session, in);
    sessions->bytes += session->bytes - before;
    bool grown = session->bytes > before;
    return !error && !(grown && sessions->bytes > FETCH_SESSIONS_BYTES_MAX);
}

static int16_t go_on(struct fetch_sessions *sessions, struct fetch_session *session,
                     const struct kp_fetch_request *in, bool by_id, uint64_t now_ns,
                     struct fetch_session **out)
{
    if (session->held || session->epoch != in->session_epoch)
        return KP_ERROR_INVALID_FETCH_SESSION_EPOCH;
    if (session->by_id != by_id)
        return KP_ERROR_FETCH_SESSION_TOPIC_ID_ERROR;
    if (!update(sessions, session, in)) {
        // The client opens another one, which is refused if it still is too large.
        close_session(sessions, session);
        return KP_ERROR_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (session->part_count == 0) {
        close_session(sessions, session);
        return KP_ERROR_NONE;
    }
    session->epoch = fetch_session_next_epoch(session->epoch);
    use(sessions, session, now_ns);
    *out = session;
    return KP_ERROR_NONE;
}

int16_t fetch_sessions_begin(struct fetch_sessions *sessions, const struct kp_fetch_request *in,
                             bool by_id, uint64_t now_ns, struct fetch_session **out)
{
    *out = NULL;
    struct fetch_session *session = map_get(&sessions->by_id, id_key(&in->session_id));
    if (in->session_epoch != 0 && in->session_epoch != -1) {
        if (!session)
            return KP_ERROR_FETCH_SESSION_ID_NOT_FOUND;
        return go_on(sessions, session, in, by_id, now_ns, out);
    }
    if (session)
        close_session(sessions, session);
    if (in->session_epoch == 0)
        *out = open_session(sessions, in, by_id, now_ns);
    return KP_ERROR_NONE;
}

void fetch_sessions_end(struct fetch_sessions *sessions, struct fetch_session *session)
{
    CHECK(session->held);
    session->held = false;
    if (!session->closed)
        return;
    list_remove(&session->node);
    drop(sessions, session);
}
