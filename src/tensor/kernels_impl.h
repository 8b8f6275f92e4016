/* The one source of the small loops, on the vector types of vec.h. The file that includes this defines
 * WIDTH and TABLE. Rows of any length: the last, partial vector goes through a zero-filled copy.
 */
#include "tensor/backend.h"
#include "tensor/kernels.h"
#include "tensor/vec.h"

#define ELEMENTWISE(name, expression) \
    static void name(const float *x, int n, float *y) \
    { \
        int i = 0; \
        for (; i + LANES <= n; i += LANES) { \
            const vf v = load(x + i); \
            store(y + i, expression); \
        } \
        if (i < n) { \
            const vf v = load_part(x + i, n - i); \
            store_part(y + i, expression, n - i); \
        } \
    }
ELEMENTWISE(silu, silu_v(v))
ELEMENTWISE(sigmoid, sigmoid_v(v))
ELEMENTWISE(tanh_all, tanh_v(v))
ELEMENTWISE(relu, relu_v(v))
ELEMENTWISE(exp_all, exp_v(v))
ELEMENTWISE(log_all, log_v(v))

/* The largest value first, then where it stands. */
static int argmax(const float *x, int n)
{
    vf m = splat(x[0]);
    float top = x[0];
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        m = max2(m, load(x + i));
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    const float most = max_lanes(m);
    top = most > top ? most : top;
    for (i = 0; i + LANES <= n; i += LANES) {
        const unsigned there = at_least_v(load(x + i), splat(top));
        if (there)
            return i + __builtin_ctz(there);
    }
    for (; i < n; i++)
        if (x[i] == top)
            return i;
    return 0;
}

static int at_least(const float *x, int n, float limit, int *at)
{
    int count = 0, i = 0;
    for (; i + LANES <= n; i += LANES)
        for (unsigned there = at_least_v(load(x + i), splat(limit)); there; there &= there - 1)
            at[count++] = i + __builtin_ctz(there);
    for (; i < n; i++)
        if (x[i] >= limit)
            at[count++] = i;
    return count;
}

static float sum_exp(const float *x, int n, float from)
{
    vf s = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        s += exp_v(load(x + i) - from);
    float sum = sum_lanes(s);
    if (i < n) {
        const vf v = exp_v(load_part(x + i, n - i) - from);
        for (int j = 0; j < n - i; j++)
            sum += v[j];
    }
    return sum;
}

static void glu(const float *x, int n, float *y)
{
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(x + i) * sigmoid_v(load(x + n + i)));
    if (i < n)
        store_part(y + i, load_part(x + i, n - i) * sigmoid_v(load_part(x + n + i, n - i)), n - i);
}

static void lstm(const float *gates, const float *recalled, int n, const float *before, float *cell, float *h)
{
    for (int i = 0; i < n; i += LANES) {
        vf g[4];
        for (int k = 0; k < 4; k++) {
            g[k] = load_n(gates + k * n + i, n - i);
            if (recalled)
                g[k] += load_n(recalled + k * n + i, n - i);
        }
        const vf c = sigmoid_v(g[1]) * load_n(before + i, n - i) + sigmoid_v(g[0]) * tanh_v(g[2]);
        store_n(cell + i, c, n - i);
        store_n(h + i, sigmoid_v(g[3]) * tanh_v(c), n - i);
    }
}

static void from_f16(const void *x, int n, float *y)
{
    const char *at = x;
    int i = 0;
#if WIDTH == 64
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(at + 2 * i))));
#elif WIDTH == 32
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(at + 2 * i))));
#endif
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, at + 2 * i, sizeof h);
        y[i] = rs_f16_to_f32(h);
    }
}

static void add(const float *x, int n, float alpha, float *y)
{
    const vf a = splat(alpha);
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(y + i) + a * load(x + i));
    for (; i < n; i++)
        y[i] += alpha * x[i];
}

static float largest(const float *x, ptrdiff_t xs, int m, int n)
{
    vf most[4] = {{0}};
    for (int r = 0; r < m; r++, x += xs) {
        int i = 0;
        for (; i + 4 * LANES <= n; i += 4 * LANES)
            UNROLL
            for (int j = 0; j < 4; j++)
                most[j] = max2(abs_v(load(x + i + j * LANES)), most[j]);
        for (; i < n; i += LANES)
            most[0] = max2(abs_v(load_n(x + i, n - i)), most[0]);
    }
    return max_lanes(max2(max2(most[0], most[1]), max2(most[2], most[3])));
}

