// SPDX-License-Identifier: Apache-2.0
#include "broker/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 16 };

static int load(struct config **out, char why[CONFIG_PROBLEMS_SIZE], const char *a, const char *b,
                const char *c, const char *d)
{
    char program[] = "weir-broker";
    char *argv[ARGUMENTS_MAX] = {program};
    const char *given[] = {a, b, c, d};
    int argc = 1;
    for (size_t i = 0; i < 4 && given[i]; i++)
        argv[argc++] = strdup(given[i]);
    int error = config_load(argc, argv, out, why);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    return error;
}

static struct config *load_ok(const char *a, const char *b, const char *c, const char *d)
{
    struct config *config = NULL;
    char why[CONFIG_PROBLEMS_SIZE] = "";
    cr_assert_eq(load(&config, why, a, b, c, d), 0, "%s", why);
    return config;
}

// The sentence of a refusal; it must contain `part`.
static void expect_refused(const char *a, const char *b, const char *part)
{
    struct config *config = NULL;
    char why[CONFIG_PROBLEMS_SIZE] = "";
    cr_assert_neq(load(&config, why, a, b, NULL, NULL), 0, "%s %s", a, b);
    cr_assert(strstr(why, part), "\"%s\" does not say \"%s\"", why, part);
    cr_assert_null(strchr(why, '\n'));
}

// A file with this content; the path lives until the next call.
static const char *file_with(const char *content)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/weir-config-test-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
    return path;
}

Test(broker, config_defaults_are_complete_and_valid)
{
    struct config *config = load_ok(NULL, NULL, NULL, NULL);
    cr_assert_eq(config->action, CONFIG_RUN);
    cr_assert_str_eq(config->data_directory, "weir-data");
    cr_assert_str_eq(config->listen_host, "127.0.0.1");
    cr_assert_eq(config->listen_port, 9092);
    cr_assert_null(config->advertised_host);
    cr_assert_eq(config->node_id, 1);
    cr_assert_geq(config->shards, 1);
    cr_assert_eq(config_number(config, SETTING_NUM_PARTITIONS), 1);
    cr_assert_eq(config_number(config, SETTING_LOG_RETENTION_MS), 604800000);
    cr_assert_not(config->values[SETTING_NUM_PARTITIONS].given);
    config_free(config);
}

Test(broker, config_names_everything_that_is_refused)
{
    const char *path = file_with("num.io.threads=8\nnum.partitions=0\nzookeeper.connect=h\n"
                                 "listeners=SASL_SSL://:9094\n");
    struct config *config = NULL;
    char why[CONFIG_PROBLEMS_SIZE] = "";
    cr_assert_neq(load(&config, why, "--config", path, "--set", "no.such=1"), 0);
    unlink(path);
    const char *const parts[] = {":1: there is no setting \"num.io.threads\"",
                                 ":2: ", ":3: there is no setting \"zookeeper.connect\"", "no.such",
                                 "only PLAINTEXT is served yet"};
    const char *at = why;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        at = strstr(at, parts[i]);
        cr_assert(at, "\"%s\" is missing from \"%s\"", parts[i], why);
    }
}

Test(broker, config_counts_what_is_too_much_to_be_named)
{
    enum { LINES = 1000 };
    char *content = calloc(LINES, 16);
    for (size_t i = 0, at = 0; i < LINES; i++)
        at += (size_t)snprintf(content + at, 16, "no.such=1\n");
    const char *path = file_with(content);
    free(content);
    struct config *config = NULL;
    char why[CONFIG_PROBLEMS_SIZE] = "";
    cr_assert_neq(load(&config, why, "--config", path, NULL, NULL), 0);
    unlink(path);
    uint32_t told = 0;
    for (const char *at = why; (at = strchr(at, '\n')); at++)
        told++;
    unsigned untold = 0;
    cr_assert_eq(sscanf(strrchr(why, '\n'), "\nand %u more", &untold), 1);
    cr_assert_eq(told + untold, LINES);
}

Test(broker, config_command_line_outranks_the_file_wherever_it_stands)
{
    const char *path = file_with("# comment\n\n num.partitions = 7 \r\nlog.dirs=/from/file\n"
                                 "auto.create.topics.enable=FALSE");
    struct config *config = load_ok("--set", "num.partitions=3", "--config", path);
    unlink(path);
    cr_assert_eq(config_number(config, SETTING_NUM_PARTITIONS), 3);
    cr_assert_str_eq(config->data_directory, "/from/file");
    cr_assert_eq(config_number(config, SETTING_AUTO_CREATE_TOPICS_ENABLE), 0);
    cr_assert(config->values[SETTING_NUM_PARTITIONS].given);
    config_free(config);
}

Test(broker, config_file_errors_name_the_line)
{
    char why[CONFIG_PROBLEMS_SIZE];
    struct config *config;
    const char *path = file_with("num.partitions=2\nnum.partition=3\n");
    cr_assert_eq(load(&config, why, "--config", path, NULL, NULL), -EINVAL);
    cr_assert(strstr(why, ":2: ") && strstr(why, "num.partitions"), "%s", why);
    unlink(path);
    path = file_with("just words\n");
    cr_assert_eq(load(&config, why, "--config", path, NULL, NULL), -EINVAL);
    cr_assert(strstr(why, ":1: "), "%s", why);
    unlink(path);
    cr_assert_eq(load(&config, why, "--config", "/nonexistent/file", NULL, NULL), -ENOENT);
    cr_assert(strstr(why, "/nonexistent/file"), "%s", why);
    cr_assert_neq(load(&config, why, "--config", "/tmp", NULL, NULL), 0);
}

