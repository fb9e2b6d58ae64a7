// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/demo/package.h"
#include "tools/demo/sections.h"

static const char sound[] = "Package: libc6\n"
                            "Status: install ok installed\n"
                            "Section: libs\n"
                            "Installed-Size: 12986\n"
                            "Architecture: amd64\n"
                            "Version: 2.36-9+deb12u4\n"
                            "Description: GNU C Library\n"
                            " Contains the standard libraries.\n"
                            " .\n"
                            " Version: not this one";

static void expect_text(struct package_text text, const char *expected)
{
    cr_assert_eq(text.size, strlen(expected), "%.*s", (int)text.size, text.data);
    cr_assert_eq(memcmp(text.data, expected, text.size), 0);
}

static void expect_reason(const char *text, size_t size, const char *expected)
{
    struct package package;
    char reason[256] = "";

    cr_assert_eq(package_parse(text, size, &package, reason, sizeof(reason)), -1);
    cr_assert_str_eq(reason, expected);
}

Test(tools, a_sound_paragraph_gives_its_fields)
{
    struct package package;
    char reason[256];

    cr_assert_eq(package_parse(sound, sizeof(sound) - 1, &package, reason, sizeof(reason)), 0);
    expect_text(package.name, "libc6");
    expect_text(package.version, "2.36-9+deb12u4");
    expect_text(package.section, "libs");
    expect_text(package.architecture, "amd64");
    cr_assert_eq(package.installed_kb, 12986);
}

Test(tools, section_and_size_may_be_missing)
{
    static const char text[] = "Package: x\nVersion: 1\nArchitecture: all\n";
    struct package package;
    char reason[256];

    cr_assert_eq(package_parse(text, sizeof(text) - 1, &package, reason, sizeof(reason)), 0);
    expect_text(package.section, "(none)");
    cr_assert_eq(package.installed_kb, 0);
}

Test(tools, damage_is_named)
{
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"Version: 1\nArchitecture: all", "field Package is missing"},
        {"Package:  \nVersion: 1\nArchitecture: all", "field Package is missing"},
        {"Package: x\nArchitecture: all", "field Version is missing"},
        {"Package: x\nVersion: 1", "field Architecture is missing"},
        {"Package: x\nArchi", "line 2 is no field, the text may have been cut there"},
        {"Package: x\nVersion: 1\nVersion: 2", "field Version stands there twice"},
        {"Package: ?x\nVersion: 1\nArchitecture: all", "'?x' is no name for a package"},
        {"Package: x\nVersion: 1\nArchitecture: all\nInstalled-Size: ~5",
         "field Installed-Size is no number: '~5'"},
        {"Package: x\nVersion: 1\nArchitecture: all\nInstalled-Size: 12345678901234",
         "field Installed-Size is no number: '12345678901234'"},
        {"", "field Package is missing"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_reason(cases[i].text, strlen(cases[i].text), cases[i].reason);
    expect_reason("Package: a\0b", 12, "not a text: byte 0x00 at place 10");
}

Test(tools, the_name_is_found_in_damaged_paragraphs_too)
{
    expect_text(package_name(sound, sizeof(sound) - 1), "libc6");
    cr_assert_eq(package_name("garbage", 7).size, 0);
    cr_assert_eq(package_name("Version: 1\n", 11).size, 0);
}

Test(tools, what_is_encoded_is_decoded)
{
    struct package package;
    struct package decoded;
    char reason[256];
    char bytes[PACKAGE_ENCODED_MAX];

    cr_assert_eq(package_parse(sound, sizeof(sound) - 1, &package, reason, sizeof(reason)), 0);
    for (int shift = 0; shift < 64; shift++) {
        package.installed_kb = UINT64_C(1) << shift;
        size_t size = package_encode(&package, bytes);
        cr_assert_gt(size, 0);
        cr_assert_eq(package_decode(bytes, size, &decoded), 0);
        expect_text(decoded.name, "libc6");
        expect_text(decoded.architecture, "amd64");
        cr_assert_eq(decoded.installed_kb, package.installed_kb);
    }
}

Test(tools, texts_of_every_length_class_are_carried)
{
    static const size_t sizes[] = {0, 31, 32, 255, 256, 3000};
    char *text = malloc(4000);
    char bytes[PACKAGE_ENCODED_MAX];
    struct package decoded;

    memset(text, 'v', 4000);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct package package = {
            .name = {"n", 1},
            .version = {text, sizes[i]},
            .section = {"s", 1},
            .architecture = {"a", 1},
        };
        size_t size = package_encode(&package, bytes);
        cr_assert_eq(package_decode(bytes, size, &decoded), 0, "%zu", sizes[i]);
        cr_assert_eq(decoded.version.size, sizes[i]);
    }
    struct package huge = {.name = {text, 4000}, .version = {text, 4000}};
    cr_assert_eq(package_encode(&huge, bytes), 0, "what does not fit is refused");
    free(text);
}

Test(tools, any_cut_or_changed_head_is_refused_within_bounds)
{
    struct package package;
    struct package decoded;
    char reason[256];
    char bytes[PACKAGE_ENCODED_MAX];

    cr_assert_eq(package_parse(sound, sizeof(sound) - 1, &package, reason, sizeof(reason)), 0);
    size_t size = package_encode(&package, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        // A copy of the exact size, so that a sanitizer sees a read beyond the end.
        char *copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        cr_assert_eq(package_decode(copy, cut, &decoded), -1, "cut at %zu", cut);
        free(copy);
    }
    static const char claims[][8] = {"\xdf\xff\xff\xff\xff", "\x85\xdb\xff\xff\xff\xff",
                                     "\x85\xa4name\xdd\xff"};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(package_decode(claims[i], sizeof(claims[i]), &decoded), -1);
    cr_assert_eq(package_decode(NULL, 0, &decoded), -1);
}

Test(tools, heads_of_packages_say_their_size)
{
    static const size_t sizes[] = {0, 1, 255, 256, 65535, 65536, 1 << 20};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char head[PACKAGE_HEAD_MAX];
        size_t size = 7;
        size_t length = package_head_encode(sizes[i], head);
        cr_assert_eq(length, package_head_size(head[0]));
        cr_assert(package_head_decode(head, &size));
        cr_assert_eq(size, sizes[i]);
    }
    size_t size = 7;
    cr_assert_eq(package_head_size('x'), 1);
    cr_assert_not(package_head_decode((const unsigned char *)"x", &size));
}

Test(tools, packages_count_once_per_paragraph)
{
    struct sections sections = {0};
    struct package package = {
        .name = {"a", 1},
        .section = {"libs", 4},
        .installed_kb = 10,
    };

    cr_assert_eq(sections_add(&sections, 0, &package), 0);
    cr_assert_eq(sections_add(&sections, 0, &package), 0);
    package.name = (struct package_text){"b", 1};
    package.installed_kb = 20;
    cr_assert_eq(sections_add(&sections, 5000, &package), 0);
    package.section = (struct package_text){"net", 3};
    cr_assert_eq(sections_add(&sections, 7, &package), 0);
    cr_assert_neq(sections_add(&sections, -1, &package), 0);
    sections_sort(&sections);
    cr_assert_eq(sections.count, 2);
    cr_assert_eq(sections.packages, 3);
    cr_assert_eq(sections.repeated, 1);
    cr_assert_str_eq(sections.items[0].name, "libs");
    cr_assert_eq(sections.items[0].packages, 2);
    cr_assert_eq(sections.items[0].installed_kb, 30);
    cr_assert_str_eq(sections.items[0].largest, "b");
    sections_free(&sections);
}
