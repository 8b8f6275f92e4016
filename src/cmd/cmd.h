/* The subcommands: each file in this folder holds one `struct rs_cmd` (options in, calls out). */
#ifndef RS_CMD_H
#define RS_CMD_H

#include "base/opt.h"

#define RS_VERSION "0.1.0"

extern const struct rs_cmd
    rs_cmd_progressive_record, rs_cmd_transcribe, rs_cmd_devices, rs_cmd_stop, rs_cmd_cancel, rs_cmd_toggle,
    rs_cmd_status, rs_cmd_model, rs_cmd_bench, rs_cmd_timing, rs_cmd_doctor;

#endif
