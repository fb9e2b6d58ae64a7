// SPDX-License-Identifier: Apache-2.0
// Assignors: examples, and properties that hold for random groups, changed step by step.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "clients/c/assignor.h"
#include "clients/c/member_metadata.h"

enum { MEMBERS_MAX = 12, TOPICS_MAX = 6, PARTITIONS_MAX = 20, OWNED_MAX = 200 };

// A group whose members remember what they were given.
struct scene {
    struct random random;
    struct arena arena;
    struct assignor assignor;
    struct assignor_topic topics[TOPICS_MAX];
    struct assignor_member members[MEMBERS_MAX];
    uint32_t subscribed[MEMBERS_MAX][TOPICS_MAX];
    struct assignor_partition owned[MEMBERS_MAX][OWNED_MAX];
    char ids[MEMBERS_MAX][16];
    char names[TOPICS_MAX][24];
    int next_id;
    int32_t generation;
};

static void member_add(struct scene *scene)
{
    struct assignor *assignor = &scene->assignor;
    size_t m = assignor->member_count++;
    snprintf(scene->ids[m], sizeof(scene->ids[m]), "m%04d", scene->next_id++ * 7919 % 10000);
    scene->members[m] = (struct assignor_member){.id = span_text(scene->ids[m]),
                                                 .topics = scene->subscribed[m],
                                                 .owned = scene->owned[m],
                                                 .generation = -1};
}

static void member_subscribe(struct scene *scene, size_t m, bool all)
{
    struct assignor_member *member = &scene->members[m];
    member->topic_count = 0;
    for (uint32_t t = 0; t < scene->assignor.topic_count; t++) {
        if (all || random_below(&scene->random, 3) > 0)
            scene->subscribed[m][member->topic_count++] = t;
    }
}

// Its memory moves along with it; spans and pointers lead into the scene.
static void member_remove(struct scene *scene, size_t m)
{
    size_t last = --scene->assignor.member_count;
    if (m == last)
        return;
    memcpy(scene->ids[m], scene->ids[last], sizeof(scene->ids[m]));
    memcpy(scene->owned[m], scene->owned[last], sizeof(scene->owned[m]));
    memcpy(scene->subscribed[m], scene->subscribed[last], sizeof(scene->subscribed[m]));
    scene->members[m] = scene->members[last];
    scene->members[m].id = span_text(scene->ids[m]);
    scene->members[m].owned = scene->owned[m];
    scene->members[m].topics = scene->subscribed[m];
}

static struct scene *scene_new(uint64_t seed, bool all)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    scene->random.state = seed;
    arena_init(&scene->arena, (size_t)64 << 20);
    scene->assignor = (struct assignor){
        .arena = &scene->arena, .topics = scene->topics, .members = scene->members};
    scene->assignor.topic_count = 1 + random_below(&scene->random, TOPICS_MAX);
    for (size_t t = 0; t < scene->assignor.topic_count; t++) {
        snprintf(scene->names[t], sizeof(scene->names[t]), "t%zu", t);
        scene->topics[t].name = span_text(scene->names[t]);
        scene->topics[t].partition_count = (int32_t)random_below(&scene->random, PARTITIONS_MAX);
    }
    size_t members = 1 + random_below(&scene->random, MEMBERS_MAX);
    for (size_t m = 0; m < members; m++) {
        member_add(scene);
        member_subscribe(scene, m, all);
    }
    return scene;
}

static void scene_free(struct scene *scene)
{
    arena_free(&scene->arena);
    free(scene);
}

static bool subscribes(const struct assignor_member *member, uint32_t topic)
{
    for (size_t i = 0; i < member->topic_count; i++) {
        if (member->topics[i] == topic)
            return true;
    }
    return false;
}

