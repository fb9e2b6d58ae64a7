// SPDX-License-Identifier: Apache-2.0
// From a command line to a command: finds the row, reads its options, checks the number of
// arguments, runs it; and prints --help from the same rows.
#include "tools/command.h"

#include <stdlib.h>
#include <string.h>

#include "base/similar.h"
#include "tools/app.h"

static const char *const outputs[] = {"text", "json", NULL};

const struct option_spec command_common_options[] = {
    {.name = "brokers",
     .letter = 'b',
     .kind = OPTION_TEXT,
     .placeholder = "HOST:PORT",
     .help = "where the broker is (default: WEIR_BROKERS, else 127.0.0.1:9092)",
     .offset = offsetof(struct common_settings, brokers)},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .placeholder = "text|json",
     .help = "how lists and results are printed (default: text)",
     .offset = offsetof(struct common_settings, output),
     .choices = outputs},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "give up on a broker that has not answered for so long (default: 10s)",
     .offset = offsetof(struct common_settings, timeout_ms),
     .min = 1,
     .max = 24 * 3600 * 1000},
    {.name = "client-setting",
     .letter = 'X',
     .kind = OPTION_LIST,
     .placeholder = "NAME=VALUE",
     .help = "a setting of the client library, by Kafka's name; may be given again",
     .offset = offsetof(struct common_settings, client_settings)},
    {.name = "version",
     .kind = OPTION_FLAG,
     .help = "print the version",
     .offset = offsetof(struct common_settings, version)},
    {.name = NULL},
};

const struct exit_meaning command_exit_codes[] = {
    {EXIT_OK, "done"},
    {EXIT_FAILED, "failed; one line on standard error says why and what to do"},
    {EXIT_USAGE, "the command line makes no sense"},
    {EXIT_NOT_FOUND, "no such topic, partition, offset, group or setting"},
    {EXIT_UNREACHABLE, "no broker at that address, or no answer in time"},
    {EXIT_INTERRUPTED, "stopped by Ctrl-C or SIGTERM before the work was done"},
    {0, NULL},
};

static void print_exit_codes(FILE *out)
{
    fprintf(out, "Exit codes:\n");
    for (const struct exit_meaning *row = command_exit_codes; row->meaning != NULL; row++)
        fprintf(out, "  %-3d  %s\n", row->code, row->meaning);
}

const struct command *command_find(int count, char **words, int *used)
{
    for (size_t i = 0; command_table[i] != NULL; i++) {
        const char *name = command_table[i]->name;
        const char *space = strchr(name, ' ');
        size_t first = space != NULL ? (size_t)(space - name) : strlen(name);

        if (count < 1 || strlen(words[0]) != first || memcmp(words[0], name, first) != 0)
            continue;
        if (space == NULL) {
            *used = 1;
            return command_table[i];
        }
        if (count > 1 && strcmp(words[1], space + 1) == 0) {
            *used = 2;
            return command_table[i];
        }
    }
    return NULL;
}

static bool in_group(const struct command *command, const char *word)
{
    size_t length = strlen(word);

    return strncmp(command->name, word, length) == 0 && command->name[length] == ' ';
}

bool command_is_group(const char *word)
{
    for (size_t i = 0; command_table[i] != NULL; i++) {
        if (in_group(command_table[i], word))
            return true;
    }
    return false;
}

void command_print_help(const struct command *command, FILE *out)
{
    fprintf(out, "Usage: weir %s [OPTION]...%s%s\n\n%s.\n", command->name,
            *command->arguments != '\0' ? " " : "", command->arguments, command->summary);
    if (command->description != NULL)
        fprintf(out, "\n%s", command->description);
    if (command->options != NULL) {
        fprintf(out, "\nOptions:\n");
        options_print(command->options, out);
    }
    fprintf(out, "\nOptions of every command:\n");
    options_print(command_common_options, out);
    fprintf(out, "  -h, --help                  this text\n");
    fprintf(out, "\nExamples:\n%s\n", command->examples);
    print_exit_codes(out);
}

void command_print_overview(const char *group, FILE *out)
{
    if (group == NULL)
        fprintf(out, "Usage: weir [OPTION]... COMMAND [ARGUMENT]...\n\n"
                     "Produces to, reads from and looks after a Weir broker (or any broker that "
                     "speaks\nKafka's protocol).\n\nCommands:\n");
    else
        fprintf(out, "Usage: weir %s COMMAND [ARGUMENT]...\n\nCommands:\n", group);
    for (size_t i = 0; command_table[i] != NULL; i++) {
        const struct command *command = command_table[i];
        if (group == NULL || in_group(command, group))
            fprintf(out, "  weir %-20s  %s\n", command->name, command->summary);
    }
    fprintf(out, "\n'weir COMMAND --help' explains one of them.\n");
    if (group == NULL) {
        fprintf(out, "\nOptions of every command:\n");
        options_print(command_common_options, out);
        fprintf(out, "  -h, --help                  this text\n\n");
        print_exit_codes(out);
    }
}

