// SPDX-License-Identifier: Apache-2.0
// Recursive descent into an array of nodes; a node knows its children by their place. What a
// regular expression may cost is bounded by PCRE2's limits.
//
// Invariants:
//  1. Nodes never number more than NODES_MAX, parentheses never nest deeper than DEPTH_MAX.
//  2. Children stand before their parent, so the last node is the root and nothing goes in circles.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tools/where.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/value.h"

enum { NODES_MAX = 256, DEPTH_MAX = 32, MATCH_STEPS_MAX = 1000000, LITERAL_MAX = 64 };

enum node_kind { NODE_AND, NODE_OR, NODE_NOT, NODE_COMPARE, NODE_EXISTS };

enum comparator { OP_EQUAL, OP_UNEQUAL, OP_LESS, OP_AT_MOST, OP_GREATER, OP_AT_LEAST, OP_MATCH };

struct node {
    enum node_kind kind;
    enum comparator comparator;
    size_t left;
    size_t right;
    struct field *field;
    struct field_value literal; // text belongs to the node
    pcre2_code *pattern;
};

struct where {
    struct node nodes[NODES_MAX];
    size_t count;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

struct parser {
    struct where *where;
    const char *at;
    int depth;
    char *error;
    size_t error_size;
};

void where_free(struct where *where)
{
    if (where == NULL)
        return;
    for (size_t i = 0; i < where->count; i++) {
        field_free(where->nodes[i].field);
        pcre2_code_free(where->nodes[i].pattern);
        if (where->nodes[i].literal.kind == FIELD_TEXT)
            free((void *)(uintptr_t)where->nodes[i].literal.bytes.data);
    }
    pcre2_match_data_free(where->match);
    pcre2_match_context_free(where->limits);
    free(where);
}

// -------------------------------------------------------------------------------- parsing

static int complain(struct parser *parser, const char *expected)
{
    snprintf(parser->error, parser->error_size, "%s is expected %s%.40s%s", expected,
             *parser->at != '\0' ? "at '" : "at the end", parser->at,
             *parser->at != '\0' ? "'" : "");
    return -EINVAL;
}

static void skip_space(struct parser *parser)
{
    while (isspace((unsigned char)*parser->at))
        parser->at++;
}

static bool take_word(struct parser *parser, const char *word)
{
    size_t length = strlen(word);

    skip_space(parser);
    if (strncmp(parser->at, word, length) != 0 || isalnum((unsigned char)parser->at[length]) ||
        parser->at[length] == '_')
        return false;
    parser->at += length;
    return true;
}

static bool take(struct parser *parser, const char *text)
{
    size_t length = strlen(text);

    skip_space(parser);
    if (strncmp(parser->at, text, length) != 0)
        return false;
    parser->at += length;
    return true;
}

static struct node *add(struct parser *parser, enum node_kind kind)
{
    struct where *where = parser->where;

