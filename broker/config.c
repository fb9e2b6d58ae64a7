// SPDX-License-Identifier: Apache-2.0
// The settings of one run. Owns every text that `struct config` points to.
//
// 1. After config_finish every value is valid by settings.def and the derived fields agree with it.
// 2. A setting has its default, or what the file says, or what the command line says, in rising
//    order of rank: that is the order in which they are set.
// 3. A setting that is refused does not end the reading: all of them are told of at once.
// 4. Of settings that say the same in several units (log.retention.ms, .minutes, .hours) the finest
//    given one decides, and after config_finish the one in ms holds the result.
#include "broker/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

struct config_text {
    struct config_text *next;
    char text[];
};

enum { CONFIG_FILE_MAX = 1 << 20, DEFAULT_PORT = 9092 };

// A copy that lives as long as the configuration; NULL when memory is short.
static const char *keep(struct config *config, const char *text, size_t size)
{
    struct config_text *copy = malloc(sizeof(*copy) + size + 1);
    if (!copy)
        return NULL;
    memcpy(copy->text, text, size);
    copy->text[size] = '\0';
    copy->next = config->texts;
    config->texts = copy;
    return copy->text;
}

struct config *config_create(void)
{
    char why[CONFIG_WHY_SIZE];
    struct config *config = calloc(1, sizeof(*config));
    if (!config)
        return NULL;
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = setting_get((enum setting_id)i);
        struct config_value *value = &config->values[i];
        value->text = setting->fallback ? setting->fallback : "";
        if (setting->scope == SETTING_BROKER)
            CHECK(setting_check((enum setting_id)i, span_text(value->text), &value->number, why,
                                sizeof(why)) == 0);
    }
    return config;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    while (config->texts) {
        struct config_text *text = config->texts;
        config->texts = text->next;
        free(text);
    }
    free(config);
}

