// SPDX-License-Identifier: Apache-2.0
// Classic members whose metadata and assignments are those of real consumers, for groups that have
// members of both protocols.
#pragma once

#include "tests/unit/group_consumer_fixture.h"

// --- what they say to each other -----------------------------------------------------------------

struct bytes {
    uint8_t *at;
    uint8_t data[8192];
};

static inline void put_i16(struct bytes *to, int number)
{
    store_be16(to->at, (uint16_t)number);
    to->at += 2;
}

static inline void put_i32(struct bytes *to, int64_t number)
{
    store_be32(to->at, (uint32_t)number);
    to->at += 4;
}

static inline void put_text(struct bytes *to, const char *text, size_t size)
{
    put_i16(to, (int)size);
    memcpy(to->at, text, size);
    to->at += size;
}

// "t:0 t:1 u:0": topics with their partitions.
static inline void put_parts(struct bytes *to, const char *list)
{
    uint8_t *count = to->at;
    int64_t topics = 0;
    put_i32(to, 0);
    while (*list) {
        size_t name = strcspn(list, ":");
        put_text(to, list, name);
        put_i32(to, 1);
        put_i32(to, strtol(list + name + 1, NULL, 10));
        topics++;
        list += strcspn(list, " ");
        list += *list == ' ';
    }
    store_be32(count, (uint32_t)topics);
}

static inline struct span keep_bytes(struct call *call, const struct bytes *bytes)
{
    size_t size = (size_t)(bytes->at - bytes->data);
    return span_of(arena_text(&call->arena, bytes->data, size), size);
}

static inline struct span subscription(struct call *call, int version, const char *topics,
                                       const char *owned)
{
    struct bytes bytes;
    int64_t count = 0;
    bytes.at = bytes.data;
    put_i16(&bytes, version);
    put_i32(&bytes, 0);
    while (*topics) {
        size_t size = strcspn(topics, ",");
        put_text(&bytes, topics, size);
        count++;
        topics += size + (topics[size] == ',');
    }
    store_be32(bytes.data + 2, (uint32_t)count);
    put_i32(&bytes, -1);
    if (version >= 1)
        put_parts(&bytes, owned);
    if (version >= 2)
        put_i32(&bytes, -1);
    if (version >= 3)
        put_text(&bytes, "rack", 4);
    return keep_bytes(call, &bytes);
}

static inline struct span assignment(struct call *call, const char *parts)
{
    struct bytes bytes;
    bytes.at = bytes.data;
    put_i16(&bytes, 1);
    put_parts(&bytes, parts);
    put_i32(&bytes, -1);
    return keep_bytes(call, &bytes);
}

// "t:0 t:1" of the bytes of an assignment, in the order in which they are there.
static inline const char *parts_text(struct call *call, struct span from)
{
    char *text = arena_alloc(&call->arena, 65536);
    size_t size = 0;
    struct kp_reader reader = kp_reader_init(from.data, from.size);
    kp_read_i16(&reader);
    int32_t topics = kp_read_i32(&reader);
    for (int32_t i = 0; i < topics; i++) {
        struct span name = kp_read_string(&reader, false, false);
        int32_t count = kp_read_i32(&reader);
        for (int32_t k = 0; k < count; k++)
            size += (size_t)snprintf(text + size, 65536 - size, "%s%.*s:%d", size ? " " : "",
                                     (int)name.size, (const char *)name.data, kp_read_i32(&reader));
    }
    kp_read_bytes(&reader, false, true);
    cr_assert(!reader.failed && kp_reader_left(&reader) == 0);
    return text;
}

// --- what they ask -------------------------------------------------------------------------------

struct enter {
    const char *id;       // default ""
    const char *instance; // default none
    const char *topics;   // default "t"
    const char *owned;    // default ""
    const char *protocol; // default "range"
    const char *type;     // default "consumer"
    int version;          // of the metadata; default 3, -1: 0
    int16_t api;          // of JoinGroup; default 7
    int32_t session_ms;   // default 10000
    int32_t rebalance_ms; // default 60000
};

static inline struct call *enter_call(struct enter enter)
{
    struct call *call = join_call((struct join){.version = enter.api ? enter.api : 7,
                                                .id = enter.id,
                                                .instance = enter.instance,
                                                .type = enter.type,
                                                .session_ms = enter.session_ms,
                                                .rebalance_ms = enter.rebalance_ms});
    struct kp_join_group_request *in = &call->in.join;
    in->protocols[0].name = call_keep(call, enter.protocol ? enter.protocol : "range");
    in->protocols[0].metadata =
        subscription(call,
                     enter.version == 0  ? 3
                     : enter.version < 0 ? 0
                                         : enter.version,
                     enter.topics ? enter.topics : "t", enter.owned ? enter.owned : "");
    return call;
}

// With an id that is promised first, if it brings none.
static inline struct call *enter(struct fixture *f, struct enter args)
{
    struct call *call = fixture_ask(f, enter_call(args));
    if (call->answered && call->out.join.error_code == KP_ERROR_MEMBER_ID_REQUIRED) {
        args.id = id_of(call);
        call = fixture_ask(f, enter_call(args));
    }
    return call;
}

static inline int16_t enter_error(struct fixture *f, struct enter args)
{
    return enter(f, args)->out.join.error_code;
}

static inline int32_t generation_of(const struct call *call)
{
    cr_assert(call->answered);
    cr_assert_eq(call->out.join.error_code, 0, "%d", call->out.join.error_code);
    return call->out.join.generation_id;
}

// What SyncGroup of one that does not lead gives.
static inline const char *given(struct fixture *f, const char *id, int32_t generation)
{
    struct call *call = sync(f, id, generation);
    cr_assert(call->answered);
    cr_assert_eq(call->out.sync.error_code, 0, "%d", call->out.sync.error_code);
    return parts_text(call, call->out.sync.assignment);
}

static inline int16_t commits(struct fixture *f, const char *id, int32_t generation)
{
    int16_t error =
        group_may_commit(f->group, &f->step, span_text(id), (struct span){0}, generation, 8);
    fixture_settle(f);
    return error;
}

// A classic group of two, "a" and "b", with t:0 t:1 and t:2 t:3, in generation 1; the limits let it
// be turned either way.
struct pair {
    const char *a;
    const char *b;
};

static inline struct topics *mixed_fixture_open(struct fixture *f)
{
    struct topics *topics = consumer_fixture_open(f);
    f->limits.may_upgrade = true;
    f->limits.may_downgrade = true;
    topics_set(topics, "t", 4);
    return topics;
}

static inline struct pair stable_pair(struct fixture *f, const char *instance_a,
                                      const char *instance_b)
{
    struct call *a = enter(f, (struct enter){.instance = instance_a});
    struct call *b = enter(f, (struct enter){.instance = instance_b});
    fixture_pass(f, 6000);
    struct pair pair = {id_of(a), id_of(b)};
    cr_assert_eq(generation_of(a), 1);
    cr_assert_eq(generation_of(b), 1);
    struct call *lead = sync_call(4, pair.a, 1);
    sync_assign(lead, pair.a, "");
    sync_assign(lead, pair.b, "");
    lead->in.sync.assignments[0].assignment = assignment(lead, "t:0 t:1");
    lead->in.sync.assignments[1].assignment = assignment(lead, "t:2 t:3");
    fixture_ask(f, lead);
    cr_assert_str_eq(given(f, pair.a, 1), "t:0 t:1");
    cr_assert_str_eq(given(f, pair.b, 1), "t:2 t:3");
    return pair;
}
