#include <stdio.h>

#include "cmd/cmd.h"

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct rs_err e = {0};
    rs_fail(&e, RS_E_INTERNAL, "This part of the program is not there yet.");
    return rs_report(&rs_cmd_model, &e);
}

const struct rs_cmd rs_cmd_model = {.name = "model", .synopsis = "[OPTION]...", .summary = "model", .max_args = -1, .run = run};