int config_set(struct config *config, const char *name, const char *text, char why[CONFIG_WHY_SIZE])
{
    enum setting_id id = setting_find(SETTING_BROKER, span_text(name));
    if (id == SETTING_NONE) {
        const char *near = setting_suggest(SETTING_BROKER, span_text(name));
        snprintf(why, CONFIG_WHY_SIZE, "there is no setting \"%.100s\"%s%s%s", name,
                 near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
        return -EINVAL;
    }
    struct config_value value = {.given = true};
    int error = setting_check(id, span_text(text), &value.number, why, CONFIG_WHY_SIZE);
    if (error)
        return error;
    value.text = keep(config, text, strlen(text));
    if (!value.text) {
        snprintf(why, CONFIG_WHY_SIZE, "out of memory");
        return -ENOMEM;
    }
    config->values[id] = value;
    return 0;
}

// --- what is derived ------------------------------------------------------------------------

static int bad_listener(const char *name, const char *text, const char *what, char *why)
{
    snprintf(why, CONFIG_WHY_SIZE, "%s: \"%.200s\": %s; expected PLAINTEXT://HOST:PORT", name, text,
             what);
    return -EINVAL;
}

static bool read_port(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    unsigned long number = strtoul(text, NULL, 10);
    *port = (uint16_t)number;
    return number <= UINT16_MAX;
}

// Splits [PLAINTEXT://]HOST:PORT; IPv6 addresses stand in brackets. An empty host is every address.
static int read_listener(struct config *config, enum setting_id id, const char **host,
                         uint16_t *port, char *why)
{
    const char *name = setting_get(id)->name;
    const char *text = config->values[id].text;
    const char *scheme_end = strstr(text, "://");
    if (strchr(text, ','))
        return bad_listener(name, text, "one listener is served", why);
    if (scheme_end && (scheme_end - text != 9 || memcmp(text, "PLAINTEXT", 9) != 0))
        return bad_listener(name, text, "only PLAINTEXT is served yet", why);
    const char *from = scheme_end ? scheme_end + 3 : text;
    const char *colon = strrchr(from, ':');
    if (!colon || !read_port(colon + 1, port))
        return bad_listener(name, text, "the port is missing or not a number up to 65535", why);
    const char *end = colon;
    if (*from == '[' && end > from && end[-1] == ']') {
        from++;
        end--;
    } else if (memchr(from, ':', (size_t)(end - from))) {
        return bad_listener(name, text, "an IPv6 address belongs in brackets", why);
    }
    if (end - from > 255)
        return bad_listener(name, text, "the host is too long", why);
    *host = end == from ? "0.0.0.0" : keep(config, from, (size_t)(end - from));
    return *host ? 0 : -ENOMEM;
}

// `fine` outranks `coarse`; a coarse value of -1 stays -1.
static void inherit_time(struct config *config, enum setting_id fine, enum setting_id coarse,
                         int64_t factor)
{
    struct config_value *to = &config->values[fine];
    const struct config_value *from = &config->values[coarse];
    char text[32];
    if (to->given || !from->given)
        return;
    int64_t number = from->number < 0 ? -1 : from->number * factor;
    snprintf(text, sizeof(text), "%lld", (long long)number);
    const char *kept = keep(config, text, strlen(text));
    if (!kept)
        return;
    *to = (struct config_value){.text = kept, .number = number, .given = true};
}

static int finish_addresses(struct config *config, char *why)
{
    const char *advertised = config->values[SETTING_ADVERTISED_LISTENERS].text;
    int error =
        read_listener(config, SETTING_LISTENERS, &config->listen_host, &config->listen_port, why);
    if (error || *advertised == '\0')
        return error;
    return read_listener(config, SETTING_ADVERTISED_LISTENERS, &config->advertised_host,
                         &config->advertised_port, why);
}

static int check_order(const struct config *config, enum setting_id low, enum setting_id high,
                       char *why)
{
    if (config->values[low].number <= config->values[high].number)
        return 0;
    snprintf(why, CONFIG_WHY_SIZE, "%s (%s) is more than %s (%s)", setting_get(low)->name,
             config->values[low].text, setting_get(high)->name, config->values[high].text);
    return -EINVAL;
}

// What must not be larger than what.
static int check_orders(const struct config *config, char *why)
{
    static const enum setting_id pairs[][2] = {
        {SETTING_GROUP_MIN_SESSION_TIMEOUT_MS, SETTING_GROUP_MAX_SESSION_TIMEOUT_MS},
        {SETTING_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS, SETTING_GROUP_CONSUMER_SESSION_TIMEOUT_MS},
        {SETTING_GROUP_CONSUMER_SESSION_TIMEOUT_MS, SETTING_GROUP_CONSUMER_MAX_SESSION_TIMEOUT_MS},
        {SETTING_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS,
         SETTING_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS},
        {SETTING_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS,
         SETTING_GROUP_CONSUMER_MAX_HEARTBEAT_INTERVAL_MS},
        {SETTING_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS, SETTING_GROUP_CONSUMER_SESSION_TIMEOUT_MS},
    };
    int error = 0;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs) && !error; i++)
        error = check_order(config, pairs[i][0], pairs[i][1], why);
    return error;
}

int config_finish(struct config *config, char why[CONFIG_WHY_SIZE])
{
    int error = finish_addresses(config, why);
    if (!error)
        error = check_orders(config, why);
    if (error)
        return error;
    config->data_directory = config->values[SETTING_LOG_DIRS].text;
    if (*config->data_directory == '\0' || strchr(config->data_directory, ',')) {
        snprintf(why, CONFIG_WHY_SIZE, "log.dirs: exactly one directory is needed");
        return -EINVAL;
    }
    inherit_time(config, SETTING_LOG_RETENTION_MINUTES, SETTING_LOG_RETENTION_HOURS, 60);
    inherit_time(config, SETTING_LOG_RETENTION_MS, SETTING_LOG_RETENTION_MINUTES, 60000);
    inherit_time(config, SETTING_LOG_ROLL_MS, SETTING_LOG_ROLL_HOURS, 3600000);
    config->node_id = (int32_t)config->values[SETTING_NODE_ID].number;
    config->shards = (uint32_t)config->values[SETTING_SHARDS].number;
    if (config->shards == 0) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        config->shards = processors < 1 ? 1 : processors > 256 ? 256 : (uint32_t)processors;
    }
    return 0;
}

