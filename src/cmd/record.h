/* What progressive-record and toggle share. */
#ifndef RS_CMD_RECORD_H
#define RS_CMD_RECORD_H

#include "audio/source.h"
#include "base/opt.h"

/* Parses the options of a recording and records. With `toggles`, a recorder that is running is stopped instead. */
int rs_record_command(const struct rs_cmd *cmd, bool toggles, int argc, char **argv);

/* stop and cancel: one signal to the running recorder. */
int rs_signal_command(const struct rs_cmd *cmd, int sig, int argc, char **argv);

/* "16000,1,s16le" */
int rs_parse_raw(const char *text, struct rs_raw_format *raw, struct rs_err *e);

/* Seconds that a chunk hears again, against its length. */
int rs_check_overlap(double overlap_s, double chunk_s, struct rs_err *e);

#endif
