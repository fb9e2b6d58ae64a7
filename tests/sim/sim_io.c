// SPDX-License-Identifier: Apache-2.0
// Time, order and faults of the simulated machine. What operations do to the disk is in sim_disk.c.
//
// 1. An operation has its effect at one moment, as a whole: when it is due, before its `done`. Only
//    a power failure and a failing write tear. Of all ios the operations take effect in the order
//    in which they are due, so a late one is overtaken by any number of others.
// 2. All choices come from one generator, in the order of the calls.
// 3. Memory that is being written must not change until that is done: the device may take it at
//    any moment (O_DIRECT). A change is found and ends the program.
#include "tests/sim/sim_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"
#include "tests/sim/sim_internal.h"

static struct sim_port *port_of(struct io *io)
{
    return (struct sim_port *)(void *)((char *)io - offsetof(struct sim_port, io));
}

static bool fails(struct sim *sim, enum io_kind kind)
{
    struct sim_fault *fault = &sim->faults[kind];
    if (fault->nth == 0 || --fault->nth > 0)
        return false;
    fault->nth = fault->for_ever;
    fault->struck = true;
    return true;
}

// What a failing device does instead of the operation.
static int64_t fail(struct sim *sim, const struct io_op *op)
{
    int error = sim->faults[op->kind].error;
    const struct sim_file *file = sim_file_of(sim, op->fd);
    bool in_cache = op->kind == IO_WRITE && error == -EIO && random_below(&sim->random, 2);
    if (in_cache && sim_lose_write(sim, op))
        return error;
    if (op->kind == IO_WRITE && error == -EIO)
        sim_tear_write(sim, op);
    else if (op->kind == IO_SYNC && file && !file->node->directory)
        sim_node_lose_all(file->node, &sim->random);
    else if (op->kind == IO_CLOSE)
        sim_do_close(sim, op); // the descriptor is gone all the same
    return error;
}

// Of what is pending anything may have happened, in any order, but nobody will be told.
static void cut_power(struct sim *sim)
{
    sim->off = true;
    for (size_t i = 0; i < sim->pending_count; i++) {
        size_t other = i + random_below(&sim->random, sim->pending_count - i);
        struct sim_pending chosen = sim->pending[other];
        sim->pending[other] = sim->pending[i];
        sim->pending[i] = chosen;
        struct io_op *op = chosen.op;
        sim->pending[i].due_ns = sim->now_ns;
        if (op->kind >= IO_ACCEPT)
            continue;
        bool happens = random_below(&sim->random, 2);
        if (happens && op->kind != IO_READ && op->kind != IO_CLOSE)
            sim_perform(sim, op);
        else if (op->kind == IO_WRITE)
            sim_tear_write(sim, op);
    }
}

static int64_t outcome(struct sim *sim, const struct io_op *op)
{
    if (op->kind >= IO_ACCEPT && !sim->off)
        return op->cancelled && !sim_socket_ready(sim, op) ? -ECANCELED : sim_perform(sim, op);
    if (sim->off)
        return op->kind == IO_NOP || op->kind == IO_PAUSE || op->kind == IO_CLOSE ? 0 : -EIO;
    if (op->cancelled && random_below(&sim->random, 2))
        return -ECANCELED;
    if (fails(sim, op->kind))
        return fail(sim, op);
    return sim_perform(sim, op);
}

// --- time and order

// Mostly what the device usually takes; sometimes much longer, so that everything else overtakes.
static uint64_t latency(struct sim *sim, const struct io_op *op)
{
    if (op->kind == IO_NOP)
        return 0;
    if (sim->off)
        return 1;
    if (op->kind == IO_PAUSE)
        return (uint64_t)op->pause.tv_sec * 1000000000 + (uint64_t)op->pause.tv_nsec;
    uint64_t most = sim->usual_ns;
    uint64_t dice = random_below(&sim->random, 256);
    if (dice < 8)
        most *= 10;
    if (dice == 0)
        most *= 20;
    uint64_t more = op->kind == IO_SYNC ? sim->sync_ns : 0;
    if (op->kind == IO_WRITE && op->flags)
        more = sim->durable_ns;
    return 1 + more + random_below(&sim->random, most);
}

