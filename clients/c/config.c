// SPDX-License-Identifier: Apache-2.0
// Settings by name. One row of the table is all there is to a setting: its name, where its value
// lives, how text becomes a value, its limits and its default (given as text, so that defaults
// take the same way as what users write).
//
// Invariant: the values in a weir_config always lie within their limits; a refused value changes
// nothing.
#include "clients/c/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "protocol/record_batch.h"

struct weir_config {
    struct config values;
    char error[512];
};

enum setting_kind { KIND_INTEGER, KIND_SIZE, KIND_CHOICE, KIND_CHOICES, KIND_TEXT };

struct choice {
    const char *name;
    int64_t value;
};

struct setting {
    const char *name;
    const char *initial;
    const struct choice *choices; // ends with a NULL name
    size_t field;
    int64_t min;
    int64_t max;
    enum setting_kind kind;
};

static const struct choice booleans[] = {{"true", 1}, {"false", 0}, {NULL, 0}};
static const struct choice idempotences[] = {
    {"auto", IDEMPOTENCE_AUTO}, {"true", IDEMPOTENCE_ON}, {"false", IDEMPOTENCE_OFF}, {NULL, 0}};
static const struct choice ack_levels[] = {{"all", -1}, {"-1", -1}, {"1", 1}, {"0", 0}, {NULL, 0}};
static const struct choice resets[] = {
    {"earliest", RESET_EARLIEST}, {"latest", RESET_LATEST}, {"none", RESET_NONE}, {NULL, 0}};
static const struct choice codecs[] = {{"none", CODEC_NONE},     {"gzip", CODEC_GZIP},
                                       {"snappy", CODEC_SNAPPY}, {"lz4", CODEC_LZ4},
                                       {"zstd", CODEC_ZSTD},     {NULL, 0}};

static const struct choice isolations[] = {
    {"read_uncommitted", READ_UNCOMMITTED}, {"read_committed", READ_COMMITTED}, {NULL, 0}};
static const struct choice group_protocols[] = {{"auto", GROUP_PROTOCOL_AUTO},
                                                {"classic", GROUP_PROTOCOL_CLASSIC},
                                                {"consumer", GROUP_PROTOCOL_CONSUMER},
                                                {NULL, 0}};
static const struct choice strategies[] = {
    {"range", 0}, {"roundrobin", 0}, {"sticky", 0}, {"cooperative-sticky", 0}, {NULL, 0}};

#define INTEGER(name, member, initial, min, max)                                                   \
    {                                                                                              \
        name, initial, NULL, offsetof(struct config, member), min, max, KIND_INTEGER               \
    }
#define SIZE(name, member, initial, min, max)                                                      \
    {                                                                                              \
        name, initial, NULL, offsetof(struct config, member), min, max, KIND_SIZE                  \
    }
#define CHOICE(name, member, initial, choices)                                                     \
    {                                                                                              \
        name, initial, choices, offsetof(struct config, member), 0, 0, KIND_CHOICE                 \
    }
#define CHOICES(name, member, choices)                                                             \
    {                                                                                              \
        name, "", choices, offsetof(struct config, member), 0, CONFIG_TEXT_SIZE - 1, KIND_CHOICES  \
    }
#define TEXT(name, member, initial)                                                                \
    {                                                                                              \
        name, initial, NULL, offsetof(struct config, member), 0,                                   \
            sizeof(((struct config *)0)->member) - 1, KIND_TEXT                                    \
    }

#define DAY_MS 86400000
#define GIB (INT64_C(1) << 30)

