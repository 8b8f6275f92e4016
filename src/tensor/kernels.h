/* The small loops below the ops, one table per instruction set. kernels_impl.h holds their one source;
 * kernels.c, kernels_avx2.c and kernels_avx512.c compile it for 16, 32 and 64 byte vectors.
 *
 * The table in force is the process's CPU dispatch: it follows the backend that was chosen, so that
 * `--backend int8-avx2` measures what a CPU with nothing better would do.
 */
#ifndef RS_KERNELS_H
#define RS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/linear.h"

enum { RS_TAPS = 64 };

struct rs_kernels {
    const char *name;
    /* One row to int8 in ±levels: returns the scale amax/levels, *sum is Σq. Every 64 values go RS_TILE bytes
     * further (backend.h). */
    float (*quantize)(const float *x, int n, int padded, int levels, int8_t *q, int32_t *sum);
    void (*layer_norm)(const float *x, const float *gamma, const float *beta, int n, float eps, float *y);
    void (*softmax)(float *x, int n, float scale);          /* x = softmax(scale·x) */
    void (*silu)(const float *x, int n, float *y);
    void (*sigmoid)(const float *x, int n, float *y);
    void (*tanh)(const float *x, int n, float *y);
    void (*relu)(const float *x, int n, float *y);
    void (*exp)(const float *x, int n, float *y);           /* within 1e-6 (relative) above e^-87, where it ends */
    void (*log)(const float *x, int n, float *y);           /* of positive, normal numbers */
    float (*largest)(const float *x, ptrdiff_t xs, int m, int n);          /* the largest |x| of m rows */
    int (*argmax)(const float *x, int n);                   /* the first of the largest */
    int (*at_least)(const float *x, int n, float limit, int *at);          /* where x >= limit; returns how many */
    float (*sum_exp)(const float *x, int n, float from);    /* Σ e^(x − from) */
    void (*glu)(const float *x, int n, float *y);           /* y[n] = x[0…n) · sigmoid(x[n…2n)) */
    /* One step of an LSTM layer, see rs_lstm_cell. */
    void (*lstm)(const float *gates, const float *recalled, int n, const float *before, float *cell, float *h);
    void (*add)(const float *x, int n, float alpha, float *y);   /* y += alpha·x */
    void (*from_f16)(const void *x, int n, float *y);       /* x at any address */
    /* y[c] = act(Σ_j w[j·n + c]·rows[j][c] + b[c]) over at most RS_TAPS rows; a NULL row is zeros. */
    void (*depthwise)(const float *const *rows, int taps, const float *w, const float *b, int n, enum rs_act act, float *y);
    /* y[i, j] = x[i, :]·w[j, :] over k values. */
    void (*dots)(const float *x, ptrdiff_t xs, int m, const float *w, ptrdiff_t ws, int n, int k, float *y, ptrdiff_t ys);
    /* y[i, :] = Σ_j a[i, j]·v[j, :] over n rows of d values. */
    void (*mix)(const float *a, ptrdiff_t as, int m, const float *v, ptrdiff_t vs, int n, int d, float *y, ptrdiff_t ys);
    /* `groups` groups of 16 outputs in 4 bits to a panel of int8 weights (int4.c). */
    void (*unpack4)(const uint8_t *packed, int groups, int8_t *panel);
    /* A matrix B [k, n] in panels of `panel` columns, each [k][panel] in sequence, the last one filled with
     * zeros: from its own rows, or from the rows of its transpose (rows outside [0, rows) are zeros). */
    int panel;
    void (*pack)(const float *x, ptrdiff_t xs, int k, int n, float *to);
    void (*pack_turned)(const float *x, ptrdiff_t xs, int first, int n, int rows, int k, float *to);
    /* y[i, 0…panels·panel) = Σ_j a[i, j]·B[j, :] */
    void (*panels)(const float *a, ptrdiff_t as, int m, const float *b, int panels, int k, float *y, ptrdiff_t ys);
    /* The same in 16 bits, whose products of two are added in 32: half the work. NULL where the CPU has none.
     * A row of n values is (n + 1) / 2 pairs; B's panels are [pairs][panel][2]. */
    void (*narrow)(const float *x, int n, float by, int16_t *y);           /* y = round(by·x), a pair filled with 0 */
    void (*pack_pairs)(const float *x, ptrdiff_t xs, int k, int n, float by, int16_t *to);
    /* y = scale·Σ; as in pairs. */
    void (*panels16)(const int16_t *a, ptrdiff_t as, int m, const int16_t *b, int panels, int pairs, float scale, float *y, ptrdiff_t ys);
    /* y = (add ? y : 0) + alpha·act(v·scale + bias); scale and bias may be NULL. */
    void (*finish)(const float *v, const float *scale, const float *bias, int n, enum rs_act act, float alpha, bool add, float *y);
};

extern const struct rs_kernels rs_kernels_portable, rs_kernels_avx2, rs_kernels_avx512;

const struct rs_kernels *rs_kernels(void);
void rs_kernels_use(const struct rs_kernels *k);

#endif
