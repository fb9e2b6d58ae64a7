// SPDX-License-Identifier: Apache-2.0
// A linked stack that many threads push onto and one thread takes whole, then turns around.
//
// Invariants
//  1. A message pushed is taken exactly once. Taking is one exchange, so there is never a moment
//     at which a pusher could see a node that is being freed (no ABA: nobody pops single nodes).
//  2. A pusher that finds the owner asleep wakes it: no message lies in the mailbox while the owner
//     sleeps and nobody is about to wake it.
//
// Why 2 holds: the owner stores sleeping = true and then looks at the stack; a pusher puts its
// message on the stack and then looks at `sleeping`. All four accesses are sequentially consistent,
// so at least one of the two sees what the other did: either the owner finds the message and does
// not sleep, or the pusher finds the owner asleep. Of several pushers only the one that flips the
// flag back wakes the owner.
//
// Nothing here can fail.
#include "broker/mailbox.h"

#include <stddef.h>

void mailbox_init(struct mailbox *mailbox)
{
    atomic_init(&mailbox->newest, NULL);
    atomic_init(&mailbox->sleeping, false);
}

bool mailbox_push(struct mailbox *mailbox, struct message *message)
{
    struct message *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
    do {
        message->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &newest, message,
                                                    memory_order_seq_cst, memory_order_relaxed));
    // Reading first keeps the cache line shared while the owner is busy.
    return atomic_load(&mailbox->sleeping) && atomic_exchange(&mailbox->sleeping, false);
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

bool mailbox_sleep(struct mailbox *mailbox)
{
    atomic_store(&mailbox->sleeping, true);
    if (!atomic_load(&mailbox->newest))
        return true;
    mailbox_wake_up(mailbox);
    return false;
}

void mailbox_wake_up(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->sleeping, false, memory_order_relaxed);
}
