/* What a network does between its linear layers: norms, activations, convolution over time, attention.
 *
 * Every function takes the pool (NULL: serial) and works on m rows, `stride` floats apart; xs and ys are
 * the strides of x and y. x and y may be the same memory where the function works value by value.
 */
#ifndef RS_OPS_H
#define RS_OPS_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/linear.h"

void rs_layer_norm(struct rs_pool *pool, const float *x, ptrdiff_t xs, int m, int n, const float *gamma,
                   const float *beta, float eps, float *y, ptrdiff_t ys);

/* Layer norm whose result is only wanted as rows for linears: no f32 copy is kept where the backend
 * quantises. False when the arena is out of memory. */
bool rs_layer_norm_rows(struct rs_rows *r, const struct rs_backend *b, struct rs_pool *pool, struct rs_arena *a,
                        const float *x, ptrdiff_t xs, int m, int n, const float *gamma, const float *beta, float eps);

/* y[n] = x[0…n) · sigmoid(x[n…2n)) */
void rs_glu(struct rs_pool *pool, const float *x, ptrdiff_t xs, int m, int n, float *y, ptrdiff_t ys);

/* One step of an LSTM layer: gates[4·hidden] + recalled[4·hidden] = (W_ih·x + b_ih) + (W_hh·h + b_hh) in the order i, f, g,
 * o; recalled may be NULL, before (the cell until now) may be cell. */
void rs_lstm_cell(const float *gates, const float *recalled, int hidden, const float *before, float *cell, float *h);

/* Depthwise convolution over time, zeros outside: y[t, c] = act(Σ_j w[j, c]·x[t + j − left, c] + b[c]).
 * w is [taps, n] (transposed from a checkpoint's [n, 1, taps]); taps <= 64; b may be NULL; x and y differ. */
void rs_conv_time(struct rs_pool *pool, const float *x, ptrdiff_t xs, int m, int n, const float *w, const float *b,
                  int taps, int left, enum rs_act act, float *y, ptrdiff_t ys);

/* Transformer-XL attention over one sequence (the specification's section 3.4):
 *   s[i, j] = ((q[i] + u)·k[j] + (q[i] + v)·p[j − i]) / sqrt(dk),  out[i] = Σ_j softmax_j(s)[i, j]·value[j]
 * for each head. q, k, value and out are [n, heads·dk]; u and v are [heads, dk]. left and right limit i − j and j − i (-1: no
 * limit). p is the row of position 0; there are rs_attention_reach(left, n) rows before it and so many for right after it. */
struct rs_attention {
    int n, heads, dk, left, right;
    const float *q, *k, *value, *p, *u, *v;
    ptrdiff_t qs, ks, vs, ps, ys;
    float *out;
};
/* How far the queries and keys that see each other are apart at most, on one side. */
static inline int rs_attention_reach(int limit, int n) { return limit >= 0 && limit < n - 1 ? limit : n - 1; }

/* False when the arena is out of memory. */
bool rs_attention(const struct rs_attention *t, struct rs_pool *pool, struct rs_arena *a);

#endif
