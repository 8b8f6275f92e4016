/* A recording from its start to its last line.
 *
 * Four threads: the source's own copies sound off the device; the main loop (recorder.c) feeds it to the
 * session and answers signals, standard input and timers with one poll; the worker (recorder_worker.c)
 * opens the model while recording goes on, then turns due chunks into lines; the writer brings lines to
 * stdout. Between each two stands a bounded queue, and when the last of them is full the recording ends
 * with reason "backpressure" rather than lose anything.
 */
#ifndef RS_RECORDER_H
#define RS_RECORDER_H

#include <stdbool.h>

#include "audio/source.h"
#include "base/err.h"

struct rs_record_options {
    const char *device, *input;                   /* input: a file or "-" in place of the microphone */
    struct rs_raw_format raw;                     /* encoding NULL: the input has a header */
    bool realtime;
    const char *model, *backend, *decoder, *language, *vad;
    int threads;
    double chunk_s, overlap_s, backlog_s;
    bool text;                                    /* words as they come instead of events */
    bool words, partials, timing;
    double levels_hz;                             /* 0: none */
    double max_s, silence_s, no_speech_s;         /* 0: never */
    int tail_ms;
    int queue_kib;
    bool stdin_control, die_with_parent, no_sandbox;
    const char *version;
    void (*say)(const char *sentence);            /* words for people */
    void (*leave)(void *arg);     /* called once everything is said: another recorder may begin; or NULL */
    void *leave_arg;
};

struct rs_record_result {
    int status;               /* the process's exit status */
    bool abandoned;           /* threads are still at work: the process must end with _exit */
};

/* Records and prints events to descriptor 1 until something ends it. */
void rs_record(const struct rs_record_options *o, struct rs_record_result *result);

/* For a recording that cannot begin: prints its `error` and `done`. Returns the exit status. */
int rs_record_refuse(const struct rs_record_options *o, const struct rs_err *e);

/* Opens /dev/null on whichever of the descriptors 0, 1 and 2 is closed, so that no device or file gets their
 * numbers; returns a bit for each that was (1 << fd). To be called before anything else is opened. */
unsigned rs_open_standard_fds(void);

#endif
