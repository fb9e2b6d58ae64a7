// SPDX-License-Identifier: Apache-2.0
// A file is sectors, each with a stable content and the versions written since. A crash leaves any
// one of them, for each sector by itself: writes may be lost, torn, and reordered among sectors.
// Every access goes through the newest version, as through a page cache.
//
// Blocks of sectors come from a pool of the disk's own: there are very many, and they come and go.
//
// A directory has the names that would survive and the steps that lead from them to the names of
// now. A crash leaves any number of first steps, for each directory by itself.
#include "tests/sim/sim_node.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static void *must(void *memory)
{
    CHECK(memory);
    return memory;
}

static char *copy_text(const char *text)
{
    return must(strdup(text));
}

enum { SLAB_BLOCKS = 256 };

struct sim_block {
    struct sim_block *next;
    uint8_t rest[sizeof(struct sim_version) - sizeof(struct sim_block *)];
};

struct sim_slab {
    struct sim_slab *next;
    struct sim_block blocks[SLAB_BLOCKS];
};

// Large enough for a version, and so for a stable sector.
static void *block_get(struct sim_pool *pool)
{
    if (!pool->free) {
        struct sim_slab *slab = must(malloc(sizeof(*slab)));
        slab->next = pool->slabs;
        pool->slabs = slab;
        for (size_t i = 0; i < SLAB_BLOCKS; i++) {
            slab->blocks[i].next = pool->free;
            pool->free = &slab->blocks[i];
        }
    }
    struct sim_block *block = pool->free;
    pool->free = block->next;
    return block;
}

static void block_put(struct sim_pool *pool, void *memory)
{
    struct sim_block *block = memory;
    if (!block)
        return;
    block->next = pool->free;
    pool->free = block;
}

void sim_pool_free(struct sim_pool *pool)
{
    while (pool->slabs) {
        struct sim_slab *next = pool->slabs->next;
        free(pool->slabs);
        pool->slabs = next;
    }
    pool->free = NULL;
}

struct sim_node *sim_node_create(struct sim_pool *pool, bool directory)
{
    struct sim_node *node = must(calloc(1, sizeof(*node)));
    node->pool = pool;
    node->directory = directory;
    node->refs = 1;
    return node;
}

struct sim_node *sim_node_ref(struct sim_node *node)
{
    if (node)
        node->refs++;
    return node;
}

static size_t names_index(const struct sim_names *names, const char *name, size_t size)
{
    size_t i = 0;
    while (i < names->count && (strncmp(names->entries[i].name, name, size) != 0 ||
                                names->entries[i].name[size] != '\0'))
        i++;
    return i;
}

static void names_set(struct sim_names *names, const char *name, struct sim_node *node)
{
    size_t i = names_index(names, name, strlen(name));
    struct sim_node *before = NULL;
    if (i < names->count) {
        before = names->entries[i].node;
        names->entries[i].node = sim_node_ref(node);
        if (!node) {
            free(names->entries[i].name);
            names->entries[i] = names->entries[--names->count];
        }
    } else if (node) {
        names->entries = must(realloc(names->entries, (i + 1) * sizeof(names->entries[0])));
        names->entries[i] = (struct sim_entry){copy_text(name), sim_node_ref(node)};
        names->count++;
    }
    sim_node_unref(before);
}

static void names_clear(struct sim_names *names)
{
    while (names->count > 0) {
        struct sim_entry entry = names->entries[--names->count];
        free(entry.name);
        sim_node_unref(entry.node);
    }
    free(names->entries);
    names->entries = NULL;
}

static void step_free(struct sim_step *step)
{
    free(step->from);
    free(step->to);
    sim_node_unref(step->from_node);
    sim_node_unref(step->to_node);
}

static void versions_free(struct sim_node *node, struct sim_sector *sector)
{
    node->unsaved -= sector->newest != NULL;
    while (sector->newest) {
        struct sim_version *older = sector->newest->older;
        block_put(node->pool, sector->newest);
        sector->newest = older;
    }
}

