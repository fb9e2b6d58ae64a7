// SPDX-License-Identifier: Apache-2.0
// weir-sim-groups: runs histories of seeds.
//
// A history has three parts: a wild one, in which messages are lost, doubled and late, members die,
// hang and come back, writes fail and the broker crashes; a calm one, at whose end the group must
// be stable and every partition owned; and an end, after which nothing of the members may be left.
#include "tests/sim/group_sim.h"

#include <getopt.h>
#include <stdarg.h>
#include <time.h>

void sim_say(struct sim *sim, const char *format, ...)
{
    char *said = sim->said[sim->said_count++ % SIM_SAID];
    va_list arguments;
    va_start(arguments, format);
    int size = snprintf(said, SIM_SAID_SIZE, "%9" PRId64 " ", sim->now_ms);
    vsnprintf(said + size, SIM_SAID_SIZE - (size_t)size, format, arguments);
    va_end(arguments);
    if (sim->out)
        fprintf(sim->out, "%s\n", said);
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    uint64_t from = sim->said_count > SIM_SAID ? sim->said_count - SIM_SAID : 0;
    for (uint64_t i = from; i < sim->said_count && !sim->out; i++)
        fprintf(stderr, "  %s\n", sim->said[i % SIM_SAID]);
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ": ", sim->seed);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    _Exit(3);
}

// --- what happens when

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void event_swap(struct sim *sim, uint32_t a, uint32_t b)
{
    struct sim_event event = sim->events[a];
    sim->events[a] = sim->events[b];
    sim->events[b] = event;
}

