/* What the files of the recorder share: recorder.c (the main loop), recorder_worker.c (the engine's thread),
 * recorder_lines.c (every event that is printed). */
#ifndef RS_RECORDER_IMPL_H
#define RS_RECORDER_IMPL_H

#include <pthread.h>
#include <stdint.h>

#include "session/events.h"
#include "session/progress.h"
#include "session/recorder.h"
#include "session/sandbox.h"
#include "session/timing.h"
#include "session/writer.h"

struct rs_recorder {
    const struct rs_record_options *o;
    struct rs_source *source;
    struct rs_vad *vad;
    struct rs_progress *progress;
    struct rs_writer *writer;
    struct rs_timing timing;
    struct rs_sandbox sandbox;
    const char *backend;                          /* its name, known before the model is open */

    /* the worker; everything in this paragraph is under `lock`, except asr, which is the worker's own */
    pthread_t worker;
    bool worker_started, worker_done, quit;
    int worker_fd;                                /* an eventfd: a chunk was given, or the worker ended */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct rs_asr *asr;
    struct rs_err failure;                        /* why the worker gave up */
    char model[128], language[128];               /* empty until the file was looked at */
    bool model_open;
    int status;
    bool language_told;                           /* the worker's own */

    /* what was given out, its text joined with single spaces; under `giving`, which is held while a chunk is
     * queued, so that `done` and the chunks before it always agree */
    pthread_mutex_t giving;
    char *text;
    size_t text_len, text_cap;
    int chunks, gaps;

    /* the main loop's own */
    const char *reason;
    int signal_fd, null_fd;
    bool signalled;                               /* asked to end by a signal that was no command */
    pid_t parent;                                 /* when the process began */
    bool ready, stopping, source_ended, blocked, over, abandoned;
    bool tail;                                    /* the tail after the stop is being recorded */
    bool watch_stdin, watch_stdout;
    char control_line[64];
    size_t control_len;
    float *pending;                               /* read from the source, not yet taken by the session */
    size_t pending_n;
    uint64_t fed;                                 /* samples given to the session */
    struct rs_loss loss;                          /* the source's, once it is closed */
    int64_t opened_ns, first_sound_ns, stop_ns, deadline_ns;
    double level_sum, level_peak;
    size_t level_n;
};

/* recorder_lines.c. Any thread; `how` says whether to wait when the reader is slow. */
bool rs_line_event(struct rs_recorder *r, struct rs_event *ev, enum rs_push how, int chunk);
void rs_line_ready(struct rs_recorder *r);
void rs_line_chunk(struct rs_recorder *r, const struct rs_chunk *c);
void rs_line_partial(struct rs_recorder *r, const struct rs_chunk *c);
void rs_line_level(struct rs_recorder *r, double at);
void rs_line_warning(struct rs_recorder *r, const char *code, const char *message, const struct rs_note *note);
void rs_line_error(struct rs_recorder *r, const struct rs_err *e);       /* and remembers the exit status */
void rs_line_timing(struct rs_recorder *r);
void rs_line_done(struct rs_recorder *r);

/* recorder_worker.c */
int rs_worker_start(struct rs_recorder *r, struct rs_err *e);
void rs_worker_wake(struct rs_recorder *r);

#endif