static uint64_t write_digest(const struct io_op *op)
{
    uint64_t digest = 0;
    if (op->kind != IO_WRITE)
        return digest;
    for (uint32_t i = 0; i < op->vector_count; i++)
        digest = XXH3_64bits_withSeed(op->vectors[i].iov_base, op->vectors[i].iov_len, digest);
    return digest;
}

static void sim_start(struct io *io, struct io_op *op)
{
    struct sim_port *port = port_of(io);
    struct sim *sim = port->sim;
    if (sim->pending_count == sim->pending_room) {
        sim->pending_room = sim->pending_room ? sim->pending_room * 2 : 64;
        sim->pending = realloc(sim->pending, sim->pending_room * sizeof(sim->pending[0]));
        CHECK(sim->pending);
    }
    bool ready = op->kind < IO_ACCEPT || sim_socket_ready(sim, op);
    sim->pending[sim->pending_count++] = (struct sim_pending){
        .op = op,
        .port = port,
        .due_ns = ready ? sim->now_ns + latency(sim, op) : SIM_NEVER,
        .digest = write_digest(op),
    };
}

void sim_socket_wake(struct sim *sim)
{
    for (size_t i = 0; i < sim->pending_count; i++) {
        struct sim_pending *pending = &sim->pending[i];
        if (pending->due_ns == SIM_NEVER && sim_socket_ready(sim, pending->op))
            pending->due_ns = sim->now_ns + latency(sim, pending->op);
    }
}

static void sim_cancel(struct io *io, struct io_op *op)
{
    struct sim *sim = port_of(io)->sim;
    op->cancelled = true;
    for (size_t i = 0; i < sim->pending_count && op->kind >= IO_ACCEPT; i++) {
        if (sim->pending[i].op == op && sim->pending[i].due_ns == SIM_NEVER)
            sim->pending[i].due_ns = sim->now_ns;
    }
}

static void count_step(struct sim *sim)
{
    if (++sim->steps == sim->steps_most)
        sim->over(sim->over_context);
}

static void complete(struct sim *sim, size_t at)
{
    if (!sim->off && sim->until_off == 0)
        cut_power(sim); // may change the order, not the count
    struct sim_pending *pending = &sim->pending[at];
    struct io_op *op = pending->op;
    if (op->kind >= IO_ACCEPT && !sim->off && !op->cancelled && !sim_socket_ready(sim, op)) {
        pending->due_ns = SIM_NEVER; // another one was faster
        return;
    }
    CHECK(write_digest(op) == pending->digest); // written memory was changed in flight
    op->result = outcome(sim, op);
    sim->completed++;
    count_step(sim);
    if (sim->trace)
        sim->trace(sim->trace_context, op);
    if (sim->until_off != UINT64_MAX && sim->until_off > 0)
        sim->until_off--;
    list_append(&pending->port->completed, &op->node);
    sim->pending[at] = sim->pending[--sim->pending_count];
}

// The pending operation that is due first, of one io or of all (NULL); pending_count if there is
// none.
static size_t first_due(const struct sim *sim, const struct sim_port *port)
{
    size_t first = sim->pending_count;
    for (size_t i = 0; i < sim->pending_count; i++) {
        if (sim->pending[i].due_ns == SIM_NEVER)
            continue;
        if (port && sim->pending[i].port != port)
            continue;
        if (first == sim->pending_count || sim->pending[i].due_ns < sim->pending[first].due_ns)
            first = i;
    }
    return first;
}

