/* One recorder for each person, and how a second process finds it.
 *
 * The recorder holds a record lock on a file in the runtime folder. The kernel itself names the holder of
 * such a lock, so that a stale file or a process id that was given to somebody else can never get a signal.
 */
#ifndef RS_CONTROL_H
#define RS_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* The value that goes with a signal of ours (siginfo's si_int): "asked by rec-stt stop", not by a key. */
#define RS_CONTROL_COMMAND 0x5254

struct rs_control { int fd; };            /* fd -1: nothing is held */

/* RS_E_ALREADY_RUNNING when another process holds it. */
int rs_control_claim(struct rs_control *c, struct rs_err *e);
void rs_control_release(struct rs_control *c);

/* The running recorder and when it began (CLOCK_MONOTONIC, 0 if unknown); RS_E_NOT_RUNNING when there is none. */
int rs_control_find(pid_t *pid, int64_t *begun_ns, struct rs_err *e);

/* Sends it a signal; with wait_s > 0 waits for its end so long (RS_E_IO when it goes on). */
int rs_control_signal(int sig, double wait_s, pid_t *pid, struct rs_err *e);

#endif
