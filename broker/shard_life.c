// SPDX-License-Identifier: Apache-2.0
// How the shards agree that all of them run, that they stop, and that all have stopped.
//
// Each shard tells shard 0 when its loop runs; shard 0 then starts the controller. Shard 0 waits
// for the byte that the main thread sends when a signal came; it then tells all to stop, each tells
// back when it has drained, and when all have, shard 0 tells all to end their loops.
#include "broker/shard_life.h"

#include <stdlib.h>

#include "broker/controller.h"
#include "broker/listener.h"
#include "broker/server.h"

struct shard_life {
    struct shard *shard;
    struct message running; // to shard 0
    struct message drained; // to shard 0
    struct message stop;    // from shard 0
    struct message end;     // from shard 0
    // Shard 0's.
    uint32_t running_count;
    uint32_t drained_count;
    struct io_op stop_op;
    char stop_byte;
};

static struct shard_life *life_of(struct shard *any, uint32_t index)
{
    return shard_by_index(any, index)->life;
}

static void end_here(struct shard *here, struct message *message)
{
    (void)message;
    here->ended = true;
}

static void one_has_drained(struct shard *here, struct message *message)
{
    (void)message;
    if (++here->life->drained_count < shard_count(here))
        return;
    for (uint32_t i = 0; i < shard_count(here); i++)
        shard_post(here, shard_by_index(here, i), &life_of(here, i)->end);
}

static void drained_here(struct shard *here)
{
    shard_post(here, shard_by_index(here, 0), &here->life->drained);
}

static void stop_here(struct shard *here, struct message *message)
{
    (void)message;
    here->stopping = true;
    listener_stop(here->listener, drained_here);
}

static void stop_wanted(struct io_op *op)
{
    struct shard_life *life = list_entry(op, struct shard_life, stop_op);
    struct shard *here = life->shard;
    for (uint32_t i = 0; i < shard_count(here); i++)
        shard_post(here, shard_by_index(here, i), &life_of(here, i)->stop);
}

static void one_is_running(struct shard *here, struct message *message)
{
    (void)message;
    struct shard_life *life = here->life;
    if (++life->running_count < shard_count(here))
        return;
    controller_start(here->controller);
    life->stop_op.done = stop_wanted;
    io_receive(here->io, &life->stop_op, server_stop_descriptor(here->server), &life->stop_byte, 1,
               false);
}

int shard_life_create(struct shard *shard)
{
    struct shard_life *life = calloc(1, sizeof(*life));
    if (!life)
        return -1;
    life->shard = shard;
    life->running.deliver = one_is_running;
    life->drained.deliver = one_has_drained;
    life->stop.deliver = stop_here;
    life->end.deliver = end_here;
    shard->life = life;
    return 0;
}

void shard_life_destroy(struct shard *shard)
{
    free(shard->life);
    shard->life = NULL;
}

void shard_life_start(struct shard *shard)
{
    shard_post(shard, shard_by_index(shard, 0), &shard->life->running);
}
