// SPDX-License-Identifier: Apache-2.0
// weir top: topics, rates, groups and lag, live on a terminal or as text or JSON for scripts.
//
// The terminal is ncurses' while the view is shown, and is given back before anything else is
// printed: errors, and the way out.
#include <curses.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/report.h"
#include "tools/top_sample.h"

struct top_settings {
    bool once;
    int64_t interval_ms;
};

enum { NAME_WIDTH_MAX = 255, SLICE_MS = 100 };

static const struct report_column topic_columns[] = {
    {"topic", "TOPIC", false},
    {"partitions", "PARTITIONS", true},
    {"records", "RECORDS", true},
    {"rate", "RECORDS/S", true},
};

static const struct report_column group_columns[] = {
    {"group", "GROUP", false}, {"state", "STATE", false},   {"members", "MEMBERS", true},
    {"lag", "LAG", true},      {"rate", "RECORDS/S", true},
};

// -------------------------------------------------------------------------------- for scripts

static void print_sample(struct app *app, json_t *sample)
{
    if (app->common.output == OUTPUT_JSON) {
        json_object_del(sample, "time_ns");
        json_dumpf(sample, app->out, JSON_COMPACT);
        fputc('\n', app->out);
        return;
    }
    report_print_table(json_object_get(sample, "topics"), topic_columns, 4, app->out);
    fputc('\n', app->out);
    report_print_table(json_object_get(sample, "groups"), group_columns, 5, app->out);
}

static void wait_ms(int64_t milliseconds)
{
    for (; milliseconds > 0 && !interrupt_requested(); milliseconds -= SLICE_MS) {
        int64_t slice = milliseconds < SLICE_MS ? milliseconds : SLICE_MS;
        usleep((useconds_t)slice * 1000);
    }
}

// Rates need two looks: the first one is not printed.
static int print_samples(struct app *app, struct weir_client *client,
                         const struct top_settings *options)
{
    int code = 0;
    json_t *previous = top_sample(app, client, NULL, &code);

    while (code == 0) {
        wait_ms(options->interval_ms);
        if (interrupt_requested())
            break;
        json_t *sample = top_sample(app, client, previous, &code);
        if (sample == NULL)
            break;
        json_decref(previous);
        previous = json_deep_copy(sample);
        print_sample(app, sample);
        json_decref(sample);
        code = app_flush(app);
        if (options->once)
            break;
    }
    json_decref(previous);
    return code == 0 && options->once && interrupt_requested() ? EXIT_INTERRUPTED : code;
}

// -------------------------------------------------------------------------------- live

static int64_t number_of(const json_t *row, const char *name)
{
    return (int64_t)json_number_value(json_object_get(row, name));
}

static int by_rate(const void *a, const void *b)
{
    const json_t *left = *(const json_t *const *)a;
    const json_t *right = *(const json_t *const *)b;
    int64_t x = number_of(left, "rate");
    int64_t y = number_of(right, "rate");

    return (x < y) - (x > y);
}

static int by_lag(const void *a, const void *b)
{
    const json_t *left = *(const json_t *const *)a;
    const json_t *right = *(const json_t *const *)b;
    int64_t x = number_of(left, "lag");
    int64_t y = number_of(right, "lag");

    return (x < y) - (x > y);
}

// What does not fit into the column is cut; control characters never reach the terminal.
static void draw_cell(int y, int x, int width, const json_t *value, bool right)
{
    char text[NAME_WIDTH_MAX + 1] = "-";

    if (json_is_string(value))
        snprintf(text, sizeof(text), "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, sizeof(text), "%.0f", json_real_value(value));
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    }
    mvprintw(y, x, right ? "%*.*s" : "%-*.*s", width, width, text);
}

static void draw_row(int y, const json_t *row, const struct report_column *columns, size_t count)
{
    int width = COLS - 12 * ((int)count - 1) - 1;
    int x = 0;

    for (size_t i = 0; i < count; i++) {
        int cell = i == 0 ? (width > 8 ? width : 8) : 11;
        json_t *title = row == NULL ? json_string(columns[i].title) : NULL;
        draw_cell(y, x, cell, row == NULL ? title : json_object_get(row, columns[i].key),
                  columns[i].right);
        json_decref(title);
        x += cell + 1;
    }
}

// At most `lines` lines from `y` on; returns the line behind.
static int draw_table(int y, int lines, const json_t *rows, const struct report_column *columns,
                      size_t count, int (*compare)(const void *, const void *))
{
    size_t total = json_array_size(rows);
    const json_t **sorted = calloc(total + 1, sizeof(const json_t *));

    if (sorted == NULL || lines < 1) {
        free(sorted);
        return y;
    }
    for (size_t i = 0; i < total; i++)
        sorted[i] = json_array_get(rows, i);
    qsort(sorted, total, sizeof(const json_t *), compare);
    attron(A_BOLD);
    draw_row(y++, NULL, columns, count);
    attroff(A_BOLD);
    for (size_t i = 0; i < total && --lines > 0; i++)
        draw_row(y++, sorted[i], columns, count);
    free(sorted);
    return y;
}