// --- the file -------------------------------------------------------------------------------

static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    size_t size = strlen(text);
    while (size && strchr(" \t\r", text[size - 1]))
        text[--size] = '\0';
    return text;
}

// What is wrong, in lines; what does not fit is counted.
struct problems {
    char *text;
    size_t size;
    uint32_t count;
    uint32_t untold;
};

static void problem_add(struct problems *problems, const char *why)
{
    enum { LAST_LINE = 32 };
    size_t left = CONFIG_PROBLEMS_SIZE - problems->size;
    size_t needed = strlen(why) + 2;
    problems->count++;
    if (problems->untold > 0 || needed + LAST_LINE > left) {
        problems->untold++;
        snprintf(problems->text + problems->size, left, "\nand %u more", problems->untold);
        return;
    }
    problems->size += (size_t)snprintf(problems->text + problems->size, left, "%s%s",
                                       problems->size > 0 ? "\n" : "", why);
}

static int read_line(struct config *config, const char *path, int number, char *line, char *why)
{
    char reason[CONFIG_WHY_SIZE];
    char *text = trim(line);
    if (*text == '\0' || *text == '#' || *text == '!')
        return 0;
    char *equals = strchr(text, '=');
    if (!equals) {
        snprintf(why, CONFIG_WHY_SIZE, "%.200s:%d: expected NAME=VALUE", path, number);
        return -EINVAL;
    }
    *equals = '\0';
    int error = config_set(config, trim(text), trim(equals + 1), reason);
    if (error)
        snprintf(why, CONFIG_WHY_SIZE, "%.100s:%d: %.380s", path, number, reason);
    return error;
}

static int read_file(struct config *config, const char *path, struct problems *problems, char *why)
{
    int error = 0;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    FILE *file = fopen(path, "re");
    struct stat status;
    if (!file || fstat(fileno(file), &status) < 0 || !S_ISREG(status.st_mode) ||
        status.st_size > CONFIG_FILE_MAX) {
        error = file ? -EINVAL : -errno;
        snprintf(why, CONFIG_WHY_SIZE, "cannot read the configuration file %.300s: %s", path,
                 file ? "it is not a file, or larger than 1 MiB" : strerror(-error));
        goto out;
    }
    for (int number = 1; !error && (size = getline(&line, &capacity, file)) >= 0; number++) {
        if (size && line[size - 1] == '\n')
            line[size - 1] = '\0';
        error = read_line(config, path, number, line, why);
        if (error == -EINVAL) {
            problem_add(problems, why);
            error = 0;
        }
    }
out:
    free(line);
    if (file)
        fclose(file);
    return error;
}

// --- the command line -----------------------------------------------------------------------

const char *config_usage(void)
{
    return "usage: weir-broker [--config FILE] [--data-dir DIR] [--listen HOST:PORT]\n"
           "                   [--shards N] [--set NAME=VALUE]...\n"
           "\n"
           "  --config FILE      settings, one NAME=VALUE per line; # begins a comment\n"
           "  --data-dir DIR     where everything is kept (log.dirs; default: weir-data)\n"
           "  --listen HOST:PORT where clients connect (listeners; default: 127.0.0.1:9092);\n"
           "                     0.0.0.0 means every address, port 0 any free one\n"
           "  --shards N         threads (weir.shards; default: one per processor)\n"
           "  --set NAME=VALUE   any setting; outranks the file\n"
           "  --list-settings    every setting with its default and meaning, as Markdown\n"
           "  --list-apis        every API that is served, as Markdown\n"
           "  --version, --help\n";
}

