// SPDX-License-Identifier: Apache-2.0
// weir-broker: reads the settings and runs the server.
#include <stdio.h>
#include <string.h>

#include "broker/config.h"
#include "broker/listing.h"
#include "broker/server.h"

enum { EXIT_USAGE = 2 };

static int act(const struct config *config)
{
    switch (config->action) {
    case CONFIG_RUN:
        return server_run(config);
    case CONFIG_HELP:
        fputs(config_usage(), stdout);
        return 0;
    case CONFIG_VERSION:
        puts("weir-broker " WEIR_VERSION);
        return 0;
    case CONFIG_LIST_APIS:
        listing_print_apis(stdout);
        return 0;
    case CONFIG_LIST_SETTINGS:
        listing_print_settings(stdout);
        return 0;
    }
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct config *config = NULL;
    char problems[CONFIG_PROBLEMS_SIZE];
    if (config_load(argc, argv, &config, problems) != 0) {
        for (char *line = problems, *rest; line; line = rest) {
            rest = strchr(line, '\n');
            int size = rest ? (int)(rest++ - line) : (int)strlen(line);
            fprintf(stderr, "weir-broker: %.*s\n", size, line);
        }
        return EXIT_USAGE;
    }
    int code = act(config);
    config_free(config);
    return code;
}