void sim_node_unref(struct sim_node *node)
{
    if (!node || --node->refs > 0)
        return;
    for (size_t i = 0; i < node->sector_count; i++) {
        versions_free(node, &node->sectors[i]);
        block_put(node->pool, node->sectors[i].stable);
    }
    free(node->sectors);
    for (size_t i = 0; i < node->step_count; i++)
        step_free(&node->steps[i]);
    free(node->steps);
    names_clear(&node->now);
    names_clear(&node->stable);
    free(node);
}

static const uint8_t *content(const struct sim_sector *sector)
{
    static const uint8_t zeros[SIM_SECTOR];
    if (sector->newest)
        return sector->newest->data;
    return sector->stable ? sector->stable : zeros;
}

// Past the kernel's cache: what only that has is not read.
static const uint8_t *content_of_device(const struct sim_sector *sector)
{
    static const uint8_t zeros[SIM_SECTOR];
    for (const struct sim_version *at = sector->newest; at; at = at->older) {
        if (!at->lost)
            return at->data;
    }
    return sector->stable ? sector->stable : zeros;
}

static void note_change(struct sim_node *node)
{
    node->changed = ++node->pool->changes;
}

static uint64_t sectors_for(uint64_t end)
{
    return (end + SIM_SECTOR - 1) / SIM_SECTOR;
}

static void grow(struct sim_node *node, uint64_t end)
{
    size_t count = sectors_for(end);
    if (count <= node->sector_count)
        return;
    if (count > node->sector_room) {
        node->sector_room = count > node->sector_room * 2 ? count : node->sector_room * 2;
        size_t bytes = node->sector_room * sizeof(node->sectors[0]);
        node->sectors = must(realloc(node->sectors, bytes));
    }
    memset(node->sectors + node->sector_count, 0,
           (count - node->sector_count) * sizeof(node->sectors[0]));
    node->sector_count = count;
}

static size_t piece_at(uint64_t offset, size_t left)
{
    size_t room = SIM_SECTOR - offset % SIM_SECTOR;
    return left < room ? left : room;
}

void sim_node_read(const struct sim_node *node, void *to, size_t size, uint64_t offset, bool direct)
{
    uint8_t *at = to;
    while (size > 0) {
        size_t piece = piece_at(offset, size);
        size_t index = offset / SIM_SECTOR;
        const struct sim_sector *sector = index < node->sector_count ? &node->sectors[index] : NULL;
        const uint8_t *bytes = NULL;
        if (sector)
            bytes = direct ? content_of_device(sector) : content(sector);
        if (bytes)
            memcpy(at, bytes + offset % SIM_SECTOR, piece);
        else
            memset(at, 0, piece);
        at += piece;
        offset += piece;
        size -= piece;
    }
}

static void mark_allocated(struct sim_node *node, struct sim_sector *sector)
{
    node->allocated += !sector->allocated;
    sector->allocated = true;
}

static struct sim_version *new_version(struct sim_node *node, struct sim_sector *sector,
                                       bool direct)
{
    struct sim_version *version = block_get(node->pool);
    memcpy(version->data, content(sector), SIM_SECTOR);
    node->unsaved += sector->newest == NULL;
    version->direct = direct;
    version->lost = false;
    version->older = sector->newest;
    sector->newest = version;
    return version;
}

void sim_node_write(struct sim_node *node, const void *from, size_t size, uint64_t offset,
                    bool direct)
{
    const uint8_t *at = from;
    note_change(node);
    grow(node, offset + size);
    while (size > 0) {
        size_t piece = piece_at(offset, size);
        struct sim_sector *sector = &node->sectors[offset / SIM_SECTOR];
        memcpy(new_version(node, sector, direct)->data + offset % SIM_SECTOR, at, piece);
        mark_allocated(node, sector);
        at += piece;
        offset += piece;
        size -= piece;
    }
    if (offset > node->size)
        node->size = offset;
}

uint64_t sim_node_next_data(const struct sim_node *node, uint64_t offset)
{
    for (uint64_t i = offset / SIM_SECTOR; i < node->sector_count; i++) {
        if (node->sectors[i].newest || node->sectors[i].stable)
            return i * SIM_SECTOR > offset ? i * SIM_SECTOR : offset;
    }
    return node->size > offset ? node->size : offset;
}