static void draw(const struct app *app, const json_t *sample)
{
    time_t now = time(NULL);
    struct tm tm;
    char clock[32] = "";

    if (localtime_r(&now, &tm) != NULL)
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    erase();
    attron(A_REVERSE);
    mvprintw(0, 0, "%-*.*s", COLS, COLS, "");
    mvprintw(0, 0, "weir top  %.60s  %s  q: quit", app->common.brokers, clock);
    attroff(A_REVERSE);
    int room = LINES - 3;
    int groups = (int)json_array_size(json_object_get(sample, "groups")) + 1;
    int group_lines = groups < room / 2 ? groups : room / 2;
    int y = draw_table(1, room - group_lines, json_object_get(sample, "topics"), topic_columns, 4,
                       by_rate);
    draw_table(y + 1, group_lines, json_object_get(sample, "groups"), group_columns, 5, by_lag);
    refresh();
}

// Until it is time for the next look. True: to be left.
static bool wait_for_key(const struct app *app, const json_t *sample, int64_t interval_ms)
{
    for (int64_t left = interval_ms; left > 0 && !interrupt_requested(); left -= SLICE_MS) {
        timeout(left < SLICE_MS ? (int)left : SLICE_MS);
        int key = getch();
        if (key == 'q' || key == 'Q')
            return true;
        if (key == KEY_RESIZE)
            draw(app, sample);
    }
    return interrupt_requested();
}

static int show_live(struct app *app, struct weir_client *client,
                     const struct top_settings *options)
{
    int code = 0;
    json_t *sample = top_sample(app, client, NULL, &code);

    if (sample == NULL)
        return code;
    setlocale(LC_CTYPE, "");
    SCREEN *screen = newterm(NULL, app->out, stdin);
    if (screen == NULL) {
        json_decref(sample);
        return app_fail(app, EXIT_FAILED, "this terminal is unknown (TERM), use --once");
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    bool left = false;
    while (!left) {
        draw(app, sample);
        left = wait_for_key(app, sample, options->interval_ms);
        if (left)
            break;
        // A failure's sentence must not be written into the view.
        FILE *err = app->err;
        char *sentence = NULL;
        size_t size = 0;
        app->err = open_memstream(&sentence, &size);
        json_t *next = app->err != NULL ? top_sample(app, client, sample, &code) : NULL;
        if (app->err != NULL)
            fclose(app->err);
        app->err = err;
        if (next == NULL) {
            endwin();
            fputs(sentence != NULL ? sentence : "", err);
            left = true;
        } else {
            json_decref(sample);
            sample = next;
        }
        free(sentence);
    }
    endwin();
    delscreen(screen);
    json_decref(sample);
    return code;
}

static int run_top(struct app *app, const void *settings, int count, char **arguments)
{
    const struct top_settings *options = settings;
    bool live = !options->once && app->common.output == OUTPUT_TEXT;
    int code = 0;

    (void)count;
    (void)arguments;
    if (live && (isatty(fileno(app->out)) != 1 || isatty(STDIN_FILENO) != 1))
        return app_fail(app, EXIT_USAGE, "the live view needs a terminal, give --once or -o json");
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    interrupt_catch();
    code = live ? show_live(app, client, options) : print_samples(app, client, options);
    weir_client_free(client);
    return code;
}

static const struct option_spec top_options[] = {
    {.name = "once",
     .letter = '1',
     .kind = OPTION_FLAG,
     .help = "look twice, one interval apart, print what there is and end",
     .offset = offsetof(struct top_settings, once)},
    {.name = "interval",
     .letter = 'i',
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "how long between two looks (default: 2s)",
     .offset = offsetof(struct top_settings, interval_ms),
     .min = 100,
     .max = 3600 * 1000},
    {.name = NULL},
};

static const struct top_settings top_defaults = {.interval_ms = 2000};

const struct command cmd_top = {
    .name = "top",
    .arguments = "",
    .summary = "Watch topics, rates, groups and lag",
    .description = "Topics with most records per second and groups with the greatest lag stand "
                   "first. With -o json\none object is printed per interval. q leaves the view.\n",
    .examples = "  weir top\n"
                "  weir top --once\n"
                "  weir top -o json --interval 10s | jq '.groups[] | select(.lag > 1000)'\n",
    .options = top_options,
    .settings_size = sizeof(struct top_settings),
    .defaults = &top_defaults,
    .run = run_top,
};
