// SPDX-License-Identifier: Apache-2.0
// Every message in every version through both codecs: the generated one and the one that
// interprets the descriptors.
#include <criterion/criterion.h>

#include <stdlib.h>

#include "gen/kp_apis.h"
#include "gen/kp_fetch.h"
#include "gen/kp_metadata.h"

enum { ROUNDS = 12, MUTATIONS = 24, POISON = 0xa5, ARENA_LIMIT = 4 << 20 };

struct state {
    const struct kp_message *desc;
    int16_t version;
    struct random random;
    struct arena arena;
};

// Memory that holds neither zeros nor defaults, so that a field nobody sets is noticed.
static void *poisoned(struct state *state)
{
    void *message = arena_alloc(&state->arena, state->desc->body->size);
    cr_assert_not_null(message);
    return memset(message, POISON, state->desc->body->size);
}

static struct span encoded(struct state *state, const void *message, bool by_table)
{
    struct kp_writer w;
    kp_writer_init(&w, &state->arena);
    if (by_table)
        kp_describe_encode(state->desc, &w, state->version, message);
    else
        state->desc->encode(&w, state->version, message);
    struct span flat = kp_writer_flat(&w);
    cr_assert_not_null(flat.data, "%s %d does not encode", state->desc->name, state->version);
    return flat;
}

// Decodes a heap copy of exactly these bytes. NULL when refused; *left is what follows the message.
static void *decoded(struct state *state, struct span bytes, bool by_table, size_t *left)
{
    void *message = poisoned(state);
    struct kp_reader r = kp_reader_init(bytes.data, bytes.size);
    int status = by_table
                     ? kp_describe_decode(state->desc, &r, state->version, &state->arena, message)
                     : state->desc->decode(&r, state->version, &state->arena, message);
    *left = kp_reader_left(&r);
    cr_assert_eq(status, r.failed ? -1 : 0);
    return status == 0 ? message : NULL;
}

static struct span heap_copy(struct span bytes)
{
    uint8_t *copy = malloc(bytes.size ? bytes.size : 1);
    memcpy(copy, bytes.data, bytes.size);
    return span_of(copy, bytes.size);
}

