// SPDX-License-Identifier: Apache-2.0
// Sentences, exit codes and the connection. Nothing here keeps state.
#include "tools/app.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { GRACE_MS = 1000 };

int app_fail(const struct app *app, int code, const char *format, ...)
{
    char sentence[2048];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    // One error is one line, whatever a name or a broker's sentence contains.
    for (char *at = sentence; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ')
            *at = ' ';
    }
    fprintf(app->err, "weir%s%s: %s\n", app->command != NULL ? " " : "",
            app->command != NULL ? app->command->name : "", sentence);
    return code;
}

int app_first_code(int code, int next)
{
    return code != 0 ? code : next;
}

int app_exit_code(int error)
{
    switch (error) {
    case WEIR_OK:
        return EXIT_OK;
    case WEIR_ERR_TIMED_OUT:
    case WEIR_ERR_TRANSPORT:
    case WEIR_ERR_REFUSED:
    case WEIR_ERR_RESOLVE:
    case WEIR_ERR_REQUEST_TIMED_OUT:
        return EXIT_UNREACHABLE;
    case WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case WEIR_ERR_OFFSET_OUT_OF_RANGE:
    case WEIR_ERR_NO_OFFSET:
    case WEIR_ERR_GROUP_ID_NOT_FOUND:
        return EXIT_NOT_FOUND;
    default:
        return EXIT_FAILED;
    }
}

const char *app_hint(int error)
{
    switch (error) {
    case WEIR_ERR_TIMED_OUT:
    case WEIR_ERR_TRANSPORT:
    case WEIR_ERR_REFUSED:
    case WEIR_ERR_RESOLVE:
        return "; is the broker running there? -b HOST:PORT or WEIR_BROKERS names another one";
    case WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION:
        return "; 'weir topic list' shows what there is, 'weir topic create' makes one";
    case WEIR_ERR_OFFSET_OUT_OF_RANGE:
        return "; 'weir topic describe' shows the first and the last offset";
    case WEIR_ERR_TOPIC_ALREADY_EXISTS:
        return "; --if-not-exists accepts that";
    default:
        return "";
    }
}

int app_fail_client(const struct app *app, const struct weir_client *client, int error)
{
    const char *sentence = client != NULL ? weir_last_error(client) : "";

    if (*sentence == '\0')
        sentence = weir_error_text(error);
    return app_fail(app, app_exit_code(error), "%s%s", sentence, app_hint(error));
}

int app_fail_topic(const struct app *app, const struct weir_topic *topic)
{
    return app_fail(app, app_exit_code(topic->error),
                    "%s: %s; 'weir topic list' shows what there is", topic->name,
                    weir_error_text(topic->error));
}

int app_set_text(const struct app *app, struct weir_config *config, const char *name,
                 const char *value)
{
    if (weir_config_set(config, name, value) == WEIR_OK)
        return 0;
    return app_fail(app, EXIT_USAGE, "%s", weir_config_error(config));
}

int app_set(const struct app *app, struct weir_config *config, const char *name, int64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, value);
    return app_set_text(app, config, name, text);
}

static int apply_setting(const struct app *app, struct weir_config *config, const char *assignment)
{
    int length;
    const char *value = value_assignment(assignment, &length);

    if (value == NULL)
        return app_fail(app, EXIT_USAGE, "-X: '%s' will not do, give NAME=VALUE", assignment);

    char *name = strndup(assignment, (size_t)length);
    if (name == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    int code = app_set_text(app, config, name, value);
    free(name);
    return code;
}

// The user's word is the last one: it overrides what the command has set.
static int apply_user_settings(const struct app *app, struct weir_config *config)
{
    const struct text_list *list = &app->common.client_settings;
    int code = 0;

    for (size_t i = 0; code == 0 && i < list->count; i++)
        code = apply_setting(app, config, list->items[i]);
    return code;
}

struct weir_config *app_config(const struct app *app, int *code)
{
    struct weir_config *config = weir_config_new();

    if (config == NULL)
        *code = app_fail(app, EXIT_FAILED, "out of memory");
    return config;
}

int app_read_position(const struct app *app, const char *option, const char *text,
                      struct position *out)
{
    if (value_position(text, clock_wall_ms(), out) == 0)
        return 0;
    return app_fail(app, EXIT_USAGE,
                    "%s: '%s' will not do, give beginning, end, OFFSET, -N, @TIME "
                    "(@2026-01-31T12:00, @-10m) or newest",
                    option, text);
}

int app_timeout_ms(const struct app *app)
{
    return app->common.timeout_ms > INT_MAX ? INT_MAX : (int)app->common.timeout_ms;
}

// A broker that is slow gets all the time there is. Where nobody listens, or under a name nobody
// knows, a second is enough to be sure, and more would only keep a person waiting.
static int await_broker(const struct app *app, struct weir_client *client)
{
    struct weir_cluster *cluster = NULL;
    int timeout_ms = app_timeout_ms(app);
    int first_ms = timeout_ms < GRACE_MS ? timeout_ms : GRACE_MS;
    int error = weir_describe_cluster(client, &cluster, first_ms);

    if (weir_error_retriable(error) && error != WEIR_ERR_REFUSED && error != WEIR_ERR_RESOLVE &&
        timeout_ms > first_ms)
        error = weir_describe_cluster(client, &cluster, timeout_ms - first_ms);
    weir_cluster_free(cluster);
    return error;
}

struct weir_client *app_connect(const struct app *app, struct weir_config *config, int *code)
{
    *code = apply_user_settings(app, config);
    if (*code != 0)
        return NULL;
    struct weir_client *client = weir_client_new(app->common.brokers, config);
    if (client == NULL && errno == EINVAL) {
        *code = app_fail(app, EXIT_USAGE, "'%s' is no list of brokers, give HOST:PORT[,...]",
                         app->common.brokers);
        return NULL;
    }
    if (client == NULL) {
        *code = app_fail(app, EXIT_FAILED, "cannot make a client: %s", strerror(errno));
        return NULL;
    }
    int error = await_broker(app, client);
    if (error != WEIR_OK) {
        // That the cluster was asked for is our own affair.
        const char *trouble = weir_trouble(client);
        *code = trouble != NULL
                    ? app_fail(app, app_exit_code(error), "%s%s", trouble, app_hint(error))
                    : app_fail_client(app, client, error);
        weir_client_free(client);
        return NULL;
    }
    return client;
}

struct weir_client *app_open(const struct app *app, int *code)
{
    struct weir_config *config = app_config(app, code);

    if (config == NULL)
        return NULL;
    struct weir_client *client = app_connect(app, config, code);
    weir_config_free(config);
    return client;
}

static int reader_left(void)
{
    signal(SIGPIPE, SIG_DFL);
    return raise(SIGPIPE);
}

// A pipe tells at once that nobody reads it any more, long before there is something to write.
static bool reader_has_left(FILE *out)
{
    struct pollfd state = {.fd = fileno(out)};

    return state.fd >= 0 && poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
}

bool app_reader_left(const struct app *app)
{
    return (fflush(app->out) != 0 && errno == EPIPE) || reader_has_left(app->out);
}

int app_flush(const struct app *app)
{
    if (fflush(app->out) == 0 && !ferror(app->out))
        return reader_has_left(app->out) ? reader_left() : 0;
    if (errno == EPIPE)
        reader_left();
    return app_fail(app, EXIT_FAILED, "cannot write the output: %s", strerror(errno));
}
