// SPDX-License-Identifier: Apache-2.0
// Every allocation of a group's life fails, each in turn, alone or with all that follow: nothing
// crashes, nothing leaks, every ask is answered once, and the group that is made from the image
// then is a sound one.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/robust/fault_alloc.h"
#include "tests/unit/group_calls.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

enum { CALLS_MAX = 64, RUNS_MAX = 20000, LEAKS_EVERY = 8 };

struct scene {
    struct group *group;
    struct group_limits limits;
    struct random random;
    struct group_records records;
    struct list answers;
    struct group_step step;
    struct image image;
    struct call *calls[CALLS_MAX];
    uint32_t call_count;
    uint32_t failures;
};

// Around everything that is not the group's: it has all the memory it wants.
static void scene_open(struct scene *scene)
{
    *scene = (struct scene){
        .limits = {.min_session_timeout_ms = 6000,
                   .max_session_timeout_ms = 1800000,
                   .initial_rebalance_delay_ms = 3000,
                   .max_members = 100,
                   .consumer_session_timeout_ms = 45000,
                   .consumer_max_members = 100,
                   .may_upgrade = true,
                   .may_downgrade = true,
                   .assignors = {GROUP_UNIFORM, GROUP_RANGE}},
        .random = {1},
        .group = group_new(span_text("group")),
    };
    group_records_init(&scene->records);
    list_init(&scene->answers);
    map_init(&scene->image.records);
    scene->step = (struct group_step){
        .now_ms = 1000,
        .limits = &scene->limits,
        .random = &scene->random,
        .records = &scene->records,
        .answers = &scene->answers,
    };
}

static void take_answers(struct scene *scene)
{
    struct list *node;
    while ((node = list_pop(&scene->answers))) {
        struct call *call = list_entry(list_entry(node, struct group_ask, node), struct call, ask);
        CHECK(!call->answered);
        call->answered = true;
    }
}

static struct group *load(struct scene *scene)
{
    struct image_record *record;
    size_t at = 0;
    int error = 0;
    struct group *group = group_new(span_text("group"));
    if (!group)
        return NULL;
    while (!error && (record = map_next(&scene->image.records, &at)))
        error = group_load(group, record->key, record->value);
    if (!error)
        error = group_load_done(group, &scene->step);
    CHECK(error == 0 || error == -ENOMEM);
    if (!error)
        return group;
    group_free(group);
    return NULL;
}