uint64_t sim_node_missing(const struct sim_node *node, uint64_t offset, uint64_t size)
{
    uint64_t missing = 0;
    for (uint64_t i = offset / SIM_SECTOR; i < sectors_for(offset + size); i++)
        missing += i >= node->sector_count || !node->sectors[i].allocated;
    return missing;
}

void sim_node_allocate(struct sim_node *node, uint64_t offset, uint64_t size)
{
    note_change(node);
    grow(node, offset + size);
    for (uint64_t i = offset / SIM_SECTOR; i < sectors_for(offset + size); i++)
        mark_allocated(node, &node->sectors[i]);
    if (offset + size > node->size)
        node->size = offset + size;
}

void sim_node_truncate(struct sim_node *node, uint64_t size)
{
    note_change(node);
    // What was cut off may come back after a crash, so it is covered with zeros, not dropped.
    for (uint64_t i = size / SIM_SECTOR; i < node->sector_count; i++) {
        struct sim_sector *sector = &node->sectors[i];
        size_t keep = i == size / SIM_SECTOR ? size % SIM_SECTOR : 0;
        if (sector->newest || sector->stable)
            memset(new_version(node, sector, false)->data + keep, 0, SIM_SECTOR - keep);
        if (keep == 0 && sector->allocated) {
            sector->allocated = false;
            node->allocated--;
        }
    }
    grow(node, size);
    node->size = size;
}

static bool all_zero(const uint8_t *data)
{
    return data[0] == 0 && memcmp(data, data + 1, SIM_SECTOR - 1) == 0;
}

static void set_stable(struct sim_node *node, struct sim_sector *sector, const uint8_t *data)
{
    if (all_zero(data)) {
        block_put(node->pool, sector->stable);
        sector->stable = NULL;
        return;
    }
    if (!sector->stable)
        sector->stable = block_get(node->pool);
    memcpy(sector->stable, data, SIM_SECTOR);
}

// The newest version that can be saved becomes stable, and everything older is gone. Lost versions
// on top of it stay what is read.
static void save_sector(struct sim_node *node, struct sim_sector *sector)
{
    if (!sector->newest)
        return;
    struct sim_version **at = &sector->newest;
    while (*at && (*at)->lost)
        at = &(*at)->older;
    struct sim_version *version = *at;
    if (!version)
        return;
    set_stable(node, sector, version->data);
    *at = NULL;
    node->unsaved -= sector->newest == NULL;
    while (version) {
        struct sim_version *older = version->older;
        block_put(node->pool, version);
        version = older;
    }
}

// A write whose bytes survive: most of them meet no older version.
void sim_node_write_durable(struct sim_node *node, const void *from, size_t size, uint64_t offset)
{
    const uint8_t *at = from;
    note_change(node);
    grow(node, offset + size);
    for (uint64_t to = offset, end = offset + size; to < end;) {
        size_t piece = piece_at(to, end - to);
        struct sim_sector *sector = &node->sectors[to / SIM_SECTOR];
        if (sector->newest || piece < SIM_SECTOR)
            sim_node_write(node, at, piece, to, false);
        else
            set_stable(node, sector, at);
        mark_allocated(node, sector);
        at += piece;
        to += piece;
    }
    if (offset + size > node->size)
        node->size = offset + size;
    sim_node_save(node, offset, size);
}

void sim_node_save(struct sim_node *node, uint64_t offset, uint64_t size)
{
    for (uint64_t i = offset / SIM_SECTOR; i < sectors_for(offset + size); i++)
        save_sector(node, &node->sectors[i]);
    // Of the size only what is needed to find the bytes again is saved; but metadata is saved in
    // order, so an earlier cut is, too.
    if (node->size < node->stable_size)
        node->stable_size = node->size;
    else if (offset + size > node->stable_size)
        node->stable_size = offset + size;
}

void sim_node_save_all(struct sim_node *node)
{
    for (size_t i = 0; i < node->sector_count && node->unsaved > 0; i++)
        save_sector(node, &node->sectors[i]);
    node->stable_size = node->size;
}

void sim_node_lose(struct sim_node *node, uint64_t offset, uint64_t size, struct random *random)
{
    uint64_t end = sectors_for(offset + size);
    for (uint64_t i = offset / SIM_SECTOR; i < end && i < node->sector_count; i++) {
        for (struct sim_version *at = node->sectors[i].newest; at; at = at->older) {
            if (!at->direct && !at->lost)
                at->lost = random_below(random, 2);
        }
    }
}

