/* int8 GEMM with Arm's SMMLA: a 2x2 block of sums from 2 rows by 8 values and 2 outputs by 8 values. Two
 * lines of a panel (4 outputs by 4 values each), zipped by 32 bits, are two such operands. */
#include <arm_neon.h>

#define WIDTH 16
#include "tensor/int8_finish.h"

static inline int8x16_t zip(int8x16_t a, int8x16_t b, bool high)
{
    const int32x4_t x = vreinterpretq_s32_s8(a), y = vreinterpretq_s32_s8(b);
    return vreinterpretq_s8_s32(high ? vzip2q_s32(x, y) : vzip1q_s32(x, y));
}

/* Two pairs of rows by 16 outputs; the last row of an odd count is paired with the padding row behind it. */
static inline __attribute__((always_inline)) void block(const struct rs_int8_job *j, int row, int pairs, int col)
{
    const int8_t *w = j->panel + (ptrdiff_t)col * j->kpad, *x = rs_int8_row(j, row);
    int32x4_t sum[2][8];
    UNROLL
    for (int p = 0; p < pairs; p++)
        UNROLL
        for (int c = 0; c < 8; c++)
            sum[p][c] = vdupq_n_s32(0);
    for (int k = 0; k < j->kpad; k += 64, x += RS_TILE)
        for (int g = 0; g < 64; g += 8) {
            int8x16_t a[2];
            UNROLL
            for (int p = 0; p < pairs; p++)
                a[p] = vcombine_s8(vld1_s8(x + p * 128 + g), vld1_s8(x + p * 128 + 64 + g));
            const int8_t *line = w + (ptrdiff_t)(k + g) * 16;
            UNROLL
            for (int c = 0; c < 4; c++) {
                const int8x16_t b0 = vld1q_s8(line + 16 * c), b1 = vld1q_s8(line + 64 + 16 * c);
                const int8x16_t low = zip(b0, b1, false), high = zip(b0, b1, true);
                UNROLL
                for (int p = 0; p < pairs; p++) {
                    sum[p][2 * c] = vmmlaq_s32(sum[p][2 * c], a[p], low);
                    sum[p][2 * c + 1] = vmmlaq_s32(sum[p][2 * c + 1], a[p], high);
                }
            }
        }
    UNROLL
    for (int p = 0; p < pairs; p++) {
        int32_t out[2][16];
        UNROLL
        for (int c = 0; c < 8; c++) {
            vst1_s32(out[0] + 2 * c, vget_low_s32(sum[p][c]));
            vst1_s32(out[1] + 2 * c, vget_high_s32(sum[p][c]));
        }
        const int first = row + 2 * p, rows = j->m - first < 2 ? j->m - first : 2;
        finish_tile(j, out[0], first, rows, col);
    }
}

void rs_int8_columns_i8mm(const struct rs_int8_job *j, int from, int to)
{
    for (int col = from; col < to; col += 16) {
        int row = 0;
        for (; row + 4 <= j->m; row += 4)
            block(j, row, 2, col);
        for (; row < j->m; row += 2)
            block(j, row, 1, col);
    }
}
