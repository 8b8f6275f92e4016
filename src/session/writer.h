/* The road to stdout: a thread that writes lines out of a bounded queue, so that a reader which is slow,
 * asleep or gone never holds up recording or transcription for longer than the queue says.
 */
#ifndef RS_WRITER_H
#define RS_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rs_writer;

enum rs_writer_state { RS_WRITER_OPEN, RS_WRITER_CLOSED /* nobody reads any more */, RS_WRITER_BROKEN /* full disk … */ };

enum rs_push {
    RS_PUSH_WAIT,             /* wait while the queue is full: for the engine's thread */
    RS_PUSH_ALWAYS,           /* never wait, go over the limit: few and small lines of the main loop */
    RS_PUSH_DROP,             /* leave it out when the queue is half full: levels */
};

/* Called in the writer's thread when a line pushed with chunk >= 0 was taken by the system. */
typedef void rs_written(void *arg, int chunk, int64_t queued_ns, int64_t written_ns);

/* fd is written to but never closed. */
int rs_writer_open(struct rs_writer **out, int fd, size_t limit, rs_written *written, void *arg, struct rs_err *e);

/* Readable when the state is no longer open. */
int rs_writer_fd(const struct rs_writer *w);
enum rs_writer_state rs_writer_state(struct rs_writer *w, int *error);

/* Takes `line` (malloc'ed; NULL counts as memory that ended). False when it was not queued. */
bool rs_writer_push(struct rs_writer *w, char *line, size_t len, enum rs_push how, int chunk);

/* Lets a thread that waits in push go on; what it pushed is left out. */
void rs_writer_release(struct rs_writer *w);

/* Waits until everything is written, at most timeout_ms (-1: as long as it takes, but `stop_fd`, when it becomes
 * readable, ends the wait a tenth of a second later). True when nothing is left. */
bool rs_writer_flush(struct rs_writer *w, int timeout_ms, int stop_fd);

/* Ends the thread and frees; only when nothing is left or the state is not open. */
void rs_writer_close(struct rs_writer *w);

#endif
