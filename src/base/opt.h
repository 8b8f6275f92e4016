/* Options: one table per subcommand gives the parser, --help, the completions and the man page's check.
 *
 * GNU style: --name VALUE, --name=VALUE, -x VALUE, `--` ends options, `-` is an ordinary argument.
 * No abbreviations. Errors name the option, the bad value and what is accepted.
 */
#ifndef RS_OPT_H
#define RS_OPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum rs_opt_kind {
    RS_OPT_FLAG,        /* bool *value; set to true */
    RS_OPT_STRING,      /* const char **value */
    RS_OPT_INT,         /* int *value, within [min, max] */
    RS_OPT_REAL,        /* double *value, finite, within [min, max] */
    RS_OPT_CHOICE,      /* const char **value, one of the words in `choices` separated by '|' */
};

struct rs_opt {
    const char *name;               /* long name without dashes; NULL ends the table */
    char letter;                    /* short form or 0 */
    enum rs_opt_kind kind;
    void *value;
    const char *arg;                /* the argument's name in --help ("SECONDS"); NULL for flags */
    const char *help;               /* one line, no full stop */
    double min, max;                /* RS_OPT_INT, RS_OPT_REAL */
    const char *choices;            /* RS_OPT_CHOICE */
};

struct rs_cmd {
    const char *name;               /* "progressive-record" */
    const char *synopsis;           /* "[OPTION]… FILE|-" */
    const char *summary;            /* one line for the overview */
    const char *details;            /* paragraphs under the synopsis in --help; may be NULL */
    int min_args, max_args;         /* positional arguments; max -1: any number */
    int (*run)(int argc, char **argv);   /* argv[0] is the subcommand's name; returns the exit status */
};

/* What rs_opt_parse says. */
enum { RS_OPT_GO = 0, RS_OPT_DONE = 1 /* --help was printed: exit 0 */ };

/* Parses argv[1…] by `table` (values keep their defaults where no option names them); positional
 * arguments are moved to the front of argv[1…] and counted in *nargs. --help prints the help to stdout
 * and returns RS_OPT_DONE. A negative return is an error with its sentence in `e` (RS_E_USAGE). */
int rs_opt_parse(const struct rs_cmd *cmd, const struct rs_opt *table, int argc, char **argv, int *nargs,
                 struct rs_err *e);

void rs_opt_help(const struct rs_cmd *cmd, const struct rs_opt *table);

/* Prints "rec-stt NAME: sentence" to stderr (with a hint at --help for usage errors) and returns the
 * exit status of the error's code. */
int rs_report(const struct rs_cmd *cmd, const struct rs_err *e);

#endif
