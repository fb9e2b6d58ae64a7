// SPDX-License-Identifier: Apache-2.0
// Knows what members were told, in the order in which the answers left the broker, and what leaders
// have sent; nothing of how a group works.
//
// 1. Generations never go back, not by a crash either: who is told "joined", "alive" or "committed"
//    is told so in the newest generation that anybody was told.
// 2. All that joined a generation were told one protocol and one leader, and stand in the list that
//    the leader was given, with what they offered. A static member that comes back stands there
//    under a former id.
// 3. What the members of a generation own comes from one SyncGroup of its leader: each has what
//    that gave to it, or nothing if it was left out. So a partition has one owner in a generation.
// 4. Of two members that believe they have a partition, one may commit at most; and nothing is
//    committed by one that is not the only one. This holds for all kinds of histories.
#include "tests/sim/group_sim.h"

enum { GENERATIONS = 2000, TOLD = 256, GIVEN = 64 };

struct given {
    uint32_t number;
    struct {
        char id[SIM_ID_SIZE];
        char text[128];
    } to[SIM_LISTED + 1];
    uint32_t count;
};

// A member with what it has offered for the protocol of the generation.
struct seen {
    char id[SIM_ID_SIZE];
    char metadata[16];
};

struct generation {
    int32_t number;
    char leader[SIM_ID_SIZE];
    char protocol[16];
    struct seen listed[SIM_LISTED];
    uint32_t listed_count; // 0: the leader's answer has not left yet
    struct seen told[TOLD];
    uint32_t told_count;
    struct given *given[GIVEN]; // what its leader has sent
    uint32_t given_count;
    const struct given *chosen; // what the members were told to come from
};

struct sim_checker {
    struct generation *now; // the newest that anybody was told; NULL: none
    struct generation *generations[GENERATIONS];
    uint32_t generation_count;
};

struct sim_checker *sim_checker_new(void)
{
    struct sim_checker *checker = calloc(1, sizeof(*checker));
    CHECK(checker);
    return checker;
}

void sim_checker_free(struct sim_checker *checker)
{
    for (uint32_t i = 0; i < checker->generation_count; i++) {
        for (uint32_t k = 0; k < checker->generations[i]->given_count; k++)
            free(checker->generations[i]->given[k]);
        free(checker->generations[i]);
    }
    free(checker);
}

// --- who is who

// Of one member: the same id, or ids of one static member, which begin with its instance id.
static bool is_same(const char *a, const char *b)
{
    size_t instance = strcspn(a, "-") + 1;
    return strcmp(a, b) == 0 || (a[0] == 'i' && strncmp(a, b, instance) == 0);
}

static void text_of(struct span bytes, char *to, size_t size)
{
    snprintf(to, size, "%.*s", (int)bytes.size, bytes.size ? (const char *)bytes.data : "");
}

// --- generations

static void begin_generation(struct sim *sim, int32_t number)
{
    struct sim_checker *checker = sim->checker;
    CHECK(checker->generation_count < GENERATIONS);
    checker->now = calloc(1, sizeof(*checker->now));
    CHECK(checker->now);
    checker->now->number = number;
    checker->generations[checker->generation_count++] = checker->now;
}

static void check_current(struct sim *sim, const struct sim_request *request, int32_t generation,
                          const char *what)
{
    const struct generation *now = sim->checker->now;
    if (!now || generation != now->number)
        sim_fail(sim, "member %d is told %s in generation %" PRId32 ", and the newest is %" PRId32,
                 request->member, what, generation, now ? now->number : -1);
}

static void check_listed(struct sim *sim)
{
    const struct generation *now = sim->checker->now;
    for (uint32_t i = 0; i < now->told_count && now->listed_count; i++) {
        bool listed = false;
        for (uint32_t k = 0; k < now->listed_count; k++) {
            listed |= is_same(now->told[i].id, now->listed[k].id);
            if (strcmp(now->told[i].id, now->listed[k].id) == 0 &&
                strcmp(now->told[i].metadata, now->listed[k].metadata))
                sim_fail(sim, "%s has joined with \"%s\", and its leader was told \"%s\"",
                         now->told[i].id, now->told[i].metadata, now->listed[k].metadata);
        }
        if (!listed)
            sim_fail(sim, "%s is in generation %" PRId32 ", and its leader does not know",
                     now->told[i].id, now->number);
    }
}

