/* int8 GEMM with AVX-VNNI (CPUs without AVX-512). */
#define ROWS 6                /* 12 sums: two products a cycle of five cycles each need at least 10 */
#define UNROLL_STEPS
#include "tensor/int8_ymm.h"

/* The intrinsic makes GCC 12 copy every sum around the loop; the operand tied in assembly does not. */
static inline __m256i multiply(__m256i sum, __m256i w, __m256i x)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    return sum;
}

void rs_int8_columns_avxvnni(const struct rs_int8_job *j, int from, int to) { columns(j, from, to); }
