/* The FastConformer encoder: log-mel frames in, one vector of `width` for every 80 ms out.
 *
 * Convolutional subsampling, then Conformer blocks with Transformer-XL's relative attention. Every
 * geometry that is not cache-aware streaming is one code path: biases or none, full or local attention,
 * any width, heads, layers, kernel and number of bands; shapes come from the tensors and are checked.
 */
#ifndef RS_FASTCONFORMER_H
#define RS_FASTCONFORMER_H

#include "base/err.h"
#include "model/model.h"
#include "tensor/linear.h"
#include "tensor/pool.h"

struct rs_fc_config {
    int mels, channels, bands;      /* bands: mels after subsampling */
    int stages, factor;             /* depthwise-separable stages after the first convolution; 2^(stages+1) */
    int width, heads, head_dim, layers, kernel, ff;
    int left, right;                /* attention reaches so many frames back and ahead; -1: all */
    float input_scale;              /* sqrt(width) under xscaling, else 1 */
};

struct rs_fc;

/* model, pack and pool must outlive it. */
int rs_fc_open(struct rs_fc **out, const struct rs_model *m, const struct rs_backend *b, struct rs_pack *pack,
               struct rs_pool *pool, struct rs_err *e);
void rs_fc_close(struct rs_fc *f);
const struct rs_fc_config *rs_fc_shape(const struct rs_fc *f);

/* Encoder frames that so many mel frames give. */
int rs_fc_frames(const struct rs_fc *f, int mel_frames);

/* mel[mel_frames][mels] → *out[frames][width], valid until the next run. mel_frames 0 gives *out NULL. */
int rs_fc_run(struct rs_fc *f, const float *mel, int mel_frames, const float **out, struct rs_err *e);

/* pe[r][2i] = sin, [2i+1] = cos of position·10000^(-2i/width), for the positions first, first-1, … */
void rs_fc_positions(float *pe, int first, int rows, int width);

/* For comparisons: is called with the subsampling's output (stage 0) and each layer's (1…). NULL ends it. */
typedef void rs_fc_watcher(void *arg, int stage, const float *x, int rows, int columns);
void rs_fc_watch(struct rs_fc *f, rs_fc_watcher *watcher, void *arg);

#endif
