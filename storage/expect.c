// SPDX-License-Identifier: Apache-2.0
// Reading ahead at start. Recovery opens one log after the other and waits for the device each
// time; with thousands of small logs that is all a start consists of. So whoever opens many logs
// says some in advance which ones come (log_expect), and what recovery needs of each is read
// meanwhile, for many logs at a time:
//
//   names in the directory -> index file -> segment opened -> its first block -> its last frame
//
// all of the last segment only. Recovery takes from that what it finds, and reads the rest itself.
//
// 1. Nothing is judged here. A step that fails, for whatever reason, leaves its piece out, and
//    recovery meets the reason itself.
// 2. Nobody writes to a log's files between log_expect and the end of its log_open but recovery, in
//    places that it has read before.
// 3. Bounded: EXPECTED_MAX logs, each with two buffers of EXPECT_BYTES and an index of as much.
#include "storage/expect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/rest.h"
#include "storage/store.h"

enum { EXPECTED_MAX = 64, EXPECT_BYTES = 64 * 1024 };

struct piece {
    struct buffer *buffer;
    uint64_t start;
    uint64_t have;
};

struct expectation {
    struct list node; // store->expectations
    struct log_store *store;
    char *directory;
    struct listing files;
    int listed; // 0, or why there are no names
    int64_t base;
    char *path;
    struct io_op op;
    bool running;
    int fd;
    int index_fd;
    uint64_t size;
    uint8_t *index;
    size_t index_size;
    struct piece first;
    struct piece last; // with the frame that the index calls the last one
};

static void piece_free(struct piece *piece)
{
    if (piece->buffer)
        buffer_unref(piece->buffer);
    *piece = (struct piece){0};
}

static void expected_free(struct expectation *expected)
{
    struct io *io = expected->store->io;
    while (expected->running)
        io_run(io, UINT64_MAX);
    list_remove(&expected->node);
    expected->store->expectation_count--;
    if (expected->fd >= 0)
        io_close_wait(io, expected->fd);
    piece_free(&expected->first);
    piece_free(&expected->last);
    listing_free(&expected->files);
    free(expected->index);
    free(expected->path);
    free(expected->directory);
    free(expected);
}

// --- reading ahead

static void finished(struct expectation *expected)
{
    free(expected->path);
    expected->path = NULL;
    expected->running = false;
}

static bool path_set(struct expectation *expected, const char *suffix)
{
    free(expected->path);
    if (asprintf(&expected->path, "%s/%020" PRId64 "%s", expected->directory, expected->base,
                 suffix) < 0)
        expected->path = NULL;
    return expected->path != NULL;
}

// Whole blocks from `start` on, as much as there is.
static bool piece_read(struct expectation *expected, struct piece *piece, uint64_t start,
                       uint64_t size, void (*done)(struct io_op *op))
{
    struct log_store *store = expected->store;
    piece->buffer = pool_get(store->pool, size);
    if (!piece->buffer)
        return false;
    piece->start = start;
    expected->op.done = done;
    io_read(store->io, &expected->op, expected->fd, piece->buffer->data, size, start);
    return true;
}

static void last_read(struct io_op *op)
{
    struct expectation *expected = list_entry(op, struct expectation, op);
    if (op->result > 0)
        expected->last.have = (uint64_t)op->result;
    finished(expected);
}

static void first_read(struct io_op *op)
{
    struct expectation *expected = list_entry(op, struct expectation, op);
    struct index_header header;
    if (op->result > 0)
        expected->first.have = (uint64_t)op->result;
    bool begins_last = expected->index && expected->index_size >= INDEX_HEADER_SIZE &&
                       format_index_read(expected->index, &header) &&
                       header.last_frame < header.covered && header.covered <= expected->size &&
                       header.covered > expected->first.have &&
                       header.covered - header.last_frame <= EXPECT_BYTES - FORMAT_BLOCK;
    uint64_t start = begins_last ? header.last_frame & ~(uint64_t)(FORMAT_BLOCK - 1) : 0;
    if (!begins_last || !piece_read(expected, &expected->last, start, EXPECT_BYTES, last_read))
        finished(expected);
}

static void file_opened(struct io_op *op)
{
    struct expectation *expected = list_entry(op, struct expectation, op);
    expected->fd = op->result < 0 ? -1 : (int)op->result;
    int64_t size = expected->fd < 0 ? 0 : io_file_size(expected->store->io, expected->fd);
    expected->size = size < 0 ? 0 : (uint64_t)size;
    uint64_t wanted =
        expected->size <= EXPECT_BYTES ? format_next_block(expected->size) : (uint64_t)FORMAT_BLOCK;
    if (wanted == 0 || !piece_read(expected, &expected->first, 0, wanted, first_read))
        finished(expected);
}

static void file_open(struct expectation *expected)
{
    struct log_store *store = expected->store;
    if (!path_set(expected, ".log")) {
        finished(expected);
        return;
    }
    expected->op.done = file_opened;
    io_open(store->io, &expected->op, expected->path, O_RDWR | (store->direct ? O_DIRECT : 0), 0);
}