// Every partition that anybody wants has one owner, who wants it. `strict`: all have one now.
static void check_owners(const struct scene *scene, bool strict)
{
    int owners[TOPICS_MAX][PARTITIONS_MAX] = {{0}};
    for (size_t m = 0; m < scene->assignor.member_count; m++) {
        const struct assignor_member *member = &scene->members[m];
        for (size_t i = 0; i < member->assigned_count; i++) {
            struct assignor_partition at = member->assigned[i];
            cr_assert(subscribes(member, at.topic));
            cr_assert_lt(at.partition, scene->topics[at.topic].partition_count);
            cr_assert_eq(owners[at.topic][at.partition]++, 0);
        }
    }
    for (uint32_t t = 0; t < scene->assignor.topic_count && strict; t++) {
        bool wanted = false;
        for (size_t m = 0; m < scene->assignor.member_count; m++)
            wanted |= subscribes(&scene->members[m], t);
        for (int32_t p = 0; p < scene->topics[t].partition_count; p++)
            cr_assert_eq(owners[t][p], wanted);
    }
}

// No partition can go from a member to one with at least two fewer.
static void check_balance(const struct scene *scene)
{
    for (size_t a = 0; a < scene->assignor.member_count; a++) {
        const struct assignor_member *rich = &scene->members[a];
        for (size_t i = 0; i < rich->assigned_count; i++) {
            for (size_t b = 0; b < scene->assignor.member_count; b++) {
                const struct assignor_member *poor = &scene->members[b];
                if (subscribes(poor, rich->assigned[i].topic))
                    cr_assert_lt(rich->assigned_count, poor->assigned_count + 2);
            }
        }
    }
}

static size_t kept(const struct assignor_member *member)
{
    size_t count = 0;
    for (size_t i = 0; i < member->assigned_count; i++) {
        for (size_t j = 0; j < member->owned_count; j++)
            count += member->owned[j].topic == member->assigned[i].topic &&
                     member->owned[j].partition == member->assigned[i].partition;
    }
    return count;
}

static void assignment_accept(struct scene *scene)
{
    scene->generation++;
    for (size_t m = 0; m < scene->assignor.member_count; m++) {
        struct assignor_member *member = &scene->members[m];
        cr_assert_leq(member->assigned_count, OWNED_MAX);
        memcpy(member->owned, member->assigned, member->assigned_count * sizeof(*member->owned));
        member->owned_count = member->assigned_count;
        member->generation = scene->generation;
    }
    arena_reset(&scene->arena);
}

static void scene_change(struct scene *scene, bool all)
{
    struct assignor *assignor = &scene->assignor;
    switch (random_below(&scene->random, 4)) {
    case 0:
        if (assignor->member_count < MEMBERS_MAX) {
            member_add(scene);
            member_subscribe(scene, assignor->member_count - 1, all);
        }
        break;
    case 1:
        if (assignor->member_count > 1)
            member_remove(scene, random_below(&scene->random, assignor->member_count));
        break;
    case 2:
        scene->topics[random_below(&scene->random, assignor->topic_count)].partition_count =
            (int32_t)random_below(&scene->random, PARTITIONS_MAX);
        break;
    default:
        member_subscribe(scene, random_below(&scene->random, assignor->member_count), all);
    }
}

// When all subscribe alike, a member keeps what it has up to its share, and nobody moves more.
static void check_sticky(const struct scene *scene, size_t floor)
{
    for (size_t m = 0; m < scene->assignor.member_count; m++) {
        const struct assignor_member *member = &scene->members[m];
        size_t sound = 0;
        for (size_t i = 0; i < member->owned_count; i++)
            sound +=
                member->owned[i].partition < scene->topics[member->owned[i].topic].partition_count;
        size_t least = sound < floor ? sound : floor;
        cr_assert_geq(kept(member), least);
    }
}

static size_t total(const struct scene *scene)
{
    size_t count = 0;
    for (size_t t = 0; t < scene->assignor.topic_count; t++)
        count += (size_t)scene->topics[t].partition_count;
    return count;
}

Test(client, assignors_give_every_partition_once)
{
    static assignor_function *const functions[] = {assignor_range, assignor_roundrobin,
                                                   assignor_sticky};
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct scene *scene = scene_new(seed, false);
        for (int step = 0; step < 10; step++) {
            cr_assert(functions[seed % 3](&scene->assignor));
            check_owners(scene, true);
            assignment_accept(scene);
            scene_change(scene, false);
        }
        scene_free(scene);
    }
}

