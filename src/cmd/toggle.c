/* rec-stt toggle: one hotkey starts and stops. */
#include "cmd/cmd.h"
#include "cmd/record.h"

static int run(int argc, char **argv) { return rs_record_command(&rs_cmd_toggle, true, argc, argv); }

const struct rs_cmd rs_cmd_toggle = {
    .name = "toggle",
    .synopsis = "[OPTION]...",
    .summary = "stop the running recorder, or become one",
    .details = "When it becomes the recorder, its output and options are those of progressive-record; when it stops one, it\n"
               "prints nothing: the text comes from the recorder that was started first.\n",
    .run = run,
};
