// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/demo/input.h"
#include "tools/demo/package.h"

enum { PATH_SIZE = 64 };

static void write_file(char path[PATH_SIZE], const char *text)
{
    snprintf(path, PATH_SIZE, "/tmp/weir-input-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

Test(tools, paragraphs_end_at_empty_lines)
{
    struct input input;
    char path[PATH_SIZE];

    write_file(path, "Package: a\nVersion: 1\n\n\nPackage: b\nVersion: 2\n");
    cr_assert_eq(input_load(&input, path), 0);
    unlink(path);
    size_t sound = 0;
    static const char *const expected[] = {"Package: a\nVersion: 1", "Package: b\nVersion: 2"};
    for (size_t i = 0; i < input.count; i++) {
        const struct paragraph *paragraph = &input.paragraphs[i];
        if (paragraph->damaged)
            continue;
        cr_assert_lt(sound, 2);
        cr_assert_eq(paragraph->size, strlen(expected[sound]));
        cr_assert_eq(memcmp(paragraph->text, expected[sound], paragraph->size), 0);
        sound++;
    }
    cr_assert_eq(sound, 2);
    cr_assert_eq(input.count, sound + input.damaged);
    input_free(&input);
}

// Every kind of damage the demo makes up must be one that stage 2 notices, each for its own reason.
Test(tools, every_damaged_paragraph_is_rejected_and_every_sound_one_is_not)
{
    enum { SOUND = 100, KINDS = 8 };
    struct input input;
    char path[PATH_SIZE];
    char text[SOUND * 128];
    size_t used = 0;
    char reasons[KINDS][256];

    for (int i = 0; i < SOUND; i++) {
        used += (size_t)snprintf(
            text + used, sizeof(text) - used,
            "Package: p%d\nStatus: ok\nInstalled-Size: 5\nArchitecture: all\nVersion: 1\n\n", i);
    }
    write_file(path, text);
    cr_assert_eq(input_load(&input, path), 0);
    unlink(path);
    cr_assert_eq(input.count, SOUND + KINDS);
    cr_assert_eq(input.damaged, KINDS);
    size_t rejected = 0;
    for (size_t i = 0; i < input.count; i++) {
        const struct paragraph *paragraph = &input.paragraphs[i];
        struct package package;
        char reason[256] = "";
        int rc = package_parse(paragraph->text, paragraph->size, &package, reason, sizeof(reason));
        cr_assert_eq(rc != 0, paragraph->damaged, "%zu: %s", i, reason);
        if (rc != 0)
            snprintf(reasons[rejected++], sizeof(reasons[0]), "%s", reason);
    }
    // The empty paragraph and the one without a name share a reason.
    size_t different = 0;
    for (size_t i = 0; i < KINDS; i++) {
        bool again = false;
        for (size_t j = 0; j < i; j++)
            again = again || strcmp(reasons[i], reasons[j]) == 0;
        different += !again;
    }
    cr_assert_eq(different, KINDS - 1);
    input_free(&input);
}

Test(tools, the_same_file_gives_the_same_paragraphs)
{
    struct input first;
    struct input second;
    char path[PATH_SIZE];

    write_file(path, "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n");
    cr_assert_eq(input_load(&first, path), 0);
    cr_assert_eq(input_load(&second, path), 0);
    unlink(path);
    cr_assert_eq(first.count, second.count);
    for (size_t i = 0; i < first.count; i++) {
        cr_assert_eq(first.paragraphs[i].size, second.paragraphs[i].size);
        cr_assert_eq(
            memcmp(first.paragraphs[i].text, second.paragraphs[i].text, first.paragraphs[i].size),
            0);
    }
    input_free(&first);
    input_free(&second);
}

Test(tools, an_input_without_paragraphs_is_an_error)
{
    struct input input;
    char path[PATH_SIZE];

    cr_assert_eq(input_load(&input, "/nowhere/to/be/found"), -ENOENT);
    write_file(path, "\n\n\n");
    cr_assert_eq(input_load(&input, path), -EINVAL);
    unlink(path);
    write_file(path, "");
    cr_assert_eq(input_load(&input, path), -EINVAL);
    unlink(path);
}
