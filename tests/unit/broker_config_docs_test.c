// SPDX-License-Identifier: Apache-2.0
// The tables in the documentation are what the broker prints. When this fails, put the output of
// the command that the test names between the marks in that page.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/listing.h"

enum { PAGE_MAX = 1 << 20 };

static char *read_page(const char *name)
{
    char path[4096];
    const char *end = strstr(__FILE__, "tests/unit/");
    cr_assert_not_null(end);
    snprintf(path, sizeof(path), "%.*sdocs/%s", (int)(end - __FILE__), __FILE__, name);
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file, "%s", path);
    char *page = calloc(1, PAGE_MAX);
    cr_assert_gt(fread(page, 1, PAGE_MAX - 1, file), 0);
    fclose(file);
    return page;
}

static void expect_table(const char *page_name, const char *command, void (*print)(FILE *out))
{
    char *page = read_page(page_name);
    char *table = NULL;
    char mark[100];
    size_t size = 0;
    FILE *out = open_memstream(&table, &size);
    print(out);
    fclose(out);
    snprintf(mark, sizeof(mark), "<!-- %s -->\n", command);
    const char *begin = strstr(page, mark);
    cr_assert_not_null(begin, "%s has no mark \"%s\"", page_name, command);
    begin += strlen(mark);
    cr_assert(strncmp(begin, table, size) == 0 && strncmp(begin + size, "<!-- end -->", 12) == 0,
              "docs/%s is not what %s prints", page_name, command);
    free(table);
    free(page);
}

Test(broker, documentation_has_the_present_tables)
{
    expect_table("protocol.md", "weir-broker --list-apis", listing_print_apis);
    expect_table("operating.md", "weir-broker --list-settings", listing_print_settings);
}
