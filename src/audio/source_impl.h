/* What the kinds of source share: the table of functions and the queue of notes. Only the reader's
 * thread touches any of this. */
#ifndef RS_SOURCE_IMPL_H
#define RS_SOURCE_IMPL_H

#include "audio/resample.h"
#include "audio/source.h"

enum { RS_NOTES = 64 };

struct rs_source_ops {
    int (*read)(struct rs_source *s, float *out, size_t max, size_t *got, struct rs_err *e);
    void (*relax)(struct rs_source *s, bool relaxed);        /* NULL: in no hurry anyway */
    void (*stop)(struct rs_source *s, int tail_ms);
    void (*account)(const struct rs_source *s, struct rs_loss *loss);
    void (*close)(struct rs_source *s);
};

struct rs_source {
    const struct rs_source_ops *ops;
    struct rs_source_info info;
    int fd;
    struct rs_mix *mix;
    struct rs_note notes[RS_NOTES];
    unsigned note_first, note_count;
    bool sound_seen, silence_told;
    int64_t bad_told;
};

static inline double rs_source_ms(const struct rs_source *s, int64_t frames)
{
    return 1e3 * (double)frames / s->info.rate;
}

/* Appends a note. When the queue is full, its last note takes over the milliseconds of one of its kind. */
void rs_source_tell(struct rs_source *s, enum rs_note_kind kind, int64_t frame, double ms, int64_t at_ns,
                    const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* Looks at the mixer's facts and tells what is new: first sound (read at at_ns), silence, bad samples. */
void rs_source_observe(struct rs_source *s, int64_t at_ns);

#endif
