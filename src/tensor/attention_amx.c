/* Relative attention on AMX tiles: q, k, p, the probabilities and the values as bf16, sums in f32.
 *
 * A block of 32 queries at a time. Scores are two products, q+u with the keys and q+v with the positions;
 * in the second, query i meets key j in column 31 + j − i of the block's span of position rows, so that
 * "shifting" is an unaligned load. Position rows are stored moved by `shift`, which puts the first row
 * of every block's span at the start of a tile. Probabilities go straight into tile order; their sum
 * divides the output row.
 */
#include <immintrin.h>

#define WIDTH 64
#include "tensor/attention.h"
#include "tensor/backend.h"
#include "tensor/vec.h"

#define BLOCK 32
#define TILE_VALUES (RS_TILE / 2)

struct room {
    int n, dk, steps;                     /* steps: tiles along dk */
    int keys, key_tiles, shift, row_tiles, span_tiles;
    uint16_t *k, *p, *v, *qu, *qv, *weights;
    float *scores, *position, *out, sum[BLOCK];
};

static size_t lay_out(struct room *r, const struct rs_attention *t, char *at)
{
    const int n = t->n;
    r->n = n;
    r->dk = t->dk;
    r->steps = t->dk / 32;
    r->keys = (n + 31) / 32 * 32;
    r->key_tiles = r->keys / 16;
    r->shift = 32 + (16 - (n % 16)) % 16;             /* n − 1 − 31 + shift is a multiple of 16 */
    r->span_tiles = (r->keys + BLOCK) / 16;
    r->row_tiles = (n - BLOCK + r->shift) / 16 + r->span_tiles;
    const size_t tile = RS_TILE, steps = (size_t)r->steps;
    struct { void **to; size_t bytes; } parts[] = {
        {(void **)&r->k, (size_t)r->key_tiles * steps * tile}, {(void **)&r->p, (size_t)r->row_tiles * steps * tile},
        {(void **)&r->v, (size_t)r->keys / 32 * 2 * steps * tile}, {(void **)&r->qu, 2 * steps * tile},
        {(void **)&r->qv, 2 * steps * tile}, {(void **)&r->weights, 2 * (size_t)r->keys / 32 * tile},
        {(void **)&r->scores, BLOCK * (size_t)r->keys * 4}, {(void **)&r->position, BLOCK * (size_t)r->span_tiles * 64},
        {(void **)&r->out, BLOCK * (size_t)t->dk * 4},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (at)
            *parts[i].to = at + used;
        used += (parts[i].bytes + 63) / 64 * 64;
    }
    return used;
}

size_t rs_attention_amx_room(const struct rs_attention *t)
{
    struct room r;
    return lay_out(&r, t, NULL);
}

static inline __m512i to_bf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

/* 32 values as bf16; zeros where x is NULL. */
static inline __m512i line(const float *x)
{
    return x ? to_bf16(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)) : _mm512_setzero_si512();
}

/* Lines of 16 rows (pairs of bf16 as 32-bit units) turned into a B tile: unit u of row r to row u, column r. */
static void turn(const __m512i a[16], uint16_t *tile)
{
    __m512i t[16], u[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    __m512i *to = (__m512i *)tile;
    UNROLL
    for (int c = 0; c < 4; c++) {
        const __m512i x0 = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88), x1 = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xdd);
        const __m512i y0 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88), y1 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xdd);
        to[c] = _mm512_shuffle_i32x4(x0, y0, 0x88);
        to[4 + c] = _mm512_shuffle_i32x4(x1, y1, 0x88);
        to[8 + c] = _mm512_shuffle_i32x4(x0, y0, 0xdd);
        to[12 + c] = _mm512_shuffle_i32x4(x1, y1, 0xdd);
    }
}

