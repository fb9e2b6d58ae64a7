// SPDX-License-Identifier: Apache-2.0
// Fetch sessions by themselves: what is in them, what is told, who gets one.
#include "broker/fetch_session.h"

#include <criterion/criterion.h>

#include "protocol/error.h"

enum { PARTS_MAX = 20000 };

// A request for partitions of one topic, by name or, without one, by id.
struct ask {
    struct kp_fetch_request in;
    struct kp_fetch_request_topic topic;
    struct kp_fetch_request_forgotten_topic forgotten;
    struct kp_fetch_request_partition parts[PARTS_MAX];
    int32_t gone[4];
};

static struct ask *ask_new(const char *name, uint8_t id, int32_t session, int32_t epoch)
{
    struct ask *ask = calloc(1, sizeof(*ask));
    kp_fetch_request_init(&ask->in);
    ask->in.session_id = session;
    ask->in.session_epoch = epoch;
    ask->in.topics = &ask->topic;
    ask->in.forgotten_topics_data = &ask->forgotten;
    ask->topic.topic = ask->forgotten.topic = span_text(name);
    ask->topic.topic_id.bytes[0] = ask->forgotten.topic_id.bytes[0] = id;
    ask->topic.partitions = ask->parts;
    ask->forgotten.partitions = ask->gone;
    return ask;
}

static void ask_for(struct ask *ask, int32_t partition, int64_t offset)
{
    struct kp_fetch_request_partition *part = &ask->parts[ask->topic.partitions_count++];
    kp_fetch_request_partition_init(part);
    part->partition = partition;
    part->fetch_offset = offset;
    ask->in.topics_count = 1;
}

static void forget(struct ask *ask, int32_t partition)
{
    ask->gone[ask->forgotten.partitions_count++] = partition;
    ask->in.forgotten_topics_data_count = 1;
}

static void update(struct fetch_session *session, struct ask *ask)
{
    cr_assert_eq(fetch_session_update(session, &ask->in), 0);
    free(ask);
}

static struct fetch_session_part *part_at(const struct fetch_session *session, uint32_t at)
{
    struct list *node = session->parts.next;
    while (at-- > 0)
        node = node->next;
    return list_entry(node, struct fetch_session_part, node);
}

Test(broker, fetch_session_takes_changes_and_forgets)
{
    struct fetch_session *session = fetch_session_create(false);
    size_t empty = session->bytes;
    struct ask *ask = ask_new("a", 0, 0, 0);
    ask_for(ask, 0, 10);
    ask_for(ask, 1, 11);
    ask_for(ask, 0, 12); // once more: the last word counts
    update(session, ask);
    cr_assert_eq(session->part_count, 2);
    cr_assert_eq(part_at(session, 0)->in.fetch_offset, 12);
    ask = ask_new("b", 0, 0, 0);
    ask_for(ask, 0, 20);
    forget(ask, 7); // was never there
    update(session, ask);
    cr_assert_eq(session->part_count, 3);
    cr_assert(span_equal(part_at(session, 2)->topic->name, span_text("b")));
    ask = ask_new("a", 0, 0, 0);
    ask_for(ask, 1, 100);
    forget(ask, 0);
    forget(ask, 0);
    update(session, ask);
    cr_assert_eq(session->part_count, 2);
    cr_assert_eq(part_at(session, 0)->in.fetch_offset, 100);
    ask = ask_new("a", 0, 0, 0);
    forget(ask, 1);
    update(session, ask);
    ask = ask_new("b", 0, 0, 0);
    ask_for(ask, -5, 0); // whatever the number: it is a key
    forget(ask, 0);
    forget(ask, -5);
    update(session, ask);
    cr_assert_eq(session->part_count, 0);
    cr_assert_eq(session->bytes, empty);
    fetch_session_free(session);
}

