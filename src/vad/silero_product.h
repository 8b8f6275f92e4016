/* The one inner loop of silero.c, included by a file for each instruction set with its vectors' LANES:
 * eight sums stay in registers while the inputs stream by. */
#include "vad/silero.h"

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

void PRODUCT(const float *w, int n, int k, const float *x, float *y)
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
