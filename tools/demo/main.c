// SPDX-License-Identifier: Apache-2.0
// weir-demo ingest|clean|report|verify: the programs of the demo's pipeline in one binary.
// What they need to know comes through the environment, set by demo.sh.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/demo/demo.h"
#include "tools/value.h"

static const struct {
    const char *name;
    int (*run)(const struct demo *demo);
} programs[] = {
    {"ingest", demo_ingest},
    {"clean", demo_clean},
    {"report", demo_report},
    {"verify", demo_verify},
};

static const char *from_environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : otherwise;
}

int main(int argc, char **argv)
{
    struct demo demo = {
        .brokers = from_environment("WEIR_BROKERS", "127.0.0.1:9092"),
        .path = from_environment("DEMO_INPUT", "/var/lib/dpkg/status"),
        .clock_start_ms = clock_wall_ms(),
        .pace_ms = 8000,
    };

    value_count(from_environment("DEMO_START_MS", ""), 0, INT64_MAX, &demo.clock_start_ms);
    value_count(from_environment("DEMO_PACE_MS", ""), 0, 3600 * 1000, &demo.pace_ms);
    for (size_t i = 0; argc == 2 && i < sizeof(programs) / sizeof(programs[0]); i++) {
        if (strcmp(argv[1], programs[i].name) == 0)
            return programs[i].run(&demo);
    }
    fprintf(stderr, "usage: weir-demo ingest|clean|report|verify (demo.sh runs them all)\n");
    return 2;
}
