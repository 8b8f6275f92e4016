/* int8 GEMM with AVX2: vpmaddubsw adds pairs of products in 16 bits and saturates, so the rows come in
 * ±63 (this backend's levels): 2·255·63 fits.
 *
 * Where many rows meet a panel, its weights are halved first, once for all rows, and sixteen products are added in 16
 * bits before they are widened: nine multiplications do what took sixteen. What meets there has 128·Σ|x| to keep within
 * 16 bits, x of one sign being enough for the worst; a row that would not is quantised in fewer levels (crowd).
 */
#define ROWS 4
#define UNROLL_STEPS UNROLL   /* the loop's own instructions compete for the ports that are the limit */
#include "tensor/int8_ymm.h"

#define MANY 8                /* rows from which on halving pays */
#define CHUNK 1024            /* of k: a halved panel of it is 16 kB */
#define GROUP 192             /* rows whose sums wait at once: 12 kB */
#define DEPTH 32              /* of k, from where each of two 16-bit sums has every other pair of products */

/* In assembly because GCC 12 hoists all products of a step over the sums, and then has too few registers. */
static inline __m256i multiply(__m256i sum, __m256i w, __m256i x)
{
    __m256i pairs;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(pairs) : "x"(w), "x"(x), "x"(_mm256_set1_epi16(1)));
    return sum;
}

/* A row's next four values by 16 outputs, added to (or, the first, put into) its 16-bit sums. */
static inline __attribute__((always_inline)) void four_more(__m256i *sum, __m256i w0, __m256i w1, const int8_t *x, bool first)
{
    __m256i a, b;
    if (first)
        __asm__("vpbroadcastd %4, %1\n\tvpmaddubsw %1, %2, %0\n\tvpmaddubsw %1, %3, %1"
                : "=&x"(sum[0]), "=&x"(sum[1]) : "x"(w0), "x"(w1), "m"(*(const int32_t *)x));
    else
        __asm__("vpbroadcastd %6, %2\n\tvpmaddubsw %2, %4, %3\n\tvpmaddubsw %2, %5, %2\n\tvpaddw %3, %0, %0\n\tvpaddw %2, %1, %1"
                : "+x"(sum[0]), "+x"(sum[1]), "=&x"(a), "=&x"(b) : "x"(w0), "x"(w1), "m"(*(const int32_t *)x));
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

/* Always inlined with constant counts, so that the sums of DEPTH live in registers. Those of all k wait in memory; they are
 * half of what they should be until they are finished. */
static inline __attribute__((always_inline)) void halved(const struct rs_int8_job *j, const struct piece *c, int row, int rows,
                                                         __m256i (*total)[2])
{
    const int8_t *x = rs_int8_row(j, row) + (ptrdiff_t)c->from * 16;
    const uint8_t *line = c->w;
    for (int k = c->from; k < c->to; k += DEPTH, x += k % 64 ? DEPTH : RS_TILE - DEPTH) {
        __m256i sum[ROWS][2];
        if (k % 64 == 0)
            UNROLL
            for (int r = 0; r < rows; r++)          /* these lines are too far apart for the CPU to see a sequence */
                _mm_prefetch(x + RS_TILE + r * 64, _MM_HINT_T0);
        UNROLL
        for (int g = 0; g < DEPTH; g += 4, line += 64) {
            const __m256i w0 = _mm256_load_si256((const __m256i *)line), w1 = _mm256_load_si256((const __m256i *)(line + 32));
            UNROLL
            for (int r = 0; r < rows; r++)
                four_more(sum[r], w0, w1, x + r * 64 + g, g == 0);
        }
        UNROLL
        for (int r = 0; r < rows; r++)
            UNROLL
            for (int i = 0; i < 2; i++) {
                total[r][i] = _mm256_add_epi32(total[r][i], _mm256_madd_epi16(sum[r][i], _mm256_set1_epi16(1)));
                __asm__("" : "+m"(total[r][i]));            /* it stays in memory: GCC 12 would keep it in both */
            }
    }
}

static void many(const struct rs_int8_job *j, int from, int to)
{
    __m256i sums[GROUP][2];
    struct piece c;
    for (int col = from; col < to; col += 16) {
        struct ahead p = ahead_of(j, col, 16);
        const ptrdiff_t chunks = (j->kpad + CHUNK - 1) / CHUNK, lines = (p.end - p.at) * ROWS / 64 / j->m / chunks + 1;
        for (int first = 0; first < j->m; first += GROUP) {
            const int end = first + GROUP < j->m ? first + GROUP : j->m;
            memset(sums, 0, (size_t)(end - first) * sizeof *sums);
            for (c.from = 0; c.from < j->kpad; c.from = c.to) {
                c.to = c.from + CHUNK < j->kpad ? c.from + CHUNK : j->kpad;
                halve(&c, j, col);
                int row = first;
                for (; row + ROWS <= end; row += ROWS) {
                    fetch(&p, lines);
                    halved(j, &c, row, ROWS, sums + (row - first));
                }
                for (; row < end; row++)
                    halved(j, &c, row, 1, sums + (row - first));
            }
            finish_shifted(j, (const int32_t *)sums, 1, first, end - first, col);
        }
    }
    _mm256_zeroupper();       /* GCC 12 forgets it here */
}

int rs_int8_crowd_avx2(const int8_t *row, int kpad)
{
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi8(1);
    __m128i most = _mm_setzero_si128();
    for (int k = 0; k < kpad; k += DEPTH, row += k % 64 ? DEPTH : RS_TILE - DEPTH) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)row);
        /* Pairs of each sign, every other one of which belongs to the same sum. */
        const __m256i p = _mm256_maddubs_epi16(_mm256_max_epi8(x, zero), one);
        const __m256i n = _mm256_maddubs_epi16(_mm256_max_epi8(_mm256_sub_epi8(zero, x), zero), one);
        const __m128i p4 = _mm_add_epi16(_mm256_castsi256_si128(p), _mm256_extracti128_si256(p, 1));
        const __m128i n4 = _mm_add_epi16(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
        const __m128i both = _mm_add_epi16(_mm_unpacklo_epi32(p4, n4), _mm_unpackhi_epi32(p4, n4));
        most = _mm_max_epi16(most, _mm_add_epi16(both, _mm_shuffle_epi32(both, 0x4e)));
    }
    _Alignas(16) int16_t sums[8];
    _mm_store_si128((__m128i *)sums, most);
    int crowd = 0;
    for (int i = 0; i < 4; i++)
        crowd = sums[i] > crowd ? sums[i] : crowd;
    _mm256_zeroupper();
    return crowd;
}

void rs_int8_columns_avx2(const struct rs_int8_job *j, int from, int to)
{
    if (j->m < MANY)
        columns(j, from, to);
    else
        many(j, from, to);
}