/* Rows first… (those outside [0, rows) are zeros) to `tiles` groups of 16, `steps` B tiles each. */
static void pack_rows(const float *x, ptrdiff_t stride, int first, int rows, int tiles, int steps, uint16_t *to)
{
    for (int t = 0; t < tiles; t++)
        for (int s = 0; s < steps; s++, to += TILE_VALUES) {
            __m512i a[16];
            for (int i = 0; i < 16; i++) {
                const int row = first + 16 * t + i;
                a[i] = line(row >= 0 && row < rows ? x + row * stride + 32 * s : NULL);
                /* Positions come from memory, in pieces too short and far apart for the CPU to foresee. */
                if (row + 16 >= 0 && row + 16 < rows) {
                    __builtin_prefetch(x + (row + 16) * stride + 32 * s);
                    __builtin_prefetch(x + (row + 16) * stride + 32 * s + 16);
                }
            }
            turn(a, to);
        }
}

/* Values as B tiles: row r of a tile holds rows 2r and 2r + 1 of 16 columns, side by side. */
static void pack_values(const float *x, ptrdiff_t stride, const struct room *r)
{
    static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i index = _mm512_loadu_si512(order);
    uint16_t *to = r->v;
    for (int key = 0; key < r->keys; key += 32)
        for (int c = 0; c < r->dk; c += 16)
            for (int i = 0; i < 32; i += 2, to += 32) {
                const float *x0 = x + (key + i) * stride + c;
                const __m512 a = key + i < r->n ? _mm512_loadu_ps(x0) : _mm512_setzero_ps();
                const __m512 b = key + i + 1 < r->n ? _mm512_loadu_ps(x0 + stride) : _mm512_setzero_ps();
                _mm512_store_si512(to, _mm512_permutexvar_epi16(index, to_bf16(a, b)));
            }
}

/* A block of queries plus one of the biases, as A tiles. */
static void pack_queries(const struct rs_attention *t, int at, const float *bias, int first, int rows, const struct room *r,
                         uint16_t *to)
{
    for (int i = 0; i < BLOCK; i++)
        for (int s = 0; s < r->steps; s++) {
            __m512i v = _mm512_setzero_si512();
            if (i < rows) {
                const float *q = t->q + (first + i) * t->qs + at + 32 * s, *b = bias + at + 32 * s;
                v = to_bf16(_mm512_add_ps(_mm512_loadu_ps(q), _mm512_loadu_ps(b)),
                            _mm512_add_ps(_mm512_loadu_ps(q + 16), _mm512_loadu_ps(b + 16)));
            }
            _mm512_store_si512(to + ((size_t)(i / 16) * (size_t)r->steps + (size_t)s) * TILE_VALUES + i % 16 * 32, v);
        }
}

/* y (32 × 32·pairs, `stride` floats apart) = A (2 rows of `steps` tiles) · B, whose tile for column tile c and
 * step s lies at b + (c·across + s·down)·tile. */