static void set_time(struct sim *sim, uint64_t now_ns)
{
    if (now_ns <= sim->now_ns)
        return;
    sim->wall_ms += (int64_t)(now_ns / 1000000 - sim->now_ns / 1000000);
    sim->now_ns = now_ns;
}

static void show_time(struct sim_port *port)
{
    port->io.now_ns = port->sim->now_ns;
    port->io.wall_ms = port->sim->wall_ms;
}

// Time passes; what becomes due meanwhile takes effect, in order.
static void pass_to(struct sim *sim, uint64_t to_ns)
{
    for (;;) {
        size_t at = first_due(sim, NULL);
        if (at == sim->pending_count || sim->pending[at].due_ns > to_ns)
            break;
        set_time(sim, sim->pending[at].due_ns);
        complete(sim, at);
    }
    set_time(sim, to_ns);
}

static void sim_run(struct io *io, uint64_t deadline_ns)
{
    enum { STEP_NS = 20000 };
    struct sim_port *port = port_of(io);
    struct sim *sim = port->sim;
    CHECK(!port->running);
    port->running = true;
    count_step(sim);
    size_t at = first_due(sim, port);
    uint64_t to_ns = sim->now_ns + 1 + random_below(&sim->random, STEP_NS);
    if (list_empty(&port->completed) && !port->woken && deadline_ns > 0) {
        CHECK(at < sim->pending_count || deadline_ns != UINT64_MAX); // would wait for ever
        to_ns = deadline_ns;
        if (at < sim->pending_count && sim->pending[at].due_ns < to_ns)
            to_ns = sim->pending[at].due_ns;
    }
    pass_to(sim, to_ns);
    show_time(port);
    port->woken = false;
    struct list batch;
    list_init(&batch);
    list_splice(&batch, &port->completed);
    for (struct list *node; (node = list_pop(&batch));) {
        struct io_op *op = list_entry(node, struct io_op, node);
        op->pending = false;
        if (op->done)
            op->done(op);
    }
    port->running = false;
}

static void sim_wake(struct io *from, struct io *to)
{
    (void)from;
    port_of(to)->woken = true;
}

static int sim_io_listen(struct io *io, const char *host, uint16_t port, uint16_t *bound_port)
{
    (void)host;
    if (bound_port)
        *bound_port = port;
    return sim_listen(port_of(io)->sim);
}

static int sim_list_directory(struct io *io, const char *path,
                              int (*each)(void *context, const char *name), void *context)
{
    struct sim *sim = port_of(io)->sim;
    const struct sim_node *node = sim_node_at(sim, path);
    if (sim->off)
        return -EIO;
    if (!node || !node->directory)
        return node ? -ENOTDIR : -ENOENT;
    // Nobody may rely on an order.
    size_t count = node->now.count;
    size_t first = count ? random_below(&sim->random, count) : 0;
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = each(context, node->now.entries[(first + i) % count].name);
    return result;
}

static int64_t sim_file_size(struct io *io, int fd)
{
    struct sim *sim = port_of(io)->sim;
    if (sim->off)
        return -EIO;
    const struct sim_file *file = sim_file_of(sim, fd);
    return file ? (int64_t)file->node->size : -EBADF;
}

static int sim_stamp_of(struct io *io, const char *path, struct io_stamp *out)
{
    struct sim *sim = port_of(io)->sim;
    if (sim->off)
        return -EIO;
    const struct sim_node *node = sim_node_at(sim, path);
    if (!node)
        return -ENOENT;
    *out = (struct io_stamp){node->size, (int64_t)node->changed};
    return 0;
}

static void node_sync(struct sim_node *node)
{
    if (!node->directory) {
        sim_node_save_all(node);
        return;
    }
    sim_node_save_names(node);
    for (size_t i = 0; i < node->now.count; i++)
        node_sync(node->now.entries[i].node);
}

static void node_lose(struct sim_node *node, struct random *random)
{
    if (!node->directory)
        sim_node_lose_all(node, random);
    for (size_t i = 0; i < node->now.count; i++)
        node_lose(node->now.entries[i].node, random);
}

