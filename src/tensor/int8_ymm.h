/* int8 GEMM on 32-byte vectors, shared by the AVX-VNNI and the AVX2 file, which define ROWS and multiply(sum, w,
 * x): sum + four products of each 32-bit lane, w unsigned and x signed. ROWS rows by 16 outputs: their sums, 2
 * weights, the broadcast row and what multiply needs for itself fit 16 registers.
 */
#include <immintrin.h>

#define WIDTH 32
#include "tensor/int8_finish.h"
#include "tensor/int8_ahead.h"

static inline __m256i multiply(__m256i sum, __m256i w, __m256i x);

static inline __m256i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

static inline __attribute__((always_inline)) void block(const struct rs_int8_job *j, int row, int rows, int col)
{
    const int8_t *w = j->panel + (ptrdiff_t)col * j->kpad, *x = rs_int8_row(j, row);
    __m256i sum[ROWS][2];
    UNROLL
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int k = 0; k < j->kpad; k += 64, x += RS_TILE)
        UNROLL_STEPS
        for (int g = 0; g < 64; g += 4) {
            const int8_t *line = w + (ptrdiff_t)(k + g) * 16;
            const __m256i w0 = _mm256_loadu_si256((const __m256i *)line);
            const __m256i w1 = _mm256_loadu_si256((const __m256i *)(line + 32));
            UNROLL
            for (int r = 0; r < rows; r++) {
                const __m256i a = four(x + r * 64 + g);
                sum[r][0] = multiply(sum[r][0], w0, a);
                sum[r][1] = multiply(sum[r][1], w1, a);
            }
        }
    _Alignas(32) int32_t out[ROWS][16];
    UNROLL
    for (int r = 0; r < rows; r++) {
        _mm256_store_si256((__m256i *)out[r], sum[r][0]);
        _mm256_store_si256((__m256i *)(out[r] + 8), sum[r][1]);
    }
    finish_tile(j, out[0], row, rows, col);
}

static inline void columns(const struct rs_int8_job *j, int from, int to)
{
    for (int col = from; col < to; col += 16) {
        struct ahead p = ahead_of(j, col, 16);
        const ptrdiff_t lines = (p.end - p.at) * ROWS / 64 / j->m + 1;
        for (int row = 0; row < j->m;) {
            /* No block reaches over the 16 rows that lie together. */
            const int left = j->m - row < 16 - row % 16 ? j->m - row : 16 - row % 16;
            fetch(&p, lines);
            if (left >= ROWS) {
                block(j, row, ROWS, col);
                row += ROWS;
            } else if (left >= 4) {
                block(j, row, 4, col);
                row += 4;
            } else {
                block(j, row, 1, col);
                row++;
            }
        }
    }
    _mm256_zeroupper();       /* GCC 12 forgets it here */
}
