/* The one inner loop of silero.c, included by a file for each instruction set with its vectors' LANES: the sums of four
 * rows by two vectors, or of one row by eight, stay in registers while the weights stream by, once for four rows. */
#include "vad/silero.h"

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static void four_rows(const float *w, int n, int k, const float *const *x, float *const *y)
{
    const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    for (int at = 0; at < n; at += 2 * LANES) {
        vec *o0 = (vec *)(y[0] + at), *o1 = (vec *)(y[1] + at), *o2 = (vec *)(y[2] + at), *o3 = (vec *)(y[3] + at);
        vec a0 = o0[0], b0 = o0[1], a1 = o1[0], b1 = o1[1], a2 = o2[0], b2 = o2[1], a3 = o3[0], b3 = o3[1];
        const float *row = w + at;
        for (int i = 0; i < k; i++, row += n) {
            const vec a = ((const vec *)row)[0], b = ((const vec *)row)[1];
            a0 += x0[i] * a, b0 += x0[i] * b, a1 += x1[i] * a, b1 += x1[i] * b;
            a2 += x2[i] * a, b2 += x2[i] * b, a3 += x3[i] * a, b3 += x3[i] * b;
        }
        o0[0] = a0, o0[1] = b0, o1[0] = a1, o1[1] = b1, o2[0] = a2, o2[1] = b2, o3[0] = a3, o3[1] = b3;
    }
}

static void one_row(const float *w, int n, int k, const float *x, float *y)
{
    for (int at = 0; at < n; at += 8 * LANES) {
        vec *out = (vec *)(y + at);
        vec s0 = out[0], s1 = out[1], s2 = out[2], s3 = out[3], s4 = out[4], s5 = out[5], s6 = out[6], s7 = out[7];
        const float *row = w + at;
        for (int i = 0; i < k; i++, row += n) {
            const vec *r = (const vec *)row;
            const float f = x[i];
            s0 += f * r[0], s1 += f * r[1], s2 += f * r[2], s3 += f * r[3];
            s4 += f * r[4], s5 += f * r[5], s6 += f * r[6], s7 += f * r[7];
        }
        out[0] = s0, out[1] = s1, out[2] = s2, out[3] = s3, out[4] = s4, out[5] = s5, out[6] = s6, out[7] = s7;
    }
}

void PRODUCT(const float *w, int n, int k, int rows, const float *const *x, float *const *y)
{
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        four_rows(w, n, k, x + r, y + r);
    for (; r < rows; r++)
        one_row(w, n, k, x[r], y[r]);
}