    if (where->count == NODES_MAX) {
        snprintf(parser->error, parser->error_size, "the expression is too long");
        return NULL;
    }
    where->nodes[where->count] = (struct node){.kind = kind};
    return &where->nodes[where->count++];
}

static int join(struct parser *parser, enum node_kind kind, size_t left)
{
    size_t right = parser->where->count - 1;
    struct node *node = add(parser, kind);

    if (node == NULL)
        return -EINVAL;
    node->left = left;
    node->right = right;
    return 0;
}

// The last node is what a parse_ function has parsed.
static int parse_or(struct parser *parser);

static int parse_text(struct parser *parser, struct node *node)
{
    char quote = *parser->at++;
    size_t size = 0;
    char *text = malloc(strlen(parser->at) + 1);

    if (text == NULL)
        return -ENOMEM;
    node->literal = (struct field_value){.kind = FIELD_TEXT, .bytes = {text, 0}};
    for (; *parser->at != quote; parser->at++) {
        // Only what would end the text needs a backslash; others are left to regular expressions.
        if (*parser->at == '\\' && (parser->at[1] == quote))
            parser->at++;
        if (*parser->at == '\0')
            return complain(parser, "a closing quote");
        text[size++] = *parser->at;
    }
    parser->at++;
    text[size] = '\0';
    node->literal.bytes.size = size;
    return 0;
}

static bool read_number(const char *text, struct field_value *out)
{
    char *end;

    *out = (struct field_value){.kind = FIELD_NUMBER};
    out->whole = value_count(text, INT64_MIN, INT64_MAX, &out->integer) == 0;
    errno = 0;
    out->real = strtod(text, &end);
    bool plain = *text == '-' || *text == '+' || *text == '.' || isdigit((unsigned char)*text);
    return plain && end != text && *end == '\0' && isfinite(out->real) &&
           strpbrk(text, "xX") == NULL;
}

static int parse_literal(struct parser *parser, struct node *node)
{
    char text[LITERAL_MAX];

    skip_space(parser);
    if (*parser->at == '"' || *parser->at == '\'')
        return parse_text(parser, node);
    size_t length = strcspn(parser->at, " \t\n()");
    if (length == 0 || length >= sizeof(text))
        return complain(parser, "a \"text\", a number, true, false, null or @TIME");
    memcpy(text, parser->at, length);
    text[length] = '\0';

    bool known = true;
    if (strcmp(text, "null") == 0)
        node->literal.kind = FIELD_ABSENT;
    else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        node->literal = (struct field_value){.kind = FIELD_BOOL, .boolean = *text == 't'};
    else if (*text == '@')
        known = value_time(text + 1, clock_wall_ms(), &node->literal.integer) == 0;
    else
        known = read_number(text, &node->literal);
    if (*text == '@' && known) {
        node->literal.kind = FIELD_NUMBER;
        node->literal.whole = true;
        node->literal.real = (double)node->literal.integer;
    }
    if (!known)
        return complain(parser, "a \"text\", a number, true, false, null or @TIME");
    parser->at += length;
    return 0;
}

static int compile_pattern(struct parser *parser, struct node *node)
{
    int code;
    PCRE2_SIZE offset;
    PCRE2_UCHAR message[128];

    if (node->literal.kind != FIELD_TEXT)
        return complain(parser, "behind ~ a \"regular expression\"");
    node->pattern = pcre2_compile(node->literal.bytes.data, node->literal.bytes.size,
                                  PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                                  &code, &offset, NULL);
    if (node->pattern != NULL) {
        // Without a compiler for this machine the interpreter does it.
        pcre2_jit_compile(node->pattern, PCRE2_JIT_COMPLETE);
        return 0;
    }
    pcre2_get_error_message(code, message, sizeof(message));
    snprintf(parser->error, parser->error_size, "'%s' is no regular expression: %s",
             (const char *)node->literal.bytes.data, (const char *)message);
    return -EINVAL;
}

static bool take_operator(struct parser *parser, enum comparator *out, bool *negated)
{
    static const struct {
        const char *text;
        enum comparator comparator;
        bool negated;
    } operators[] = {
        {"==", OP_EQUAL, false},   {"!=", OP_UNEQUAL, false},  {"!~", OP_MATCH, true},
        {"<=", OP_AT_MOST, false}, {">=", OP_AT_LEAST, false}, {"<", OP_LESS, false},
        {">", OP_GREATER, false},  {"~", OP_MATCH, false},     {"=", OP_EQUAL, false},
    };

    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (take(parser, operators[i].text)) {
            *out = operators[i].comparator;
            *negated = operators[i].negated;
            return true;
        }
    }
    return false;
}

static int parse_comparison(struct parser *parser)
{
    bool negated = false;

    skip_space(parser);
    struct node *node = add(parser, NODE_EXISTS);
    if (node == NULL)
        return -EINVAL;
    int rc = field_parse(&parser->at, &node->field, parser->error, parser->error_size);
    if (rc != 0 || !take_operator(parser, &node->comparator, &negated))
        return rc;
    node->kind = NODE_COMPARE;
    rc = parse_literal(parser, node);
    if (rc == 0 && node->comparator == OP_MATCH)
        rc = compile_pattern(parser, node);
    return rc == 0 && negated ? join(parser, NODE_NOT, parser->where->count - 1) : rc;
}

static int parse_not(struct parser *parser)
{
    if (parser->depth == DEPTH_MAX)
        return complain(parser, "something simpler");
    parser->depth++;
    int rc;
    if (take_word(parser, "not")) {
        rc = parse_not(parser);
        if (rc == 0)
            rc = join(parser, NODE_NOT, parser->where->count - 1);
    } else if (take(parser, "(")) {
        rc = parse_or(parser);
        if (rc == 0 && !take(parser, ")"))
            rc = complain(parser, "')', 'and' or 'or'");
    } else {
        rc = parse_comparison(parser);
    }
    parser->depth--;
    return rc;
}

static int parse_and(struct parser *parser)
{
    int rc = parse_not(parser);

    while (rc == 0 && take_word(parser, "and")) {
        size_t left = parser->where->count - 1;
        rc = parse_not(parser);
        if (rc == 0)
            rc = join(parser, NODE_AND, left);
    }
    return rc;
}

static int parse_or(struct parser *parser)
{
    int rc = parse_and(parser);

    while (rc == 0 && take_word(parser, "or")) {
        size_t left = parser->where->count - 1;
        rc = parse_and(parser);
        if (rc == 0)
            rc = join(parser, NODE_OR, left);
    }
    return rc;
}