static void product(const uint16_t *a, const uint16_t *b, int steps, ptrdiff_t across, ptrdiff_t down, int pairs, float *y,
                    ptrdiff_t stride)
{
    for (int c = 0; c < 2 * pairs; c += 2) {
        const uint16_t *b0 = b + c * across * TILE_VALUES, *b1 = b0 + across * TILE_VALUES;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int s = 0; s < steps; s++) {
            _tile_loadd(4, a + s * TILE_VALUES, 64);
            _tile_loadd(5, a + (steps + s) * TILE_VALUES, 64);
            _tile_loadd(6, b0 + s * down * TILE_VALUES, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 5, 6);
            _tile_loadd(7, b1 + s * down * TILE_VALUES, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
        float *to = y + 16 * c;
        _tile_stored(0, to, stride * 4);
        _tile_stored(1, to + 16 * stride, stride * 4);
        _tile_stored(2, to + 16, stride * 4);
        _tile_stored(3, to + 16 * stride + 16, stride * 4);
    }
}

/* 2^x to the precision that bf16 keeps with room to spare (1e-5). */
static inline __m512 exp2_short(__m512 x)
{
    const __m512 n = _mm512_roundscale_ps(x, 0), f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(0.009618129f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.055504109f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240226507f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693147181f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

static inline __mmask16 within(int j, int from, int to)
{
    const __m512i lane = _mm512_add_epi32(_mm512_set1_epi32(j), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    return _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(from)) & _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(to));
}

/* Row i of the block: scores to probabilities (not yet divided by their sum) in A tiles. */
static void weigh(const struct rs_attention *t, struct room *r, int query, int i)
{
    float *s = r->scores + (ptrdiff_t)i * r->keys;
    const float *p = r->position + (ptrdiff_t)i * r->span_tiles * 16 + BLOCK - 1 - i;
    const int from = t->left >= 0 && query > t->left ? query - t->left : 0;
    const int to = t->right >= 0 && query + t->right + 1 < r->n ? query + t->right + 1 : r->n;
    const __m512 low = _mm512_set1_ps(-INFINITY), scale = _mm512_set1_ps(1.44269504f / sqrtf((float)r->dk));
    __m512 most = low, sum = _mm512_setzero_ps();
    for (int j = 0; j < r->keys; j += 16) {
        const __m512 v = _mm512_add_ps(_mm512_load_ps(s + j), _mm512_loadu_ps(p + j));
        _mm512_store_ps(s + j, v);
        most = _mm512_mask_max_ps(most, within(j, from, to), most, v);
    }
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (int j = 0; j < r->keys; j += 32) {
        const __m512 a = _mm512_maskz_mov_ps(within(j, from, to),
                                             exp2_short(_mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(s + j), top), scale)));
        const __m512 b = _mm512_maskz_mov_ps(within(j + 16, from, to),
                                             exp2_short(_mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(s + j + 16), top), scale)));
        sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
        _mm512_store_si512(r->weights + ((ptrdiff_t)(i / 16) * (r->keys / 32) + j / 32) * TILE_VALUES + i % 16 * 32, to_bf16(a, b));
    }
    r->sum[i] = _mm512_reduce_add_ps(sum);
}

static void block(const struct rs_attention *t, struct room *r, int at, int first)
{
    const int rows = r->n - first < BLOCK ? r->n - first : BLOCK;
    const int span = (r->n - BLOCK - first + r->shift) / 16;
    pack_queries(t, at, t->u, first, rows, r, r->qu);
    pack_queries(t, at, t->v, first, rows, r, r->qv);
    product(r->qu, r->k, r->steps, r->steps, 1, r->key_tiles / 2, r->scores, r->keys);
    product(r->qv, r->p + (ptrdiff_t)span * r->steps * TILE_VALUES, r->steps, r->steps, 1, r->span_tiles / 2, r->position,
            r->span_tiles * 16);
    for (int i = 0; i < rows; i++)
        weigh(t, r, first + i, i);
    product(r->weights, r->v, r->keys / 32, 1, r->dk / 16, r->dk / 32, r->out, r->dk);
    for (int i = 0; i < rows; i++) {
        const __m512 f = _mm512_set1_ps(1 / r->sum[i]);
        float *y = t->out + (first + i) * t->ys + at;
        for (int c = 0; c < r->dk; c += 16)
            _mm512_storeu_ps(y + c, _mm512_mul_ps(_mm512_load_ps(r->out + i * r->dk + c), f));
    }
}

void rs_attention_amx(const struct rs_attention *t, int head, void *scratch)
{
    struct room r;
    const int at = head * t->dk;
    lay_out(&r, t, scratch);
    _Alignas(64) uint8_t config[64] = {1};
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    /* GCC 12 declares that ldtilecfg reads 8 bytes only and would drop the other stores. */
    __asm__ volatile("" : : "r"(config) : "memory");
    _tile_loadconfig(config);
    pack_rows(t->k + at, t->ks, 0, t->n, r.key_tiles, r.steps, r.k);
    const int left = rs_attention_reach(t->left, t->n), right = rs_attention_reach(t->right, t->n);
    pack_rows(t->p - left * t->ps + at, t->ps, left + 1 - t->n - r.shift, left + 1 + right, r.row_tiles, r.steps, r.p);
    pack_values(t->value + at, t->vs, &r);
    /* Rows of a last, short block are never weighed: they must be numbers all the same. */
    memset(r.weights, 0, 2 * (size_t)r.keys / 32 * RS_TILE);
    for (int first = 0; first < t->n; first += BLOCK)
        block(t, &r, at, first);
    _tile_release();
}
