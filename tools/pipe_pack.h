// SPDX-License-Identifier: Apache-2.0
// Where msgpack values begin and end, without decoding them: what a stage passes on keeps its
// bytes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "tools/pipe_bytes.h"

// How far a value that arrives in pieces has been looked at. Zeroed before its first byte.
struct pipe_pack_scan {
    size_t at;       // bytes known to belong to the value
    uint64_t wanted; // values that must follow; while `begun`
    bool begun;
};

// Goes on with the value that starts at data[0]; `size` bytes of it are there, never fewer than at
// the call before. Returns 1 when it is complete (scan->at bytes), 0 when more is needed, -1 when
// it is no msgpack. Takes time in proportion to the new bytes.
int pipe_pack_scan(struct pipe_pack_scan *scan, const void *data, size_t size);

// The size of the value at the front of `bytes`; 0 when it is incomplete or no msgpack.
size_t pipe_pack_size(struct span bytes);

// Walks maps and arrays in place. Each takes what it names off the front of *bytes, or returns
// false and leaves *bytes alone.
bool pipe_pack_take_map(struct span *bytes, uint32_t *pairs);
bool pipe_pack_take_array(struct span *bytes, uint32_t *items);
bool pipe_pack_take_bytes(struct span *bytes, struct span *out); // text or binary
bool pipe_pack_take_nil(struct span *bytes);
bool pipe_pack_take_any(struct span *bytes, struct span *out); // a whole value

// Appends. 0 or -ENOMEM.
int pipe_pack_add_map(struct pipe_bytes *to, uint32_t pairs);
int pipe_pack_add_array(struct pipe_bytes *to, uint32_t items);
int pipe_pack_add_text(struct pipe_bytes *to, const char *text);
int pipe_pack_add_binary(struct pipe_bytes *to, const void *data, size_t size); // nil for NULL
int pipe_pack_add_integer(struct pipe_bytes *to, int64_t value);
