// SPDX-License-Identifier: Apache-2.0
// The script for zsh, which shows help texts beside what it offers.
#include <string.h>

#include "tools/command.h"
#include "tools/shell.h"
#include "tools/shell_parts.h"

// Inside single quotes; for zsh, characters that mean something in a specification are escaped.
static void quoted(const char *text, const char *escaped, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr(escaped, *text) != NULL)
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

// -------------------------------------------------------------------------------- zsh

static void zsh_action(enum shell_words words, const struct option_spec *spec, FILE *out)
{
    switch (words) {
    case SHELL_NOTHING:
        fputc(' ', out);
        break;
    case SHELL_CHOICES:
        fputc('(', out);
        shell_write_choices(spec, out);
        fputc(')', out);
        break;
    case SHELL_FILES:
        fputs("_files", out);
        break;
    case SHELL_TOPICS:
        fputs("_weir_topics", out);
        break;
    case SHELL_GROUPS:
        fputs("_weir_groups", out);
        break;
    }
}

static void zsh_option(const struct option_spec *spec, FILE *out)
{
    bool again = spec->kind == OPTION_LIST;

    fputs(" \\\n            ", out);
    if (spec->letter != 0 && again)
        fprintf(out, "'*'{-%c,--%s}'[", spec->letter, spec->name);
    else if (spec->letter != 0)
        fprintf(out, "'(-%c --%s)'{-%c,--%s}'[", spec->letter, spec->name, spec->letter,
                spec->name);
    else
        fprintf(out, "'%s--%s[", again ? "*" : "", spec->name);
    quoted(spec->help, "[]:\\", out);
    fputc(']', out);
    if (spec->kind != OPTION_FLAG) {
        fputc(':', out);
        quoted(spec->placeholder, "[]:\\", out);
        fputc(':', out);
        zsh_action(shell_words_of_option(spec), spec, out);
    }
    fputc('\'', out);
}

static void zsh_command(const struct command *command, FILE *out)
{
    fprintf(out, "    '%s')\n        _arguments -s", command->name);
    for (const struct option_spec *spec = command->options; spec != NULL && spec->name; spec++)
        zsh_option(spec, out);
    for (const struct option_spec *spec = command_common_options; spec->name != NULL; spec++)
        zsh_option(spec, out);
    fputs(" \\\n            '(-h --help)'{-h,--help}'[this text]'", out);
    if (*command->arguments != '\0') {
        fputs(" \\\n            '*:", out);
        quoted(command->arguments, "[]:\\", out);
        fputc(':', out);
        if (command->argument_words != NULL)
            fprintf(out, "(%s)", command->argument_words);
        else
            zsh_action(shell_words_of(command->arguments), NULL, out);
        fputc('\'', out);
    }
    fputs("\n        ;;\n", out);
}

static void zsh_entry(const char *word, const char *help, FILE *out)
{
    fprintf(out, "            '%s:", word);
    quoted(help, ":\\", out);
    fputs("'\n", out);
}

// The words that may stand behind `group`, or first when that is empty.
static void zsh_words(const char *group, FILE *out)
{
    size_t length = strlen(group);
    char other[64];

    fprintf(out, "    '%s')\n        words_here=(\n", group);
    for (size_t i = 0; command_table[i] != NULL; i++) {
        const struct command *command = command_table[i];
        bool inside = length > 0 && strncmp(command->name, group, length) == 0 &&
                      command->name[length] == ' ';
        if (inside)
            zsh_entry(command->name + length + 1, command->summary, out);
        else if (length == 0 && shell_first_of_group(i, other, sizeof(other)))
            zsh_entry(other, "more commands", out);
        else if (length == 0 && strchr(command->name, ' ') == NULL)
            zsh_entry(command->name, command->summary, out);
    }
    fputs("        )\n        _describe command words_here\n        ;;\n", out);
}

void shell_write_zsh(FILE *out)
{
    char group[64];

    fputs("#compdef weir\n"
          "# zsh completion for weir, written by 'weir completion zsh'\n\n"
          "_weir_names() {\n"
          "    local -a names\n"
          "    names=(${(f)\"$(weir $1 list --timeout 2s 2>/dev/null | awk 'NR > 1 { print $1 "
          "}')\"})\n"
          "    compadd -a names\n"
          "}\n"
          "_weir_topics() { _weir_names topic }\n"
          "_weir_groups() { _weir_names group }\n\n"
          "_weir() {\n"
          "    local name= i\n"
          "    local -a words_here\n"
          "    for ((i = 2; i < CURRENT; i++)); do\n"
          "        case ${words[i]} in\n        (",
          out);
    shell_write_valued(out, "|");
    fputs(") ((i++)) ;;\n"
          "        (-*) ;;\n"
          "        (*)\n"
          "            name=${name:+$name }${words[i]}\n"
          "            case $name in\n"
          "            (",
          out);
    shell_write_groups(out, "", "|");
    fputs("'') ;;\n"
          "            (*) break ;;\n"
          "            esac\n"
          "            ;;\n"
          "        esac\n"
          "    done\n"
          "    # _arguments is to see nothing of what stands before the command's last word.\n"
          "    ((i > CURRENT)) && i=CURRENT\n"
          "    if ((i < CURRENT)); then\n"
          "        shift $((i - 1)) words\n"
          "        ((CURRENT -= i - 1))\n"
          "    fi\n"
          "    case $name in\n",
          out);
    zsh_words("", out);
    for (size_t i = 0; command_table[i] != NULL; i++) {
        if (shell_first_of_group(i, group, sizeof(group)))
            zsh_words(group, out);
    }
    for (size_t i = 0; command_table[i] != NULL; i++)
        zsh_command(command_table[i], out);
    fputs("    esac\n}\n\n"
          "if [ \"$funcstack[1]\" = _weir ]; then\n    _weir \"$@\"\nelse\n    compdef _weir "
          "weir\nfi\n",
          out);
}
