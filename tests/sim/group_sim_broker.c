// SPDX-License-Identifier: Apache-2.0
// As much of a broker as a group needs: writes that become durable in order and after a while,
// answers that wait for them, and a group that is made anew from the image when a write fails or
// the broker has crashed.
#include "tests/sim/group_sim.h"

static struct sim_request *request_of(struct list *node)
{
    struct call *call = list_entry(list_entry(node, struct group_ask, node), struct call, ask);
    return list_entry(call, struct sim_request, call);
}

static void answer(struct sim *sim, struct list *answers)
{
    struct list *node;
    while ((node = list_pop(answers))) {
        struct sim_request *request = request_of(node);
        if (request->call.answered || list_empty(&request->node))
            sim_fail(sim, "a request is answered twice");
        request->call.answered = true;
        list_remove(&request->node);
        sim_checker_told(sim, request);
        sim_send(sim, request, SIM_ANSWERED);
    }
}

// --- the group and its image

static void forget_write(struct sim_write *write)
{
    CHECK(list_empty(&write->answers));
    list_remove(&write->node);
    group_records_free(&write->records);
    free(write);
}

static void load(struct sim *sim)
{
    struct sim_broker *broker = &sim->broker;
    struct image_record *record;
    size_t at = 0;
    broker->step.now_ms = sim->now_ms;
    broker->step.wall_ms = sim->now_ms + 1700000000000;
    broker->group = group_new(span_text("group"));
    while ((record = map_next(&broker->image.records, &at)))
        if (group_load(broker->group, record->key, record->value))
            sim_fail(sim, "a durable record cannot be read");
    if (group_load_done(broker->group, &broker->step))
        sim_fail(sim, "the image cannot be loaded");
    if (!list_empty(&broker->group->stale))
        sim_fail(sim, "the image does not fit together");
    sim_checker_loaded(sim);
    if (group_due_ms(broker->group) < INT64_MAX)
        sim_at(sim, group_due_ms(broker->group), SIM_GROUP);
}