static void note_listed(struct sim *sim, const struct kp_join_group_response *out)
{
    struct generation *now = sim->checker->now;
    now->listed_count = 0;
    for (int32_t i = 0; i < out->members_count && i < SIM_LISTED; i++) {
        struct seen *listed = &now->listed[now->listed_count++];
        text_of(out->members[i].member_id, listed->id, sizeof(listed->id));
        text_of(out->members[i].metadata, listed->metadata, sizeof(listed->metadata));
    }
}

static void note_told(struct sim *sim, const struct sim_request *request, const char *id)
{
    struct generation *now = sim->checker->now;
    const struct kp_join_group_request *in = &request->call.in.join;
    CHECK(now->told_count < TOLD);
    struct seen *told = &now->told[now->told_count++];
    memcpy(told->id, id, sizeof(told->id));
    for (int32_t i = 0; i < in->protocols_count; i++)
        if (span_equal(in->protocols[i].name, span_text(now->protocol)))
            text_of(in->protocols[i].metadata, told->metadata, sizeof(told->metadata));
}

static void told_joined(struct sim *sim, const struct sim_request *request)
{
    struct sim_checker *checker = sim->checker;
    const struct kp_join_group_response *out = &request->call.out.join;
    char id[SIM_ID_SIZE];
    char leader[SIM_ID_SIZE];
    char protocol[16];
    text_of(out->member_id, id, sizeof(id));
    text_of(out->leader, leader, sizeof(leader));
    text_of(out->protocol_name, protocol, sizeof(protocol));
    if (!checker->now || out->generation_id > checker->now->number)
        begin_generation(sim, out->generation_id);
    struct generation *now = checker->now;
    check_current(sim, request, out->generation_id, "joined");
    if (!now->leader[0]) {
        memcpy(now->leader, leader, sizeof(leader));
        memcpy(now->protocol, protocol, sizeof(protocol));
    }
    if (!is_same(now->leader, leader) || strcmp(now->protocol, protocol))
        sim_fail(sim, "generation %" PRId32 " has two leaders or protocols", now->number);
    note_told(sim, request, id);
    if (out->members_count && !out->skip_assignment)
        note_listed(sim, out);
    check_listed(sim);
    if (out->members_count && strcmp(id, leader))
        sim_fail(sim, "the members are told to one that does not lead");
}

// --- assignments

void sim_checker_gives(struct sim *sim, const struct sim_request *request, uint32_t number)
{
    struct sim_checker *checker = sim->checker;
    const struct kp_sync_group_request *in = &request->call.in.sync;
    for (uint32_t i = checker->generation_count; i-- > 0;) {
        struct generation *generation = checker->generations[i];
        if (generation->number != in->generation_id)
            continue;
        CHECK(generation->given_count < GIVEN);
        struct given *given = calloc(1, sizeof(*given));
        CHECK(given);
        generation->given[generation->given_count++] = given;
        given->number = number;
        for (int32_t k = 0; k < in->assignments_count; k++) {
            text_of(in->assignments[k].member_id, given->to[given->count].id, SIM_ID_SIZE);
            text_of(in->assignments[k].assignment, given->to[given->count].text,
                    sizeof(given->to[given->count].text));
            given->count++;
        }
        return;
    }
    sim_fail(sim, "the leader of generation %" PRId32 " was not told so", in->generation_id);
}

static const char *given_to(const struct given *given, const char *id)
{
    for (uint32_t i = 0; i < given->count; i++)
        if (is_same(given->to[i].id, id))
            return given->to[i].text;
    return "";
}

