/* GCC's and clang's vector types, WIDTH bytes wide (defined by the includer), and functions on them. The same
 * source serves SSE2, NEON, AVX2 and AVX-512; only max has no operator and needs the intrinsic. Static
 * inline, because each including file is compiled for its own instruction set.
 */
#include <math.h>
#include <string.h>
#if defined __x86_64__
#include <immintrin.h>
#elif defined __aarch64__
#include <arm_neon.h>
#endif

#include "tensor/linear.h"

/* Before a loop over registers: unrolled whole, so that arrays of vectors become registers. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define LANES (WIDTH / 4)
typedef float vf __attribute__((vector_size(WIDTH)));
typedef int32_t vi __attribute__((vector_size(WIDTH)));
typedef int8_t vb __attribute__((vector_size(LANES)));

static inline vf load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
static inline void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf load_part(const float *p, int n) { vf v = {0}; memcpy(&v, p, (size_t)n * sizeof *p); return v; }
static inline vf load_n(const float *p, int n) { return n >= LANES ? load(p) : load_part(p, n); }
static inline void store_part(float *p, vf v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }
static inline void store_n(float *p, vf v, int n) { if (n >= LANES) store(p, v); else store_part(p, v, n); }
static inline vf splat(float f) { return f - (vf){0}; }

static inline vf max2(vf a, vf b)
{
#if WIDTH == 64
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif WIDTH == 32
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined __x86_64__
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#elif defined __aarch64__
    return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
#else
    for (int i = 0; i < LANES; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
#endif
}

static inline vf abs_v(vf x) { return (vf)((vi)x & 0x7fffffff); }
static inline vf min2(vf a, vf b)
{
#if WIDTH == 64
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif WIDTH == 32
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return -max2(-a, -b);
#endif
}

/* Of two vectors the first halves or the second ones, their elements in turns. */
#if WIDTH == 64
#define FIRST_HALVES(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define SECOND_HALVES(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif WIDTH == 32
#define FIRST_HALVES(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define SECOND_HALVES(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define FIRST_HALVES(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define SECOND_HALVES(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

/* LANES rows of as many elements become columns: each step halves the distance between neighbours. */
static inline __attribute__((always_inline)) void transpose(vf *rows)
{
    UNROLL
    for (int step = 1; step < LANES; step *= 2) {
        vf next[LANES];
        UNROLL
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = FIRST_HALVES(rows[i], rows[i + LANES / 2]);
            next[2 * i + 1] = SECOND_HALVES(rows[i], rows[i + LANES / 2]);
        }
        UNROLL
        for (int i = 0; i < LANES; i++)
            rows[i] = next[i];
    }
}

static inline float sum_lanes(vf v)
{
    float s = 0;
    for (int step = LANES / 2; step; step /= 2)
        for (int i = 0; i < step; i++)
            v[i] += v[i + step];
    s = v[0];
    return s;
}

static inline float max_lanes(vf v)
{
    float m = v[0];
    for (int i = 1; i < LANES; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

/* A bit for each lane in which a >= b. */
static inline unsigned at_least_v(vf a, vf b)
{
#if WIDTH == 64
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#elif WIDTH == 32
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GE_OQ));
#elif defined __x86_64__
    return (unsigned)_mm_movemask_ps(_mm_cmpge_ps((__m128)a, (__m128)b));
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES; i++)
        bits |= (unsigned)(a[i] >= b[i]) << i;
    return bits;
#endif
}

static inline vf round_magic(vf x, vi *n)
{
    const vf magic = splat(0x1.8p23f), shifted = x + magic;   /* the sum's low mantissa bits are round(x) */
    *n = (vi)shifted - (vi)magic;
    return shifted - magic;
}

/* e^x = 2^n · e^r with |r| <= ln2/2; e^r by its Taylor polynomial of degree 7, whose remainder is below
 * 1e-8. ln2 is split so that x − n·ln2 loses nothing. Below e^-87 the result is e^-87. */