static void heap_free(struct span bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

// Runs `check` on several random messages of every kind and version.
static void each_message(void (*check)(struct state *state, const void *message))
{
    struct state state = {.random = {20}};
    arena_init(&state.arena, ARENA_LIMIT);
    for (int i = 0; i < KP_APIS_COUNT; i++) {
        const struct kp_message *kinds[] = {kp_apis[i].request, kp_apis[i].response};
        for (int k = 0; k < 2; k++) {
            state.desc = kinds[k];
            for (state.version = kp_apis[i].min; state.version <= kp_apis[i].max; state.version++) {
                for (int round = 0; round < ROUNDS; round++) {
                    void *message = poisoned(&state);
                    cr_assert_eq(kp_describe_random(state.desc, state.version, &state.random,
                                                    &state.arena, message),
                                 0);
                    check(&state, message);
                    arena_reset(&state.arena);
                }
            }
        }
    }
    arena_free(&state.arena);
}

static void check_round_trip(struct state *state, const void *message)
{
    const char *name = state->desc->name;
    struct span bytes = encoded(state, message, false);
    struct span again = encoded(state, message, true);
    cr_assert(span_equal(bytes, again), "%s %d: the codecs write other bytes", name,
              state->version);
    for (int by_table = 0; by_table < 2; by_table++) {
        size_t left;
        void *back = decoded(state, bytes, by_table, &left);
        cr_assert_not_null(back, "%s %d does not decode", name, state->version);
        cr_assert_eq(left, 0, "%s %d leaves %zu bytes", name, state->version, left);
        cr_assert(kp_describe_equal(state->desc, KP_EVERY_VERSION, message, back),
                  "%s %d comes back different", name, state->version);
        cr_assert(span_equal(encoded(state, back, !by_table), bytes));
    }
}

Test(protocol, schema_round_trips)
{
    each_message(check_round_trip);
}

static void check_prefixes(struct state *state, const void *message)
{
    struct span bytes = encoded(state, message, false);
    size_t limit = bytes.size < 400 ? bytes.size : 400;
    for (size_t size = 0; size < limit; size++) {
        struct span part = heap_copy(span_of(bytes.data, size));
        for (int by_table = 0; by_table < 2; by_table++) {
            size_t left;
            cr_assert_null(decoded(state, part, by_table, &left), "%s %d accepts %zu of %zu bytes",
                           state->desc->name, state->version, size, bytes.size);
        }
        heap_free(part);
        arena_reset(&state->arena);
        bytes = encoded(state, message, false);
    }
}

// The message must outlive the arena's resets here.
static void check_prefixes_apart(struct state *state, const void *message)
{
    struct state own = {state->desc, state->version, state->random, {0}};
    arena_init(&own.arena, ARENA_LIMIT);
    check_prefixes(&own, message);
    arena_free(&own.arena);
}

Test(protocol, schema_refuses_every_prefix)
{
    each_message(check_prefixes_apart);
}

// Both codecs must agree on damaged bytes too, and what they accept must survive a round trip.
static void check_damaged(struct state *state, struct span bytes)
{
    size_t left, table_left;
    void *message = decoded(state, bytes, false, &left);
    void *table = decoded(state, bytes, true, &table_left);
    cr_assert_eq(!message, !table, "%s %d: only one codec accepts", state->desc->name,
                 state->version);
    if (!message)
        return;
    cr_assert_eq(left, table_left);
    cr_assert(kp_describe_equal(state->desc, KP_EVERY_VERSION, message, table));
    void *back = decoded(state, encoded(state, message, false), false, &left);
    cr_assert_not_null(back);
    cr_assert(kp_describe_equal(state->desc, KP_EVERY_VERSION, message, back));
}

static void check_mutations(struct state *state, const void *message)
{
    struct span bytes = encoded(state, message, false);
    if (bytes.size == 0)
        return;
    struct state own = {state->desc, state->version, state->random, {0}};
    arena_init(&own.arena, ARENA_LIMIT);
    for (int i = 0; i < MUTATIONS; i++) {
        struct span copy = heap_copy(bytes);
        uint8_t *at = (uint8_t *)(uintptr_t)copy.data;
        uint64_t flips = 1 + random_below(&state->random, 3);
        for (uint64_t flip = 0; flip < flips; flip++)
            at[random_below(&state->random, copy.size)] = (uint8_t)random_next(&state->random);
        check_damaged(&own, copy);
        heap_free(copy);
        arena_reset(&own.arena);
    }
    arena_free(&own.arena);
}

Test(protocol, schema_survives_damaged_bytes)
{
    each_message(check_mutations);
}

Test(protocol, schema_survives_random_bytes)
{
    struct state state = {.random = {7}};
    arena_init(&state.arena, ARENA_LIMIT);
    for (int round = 0; round < 20000; round++) {
        const struct kp_api *api = &kp_apis[random_below(&state.random, KP_APIS_COUNT)];
        state.desc = random_below(&state.random, 2) ? api->request : api->response;
        uint64_t versions = (uint64_t)(api->max - api->min) + 1;
        state.version = (int16_t)(api->min + (int16_t)random_below(&state.random, versions));
        uint8_t noise[96];
        size_t size = random_below(&state.random, sizeof(noise));
        for (size_t i = 0; i < size; i++)
            noise[i] = (uint8_t)(random_next(&state.random) >> random_below(&state.random, 8));
        struct span copy = heap_copy(span_of(noise, size));
        check_damaged(&state, copy);
        heap_free(copy);
        arena_reset(&state.arena);
    }
    arena_free(&state.arena);
}

static void check_tiny_arena(struct state *state, const void *message)
{
    struct span bytes = encoded(state, message, false);
    struct arena tiny;
    bool accepted = false;
    for (size_t limit = 0; !accepted; limit += 64) {
        arena_init(&tiny, limit);
        void *back = poisoned(state);
        struct kp_reader r = kp_reader_init(bytes.data, bytes.size);
        accepted = state->desc->decode(&r, state->version, &tiny, back) == 0;
        cr_assert_leq(tiny.used, limit);
        if (accepted)
            cr_assert(kp_describe_equal(state->desc, KP_EVERY_VERSION, message, back));
        arena_free(&tiny);
        cr_assert_lt(limit, 1 << 20);
    }
}

Test(protocol, schema_fails_cleanly_when_the_arena_is_small)
{
    each_message(check_tiny_arena);
}

static void check_init(struct state *state, const struct kp_struct *body)
{
    // The tables' idea of the defaults: a random message in a version that has none of the fields.
    struct kp_message alone = {.name = body->name, .body = body};
    state->desc = &alone;
    void *by_code = poisoned(state);
    void *by_table = poisoned(state);
    body->init(by_code);
    cr_assert_eq(kp_describe_random(&alone, INT16_MAX, &state->random, &state->arena, by_table), 0);
    cr_assert(kp_describe_equal(&alone, KP_EVERY_VERSION, by_code, by_table), "%s", body->name);
    arena_reset(&state->arena);
    for (uint32_t i = 0; i < body->field_count; i++) {
        if (body->fields[i].element)
            check_init(state, body->fields[i].element);
    }
}

Test(protocol, schema_init_sets_the_defaults)
{
    struct state state = {.random = {1}};
    arena_init(&state.arena, ARENA_LIMIT);
    for (int i = 0; i < KP_APIS_COUNT; i++) {
        check_init(&state, kp_apis[i].request->body);
        check_init(&state, kp_apis[i].response->body);
    }
    arena_free(&state.arena);
    struct kp_fetch_request fetch;
    kp_fetch_request_init(&fetch);
    cr_assert_eq(fetch.session_epoch, -1);
    cr_assert_eq(fetch.max_bytes, INT32_MAX);
    cr_assert_null(fetch.cluster_id.data);
    cr_assert(fetch.rack_id.data && fetch.rack_id.size == 0);
}

// The versions of Kafka 4.3, written down independently of the schemas.
Test(protocol, schema_covers_the_versions_of_kafka_4_3)
{
    static const struct {
        int key, min, max, flexible;
    } rows[] = {
        {0, 3, 13, 9}, {1, 4, 18, 12}, {2, 1, 11, 6}, {3, 0, 13, 9}, {8, 2, 10, 8},
        {9, 1, 10, 6}, {10, 0, 6, 3},  {11, 0, 9, 6}, {12, 0, 4, 4}, {13, 0, 5, 4},
        {14, 0, 5, 4}, {15, 0, 6, 5},  {16, 0, 5, 3}, {18, 0, 4, 3}, {19, 2, 7, 5},
        {20, 1, 6, 4}, {21, 0, 2, 2},  {22, 0, 5, 2}, {23, 2, 4, 4}, {32, 1, 4, 4},
        {33, 0, 2, 2}, {37, 0, 3, 2},  {42, 0, 2, 2}, {44, 0, 1, 1}, {47, 0, 0, INT16_MAX},
        {60, 0, 2, 0}, {68, 0, 1, 0},  {69, 0, 1, 0}, {75, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct kp_api *api = kp_api_find((int16_t)rows[i].key);
        cr_assert_not_null(api, "key %d", rows[i].key);
        cr_assert_eq(api->key, rows[i].key);
        cr_assert_eq(api->min, rows[i].min, "%s", api->name);
        cr_assert_eq(api->max, rows[i].max, "%s", api->name);
        cr_assert_eq(api->flexible_from, rows[i].flexible, "%s", api->name);
    }
    cr_assert_null(kp_api_find(-1));
    cr_assert_null(kp_api_find(4));
    cr_assert_null(kp_api_find(INT16_MAX));
}

static int decode_fetch(const char *tags, size_t size, struct arena *arena,
                        struct kp_fetch_request *out)
{
    struct kp_writer w;
    kp_writer_init(&w, arena);
    struct kp_fetch_request request;
    kp_fetch_request_init(&request);
    kp_fetch_request_encode(&w, 15, &request);
    w.size--; // the empty tag section
    kp_write_raw(&w, tags, size);
    struct kp_reader r = kp_reader_init(w.data, w.size);
    int status = kp_fetch_request_decode(&r, 15, arena, out);
    return status == 0 && kp_reader_left(&r) == 0 ? 0 : -1;
}

#define DECODE(tags) decode_fetch(tags, sizeof(tags) - 1, &arena, &got)

Test(protocol, schema_tagged_fields)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct kp_fetch_request got;
    cr_assert_eq(DECODE("\x01\x00\x03\x03"
                        "ab"),
                 0);
    cr_assert(span_equal(got.cluster_id, span_text("ab")));
    cr_assert_eq(DECODE("\x01\x00\x04\x03"
                        "ab."),
                 -1, "a byte more than the field needs");
    cr_assert_eq(DECODE("\x01\x00\x02\x03"
                        "ab"),
                 -1, "a byte less");
    cr_assert_eq(DECODE("\x02\x00\x03\x03"
                        "ab\x00\x02\x02"
                        "c"),
                 0, "a tag given twice");
    cr_assert(span_equal(got.cluster_id, span_text("c")));
    cr_assert_eq(DECODE("\x02\x63\x02..\x00\x03\x03"
                        "ab"),
                 0, "an unknown tag before a known one");
    cr_assert(span_equal(got.cluster_id, span_text("ab")));
    cr_assert_eq(DECODE("\x01\x00\x01\x00"), 0);
    cr_assert_null(got.cluster_id.data);
    cr_assert_eq(DECODE("\x01\x01\x0d\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x08\x00"), 0);
    cr_assert_eq(got.replica_state.replica_id, 7);
    cr_assert_eq(got.replica_state.replica_epoch, 8);
    arena_free(&arena);
}

Test(protocol, schema_dump)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct kp_metadata_request_topic topics[] = {{.name = span_text("a\"b")}, {{{1}}, {0}}};
    struct kp_metadata_request request;
    kp_metadata_request_init(&request);
    request.topics = topics;
    request.topics_count = 2;
    char text[512] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");
    kp_describe_dump(&kp_metadata_request_message, 12, &request, out);
    fclose(out);
    cr_assert_str_eq(text, "{\"topics\":["
                           "{\"topic_id\":\"00000000000000000000000000000000\","
                           "\"name\":\"a\\\"b\"},"
                           "{\"topic_id\":\"01000000000000000000000000000000\",\"name\":null}],"
                           "\"allow_auto_topic_creation\":true,"
                           "\"include_topic_authorized_operations\":false}");
    arena_free(&arena);
}
