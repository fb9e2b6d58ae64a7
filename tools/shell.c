// SPDX-License-Identifier: Apache-2.0
// What the three scripts have in common, and the one for bash. Names of commands and options are
// letters and dashes; help texts are quoted.
#include "tools/shell.h"

#include <string.h>

#include "tools/command.h"
#include "tools/shell_parts.h"

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

enum shell_words shell_words_of(const char *placeholder)
{
    if (placeholder == NULL)
        return SHELL_NOTHING;
    if (*placeholder == '[')
        placeholder++;
    if (starts_with(placeholder, "TOPIC"))
        return SHELL_TOPICS;
    if (starts_with(placeholder, "GROUP"))
        return SHELL_GROUPS;
    if (starts_with(placeholder, "PATH") || starts_with(placeholder, "FILE") ||
        starts_with(placeholder, "DIR"))
        return SHELL_FILES;
    return SHELL_NOTHING;
}

enum shell_words shell_words_of_option(const struct option_spec *spec)
{
    return spec->choices != NULL ? SHELL_CHOICES : shell_words_of(spec->placeholder);
}

bool shell_first_of_group(size_t index, char *group, size_t size)
{
    const char *name = command_table[index]->name;
    const char *space = strchr(name, ' ');

    if (space == NULL || (size_t)(space - name) >= size)
        return false;
    memcpy(group, name, (size_t)(space - name));
    group[space - name] = '\0';
    for (size_t i = 0; i < index; i++) {
        if (starts_with(command_table[i]->name, group) &&
            command_table[i]->name[space - name] == ' ')
            return false;
    }
    return true;
}

void shell_write_groups(FILE *out, const char *before, const char *after)
{
    char group[64];

    for (size_t i = 0; command_table[i] != NULL; i++) {
        if (shell_first_of_group(i, group, sizeof(group)))
            fprintf(out, "%s%s%s", before, group, after);
    }
}

void shell_write_valued(FILE *out, const char *between)
{
    const char *separator = "";

    for (const struct option_spec *spec = command_common_options; spec->name != NULL; spec++) {
        if (spec->kind == OPTION_FLAG)
            continue;
        fprintf(out, "%s--%s", separator, spec->name);
        separator = between;
        if (spec->letter != 0)
            fprintf(out, "%s-%c", separator, spec->letter);
    }
}

void shell_write_choices(const struct option_spec *spec, FILE *out)
{
    for (size_t i = 0; spec->choices[i] != NULL; i++)
        fprintf(out, "%s%s", i > 0 ? " " : "", spec->choices[i]);
}

// -------------------------------------------------------------------------------- bash

static void bash_words(enum shell_words words, const struct option_spec *spec, FILE *out)
{
    switch (words) {
    case SHELL_NOTHING:
        fputs(":", out);
        break;
    case SHELL_CHOICES:
        fputs("_weir_from '", out);
        shell_write_choices(spec, out);
        fputc('\'', out);
        break;
    case SHELL_FILES:
        fputs("COMPREPLY=($(compgen -f -- \"$cur\"))", out);
        break;
    case SHELL_TOPICS:
        fputs("_weir_from \"$(_weir_names topic)\"", out);
        break;
    case SHELL_GROUPS:
        fputs("_weir_from \"$(_weir_names group)\"", out);
        break;
    }
}

static void bash_values(const struct option_spec *specs, FILE *out)
{
    for (; specs != NULL && specs->name != NULL; specs++) {
        if (specs->kind == OPTION_FLAG)
            continue;
        fprintf(out, "        --%s", specs->name);
        if (specs->letter != 0)
            fprintf(out, " | -%c", specs->letter);
        fputs(")\n            ", out);
        bash_words(shell_words_of_option(specs), specs, out);
        fputs("\n            return\n            ;;\n", out);
    }
}

static void bash_names(const struct option_spec *specs, FILE *out)
{
    for (; specs != NULL && specs->name != NULL; specs++)
        fprintf(out, "--%s ", specs->name);
}

static void bash_command(const struct command *command, FILE *out)
{
    fprintf(out, "    '%s')\n        case $prev in\n", command->name);
    bash_values(command->options, out);
    bash_values(command_common_options, out);
    fputs("        esac\n        if [[ $cur == -* ]]; then\n            _weir_from '", out);
    bash_names(command->options, out);
    bash_names(command_common_options, out);
    fputs("--help'\n        else\n            ", out);
    if (command->argument_words != NULL)
        fprintf(out, "_weir_from '%s'", command->argument_words);
    else
        bash_words(shell_words_of(command->arguments), NULL, out);
    fputs("\n        fi\n        ;;\n", out);
}

static void bash_names_of(const char *group, FILE *out)
{
    size_t length = strlen(group);
    char other[64];

    for (size_t i = 0; command_table[i] != NULL; i++) {
        const char *name = command_table[i]->name;
        if (length > 0 && starts_with(name, group) && name[length] == ' ')
            fprintf(out, "%s ", name + length + 1);
        else if (length == 0 && shell_first_of_group(i, other, sizeof(other)))
            fprintf(out, "%s ", other);
        else if (length == 0 && strchr(name, ' ') == NULL)
            fprintf(out, "%s ", name);
    }
}

static void bash_groups(FILE *out)
{
    char group[64];

    fputs("    '')\n        _weir_from '", out);
    bash_names_of("", out);
    bash_names(command_common_options, out);
    fputs("--help'\n        ;;\n", out);
    for (size_t i = 0; command_table[i] != NULL; i++) {
        if (!shell_first_of_group(i, group, sizeof(group)))
            continue;
        fprintf(out, "    %s)\n        _weir_from '", group);
        bash_names_of(group, out);
        fputs("--help'\n        ;;\n", out);
    }
}

void shell_write_bash(FILE *out)
{
    fputs("# bash completion for weir, written by 'weir completion bash'\n\n"
          "_weir_names() {\n"
          "    weir \"$1\" list --timeout 2s 2>/dev/null | awk 'NR > 1 { print $1 }'\n"
          "}\n\n"
          "_weir_from() {\n"
          "    COMPREPLY=($(compgen -W \"$1\" -- \"$cur\"))\n"
          "}\n\n"
          "_weir() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
          "    local name= i\n"
          "    COMPREPLY=()\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n        ",
          out);
    shell_write_valued(out, " | ");
    fputs(") ((i++)) ;;\n"
          "        -*) ;;\n"
          "        *)\n"
          "            name=${name:+$name }${COMP_WORDS[i]}\n"
          "            case $name in\n"
          "            ",
          out);
    shell_write_groups(out, "", " | ");
    fputs("'') ;;\n"
          "            *) break ;;\n"
          "            esac\n"
          "            ;;\n"
          "        esac\n"
          "    done\n"
          "    case $name in\n",
          out);
    bash_groups(out);
    for (size_t i = 0; command_table[i] != NULL; i++)
        bash_command(command_table[i], out);
    fputs("    esac\n}\n\ncomplete -F _weir weir\n", out);
}