// Throws the live group away; the asks that it and the writes had are in `asks` then.
static void unload(struct sim *sim, struct list *asks)
{
    struct sim_broker *broker = &sim->broker;
    list_each(node, &broker->writes) {
        struct sim_write *write = list_entry(node, struct sim_write, node);
        list_splice(asks, &write->answers);
        forget_write(write);
    }
    group_give_up(broker->group, asks, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    group_free(broker->group);
    broker->group = NULL;
}

// Every request at the broker is parked in the group or held by a write.
static void count_requests(struct sim *sim)
{
    const struct sim_broker *broker = &sim->broker;
    int there = 0;
    int known = 0;
    list_each(node, &broker->requests)
        there++;
    list_each(node, &broker->group->members)
        known += list_entry(node, struct group_member, node)->ask != NULL;
    list_each(node, &broker->writes) {
        list_each(held, &list_entry(node, struct sim_write, node)->answers)
            known++;
    }
    if (there != known)
        sim_fail(sim, "%d requests are at the broker, and %d are known", there, known);
}

// --- steps

static struct sim_write *begin(struct sim *sim)
{
    struct sim_broker *broker = &sim->broker;
    struct sim_write *write = calloc(1, sizeof(*write));
    CHECK(write);
    list_init(&write->node);
    list_init(&write->answers);
    group_records_init(&write->records);
    broker->step.records = &write->records;
    broker->step.answers = &write->answers;
    broker->step.now_ms = sim->now_ms;
    broker->step.wall_ms = sim->now_ms + 1700000000000;
    sim->steps++;
    return write;
}

static void finish(struct sim *sim, struct sim_write *write)
{
    struct sim_broker *broker = &sim->broker;
    if (broker->step.failed) {
        list_append(&broker->writes, &write->node);
        broker->step.failed = false;
        sim_broker_fail_write(sim);
        return;
    }
    group_check(broker->group);
    if (write->records.count) {
        int64_t at_ms = sim->now_ms + (int64_t)sim_random(sim, sim_chance(sim, 10) ? 3000 : 20);
        broker->last_write_ms = at_ms > broker->last_write_ms ? at_ms : broker->last_write_ms;
        write->serial = ++broker->serial;
        list_append(&broker->writes, &write->node);
        sim_at(sim, broker->last_write_ms, SIM_WRITTEN)->token = write->serial;
    } else {
        if (list_empty(&broker->writes))
            answer(sim, &write->answers);
        else
            list_splice(&list_entry(broker->writes.prev, struct sim_write, node)->answers,
                        &write->answers);
        forget_write(write);
    }
    count_requests(sim);
    int64_t due_ms = group_due_ms(broker->group);
    if (due_ms < INT64_MAX)
        sim_at(sim, due_ms > sim->now_ms ? due_ms : sim->now_ms, SIM_GROUP);
}

static void ask_commit(struct sim *sim, struct sim_request *request)
{
    struct sim_broker *broker = &sim->broker;
    int16_t error = group_may_commit(broker->group, &broker->step, span_text(request->id),
                                     span_text(request->instance), request->generation,
                                     request->call.ask.version);
    if (!error)
        sim_checker_committed(sim, request);
    group_ask_fail(&request->call.ask, error);
    list_append(broker->step.answers, &request->call.ask.node);
}

void sim_broker_ask(struct sim *sim, struct sim_request *request)
{
    struct sim_broker *broker = &sim->broker;
    if (!broker->group) {
        sim_request_free(request);
        return;
    }
    struct sim_write *write = begin(sim);
    list_append(&broker->requests, &request->node);
    if (request->what == SIM_CONSUMER)
        sim_consumer_arrives(sim, request);
    if (request->what == SIM_COMMIT)
        ask_commit(sim, request);
    else
        group_ask(broker->group, &broker->step, &request->call.ask);
    finish(sim, write);
}

void sim_broker_time(struct sim *sim)
{
    struct sim_broker *broker = &sim->broker;
    if (!broker->group || group_due_ms(broker->group) > sim->now_ms)
        return;
    struct sim_write *write = begin(sim);
    group_time(broker->group, &broker->step);
    if (!broker->step.failed && group_due_ms(broker->group) <= sim->now_ms)
        sim_fail(sim, "the group's time does not pass");
    finish(sim, write);
}

void sim_broker_forsake(struct sim *sim)
{
    struct sim_broker *broker = &sim->broker;
    if (!broker->group)
        return;
    list_each(node, &broker->requests) {
        struct sim_request *request = list_entry(node, struct sim_request, node);
        if (!request->call.ask.member || sim_random(sim, 3))
            continue;
        struct sim_write *write = begin(sim);
        sim_say(sim, "member %d's connection breaks", request->member);
        group_forsake(broker->group, &broker->step, &request->call.ask);
        finish(sim, write);
        return;
    }
}

void sim_broker_catalog_changed(struct sim *sim)
{
    if (!sim->broker.group)
        return;
    struct sim_write *write = begin(sim);
    group_catalog_changed(sim->broker.group, &sim->broker.step);
    finish(sim, write);
}

// --- what becomes of writes

void sim_broker_written(struct sim *sim, uint64_t serial)
{
    struct sim_broker *broker = &sim->broker;
    struct sim_write *write = list_entry(broker->writes.next, struct sim_write, node);
    if (list_empty(&broker->writes) || write->serial != serial)
        return; // it has failed, or the broker has crashed
    image_apply(&broker->image, &write->records);
    answer(sim, &write->answers);
    forget_write(write);
}

void sim_broker_fail_write(struct sim *sim)
{
    struct list asks;
    if (!sim->broker.group || list_empty(&sim->broker.writes))
        return;
    sim_say(sim, "a write fails");
    list_init(&asks);
    unload(sim, &asks);
    list_each(node, &asks)
        group_ask_fail(list_entry(node, struct group_ask, node),
                       KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    answer(sim, &asks);
    load(sim);
}

void sim_broker_crash(struct sim *sim)
{
    struct sim_broker *broker = &sim->broker;
    struct list asks;
    struct list *node;
    if (!broker->group)
        return;
    sim_say(sim, "the broker crashes");
    list_init(&asks);
    // Writes under way may have become durable, in their order.
    list_each(at, &broker->writes) {
        if (sim_random(sim, 2))
            break;
        image_apply(&broker->image, &list_entry(at, struct sim_write, node)->records);
    }
    unload(sim, &asks);
    while ((node = list_pop(&asks))) {
        struct sim_request *request = request_of(node);
        list_remove(&request->node);
        sim_request_free(request);
    }
    broker->crashes++;
    sim_at(sim, sim->now_ms + (int64_t)sim_random(sim, 20000), SIM_UP);
}

void sim_broker_up(struct sim *sim)
{
    sim_say(sim, "the broker starts");
    load(sim);
}

void sim_broker_open(struct sim *sim)
{
    static const int32_t delays[] = {0, 100, 3000};
    struct sim_broker *broker = &sim->broker;
    list_init(&broker->writes);
    list_init(&broker->requests);
    map_init(&broker->image.records);
    broker->limits = (struct group_limits){
        .min_session_timeout_ms = 6000,
        .max_session_timeout_ms = 1800000,
        .initial_rebalance_delay_ms = delays[sim_random(sim, 3)],
        .max_members = sim_random(sim, 4) ? 100 : 3,
        .consumer_session_timeout_ms = 45000,
        .consumer_heartbeat_interval_ms = 3000,
        .consumer_max_members = sim_random(sim, 4) ? 100 : 3,
        .assignors = {GROUP_UNIFORM, GROUP_RANGE},
        .may_upgrade = sim_random(sim, 8) != 0,
        .may_downgrade = sim_random(sim, 8) != 0,
    };
    broker->step.limits = &broker->limits;
    broker->step.random = &sim->random;
    load(sim);
}

void sim_broker_close(struct sim *sim)
{
    group_free(sim->broker.group);
    image_free(&sim->broker.image);
}
