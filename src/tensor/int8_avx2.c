/* int8 GEMM with AVX2: vpmaddubsw adds pairs of products in 16 bits and saturates, so the rows come in
 * ±63 (this backend's levels): 2·255·63 fits.
 */
#define ROWS 4
#define UNROLL_STEPS UNROLL   /* the loop's own instructions compete for the ports that are the limit */
#include "tensor/int8_ymm.h"

/* In assembly because GCC 12 hoists all products of a step over the sums, and then has too few registers. */
static inline __m256i multiply(__m256i sum, __m256i w, __m256i x)
{
    __m256i pairs;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(pairs) : "x"(w), "x"(x), "x"(_mm256_set1_epi16(1)));
    return sum;
}

void rs_int8_columns_avx2(const struct rs_int8_job *j, int from, int to) { columns(j, from, to); }
