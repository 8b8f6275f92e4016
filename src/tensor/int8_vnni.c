/* int8 GEMM with AVX-512 VNNI: 8 rows by 32 outputs in registers; vpdpbusd multiplies the unsigned weights
 * by a row's four signed bytes.
 */
#include <immintrin.h>

#define WIDTH 64
#include "tensor/int8_finish.h"
#include "tensor/int8_ahead.h"

static inline __m512i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm512_set1_epi32(v);
}

/* The intrinsic makes GCC 12 copy every sum around the loop; the operand tied in assembly does not. */
static inline __m512i multiply(__m512i sum, __m512i w, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

/* Always inlined with constant counts, so that the sums live in registers. */
static inline __attribute__((always_inline)) void block(const struct rs_int8_job *j, int row, int rows, int col, int panels)
{
    const int8_t *w = j->panel + (ptrdiff_t)col * j->kpad, *x = rs_int8_row(j, row);
    const ptrdiff_t next = (ptrdiff_t)16 * j->kpad;
    __m512i sum[8][2];
    UNROLL
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (int k = 0; k < j->kpad; k += 64, x += RS_TILE)
        for (int g = 0; g < 64; g += 4) {
            const int8_t *line = w + (ptrdiff_t)(k + g) * 16;
            const __m512i w0 = _mm512_loadu_si512(line);
            const __m512i w1 = panels > 1 ? _mm512_loadu_si512(line + next) : w0;
            UNROLL
            for (int r = 0; r < rows; r++) {
                const __m512i a = four(x + r * 64 + g);
                sum[r][0] = multiply(sum[r][0], w0, a);
                if (panels > 1)
                    sum[r][1] = multiply(sum[r][1], w1, a);
            }
        }
    _Alignas(64) int32_t out[2][8][16];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int p = 0; p < panels; p++)
            _mm512_store_si512(out[p][r], sum[r][p]);
    for (int p = 0; p < panels; p++)
        finish_tile(j, out[p][0], row, rows, col + 16 * p);
}

/* The only row: what counts is to read the panel at full speed, in sequence. Four sums hide the latency. */
static inline void single(const struct rs_int8_job *j, int col)
{
    const int8_t *w = j->panel + (ptrdiff_t)col * j->kpad, *x = j->q;
    __m512i sum[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        sum[i] = _mm512_setzero_si512();
    for (int k = 0; k < j->kpad; k += 64, x += RS_TILE, w += RS_TILE) {
        UNROLL
        for (int g = 0; g < 16; g++)
            sum[g % 4] = multiply(sum[g % 4], _mm512_loadu_si512(w + 64 * g), four(x + 4 * g));
    }
    _Alignas(64) int32_t out[16];
    _mm512_store_si512(out, _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3])));
    finish_tile(j, out, 0, 1, col);
}

static inline __attribute__((always_inline)) void all_rows(const struct rs_int8_job *j, int col, int panels)
{
    struct ahead p = ahead_of(j, col, 16 * panels);
    const ptrdiff_t lines = (p.end - p.at) / 8 / j->m + 1;       /* for 8 rows */
    int row = 0;
    for (; row + 8 <= j->m; row += 8) {
        fetch(&p, lines);
        block(j, row, 8, col, panels);
    }
    for (; row + 4 <= j->m; row += 4)
        block(j, row, 4, col, panels);
    for (; row < j->m; row++)
        block(j, row, 1, col, panels);
}

void rs_int8_columns_vnni(const struct rs_int8_job *j, int from, int to)
{
    if (j->m == 1)
        for (int col = from; col < to; col += 16)
            single(j, col);
    else for (int col = from; col < to; col += 32)
        if (col + 16 < to)
            all_rows(j, col, 2);
        else
            all_rows(j, col, 1);
    _mm256_zeroupper();       /* GCC 12 forgets it here; whoever runs SSE code next would be 8 times slower */
}
