/* rec-stt timing: draws where the time of recordings went. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "session/timing.h"

static int write_svg(const char *path, const struct rs_timing_runs *runs, struct rs_err *e)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return rs_fail(e, RS_E_IO, "The file %.300s cannot be written: %s.", path, strerror(errno));
    rs_timing_svg(runs, f);
    const int failed = ferror(f);
    if (fclose(f) || failed)
        return rs_fail(e, RS_E_IO, "Writing %.300s failed; is the disk full?", path);
    return 0;
}

static int columns(void)
{
    struct winsize w;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 100;
}

static int run(int argc, char **argv)
{
    const char *output = NULL;
    bool table = false;
    const struct rs_opt options[] = {
        {.name = "output", .letter = 'o', .kind = RS_OPT_STRING, .value = &output, .arg = "FILE", .help = "also draw the waterfalls as SVG into FILE"},
        {.name = "compare", .kind = RS_OPT_FLAG, .value = &table, .help = "only the table that compares backends"},
        {0},
    };
    struct rs_timing_runs runs = {0};
    struct rs_err e = {0};
    int nargs;
    int rc = rs_opt_parse(&rs_cmd_timing, options, argc, argv, &nargs, &e);
    if (rc == RS_OPT_DONE)
        return 0;
    for (int i = 1; !rc && i <= nargs; i++)
        rc = rs_timing_read(&runs, argv[i], &e);
    if (!rc) {
        for (size_t i = 0; !table && i < runs.count; i++)
            rs_timing_draw(&runs.run[i], columns(), stdout);
        if (table || runs.count > 1)
            rs_timing_compare(&runs, stdout);
        if (output)
            rc = write_svg(output, &runs, &e);
    }
    if (!rc && (fflush(stdout) || ferror(stdout)))
        rc = rs_fail(&e, RS_E_STDOUT, "Writing the table failed.");
    rs_timing_runs_free(&runs);
    return rc ? rs_report(&rs_cmd_timing, &e) : 0;
}

const struct rs_cmd rs_cmd_timing = {
    .name = "timing",
    .synopsis = "[OPTION]... FILE|-...",
    .summary = "draw where the time of recordings went, and compare backends",
    .details = "Each FILE holds the lines of 'progressive-record --timing', of one recording or of many.\n",
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
