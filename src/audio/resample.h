/* Interleaved frames of any rate and channel count in, 16 kHz mono out; and what can be said about the
 * sound on the way: its first sample that is not zero, runs of exact zeros, NaN and infinite samples.
 *
 * Results depend on the samples alone, never on how they were cut into calls.
 */
#ifndef RS_RESAMPLE_H
#define RS_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RS_MIX_MAX_FRAMES 4096     /* the most that one call takes */

struct rs_mix;

/* name: what is heard, for the error sentence. Rates from 1 kHz to 768 kHz, 1 to 1024 channels. */
int rs_mix_new(struct rs_mix **out, int rate, int channels, const char *name, struct rs_err *e);
void rs_mix_free(struct rs_mix *m);

/* Puts n frames in (n <= RS_MIX_MAX_FRAMES). NaN and infinite samples count as 0. */
int rs_mix_push(struct rs_mix *m, const float *frames, size_t n, struct rs_err *e);
int rs_mix_silence(struct rs_mix *m, size_t n, struct rs_err *e);     /* the same with n frames of zeros */
int rs_mix_flush(struct rs_mix *m, struct rs_err *e);                 /* after the last frame, once */

/* Takes at most `max` finished samples. */
size_t rs_mix_pull(struct rs_mix *m, float *out, size_t max);
size_t rs_mix_ready(const struct rs_mix *m);

struct rs_mix_facts {
    int64_t frames;            /* put in so far, with silence */
    int64_t first_sound;       /* the first frame that is not zero, -1: none yet */
    int64_t zero_run;          /* frames of exact zeros at the end so far */
    int64_t zeros;             /* frames in runs of 5 ms of exact zeros or more; inserted silence is not counted */
    int64_t bad_samples;       /* NaN or infinite */
};
const struct rs_mix_facts *rs_mix_facts(const struct rs_mix *m);

#endif