Test(broker, fetch_session_names_topics_by_id_or_by_name)
{
    for (int by_id = 0; by_id < 2; by_id++) {
        struct fetch_session *session = fetch_session_create(by_id);
        for (uint8_t id = 1; id <= 2; id++) {
            struct ask *ask = ask_new(by_id ? NULL : "same", id, 0, 0);
            ask_for(ask, 0, 0);
            update(session, ask);
        }
        cr_assert_eq(session->part_count, by_id ? 2 : 1);
        fetch_session_free(session);
    }
}

// A name without bytes and a request without partitions.
Test(broker, fetch_session_takes_what_is_empty)
{
    struct fetch_session *session = fetch_session_create(false);
    struct ask *ask = ask_new(NULL, 0, 0, 0);
    ask->in.topics_count = 1;
    cr_assert_eq(fetch_session_update(session, &ask->in), 0);
    cr_assert_eq(session->part_count, 0);
    ask_for(ask, 3, 0);
    update(session, ask);
    cr_assert_eq(session->part_count, 1);
    ask = ask_new("", 0, 0, 0);
    forget(ask, 3);
    update(session, ask);
    cr_assert_eq(session->part_count, 0);
    fetch_session_free(session);
}

static bool tell(struct fetch_session *session, uint32_t at, int16_t error, int64_t end,
                 int64_t start, int64_t size)
{
    struct kp_fetch_response_partition out = {.error_code = error,
                                              .high_watermark = end,
                                              .log_start_offset = start,
                                              .records.size = size};
    return fetch_session_tell(session, part_at(session, at), &out);
}

Test(broker, fetch_session_tells_news_alone)
{
    struct fetch_session *session = fetch_session_create(true);
    struct ask *ask = ask_new(NULL, 1, 0, 0);
    ask_for(ask, 0, 0);
    update(session, ask);
    cr_assert(tell(session, 0, 0, 5, 0, 0));
    cr_assert_not(tell(session, 0, 0, 5, 0, 0));
    cr_assert(tell(session, 0, 0, 6, 0, 0));
    cr_assert(tell(session, 0, 0, 6, 1, 0));
    cr_assert(tell(session, 0, 0, 6, 1, 100));
    cr_assert_not(tell(session, 0, 0, 6, 1, 0));
    // An error each time, and its end.
    cr_assert(tell(session, 0, KP_ERROR_OFFSET_OUT_OF_RANGE, 6, 1, 0));
    cr_assert(tell(session, 0, KP_ERROR_OFFSET_OUT_OF_RANGE, 6, 1, 0));
    cr_assert(tell(session, 0, 0, 6, 1, 0));
    cr_assert_not(tell(session, 0, 0, 6, 1, 0));
    // Asked for from elsewhere: what was told stays told.
    ask = ask_new(NULL, 1, 0, 0);
    ask_for(ask, 0, 3);
    update(session, ask);
    cr_assert_not(tell(session, 0, 0, 6, 1, 0));
    fetch_session_free(session);
}

Test(broker, fetch_session_puts_partitions_that_gave_records_last)
{
    struct fetch_session *session = fetch_session_create(true);
    struct ask *ask = ask_new(NULL, 1, 0, 0);
    for (int32_t i = 0; i < 3; i++)
        ask_for(ask, i, 0);
    update(session, ask);
    tell(session, 0, 0, 5, 0, 100);
    cr_assert_eq(part_at(session, 0)->in.partition, 1);
    tell(session, 1, 0, 5, 0, 0);
    cr_assert_eq(part_at(session, 1)->in.partition, 2);
    cr_assert_eq(part_at(session, 2)->in.partition, 0);
    fetch_session_free(session);
}

Test(broker, fetch_session_epochs_wrap)
{
    cr_assert_eq(fetch_session_next_epoch(1), 2);
    cr_assert_eq(fetch_session_next_epoch(INT32_MAX), 1);
}

// --- the sessions of a shard ------------------------------------------------------------------

static const uint64_t ms = 1000000;

struct begun {
    int16_t error;
    struct fetch_session *session;
};

