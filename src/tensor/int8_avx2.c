/* int8 GEMM with AVX2: vpmaddubsw adds pairs of products in 16 bits and saturates, so the rows come in
 * ±63 (this backend's levels) and are made unsigned by adding 64: 2·127·127 fits. The sums start at
 * −64·Σw to make up for that.
 */
#include "tensor/int8_ymm.h"

static inline __m256i multiply(__m256i sum, __m256i w, __m256i x)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
}
static inline __m256i prepare_w(__m256i w) { return w; }
static inline __m256i prepare_x(__m256i x) { return _mm256_add_epi8(x, _mm256_set1_epi8(64)); }
static inline __m256i first_sum(const struct rs_int8_job *j, int row, int col)
{
    (void)row;
    return _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(j->row_sum + col)), _mm256_set1_epi32(-64));
}

void rs_int8_columns_avx2(const struct rs_int8_job *j, int from, int to) { columns(j, from, to); }