Test(client, sticky_assignments_are_balanced)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct scene *scene = scene_new(seed, false);
        for (int step = 0; step < 10; step++) {
            cr_assert(assignor_sticky(&scene->assignor));
            check_balance(scene);
            assignment_accept(scene);
            // Nothing has changed, so nothing moves.
            cr_assert(assignor_sticky(&scene->assignor));
            for (size_t m = 0; m < scene->assignor.member_count; m++)
                cr_assert_eq(kept(&scene->members[m]), scene->members[m].owned_count);
            assignment_accept(scene);
            scene_change(scene, false);
        }
        scene_free(scene);
    }
}

Test(client, sticky_members_keep_their_share)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct scene *scene = scene_new(seed, true);
        for (int step = 0; step < 10; step++) {
            cr_assert(assignor_sticky(&scene->assignor));
            check_owners(scene, true);
            check_sticky(scene, total(scene) / scene->assignor.member_count);
            assignment_accept(scene);
            scene_change(scene, true);
        }
        scene_free(scene);
    }
}

// Whether somebody else says he has what a member is given.
static void check_handed_over(const struct scene *scene)
{
    for (size_t m = 0; m < scene->assignor.member_count; m++) {
        for (size_t i = 0; i < scene->members[m].assigned_count; i++) {
            struct assignor_partition at = scene->members[m].assigned[i];
            for (size_t o = 0; o < scene->assignor.member_count; o++) {
                const struct assignor_member *other = &scene->members[o];
                for (size_t j = 0; j < other->owned_count && o != m; j++)
                    cr_assert(other->owned[j].topic != at.topic ||
                              other->owned[j].partition != at.partition);
            }
        }
    }
}

Test(client, cooperative_members_give_up_before_others_get)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct scene *scene = scene_new(seed, false);
        for (int step = 0; step < 10; step++) {
            for (int round = 0; round < 2; round++) {
                cr_assert(assignor_cooperative_sticky(&scene->assignor));
                check_owners(scene, false);
                check_handed_over(scene);
                assignment_accept(scene);
            }
            scene_change(scene, false);
        }
        scene_free(scene);
    }
}

Test(client, claims_of_the_youngest_generation_count)
{
    struct scene *scene = scene_new(1, true);
    scene->assignor.topic_count = 1;
    scene->assignor.member_count = 0;
    scene->next_id = 0;
    scene->topics[0].partition_count = 3;
    for (size_t m = 0; m < 3; m++) {
        member_add(scene);
        member_subscribe(scene, m, true);
    }
    // The first two say they have partition 0, the second since later.
    for (size_t m = 0; m < 2; m++) {
        scene->owned[m][0] = (struct assignor_partition){0, 0};
        scene->members[m].owned_count = 1;
        scene->members[m].generation = (int32_t)m + 1;
    }
    cr_assert(assignor_sticky(&scene->assignor));
    cr_assert_eq(scene->members[1].assigned_count, 1);
    cr_assert_eq(scene->members[1].assigned[0].partition, 0);
    scene_free(scene);
}

Test(client, range_and_roundrobin_deal_as_java_does)
{
    struct scene *scene = scene_new(1, true);
    scene->assignor.topic_count = 2;
    scene->assignor.member_count = 0;
    scene->next_id = 0;
    scene->topics[0].partition_count = scene->topics[1].partition_count = 3;
    for (size_t m = 0; m < 2; m++) {
        member_add(scene);
        member_subscribe(scene, m, true);
    }
    // m0000 comes first in both.
    cr_assert(assignor_range(&scene->assignor));
    cr_assert_eq(scene->members[0].assigned_count, 4); // 0 and 1 of each
    cr_assert_eq(scene->members[0].assigned[1].partition, 1);
    cr_assert_eq(scene->members[1].assigned[0].partition, 2);
    cr_assert(assignor_roundrobin(&scene->assignor));
    cr_assert_eq(scene->members[0].assigned_count, 3); // t0 0, t0 2, t1 1
    cr_assert_eq(scene->members[0].assigned[1].partition, 2);
    cr_assert_eq(scene->members[0].assigned[2].partition, 1);
    scene_free(scene);
}

