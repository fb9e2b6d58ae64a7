// SPDX-License-Identifier: Apache-2.0
// Invariant: packages is the number of paragraph numbers seen, and the sum over all sections.
#include "tools/demo/sections.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 10 * 1000 * 1000 };

static void copy_text(char *to, size_t size, struct package_text text)
{
    size_t length = text.size < size - 1 ? text.size : size - 1;

    memcpy(to, text.data, length);
    to[length] = '\0';
}

// Grows the record of what was seen. 0 or -ENOMEM.
static int make_room(struct sections *sections, size_t number)
{
    if (number < sections->seen_size)
        return 0;
    size_t size = (number + 1) * 2;
    bool *seen = realloc(sections->seen, size * sizeof(*seen));
    if (seen == NULL)
        return -ENOMEM;
    memset(seen + sections->seen_size, 0, size - sections->seen_size);
    sections->seen = seen;
    sections->seen_size = size;
    return 0;
}

static struct section *find_or_add(struct sections *sections, struct package_text name)
{
    char text[sizeof(sections->items->name)] = "";

    copy_text(text, sizeof(text), name);
    for (size_t i = 0; i < sections->count; i++) {
        if (strcmp(sections->items[i].name, text) == 0)
            return &sections->items[i];
    }
    if (sections->count == sections->capacity) {
        size_t capacity = sections->capacity > 0 ? 2 * sections->capacity : 64;
        struct section *items = reallocarray(sections->items, capacity, sizeof(*items));
        if (items == NULL)
            return NULL;
        sections->items = items;
        sections->capacity = capacity;
    }
    struct section *section = &sections->items[sections->count++];
    *section = (struct section){0};
    memcpy(section->name, text, sizeof(section->name));
    return section;
}

int sections_add(struct sections *sections, int64_t number, const struct package *package)
{
    if (number < 0 || number > NUMBER_MAX)
        return -ERANGE;
    if (make_room(sections, (size_t)number) != 0)
        return -ENOMEM;
    if (sections->seen[number]) {
        sections->repeated++;
        return 0;
    }
    struct section *section = find_or_add(sections, package->section);
    if (section == NULL)
        return -ENOMEM;
    sections->seen[number] = true;
    sections->packages++;
    section->packages++;
    section->installed_kb += package->installed_kb;
    if (package->installed_kb > section->largest_kb || section->packages == 1) {
        section->largest_kb = package->installed_kb;
        copy_text(section->largest, sizeof(section->largest), package->name);
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct section *left = a;
    const struct section *right = b;

    if (left->packages != right->packages)
        return left->packages > right->packages ? -1 : 1;
    return strcmp(left->name, right->name);
}

void sections_sort(struct sections *sections)
{
    if (sections->count > 0)
        qsort(sections->items, sections->count, sizeof(*sections->items), compare);
}

void sections_print(const struct sections *sections, size_t rows, FILE *out)
{
    struct section others = {0};
    uint64_t installed_kb = 0;

    fprintf(out, "  %-20s %9s %14s  %s\n", "SECTION", "PACKAGES", "INSTALLED MB", "LARGEST");
    for (size_t i = 0; i < sections->count; i++) {
        const struct section *section = &sections->items[i];
        installed_kb += section->installed_kb;
        if (i < rows) {
            fprintf(out, "  %-20s %9" PRId64 " %14.1f  %s\n", section->name, section->packages,
                    (double)section->installed_kb / 1024, section->largest);
        } else {
            others.packages += section->packages;
            others.installed_kb += section->installed_kb;
        }
    }
    if (others.packages > 0)
        fprintf(out, "  %-20s %9" PRId64 " %14.1f  (%zu sections)\n", "all others", others.packages,
                (double)others.installed_kb / 1024, sections->count - rows);
    fprintf(out, "  %-20s %9" PRId64 " %14.1f\n", "total", sections->packages,
            (double)installed_kb / 1024);
}

void sections_free(struct sections *sections)
{
    free(sections->items);
    free(sections->seen);
    *sections = (struct sections){0};
}
