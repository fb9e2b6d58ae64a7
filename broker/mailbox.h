// SPDX-License-Identifier: Apache-2.0
// How messages reach a shard: many threads push, its own thread takes. Lock-free.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct shard;

// A message is part of a larger structure, owned by whoever the protocol between the two sides
// says; it must stay in place until `deliver` is called on the receiving shard's thread.
struct message {
    struct message *next;
    void (*deliver)(struct shard *here, struct message *message);
};

enum { CACHE_LINE = 64 };

struct mailbox {
    _Alignas(CACHE_LINE) _Atomic(struct message *) newest; // linked from new to old
    // 0: the owner is awake. Else it may be asleep, and one less than this is how many patient
    // messages it may find later, when it wakes by itself.
    _Alignas(CACHE_LINE) atomic_uint sleeping;
};

void mailbox_init(struct mailbox *mailbox);

// Any thread. True when the owner may be asleep and the caller must wake it (once per sleep).
bool mailbox_push(struct mailbox *mailbox, struct message *message);

// The same for a message that can wait until the owner wakes by itself soon, where it has said that
// it will.
bool mailbox_push_patiently(struct mailbox *mailbox, struct message *message);

// Any thread. The message is taken when the owner is awake the next time, for whatever reason;
// nobody wakes it for this one before mailbox_remind.
void mailbox_leave(struct mailbox *mailbox, struct message *message);

// Any thread: true when something lies there and the owner may be asleep: the caller must wake it.
bool mailbox_remind(struct mailbox *mailbox);

// Owner only: everything pushed so far, linked from old to new; NULL when there is nothing. The
// messages of one pushing thread come in the order in which it pushed them.
struct message *mailbox_take(struct mailbox *mailbox);

// Owner only, before it waits: true when it may sleep, after which a push asks for a wake-up until
// mailbox_wake_up; false when there are messages to take first. `patience`: how many patient ones
// do not ask; more than 0 only when the owner is certain to wake by itself soon.
bool mailbox_sleep(struct mailbox *mailbox, unsigned patience);

// Owner only, after it has waited.
void mailbox_wake_up(struct mailbox *mailbox);
