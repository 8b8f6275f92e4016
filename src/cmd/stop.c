/* rec-stt stop: asks the running recorder to finish. */
#include <signal.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/record.h"
#include "session/control.h"

int rs_signal_command(const struct rs_cmd *cmd, int sig, int argc, char **argv)
{
    double wait_s = 0;
    const struct rs_opt options[] = {
        {.name = "wait", .letter = 'w', .kind = RS_OPT_REAL, .value = &wait_s, .arg = "SECONDS", .help = "wait for its end, at most so long", .min = 0, .max = 86400},
        {0},
    };
    struct rs_err e = {0};
    pid_t pid;
    int nargs;
    int rc = rs_opt_parse(cmd, options, argc, argv, &nargs, &e);
    if (rc == RS_OPT_DONE)
        return 0;
    rc = rc ? rc : rs_control_signal(sig, wait_s, &pid, &e);
    return rc ? rs_report(cmd, &e) : 0;
}

static int run(int argc, char **argv) { return rs_signal_command(&rs_cmd_stop, SIGTERM, argc, argv); }

const struct rs_cmd rs_cmd_stop = {
    .name = "stop",
    .synopsis = "[OPTION]...",
    .summary = "finish the running recorder: it prints the rest and ends",
    .run = run,
};
