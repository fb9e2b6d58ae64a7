// SPDX-License-Identifier: Apache-2.0
// What is remembered of a history, and the one source of everything random in it.
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/sim/world.h"

// Not into the digest.
static void disk_say(void *context, const struct io_op *op)
{
    static const char *const names[] = {
        "nop",      "pause",  "open",   "close", "read",   "write",   "sync", "allocate",
        "truncate", "rename", "unlink", "mkdir", "accept", "receive", "send", "shutdown"};
    const struct world *world = context;
    if (op->kind == IO_NOP || !world->out)
        return;
    bool named = op->kind == IO_OPEN || op->kind == IO_RENAME || op->kind == IO_UNLINK ||
                 op->kind == IO_MKDIR;
    fprintf(world->out, "    %s %s %s %d, %" PRIu64 " + %" PRIu64 "%s: %" PRId64 "\n",
            names[op->kind], named ? op->path : "", op->kind == IO_RENAME ? op->path2 : "", op->fd,
            op->offset, op->length, op->flags && op->kind == IO_WRITE ? " durable" : "",
            op->result);
}

// A history that hangs, wherever, is a failure as any other.
static void too_long(void *context)
{
    struct world *world = context;
    world_fail(world, "nothing comes to an end: %u operations are in flight", world->in_flight);
}

static struct random system_bytes; // for random_system; of the history that runs

void world_begin(struct world *world, uint64_t seed, FILE *out)
{
    struct world *before = malloc(sizeof(*before));
    *before = *world;
    *world = (struct world){
        .seed = seed,
        .out = out,
        .random = {.state = seed * 7919 + 1},
        .damages_before = before->counts[COUNT_DAMAGES],
        .inspecting = before->inspecting,
        .show_disk = before->show_disk,
    };
    memcpy(world->counts, before->counts, sizeof(world->counts));
    free(before);
    system_bytes.state = seed;
    world->sim = sim_create(seed);
    sim_set_bound(world->sim, WORLD_STEPS_MAX, too_long, world);
    if (world->show_disk)
        sim_trace(world->sim, disk_say, world);
}

// Salts and identities, too, are the seed's.
void random_system(void *to, size_t size)
{
    uint8_t *at = to;
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)random_next(&system_bytes);
}

void world_say(struct world *world, const char *format, ...)
{
    char *event = world->events[world->event_count++ % WORLD_EVENTS];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(event, WORLD_EVENT_SIZE, format, arguments);
    va_end(arguments);
    size = size < WORLD_EVENT_SIZE ? size : WORLD_EVENT_SIZE - 1;
    uint64_t now_ns = sim_io(world->sim)->now_ns;
    world->digest = XXH3_64bits_withSeed(event, (size_t)size, world->digest + now_ns);
    if (world->out)
        fprintf(world->out, "%12.6f %s\n", (double)now_ns / 1e9, event);
}

void world_fail(struct world *world, const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    world_failed(world, text);
    abort();
}