int where_parse(const char *text, struct where **out, char *error, size_t error_size)
{
    struct where *where = calloc(1, sizeof(*where));
    struct parser parser = {.where = where, .at = text, .error = error, .error_size = error_size};
    int rc = -ENOMEM;

    snprintf(error, error_size, "out of memory");
    if (where != NULL) {
        where->match = pcre2_match_data_create(1, NULL);
        where->limits = pcre2_match_context_create(NULL);
    }
    if (where != NULL && where->match != NULL && where->limits != NULL) {
        pcre2_set_match_limit(where->limits, MATCH_STEPS_MAX);
        rc = parse_or(&parser);
    }
    skip_space(&parser);
    if (rc == 0 && *parser.at != '\0')
        rc = complain(&parser, "an operator, 'and' or 'or'");
    if (rc != 0) {
        where_free(where);
        return rc;
    }
    *out = where;
    return 0;
}

// -------------------------------------------------------------------------------- evaluating

// Text that is to be compared with a number: whole, and with nothing around it.
static bool as_number(struct field_value *value)
{
    char text[LITERAL_MAX];

    if (value->kind == FIELD_NUMBER)
        return true;
    if (value->kind != FIELD_BYTES || value->bytes.size == 0 || value->bytes.size >= sizeof(text))
        return false;
    memcpy(text, value->bytes.data, value->bytes.size);
    text[value->bytes.size] = '\0';
    return strlen(text) == value->bytes.size && read_number(text, value);
}

static bool is_text(const struct field_value *value)
{
    return value->kind == FIELD_BYTES || value->kind == FIELD_TEXT;
}

static int order_numbers(const struct field_value *a, const struct field_value *b)
{
    if (a->whole && b->whole)
        return (a->integer > b->integer) - (a->integer < b->integer);
    return (a->real > b->real) - (a->real < b->real);
}

static int order_text(struct weir_bytes a, struct weir_bytes b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter > 0 ? memcmp(a.data, b.data, shorter) : 0;

    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

// Whether the two can be put in order, and which.
static bool compare(struct field_value value, const struct field_value *literal, int *order)
{
    if (literal->kind == FIELD_NUMBER && as_number(&value)) {
        *order = order_numbers(&value, literal);
        return true;
    }
    if (literal->kind == FIELD_TEXT && is_text(&value)) {
        *order = order_text(value.bytes, literal->bytes);
        return true;
    }
    bool same = literal->kind == FIELD_BOOL && value.kind == FIELD_BOOL
                    ? value.boolean == literal->boolean
                    : literal->kind == FIELD_ABSENT && value.kind == FIELD_ABSENT;
    *order = 0;
    return same;
}

static int match(const struct where *where, const struct node *node,
                 const struct field_value *value)
{
    static const char empty[1];

    if (!is_text(value))
        return 0;
    const void *data = value->bytes.data != NULL ? value->bytes.data : empty;
    int rc = pcre2_match(node->pattern, data, value->bytes.size, 0, 0, where->match, where->limits);
    if (rc >= 0)
        return 1;
    return rc == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}

static int compare_node(const struct where *where, const struct node *node,
                        const struct field_value *value)
{
    int order = 0;

    if (node->comparator == OP_MATCH)
        return match(where, node, value);
    bool comparable = compare(*value, &node->literal, &order);
    switch (node->comparator) {
    case OP_EQUAL:
        return comparable && order == 0;
    case OP_UNEQUAL:
        return !comparable || order != 0;
    case OP_LESS:
        return comparable && order < 0;
    case OP_AT_MOST:
        return comparable && order <= 0;
    case OP_GREATER:
        return comparable && order > 0;
    default:
        return comparable && order >= 0;
    }
}

static int evaluate(const struct where *where, size_t index, struct record_view *view)
{
    const struct node *node = &where->nodes[index];
    struct field_value value;
    int left;

    switch (node->kind) {
    case NODE_AND:
        left = evaluate(where, node->left, view);
        return left == 1 ? evaluate(where, node->right, view) : left;
    case NODE_OR:
        left = evaluate(where, node->left, view);
        return left == 0 ? evaluate(where, node->right, view) : left;
    case NODE_NOT:
        left = evaluate(where, node->left, view);
        return left < 0 ? left : !left;
    default:
        field_read(node->field, view, &value);
        if (node->kind == NODE_COMPARE)
            return compare_node(where, node, &value);
        return value.kind != FIELD_ABSENT && !(value.kind == FIELD_BOOL && !value.boolean);
    }
}

int where_keeps(const struct where *where, const struct weir_record *record)
{
    struct record_view view;

    record_view_start(&view, record);
    int kept = evaluate(where, where->count - 1, &view);
    record_view_end(&view);
    return kept;
}