static const struct setting settings[] = {
    TEXT("client.id", client_id, "weir"),
    INTEGER("request.timeout.ms", request_timeout_ms, "30000", 1, DAY_MS),
    INTEGER("socket.connection.setup.timeout.ms", connection_setup_timeout_ms, "10000", 1, DAY_MS),
    SIZE("socket.send.buffer.bytes", send_buffer_bytes, "0", 0, GIB),
    SIZE("socket.receive.buffer.bytes", receive_buffer_bytes, "0", 0, GIB),
    INTEGER("reconnect.backoff.ms", reconnect_backoff_ms, "50", 1, DAY_MS),
    INTEGER("reconnect.backoff.max.ms", reconnect_backoff_max_ms, "2000", 1, DAY_MS),
    INTEGER("retry.backoff.ms", retry_backoff_ms, "50", 1, DAY_MS),
    INTEGER("retry.backoff.max.ms", retry_backoff_max_ms, "1000", 1, DAY_MS),
    INTEGER("metadata.max.age.ms", metadata_max_age_ms, "300000", 10, DAY_MS),
    INTEGER("topic.metadata.propagation.max.ms", topic_propagation_max_ms, "30000", 0, DAY_MS),
    INTEGER("max.in.flight.requests.per.connection", max_in_flight, "5", 1, 1000),
    SIZE("receive.message.max.bytes", receive_message_max_bytes, "256m", 1024, 2 * GIB - 1),

    CHOICE("acks", acks, "all", ack_levels),
    CHOICE("compression.type", compression_type, "none", codecs),
    INTEGER("compression.level", compression_level, "0", -100, 100),
    SIZE("batch.size", batch_size, "1m", 256, GIB),
    INTEGER("linger.ms", linger_ms, "0", 0, DAY_MS),
    SIZE("message.max.bytes", message_max_bytes, "1m", 256, GIB),
    SIZE("max.request.size", max_request_size, "8m", 1024, GIB),
    SIZE("buffer.memory", buffer_memory, "64m", 1024, 1024 * GIB),
    INTEGER("retries", retries, "2147483647", 0, INT32_MAX),
    INTEGER("delivery.timeout.ms", delivery_timeout_ms, "120000", 1, DAY_MS),
    INTEGER("max.in.flight.per.partition", max_in_flight_per_partition, "0", 0, 1000),
    CHOICE("enable.idempotence", idempotence, "auto", idempotences),
    CHOICE("allow.auto.create.topics", allow_auto_create_topics, "true", booleans),

    TEXT("group.id", group_id, ""),
    CHOICE("auto.offset.reset", auto_offset_reset, "latest", resets),
    SIZE("fetch.min.bytes", fetch_min_bytes, "1", 0, GIB),
    INTEGER("fetch.max.wait.ms", fetch_max_wait_ms, "500", 0, DAY_MS),
    SIZE("fetch.max.bytes", fetch_max_bytes, "32m", 1024, GIB),
    SIZE("max.partition.fetch.bytes", max_partition_fetch_bytes, "2m", 1024, GIB),
    CHOICE("check.crcs", check_crcs, "true", booleans),
    CHOICE("isolation.level", isolation_level, "read_uncommitted", isolations),
    CHOICE("enable.auto.commit", enable_auto_commit, "false", booleans),
    INTEGER("auto.commit.interval.ms", auto_commit_interval_ms, "5000", 1, DAY_MS),

    TEXT("group.instance.id", group_instance_id, ""),
    CHOICE("group.protocol", group_protocol, "auto", group_protocols),
    INTEGER("max.poll.interval.ms", max_poll_interval_ms, "300000", 1, DAY_MS),
    INTEGER("session.timeout.ms", session_timeout_ms, "45000", 1, DAY_MS),
    INTEGER("heartbeat.interval.ms", heartbeat_interval_ms, "3000", 1, DAY_MS),
    CHOICES("partition.assignment.strategy", assignment_strategy, strategies),
    TEXT("group.remote.assignor", group_remote_assignor, ""),
};

// Returns false when `text` is no whole number, with one of k, m, g behind it if `suffix`.
static bool parse_number(const char *text, bool suffix, int64_t *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || errno)
        return false;
    int shift = 0;
    if (suffix && *end) {
        const char *units = "kmgKMG";
        const char *unit = strchr(units, *end++);
        if (!unit)
            return false;
        shift = 10 * (int)((unit - units) % 3 + 1);
    }
    int64_t most = INT64_MAX >> shift;
    if (*end || number > most || number < -most)
        return false;
    *out = (int64_t)number * (INT64_C(1) << shift);
    return true;
}

static int refuse_choice(struct weir_config *config, const struct setting *setting,
                         const char *value)
{
    size_t size = sizeof(config->error);
    size_t used = (size_t)snprintf(config->error, size, "%s cannot be '%.64s': it is one of",
                                   setting->name, value);
    for (const struct choice *choice = setting->choices; choice->name; choice++)
        used += (size_t)snprintf(config->error + used, size - used, "%s %s",
                                 choice == setting->choices ? "" : ",", choice->name);
    return WEIR_ERR_BAD_ARGUMENT;
}

