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
    _Alignas(CACHE_LINE) atomic_bool sleeping;
};

void mailbox_init(struct mailbox *mailbox);

// Any thread. True when the owner may be asleep and the caller must wake it (once per sleep).
bool mailbox_push(struct mailbox *mailbox, struct message *message);

// Owner only: everything pushed so far, linked from old to new; NULL when there is nothing. The
// messages of one pushing thread come in the order in which it pushed them.
struct message *mailbox_take(struct mailbox *mailbox);

// Owner only, before it waits: true when it may sleep, after which every push asks for a wake-up
// until mailbox_wake_up; false when there are messages to take first.
bool mailbox_sleep(struct mailbox *mailbox);

// Owner only, after it has waited.
void mailbox_wake_up(struct mailbox *mailbox);
