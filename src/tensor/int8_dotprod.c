/* int8 GEMM with Arm's SDOT: 4 rows by 16 outputs in 16 registers. One vector of a row holds four groups of
 * 4 values, chosen by lane. */
#include <arm_neon.h>

#define WIDTH 16
#include "tensor/int8_finish.h"

static inline __attribute__((always_inline)) void block(const struct rs_int8_job *j, int row, int rows, int col)
{
    const int8_t *w = j->panel + (ptrdiff_t)col * j->kpad, *x = rs_int8_row(j, row);
    int32x4_t sum[4][4];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int c = 0; c < 4; c++)
            sum[r][c] = vdupq_n_s32(0);
    for (int k = 0; k < j->kpad; k += 64, x += RS_TILE)
        for (int g = 0; g < 64; g += 16) {
            int8x16_t a[4];
            UNROLL
            for (int r = 0; r < rows; r++)
                a[r] = vld1q_s8(x + r * 64 + g);
#define GROUP(lane) \
    UNROLL \
    for (int c = 0; c < 4; c++) { \
        const int8x16_t b = vld1q_s8(w + (ptrdiff_t)(k + g + 4 * lane) * 16 + 16 * c); \
        UNROLL \
        for (int r = 0; r < rows; r++) \
            sum[r][c] = vdotq_laneq_s32(sum[r][c], b, a[r], lane); \
    }
            GROUP(0)
            GROUP(1)
            GROUP(2)
            GROUP(3)
#undef GROUP
        }
    UNROLL
    for (int r = 0; r < rows; r++) {
        int32_t out[16];
        UNROLL
        for (int c = 0; c < 4; c++)
            vst1q_s32(out + 4 * c, sum[r][c]);
        finish_tile(j, out, row + r, 1, col);
    }
}

void rs_int8_columns_dotprod(const struct rs_int8_job *j, int from, int to)
{
    for (int col = from; col < to; col += 16) {
        int row = 0;
        for (; row + 4 <= j->m; row += 4)
            block(j, row, 4, col);
        for (; row < j->m; row++)
            block(j, row, 1, col);
    }
}
