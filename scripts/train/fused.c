/* What lies between the matrix products of a layer, in one pass over memory each instead of many: for training on a CPU.
 *
 * Tensors hold f32 or bfloat16 (`half`); all arithmetic is in f32, a row at a time, sums over many rows in f64. Layout: [batch][time][channel].
 * Compiled by kernels.py; channel counts are multiples of 16 and at most WIDEST.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bf16.h"
#include "sigmoid.h"

enum { WIDEST = 2048, TAPS = 9, REACH = TAPS / 2 };

/* n numbers from element `at` of x on; f32 is not copied. */
static inline const float *load(const void *x, size_t at, int n, int half, float *room)
{
    if (!half)
        return (const float *)x + at;
    for (int i = 0; i < n; i++)
        room[i] = up(((const bf16 *)x)[at + i]);
    return room;
}

static inline void store(void *x, size_t at, int n, int half, const float *from)
{
    if (!half) {
        memcpy((float *)x + at, from, (size_t)n * sizeof *from);
        return;
    }
    for (int i = 0; i < n; i++)
        ((bf16 *)x)[at + i] = down(from[i]);
}

/* y = x * sigmoid(x) * mask; x, y [B][T][C], mask [B][C] f32. */
void silu_forward(const void *x, const float *mask, void *y, int B, int T, int C, int half)
{
#pragma omp parallel for schedule(static)
    for (int n = 0; n < B * T; n++) {
        float room[WIDEST], out[WIDEST];
        const float *in = load(x, (size_t)n * C, C, half, room), *m = mask + (size_t)(n / T) * C;
        for (int c = 0; c < C; c++)
            out[c] = in[c] * sigmoid(in[c]) * m[c];
        store(y, (size_t)n * C, C, half, out);
    }
}

/* sum [2][C] += part. */
static inline void add_part(double *sum, float (*part)[WIDEST], int C)
{
    for (int c = 0; c < C; c++) {
        sum[c] += part[0][c];
        sum[C + c] += part[1][c];
    }
}

