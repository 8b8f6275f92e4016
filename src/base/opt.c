#include "base/opt.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct rs_opt *find_long(const struct rs_opt *t, const char *name, size_t len)
{
    for (; t->name; t++)
        if (strlen(t->name) == len && memcmp(t->name, name, len) == 0)
            return t;
    return NULL;
}

static const struct rs_opt *find_letter(const struct rs_opt *t, char c)
{
    for (; t->name; t++)
        if (t->letter && t->letter == c)
            return t;
    return NULL;
}

static bool is_choice(const char *choices, const char *word)
{
    const size_t len = strlen(word);
    while (*choices) {
        const size_t n = strcspn(choices, "|");
        if (n == len && memcmp(choices, word, n) == 0)
            return true;
        choices += n + (choices[n] == '|');
    }
    return false;
}

static int set_number(const struct rs_opt *o, const char *s, struct rs_err *e)
{
    char *end;
    errno = 0;
    const double v = strtod(s, &end);
    const bool whole = o->kind != RS_OPT_INT || (isfinite(v) && v == floor(v));
    if (end == s || *end || errno == ERANGE || !isfinite(v) || !whole || v < o->min || v > o->max)
        return rs_fail(e, RS_E_USAGE, "--%s takes a %s from %g to %g, not '%.80s'.", o->name,
                       o->kind == RS_OPT_INT ? "whole number" : "number", o->min, o->max, s);
    if (o->kind == RS_OPT_INT)
        *(int *)o->value = (int)v;
    else
        *(double *)o->value = v;
    return 0;
}

static int set_value(const struct rs_opt *o, const char *s, struct rs_err *e)
{
    switch (o->kind) {
    case RS_OPT_FLAG:
        *(bool *)o->value = true;
        return 0;
    case RS_OPT_STRING:
        if (!*s)
            return rs_fail(e, RS_E_USAGE, "--%s needs a value that is not empty.", o->name);
        *(const char **)o->value = s;
        return 0;
    case RS_OPT_INT:
    case RS_OPT_REAL:
        return set_number(o, s, e);
    case RS_OPT_CHOICE:
        if (!is_choice(o->choices, s))
            return rs_fail(e, RS_E_USAGE, "--%s takes one of %s, not '%.80s'.", o->name, o->choices, s);
        *(const char **)o->value = s;
        return 0;
    }
    return rs_fail(e, RS_E_INTERNAL, "Option --%s has no kind.", o->name);
}

/* One argument that begins with a dash; *i is moved past a separate value. */
static int parse_one(const struct rs_opt *table, int argc, char **argv, int *i, struct rs_err *e)
{
    const char *a = argv[*i], *value = NULL;
    const struct rs_opt *o;
    if (a[1] == '-') {
        const size_t len = strcspn(a + 2, "=");
        o = find_long(table, a + 2, len);
        if (o && a[2 + len] == '=')
            value = a + 2 + len + 1;
    } else {
        o = find_letter(table, a[1]);
        if (o && a[2] && o->kind != RS_OPT_FLAG)
            value = a + 2;
        else if (a[2])
            o = NULL;
    }
    if (!o)
        return rs_fail(e, RS_E_USAGE, "There is no option '%.80s'.", a);
    if (o->kind == RS_OPT_FLAG && value)
        return rs_fail(e, RS_E_USAGE, "--%s takes no value.", o->name);
    if (o->kind != RS_OPT_FLAG && !value) {
        if (*i + 1 >= argc)
            return rs_fail(e, RS_E_USAGE, "--%s needs a value (%s).", o->name, o->arg ? o->arg : "VALUE");
        value = argv[++*i];
    }
    return set_value(o, value, e);
}

int rs_opt_parse(const struct rs_cmd *cmd, const struct rs_opt *table, int argc, char **argv, int *nargs,
                 struct rs_err *e)
{
    int n = 0;
    bool options = true;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (!options || a[0] != '-' || !a[1]) {
            argv[1 + n++] = a;
        } else if (strcmp(a, "--") == 0) {
            options = false;
        } else if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            rs_opt_help(cmd, table);
            return RS_OPT_DONE;
        } else {
            const int r = parse_one(table, argc, argv, &i, e);
            if (r < 0)
                return r;
        }
    }
    *nargs = n;
    if (n < cmd->min_args)
        return rs_fail(e, RS_E_USAGE, "An argument is missing: rec-stt %s %s", cmd->name, cmd->synopsis);
    if (cmd->max_args >= 0 && n > cmd->max_args)
        return rs_fail(e, RS_E_USAGE, "'%.80s' is one argument too many.", argv[1 + cmd->max_args]);
    return RS_OPT_GO;
}

void rs_opt_help(const struct rs_cmd *cmd, const struct rs_opt *table)
{
    printf("Usage: rec-stt %s %s\n\n%s.\n", cmd->name, cmd->synopsis, cmd->summary);
    if (cmd->details)
        printf("\n%s\n", cmd->details);
    printf("\nOptions:\n");
    for (const struct rs_opt *o = table; o->name; o++) {
        char left[80];
        char letter[8] = "    ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        const char *arg = o->kind == RS_OPT_CHOICE ? o->choices : o->arg;
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, arg ? " " : "", arg ? arg : "");
        printf("  %-30s%s%s\n", left, strlen(left) > 29 ? "\n                                " : "", o->help);
    }
    printf("  %-30s%s\n", "-h, --help", "show this help");
}

int rs_report(const struct rs_cmd *cmd, const struct rs_err *e)
{
    fprintf(stderr, "rec-stt %s: %s\n", cmd->name, e->msg);
    if (e->code == RS_E_USAGE)
        fprintf(stderr, "Try 'rec-stt %s --help'.\n", cmd->name);
    return rs_exit_status(e->code);
}
