// SPDX-License-Identifier: Apache-2.0
// One file or directory of the simulated disk: what is visible now, and what would survive.
// Used by sim_io.c only; tests use sim_io.h.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"

enum { SIM_SECTOR = 512 }; // the most that a device writes all or nothing

struct sim_node;

// Memory for sectors, of one disk. All zero at first; freed after the last node.
struct sim_pool {
    struct sim_block *free;
    struct sim_slab *slabs;
    uint64_t changes; // of all nodes
};

void sim_pool_free(struct sim_pool *pool);

struct sim_entry {
    char *name;
    struct sim_node *node;
};

struct sim_names {
    struct sim_entry *entries; // in no order
    size_t count;
};

// A change that survives as a whole or not at all: `from` gets `from_node`, `to` (if not NULL) gets
// `to_node`; a NULL node removes the name.
struct sim_step {
    char *from;
    struct sim_node *from_node;
    char *to;
    struct sim_node *to_node;
};

struct sim_version {
    struct sim_version *older;
    bool direct; // it went past the kernel's cache
    bool lost;   // a sync of it has failed: only the cache has it, and no later sync saves it
    uint8_t data[SIM_SECTOR];
};

struct sim_sector {
    uint8_t *stable;            // survives a crash; NULL = zeros
    struct sim_version *newest; // what is read, if there is one; else `stable`
    bool allocated;
};

struct sim_node {
    struct sim_pool *pool;
    bool directory;
    uint64_t changed; // the last of the pool's changes that was one of this node
    unsigned refs;    // names now, names that would survive, steps, descriptors
    // A file:
    struct sim_sector *sectors;
    size_t sector_count;
    size_t sector_room;
    size_t unsaved;     // sectors with versions
    uint64_t allocated; // sectors
    uint64_t size;
    uint64_t stable_size;
    uint64_t unreadable_from; // bytes of the file
    uint64_t unreadable_to;
    // A directory:
    struct sim_names now;
    struct sim_names stable;
    struct sim_step *steps; // from `stable` to `now`, in order
    size_t step_count;
};

// With one reference, the caller's.
struct sim_node *sim_node_create(struct sim_pool *pool, bool directory);
struct sim_node *sim_node_ref(struct sim_node *node);
void sim_node_unref(struct sim_node *node); // NULL is fine

// Files. Transfers are not bounded by the size here: beyond it zeros are read.
void sim_node_read(const struct sim_node *node, void *to, size_t size, uint64_t offset,
                   bool direct);
void sim_node_write(struct sim_node *node, const void *from, size_t size, uint64_t offset,
                    bool direct);
void sim_node_write_durable(struct sim_node *node, const void *from, size_t size, uint64_t offset);
// The first position at or behind `offset` in a sector that was written; the size when there is
// none.
uint64_t sim_node_next_data(const struct sim_node *node, uint64_t offset);
// How many sectors an access to the range would have to allocate.
uint64_t sim_node_missing(const struct sim_node *node, uint64_t offset, uint64_t size);
void sim_node_allocate(struct sim_node *node, uint64_t offset, uint64_t size);
void sim_node_truncate(struct sim_node *node, uint64_t size);
// The range, or all, survives from now on.
void sim_node_save(struct sim_node *node, uint64_t offset, uint64_t size);
void sim_node_save_all(struct sim_node *node);
// A sync of the range, or all, has failed: of what the kernel's cache had not saved some sectors
// have reached the device, and the others no longer can.
void sim_node_lose(struct sim_node *node, uint64_t offset, uint64_t size, struct random *random);
void sim_node_lose_all(struct sim_node *node, struct random *random);
// Changes one bit of what is stored, in every version of it. Counts as a change of the file.
void sim_node_flip(struct sim_node *node, uint64_t bit);

// Directories.
struct sim_node *sim_node_find(const struct sim_node *directory, const char *name, size_t size);
// `node` NULL removes the name.
void sim_node_name(struct sim_node *directory, const char *name, struct sim_node *node);
void sim_node_rename(struct sim_node *directory, const char *from, const char *to);
void sim_node_save_names(struct sim_node *directory);

// What a crash leaves of the node and of everything below it.
void sim_node_crash(struct sim_node *node, struct random *random);
