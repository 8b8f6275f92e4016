/* Linear layers in bf16 on AMX tiles, sums in f32: for models whose activations int8 would hurt, at twice
 * the memory and about half the speed.
 *
 * As in backend.h with pairs for fours: panels of 16 outputs, for each 2 values of k the 16 outputs' pairs
 * (64 bytes, 16 such lines are a B tile); rows in tiles of 16 rows by 32 values. k is padded with zeros to
 * 32, outputs and rows to 16.
 */
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/backend.h"
#include "tensor/cpu.h"
#include "tensor/kernels.h"
#include "tensor/pack.h"

static int up(int n, int step) { return (n + step - 1) / step * step; }

static bool usable(void) { return rs_cpu_has(RS_CPU_AMX_BF16) && rs_cpu_allow_amx(); }
static const struct rs_kernels *kernels(void) { return &rs_kernels_avx512; }

struct layout { size_t bias, bytes; };

static struct layout layout_of(const struct rs_linear *l, bool bias)
{
    const size_t n16 = (size_t)up(l->n, 16), panels = n16 * (size_t)up(l->k, 32) * 2;
    return (struct layout){panels, panels + (bias ? n16 * 4 : 0)};
}

static bool pack_all(const struct rs_linear *l, const struct rs_tensor *weight, const struct rs_tensor *bias, size_t bias_at,
                     char *block)
{
    const int k32 = up(l->k, 32);
    float *row = rs_aligned((size_t)l->k, sizeof *row);
    uint16_t *half = rs_aligned((size_t)l->k, sizeof *half);
    const bool ok = row && half;
    for (int i = 0; ok && i < l->n; i++) {
        uint16_t *panel = (uint16_t *)block + (size_t)(i / 16) * 16 * (size_t)k32 + i % 16 * 2;
        rs_tensor_row(weight, i, row);
        rs_quantize(RS_BF16, row, half, l->k);
        for (int k = 0; k < l->k; k++)
            panel[k / 2 * 32 + k % 2] = half[k];
    }
    if (ok && bias)
        rs_dequantize(bias->type, bias->data, (float *)(block + bias_at), l->n);
    free(row);
    free(half);
    return ok;
}

static int init(struct rs_linear *l, const struct rs_backend *b, struct rs_pack *pack, const struct rs_tensor *weight,
                const struct rs_tensor *bias, struct rs_err *e)
{
    (void)b;
    const struct layout o = layout_of(l, bias != NULL);
    const char *block = rs_pack_find(pack, weight->name, o.bytes);
    if (!block) {
        char *fresh = rs_pack_room(pack, weight->name, o.bytes);
        if (!fresh && (fresh = l->owned = rs_aligned(o.bytes, 1)))
            memset(fresh, 0, o.bytes);
        if (!fresh || !pack_all(l, weight, bias, o.bias, fresh)) {
            rs_linear_free(l);
            return rs_fail(e, RS_E_NOMEM, "There is no memory for the weights of %s.", weight->name);
        }
        block = fresh;
    }
    l->panel = block;
    l->bias = bias ? (const float *)(block + o.bias) : NULL;
    return 0;
}

static __m512 load_some(const float *x, int left)
{
    return _mm512_maskz_loadu_ps(left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0, x);
}

static void to_tiles(const float *x, int k, int row, uint16_t *q)
{
    const int k32 = up(k, 32);
    uint16_t *to = q + (size_t)(row / 16) * 16 * (size_t)k32 + row % 16 * 32;
    for (int c = 0; c < k32; c += 32, to += RS_TILE / 2)
        _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(load_some(x + c + 16, k - c - 16), load_some(x + c, k - c)));
}

static void convert_part(void *arg, int part, int parts)
{
    const struct rs_rows *r = arg;
    int from, to;
    rs_pool_share(r->m, 1, part, parts, &from, &to);
    for (int i = from; i < to; i++)
        to_tiles(r->x + i * r->stride, r->k, i, r->q);
}

static bool prepare(struct rs_rows *r, struct rs_pool *pool, struct rs_arena *a)
{
    const size_t rows = (size_t)up(r->m, 16), k32 = (size_t)up(r->k, 32);
    r->q = rs_arena_alloc(a, rows * k32, 2);
    if (!r->q)
        return false;
    if (r->m % 16)              /* rows that only fill up the last tile must be numbers */
        memset((uint16_t *)r->q + (rows - 16) * k32, 0, 16 * k32 * 2);
    rs_pool_run(r->m > 8 ? pool : NULL, convert_part, r);
    return true;
}

struct job {
    const struct rs_linear *l;
    const struct rs_rows *r;
    enum rs_act act;
    float alpha;
    bool add;
    float *y;
    ptrdiff_t stride;
    int step;
    atomic_int next;
};