void sim_node_lose_all(struct sim_node *node, struct random *random)
{
    sim_node_lose(node, 0, node->sector_count * SIM_SECTOR, random);
}

void sim_node_flip(struct sim_node *node, uint64_t bit)
{
    CHECK(bit / 8 < node->size);
    note_change(node);
    struct sim_sector *sector = &node->sectors[bit / 8 / SIM_SECTOR];
    size_t at = bit / 8 % SIM_SECTOR;
    uint8_t mask = (uint8_t)(1u << bit % 8);
    if (!sector->stable)
        sector->stable = memset(block_get(node->pool), 0, SIM_SECTOR);
    sector->stable[at] ^= mask;
    for (struct sim_version *version = sector->newest; version; version = version->older)
        version->data[at] ^= mask;
}

struct sim_node *sim_node_find(const struct sim_node *directory, const char *name, size_t size)
{
    size_t i = names_index(&directory->now, name, size);
    return i < directory->now.count ? directory->now.entries[i].node : NULL;
}

static struct sim_step *new_step(struct sim_node *directory)
{
    size_t bytes = (directory->step_count + 1) * sizeof(directory->steps[0]);
    directory->steps = must(realloc(directory->steps, bytes));
    return &directory->steps[directory->step_count++];
}

void sim_node_name(struct sim_node *directory, const char *name, struct sim_node *node)
{
    CHECK(!strchr(name, '/')); // a trailing one is not supported
    note_change(directory);
    *new_step(directory) = (struct sim_step){copy_text(name), sim_node_ref(node), NULL, NULL};
    names_set(&directory->now, name, node);
}

void sim_node_rename(struct sim_node *directory, const char *from, const char *to)
{
    struct sim_node *node = sim_node_find(directory, from, strlen(from));
    note_change(directory);
    *new_step(directory) =
        (struct sim_step){copy_text(from), NULL, copy_text(to), sim_node_ref(node)};
    names_set(&directory->now, to, node);
    names_set(&directory->now, from, NULL);
}

static void take_steps(struct sim_node *directory, size_t count)
{
    for (size_t i = 0; i < directory->step_count; i++) {
        struct sim_step *step = &directory->steps[i];
        if (i < count) {
            if (step->to)
                names_set(&directory->stable, step->to, step->to_node);
            names_set(&directory->stable, step->from, step->from_node);
        }
        step_free(step);
    }
    directory->step_count = 0;
}

void sim_node_save_names(struct sim_node *directory)
{
    take_steps(directory, directory->step_count);
}

static void crash_sector(struct sim_node *node, struct sim_sector *sector, struct random *random)
{
    if (!sector->newest)
        return;
    size_t count = 0;
    for (struct sim_version *at = sector->newest; at; at = at->older)
        count += !at->lost;
    size_t pick = random_below(random, count + 1);
    for (struct sim_version *at = sector->newest; at; at = at->older) {
        if (!at->lost && pick-- == 0)
            set_stable(node, sector, at->data);
    }
    versions_free(node, sector);
}

static void crash_file(struct sim_node *node, struct random *random)
{
    if (node->unsaved == 0 && node->size == node->stable_size)
        return;
    for (size_t i = 0; i < node->sector_count && node->unsaved > 0; i++)
        crash_sector(node, &node->sectors[i], random);
    uint64_t size = random_below(random, 2) ? node->size : node->stable_size;
    uint64_t changed = node->changed;
    grow(node, size);
    sim_node_truncate(node, size);
    node->changed = changed; // the hardest case: what was lost does not show
    sim_node_save_all(node);
}

void sim_node_crash(struct sim_node *node, struct random *random)
{
    if (!node->directory) {
        crash_file(node, random);
        return;
    }
    take_steps(node, random_below(random, node->step_count + 1));
    names_clear(&node->now);
    for (size_t i = 0; i < node->stable.count; i++) {
        struct sim_entry *entry = &node->stable.entries[i];
        sim_node_crash(entry->node, random);
        names_set(&node->now, entry->name, entry->node);
    }
}