static float quantize(const float *x, int n, int padded, int levels, int8_t *q, int32_t *sum)
{
    const float amax = largest(x, 0, 1, n), inverse = amax > 0 ? (float)levels / amax : 0;
    const vf f = splat(inverse);
    vi total = {0};
    int i = 0;
#if WIDTH == 32
    /* AVX2 narrows only in halves of a register: four vectors at once, put in order in the end. */
    for (; i + 32 <= n; i += 32) {
        vi r[4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            round_magic(load(x + i + j * LANES) * f, &r[j]);
            total += r[j];
        }
        const __m256i low = _mm256_packs_epi32((__m256i)r[0], (__m256i)r[1]), high = _mm256_packs_epi32((__m256i)r[2], (__m256i)r[3]);
        const __m256i b = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        memcpy(q + i / 64 * RS_TILE + i % 64, &b, sizeof b);
    }
#endif
    for (; i < padded; i += LANES) {
        const int left = n - i;
        vi r;
        round_magic((left >= LANES ? load(x + i) : left > 0 ? load_part(x + i, left) : (vf){0}) * f, &r);
        const vb b = __builtin_convertvector(r, vb);
        total += r;
        memcpy(q + i / 64 * RS_TILE + i % 64, &b, sizeof b);
    }
    *sum = 0;
    for (i = 0; i < LANES; i++)
        *sum += total[i];
    return amax / (float)levels;
}

/* Four sums at once in both: one alone would wait four cycles for itself at every step. */
static float sum_all(const float *x, int n)
{
    vf s[4] = {{0}};
    int i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        UNROLL
        for (int j = 0; j < 4; j++)
            s[j] += load(x + i + j * LANES);
    }
    for (; i < n; i += LANES)
        s[0] += load_n(x + i, n - i);
    return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

static float squares_around(const float *x, int n, float mean)
{
    vf s[4] = {{0}};
    int i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            const vf d = load(x + i + j * LANES) - mean;
            s[j] += d * d;
        }
    }
    for (; i + LANES <= n; i += LANES) {
        const vf d = load(x + i) - mean;
        s[0] += d * d;
    }
    float sum = sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
    for (; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

static void layer_norm(const float *x, const float *gamma, const float *beta, int n, float eps, float *y)
{
    const float mean = sum_all(x, n) / (float)n, f = 1 / sqrtf(squares_around(x, n, mean) / (float)n + eps);
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, (load(x + i) - mean) * f * load(gamma + i) + load(beta + i));
    for (; i < n; i++)
        y[i] = (x[i] - mean) * f * gamma[i] + beta[i];
}

static void softmax(float *x, int n, float scale)
{
    vf m = splat(-INFINITY), s = {0};
    int i = 0;
    float top = -INFINITY, sum = 0;
    for (; i + LANES <= n; i += LANES)
        m = max2(m, load(x + i));
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    const float best = max_lanes(m);
    top = best > top ? best : top;
    for (i = 0; i + LANES <= n; i += LANES) {
        const vf v = exp_v((load(x + i) - top) * scale);
        s += v;
        store(x + i, v);
    }
    if (i < n) {
        const vf v = exp_v((load_part(x + i, n - i) - top) * scale);
        store_part(x + i, v, n - i);
        for (int j = i; j < n; j++)
            sum += x[j];
    }
    const float f = 1 / (sum + sum_lanes(s));
    for (i = 0; i + LANES <= n; i += LANES)
        store(x + i, load(x + i) * f);
    for (; i < n; i++)
        x[i] *= f;
}

/* Several sums at once, in registers: one alone would wait for itself at every tap. Each vector has `left` values or, of more,
 * all of its own. */
static inline __attribute__((always_inline)) void depthwise_at(const float *const *rows, const float *const *w, int taps, const float *b,
                                                               int i, int vectors, int left, enum rs_act act, float *y)
{
    vf s[4];
    UNROLL
    for (int v = 0; v < vectors; v++)
        s[v] = b ? load_n(b + i + v * LANES, left) : (vf){0};
    for (int j = 0; j < taps; j++)
        UNROLL
        for (int v = 0; v < vectors; v++)
            s[v] += load_n(rows[j] + i + v * LANES, left) * load_n(w[j] + i + v * LANES, left);
    UNROLL
    for (int v = 0; v < vectors; v++)
        store_n(y + i + v * LANES, act_v(s[v], act), left);
}

