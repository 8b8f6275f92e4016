/* int8 GEMM with AVX-VNNI (CPUs without AVX-512): as int8_vnni.c on 32-byte vectors. */
#include "tensor/int8_ymm.h"

static inline __m256i multiply(__m256i sum, __m256i w, __m256i x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
static inline __m256i prepare_w(__m256i w) { return _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80)); }
static inline __m256i prepare_x(__m256i x) { return x; }
static inline __m256i first_sum(const struct rs_int8_job *j, int row, int col)
{
    (void)col;
    return _mm256_set1_epi32(-128 * j->x_sum[row]);
}

void rs_int8_columns_avxvnni(const struct rs_int8_job *j, int from, int to) { columns(j, from, to); }
