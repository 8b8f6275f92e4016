/* Where the time of a recording went: measured while it runs, told in one event, drawn from files of events. */
#ifndef RS_TIMING_H
#define RS_TIMING_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "session/events.h"

/* A stage of the waterfall. Names and backends are literals or outlive the timing. */
struct rs_span { const char *stage, *backend; int chunk; int64_t start_ns, end_ns; };

struct rs_timing {
    pthread_mutex_t lock;     /* the engine's, the writer's and the main thread add */
    struct rs_span *spans;
    size_t count, cap;
    int64_t origin_ns;
    bool wanted;
};

/* Unless it is wanted nothing is kept: a recording may take hours. */
void rs_timing_init(struct rs_timing *t, int64_t origin_ns, bool wanted);
void rs_timing_free(struct rs_timing *t);

/* chunk -1: none. A span that memory has no room for is left out. */
void rs_timing_add(struct rs_timing *t, const char *stage, const char *backend, int chunk, int64_t start_ns, int64_t end_ns);

/* The `timing` event: entries by their start. */
struct rs_event rs_timing_event(struct rs_timing *t, const char *model, const char *backend);

/* What `rec-stt timing` draws: recordings read from files of events. */
struct rs_timing_entry { char stage[32], backend[32]; int chunk; double start_ms, ms; };
struct rs_timing_run {
    char name[160], model[96], backend[32];
    struct rs_timing_entry *entries;
    size_t count, cap;
    double audio_ms;          /* of sound, from `done`; 0 if it is not there */
};
struct rs_timing_runs { struct rs_timing_run *run; size_t count, cap; };

/* Appends every recording of a file ("-": standard input); lines that are not timing or done are passed over. */
int rs_timing_read(struct rs_timing_runs *runs, const char *path, struct rs_err *e);
void rs_timing_runs_free(struct rs_timing_runs *runs);
void rs_timing_draw(const struct rs_timing_run *run, int columns, FILE *to);
void rs_timing_compare(const struct rs_timing_runs *runs, FILE *to);
void rs_timing_svg(const struct rs_timing_runs *runs, FILE *to);

#endif