static int set_choice(struct weir_config *config, const struct setting *setting, int64_t *to,
                      const char *value)
{
    for (const struct choice *choice = setting->choices; choice->name; choice++) {
        if (strcmp(choice->name, value) == 0) {
            *to = choice->value;
            return WEIR_OK;
        }
    }
    return refuse_choice(config, setting, value);
}

static int set_number(struct weir_config *config, const struct setting *setting, int64_t *to,
                      const char *value)
{
    int64_t number;
    bool suffix = setting->kind == KIND_SIZE;
    if (!parse_number(value, suffix, &number)) {
        snprintf(config->error, sizeof(config->error), "%s cannot be '%.64s': it is a number%s",
                 setting->name, value, suffix ? " of bytes, which may end in k, m or g" : "");
        return WEIR_ERR_BAD_ARGUMENT;
    }
    if (number < setting->min || number > setting->max) {
        snprintf(config->error, sizeof(config->error),
                 "%s cannot be %lld: it lies between %lld and %lld", setting->name,
                 (long long)number, (long long)setting->min, (long long)setting->max);
        return WEIR_ERR_BAD_ARGUMENT;
    }
    *to = number;
    return WEIR_OK;
}

static int set_text(struct weir_config *config, const struct setting *setting, char *to,
                    const char *value)
{
    size_t size = strlen(value);
    if (size > (size_t)setting->max) {
        snprintf(config->error, sizeof(config->error), "%s is longer than %lld bytes",
                 setting->name, (long long)setting->max);
        return WEIR_ERR_BAD_ARGUMENT;
    }
    memcpy(to, value, size + 1);
    return WEIR_OK;
}

// Some of the choices, separated by commas, each once.
static int set_choices(struct weir_config *config, const struct setting *setting, char *to,
                       const char *value)
{
    int64_t seen = 0;
    for (const char *at = value; *at; at += *at == ',') {
        size_t size = strcspn(at, ",");
        const struct choice *choice = setting->choices;
        while (choice->name &&
               (strlen(choice->name) != size || memcmp(choice->name, at, size) != 0))
            choice++;
        int64_t bit = INT64_C(1) << (choice - setting->choices);
        if (!choice->name || (seen & bit))
            return refuse_choice(config, setting, value);
        seen |= bit;
        at += size;
    }
    return set_text(config, setting, to, value);
}

static int set_value(struct weir_config *config, const struct setting *setting, const char *value)
{
    void *to = (char *)&config->values + setting->field;
    switch (setting->kind) {
    case KIND_TEXT:
        return set_text(config, setting, to, value);
    case KIND_CHOICE:
        return set_choice(config, setting, to, value);
    case KIND_CHOICES:
        return set_choices(config, setting, to, value);
    default:
        return set_number(config, setting, to, value);
    }
}

static void set_defaults(struct weir_config *config)
{
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        int error = set_value(config, &settings[i], settings[i].initial);
        CHECK(error == WEIR_OK);
    }
}

struct weir_config *weir_config_new(void)
{
    struct weir_config *config = calloc(1, sizeof(*config));
    if (config)
        set_defaults(config);
    return config;
}

void weir_config_free(struct weir_config *config)
{
    free(config);
}

int weir_config_set(struct weir_config *config, const char *name, const char *value)
{
    config->error[0] = '\0';
    if (!name || !value) {
        snprintf(config->error, sizeof(config->error), "a setting needs a name and a value");
        return WEIR_ERR_BAD_ARGUMENT;
    }
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (strcmp(settings[i].name, name) == 0)
            return set_value(config, &settings[i], value);
    }
    snprintf(config->error, sizeof(config->error), "there is no setting '%.128s'", name);
    return WEIR_ERR_BAD_ARGUMENT;
}

const char *weir_config_error(const struct weir_config *config)
{
    return config->error;
}

struct config config_values(const struct weir_config *config)
{
    if (config)
        return config->values;
    struct weir_config initial = {0};
    set_defaults(&initial);
    return initial.values;
}
