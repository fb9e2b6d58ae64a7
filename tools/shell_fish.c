// SPDX-License-Identifier: Apache-2.0
// The script for fish, which shows help texts beside what it offers.
#include <string.h>

#include "tools/command.h"
#include "tools/shell.h"
#include "tools/shell_parts.h"

static void fish_words(enum shell_words words, const struct option_spec *spec, FILE *out)
{
    switch (words) {
    case SHELL_NOTHING:
        break;
    case SHELL_CHOICES:
        fputs(" -a '", out);
        shell_write_choices(spec, out);
        fputc('\'', out);
        break;
    case SHELL_FILES:
        fputs(" -F", out);
        break;
    case SHELL_TOPICS:
        fputs(" -a '(__weir_names topic)'", out);
        break;
    case SHELL_GROUPS:
        fputs(" -a '(__weir_names group)'", out);
        break;
    }
}

static void help_text(const char *text, FILE *out)
{
    fputs(" -d '", out);
    for (; *text != '\0'; text++)
        fprintf(out, *text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
    fputs("'\n", out);
}

static void fish_option(const char *name, const struct option_spec *spec, FILE *out)
{
    enum shell_words words = shell_words_of_option(spec);

    fputs("complete -c weir", out);
    if (name != NULL)
        fprintf(out, " -n '__weir_at \"%s\"'", name);
    if (spec->letter != 0)
        fprintf(out, " -s %c", spec->letter);
    fprintf(out, " -l %s", spec->name);
    if (spec->kind != OPTION_FLAG) {
        fputs(words == SHELL_FILES ? " -r" : " -x", out);
        fish_words(words, spec, out);
    }
    help_text(spec->help, out);
}

static void fish_command(const struct command *command, FILE *out)
{
    const char *name = command->name;
    const char *space = strchr(name, ' ');
    int first = space != NULL ? (int)(space - name) : 0;

    fprintf(out, "complete -c weir -n '__weir_at \"%.*s\"' -a '%s'", first, name,
            space != NULL ? space + 1 : name);
    help_text(command->summary, out);
    for (const struct option_spec *spec = command->options; spec != NULL && spec->name; spec++)
        fish_option(name, spec, out);
    enum shell_words words = shell_words_of(command->arguments);
    if (words == SHELL_NOTHING && command->argument_words == NULL)
        return;
    fprintf(out, "complete -c weir -n '__weir_at \"%s\"'", name);
    if (command->argument_words != NULL)
        fprintf(out, " -a '%s'", command->argument_words);
    else
        fish_words(words, NULL, out);
    fputc('\n', out);
}

void shell_write_fish(FILE *out)
{
    char group[64];

    fputs("# fish completion for weir, written by 'weir completion fish'\n\n"
          "function __weir_names\n"
          "    weir $argv list --timeout 2s 2>/dev/null | awk 'NR > 1 { print $1 }'\n"
          "end\n\n"
          "function __weir_at\n"
          "    set -l words (commandline -opc)\n"
          "    set -e words[1]\n"
          "    set -l name\n"
          "    set -l value no\n"
          "    for word in $words\n"
          "        if test $value = yes\n"
          "            set value no\n"
          "            continue\n"
          "        end\n"
          "        switch $word\n"
          "            case ",
          out);
    shell_write_valued(out, " ");
    fputs("\n                set value yes\n"
          "            case '-*'\n"
          "            case '*'\n"
          "                set -a name $word\n"
          "                if not contains -- \"$name\"",
          out);
    shell_write_groups(out, " ", "");
    fputs("\n                    break\n"
          "                end\n"
          "        end\n"
          "    end\n"
          "    test \"$name\" = \"$argv\"\n"
          "end\n\n"
          "complete -c weir -f\n",
          out);
    for (size_t i = 0; command_table[i] != NULL; i++) {
        if (shell_first_of_group(i, group, sizeof(group)))
            fprintf(out, "complete -c weir -n '__weir_at \"\"' -a '%s' -d 'More commands'\n",
                    group);
    }
    for (size_t i = 0; command_table[i] != NULL; i++)
        fish_command(command_table[i], out);
    for (const struct option_spec *spec = command_common_options; spec->name != NULL; spec++)
        fish_option(NULL, spec, out);
    fputs("complete -c weir -s h -l help -d 'Explain the command'\n", out);
}