static void told_assignment(struct sim *sim, const struct sim_request *request)
{
    struct sim_checker *checker = sim->checker;
    char text[128];
    text_of(request->call.out.sync.assignment, text, sizeof(text));
    check_current(sim, request, request->generation, "synced");
    struct generation *now = checker->now;
    uint32_t number = (uint32_t)strtoul(text, NULL, 10);
    for (uint32_t i = 0; i < now->given_count && text[0] && !now->chosen; i++)
        if (now->given[i]->number == number)
            now->chosen = now->given[i];
    if (text[0] && !now->chosen)
        sim_fail(sim, "member %d is told %s, which nobody gave", request->member, text);
    if (now->chosen && strcmp(given_to(now->chosen, request->id), text))
        sim_fail(sim, "member %d is told \"%s\", and the leader gave it \"%s\"", request->member,
                 text, given_to(now->chosen, request->id));
}

// --- answers

void sim_checker_told(struct sim *sim, const struct sim_request *request)
{
    const struct call *call = &request->call;
    if (sim->consumers && request->what != SIM_CONSUMER) {
        sim_mixed_told(sim, request);
        return;
    }
    switch (request->what) {
    case SIM_JOIN:
        if (call->out.join.error_code == 0)
            told_joined(sim, request);
        break;
    case SIM_SYNC:
        if (call->out.sync.error_code == 0)
            told_assignment(sim, request);
        break;
    case SIM_HEARTBEAT:
        if (call->out.heartbeat.error_code == 0)
            check_current(sim, request, request->generation, "that it lives");
        break;
    case SIM_COMMIT:
        if (call->out.heartbeat.error_code == 0 && request->generation > 0)
            check_current(sim, request, request->generation, "that it has committed");
        break;
    case SIM_CONSUMER:
        sim_consumer_told(sim, request);
        break;
    case SIM_LEAVE:
        break;
    }
}

void sim_checker_loaded(struct sim *sim)
{
    const struct generation *now = sim->checker->now;
    if (sim->consumers)
        sim_consumer_loaded(sim);
    if (now && sim->broker.group->generation < now->number)
        sim_fail(sim, "generation %" PRId32 " was told, and %" PRId32 " was stored", now->number,
                 sim->broker.group->generation);
}

// --- owners

static bool may_commit(const struct sim *sim, const struct sim_member *member)
{
    const struct group *group = sim->broker.group;
    const struct group_member *known =
        group ? group_member_find(group, span_text(member->id)) : NULL;
    if (!known || member->generation <= 0 || member->state == SIM_OFF)
        return false;
    if (group->type == GROUP_CONSUMER)
        return known->consumer->epoch == member->generation;
    return group->generation == member->generation && group->phase != CLASSIC_COMPLETING;
}

void sim_checker_owners(struct sim *sim)
{
    uint32_t owned = 0;
    for (int i = 0; i < SIM_MEMBERS; i++) {
        const struct sim_member *member = &sim->members[i];
        if (!member->owned || !may_commit(sim, member))
            continue;
        if (member->owned & owned)
            sim_fail(sim, "member %d may commit %x, and so may another one", i,
                     member->owned & owned);
        owned |= member->owned;
    }
}

void sim_checker_committed(struct sim *sim, const struct sim_request *request)
{
    for (int i = 0; i < SIM_MEMBERS; i++) {
        const struct sim_member *member = &sim->members[i];
        if (i != request->member && (member->owned & (uint32_t)request->owned) &&
            may_commit(sim, member))
            sim_fail(sim, "member %d has committed %x, which member %d has", request->member,
                     (uint32_t)request->owned, i);
    }
}

bool sim_checker_settled(const struct sim *sim)
{
    uint32_t owned = 0;
    int on = 0;
    const struct group *group = sim->broker.group;
    if (sim->consumers)
        return sim_consumer_settled(sim);
    if (!group || group->phase != CLASSIC_STABLE || !list_empty(&sim->broker.writes))
        return false;
    for (int i = 0; i < SIM_MEMBERS; i++) {
        const struct sim_member *member = &sim->members[i];
        if (member->state == SIM_OFF)
            continue;
        if (member->state != SIM_STABLE || member->generation != group->generation ||
            (owned & member->owned))
            return false;
        owned |= member->owned;
        on++;
    }
    return (uint32_t)on == group->member_count && owned == (1u << SIM_PARTITIONS) - 1;
}