static void configure(void)
{
    _Alignas(64) uint8_t config[64] = {1};
    for (int t = 0; t < 8; t++) {
        config[16 + 2 * t] = 64;
        config[48 + t] = 16;
    }
    /* GCC 12 declares that ldtilecfg reads 8 bytes only and would drop the other stores. */
    __asm__ volatile("" : : "r"(config) : "memory");
    _tile_loadconfig(config);
}

static void finish(const struct job *j, const float *sums, int first, int rows, int col)
{
    const int cols = j->l->n - col < 16 ? j->l->n - col : 16;
    for (int r = 0; r < rows && cols > 0; r++)
        rs_kernels()->finish(sums + 16 * r, NULL, j->l->bias ? j->l->bias + col : NULL, cols, j->act, j->alpha, j->add,
                             j->y + (first + r) * j->stride + col);
}

/* 32 rows by two panels, as in int8_amx.c; a missing second half repeats the first and is not stored. */
static void block(const struct job *j, int row, int col)
{
    _Alignas(64) float sums[4][256];
    const int k32 = up(j->l->k, 32), m = j->r->m;
    const uint16_t *a0 = (const uint16_t *)j->r->q + (ptrdiff_t)row * k32, *w0 = (const uint16_t *)j->l->panel + (ptrdiff_t)col * k32;
    const uint16_t *a1 = row + 16 < m ? a0 + (ptrdiff_t)16 * k32 : a0, *w1 = col + 16 < j->l->n ? w0 + (ptrdiff_t)16 * k32 : w0;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int t = 0; t < k32 * 16; t += RS_TILE / 2) {
        _tile_loadd(4, a0 + t, 64);
        _tile_loadd(5, a1 + t, 64);
        _tile_loadd(6, w0 + t, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        _tile_loadd(7, w1 + t, 64);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    for (int i = 0; i < 4; i++) {
        const int first = row + 16 * (i & 1), at = col + 8 * (i & 2), rows = m - first < 16 ? m - first : 16;
        if (at < j->l->n)
            finish(j, sums[i], first, rows, at);
    }
}

/* Few rows leave most of a tile empty: a panel's lines against a row's broadcast pairs. */
static void single(const struct job *j, int row, int col)
{
    const int k32 = up(j->l->k, 32);
    const uint16_t *w = (const uint16_t *)j->l->panel + (ptrdiff_t)col * k32;
    const uint16_t *x = (const uint16_t *)j->r->q + (ptrdiff_t)(row / 16) * 16 * k32 + row % 16 * 32;
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    _Alignas(64) float out[16];
    for (int k = 0; k < k32; k += 32, x += RS_TILE / 2)
        for (int g = 0; g < 16; g += 4, w += 128)
            for (int i = 0; i < 4; i++) {
                int32_t pair;
                memcpy(&pair, x + 2 * (g + i), sizeof pair);
                sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)_mm512_loadu_si512(w + 32 * i), (__m512bh)_mm512_set1_epi32(pair));
            }
    _mm512_store_ps(out, _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
    finish(j, out, row, 1, col);
}

static void apply_part(void *arg, int part, int parts)
{
    (void)part;
    (void)parts;
    struct job *j = arg;
    const bool tiles = j->r->m >= 8;
    if (tiles)
        configure();
    for (int from; (from = atomic_fetch_add_explicit(&j->next, j->step, memory_order_relaxed)) < j->l->n;)
        for (int col = from; col < from + j->step && col < j->l->n; col += tiles ? 32 : 16)
            for (int row = 0; row < j->r->m; row += tiles ? 32 : 1)
                (tiles ? block : single)(j, row, col);
    if (tiles)
        _tile_release();
}

static void apply(const struct rs_linear *l, const struct rs_rows *r, struct rs_pool *pool, enum rs_act act, float alpha,
                  bool add, float *y, ptrdiff_t stride)
{
    const int share = l->n / (8 * rs_pool_threads(pool));
    struct job j = {.l = l, .r = r, .act = act, .alpha = alpha, .add = add, .y = y, .stride = stride,
                    .step = share < 64 ? 64 : share / 32 * 32};
    rs_pool_run(pool, apply_part, &j);
}

static bool vectors(const struct rs_linear *const *l, const float *const *x, float *const *y, int count, struct rs_pool *pool,
                    struct rs_arena *a)
{
    for (int i = 0; i < count; i++) {
        struct rs_rows r = {.backend = l[i]->backend, .m = 1, .k = l[i]->k, .x = x[i], .stride = l[i]->k};
        if (!prepare(&r, NULL, a))
            return false;
        apply(l[i], &r, (int64_t)l[i]->n * l[i]->k > 1 << 18 ? pool : NULL, RS_ACT_NONE, 1, false, y[i], l[i]->n);
    }
    return true;
}

const struct rs_backend rs_bf16_amx = {
    .name = "bf16-amx", .usable = usable, .kernels = kernels, .init = init, .prepare = prepare, .apply = apply,
    .vectors = vectors, .attention = RS_ATTENTION_TILES, .order = "bf16-x86-1",
};