static inline float silu_slope(float x)
{
    float s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

void silu_backward(const void *x, const float *mask, const void *gy, void *gx, int B, int T, int C, int half)
{
#pragma omp parallel for schedule(static)
    for (int n = 0; n < B * T; n++) {
        float room[2][WIDEST], out[WIDEST];
        const float *in = load(x, (size_t)n * C, C, half, room[0]), *g = load(gy, (size_t)n * C, C, half, room[1]);
        const float *m = mask + (size_t)(n / T) * C;
        for (int c = 0; c < C; c++)
            out[c] = g[c] * m[c] * silu_slope(in[c]);
        store(gx, (size_t)n * C, C, half, out);
    }
}

/* The gated input of the depthwise convolution, row (b, t): a * sigmoid(b), zero where t is outside of valid[b]. */
static inline void gated(const void *x, const int64_t *valid, int b, int t, int T, int C, int half, float *out)
{
    if (t < 0 || t >= valid[b]) {
        memset(out, 0, (size_t)C * sizeof *out);
        return;
    }
    float room[WIDEST];
    const float *in = load(x, ((size_t)b * T + t) * 2 * C, 2 * C, half, room);
    for (int c = 0; c < C; c++)
        out[c] = in[c] * sigmoid(in[C + c]);
}

/* y = bias + the convolution of glu(x) over time; x [B][T][2C], w [9][C], y [B][T][C] f32.
 * moments [2][C]: sum of y and of its square over all rows; zero on entry. */
void glu_convolution_forward(const void *x, const int64_t *valid, const float *w, const float *bias, float *y,
                             double *moments, int B, int T, int C, int half)
{
#pragma omp parallel
    {
        double *sum = calloc((size_t)2 * C, sizeof *sum);
        float *ring = malloc((size_t)TAPS * C * sizeof *ring);
#pragma omp for schedule(static)
        for (int b = 0; b < B; b++) {
            float part[2][WIDEST] = {0};
            for (int t = -REACH; t < T + REACH; t++) {
                gated(x, valid, b, t, T, C, half, ring + (size_t)((t + TAPS) % TAPS) * C);
                int at = t - REACH;
                if (at < 0)
                    continue;
                float *out = y + ((size_t)b * T + at) * C;
                memcpy(out, bias, (size_t)C * sizeof *out);
                for (int k = 0; k < TAPS; k++) {
                    const float *in = ring + (size_t)((at + k - REACH + TAPS) % TAPS) * C;
                    for (int c = 0; c < C; c++)
                        out[c] += w[k * C + c] * in[c];
                }
                for (int c = 0; c < C; c++) {
                    part[0][c] += out[c];
                    part[1][c] += out[c] * out[c];
                }
            }
            add_part(sum, part, C);
        }
#pragma omp critical
        for (int c = 0; c < 2 * C; c++)
            moments[c] += sum[c];
        free(sum);
        free(ring);
    }
}

/* z = silu(y * scale + shift); y [rows][C] f32, z in the kind that `half` says. */
void scaled_silu_forward(const float *y, const float *scale, const float *shift, void *z, int rows, int C, int half)
{
#pragma omp parallel for schedule(static)
    for (int n = 0; n < rows; n++) {
        float out[WIDEST];
        const float *in = y + (size_t)n * C;
        for (int c = 0; c < C; c++) {
            float v = in[c] * scale[c] + shift[c];
            out[c] = v * sigmoid(v);
        }
        store(z, (size_t)n * C, C, half, out);
    }
}

/* Through silu: gz -> gv [rows][C] f32, the gradient of y * scale + shift; sums [2][C] of gv and of gv * y, zero on
 * entry. */
void scaled_silu_backward(const float *y, const float *scale, const float *shift, const void *gz, float *gv,
                          double *sums, int rows, int C, int half)
{
#pragma omp parallel
    {
        double *sum = calloc((size_t)2 * C, sizeof *sum);
#pragma omp for schedule(static)
        for (int n = 0; n < rows; n += 64) {
            float part[2][WIDEST] = {0}, room[WIDEST];
            for (int i = n; i < n + 64 && i < rows; i++) {
                const float *in = y + (size_t)i * C, *g = load(gz, (size_t)i * C, C, half, room);
                float *out = gv + (size_t)i * C;
                for (int c = 0; c < C; c++) {
                    float d = g[c] * silu_slope(in[c] * scale[c] + shift[c]);
                    out[c] = d;
                    part[0][c] += d;
                    part[1][c] += d * in[c];
                }
            }
            add_part(sum, part, C);
        }
#pragma omp critical
        for (int c = 0; c < 2 * C; c++)
            sums[c] += sum[c];
        free(sum);
    }
}

/* Back through normalisation, convolution and gate. The gradient of y is gv * a + y * b + d (per channel: what batch
 * normalisation makes of it). gx [B][T][2C]; gw [9][C] and gb [C], zero on entry. */
void glu_convolution_backward(const void *x, const int64_t *valid, const float *w, const float *y, const float *gv,
                              const float *a, const float *b, const float *d, void *gx, float *gw, float *gb, int B,
                              int T, int C, int half)
{
#pragma omp parallel
    {
        float *sum = calloc((size_t)(TAPS + 1) * C, sizeof *sum);
        float *ring = malloc((size_t)TAPS * C * sizeof *ring), *gates = malloc((size_t)TAPS * C * sizeof *gates);
#pragma omp for schedule(static)
        for (int n = 0; n < B; n++)
            /* At step t the gradient of row t + REACH of y and the gate of row t + REACH come in; row t goes out. */
            for (int t = -2 * REACH; t < T; t++) {
                int in = t + REACH;
                float *g = ring + (size_t)((in + TAPS) % TAPS) * C;
                gated(x, valid, n, in, T, C, half, gates + (size_t)((in + TAPS) % TAPS) * C);
                memset(g, 0, (size_t)C * sizeof *g);
                if (in >= 0 && in < T) {
                    const float *from = y + ((size_t)n * T + in) * C, *gradient = gv + ((size_t)n * T + in) * C;
                    for (int c = 0; c < C; c++) {
                        g[c] = gradient[c] * a[c] + from[c] * b[c] + d[c];
                        sum[TAPS * C + c] += g[c];
                    }
                }
                if (t < 0)
                    continue;
                float back[WIDEST] = {0}, room[WIDEST], out[WIDEST];
                const float *gate = gates + (size_t)((t + TAPS) % TAPS) * C;
                for (int k = 0; k < TAPS; k++) {        /* row t of the gate went into row t + REACH - k of y */
                    const float *from = ring + (size_t)((t + REACH - k + TAPS) % TAPS) * C;
                    for (int c = 0; c < C; c++) {
                        back[c] += w[k * C + c] * from[c];
                        sum[k * C + c] += gate[c] * from[c];
                    }
                }
                size_t at = ((size_t)n * T + t) * 2 * C;
                if (t >= valid[n])
                    memset(out, 0, (size_t)2 * C * sizeof *out);
                else {
                    const float *v = load(x, at, 2 * C, half, room);
                    for (int c = 0; c < C; c++) {
                        float s = sigmoid(v[C + c]);
                        out[c] = back[c] * s;
                        out[C + c] = back[c] * v[c] * s * (1 - s);
                    }
                }
                store(gx, at, 2 * C, half, out);
            }
#pragma omp critical
        {
            for (int c = 0; c < TAPS * C; c++)
                gw[c] += sum[c];
            for (int c = 0; c < C; c++)
                gb[c] += sum[TAPS * C + c];
        }
        free(sum);
        free(ring);
        free(gates);
    }
}