// The place in the heap is found at once; what else the event says is the caller's.
struct sim_event *sim_at(struct sim *sim, int64_t at_ms, enum sim_event_kind kind)
{
    if (sim->event_count == sim->event_capacity) {
        sim->event_capacity = sim->event_capacity ? 2 * sim->event_capacity : 64;
        sim->events = realloc(sim->events, sim->event_capacity * sizeof(*sim->events));
        CHECK(sim->events);
    }
    uint32_t at = sim->event_count++;
    sim->events[at] = (struct sim_event){.at_ms = at_ms, .order = ++sim->order, .kind = kind};
    while (at > 0 && is_before(&sim->events[at], &sim->events[(at - 1) / 2])) {
        event_swap(sim, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
    return &sim->events[at];
}

static struct sim_event next_event(struct sim *sim)
{
    struct sim_event event = sim->events[0];
    sim->events[0] = sim->events[--sim->event_count];
    for (uint32_t at = 0;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < sim->event_count && is_before(&sim->events[child], &sim->events[least]))
                least = child;
        if (least == at)
            return event;
        event_swap(sim, at, least);
        at = least;
    }
}

void sim_send(struct sim *sim, struct sim_request *request, enum sim_event_kind kind)
{
    if (sim_chance(sim, 20)) {
        sim_request_free(request);
        return;
    }
    int64_t delay_ms = (int64_t)sim_random(sim, sim_chance(sim, 10) ? 20000 : 20);
    struct sim_event *event = sim_at(sim, sim->now_ms + delay_ms, kind);
    event->request = request;
}

struct sim_request *sim_request_new(struct sim *sim, enum sim_what what, int16_t version,
                                    const char *id, const char *instance, int32_t generation)
{
    static const enum group_ask_kind kinds[] = {
        [SIM_JOIN] = GROUP_JOIN,           [SIM_SYNC] = GROUP_SYNC,
        [SIM_HEARTBEAT] = GROUP_HEARTBEAT, [SIM_LEAVE] = GROUP_LEAVE,
        [SIM_COMMIT] = GROUP_HEARTBEAT,    [SIM_CONSUMER] = GROUP_CONSUMER_HEARTBEAT,
    };
    struct sim_request *request = calloc(1, sizeof(*request));
    CHECK(request);
    call_open(&request->call, kinds[what], version);
    request->what = what;
    request->member = -1;
    request->generation = generation;
    list_init(&request->node);
    snprintf(request->id, sizeof(request->id), "%s", id);
    snprintf(request->instance, sizeof(request->instance), "%s", instance);
    if (sim_chance(sim, 500)) // its answer will not fit
        request->call.arena.limit = 6000;
    return request;
}

void sim_request_free(struct sim_request *request)
{
    arena_free(&request->call.arena);
    free(request);
}

// --- a history

static void happen(struct sim *sim, const struct sim_event *event)
{
    switch (event->kind) {
    case SIM_ARRIVES:
        sim_broker_ask(sim, event->request);
        break;
    case SIM_ANSWERED:
        sim_member_answer(sim, event->request);
        break;
    case SIM_MEMBER:
        sim_member_time(sim, event->member, event->token);
        break;
    case SIM_WRITTEN:
        sim_broker_written(sim, event->token);
        break;
    case SIM_GROUP:
        sim_broker_time(sim);
        break;
    case SIM_UP:
        sim_broker_up(sim);
        break;
    case SIM_MISFORTUNE:
        sim_misfortune(sim);
        break;
    }
}

static void run_until(struct sim *sim, int64_t end_ms, bool settled)
{
    while (sim->event_count && sim->events[0].at_ms <= end_ms) {
        struct sim_event event = next_event(sim);
        sim->now_ms = event.at_ms;
        happen(sim, &event);
        sim_checker_owners(sim);
        if (settled && sim_checker_settled(sim))
            return;
    }
    sim->now_ms = end_ms;
}

static void say_members(struct sim *sim)
{
    for (int i = 0; i < SIM_MEMBERS; i++) {
        const struct sim_member *member = &sim->members[i];
        if (member->state != SIM_OFF)
            sim_say(sim, "member %d: %s %s, state %d, generation %" PRId32 ", has %x, wants %u", i,
                    member->id, member->instance, member->state, member->generation, member->owned,
                    member->metadata);
    }
    list_each(node, &sim->broker.group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        sim_say(sim, "in the group: %.*s%s", (int)member->id.size, (const char *)member->id.data,
                member->offers ? ", classic" : "");
    }
}

static void calm_down(struct sim *sim)
{
    sim->calm = true;
    sim->broker.limits.max_members = 100;
    sim->broker.limits.consumer_max_members = 100;
    sim->broker.limits.may_upgrade = true;
    sim->broker.limits.may_downgrade = true;
    sim_say(sim, "calm from now on");
    bool more = sim_random(sim, 4) == 0;
    bool any = false;
    for (int i = 0; i < SIM_MEMBERS; i++)
        any |= sim->members[i].state != SIM_OFF;
    for (int i = 0; i < SIM_MEMBERS && (more || !any); i++)
        if (sim->members[i].state == SIM_OFF && (!any || sim_random(sim, 2)))
            sim_member_start(sim, i, "");
    run_until(sim, sim->now_ms + 900000, true);
    if (!sim_checker_settled(sim) && sim->broker.group)
        say_members(sim);
    if (!sim_checker_settled(sim))
        sim_fail(sim, "the group does not become stable: %s, generation %" PRId32,
                 group_state_name(sim->broker.group), sim->broker.group->generation);
}

static void end(struct sim *sim)
{
    for (int i = 0; i < SIM_MEMBERS; i++)
        sim->members[i].state = SIM_OFF;
    run_until(sim, sim->now_ms + 1000000, false);
    const struct sim_broker *broker = &sim->broker;
    if (!group_is_empty(broker->group) || broker->group->bytes || broker->group->protocols.count ||
        broker->group->pending_by_id.count)
        sim_fail(sim, "the group keeps what its members have brought");
    if (broker->image.records.count > 1)
        sim_fail(sim, "%zu records are left", broker->image.records.count);
    if (!list_empty(&broker->requests) || !list_empty(&broker->writes))
        sim_fail(sim, "requests are left without an answer");
}

static void play(struct sim *sim, uint64_t seed, FILE *out)
{
    static const char *const instances[] = {"", "", "", "i0", "i1", "i2"};
    *sim = (struct sim){.seed = seed, .random = {seed * 7919 + 1}, .now_ms = 1000, .out = out};
    sim->checker = sim_checker_new();
    sim->mixed = seed % 3 == 0;
    sim->cooperative = seed % 2 == 0;
    if (seed % 3 != 1)
        sim_consumers_open(sim);
    sim_broker_open(sim);
    int64_t wild_ms = 20000 + (int64_t)sim_random(sim, 400000);
    uint64_t members = 1 + sim_random(sim, SIM_MEMBERS - 3);
    for (uint64_t i = 0; i < members; i++)
        sim_member_start(sim, (int)i, instances[i % 6]);
    sim_at(sim, sim->now_ms + 1000, SIM_MISFORTUNE);
    run_until(sim, wild_ms, false);
    calm_down(sim);
    end(sim);
    sim_broker_close(sim);
    for (uint32_t i = 0; i < sim->event_count; i++)
        if (sim->events[i].request)
            sim_request_free(sim->events[i].request);
    free(sim->events);
    sim_checker_free(sim->checker);
    if (sim->consumers)
        sim_consumers_close(sim);
}

void sim_history(uint64_t seed)
{
    static struct sim sim;
    play(&sim, seed, NULL);
}

static void usage(void)
{
    fputs("usage: weir-sim-groups [--seeds N] [--seed S] [--first S] [--plants]\n"
          "\n"
          "  --seeds N     run N histories (default 1000)\n"
          "  --seed S      run one, and print everything that happens\n"
          "  --first S     begin with this one (default 1)\n"
          "  --plants      with each of the planted faults in turn; fails if one is not found\n"
          "                (weir-sim-groups-plants only)\n",
          stderr);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},
        {"plants", no_argument, NULL, 'P'},
        {0},
    };
    static struct sim sim;
    uint64_t seeds = 1000;
    uint64_t first = 1;
    FILE *out = NULL;
    bool plants = false;
    for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        if (option == 'n') {
            seeds = strtoull(optarg, NULL, 10);
        } else if (option == 'f' || option == 's') {
            first = strtoull(optarg, NULL, 10);
        } else if (option == 'P') {
            plants = true;
        } else {
            usage();
            return 2;
        }
        if (option == 's') {
            seeds = 1;
            out = stdout;
        }
    }
    if (plants)
        return sim_run_plants(first, seeds);
    double start = now_s();
    uint64_t steps = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        play(&sim, first + i, out);
        steps += sim.steps;
    }
    fprintf(stderr, "%" PRIu64 " histories, %" PRIu64 " steps in %.1f s\n", seeds, steps,
            now_s() - start);
    return 0;
}
