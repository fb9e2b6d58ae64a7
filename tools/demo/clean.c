// SPDX-License-Identifier: Apache-2.0
// The command of stage 2, which `weir pipe` runs. Reads packages from standard input, each a
// msgpack value with the bytes of a paragraph, checks them, and answers each with a msgpack map.
//
// It knows nothing of brokers, offsets or repetitions. At a damaged package it says why on standard
// error and ends: what becomes of that one is up to who runs it, and so is to start it again.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/demo/demo.h"
#include "tools/demo/package.h"

enum { THINK_MS = 4, TEXT_MAX = 1 << 20 };

// Returns 1 with a package's bytes in `text`, 0 at the end of the input, -1 when it is something
// else.
static int read_text(char *text, size_t *size)
{
    unsigned char head[PACKAGE_HEAD_MAX];
    size_t length = 1;

    if (fread(head, 1, 1, stdin) != 1)
        return feof(stdin) ? 0 : -1;
    size_t wanted = package_head_size(head[0]);
    length += fread(head + 1, 1, wanted - 1, stdin);
    if (length != wanted || !package_head_decode(head, size) || *size > TEXT_MAX)
        return -1;
    return fread(text, 1, *size, stdin) == *size ? 1 : -1;
}

static int clean_one(const char *text, size_t size)
{
    // It is slower than the stage before it: nobody has to wait for it.
    const struct timespec think = {.tv_nsec = THINK_MS * 1000 * 1000};
    char encoded[PACKAGE_ENCODED_MAX];
    char reason[256] = "";
    struct package package;

    if (package_parse(text, size, &package, reason, sizeof(reason)) != 0) {
        fprintf(stderr, "%s\n", reason);
        return -1;
    }
    size_t encoded_size = package_encode(&package, encoded);
    nanosleep(&think, NULL);
    if (fwrite(encoded, 1, encoded_size, stdout) == encoded_size && fflush(stdout) == 0)
        return 0;
    fprintf(stderr, "cannot write: %s\n", strerror(errno));
    return -1;
}

int demo_clean(const struct demo *demo)
{
    char *text = malloc(TEXT_MAX);
    size_t size = 0;
    int rc = text != NULL ? 1 : -1;

    (void)demo;
    while (rc == 1 && (rc = read_text(text, &size)) == 1)
        rc = clean_one(text, size) == 0 ? 1 : -1;
    free(text);
    return rc == 0 ? 0 : 1;
}
