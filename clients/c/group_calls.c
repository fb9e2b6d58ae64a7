// SPDX-License-Identifier: Apache-2.0
// Invariants
//  1. At most SLOTS groups are being asked about, so a thousand groups cost no more memory than a
//     few.
//  2. A slot takes its next group only between turns of the loop, never inside its own `done`: so
//     nothing a call still needs is overwritten.
//  3. When the time is up no further group is asked about.
#include "clients/c/group_calls.h"

#include <stdio.h>
#include <stdlib.h>

#include "clients/c/error.h"

enum { SLOTS = 32 };

static void slot_start(struct group_calls *calls, struct group_call *slot, uint64_t deadline_ns)
{
    slot->all = calls;
    slot->index = calls->next++;
    slot->name = calls->names[slot->index];
    slot->busy = true;
    coordinator_init(&slot->coordinator, calls->client, slot->name);
    slot->call = (struct call){
        .client = calls->client,
        .target = CALL_COORDINATOR,
        .api_key = calls->api_key,
        .version_max = calls->version_max,
        .coordinator = &slot->coordinator,
        .deadline_ns = deadline_ns,
        .encode = calls->encode,
        .decode = calls->decode,
    };
    call_start(&slot->call);
}

static void first_error(struct group_calls *calls, const struct group_call *slot, int error)
{
    if (calls->error || !error)
        return;
    calls->error = error;
    snprintf(calls->detail, sizeof(calls->detail), "group '%.200s': %.280s", slot->name,
             slot->call.detail[0] ? slot->call.detail : weir_error_text(error));
}

static void slot_end(struct group_calls *calls, struct group_call *slot)
{
    coordinator_free(&slot->coordinator);
    slot->busy = false;
    calls->answered += slot->call.error >= 0;
    first_error(calls, slot, slot->call.error);
    calls->ended(slot, slot->call.error);
}

struct run {
    struct group_calls *calls;
    uint64_t deadline_ns;
    bool begun; // even without any time the first groups are asked about
};

// Takes what has ended, fills the slots. True when nothing is left to do, or no time.
static bool slots_turn(void *context)
{
    struct run *run = context;
    struct group_calls *calls = run->calls;
    bool busy = false;
    bool over = run->begun && calls->client->now_ns >= run->deadline_ns;
    run->begun = true;
    for (size_t i = 0; i < SLOTS; i++) {
        struct group_call *slot = &calls->slots[i];
        if (slot->busy && slot->call.finished)
            slot_end(calls, slot);
        if (!slot->busy && calls->next < calls->count && !over)
            slot_start(calls, slot, run->deadline_ns);
        busy |= slot->busy;
    }
    return !busy;
}

static void slots_cancel(struct group_calls *calls)
{
    for (size_t i = 0; i < SLOTS; i++) {
        struct group_call *slot = &calls->slots[i];
        if (!slot->busy)
            continue;
        call_cancel(&slot->call);
        coordinator_free(&slot->coordinator);
        first_error(calls, slot, slot->call.error ? slot->call.error : WEIR_ERR_TIMED_OUT);
    }
}

static void describe_time_out(struct group_calls *calls)
{
    const char *trouble = weir_trouble(calls->client);
    calls->error = WEIR_ERR_TIMED_OUT;
    if (calls->answered > 0)
        snprintf(calls->detail, sizeof(calls->detail),
                 "%zu of %zu groups were answered for when the time was up", calls->answered,
                 calls->count);
    else if (trouble)
        snprintf(calls->detail, sizeof(calls->detail), "%s", trouble);
}

int group_calls_run(struct group_calls *calls, uint64_t deadline_ns)
{
    struct weir_client *client = calls->client;
    calls->next = calls->answered = 0;
    calls->error = WEIR_OK;
    calls->detail[0] = '\0';
    calls->slots = calloc(SLOTS, sizeof(*calls->slots));
    if (!calls->slots) {
        snprintf(calls->detail, sizeof(calls->detail), "out of memory");
        return calls->error = WEIR_ERR_NO_MEMORY;
    }
    struct run run = {.calls = calls, .deadline_ns = deadline_ns};
    client_wait(client, slots_turn, &run, deadline_ns);
    if (!slots_turn(&run))
        slots_cancel(calls);
    if (calls->error == WEIR_ERR_TIMED_OUT || (!calls->error && calls->next < calls->count))
        describe_time_out(calls);
    free(calls->slots);
    calls->slots = NULL;
    return calls->error;
}
