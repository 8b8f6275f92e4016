/* Silero's graph as a detector: weights from a model file that carries its tensors. */
#ifndef RS_SILERO_H
#define RS_SILERO_H

#include "model/model.h"
#include "vad/detector.h"

/* Reads the weights (names and shapes of the published safetensors file) into memory of its own; the
 * model may be closed afterwards. */
int rs_silero_new(void **out, const struct rs_model *m, struct rs_err *e);
extern const struct rs_detector rs_silero_detector;

/* y[r][n] += Σ_k x[r][k]·w[k][n] for each row r; n is a multiple of 64. One version for each instruction set. */
typedef void rs_silero_product(const float *w, int n, int k, int rows, const float *const *x, float *const *y);
rs_silero_product rs_silero_product_portable;
#ifdef __x86_64__
rs_silero_product rs_silero_product_avx2;
#endif

#endif
