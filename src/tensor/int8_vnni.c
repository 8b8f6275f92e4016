/* int8 GEMM with AVX-512 VNNI: 8 rows by 32 outputs in registers; vpdpbusd multiplies the unsigned weights
 * by a row's four signed bytes.
 */
#include <immintrin.h>

#define WIDTH 64
#include "tensor/int8_finish.h"
#include "tensor/int8_ahead.h"

#define CHUNK 1024            /* of k: two panels of it are 32 kB */
#define GROUP 192             /* rows whose sums wait at once: 24 kB */

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

/* The first column and the chunk of k that is at work. */
struct piece { int col, from, to; };
typedef int32_t group_sums[2][GROUP][16];     /* per panel and row: what the chunks before gave */

/* Always inlined with constant counts, so that the sums live in registers. */
static inline __attribute__((always_inline)) void block(const struct rs_int8_job *j, const struct piece *c, int row, int rows,
                                                        int panels, group_sums *kept)
{
    const int8_t *w = j->panel + (ptrdiff_t)c->col * j->kpad, *x = rs_int8_row(j, row) + (ptrdiff_t)c->from * 16;
    const ptrdiff_t next = (ptrdiff_t)16 * j->kpad;
    int32_t (*sums)[GROUP][16] = *kept;
    const int at = row % GROUP;
    __m512i sum[8][2];
    UNROLL
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++)
            sum[r][p] = c->from ? _mm512_load_si512(sums[p][at + r]) : _mm512_setzero_si512();
    for (int k = c->from; k < c->to; k += 64, x += RS_TILE)
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
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int p = 0; p < panels; p++)
            _mm512_store_si512(sums[p][at + r], sum[r][p]);
    for (int p = 0; p < panels && c->to == j->kpad; p++)
        finish_tile(j, sums[p][at], row, rows, c->col + 16 * p);
}

/* The last rows, fewer than eight. */
static inline __attribute__((always_inline)) void rest(const struct rs_int8_job *j, const struct piece *c, int row, int rows,
                                                       int panels, group_sums *sums)
{
    switch (rows) {
    case 1: block(j, c, row, 1, panels, sums); break;
    case 2: block(j, c, row, 2, panels, sums); break;
    case 3: block(j, c, row, 3, panels, sums); break;
    case 4: block(j, c, row, 4, panels, sums); break;
    case 5: block(j, c, row, 5, panels, sums); break;
    case 6: block(j, c, row, 6, panels, sums); break;
    case 7: block(j, c, row, 7, panels, sums); break;
    default: break;
    }
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

/* Chunks of k, so that what all rows meet stays in L1; rows in groups whose sums wait for the next chunk. */
static inline __attribute__((always_inline)) void all_rows(const struct rs_int8_job *j, int col, int panels)
{
    _Alignas(64) group_sums sums;
    struct ahead p = ahead_of(j, col, 16 * panels);
    const ptrdiff_t chunks = (j->kpad + CHUNK - 1) / CHUNK, lines = (p.end - p.at) / 8 / j->m / chunks + 1;   /* for 8 rows */
    for (int first = 0; first < j->m; first += GROUP) {
        const int end = first + GROUP < j->m ? first + GROUP : j->m;
        for (int from = 0; from < j->kpad; from += CHUNK) {
            const struct piece c = {col, from, from + CHUNK < j->kpad ? from + CHUNK : j->kpad};
            int row = first;
            for (; row + 8 <= end; row += 8) {
                fetch(&p, lines);
                block(j, &c, row, 8, panels, &sums);
            }
            rest(j, &c, row, end - row, panels, &sums);
        }
    }
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