Test(broker, config_finer_units_of_time_outrank_coarser_ones)
{
    struct config *config = load_ok("--set", "log.retention.hours=2", NULL, NULL);
    cr_assert_eq(config_number(config, SETTING_LOG_RETENTION_MS), 7200000);
    cr_assert_str_eq(config_text(config, SETTING_LOG_RETENTION_MS), "7200000");
    config_free(config);
    config = load_ok("--set", "log.retention.hours=2", "--set", "log.retention.minutes=5");
    cr_assert_eq(config_number(config, SETTING_LOG_RETENTION_MS), 300000);
    config_free(config);
    config = load_ok("--set", "log.retention.hours=2", "--set", "log.retention.ms=9");
    cr_assert_eq(config_number(config, SETTING_LOG_RETENTION_MS), 9);
    config_free(config);
    config = load_ok("--set", "log.retention.hours=-1", NULL, NULL);
    cr_assert_eq(config_number(config, SETTING_LOG_RETENTION_MS), -1);
    config_free(config);
    config = load_ok("--set", "log.roll.hours=1", NULL, NULL);
    cr_assert_eq(config_number(config, SETTING_LOG_ROLL_MS), 3600000);
    config_free(config);
}

Test(broker, config_listeners)
{
    struct config *config = load_ok("--listen", "0.0.0.0:0", NULL, NULL);
    cr_assert_str_eq(config->listen_host, "0.0.0.0");
    cr_assert_eq(config->listen_port, 0);
    config_free(config);
    config = load_ok("--listen", "[::1]:5", "--set", "advertised.listeners=PLAINTEXT://a.b:65535");
    cr_assert_str_eq(config->listen_host, "::1");
    cr_assert_str_eq(config->advertised_host, "a.b");
    cr_assert_eq(config->advertised_port, 65535);
    config_free(config);
    config = load_ok("--set", "listeners=PLAINTEXT://:7", NULL, NULL);
    cr_assert_str_eq(config->listen_host, "0.0.0.0");
    cr_assert_eq(config->listen_port, 7);
    config_free(config);
    expect_refused("--listen", "host", "port");
    expect_refused("--listen", "host:", "port");
    expect_refused("--listen", "host:65536", "65535");
    expect_refused("--listen", "host:12x", "port");
    expect_refused("--listen", "::1:5", "brackets");
    expect_refused("--set", "listeners=SSL://h:1", "PLAINTEXT");
    expect_refused("--set", "listeners=PLAINTEXT://h:1,PLAINTEXT://h:2", "one listener");
}

Test(broker, config_refuses_what_it_cannot_do)
{
    expect_refused("--set", "num.partitons=3", "did you mean num.partitions");
    expect_refused("--set", "quite.unknown=3", "no setting \"quite.unknown\"");
    expect_refused("--set", "num.partitions=0", "outside 1 to");
    expect_refused("--set", "num.partitions=many", "whole number");
    expect_refused("--set", "num.partitions=99999999999999999999", "outside");
    expect_refused("--set", "auto.create.topics.enable=yes", "neither true nor false");
    expect_refused("--set", "compression.type=zip", "not one of: producer");
    expect_refused("--set", "default.replication.factor=3", "outside 1 to 1");
    expect_refused("--set", "log.cleanup.policy=delete,shred", "\"shred\"");
    expect_refused("--set", "log.dirs=a,b", "exactly one directory");
    expect_refused("--set", "novalue", "NAME=VALUE");
    expect_refused("--shards", "1000", "outside 0 to 256");
    expect_refused("--shards", NULL, "needs a value");
    expect_refused("--frobnicate", NULL, "unknown argument");
    expect_refused("--version=3", NULL, "unknown argument");
}

Test(broker, config_group_timeouts_are_within_their_bounds)
{
    static const char *const wrong[][3] = {
        {"group.consumer.session.timeout.ms", "44999", "group.consumer.min.session.timeout.ms"},
        {"group.consumer.session.timeout.ms", "60001", "group.consumer.max.session.timeout.ms"},
        {"group.consumer.heartbeat.interval.ms", "4999", "min.heartbeat.interval.ms"},
        {"group.consumer.heartbeat.interval.ms", "15001", "max.heartbeat.interval.ms"},
        {"group.min.session.timeout.ms", "1800001", "group.max.session.timeout.ms"},
    };
    char why[CONFIG_WHY_SIZE];
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct config *config = config_create();
        cr_assert_eq(config_set(config, wrong[i][0], wrong[i][1], why), 0);
        cr_assert_eq(config_finish(config, why), -EINVAL);
        cr_assert(strstr(why, wrong[i][0]) && strstr(why, wrong[i][2]), "%s", why);
        config_free(config);
    }
    struct config *config = config_create();
    config_set(config, "group.consumer.heartbeat.interval.ms", "6000", why);
    config_set(config, "group.consumer.session.timeout.ms", "5000", why);
    config_set(config, "group.consumer.min.session.timeout.ms", "1", why);
    cr_assert_eq(config_finish(config, why), -EINVAL); // longer than the session
    config_free(config);
}

Test(broker, config_other_spellings_and_actions)
{
    struct config *config = load_ok("--set=broker.id=42", "--data-dir=/d", "--shards", "2");
    cr_assert_eq(config->node_id, 42);
    cr_assert_str_eq(config->data_directory, "/d");
    cr_assert_eq(config->shards, 2);
    config_free(config);
    config = load_ok("--list-settings", NULL, NULL, NULL);
    cr_assert_eq(config->action, CONFIG_LIST_SETTINGS);
    config_free(config);
}