static int check_arguments(struct app *app, int count, char **arguments)
{
    const struct command *command = app->command;

    if (count < command->min_arguments)
        return app_fail(app, EXIT_USAGE,
                        "something is missing, the usage is: weir %s [OPTION]... %s", command->name,
                        command->arguments);
    if (command->max_arguments >= 0 && count > command->max_arguments)
        return app_fail(app, EXIT_USAGE, "'%s' is too much, the usage is: weir %s [OPTION]... %s",
                        arguments[command->max_arguments], command->name, command->arguments);
    return 0;
}

static int run_with_settings(struct app *app, void *settings, int argc, char **argv)
{
    const struct command *command = app->command;
    struct options_target targets[] = {{command->options, settings},
                                       {command_common_options, &app->common}};
    char error[512];
    int first = 0;
    int rc = options_parse(argc, argv, targets, 2, false, &first, error, sizeof(error));

    if (rc == OPTIONS_HELP) {
        command_print_help(command, app->out);
        return app_flush(app);
    }
    if (rc != 0)
        return app_fail(app, EXIT_USAGE, "%s", error);

    int code = check_arguments(app, argc - first, argv + first);
    if (code != 0)
        return code;
    code = command->run(app, settings, argc - first, argv + first);
    // What could not be written then has been reported by the command.
    if (code != 0 && ferror(app->out))
        return code;
    int flushed = app_flush(app);
    return code != 0 ? code : flushed;
}

static int run_command(struct app *app, int argc, char **argv)
{
    size_t size = app->command->settings_size;
    void *settings = calloc(1, size != 0 ? size : 1);

    if (settings == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    if (app->command->defaults != NULL)
        memcpy(settings, app->command->defaults, size);
    int code = run_with_settings(app, settings, argc, argv);
    options_free(app->command->options, settings);
    free(settings);
    return code;
}

static const char *nearest_command(const char *given)
{
    struct similar similar;

    similar_start(&similar, span_text(given));
    for (size_t i = 0; command_table[i] != NULL; i++)
        similar_try(&similar, command_table[i]->name);
    return similar.nearest;
}

static int no_such_command(struct app *app, int count, char **words)
{
    bool second = count > 1 && words[1][0] != '-';
    bool group = command_is_group(words[0]);
    char given[64];

    snprintf(given, sizeof(given), "%s%s%s", words[0], second ? " " : "", second ? words[1] : "");
    const char *nearest = nearest_command(given);
    if (nearest == NULL)
        nearest = nearest_command(words[0]);
    if (!group)
        snprintf(given, sizeof(given), "%s", words[0]);
    if (nearest != NULL)
        return app_fail(app, EXIT_USAGE, "there is no command '%s'; did you mean 'weir %s'?", given,
                        nearest);
    return app_fail(app, EXIT_USAGE, "there is no command '%s', see 'weir%s%s --help'", given,
                    group ? " " : "", group ? words[0] : "");
}

static int choose_command(struct app *app, int count, char **words)
{
    int used = 0;

    if (count == 0) {
        command_print_overview(NULL, app->err);
        return EXIT_USAGE;
    }
    app->command = command_find(count, words, &used);
    if (app->command != NULL)
        return run_command(app, count - used + 1, words + used - 1);

    bool group = command_is_group(words[0]);
    if (group && (count == 1 || strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0)) {
        command_print_overview(words[0], count == 1 ? app->err : app->out);
        return count == 1 ? EXIT_USAGE : app_flush(app);
    }
    return no_such_command(app, count, words);
}

int command_main(struct app *app, int argc, char **argv)
{
    const char *brokers = getenv("WEIR_BROKERS");
    struct options_target target = {command_common_options, &app->common};
    char error[512];
    int first = 0;

    app->common = (struct common_settings){
        .brokers = brokers != NULL && *brokers != '\0' ? brokers : "127.0.0.1:9092",
        .timeout_ms = 10 * 1000,
    };
    int code = 0;
    int rc = options_parse(argc, argv, &target, 1, true, &first, error, sizeof(error));
    if (rc == OPTIONS_HELP) {
        command_print_overview(NULL, app->out);
        code = app_flush(app);
    } else if (rc != 0) {
        code = app_fail(app, EXIT_USAGE, "%s", error);
    } else if (app->common.version) {
        fprintf(app->out, "weir %s\n", weir_version());
        code = app_flush(app);
    } else {
        code = choose_command(app, argc - first, argv + first);
    }
    options_free(command_common_options, &app->common);
    return code;
}