static void index_closed(struct io_op *op)
{
    file_open(list_entry(op, struct expectation, op));
}

static void index_read(struct io_op *op)
{
    struct expectation *expected = list_entry(op, struct expectation, op);
    if (op->result != (int64_t)expected->index_size) {
        free(expected->index);
        expected->index = NULL;
    }
    op->done = index_closed;
    io_close(expected->store->io, op, expected->index_fd);
}

static void index_opened(struct io_op *op)
{
    struct expectation *expected = list_entry(op, struct expectation, op);
    struct io *io = expected->store->io;
    if (op->result < 0) {
        file_open(expected);
        return;
    }
    expected->index_fd = (int)op->result;
    int64_t size = io_file_size(io, expected->index_fd);
    if (size > 0 && size <= EXPECT_BYTES)
        expected->index = malloc((size_t)size);
    if (!expected->index) {
        op->done = index_closed;
        io_close(io, op, expected->index_fd);
        return;
    }
    expected->index_size = (size_t)size;
    op->done = index_read;
    io_read(io, op, expected->index_fd, expected->index, expected->index_size, 0);
}

// Names are in order. -1 = no segment.
static int64_t last_base(const struct listing *files, bool *has_index)
{
    for (size_t i = files->count; i-- > 0;) {
        int64_t base = segment_base_of(files->names[i], ".log");
        if (base < 0)
            continue;
        *has_index = i > 0 && segment_base_of(files->names[i - 1], ".index") == base;
        return base;
    }
    return -1;
}

void log_expect(struct log_store *store, struct log_name name)
{
    if (store->expectation_count == EXPECTED_MAX || rest_has(store, name))
        return;
    struct expectation *expected = calloc(1, sizeof(*expected));
    if (!expected)
        return;
    expected->store = store;
    expected->fd = -1;
    list_append(&store->expectations, &expected->node);
    store->expectation_count++;
    expected->directory = log_directory(store, name);
    if (!expected->directory) {
        expected_free(expected);
        return;
    }
    expected->listed = listing_read(&expected->files, store->io, expected->directory);
    bool has_index = false;
    expected->base = expected->listed ? -1 : last_base(&expected->files, &has_index);
    if (expected->base < 0)
        return;
    expected->running = true;
    if (!has_index || !path_set(expected, ".index")) {
        file_open(expected);
        return;
    }
    expected->op.done = index_opened;
    io_open(store->io, &expected->op, expected->path, O_RDONLY, 0);
}

// --- taking it

void expect_begin(struct log *log)
{
    struct log_store *store = log->store;
    CHECK(!store->expected);
    list_each(node, &store->expectations) {
        struct expectation *expected = list_entry(node, struct expectation, node);
        if (strcmp(expected->directory, log->directory) != 0)
            continue;
        while (expected->running)
            io_run(store->io, UINT64_MAX);
        store->expected = expected;
        return;
    }
}

void expect_end(struct log_store *store)
{
    if (store->expected)
        expected_free(store->expected);
    store->expected = NULL;
}

void expect_drop_all(struct log_store *store)
{
    while (!list_empty(&store->expectations))
        expected_free(list_entry(store->expectations.next, struct expectation, node));
}

int expect_listing(struct log *log, struct listing *out)
{
    struct expectation *expected = log->store->expected;
    if (!expected || expected->listed == -ENOMEM)
        return listing_read(out, log->store->io, log->directory);
    *out = expected->files;
    expected->files = (struct listing){0};
    return expected->listed;
}

int expect_file(struct log *log, int64_t base)
{
    struct expectation *expected = log->store->expected;
    if (!expected || expected->base != base)
        return -1;
    int fd = expected->fd;
    expected->fd = -1;
    return fd;
}

uint8_t *expect_index(struct log *log, int64_t base, size_t *size)
{
    struct expectation *expected = log->store->expected;
    if (!expected || expected->base != base)
        return NULL;
    uint8_t *index = expected->index;
    *size = expected->index_size;
    expected->index = NULL;
    return index;
}

static size_t piece_copy(const struct piece *piece, void *to, size_t least, size_t size,
                         uint64_t offset)
{
    if (offset < piece->start || offset - piece->start + least > piece->have)
        return 0;
    uint64_t left = piece->have - (offset - piece->start);
    size_t count = left < size ? (size_t)left : size;
    memcpy(to, piece->buffer->data + (offset - piece->start), count);
    return count;
}

size_t expect_read(const struct log *log, int64_t base, void *to, size_t least, size_t size,
                   uint64_t offset)
{
    const struct expectation *expected = log->store->expected;
    if (!expected || expected->base != base)
        return 0;
    size_t count = piece_copy(&expected->first, to, least, size, offset);
    return count > 0 ? count : piece_copy(&expected->last, to, least, size, offset);
}
