/* int8 GEMM with AVX2: vpmaddubsw adds pairs of products in 16 bits and saturates, so the rows come in
 * ±63 (this backend's levels): 2·255·63 fits.
 *
 * Where many rows meet a panel, its weights are halved first, once for all rows: four products then fit 16 bits
 * (4·128·63) and are added there, which takes three multiplications for what took four.
 */
#define ROWS 4
#define UNROLL_STEPS UNROLL   /* the loop's own instructions compete for the ports that are the limit */
#include "tensor/int8_ymm.h"

#define MANY 8                /* rows from which on halving pays */
#define CHUNK 1024            /* of k: a halved panel of it is 16 kB */
#define GROUP 192             /* rows whose sums wait at once: 12 kB */

/* In assembly because GCC 12 hoists all products of a step over the sums, and then has too few registers. */
static inline __m256i multiply(__m256i sum, __m256i w, __m256i x)
{
    __m256i pairs;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(pairs) : "x"(w), "x"(x), "x"(_mm256_set1_epi16(1)));
    return sum;
}

static const _Alignas(32) int16_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* A row's next eight values by 16 outputs. w: the first four values' two vectors, then the second four's. The
 * ones stay in memory: eight sums, four weights and what is named here are all sixteen registers. */
static inline __attribute__((always_inline)) void eight(__m256i *sum, const __m256i *w, const int8_t *x)
{
    __m256i a, b, c, d;
    __asm__("vpbroadcastd %10, %2\n\tvpbroadcastd %11, %3\n\t"
            "vpmaddubsw %2, %6, %4\n\tvpmaddubsw %3, %8, %5\n\tvpaddw %5, %4, %4\n\tvpmaddwd %12, %4, %4\n\tvpaddd %4, %0, %0\n\t"
            "vpmaddubsw %2, %7, %2\n\tvpmaddubsw %3, %9, %3\n\tvpaddw %3, %2, %2\n\tvpmaddwd %12, %2, %2\n\tvpaddd %2, %1, %1"
            : "+x"(sum[0]), "+x"(sum[1]), "=&x"(a), "=&x"(b), "=&x"(c), "=&x"(d)
            : "x"(w[0]), "x"(w[1]), "x"(w[2]), "x"(w[3]), "m"(*(const int32_t *)x), "m"(*(const int32_t *)(x + 4)),
              "m"(*(const __m256i *)ones));
}

/* The chunk of k that is at work, halved: w' = (w + 1) / 2, where w is a weight + 128. */
struct piece { _Alignas(32) uint8_t w[16 * CHUNK]; int from, to; };

static void halve(struct piece *c, const struct rs_int8_job *j, int col)
{
    const int8_t *w = j->panel + (ptrdiff_t)col * j->kpad + (ptrdiff_t)c->from * 16;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)(c->to - c->from) * 16; i += 32)
        _mm256_store_si256((__m256i *)(c->w + i), _mm256_avg_epu8(_mm256_loadu_si256((const __m256i *)(w + i)),
                                                                  _mm256_setzero_si256()));
}

/* Always inlined with constant counts, so that the sums live in registers. */
static inline __attribute__((always_inline)) void halved(const struct rs_int8_job *j, const struct piece *c, int row, int rows,
                                                         int col, int32_t (*sums)[16])
{
    const int8_t *x = rs_int8_row(j, row) + (ptrdiff_t)c->from * 16;
    const uint8_t *line = c->w;
    __m256i sum[ROWS][2];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int i = 0; i < 2; i++)
            sum[r][i] = c->from ? _mm256_load_si256((const __m256i *)(sums[r] + 8 * i)) : _mm256_setzero_si256();
    for (int k = c->from; k < c->to; k += 64, x += RS_TILE)
        UNROLL
        for (int g = 0; g < 64; g += 8, line += 128) {
            __m256i w[4];
            UNROLL
            for (int i = 0; i < 4; i++)
                w[i] = _mm256_load_si256((const __m256i *)(line + 32 * i));
            UNROLL
            for (int r = 0; r < rows; r++)
                eight(sum[r], w, x + r * 64 + g);
        }
    /* What is left when k ends is half of the sum; doubled, the row's sum comes 128-fold as in every backend. */
    const bool last = c->to == j->kpad;
    const __m128i shift = _mm_cvtsi32_si128(last);
    UNROLL
    for (int r = 0; r < rows; r++) {
        _mm256_store_si256((__m256i *)sums[r], _mm256_sll_epi32(sum[r][0], shift));
        _mm256_store_si256((__m256i *)(sums[r] + 8), _mm256_sll_epi32(sum[r][1], shift));
    }
    if (last)
        finish_tile(j, sums[0], row, rows, col);
}

static void many(const struct rs_int8_job *j, int from, int to)
{
    _Alignas(32) int32_t sums[GROUP][16];
    struct piece c;
    for (int col = from; col < to; col += 16) {
        struct ahead p = ahead_of(j, col, 16);
        const ptrdiff_t chunks = (j->kpad + CHUNK - 1) / CHUNK, lines = (p.end - p.at) * ROWS / 64 / j->m / chunks + 1;
        for (int first = 0; first < j->m; first += GROUP) {
            const int end = first + GROUP < j->m ? first + GROUP : j->m;
            for (c.from = 0; c.from < j->kpad; c.from = c.to) {
                c.to = c.from + CHUNK < j->kpad ? c.from + CHUNK : j->kpad;
                halve(&c, j, col);
                int row = first;
                for (; row + ROWS <= end; row += ROWS) {
                    fetch(&p, lines);
                    halved(j, &c, row, ROWS, col, sums + (row - first));
                }
                for (; row < end; row++)
                    halved(j, &c, row, 1, col, sums + (row - first));
            }
        }
    }
    _mm256_zeroupper();       /* GCC 12 forgets it here */
}

void rs_int8_columns_avx2(const struct rs_int8_job *j, int from, int to)
{
    if (j->m < MANY)
        columns(j, from, to);
    else
        many(j, from, to);
}
