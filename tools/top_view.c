// SPDX-License-Identifier: Apache-2.0
// The terminal is ncurses' while the view is shown, and is given back before anything else is
// printed. Nothing from the broker reaches it that is not printable.
//
// A look that fails leaves the last sample on the screen, with the reason below it, and another one
// follows; each takes SAMPLE_PATIENCE_MS at most, so that keys are answered soon.
#include "tools/top_view.h"

#include <curses.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/interrupt.h"
#include "tools/top_sample.h"

enum {
    CELL_SIZE = 1024,
    CTRL_L = 'L' - '@',
    NUMBER_WIDTH = 11,
    NAME_WIDTH_MIN = 8,
    SLICE_MS = 100,
    SAMPLE_PATIENCE_MS = 3000,
};

const struct report_column top_topic_columns[] = {
    {"topic", "TOPIC", false},
    {"partitions", "PARTITIONS", true},
    {"records", "RECORDS", true},
    {"rate", "RECORDS/S", true},
};

const struct report_column top_group_columns[] = {
    {"group", "GROUP", false}, {"state", "STATE", false},   {"members", "MEMBERS", true},
    {"lag", "LAG", true},      {"rate", "RECORDS/S", true},
};

struct view {
    struct app *app;
    struct weir_client *client;
    json_t *sample;
    char trouble[512]; // why the last look failed; empty: it did not
    size_t scroll;     // rows passed over in each table
};

struct table {
    const char *rows; // member of the sample
    const struct report_column *columns;
    size_t column_count;
    const char *busiest; // greatest first
};

static const struct table topic_table = {"topics", top_topic_columns, TOP_TOPIC_COLUMNS, "rate"};
static const struct table group_table = {"groups", top_group_columns, TOP_GROUP_COLUMNS, "lag"};

// -------------------------------------------------------------------------------- drawing

// What does not fit into the column, or onto the screen, is cut.
static void draw_text(int y, int x, int width, const char *text, bool right)
{
    char shown[CELL_SIZE];

    if (y >= LINES || x >= COLS)
        return;
    if (width > COLS - x)
        width = COLS - x;
    report_printable(text, width, shown, sizeof(shown));
    mvaddstr(y, right ? x + width - report_width(shown) : x, shown);
}

static void draw_value(int y, int x, int width, const json_t *value, bool right)
{
    char number[32] = "-";

    if (json_is_integer(value))
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(number, sizeof(number), "%.0f", json_real_value(value));
    draw_text(y, x, width, json_is_string(value) ? json_string_value(value) : number, right);
}

static int column_width(const struct table *table, size_t column)
{
    int width = COLS - (NUMBER_WIDTH + 1) * ((int)table->column_count - 1) - 1;

    if (column > 0)
        return NUMBER_WIDTH;
    return width > NAME_WIDTH_MIN ? width : NAME_WIDTH_MIN;
}

static void draw_titles(int y, const struct table *table, size_t first, size_t shown, size_t total)
{
    char title[80];
    int x = 0;

    attron(A_BOLD);
    for (size_t i = 0; i < table->column_count; i++) {
        const struct report_column *column = &table->columns[i];
        int width = column_width(table, i);
        snprintf(title, sizeof(title), "%s", column->title);
        if (i == 0 && shown < total)
            snprintf(title, sizeof(title), "%s  %zu-%zu of %zu", column->title,
                     shown > 0 ? first + 1 : first, first + shown, total);
        draw_text(y, x, width, title, column->right);
        x += width + 1;
    }
    attroff(A_BOLD);
}

static void draw_row(int y, const struct table *table, const json_t *row)
{
    int x = 0;

    for (size_t i = 0; i < table->column_count; i++) {
        int width = column_width(table, i);
        draw_value(y, x, width, json_object_get(row, table->columns[i].key),
                   table->columns[i].right);
        x += width + 1;
    }
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct table *table = context;
    const json_t *left = *(const json_t *const *)a;
    const json_t *right = *(const json_t *const *)b;
    double x = json_number_value(json_object_get(left, table->busiest));
    double y = json_number_value(json_object_get(right, table->busiest));

    if (x != y)
        return x < y ? 1 : -1;
    return strcmp(json_string_value(json_object_get(left, table->columns[0].key)),
                  json_string_value(json_object_get(right, table->columns[0].key)));
}

// A line for the titles and at most `lines - 1` rows, from `y` on; returns the line behind.
static int draw_table(const struct view *view, const struct table *table, int y, int lines)
{
    const json_t *rows = json_object_get(view->sample, table->rows);
    size_t total = json_array_size(rows);
    size_t room = lines > 0 ? (size_t)lines - 1 : 0;
    const json_t **sorted = lines > 0 ? calloc(total + 1, sizeof(const json_t *)) : NULL;

    if (sorted == NULL)
        return y;
    for (size_t i = 0; i < total; i++)
        sorted[i] = json_array_get(rows, i);
    qsort_r(sorted, total, sizeof(const json_t *), compare_rows, (void *)(uintptr_t)table);
    size_t last = total > room ? total - room : 0;
    size_t first = view->scroll < last ? view->scroll : last;
    size_t shown = total - first < room ? total - first : room;
    draw_titles(y++, table, first, shown, total);
    for (size_t i = 0; i < shown; i++)
        draw_row(y++, table, sorted[first + i]);
    free(sorted);
    return y;
}

