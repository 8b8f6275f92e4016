/* Matrix products in half precision (AVX512-FP16), for training on processors that have neither AMX nor fast bfloat16.
 *
 * Numbers come and go as f32. Panels of both factors are brought to a largest magnitude of 2 to 4 by a power of two,
 * so that nothing overflows. Sums are taken in half precision over 128 products at a time, and those in f32.
 * Error: that of bfloat16's rounding of the factors, about. Compiled by kernels.py.
 */
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512FP16__
#include <immintrin.h>
#include <math.h>
#include <omp.h>

enum { ROWS = 12, COLUMNS = 64, DEPTH = 256, SUM = 128,
       STRIDE = DEPTH + 16 };       /* of the left factor's rows: no power of two, whose lines would share cache sets */

int half_available(void)
{
    return 1;
}

/* A power of two that brings `largest` to [2, 4). */
static float unit(float largest)
{
    return largest > 1e-30f ? ldexpf(1, 1 - ilogbf(largest)) : 1;
}

/* c[12][64] += scale * a b; the element (r, k) of a stands, twice in 32 bits, at a[r * row + k * step]. */
static inline __attribute__((always_inline)) void tile(const int *a, int row, int step, const _Float16 *b, int depth,
                                                       float scale, float *c, long stride)
{
    __m512 factor = _mm512_set1_ps(scale);
    for (int begin = 0; begin < depth; begin += SUM) {
        int end = begin + SUM < depth ? begin + SUM : depth;
        __m512h sum[ROWS][2];
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++)
            sum[r][0] = sum[r][1] = _mm512_setzero_ph();
        for (int k = begin; k < end; k++) {
            __m512h left = _mm512_load_ph(b + k * COLUMNS), right = _mm512_load_ph(b + k * COLUMNS + 32);
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++) {
                __m512h v = _mm512_castsi512_ph(_mm512_set1_epi32(a[r * row + k * step]));
                sum[r][0] = _mm512_fmadd_ph(v, left, sum[r][0]);
                sum[r][1] = _mm512_fmadd_ph(v, right, sum[r][1]);
            }
        }
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++)
            for (int h = 0; h < 2; h++) {
                float *out = c + r * stride + 32 * h;
                __m512i bits = _mm512_castph_si512(sum[r][h]);
                __m512 low = _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_castsi512_si256(bits)));
                __m512 high = _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_extracti64x4_epi64(bits, 1)));
                _mm512_storeu_ps(out, _mm512_fmadd_ps(low, factor, _mm512_loadu_ps(out)));
                _mm512_storeu_ps(out + 16, _mm512_fmadd_ps(high, factor, _mm512_loadu_ps(out + 16)));
            }
    }
}

static inline __mmask16 first(int n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* Largest magnitude of x[rows][columns], columns contiguous. */
static float largest(const float *x, long stride, int rows, int columns)
{
    __m512 most = _mm512_setzero_ps();
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c += 16)
            most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(first(columns - c), x + r * stride + c)));
    return _mm512_reduce_max_ps(most);
}

/* 16 halves of x * scale, as a mask allows. */
static inline __m256i halves(const float *x, __mmask16 mask, __m512 scale)
{
    return _mm256_castph_si256(_mm512_cvtxps_ph(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x), scale)));
}

/* 16 halves, each twice. */
static inline __m512i twice(__m256i h)
{
    __m512i wide = _mm512_cvtepu16_epi32(h);
    return _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
}

/* b[depth][64] of a factor whose columns (or, transposed, rows) are contiguous; returns the scale. */
static float pack_right(const float *x, long stride, int transposed, int depth, int columns, _Float16 *b)
{
    float scale = transposed ? unit(largest(x, stride, columns, depth)) : unit(largest(x, stride, depth, columns));
    __m512 factor = _mm512_set1_ps(scale);
    if (!transposed) {
        for (int k = 0; k < depth; k++)
            for (int c = 0; c < COLUMNS; c += 16)
                _mm256_store_si256((__m256i *)(b + k * COLUMNS + c),
                                   halves(x + k * stride + c, first(columns - c), factor));
        return scale;
    }
    __m512i at = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                    _mm512_set1_epi32((int)stride));
    for (int k = 0; k < depth; k++)
        for (int c = 0; c < COLUMNS; c += 16) {
            __m512 v = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), first(columns - c), at, x + c * stride + k, 4);
            _mm256_store_si256((__m256i *)(b + k * COLUMNS + c),
                               _mm256_castph_si256(_mm512_cvtxps_ph(_mm512_mul_ps(v, factor))));
        }
    return scale;
}

