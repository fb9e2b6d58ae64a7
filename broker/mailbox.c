// SPDX-License-Identifier: Apache-2.0
// A linked stack that many threads push onto and one thread takes whole, then turns around.
//
// Invariants
//  1. A message pushed is taken exactly once. Taking is one exchange, so there is never a moment
//     at which a pusher could see a node that is being freed (no ABA: nobody pops single nodes).
//  2. A pusher that finds the owner asleep wakes it: no message lies in the mailbox while the owner
//     sleeps and nobody is about to wake it; but for patient ones, while the owner is about to wake
//     by itself, and for those that were left there, until mailbox_remind.
//
// Why 2 holds: the owner stores that it sleeps and then looks at the stack; a pusher puts its
// message on the stack and then looks at `sleeping`. All four accesses are sequentially consistent,
// so at least one of the two sees what the other did: either the owner finds the message and does
// not sleep, or the pusher finds the owner asleep. Of several pushers only the one that sets the
// flag back wakes the owner.
//
// A patient pusher that is not to wake the owner takes one off `sleeping` instead, with a
// compare-and-exchange. So the value it saw was the newest, and what the owner stores next comes
// after: that it is awake, and, when it wants to sleep again, that; then it looks at the stack and
// finds the message. Between the two it is certain to wake, since it has said so.
//
// Reminding is a push without a message: it comes after the one that was left there, on the same
// thread, and so finds the owner asleep unless that has seen the message or will see it.
//
// Nothing here can fail.
#include "broker/mailbox.h"

#include <stddef.h>

void mailbox_init(struct mailbox *mailbox)
{
    atomic_init(&mailbox->newest, NULL);
    atomic_init(&mailbox->sleeping, 0);
}

void mailbox_leave(struct mailbox *mailbox, struct message *message)
{
    struct message *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
    do {
        message->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &newest, message,
                                                    memory_order_seq_cst, memory_order_relaxed));
}

// Reading first keeps the cache line shared while the owner is busy.
static bool must_wake(struct mailbox *mailbox)
{
    return atomic_load(&mailbox->sleeping) > 0 && atomic_exchange(&mailbox->sleeping, 0) > 0;
}

bool mailbox_push(struct mailbox *mailbox, struct message *message)
{
    mailbox_leave(mailbox, message);
    return must_wake(mailbox);
}

bool mailbox_push_patiently(struct mailbox *mailbox, struct message *message)
{
    mailbox_leave(mailbox, message);
    unsigned sleeping = atomic_load(&mailbox->sleeping);
    while (sleeping > 1) {
        if (atomic_compare_exchange_weak(&mailbox->sleeping, &sleeping, sleeping - 1))
            return false;
    }
    return must_wake(mailbox);
}

bool mailbox_remind(struct mailbox *mailbox)
{
    return atomic_load(&mailbox->newest) && must_wake(mailbox);
}

struct message *mailbox_take(struct mailbox *mailbox)
{
    if (!atomic_load_explicit(&mailbox->newest, memory_order_relaxed))
        return NULL;
    struct message *from = atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire);
    struct message *oldest = NULL;
    while (from) {
        struct message *next = from->next;
        from->next = oldest;
        oldest = from;
        from = next;
    }
    return oldest;
}

bool mailbox_sleep(struct mailbox *mailbox, unsigned patience)
{
    atomic_store(&mailbox->sleeping, 1 + patience);
    if (!atomic_load(&mailbox->newest))
        return true;
    mailbox_wake_up(mailbox);
    return false;
}

void mailbox_wake_up(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->sleeping, 0, memory_order_relaxed);
}
