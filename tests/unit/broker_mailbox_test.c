// SPDX-License-Identifier: Apache-2.0
#include "broker/mailbox.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>

enum { PRODUCERS = 3, EACH = 100000 };

struct numbered {
    struct message message;
    uint32_t producer;
    uint32_t number;
};

struct producer {
    pthread_t thread;
    struct mailbox *mailbox;
    sem_t *wake;
    struct numbered *messages;
};

Test(broker, mailbox_keeps_order)
{
    struct mailbox mailbox;
    mailbox_init(&mailbox);
    cr_assert_null(mailbox_take(&mailbox));
    struct message messages[3];
    for (int i = 0; i < 3; i++)
        cr_assert_not(mailbox_push(&mailbox, &messages[i]), "the owner is awake");
    struct message *at = mailbox_take(&mailbox);
    for (int i = 0; i < 3; i++, at = at->next)
        cr_assert_eq(at, &messages[i]);
    cr_assert_null(at);
    cr_assert_null(mailbox_take(&mailbox));
}

Test(broker, mailbox_wakes_once_per_sleep)
{
    struct mailbox mailbox;
    mailbox_init(&mailbox);
    struct message messages[3];
    cr_assert(mailbox_sleep(&mailbox, 0));
    cr_assert(mailbox_push(&mailbox, &messages[0]));
    cr_assert_not(mailbox_push(&mailbox, &messages[1]));
    mailbox_wake_up(&mailbox);
    cr_assert_not(mailbox_sleep(&mailbox, 0), "there is something to take");
    cr_assert_not(mailbox_push(&mailbox, &messages[2]), "the owner did not fall asleep");
    cr_assert_not_null(mailbox_take(&mailbox));
    cr_assert(mailbox_sleep(&mailbox, 0));
}

Test(broker, mailbox_leaves_an_owner_alone_that_wakes_by_itself)
{
    struct mailbox mailbox;
    mailbox_init(&mailbox);
    struct message messages[5];
    cr_assert(mailbox_sleep(&mailbox, 2));
    cr_assert_not(mailbox_push_patiently(&mailbox, &messages[0]));
    cr_assert_not(mailbox_push_patiently(&mailbox, &messages[1]));
    cr_assert(mailbox_push_patiently(&mailbox, &messages[2]), "there are too many");
    cr_assert_not(mailbox_push_patiently(&mailbox, &messages[3]));
    mailbox_wake_up(&mailbox);
    cr_assert_not(mailbox_sleep(&mailbox, 2), "there is something to take");
    cr_assert_not_null(mailbox_take(&mailbox));
    cr_assert(mailbox_sleep(&mailbox, 2));
    cr_assert_not(mailbox_push_patiently(&mailbox, &messages[0]));
    cr_assert(mailbox_push(&mailbox, &messages[4]), "this one is in a hurry");
    mailbox_wake_up(&mailbox);
    cr_assert_not_null(mailbox_take(&mailbox));
    cr_assert(mailbox_sleep(&mailbox, 0));
    cr_assert(mailbox_push_patiently(&mailbox, &messages[0]), "it does not wake by itself");
}

Test(broker, mailbox_reminds_of_what_was_left)
{
    struct mailbox mailbox;
    mailbox_init(&mailbox);
    struct message message;
    cr_assert(mailbox_sleep(&mailbox, 0));
    cr_assert_not(mailbox_remind(&mailbox), "there is nothing");
    mailbox_leave(&mailbox, &message);
    cr_assert(mailbox_remind(&mailbox));
    cr_assert_not(mailbox_remind(&mailbox), "it is being woken");
    mailbox_wake_up(&mailbox);
    cr_assert_not(mailbox_sleep(&mailbox, 0), "there is something to take");
    cr_assert_not_null(mailbox_take(&mailbox));
    cr_assert_not(mailbox_remind(&mailbox), "the owner is awake");
}

static void *produce(void *argument)
{
    struct producer *producer = argument;
    for (uint32_t i = 0; i < EACH; i++) {
        struct mailbox *mailbox = producer->mailbox;
        struct message *message = &producer->messages[i].message;
        bool wake = false;
        if (i % 3 == 0)
            wake = mailbox_push(mailbox, message);
        else if (i % 3 == 1)
            wake = mailbox_push_patiently(mailbox, message);
        else
            mailbox_leave(mailbox, message);
        // Of every third one that is left, nobody is reminded before the next is pushed.
        if (i % 9 == 2 || i == EACH - 1)
            wake = mailbox_remind(mailbox) || wake;
        if (wake)
            sem_post(producer->wake);
    }
    return NULL;
}

// Ends only if no wake-up is ever lost.
Test(broker, mailbox_loses_nothing_between_threads)
{
    struct mailbox mailbox;
    mailbox_init(&mailbox);
    sem_t wake;
    sem_init(&wake, 0, 0);
    struct producer producers[PRODUCERS];
    for (uint32_t p = 0; p < PRODUCERS; p++) {
        producers[p] = (struct producer){.mailbox = &mailbox, .wake = &wake};
        producers[p].messages = calloc(EACH, sizeof(struct numbered));
        for (uint32_t i = 0; i < EACH; i++)
            producers[p].messages[i] = (struct numbered){.producer = p, .number = i};
        cr_assert_eq(pthread_create(&producers[p].thread, NULL, produce, &producers[p]), 0);
    }
    uint32_t next[PRODUCERS] = {0};
    uint32_t left = PRODUCERS * EACH;
    while (left > 0) {
        struct message *at = mailbox_take(&mailbox);
        for (; at; at = at->next, left--) {
            struct numbered *numbered = (struct numbered *)at;
            cr_assert_eq(numbered->number, next[numbered->producer]++);
        }
        // Half of the time it wakes by itself soon.
        unsigned patience = left % 2 * 4;
        if (left > 0 && mailbox_sleep(&mailbox, patience)) {
            while (patience == 0 && sem_wait(&wake) != 0)
                ;
            if (patience > 0)
                sched_yield();
            mailbox_wake_up(&mailbox);
        }
    }
    for (uint32_t p = 0; p < PRODUCERS; p++) {
        pthread_join(producers[p].thread, NULL);
        free(producers[p].messages);
    }
    cr_assert_null(mailbox_take(&mailbox));
    sem_destroy(&wake);
}
