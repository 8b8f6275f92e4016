/* rec-stt cancel: ends the running recorder without text. */
#include <signal.h>

#include "cmd/cmd.h"
#include "cmd/record.h"

static int run(int argc, char **argv) { return rs_signal_command(&rs_cmd_cancel, SIGUSR2, argc, argv); }

const struct rs_cmd rs_cmd_cancel = {
    .name = "cancel",
    .synopsis = "[OPTION]...",
    .summary = "end the running recorder without text",
    .run = run,
};
