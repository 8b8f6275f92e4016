/* 4-bit storage under the int8 products: a panel pair is unpacked into the stack just before all rows meet
 * it, so that memory holds 4.5 bits a weight and the arithmetic stays int8 with one scale per output.
 *
 * Weights are quantised as q4_0: groups of 32 along k, d·(u − 8) with u in 0…15. An output's scale is that of
 * its widest group, s = max|d|·8/127; a group keeps its ratio R = 2048·d/s, and unpacks to the nearest
 * int8 of (u − 8)·d/s. For 16 outputs and 32 values of k: 16 ratios, then 4 times 64 bytes, whose low
 * nibbles are line i of the int8 panel (backend.h) and whose high ones are line i + 4.
 */
#include <math.h>
#include <string.h>

#include "tensor/backend.h"
#include "tensor/kernels.h"

#define GROUP 32
#define GROUP_BYTES (32 + 16 * GROUP / 2)
#define WIDEST 4096           /* of k: what a panel pair on the stack is made for */

/* Rows of 640, as published decoders have them, stay int8, as they do in published 4-bit files. */
bool rs_int4_fits(int k)
{
    return k >= 512 && k <= WIDEST && k % 256 == 0;
}

size_t rs_int4_bytes(size_t n16, size_t kpad)
{
    return n16 / 16 * (kpad / GROUP) * GROUP_BYTES;
}

/* A group's d: its value of largest magnitude becomes −8. */
static float step_of(const float *w)
{
    float extreme = 0;
    for (int i = 0; i < GROUP; i++)
        if (fabsf(w[i]) > fabsf(extreme))
            extreme = w[i];
    return extreme / -8;
}

float rs_int4_pack_row(const float *w, int k, int row, size_t kpad, char *panels)
{
    const size_t groups = kpad / GROUP;
    char *panel = panels + (size_t)(row / 16) * groups * GROUP_BYTES;
    float widest = 0;
    for (int i = 0; i < k; i += GROUP)
        widest = fmaxf(widest, fabsf(step_of(w + i)));
    const float scale = widest * 8 / 127;
    for (int i = 0; i < k; i += GROUP, panel += GROUP_BYTES) {
        const float d = step_of(w + i), inverse = d != 0 ? 1 / d : 0;
        const int16_t ratio = (int16_t)lrintf(scale > 0 ? 2048 * d / scale : 0);
        memcpy(panel + row % 16 * 2, &ratio, 2);
        for (int j = 0; j < GROUP; j++) {
            const int u = (int)(w[i + j] * inverse + 8.5f), line = j / 4;
            uint8_t *to = (uint8_t *)panel + 32 + line % 4 * 64 + row % 16 * 4 + j % 4;
            *to |= (uint8_t)((u > 15 ? 15 : u) << (line < 4 ? 0 : 4));
        }
    }
    return scale;
}

void rs_int4_columns(const struct rs_int8_job *j, int from, int to)
{
    _Alignas(64) int8_t panel[32 * WIDEST];
    const int groups = j->kpad / GROUP;
    const ptrdiff_t packed = (ptrdiff_t)groups * GROUP_BYTES;
    for (int col = from; col < to; col += 32) {
        const int cols = to - col < 32 ? to - col : 32;
        for (int c = 0; c < cols; c += 16)
            rs_kernels()->unpack4((const uint8_t *)j->panel + (col + c) / 16 * packed, groups, panel + (ptrdiff_t)c * j->kpad);
        struct rs_int8_job part = *j;
        part.panel = panel;
        part.n = cols;
        part.w_scale += col;
        part.bias = j->bias ? j->bias + col : NULL;
        part.y += col;
        j->inner(&part, 0, cols);
    }
}