static void depthwise(const float *const *rows, int taps, const float *w, const float *b, int n, enum rs_act act, float *y)
{
    const float *row[RS_TAPS], *weights[RS_TAPS];
    int count = 0, i = 0;
    for (int j = 0; j < taps; j++)
        if (rows[j]) {
            row[count] = rows[j];
            weights[count++] = w + (ptrdiff_t)j * n;
        }
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        depthwise_at(row, weights, count, b, i, 4, LANES, act, y);
    for (; i < n; i += LANES)
        depthwise_at(row, weights, count, b, i, 1, n - i, act, y);
}

#define DOT_ROWS 4
#define DOT_COLS (WIDTH == 64 ? 4 : 2)

/* rows x cols products at once, so that each loaded vector is used several times. Always inlined with
 * constant counts: the accumulators live in registers. */
static inline __attribute__((always_inline)) void dot_block(const float *x, ptrdiff_t xs, const float *w, ptrdiff_t ws,
                                                            int k, int rows, int cols, float *y, ptrdiff_t ys)
{
    vf acc[DOT_ROWS][DOT_COLS] = {{{0}}};
    int i = 0;
    for (; i + LANES <= k; i += LANES) {
        vf b[DOT_COLS];
        UNROLL
        for (int c = 0; c < cols; c++)
            b[c] = load(w + c * ws + i);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const vf a = load(x + r * xs + i);
            UNROLL
            for (int c = 0; c < cols; c++)
                acc[r][c] += a * b[c];
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int c = 0; c < cols; c++) {
            float s = sum_lanes(acc[r][c]);
            for (int j = i; j < k; j++)
                s += x[r * xs + j] * w[c * ws + j];
            y[r * ys + c] = s;
        }
}

static void dots(const float *x, ptrdiff_t xs, int m, const float *w, ptrdiff_t ws, int n, int k, float *y, ptrdiff_t ys)
{
    int j = 0;
    for (; j + DOT_COLS <= n; j += DOT_COLS) {
        int i = 0;
        for (; i + DOT_ROWS <= m; i += DOT_ROWS)
            dot_block(x + i * xs, xs, w + j * ws, ws, k, DOT_ROWS, DOT_COLS, y + i * ys + j, ys);
        for (; i < m; i++)
            dot_block(x + i * xs, xs, w + j * ws, ws, k, 1, DOT_COLS, y + i * ys + j, ys);
    }
    for (; j < n; j++)
        for (int i = 0; i < m; i++)
            dot_block(x + i * xs, xs, w + j * ws, ws, k, 1, 1, y + i * ys + j, ys);
}

#define MIX_ROWS (WIDTH == 64 ? 8 : 4)