static void draw_bar(int y, const char *text)
{
    attron(A_REVERSE);
    mvhline(y, 0, ' ', COLS);
    draw_text(y, 0, COLS, text, false);
    attroff(A_REVERSE);
}

static size_t row_count(const struct view *view, const struct table *table)
{
    return json_array_size(json_object_get(view->sample, table->rows));
}

static void draw(const struct view *view)
{
    char title[160];
    char clock[32] = "";
    time_t now = time(NULL);
    struct tm tm;

    if (localtime_r(&now, &tm) != NULL)
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    snprintf(title, sizeof(title), "weir top  %.60s  %s  q: quit", view->app->common.brokers,
             clock);
    erase();
    draw_bar(0, title);
    bool troubled = view->trouble[0] != '\0';
    int room = LINES - 2 - troubled;
    int groups = (int)row_count(view, &group_table) + 1;
    int group_lines = groups < room / 2 ? groups : room / 2;
    int y = draw_table(view, &topic_table, 1, room - group_lines);
    draw_table(view, &group_table, y + 1, group_lines);
    if (troubled && LINES > 1)
        draw_bar(LINES - 1, view->trouble);
    refresh();
}

// -------------------------------------------------------------------------------- keys

static void scroll_by(struct view *view, long rows)
{
    size_t topics = row_count(view, &topic_table);
    size_t groups = row_count(view, &group_table);
    long most = (long)(topics > groups ? topics : groups);
    long scroll = (long)view->scroll + rows;

    scroll = scroll < 0 ? 0 : scroll;
    view->scroll = (size_t)(scroll > most ? most : scroll);
}

// True: the view is to be left.
static bool key_pressed(struct view *view, int key)
{
    int page = LINES > 4 ? LINES / 2 : 1;

    switch (key) {
    case 'q':
    case 'Q':
        return true;
    case KEY_UP:
        scroll_by(view, -1);
        break;
    case KEY_DOWN:
        scroll_by(view, 1);
        break;
    case KEY_PPAGE:
        scroll_by(view, -page);
        break;
    case KEY_NPAGE:
        scroll_by(view, page);
        break;
    case KEY_HOME:
        view->scroll = 0;
        break;
    case CTRL_L:
        clearok(curscr, TRUE); // something else has written on the screen
        break;
    case KEY_RESIZE:
        break;
    default:
        return false;
    }
    draw(view);
    return false;
}

// Until it is time for the next look. True: the view is to be left.
static bool wait_for_keys(struct view *view, int64_t interval_ms)
{
    for (int64_t left = interval_ms; left > 0 && !interrupt_requested(); left -= SLICE_MS) {
        timeout(left < SLICE_MS ? (int)left : SLICE_MS);
        if (key_pressed(view, getch()))
            return true;
    }
    return interrupt_requested();
}

// -------------------------------------------------------------------------------- samples

static void keep_trouble(struct view *view, const char *sentence)
{
    static const char prefix[] = "weir top: ";

    if (sentence == NULL || *sentence == '\0')
        sentence = "the broker could not be asked";
    if (strncmp(sentence, prefix, strlen(prefix)) == 0)
        sentence += strlen(prefix);
    snprintf(view->trouble, sizeof(view->trouble), "%.*s", (int)strcspn(sentence, "\n"), sentence);
}

// A failure's sentence must not be written into the view: it is caught.
static void look(struct view *view)
{
    struct app app = *view->app;
    char *sentence = NULL;
    size_t size = 0;
    int code = 0;
    json_t *next = NULL;

    if (app.common.timeout_ms > SAMPLE_PATIENCE_MS)
        app.common.timeout_ms = SAMPLE_PATIENCE_MS;
    app.err = open_memstream(&sentence, &size);
    if (app.err != NULL) {
        next = top_sample(&app, view->client, view->sample, &code);
        fclose(app.err);
    }
    view->trouble[0] = '\0';
    if (next == NULL) {
        keep_trouble(view, sentence);
    } else {
        json_decref(view->sample);
        view->sample = next;
    }
    free(sentence);
}

int top_view(struct app *app, struct weir_client *client, int64_t interval_ms)
{
    int code = 0;
    struct view view = {
        .app = app,
        .client = client,
        .sample = top_sample(app, client, NULL, &code),
    };

    if (view.sample == NULL)
        return code;
    setlocale(LC_CTYPE, "");
    // Ctrl-\ would leave the terminal as it is.
    signal(SIGQUIT, SIG_IGN);
    SCREEN *screen = newterm(NULL, app->out, stdin);
    if (screen == NULL) {
        json_decref(view.sample);
        return app_fail(app, EXIT_FAILED, "this terminal is unknown (TERM), use --once");
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    draw(&view);
    while (!wait_for_keys(&view, interval_ms)) {
        look(&view);
        draw(&view);
    }
    endwin();
    delscreen(screen);
    json_decref(view.sample);
    return 0;
}