static inline vf exp_v(vf x)
{
    vi n;
    x = min2(max2(x, splat(-87.f)), splat(88.f));
    const vf t = round_magic(x * splat(0x1.715476p+0f), &n);
    const vf r = x - t * splat(0x1.62e4p-1f) - t * splat(0x1.7f7d1cp-20f);
    vf p = splat(1.f / 5040);
    p = p * r + splat(1.f / 720);
    p = p * r + splat(1.f / 120);
    p = p * r + splat(1.f / 24);
    p = p * r + splat(1.f / 6);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.f);
    p = p * r + splat(1.f);
    return p * (vf)((n + 127) << 23);
}

/* ln x for positive normal x = 2^e·m with m in [√½, √2): ln m = 2·(z + z³/3 + z⁵/5 + …), z = (m − 1)/(m + 1), whose terms from
 * z¹¹ on are below 1e-9 of it. ln2 is split so that e·ln2 loses nothing. */
static inline vf log_v(vf x)
{
    const vi from = (vi)splat(0x1.6a09e6p-1f), e = ((vi)x - from) >> 23;
    const vf m = (vf)((vi)x - (e << 23)), n = __builtin_convertvector(e, vf), z = (m - 1.f) / (m + 1.f), q = z * z;
    vf p = splat(2.f / 9);
    p = p * q + splat(2.f / 7);
    p = p * q + splat(2.f / 5);
    p = p * q + splat(2.f / 3);
    p = p * q + splat(2.f);
    return n * splat(0x1.62e4p-1f) + (n * splat(0x1.7f7d1cp-20f) + p * z);
}

/* 1/x. AVX-512's division takes 24 cycles; its 14-bit estimate and one step of Newton's are as good. */
static inline vf inverse_v(vf x)
{
#if WIDTH == 64
    const vf r = (vf)_mm512_rcp14_ps((__m512)x);
    return r * (2.f - x * r);
#else
    return 1.f / x;
#endif
}

#if WIDTH >= 32
/* 2^t = 2^n · 2^f with |f| <= 1/2, which a polynomial of degree 5, fitted for the least relative error (1e-7),
 * gives; AVX-512 rounds and scales by 2^n in one instruction each. Half the work of exp_v, and most of what
 * a linear layer's activation costs. */
static inline vf sigmoid_v(vf x)
{
    const vf to2 = splat(-0x1.715476p+0f), v = min2(max2(x, splat(-87)), splat(87));
    /* f: without the product's rounding */
#if WIDTH == 64
    const vf n = (vf)_mm512_roundscale_ps((__m512)(v * to2), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vf f = (vf)_mm512_fmsub_ps((__m512)v, (__m512)to2, (__m512)n);
#else
    vi n;
    const vf f = (vf)_mm256_fmsub_ps((__m256)v, (__m256)to2, (__m256)round_magic(v * to2, &n));
#endif
    vf p = splat(0.0013264727f);
    p = p * f + splat(0.009671513f);
    p = p * f + splat(0.055507336f);
    p = p * f + splat(0.24022242f);
    p = p * f + splat(0.693147f);
    p = p * f + splat(1.f);
#if WIDTH == 64
    return inverse_v(1.f + (vf)_mm512_scalef_ps((__m512)p, (__m512)n));
#else
    return inverse_v(1.f + (vf)((vi)p + (n << 23)));
#endif
}
#else
static inline vf sigmoid_v(vf x) { return inverse_v(1.f + exp_v(-x)); }
#endif
static inline vf silu_v(vf x) { return x * sigmoid_v(x); }
static inline vf tanh_v(vf x)
{
    /* Near 0 the difference below cancels: x − x³/3 + 2x⁵/15 − 17x⁷/315 is exact enough for |x| < 0.2. */
    const vf q = x * x, small = x * (1.f + q * (-1.f / 3 + q * (2.f / 15 + q * (-17.f / 315))));
    const vf big = 1.f - 2.f / (1.f + exp_v(2.f * x));
    const vi near = q < splat(0.04f);
    return (vf)(((vi)small & near) | ((vi)big & ~near));
}
static inline vf relu_v(vf x) { return max2(x, splat(0)); }
static inline vf act_v(vf x, enum rs_act act)
{
    return act == RS_ACT_SILU ? silu_v(x) : act == RS_ACT_RELU ? relu_v(x) : x;
}