// ---------------------------------------------------------------------------------- their bytes

Test(client, subscriptions_have_the_bytes_of_java)
{
    struct arena arena;
    struct kp_writer writer;
    int32_t partition = 1;
    struct span topic = span_text("t");
    struct topic_share share = {.topic = topic, .partitions = &partition, .partition_count = 1};
    struct member_subscription subscription = {
        .topics = &topic, .topic_count = 1, .owned = {&share, 1}, .generation = 7};
    static const uint8_t expected[] = {
        0,    3,                                             // version
        0,    0,    0, 1, 0, 1, 't',                         // topics
        0,    0,    0, 4, 0, 0, 0,   7,                      // the assignor's: the generation
        0,    0,    0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 1, // owned
        0,    0,    0, 7,                                    // generation
        0xff, 0xff,                                          // no rack
    };
    arena_init(&arena, 1 << 20);
    kp_writer_init(&writer, &arena);
    member_subscription_write(&writer, &subscription, USER_DATA_COOPERATIVE_STICKY);
    cr_assert_eq(writer.size, sizeof(expected));
    cr_assert_eq(memcmp(writer.data, expected, sizeof(expected)), 0);
    struct member_subscription back;
    cr_assert(member_subscription_read(span_of(expected, sizeof(expected)), false, &arena, &back));
    cr_assert(back.topic_count == 1 && back.owned.count == 1 && back.generation == 7);
    cr_assert_eq(back.owned.topics[0].partitions[0], 1);
    arena_free(&arena);
}

Test(client, sticky_members_say_what_they_had)
{
    struct arena arena;
    struct kp_writer writer;
    int32_t partitions[] = {3, 5};
    struct span topic = span_text("t");
    struct topic_share share = {.topic = topic, .partitions = partitions, .partition_count = 2};
    struct member_subscription back,
        subscription = {.topics = &topic, .topic_count = 1, .owned = {&share, 1}, .generation = 9};
    arena_init(&arena, 1 << 20);
    kp_writer_init(&writer, &arena);
    member_subscription_write(&writer, &subscription, USER_DATA_STICKY);
    cr_assert(member_subscription_read(span_of(writer.data, writer.size), true, &arena, &back));
    cr_assert(back.owned.count == 1 && back.owned.topics[0].partition_count == 2);
    cr_assert(back.owned.topics[0].partitions[1] == 5 && back.generation == 9);
    arena_free(&arena);
}

// Cut anywhere, and with any byte changed: refused or read, never beyond its end.
Test(client, broken_subscriptions_do_no_harm)
{
    struct arena arena;
    struct kp_writer writer;
    int32_t partitions[] = {3, 5};
    struct span topic = span_text("topic");
    struct topic_share share = {.topic = topic, .partitions = partitions, .partition_count = 2};
    struct member_subscription back,
        subscription = {.topics = &topic, .topic_count = 1, .owned = {&share, 1}, .generation = 9};
    arena_init(&arena, 16 << 20);
    kp_writer_init(&writer, &arena);
    member_subscription_write(&writer, &subscription, USER_DATA_STICKY);
    for (size_t i = 0; i + 2 < writer.size; i++) { // the rack at the end is not read
        uint8_t *copy = malloc(writer.size);
        memcpy(copy, writer.data, writer.size);
        struct topic_shares shares;
        cr_assert_not(member_subscription_read(span_of(copy, i), false, &arena, &back));
        for (int value = 0; value < 256; value += 51) {
            copy[i] = (uint8_t)value;
            member_subscription_read(span_of(copy, writer.size), true, &arena, &back);
            member_subscription_read(span_of(copy, writer.size), false, &arena, &back);
            member_assignment_read(span_of(copy, writer.size), &arena, &shares);
        }
        free(copy);
    }
    arena_free(&arena);
}
