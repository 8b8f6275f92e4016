/* The FastConformer's convolutional subsampling ("dw_striding"): log-mel frames to one row for every
 * 2^(stages+1) of them.
 *
 * One full 3×3 convolution with stride 2, then stages of a depthwise 3×3 with stride 2 and a pointwise
 * one, then a linear over all channels and bands. Images are kept [time][band][channel], so that the
 * inner loops run over channels. Blocks of output rows are computed one after the other, each from the
 * rows of the stage before that it needs, so that memory does not grow with the sound's length.
 */
#ifndef RS_SUBSAMPLE_H
#define RS_SUBSAMPLE_H

#include "asr/weights.h"
#include "tensor/pool.h"

#define RS_SUBSAMPLE_STAGES 4

struct rs_subsample {
    int mels, channels, stages, bands, width;
    const float *first;                         /* [10][channels]: 3×3 taps, then the bias */
    struct {
        const float *taps, *bias;               /* depthwise [9][channels], [channels] */
        struct rs_linear point;                 /* [channels][channels] */
    } stage[RS_SUBSAMPLE_STAGES];
    struct rs_linear out;                       /* [width][channels·bands] */
};

/* Takes its geometry from the tensors; failures stay in w->rc. */
void rs_subsample_load(struct rs_subsample *s, struct rs_weights *w);
void rs_subsample_free(struct rs_subsample *s);

int rs_subsample_rows(const struct rs_subsample *s, int frames);

/* mel[frames][mels] → x[rows][width]. `arena` keeps nothing that is needed afterwards; `step` is reset on
 * the way. false: out of memory. */
bool rs_subsample_run(const struct rs_subsample *s, struct rs_pool *pool, struct rs_arena *arena, struct rs_arena *step,
                      const float *mel, int frames, float *x);

#endif
