// SPDX-License-Identifier: Apache-2.0
// Paragraphs end at an empty line. The damaged ones are made from sound ones, in the ways in which
// such data does get damaged, and stand at regular distances between them.
#include "tools/demo/input.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MAX = 256 << 20, GARBAGE_SIZE = 300 };

// Each returns a new text and its size, or NULL.
typedef char *damage_function(const struct paragraph *sound, size_t *size);

static char *copy_text(const struct paragraph *sound, size_t extra)
{
    char *text = malloc(sound->size + extra + 1);

    if (text != NULL) {
        memcpy(text, sound->text, sound->size);
        text[sound->size] = '\0';
    }
    return text;
}

// The place where a line begins with `prefix`, or NULL.
static char *find_line(char *text, const char *prefix)
{
    size_t size = strlen(prefix);
    char *line = text;

    while (line != NULL && strncmp(line, prefix, size) != 0) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return line;
}

static char *without_field(const struct paragraph *sound, const char *field, size_t *size)
{
    char *text = copy_text(sound, 0);
    char *line = text != NULL ? find_line(text, field) : NULL;

    if (line != NULL) {
        char *next = strchr(line, '\n');
        if (next != NULL)
            memmove(line, next + 1, strlen(next + 1) + 1);
        else
            *line = '\0';
    }
    *size = text != NULL ? strlen(text) : 0;
    return text;
}

static char *lose_name(const struct paragraph *sound, size_t *size)
{
    return without_field(sound, "Package: ", size);
}

static char *lose_version(const struct paragraph *sound, size_t *size)
{
    return without_field(sound, "Version: ", size);
}

static char *cut_in_the_middle(const struct paragraph *sound, size_t *size)
{
    char *text = copy_text(sound, 0);
    char *at = text != NULL ? find_line(text, "Architecture: ") : NULL;

    if (text == NULL)
        return NULL;
    if (at != NULL)
        at[strlen("Archi")] = '\0';
    *size = strlen(text);
    return text;
}

static char *replace_by_garbage(const struct paragraph *sound, size_t *size)
{
    uint32_t state = 2463534242;
    char *text = malloc(GARBAGE_SIZE);

    (void)sound;
    for (size_t i = 0; text != NULL && i < GARBAGE_SIZE; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        text[i] = (char)state;
    }
    *size = GARBAGE_SIZE;
    return text;
}

static char *repeat_a_field(const struct paragraph *sound, size_t *size)
{
    static const char again[] = "\nVersion: 0";
    char *text = copy_text(sound, sizeof(again));

    if (text == NULL)
        return NULL;
    memcpy(text + sound->size, again, sizeof(again));
    *size = sound->size + sizeof(again) - 1;
    return text;
}

static char *spoil_name(const struct paragraph *sound, size_t *size)
{
    char *text = copy_text(sound, 0);
    char *at = text != NULL ? find_line(text, "Package: ") : NULL;

    if (text == NULL)
        return NULL;
    if (at != NULL)
        at[strlen("Package: ")] = '?';
    *size = strlen(text);
    return text;
}

static char *spoil_size(const struct paragraph *sound, size_t *size)
{
    char *text = copy_text(sound, 0);
    char *at = text != NULL ? find_line(text, "Installed-Size: ") : NULL;

    if (text == NULL)
        return NULL;
    if (at != NULL)
        at[strlen("Installed-Size: ")] = '~';
    *size = strlen(text);
    return text;
}

static char *leave_nothing(const struct paragraph *sound, size_t *size)
{
    (void)sound;
    *size = 0;
    return calloc(1, 1);
}

static damage_function *const damages[] = {
    lose_name,      lose_version, cut_in_the_middle, replace_by_garbage,
    repeat_a_field, spoil_name,   spoil_size,        leave_nothing,
};

enum { DAMAGES = sizeof(damages) / sizeof(damages[0]) };

static int read_file(struct input *input, const char *path, size_t *size)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    int rc = 0;

    if (file == NULL)
        return -errno;
    if (fstat(fileno(file), &status) != 0)
        rc = -errno;
    else if (status.st_size > FILE_MAX)
        rc = -EFBIG;
    if (rc == 0) {
        input->file = malloc((size_t)status.st_size + 1);
        rc = input->file != NULL ? 0 : -ENOMEM;
    }
    if (rc == 0) {
        *size = fread(input->file, 1, (size_t)status.st_size, file);
        input->file[*size] = '\0';
        rc = ferror(file) ? -EIO : 0;
    }
    fclose(file);
    return rc;
}

static size_t count_paragraphs(const char *text, const char *end)
{
    size_t count = 1;

    while ((text = memmem(text, (size_t)(end - text), "\n\n", 2)) != NULL) {
        count++;
        text += 2;
    }
    return count;
}

// The place of the next paragraph's first byte, and its size; NULL at the end.
static const char *next_paragraph(const char *at, const char *end, size_t *size)
{
    while (at < end && *at == '\n')
        at++;
    if (at == end)
        return NULL;
    const char *stop = memmem(at, (size_t)(end - at), "\n\n", 2);
    if (stop == NULL)
        stop = end[-1] == '\n' ? end - 1 : end;
    *size = (size_t)(stop - at);
    return at;
}

static int add_damaged(struct input *input, const struct paragraph *sound)
{
    size_t size = 0;
    char *text = damages[input->damaged](sound, &size);

    if (text == NULL)
        return -ENOMEM;
    input->damaged_texts[input->damaged++] = text;
    input->paragraphs[input->count++] = (struct paragraph){text, size, true};
    return 0;
}

int input_load(struct input *input, const char *path)
{
    size_t file_size = 0;
    size_t size;
    size_t sound = 0;

    *input = (struct input){0};
    int rc = read_file(input, path, &file_size);
    if (rc != 0) {
        input_free(input);
        return rc;
    }
    const char *end = input->file + file_size;
    size_t upper = count_paragraphs(input->file, end);
    input->paragraphs = calloc(upper + DAMAGES, sizeof(*input->paragraphs));
    input->damaged_texts = calloc(DAMAGES, sizeof(*input->damaged_texts));
    if (input->paragraphs == NULL || input->damaged_texts == NULL)
        rc = -ENOMEM;

    size_t distance = upper / (DAMAGES + 1) + 1;
    const char *at = input->file;
    while (rc == 0 && (at = next_paragraph(at, end, &size)) != NULL) {
        struct paragraph paragraph = {at, size, false};
        input->paragraphs[input->count++] = paragraph;
        if (++sound % distance == 0 && input->damaged < DAMAGES)
            rc = add_damaged(input, &paragraph);
        at += size;
    }
    if (rc == 0 && sound == 0)
        rc = -EINVAL;
    if (rc != 0)
        input_free(input);
    return rc;
}

void input_free(struct input *input)
{
    for (size_t i = 0; input->damaged_texts != NULL && i < input->damaged; i++)
        free(input->damaged_texts[i]);
    free(input->damaged_texts);
    free(input->paragraphs);
    free(input->file);
    *input = (struct input){0};
}