// Counts as an operation and as one sync: a fault planned for IO_SYNC may be its.
static int sim_sync_filesystem(struct io *io, const char *path)
{
    struct sim *sim = port_of(io)->sim;
    if (!sim->off && sim->until_off == 0)
        cut_power(sim);
    if (sim->off)
        return -EIO;
    sim->completed++;
    if (sim->until_off != UINT64_MAX)
        sim->until_off--;
    if (!sim_node_at(sim, path))
        return -ENOENT;
    if (fails(sim, IO_SYNC)) {
        node_lose(sim->root, &sim->random);
        return sim->faults[IO_SYNC].error;
    }
    node_sync(sim->root);
    return 0;
}

static void sim_io_destroy(struct io *io)
{
    // The io is a part of the machine, which sim_destroy frees.
    struct sim_port *port = port_of(io);
    CHECK(first_due(port->sim, port) == port->sim->pending_count && list_empty(&port->completed));
}

static int64_t sim_next_data(struct io *io, int fd, uint64_t offset)
{
    const struct sim_file *file = sim_file_of(port_of(io)->sim, fd);
    return file ? (int64_t)sim_node_next_data(file->node, offset) : -EBADF;
}

static const struct io_ops sim_ops = {
    .start = sim_start,
    .cancel = sim_cancel,
    .run = sim_run,
    .wake = sim_wake,
    .listen = sim_io_listen,
    .list_directory = sim_list_directory,
    .file_size = sim_file_size,
    .stamp_of = sim_stamp_of,
    .next_data = sim_next_data,
    .sync_filesystem = sim_sync_filesystem,
    .destroy = sim_io_destroy,
};

// The usual time of an operation differs from device to device, and so from seed to seed.
static void choose_device(struct sim *sim)
{
    enum { FASTEST_NS = 10000, STEPS = 8 };
    sim->usual_ns = (uint64_t)FASTEST_NS << random_below(&sim->random, STEPS);
}

void sim_set_device(struct sim *sim, uint64_t usual_ns, uint64_t durable_ns, uint64_t sync_ns)
{
    sim->usual_ns = usual_ns;
    sim->durable_ns = durable_ns;
    sim->sync_ns = sync_ns;
}

struct sim *sim_create(uint64_t seed)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    CHECK(sim);
    sim->now_ns = 1000000000;
    sim->wall_ms = 1700000000000;
    sim->random.state = seed;
    sim->root = sim_node_create(&sim->pool, true);
    sim->until_off = UINT64_MAX;
    choose_device(sim);
    return sim;
}

static void close_all(struct sim *sim)
{
    for (size_t i = 0; i < sim->file_count; i++) {
        sim_node_unref(sim->files[i].node);
        if (sim->files[i].socket)
            sim_socket_dropped(sim->files[i].socket);
    }
    free(sim->files);
    sim->files = NULL;
    sim->file_count = 0;
}

void sim_destroy(struct sim *sim)
{
    close_all(sim);
    sim_node_unref(sim->root);
    sim_pool_free(&sim->pool);
    for (size_t i = 0; i < SIM_PORTS; i++)
        free(sim->ports[i]);
    free(sim->pending);
    free(sim);
}

struct io *sim_io(struct sim *sim)
{
    return sim_io_at(sim, 0);
}

struct io *sim_io_at(struct sim *sim, size_t index)
{
    CHECK(index < SIM_PORTS);
    struct sim_port *port = sim->ports[index];
    if (port)
        return &port->io;
    port = calloc(1, sizeof(*port));
    CHECK(port);
    port->io.ops = &sim_ops;
    port->sim = sim;
    list_init(&port->completed);
    show_time(port);
    sim->ports[index] = port;
    return &port->io;
}

