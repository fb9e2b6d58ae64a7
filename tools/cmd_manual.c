// SPDX-License-Identifier: Apache-2.0
// weir manual and weir completion: the table of commands in the forms that man and the shells read.
// Packages install what these print.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/manual.h"
#include "tools/shell.h"

struct manual_settings {
    const char *directory;
};

static int write_page(struct app *app, const char *directory, const struct command *command)
{
    char name[80];
    char path[4096];

    manual_file_name(command, name, sizeof(name));
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path))
        return app_fail(app, EXIT_FAILED, "%s: the name is too long", directory);
    FILE *page = fopen(path, "we");
    if (page == NULL)
        return app_fail(app, EXIT_FAILED, "cannot write %s: %s", path, strerror(errno));
    manual_write(command, page);
    bool failed = ferror(page) != 0;
    if (fclose(page) != 0 || failed)
        return app_fail(app, EXIT_FAILED, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

static int write_all(struct app *app, const char *directory)
{
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return app_fail(app, EXIT_FAILED, "cannot make %s: %s", directory, strerror(errno));
    int code = write_page(app, directory, NULL);
    for (size_t i = 0; code == 0 && command_table[i] != NULL; i++)
        code = write_page(app, directory, command_table[i]);
    return code;
}

static int run_manual(struct app *app, const void *settings, int count, char **arguments)
{
    const struct manual_settings *options = settings;
    int used = 0;

    if (options->directory != NULL && count > 0)
        return app_fail(app, EXIT_USAGE, "--directory takes all pages, leave '%s' out",
                        arguments[0]);
    if (options->directory != NULL)
        return write_all(app, options->directory);
    const struct command *command = count > 0 ? command_find(count, arguments, &used) : NULL;
    if (used != count)
        return app_fail(app, EXIT_USAGE, "there is no command '%s%s%s', see 'weir --help'",
                        arguments[0], count > 1 ? " " : "", count > 1 ? arguments[1] : "");
    manual_write(command, app->out);
    return 0;
}

static const struct option_spec manual_options[] = {
    {.name = "directory",
     .letter = 'd',
     .kind = OPTION_TEXT,
     .placeholder = "DIR",
     .help = "write every page to a file of its own in DIR, which is made if need be",
     .offset = offsetof(struct manual_settings, directory)},
    {.name = NULL},
};

const struct command cmd_manual = {
    .name = "manual",
    .arguments = "[COMMAND]",
    .max_arguments = 2,
    .summary = "Write the manual page of a command",
    .description = "Without a command it is the page of weir itself.\n",
    .examples = "  weir manual topic create | man -l -\n"
                "  weir manual --directory /usr/local/share/man/man1\n",
    .options = manual_options,
    .settings_size = sizeof(struct manual_settings),
    .run = run_manual,
};

static int run_completion(struct app *app, const void *settings, int count, char **arguments)
{
    static const struct {
        const char *shell;
        void (*write)(FILE *out);
    } shells[] = {
        {"bash", shell_write_bash},
        {"zsh", shell_write_zsh},
        {"fish", shell_write_fish},
    };

    (void)settings;
    (void)count;
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(shells[i].shell, arguments[0]) == 0) {
            shells[i].write(app->out);
            return 0;
        }
    }
    return app_fail(app, EXIT_USAGE, "no shell '%s', give bash, zsh or fish", arguments[0]);
}

const struct command cmd_completion = {
    .name = "completion",
    .arguments = "SHELL",
    .argument_words = "bash zsh fish",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Write a completion script for bash, zsh or fish",
    .description = "Names of topics and groups are completed too: the script asks the broker that\n"
                   "WEIR_BROKERS names.\n",
    .examples = "  source <(weir completion bash)\n"
                "  weir completion zsh > ~/.zfunc/_weir\n"
                "  weir completion fish > ~/.config/fish/completions/weir.fish\n",
    .run = run_completion,
};
