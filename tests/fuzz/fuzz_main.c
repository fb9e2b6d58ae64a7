// SPDX-License-Identifier: Apache-2.0
// Drives a fuzz target without libFuzzer: replays every file of the directories given, then runs
// mutations of them. The same seed, count and files give the same inputs.
//
//     fuzz_<name> [-n MUTATIONS] [-s SEED] [-o FILE] DIRECTORY...
//
// -o keeps the latest input in FILE: after a crash, run again with it to have the input.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 16, FILES_MAX = 4096, EDITS_MAX = 6 };

struct input {
    uint8_t *data;
    size_t size;
};

struct corpus {
    struct input files[FILES_MAX];
    size_t count;
};

static int read_file(const char *directory, const char *name, struct input *out)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return -errno;
    out->data = malloc(INPUT_MAX);
    out->size = out->data ? fread(out->data, 1, INPUT_MAX, file) : 0;
    int status = out->data && !ferror(file) ? 0 : -EIO;
    fclose(file);
    return status;
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

// In the order of the names, which does not depend on the file system.
static int read_directory(const char *path, struct corpus *corpus)
{
    struct dirent **entries;
    int count = scandir(path, &entries, not_hidden, alphasort);
    if (count < 0)
        return -errno;
    int status = 0;
    for (int i = 0; i < count; i++) {
        if (corpus->count == FILES_MAX)
            status = -E2BIG;
        if (status == 0)
            status = read_file(path, entries[i]->d_name, &corpus->files[corpus->count]);
        if (status == 0)
            corpus->count++;
        free(entries[i]);
    }
    free(entries);
    return status;
}

static void keep(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size)
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
    if (file)
        fclose(file);
}

// Runs the target on a heap block of exactly this size, so that a sanitizer sees any step beyond.
static void run(const uint8_t *data, size_t size, const char *keep_path)
{
    if (keep_path)
        keep(keep_path, data, size);
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

// Numbers on which length checks turn.
static uint8_t edge_byte(struct random *random)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x0f, 0x10};
    return edges[random_below(random, sizeof(edges))];
}

static void insert(struct input *input, size_t at, const uint8_t *from, size_t size)
{
    if (size > INPUT_MAX - input->size)
        size = INPUT_MAX - input->size;
    memmove(input->data + at + size, input->data + at, input->size - at);
    memcpy(input->data + at, from, size);
    input->size += size;
}

static void edit(struct random *random, const struct corpus *corpus, struct input *input)
{
    size_t at = random_below(random, input->size + 1);
    size_t rest = input->size - at;
    size_t size = random_below(random, (rest < 32 ? rest : 32) + 1);
    const struct input *other = &corpus->files[random_below(random, corpus->count)];
    size_t from = random_below(random, other->size + 1);
    uint8_t byte = (uint8_t)random_next(random);
    switch (random_below(random, 7)) {
    case 0:
        if (rest)
            input->data[at] ^= (uint8_t)(1u << (byte & 7));
        break;
    case 1:
        if (rest)
            input->data[at] = byte;
        break;
    case 2:
        memset(input->data + at, edge_byte(random), size);
        break;
    case 3:
        memmove(input->data + at, input->data + at + size, rest - size);
        input->size -= size;
        break;
    case 4:
        insert(input, at, &byte, 1);
        break;
    case 5:
        insert(input, at, other->data + from,
               random_below(random, (other->size - from < 64 ? other->size - from : 64) + 1));
        break;
    default:
        if (byte < 64)
            input->size = at;
        break;
    }
}

static void mutate(uint64_t seed, uint64_t count, const struct corpus *corpus,
                   const char *keep_path)
{
    struct random random = {seed};
    struct input input = {malloc(INPUT_MAX), 0};
    if (!input.data)
        abort();
    for (uint64_t i = 0; i < count; i++) {
        const struct input *file = &corpus->files[random_below(&random, corpus->count)];
        memcpy(input.data, file->data, file->size);
        input.size = file->size;
        uint64_t edits = 1 + random_below(&random, EDITS_MAX);
        for (uint64_t j = 0; j < edits; j++)
            edit(&random, corpus, &input);
        run(input.data, input.size, keep_path);
    }
    free(input.data);
}

int main(int argc, char **argv)
{
    uint64_t count = 0;
    uint64_t seed = 1;
    const char *keep_path = NULL;
    int option;
    while ((option = getopt(argc, argv, "n:s:o:")) != -1) {
        if (option == 'n')
            count = strtoull(optarg, NULL, 10);
        else if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (option == 'o')
            keep_path = optarg;
        else
            return 2;
    }
    struct corpus *corpus = calloc(1, sizeof(*corpus));
    if (!corpus)
        abort();
    for (int i = optind; i < argc; i++) {
        int status = read_directory(argv[i], corpus);
        if (status != 0) {
            fprintf(stderr, "cannot read %s: %s\n", argv[i], strerror(-status));
            return 2;
        }
    }
    if (corpus->count == 0) {
        fprintf(stderr, "usage: %s [-n MUTATIONS] [-s SEED] [-o FILE] DIRECTORY...\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < corpus->count; i++)
        run(corpus->files[i].data, corpus->files[i].size, keep_path);
    mutate(seed, count, corpus, keep_path);
    printf("%zu files and %llu mutations of them ran\n", corpus->count, (unsigned long long)count);
    for (size_t i = 0; i < corpus->count; i++)
        free(corpus->files[i].data);
    free(corpus);
    return 0;
}
