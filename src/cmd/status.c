/* rec-stt status: whether a recorder is running. */
#include <stdio.h>

#include "base/clock.h"
#include "cmd/cmd.h"
#include "session/control.h"

static int run(int argc, char **argv)
{
    bool json = false;
    const struct rs_opt options[] = {
        {.name = "json", .kind = RS_OPT_FLAG, .value = &json, .help = "one JSON object: recording, pid, seconds"},
        {0},
    };
    struct rs_err e = {0};
    pid_t pid;
    int64_t begun;
    int nargs;
    int rc = rs_opt_parse(&rs_cmd_status, options, argc, argv, &nargs, &e);
    if (rc)
        return rc == RS_OPT_DONE ? 0 : rs_report(&rs_cmd_status, &e);
    rc = rs_control_find(&pid, &begun, &e);
    if (rc && rc != -RS_E_NOT_RUNNING)
        return rs_report(&rs_cmd_status, &e);
    const double seconds = !rc && begun ? rs_ms(rs_now_ns() - begun) / 1000 : 0;
    if (rc)
        puts(json ? "{\"recording\":false}" : "idle");
    else if (json)
        printf("{\"recording\":true,\"pid\":%ld,\"seconds\":%.1f}\n", (long)pid, seconds);
    else
        printf("recording for %.0f s, process %ld\n", seconds, (long)pid);
    if (fflush(stdout) || ferror(stdout))
        return 1;
    return rc ? 1 : 0;
}

const struct rs_cmd rs_cmd_status = {
    .name = "status",
    .synopsis = "[OPTION]...",
    .summary = "say whether a recorder is running (exit status 0) or not (1)",
    .run = run,
};