static struct begun begin(struct fetch_sessions *sessions, struct ask *ask, uint64_t now_ms)
{
    struct begun begun;
    begun.error = fetch_sessions_begin(sessions, &ask->in, true, now_ms * ms, &begun.session);
    free(ask);
    return begun;
}

static struct begun begin_one(struct fetch_sessions *sessions, int32_t id, int32_t epoch,
                              uint64_t now_ms)
{
    struct ask *ask = ask_new(NULL, 1, id, epoch);
    ask_for(ask, 0, 0);
    return begin(sessions, ask, now_ms);
}

static int32_t open_one(struct fetch_sessions *sessions, uint64_t now_ms)
{
    struct begun begun = begin_one(sessions, 0, 0, now_ms);
    cr_assert_eq(begun.error, 0);
    if (!begun.session)
        return 0;
    int32_t id = begun.session->id;
    cr_assert_gt(id, 0);
    fetch_sessions_end(sessions, begun.session);
    return id;
}

Test(broker, fetch_sessions_follow_epochs)
{
    struct fetch_sessions *sessions = fetch_sessions_create(4, 1);
    cr_assert_eq(begin_one(sessions, 0, 1, 0).error, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    cr_assert_eq(begin_one(sessions, 77, 1, 0).error, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    int32_t id = open_one(sessions, 0);
    static const int32_t wrong[] = {2, INT32_MAX, -2, INT32_MIN};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_eq(begin_one(sessions, id, wrong[i], 0).error,
                     KP_ERROR_INVALID_FETCH_SESSION_EPOCH);
    struct begun begun = begin_one(sessions, id, 1, 0);
    cr_assert_eq(begun.error, 0);
    cr_assert_eq(begun.session->id, id);
    // While it is held nobody else gets it.
    cr_assert_eq(begin_one(sessions, id, 2, 0).error, KP_ERROR_INVALID_FETCH_SESSION_EPOCH);
    fetch_sessions_end(sessions, begun.session);
    cr_assert_eq(begin_one(sessions, id, 1, 0).error, KP_ERROR_INVALID_FETCH_SESSION_EPOCH);
    begun.session->epoch = INT32_MAX;
    cr_assert_eq(begin_one(sessions, id, INT32_MAX, 0).error, 0);
    fetch_sessions_end(sessions, begun.session);
    cr_assert_eq(begin_one(sessions, id, 1, 0).error, 0);
    fetch_sessions_end(sessions, begun.session);
    // Closed.
    begun = begin_one(sessions, id, -1, 0);
    cr_assert_eq(begun.error, 0);
    cr_assert_null(begun.session);
    cr_assert_eq(begin_one(sessions, id, 2, 0).error, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    fetch_sessions_destroy(sessions);
}

Test(broker, fetch_sessions_refuse_the_other_kind_of_topics)
{
    struct fetch_sessions *sessions = fetch_sessions_create(4, 1);
    int32_t id = open_one(sessions, 0);
    struct ask *ask = ask_new("a", 0, id, 1);
    struct fetch_session *session;
    cr_assert_eq(fetch_sessions_begin(sessions, &ask->in, false, 0, &session),
                 KP_ERROR_FETCH_SESSION_TOPIC_ID_ERROR);
    cr_assert_null(session);
    free(ask);
    fetch_sessions_destroy(sessions);
}

Test(broker, fetch_sessions_closed_while_held_go_at_the_end)
{
    struct fetch_sessions *sessions = fetch_sessions_create(2, 1);
    struct begun held = begin_one(sessions, 0, 0, 0);
    // A new one in its place: the old one still takes its slot.
    struct begun second = begin_one(sessions, held.session->id, 0, 0);
    cr_assert_neq(second.session->id, held.session->id);
    cr_assert_eq(sessions->count, 2);
    cr_assert_eq(open_one(sessions, 0), 0);
    fetch_sessions_end(sessions, held.session);
    cr_assert_eq(sessions->count, 1);
    cr_assert_neq(open_one(sessions, 0), 0);
    fetch_sessions_end(sessions, second.session);
    // Held and closed to the end.
    begin_one(sessions, second.session->id, 1, 0);
    begin_one(sessions, second.session->id, -1, 0);
    fetch_sessions_destroy(sessions);
}

Test(broker, fetch_sessions_give_way_when_unused)
{
    struct fetch_sessions *sessions = fetch_sessions_create(2, 1);
    int32_t first = open_one(sessions, 0), second = open_one(sessions, 1000);
    cr_assert_eq(open_one(sessions, FETCH_SESSION_IDLE_MS - 1), 0);
    struct begun begun = begin_one(sessions, first, 1, 2000);
    fetch_sessions_end(sessions, begun.session);
    // The second is now the one that was not used for longest.
    int32_t third = open_one(sessions, FETCH_SESSION_IDLE_MS + 1000);
    cr_assert_neq(third, 0);
    uint64_t now = FETCH_SESSION_IDLE_MS + 1000;
    cr_assert_eq(begin_one(sessions, second, 1, now).error, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    begun = begin_one(sessions, first, 2, now);
    cr_assert_eq(begun.error, 0);
    // One that is held stays, however long.
    cr_assert_eq(begin_one(sessions, third, 1, now).error, 0);
    cr_assert_eq(open_one(sessions, 10 * now), 0);
    fetch_sessions_destroy(sessions);
}

Test(broker, fetch_sessions_keep_none_without_partitions_or_slots)
{
    struct fetch_sessions *sessions = fetch_sessions_create(1, 1);
    struct begun begun = begin(sessions, ask_new(NULL, 1, 0, 0), 0);
    cr_assert_eq(begun.error, 0);
    cr_assert_null(begun.session);
    int32_t id = open_one(sessions, 0);
    struct ask *ask = ask_new(NULL, 1, id, 1);
    forget(ask, 0);
    begun = begin(sessions, ask, 0);
    cr_assert_eq(begun.error, 0);
    cr_assert_null(begun.session);
    cr_assert_eq(sessions->count, 0);
    fetch_sessions_destroy(sessions);
    sessions = fetch_sessions_create(0, 1);
    cr_assert_eq(open_one(sessions, 0), 0);
    fetch_sessions_destroy(sessions);
}

static struct ask *ask_for_many(int32_t id, int32_t epoch, int32_t from, int32_t count)
{
    struct ask *ask = ask_new(NULL, 1, id, epoch);
    for (int32_t i = 0; i < count; i++)
        ask_for(ask, from + i, 0);
    return ask;
}

Test(broker, fetch_sessions_are_bounded)
{
    struct fetch_sessions *sessions = fetch_sessions_create(1000, 1);
    struct begun begun = begin(sessions, ask_for_many(0, 0, 0, PARTS_MAX), 0);
    cr_assert_eq(begun.error, 0);
    cr_assert_null(begun.session);
    cr_assert_eq(sessions->bytes, 0);
    // One that grows too large is gone.
    begun = begin(sessions, ask_for_many(0, 0, 0, 10000), 0);
    fetch_sessions_end(sessions, begun.session);
    begun = begin(sessions, ask_for_many(begun.session->id, 1, 10000, 10000), 0);
    cr_assert_eq(begun.error, KP_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    cr_assert_eq(sessions->bytes, 0);
    // All together.
    uint32_t count = 0;
    while ((begun = begin(sessions, ask_for_many(0, 0, 0, 10000), 0)).session) {
        fetch_sessions_end(sessions, begun.session);
        count++;
        cr_assert_leq(sessions->bytes, FETCH_SESSIONS_BYTES_MAX);
    }
    cr_assert_eq(sessions->count, count);
    cr_assert_gt(count, 4);
    cr_assert_lt(count, 100);
    fetch_sessions_destroy(sessions);
}