static void show_time_to_all(struct sim *sim)
{
    for (size_t i = 0; i < SIM_PORTS; i++) {
        if (sim->ports[i])
            show_time(sim->ports[i]);
    }
}

void sim_advance(struct sim *sim, uint64_t ns)
{
    set_time(sim, sim->now_ns + ns);
    show_time_to_all(sim);
}

void sim_jump(struct sim *sim, int64_t ms)
{
    sim->wall_ms += ms;
    show_time_to_all(sim);
}

void sim_set_capacity(struct sim *sim, uint64_t bytes)
{
    sim->capacity = bytes;
}

void sim_fail(struct sim *sim, enum io_kind kind, uint64_t nth, int error, bool for_ever)
{
    sim->faults[kind] = (struct sim_fault){.nth = nth, .error = error, .for_ever = for_ever};
}

bool sim_has_failed(const struct sim *sim, enum io_kind kind)
{
    return sim->faults[kind].struck;
}

int sim_flip(struct sim *sim, const char *path, uint64_t bit)
{
    struct sim_node *node = sim_node_at(sim, path);
    if (!node || node->directory)
        return -ENOENT;
    if (bit / 8 >= node->size)
        return -EINVAL;
    sim_node_flip(node, bit);
    return 0;
}

int sim_make_unreadable(struct sim *sim, const char *path, uint64_t from, uint64_t to)
{
    struct sim_node *node = sim_node_at(sim, path);
    if (!node || node->directory)
        return -ENOENT;
    node->unreadable_from = from;
    node->unreadable_to = to;
    return 0;
}

void sim_power_off(struct sim *sim, uint64_t after)
{
    sim->until_off = after;
    if (after == 0 && !sim->off)
        cut_power(sim);
}

bool sim_power_is_off(const struct sim *sim)
{
    return sim->off;
}

void sim_set_bound(struct sim *sim, uint64_t most, void (*over)(void *context), void *context)
{
    sim->steps_most = most;
    sim->over = over;
    sim->over_context = context;
}

void sim_trace(struct sim *sim, void (*trace)(void *context, const struct io_op *op), void *context)
{
    sim->trace = trace;
    sim->trace_context = context;
}

uint64_t sim_completed(const struct sim *sim)
{
    return sim->completed;
}

static void port_forget(struct sim_port *port)
{
    if (!port)
        return;
    CHECK(!port->running);
    for (struct list *node; (node = list_pop(&port->completed));)
        list_entry(node, struct io_op, node)->pending = false;
    port->woken = false;
}

static void restart(struct sim *sim, bool machine)
{
    if (!sim->off)
        cut_power(sim);
    for (size_t i = 0; i < sim->pending_count; i++)
        sim->pending[i].op->pending = false;
    sim->pending_count = 0;
    for (size_t i = 0; i < SIM_PORTS; i++)
        port_forget(sim->ports[i]);
    close_all(sim);
    if (machine)
        sim_node_crash(sim->root, &sim->random);
    sim->off = false;
    sim->until_off = UINT64_MAX;
    choose_device(sim);
}

void sim_restart(struct sim *sim)
{
    restart(sim, true);
}

void sim_restart_process(struct sim *sim)
{
    restart(sim, false);
}

uint32_t sim_open_files(const struct sim *sim)
{
    uint32_t count = 0;
    for (size_t i = 0; i < sim->file_count; i++)
        count += sim->files[i].node != NULL;
    return count;
}

bool sim_pass(struct sim *sim)
{
    size_t at = first_due(sim, NULL);
    if (at == sim->pending_count)
        return false;
    pass_to(sim, sim->pending[at].due_ns);
    return true;
}

uint64_t sim_now(const struct sim *sim)
{
    return sim->now_ns;
}

bool sim_has_news(struct io *io, uint64_t deadline_ns)
{
    const struct sim_port *port = port_of(io);
    return !list_empty(&port->completed) || port->woken || deadline_ns <= port->sim->now_ns;
}