static inline __attribute__((always_inline)) void mix_block(const float *a, ptrdiff_t as, const float *v, ptrdiff_t vs,
                                                            int n, int rows, float *y, ptrdiff_t ys)
{
    vf acc[MIX_ROWS][2] = {{{0}}};
    for (int j = 0; j < n; j++) {
        const vf v0 = load(v + j * vs), v1 = load(v + j * vs + LANES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const vf f = splat(a[r * as + j]);
            acc[r][0] += f * v0;
            acc[r][1] += f * v1;
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        store(y + r * ys, acc[r][0]);
        store(y + r * ys + LANES, acc[r][1]);
    }
}

static void mix(const float *a, ptrdiff_t as, int m, const float *v, ptrdiff_t vs, int n, int d, float *y, ptrdiff_t ys)
{
    int c = 0;
    for (; c + 2 * LANES <= d; c += 2 * LANES) {
        int i = 0;
        for (; i + MIX_ROWS <= m; i += MIX_ROWS)
            mix_block(a + i * as, as, v + c, vs, n, MIX_ROWS, y + i * ys + c, ys);
        for (; i < m; i++)
            mix_block(a + i * as, as, v + c, vs, n, 1, y + i * ys + c, ys);
    }
    for (; c < d; c++)
        for (int i = 0; i < m; i++) {
            float s = 0;
            for (int j = 0; j < n; j++)
                s += a[i * as + j] * v[j * vs + c];
            y[i * ys + c] = s;
        }
}

typedef int16_t vs __attribute__((vector_size(LANES * 2)));

/* In 32-bit lanes, each one output's four values: u·R + C with C = ½ − 8·R is (u − 8)·R, rounded by the shift. */
static void unpack4(const uint8_t *packed, int groups, int8_t *panel)
{
    for (int g = 0; g < groups; g++, packed += 32 + 256, panel += 512)
        for (int c = 0; c < 16; c += LANES) {
            vs narrow;
            memcpy(&narrow, packed + 2 * c, sizeof narrow);
            const vi ratio = __builtin_convertvector(narrow, vi), start = 1024 - 8 * ratio;
            for (int line = 0; line < 8; line++) {
                vi nibbles, out = {0};
                memcpy(&nibbles, packed + 32 + line % 4 * 64 + 4 * c, sizeof nibbles);
                nibbles = line < 4 ? nibbles : nibbles >> 4;
                UNROLL
                for (int b = 0; b < 4; b++) {
                    const vi v = ((((nibbles >> 8 * b) & 15) * ratio + start) >> 11) + RS_INT8_BIAS;
                    out |= (v & 255) << 8 * b;
                }
                memcpy(panel + line * 64 + 4 * c, &out, sizeof out);
            }
        }
}

#define PANEL (2 * LANES)

static void pack(const float *x, ptrdiff_t xs, int k, int n, float *to)
{
    for (int c = 0; c < n; c += PANEL)
        for (int j = 0; j < k; j++, to += PANEL) {
            const int left = n - c;
            store(to, load_n(x + j * xs + c, left));
            store(to + LANES, left > LANES ? load_n(x + j * xs + c + LANES, left - LANES) : (vf){0});
        }
}

static void pack_turned(const float *x, ptrdiff_t xs, int first, int n, int rows, int k, float *to)
{
    static const float nothing[LANES];
    const int all = (n + PANEL - 1) / PANEL * PANEL;
    for (int c = 0; c < all; c += LANES) {
        float *panel = to + (ptrdiff_t)(c / PANEL) * PANEL * k + c % PANEL;
        const float *from[LANES];         /* NULL: zeros */
        for (int i = 0; i < LANES; i++) {
            const int row = first + c + i;
            from[i] = c + i < n && row >= 0 && row < rows ? x + row * xs : NULL;
        }
        int j = 0;
        for (; j + LANES <= k; j += LANES) {
            vf block[LANES];
            UNROLL
            for (int i = 0; i < LANES; i++)
                block[i] = load(from[i] ? from[i] + j : nothing);
            transpose(block);
            UNROLL
            for (int i = 0; i < LANES; i++)
                store(panel + (ptrdiff_t)(j + i) * PANEL, block[i]);
        }
        for (; j < k; j++)
            for (int i = 0; i < LANES; i++)
                panel[(ptrdiff_t)j * PANEL + i] = from[i] ? from[i][j] : 0;
    }
}

static void panels(const float *a, ptrdiff_t as, int m, const float *b, int count, int k, float *y, ptrdiff_t ys)
{
    for (int p = 0; p < count; p++, b += (ptrdiff_t)PANEL * k, y += PANEL) {
        int i = 0;
        for (; i + MIX_ROWS <= m; i += MIX_ROWS)
            mix_block(a + i * as, as, b, PANEL, k, MIX_ROWS, y + i * ys, ys);
        for (; i < m; i++)
            mix_block(a + i * as, as, b, PANEL, k, 1, y + i * ys, ys);
    }
}

#if WIDTH >= 32
/* The lower halves of 32-bit lanes, in sequence. */
static inline void store_low(vi v, int16_t *y)
{
#if WIDTH == 64
    _mm256_storeu_si256((__m256i *)y, _mm512_cvtepi32_epi16((__m512i)v));
#else
    const __m256i pairs = _mm256_packs_epi32((__m256i)v, (__m256i)v);
    _mm_storeu_si128((__m128i *)y, _mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 8)));
#endif
}

static void narrow(const float *x, int n, float by, int16_t *y)
{
    const vf f = splat(by);
    vi r;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        round_magic(load(x + i) * f, &r);
        store_low(r, y + i);
    }
    if (i < n) {
        int16_t last[LANES];
        round_magic(load_part(x + i, n - i) * f, &r);
        store_low(r, last);
        memcpy(y + i, last, (size_t)(n - i + (n & 1)) * sizeof *y);
    }
}