/* a[12][STRIDE] of contiguous rows, or a[depth][16] of contiguous columns; returns the scale. */
static float pack_left(const float *x, long stride, int transposed, int rows, int depth, int *a)
{
    float scale = transposed ? unit(largest(x, stride, depth, rows)) : unit(largest(x, stride, rows, depth));
    __m512 factor = _mm512_set1_ps(scale);
    if (transposed)
        for (int k = 0; k < depth; k++)
            _mm512_store_si512(a + k * 16, twice(halves(x + k * stride, first(rows), factor)));
    else
        for (int r = 0; r < ROWS; r++)
            for (int k = 0; k < depth; k += 16)
                _mm512_store_si512(a + r * STRIDE + k,
                                   twice(halves(x + r * stride + k, r < rows ? first(depth - k) : 0, factor)));
    return scale;
}

/* A matrix: element (i, j) is at data[i * stride + j] or, turned, at data[j * stride + i]. */
struct matrix {
    const float *data;
    long stride;
    int turned;
};

/* Rows 12 * begin to 12 * end of c[M][N] = a b + bias; bias may be null. Returns -1 without memory. */
static int rows_of_product(struct matrix a, struct matrix b, const float *bias, float *c, int M, int N, int K, int begin,
                           int end)
{
    int right = (N + COLUMNS - 1) / COLUMNS;
    _Float16 *packed = aligned_alloc(64, (size_t)right * COLUMNS * DEPTH * sizeof *packed);
    int *panel = aligned_alloc(64, (size_t)16 * DEPTH * sizeof *panel);
    float *scales = malloc((size_t)right * sizeof *scales), edge[ROWS * COLUMNS];
    int failed = !packed || !panel || !scales;
    for (int k = 0; k < K && !failed; k += DEPTH) {
        int depth = K - k < DEPTH ? K - k : DEPTH;
        for (int q = 0; q < right; q++) {
            long n = q * COLUMNS;
            scales[q] = pack_right(b.data + (b.turned ? n * b.stride + k : k * b.stride + n), b.stride, b.turned, depth,
                                   N - n < COLUMNS ? (int)(N - n) : COLUMNS, packed + n * DEPTH);
        }
        for (int p = begin; p < end; p++) {
            long m = p * ROWS;
            int rows = M - m < ROWS ? (int)(M - m) : ROWS;
            float scale = pack_left(a.data + (a.turned ? k * a.stride + m : m * a.stride + k), a.stride, a.turned, rows,
                                    depth, panel);
            for (int r = 0; !k && r < rows; r++)
                if (bias)
                    memcpy(c + (m + r) * N, bias, (size_t)N * sizeof *c);
                else
                    memset(c + (m + r) * N, 0, (size_t)N * sizeof *c);
            for (int q = 0; q < right; q++) {
                long n = q * COLUMNS;
                int columns = N - n < COLUMNS ? (int)(N - n) : COLUMNS, whole = rows == ROWS && columns == COLUMNS;
                float *out = whole ? c + m * N + n : edge, back = 1 / (scale * scales[q]);
                long stride = whole ? N : COLUMNS;
                if (!whole)
                    memset(edge, 0, sizeof edge);
                if (a.turned)
                    tile(panel, 1, 16, packed + n * DEPTH, depth, back, out, stride);
                else
                    tile(panel, STRIDE, 1, packed + n * DEPTH, depth, back, out, stride);
                for (int r = 0; !whole && r < rows; r++)
                    for (int i = 0; i < columns; i++)
                        c[(m + r) * N + n + i] += edge[r * COLUMNS + i];
            }
        }
    }
    free(packed);
    free(panel);
    free(scales);
    return -failed;
}

/* c[count][M][N] = a b + bias for `count` pairs of factors that lie a_step and b_step numbers apart. Returns 0, or
 * another value without memory. */
int half_products(int count, const float *a, long a_step, long a_stride, int a_turned, const float *b, long b_step,
                  long b_stride, int b_turned, const float *bias, float *c, int M, int N, int K)
{
    int panels = (M + ROWS - 1) / ROWS, failed = 0;
    int parts = count > 1 ? 1 : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic) reduction(| : failed)
    for (int i = 0; i < count * parts; i++) {
        int n = i / parts, part = i % parts;
        failed |= rows_of_product((struct matrix){a + n * a_step, a_stride, a_turned},
                                  (struct matrix){b + n * b_step, b_stride, b_turned}, bias, c + (long)n * M * N, M, N, K,
                                  panels * part / parts, panels * (part + 1) / parts);
    }
    return failed;
}

#else

int half_available(void)
{
    return 0;
}

#endif
