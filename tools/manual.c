// SPDX-License-Identifier: Apache-2.0
// Text becomes roff by three rules: a backslash is \e, a dash is \- (people copy options from the
// page), and a line that begins with a dot or a quote is kept from being a request. Paragraphs
// whose lines begin with a space are printed as they are.
#include "tools/manual.h"

#include <ctype.h>
#include <string.h>

static void character(char c, FILE *out)
{
    if (c == '\\')
        fputs("\\e", out);
    else if (c == '-')
        fputs("\\-", out);
    else if (c == '^')
        fputs("\\(ha", out);
    else if (c == '~')
        fputs("\\(ti", out);
    else if (c == '\'')
        fputs("\\(aq", out);
    else
        fputc(c, out);
}

static void text(const char *at, size_t size, FILE *out)
{
    if (size > 0 && (*at == '.' || *at == '\''))
        fputs("\\&", out);
    for (size_t i = 0; i < size; i++)
        character(at[i], out);
}

static void sentence(const char *at, FILE *out)
{
    text(at, strlen(at), out);
}

// Lines as --help has them: filled, but for those that begin with a space.
static void paragraphs(const char *at, FILE *out)
{
    bool plain = false;

    while (*at != '\0') {
        size_t size = strcspn(at, "\n");
        bool indented = *at == ' ';
        if (indented && !plain)
            fputs(".RS 2\n.nf\n", out);
        if (!indented && plain)
            fputs(".fi\n.RE\n", out);
        plain = indented;
        if (size == 0) {
            fputs(".PP\n", out);
        } else {
            size_t skip = indented ? 2 : 0;
            text(at + (skip < size ? skip : 0), size - (skip < size ? skip : 0), out);
            fputc('\n', out);
        }
        at += size + (at[size] == '\n');
    }
    if (plain)
        fputs(".fi\n.RE\n", out);
}

static void options(const struct option_spec *specs, FILE *out)
{
    for (; specs != NULL && specs->name != NULL; specs++) {
        fputs(".TP\n", out);
        if (specs->letter != 0)
            fprintf(out, "\\fB\\-%c\\fR, ", specs->letter);
        fputs("\\fB\\-\\-", out);
        sentence(specs->name, out);
        fputs("\\fR", out);
        if (specs->placeholder != NULL) {
            fputs(" \\fI", out);
            sentence(specs->placeholder, out);
            fputs("\\fR", out);
        }
        fputc('\n', out);
        sentence(specs->help, out);
        fputc('\n', out);
    }
}

void manual_file_name(const struct command *command, char *name, size_t size)
{
    snprintf(name, size, "weir%s%s.1", command != NULL ? "-" : "",
             command != NULL ? command->name : "");
    for (char *at = name; *at != '\0'; at++) {
        if (*at == ' ')
            *at = '-';
    }
}

static void heading(const struct command *command, FILE *out)
{
    char name[80];

    manual_file_name(command, name, sizeof(name));
    name[strlen(name) - 2] = '\0';
    fputs(".TH ", out);
    for (const char *at = name; *at != '\0'; at++)
        character((char)toupper((unsigned char)*at), out);
    fprintf(out, " 1 \"\" \"weir %s\" \"Weir\"\n.SH NAME\n", weir_version());
    sentence(name, out);
    fputs(" \\- ", out);
    if (command == NULL) {
        fputs("produce to, read from and look after a Weir broker\n", out);
        return;
    }
    character((char)tolower((unsigned char)command->summary[0]), out);
    sentence(command->summary + 1, out);
    fputc('\n', out);
}

static void synopsis(const struct command *command, FILE *out)
{
    fputs(".SH SYNOPSIS\n.B weir", out);
    if (command == NULL) {
        fputs("\n[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n", out);
        return;
    }
    fputc(' ', out);
    sentence(command->name, out);
    fputs("\n[\\fIOPTION\\fR]...", out);
    if (*command->arguments != '\0') {
        fputs(" \\fI", out);
        sentence(command->arguments, out);
        fputs("\\fR", out);
    }
    fputc('\n', out);
}

static void common(FILE *out)
{
    fputs(".SS Options of every command\n", out);
    options(command_common_options, out);
    fputs(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nA short form of this page.\n", out);
}

static void ending(const struct command *command, FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; command_exit_codes[i].meaning != NULL; i++) {
        fprintf(out, ".TP\n.B %d\n", command_exit_codes[i].code);
        sentence(command_exit_codes[i].meaning, out);
        fputc('\n', out);
    }
    fputs(".SH ENVIRONMENT\n.TP\n.B WEIR_BROKERS\n"
          "Where the broker is, when \\fB\\-\\-brokers\\fR does not say.\n"
          ".SH SEE ALSO\n",
          out);
    fputs(command != NULL ? ".BR weir (1)\n" : ".BR weir\\-broker (1)\n", out);
}

static void list_commands(FILE *out)
{
    char name[80];

    fputs(".SH COMMANDS\n", out);
    for (size_t i = 0; command_table[i] != NULL; i++) {
        manual_file_name(command_table[i], name, sizeof(name));
        name[strlen(name) - 2] = '\0';
        fputs(".TP\n.BR ", out);
        sentence(name, out);
        fputs(" (1)\n", out);
        sentence(command_table[i]->summary, out);
        fputc('\n', out);
    }
}

void manual_write(const struct command *command, FILE *out)
{
    heading(command, out);
    synopsis(command, out);
    fputs(".SH DESCRIPTION\n", out);
    if (command == NULL) {
        fputs("Produces to, reads from and looks after a Weir broker, or any broker that speaks\n"
              "Kafka\\(aqs protocol.\n",
              out);
        list_commands(out);
        fputs(".SH OPTIONS\n", out);
    } else {
        sentence(command->summary, out);
        fputs(".\n", out);
        if (command->description != NULL) {
            fputs(".PP\n", out);
            paragraphs(command->description, out);
        }
        fputs(".SH OPTIONS\n", out);
        options(command->options, out);
    }
    common(out);
    if (command != NULL) {
        fputs(".SH EXAMPLES\n", out);
        paragraphs(command->examples, out);
    }
    ending(command, out);
}