static void reload(struct scene *scene)
{
    scene->failures++;
    group_give_up(scene->group, &scene->answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    take_answers(scene);
    group_free(scene->group);
    fault_alloc_resume();
    scene->group = load(scene);
    fault_alloc_pause();
    if (!scene->group) {
        fault_alloc_disarm();
        scene->group = load(scene);
        CHECK(scene->group);
    }
}

static void end_step(struct scene *scene)
{
    fault_alloc_pause();
    if (scene->step.failed) {
        scene->step.failed = false;
        reload(scene);
    } else {
        image_apply(&scene->image, &scene->records);
        take_answers(scene);
    }
    group_records_clear(&scene->records);
    group_check(scene->group);
}

static struct call *ask(struct scene *scene, struct call *call)
{
    CHECK(scene->call_count < CALLS_MAX);
    scene->calls[scene->call_count++] = call;
    fault_alloc_resume();
    group_ask(scene->group, &scene->step, &call->ask);
    end_step(scene);
    return call;
}

static void pass(struct scene *scene, int64_t ms)
{
    scene->step.now_ms += ms;
    fault_alloc_resume();
    group_time(scene->group, &scene->step);
    end_step(scene);
}

// Of one that says what it wants and has: "topic", and its partition 1.
static struct span subscription(void)
{
    static const uint8_t bytes[] = {0,   1,   0,   0,   0, 1, 0, 5, 't', 'o', 'p', 'i',
                                    'c', 0,   0,   0,   0, 0, 0, 0, 1,   0,   5,   't',
                                    'o', 'p', 'i', 'c', 0, 0, 0, 1, 0,   0,   0,   1};
    return span_of(bytes, sizeof(bytes));
}

static struct span half(uint8_t partition)
{
    static uint8_t bytes[2][24] = {
        {0, 1, 0, 0, 0, 1, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 0, 0, 1, 0, 0, 0, 0},
        {0, 1, 0, 0, 0, 1, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 0, 0, 1, 0, 0, 0, 1},
    };
    return span_of(bytes[partition], 21);
}

static struct call *join(struct scene *scene, int16_t version, struct span id, const char *instance,
                         const char *protocols)
{
    struct call *call = call_new(GROUP_JOIN, version);
    struct kp_join_group_request *in = &call->in.join;
    kp_join_group_request_init(in);
    in->member_id = id;
    in->group_instance_id = span_text(instance);
    in->protocol_type = span_text("consumer");
    in->session_timeout_ms = 20000;
    in->rebalance_timeout_ms = 10000;
    call_protocols(call, protocols);
    for (int32_t i = 0; i < in->protocols_count; i++)
        if (span_equal(in->protocols[i].metadata, span_text("s")))
            in->protocols[i].metadata = subscription();
    return ask(scene, call);
}

static void sync(struct scene *scene, const struct call *joined, const struct call *other)
{
    struct call *call = call_new(GROUP_SYNC, 4);
    struct kp_sync_group_request *in = &call->in.sync;
    kp_sync_group_request_init(in);
    in->member_id = joined->out.join.member_id;
    in->generation_id = joined->out.join.generation_id;
    in->assignments = arena_array(&call->arena, 2, sizeof(*in->assignments));
    in->assignments[0].member_id = joined->out.join.member_id;
    in->assignments[0].assignment = half(0);
    in->assignments[1].member_id = other->out.join.member_id;
    in->assignments[1].assignment = half(1);
    in->assignments_count = 2;
    ask(scene, call);
}

static void leave_as(struct scene *scene, struct span id, const char *instance)
{
    struct call *call = call_new(GROUP_LEAVE, 4);
    kp_leave_group_request_init(&call->in.leave);
    call->in.leave.members = arena_array(&call->arena, 1, sizeof(*call->in.leave.members));
    call->in.leave.members[0].member_id = id;
    call->in.leave.members[0].group_instance_id = span_text(instance);
    call->in.leave.members_count = 1;
    ask(scene, call);
}

static void leave(struct scene *scene, struct span id)
{
    leave_as(scene, id, NULL);
}

static void describe(struct scene *scene)
{
    struct call *call = call_new(GROUP_DESCRIBE, 5);
    kp_describe_groups_response_group_init(&call->out.describe);
    ask(scene, call);
}

static void live(struct scene *scene)
{
    const char *both = "range=r,sticky=s";
    struct call *a = join(scene, 3, kp_empty(), NULL, both);
    struct call *promised = join(scene, 5, kp_empty(), NULL, both);
    struct call *b = join(scene, 5, promised->out.join.member_id, NULL, both);
    struct call *c = join(scene, 5, kp_empty(), "ic", "sticky=s");
    pass(scene, 3000);
    pass(scene, 3000);
    sync(scene, b, a);
    sync(scene, c, a);
    sync(scene, a, b);
    describe(scene);
    fault_alloc_resume();
    group_subscribes(scene->group, span_text("topic"));
    fault_alloc_pause();
    join(scene, 9, kp_empty(), "ic", "sticky=x");
    b = join(scene, 5, b->out.join.member_id, NULL, "sticky=new,own=1");
    a = join(scene, 5, a->out.join.member_id, NULL, "sticky=other");
    pass(scene, 10000);
    sync(scene, b, a);
    sync(scene, a, b);
    leave(scene, a->out.join.member_id);
    pass(scene, 10000);
    pass(scene, 50000);
    pass(scene, 50000);
}

// --- the consumer protocol

static struct call *pulse(struct scene *scene, const char *id, int32_t epoch, const char *instance,
                          const char *regex, const struct kp_uuid *owned)
{
    struct call *call = call_new(GROUP_CONSUMER_HEARTBEAT, 1);
    struct kp_consumer_group_heartbeat_request *in = &call->in.consumer;
    kp_consumer_group_heartbeat_request_init(in);
    in->member_id = span_text(id);
    in->member_epoch = epoch;
    in->instance_id = span_text(instance);
    in->rack_id = span_text("rack");
    in->rebalance_timeout_ms = 10000;
    in->subscribed_topic_regex = span_text(regex);
    in->subscribed_topic_names = arena_array(&call->arena, 1, sizeof(struct span));
    in->subscribed_topic_names[0] = span_text("topic");
    in->subscribed_topic_names_count = regex ? 0 : 1;
    in->topic_partitions = arena_array(&call->arena, 1, sizeof(*in->topic_partitions));
    in->topic_partitions_count = owned ? 1 : 0;
    if (owned) {
        in->topic_partitions[0] = (struct kp_consumer_group_heartbeat_request_topic_partition){
            .topic_id = *owned,
            .partitions = arena_array(&call->arena, 1, sizeof(int32_t)),
            .partitions_count = 1,
        };
    }
    return ask(scene, call);
}

static int32_t epoch_in(const struct scene *scene, const char *id)
{
    const struct group_member *member = group_member_find(scene->group, span_text(id));
    return member && member->consumer && member->consumer->epoch > 0 ? member->consumer->epoch : 0;
}

static void describe_consumers(struct scene *scene)
{
    struct call *call = call_new(GROUP_CONSUMER_DESCRIBE, 1);
    kp_consumer_group_describe_response_group_init(&call->out.consumer_describe);
    ask(scene, call);
}

static void live_as_consumers(struct scene *scene, struct catalog *catalog,
                              struct catalog_topic *topic)
{
    pulse(scene, "a", 0, NULL, NULL, NULL);
    pulse(scene, "b", 0, "i", "t.*", NULL);
    for (int i = 0; i < 2; i++) {
        pulse(scene, "a", epoch_in(scene, "a"), NULL, NULL, &topic->id);
        pulse(scene, "a", epoch_in(scene, "a"), NULL, NULL, NULL);
        pulse(scene, "b", epoch_in(scene, "b"), "i", "t.*", NULL);
    }
    topic->partition_count = 5;
    catalog->version++;
    fault_alloc_resume();
    group_catalog_changed(scene->group, &scene->step);
    end_step(scene);
    describe_consumers(scene);
    pulse(scene, "a", epoch_in(scene, "a"), NULL, "top.*|x", NULL);
    pulse(scene, "b", -2, "i", NULL, NULL);
    pulse(scene, "c", 0, "i", NULL, NULL);
    pulse(scene, "a", -1, NULL, NULL, NULL);
    pulse(scene, "c", epoch_in(scene, "c"), "i", NULL, NULL);
    pass(scene, 50000);
    pass(scene, 50000);
}

// --- both in one group

// The scene must do what it says, as long as nothing has failed.
static void expect(const struct scene *scene, const char *type, uint32_t members)
{
    CHECK(scene->failures || (strcmp(group_type_name(scene->group), type) == 0 &&
                              group_member_count(scene->group) == members));
}

static void live_mixed(struct scene *scene, struct catalog *catalog, struct catalog_topic *topic)
{
    (void)catalog;
    struct call *a = join(scene, 3, kp_empty(), NULL, "range=s");
    struct call *b = join(scene, 5, kp_empty(), "ib", "range=s");
    pass(scene, 3000);
    pass(scene, 3000);
    sync(scene, b, a);
    sync(scene, a, b);
    join(scene, 5, kp_empty(), "late", "range=s");
    expect(scene, "classic", 3);
    pulse(scene, "c", 0, NULL, NULL, NULL);
    expect(scene, "consumer", 4);
    a = join(scene, 5, a->out.join.member_id, NULL, "range=s");
    b = join(scene, 5, kp_empty(), "ib", "range=s");
    sync(scene, b, a);
    sync(scene, a, b);
    join(scene, 5, kp_empty(), "late", "range=s");
    pulse(scene, "d", 0, "ib", NULL, NULL);
    expect(scene, "consumer", 4);
    pulse(scene, "c", epoch_in(scene, "c"), NULL, NULL, &topic->id);
    describe_consumers(scene);
    leave_as(scene, kp_empty(), "late");
    pulse(scene, "c", -1, NULL, NULL, NULL);
    expect(scene, "consumer", 2);
    b = join(scene, 5, kp_empty(), "ib", "range=s");
    expect(scene, "classic", 2);
    pulse(scene, "e", 0, NULL, NULL, NULL);
    expect(scene, "consumer", 3);
    pulse(scene, "e", -1, NULL, NULL, NULL);
    expect(scene, "classic", 2);
    a = join(scene, 5, a->out.join.member_id, NULL, "range=s");
    pass(scene, 10000);
    sync(scene, a, b);
    pass(scene, 50000);
    pass(scene, 50000);
}

static void live_with_topics(struct scene *scene,
                             void (*play)(struct scene *scene, struct catalog *catalog,
                                          struct catalog_topic *topic))
{
    struct catalog_topic topic = {.name = "topic", .id = {{7}}, .partition_count = 3};
    const struct catalog_topic *order[] = {&topic};
    struct catalog catalog = {.version = 1, .topics = order, .topic_count = 1};
    CHECK(map_put(&catalog.by_name, span_text("topic"), &topic) == 0);
    CHECK(map_put(&catalog.by_id, span_of(topic.id.bytes, sizeof(topic.id.bytes)), &topic) == 0);
    scene->step.catalog = &catalog;
    play(scene, &catalog, &topic);
    scene->step.catalog = NULL;
    map_free(&catalog.by_name);
    map_free(&catalog.by_id);
}

static void consumers(struct scene *scene)
{
    live_with_topics(scene, live_as_consumers);
}

static void mixed(struct scene *scene)
{
    live_with_topics(scene, live_mixed);
}

static void scene_close(struct scene *scene)
{
    group_give_up(scene->group, &scene->answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    take_answers(scene);
    group_free(scene->group);
    for (uint32_t i = 0; i < scene->call_count; i++) {
        CHECK(scene->calls[i]->answered);
        call_free(scene->calls[i]);
    }
    group_records_free(&scene->records);
    image_free(&scene->image);
}

// False when there was no such allocation.
static bool run(uint64_t nth, bool for_ever, void (*play)(struct scene *scene))
{
    struct scene scene;
    fault_alloc_arm(nth, for_ever);
    fault_alloc_pause();
    scene_open(&scene);
    play(&scene);
    bool struck = fault_alloc_struck();
    fault_alloc_disarm();
    if (!struck)
        CHECK(scene.failures == 0 && group_is_empty(scene.group));
    scene_close(&scene);
    fault_alloc_resume();
    return struck;
}

static void run_all(const char *name, void (*play)(struct scene *scene))
{
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        uint64_t nth = 1;
        while (run(nth, for_ever, play)) {
            CHECK(nth < RUNS_MAX);
            if (nth % LEAKS_EVERY == 0)
                CHECK(__lsan_do_recoverable_leak_check() == 0);
            nth++;
        }
        CHECK(nth > 20); // or the scene does not do what it says
        CHECK(__lsan_do_recoverable_leak_check() == 0);
        printf("%s: %lu allocations failed%s\n", name, (unsigned long)nth - 1,
               for_ever ? ", with all that followed" : "");
    }
}

int main(void)
{
    run_all("classic", live);
    run_all("consumer", consumers);
    run_all("mixed", mixed);
    return 0;
}