static void pack_pairs(const float *x, ptrdiff_t xs, int k, int n, float by, int16_t *to)
{
    const vf f = splat(by);
    for (int c = 0; c < n; c += PANEL)
        for (int j = 0; j < k; j += 2)
            for (int i = 0; i < PANEL; i += LANES, to += 2 * LANES) {
                const int left = n - c - i;
                const float *at = x + j * xs + c + i;
                vi first = {0}, second = {0};
                if (left > 0)
                    round_magic(load_n(at, left) * f, &first);
                if (left > 0 && j + 1 < k)
                    round_magic(load_n(at + xs, left) * f, &second);
                const vi both = (first & 0xffff) | second << 16;
                memcpy(to, &both, sizeof both);
            }
}

/* AVX-512 has the addition in the same instruction where it has VNNI, as every CPU has that these products run on. */
#if WIDTH == 64
#define PAIRS __attribute__((target("avx512vnni")))
#define ADD_PAIRS(sum, a, b) _mm512_dpwssd_epi32(sum, a, b)
typedef __m512i vpairs;
#else
#define PAIRS
#define ADD_PAIRS(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
typedef __m256i vpairs;
#endif

static PAIRS inline __attribute__((always_inline)) void pairs_block(const int16_t *a, ptrdiff_t as, const int16_t *b, int pairs,
                                                                    int rows, float scale, float *y, ptrdiff_t ys)
{
    vpairs acc[MIX_ROWS][2] = {0};
    for (int j = 0; j < pairs; j++, b += 2 * PANEL) {
        vpairs b0, b1;
        memcpy(&b0, b, sizeof b0);
        memcpy(&b1, b + PANEL, sizeof b1);
        UNROLL
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, a + 2 * (r * as + j), sizeof pair);
            const vpairs f = (vpairs)(pair - (vi){0});
            acc[r][0] = ADD_PAIRS(acc[r][0], f, b0);
            acc[r][1] = ADD_PAIRS(acc[r][1], f, b1);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int c = 0; c < 2; c++) {
            const vf v = __builtin_convertvector((vi)acc[r][c], vf) * scale;
            memcpy(y + r * ys + c * LANES, &v, sizeof v);
        }
}

static PAIRS void panels16(const int16_t *a, ptrdiff_t as, int m, const int16_t *b, int count, int pairs, float scale, float *y, ptrdiff_t ys)
{
    for (int p = 0; p < count; p++, b += (ptrdiff_t)2 * PANEL * pairs, y += PANEL) {
        int i = 0;
        for (; i + MIX_ROWS <= m; i += MIX_ROWS)
            pairs_block(a + 2 * i * as, as, b, pairs, MIX_ROWS, scale, y + i * ys, ys);
        for (; i < m; i++)
            pairs_block(a + 2 * i * as, as, b, pairs, 1, scale, y + i * ys, ys);
    }
}
#endif

static void finish(const float *v, const float *scale, const float *bias, int n, enum rs_act act, float alpha, bool accumulate,
                   float *y)
{
    for (int i = 0; i < n; i += LANES) {
        const int left = n - i;
        vf s = load_n(v + i, left);
        if (scale)
            s *= load_n(scale + i, left);
        if (bias)
            s += load_n(bias + i, left);
        s = alpha * act_v(s, act);
        store_n(y + i, accumulate ? s + load_n(y + i, left) : s, left);
    }
}

const struct rs_kernels TABLE = {
    .name = TABLE_NAME, .quantize = quantize, .layer_norm = layer_norm, .softmax = softmax, .silu = silu,
    .sigmoid = sigmoid, .argmax = argmax, .at_least = at_least, .sum_exp = sum_exp, .tanh = tanh_all, .relu = relu, .lstm = lstm,
    .exp = exp_all, .log = log_all, .glu = glu, .add = add, .from_f16 = from_f16, .depthwise = depthwise, .dots = dots, .mix = mix, .finish = finish, .unpack4 = unpack4, .panel = PANEL, .pack = pack,
    .pack_turned = pack_turned, .panels = panels, .largest = largest,
#if WIDTH >= 32
    .narrow = narrow, .pack_pairs = pack_pairs, .panels16 = panels16,
#endif
};