static int set_assignment(struct config *config, const char *text, char *why)
{
    const char *equals = strchr(text, '=');
    char name[128];
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof(name)) {
        snprintf(why, CONFIG_WHY_SIZE, "--set: expected NAME=VALUE, got \"%.200s\"", text);
        return -EINVAL;
    }
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    return config_set(config, name, equals + 1, why);
}

static int set_listen(struct config *config, const char *text, char *why)
{
    char listener[320];
    snprintf(listener, sizeof(listener), "PLAINTEXT://%.300s", text);
    return config_set(config, "listeners", strstr(text, "://") ? text : listener, why);
}

struct option {
    const char *name;
    bool takes_value;
    enum config_action action; // of options without a value
};

static const struct option options[] = {
    {"--config", true, CONFIG_RUN},
    {"--data-dir", true, CONFIG_RUN},
    {"--listen", true, CONFIG_RUN},
    {"--shards", true, CONFIG_RUN},
    {"--set", true, CONFIG_RUN},
    {"--help", false, CONFIG_HELP},
    {"-h", false, CONFIG_HELP},
    {"--version", false, CONFIG_VERSION},
    {"--list-apis", false, CONFIG_LIST_APIS},
    {"--list-settings", false, CONFIG_LIST_SETTINGS},
};

static int apply_option(struct config *config, const char *name, const char *value, char *why)
{
    if (strcmp(name, "--data-dir") == 0)
        return config_set(config, "log.dirs", value, why);
    if (strcmp(name, "--shards") == 0)
        return config_set(config, "weir.shards", value, why);
    if (strcmp(name, "--listen") == 0)
        return set_listen(config, value, why);
    return set_assignment(config, value, why);
}

static const struct option *find_option(const char *argument, size_t size)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (strlen(options[i].name) == size && memcmp(options[i].name, argument, size) == 0)
            return &options[i];
    return NULL;
}

// One pass over the arguments: the file first, then everything else, for the command line outranks
// the file wherever --config stands.
static int read_arguments(struct config *config, int argc, char *const *argv, bool files,
                          struct problems *problems, char *why)
{
    for (int i = 1; i < argc; i++) {
        const char *equals = strncmp(argv[i], "--", 2) == 0 ? strchr(argv[i], '=') : NULL;
        size_t size = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const struct option *option = find_option(argv[i], size);
        const char *value = equals ? equals + 1 : NULL;
        if (!option || (value && !option->takes_value)) {
            snprintf(why, CONFIG_WHY_SIZE, "unknown argument %.200s (--help shows what there is)",
                     argv[i]);
            return -EINVAL;
        }
        if (!option->takes_value) {
            config->action = option->action;
            continue;
        }
        if (!value && i + 1 < argc)
            value = argv[++i];
        if (!value) {
            snprintf(why, CONFIG_WHY_SIZE, "%s needs a value", option->name);
            return -EINVAL;
        }
        bool is_file = strcmp(option->name, "--config") == 0;
        int error = 0;
        if (is_file && files) {
            error = read_file(config, value, problems, why);
        } else if (!is_file && !files) {
            error = apply_option(config, option->name, value, why);
            if (error == -EINVAL) {
                problem_add(problems, why);
                error = 0;
            }
        }
        if (error)
            return error;
    }
    return 0;
}

int config_load(int argc, char *const *argv, struct config **out,
                char problems[CONFIG_PROBLEMS_SIZE])
{
    char why[CONFIG_WHY_SIZE] = "out of memory";
    struct problems found = {.text = problems};
    struct config *config = config_create();
    int error = config ? 0 : -ENOMEM;
    if (!error)
        error = read_arguments(config, argc, argv, true, &found, why);
    if (!error)
        error = read_arguments(config, argc, argv, false, &found, why);
    // What contradicts each other may do so because something was refused; addresses stand alone.
    if (!error)
        error = found.count == 0 ? config_finish(config, why) : finish_addresses(config, why);
    if (error)
        problem_add(&found, why);
    if (found.count > 0) {
        config_free(config);
        return error ? error : -EINVAL;
    }
    *out = config;
    return 0;
}
