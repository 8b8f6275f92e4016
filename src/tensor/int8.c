/* Linear layers in int8: each output channel has a scale amax/127, each row of activations its own, found
 * as it is quantised; sums in int32 are exact, so every instruction set gives the same ones (but AVX2, which halves weights
 * and takes a bit from the activations where it has many rows: int8_avx2.c).
 *
 * This file packs weights and rows in the order of backend.h and spreads a GEMM over the pool; the sums
 * are the instruction sets' part (int8_*.c), of which the one in plain C is here.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 16
#include "tensor/cpu.h"
#include "tensor/int8_finish.h"
#include "tensor/kernels.h"
#include "tensor/pack.h"

#define MOST_SHARES 16        /* of a run of vectors; more threads help */

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* What a packed layer holds, in this sequence, each part padded to 64 bytes. */
struct layout { size_t kpad, n16, scale, bias, bytes; bool four; };

static bool in_four(const struct rs_linear *l) { return l->backend->bits == 4 && rs_int4_fits(l->k); }

static bool layout_of(struct layout *o, const struct rs_linear *l, bool bias)
{
    const int n = l->n, k = l->k;
    o->four = in_four(l);
    o->kpad = round_up((size_t)k, 64);
    o->n16 = round_up((size_t)n, 16);
    if (!rs_mul_ok(o->n16, o->kpad, &o->scale))
        return false;
    if (o->four)
        o->scale = round_up(rs_int4_bytes(o->n16, o->kpad), 64);
    o->bias = o->scale + o->n16 * 4;
    o->bytes = o->bias + (bias ? o->n16 * 4 : 0);
    return true;
}

static void point_at(struct rs_linear *l, const struct layout *o, const char *block, bool bias)
{
    l->panel = block;
    l->scale = (const float *)(block + o->scale);
    l->bias = bias ? (const float *)(block + o->bias) : NULL;
}

/* Row `row` of the weights: quantised as a row of activations is, then moved to its panel by fours. */
static void pack_row(const float *w, int k, int row, const struct layout *o, int8_t *q, char *block)
{
    int32_t sum;
    const float scale = rs_kernels()->quantize(w, k, (int)o->kpad, 127, q, &sum);
    char *panel = block + (size_t)(row / 16) * o->kpad * 16 + row % 16 * 4;
    for (size_t i = 0; i < o->kpad; i += 4) {
        uint32_t four;
        memcpy(&four, q + i / 64 * RS_TILE + i % 64, 4);
        four ^= RS_INT8_BIAS * 0x01010101u;              /* + 128 in each byte */
        memcpy(panel + i * 16, &four, 4);
    }
    ((float *)(block + o->scale))[row] = scale;
}

static bool pack_all(const struct rs_linear *l, const struct layout *o, const struct rs_tensor *weight,
                     const struct rs_tensor *bias, char *block)
{
    float *row = rs_aligned((size_t)l->k, sizeof *row);
    int8_t *q = rs_aligned(o->kpad, 16);
    const bool ok = row && q;
    for (int i = 0; ok && i < l->n; i++) {
        rs_tensor_row(weight, i, row);
        if (o->four)
            ((float *)(block + o->scale))[i] = rs_int4_pack_row(row, l->k, i, o->kpad, block);
        else
            pack_row(row, l->k, i, o, q, block);
    }
    if (ok && bias)
        rs_dequantize(bias->type, bias->data, (float *)(block + o->bias), l->n);
    free(row);
    free(q);
    return ok;
}

int rs_int8_init(struct rs_linear *l, const struct rs_backend *b, struct rs_pack *pack, const struct rs_tensor *weight,
                 const struct rs_tensor *bias, struct rs_err *e)
{
    (void)b;
    struct layout o;
    if (!layout_of(&o, l, bias))
        return rs_fail(e, RS_E_MODEL_BAD, "Tensor %s is too large.", weight->name);
    const char *kept = rs_pack_find(pack, weight->name, o.bytes);
    if (kept) {
        point_at(l, &o, kept, bias);
        return 0;
    }
    char *block = rs_pack_room(pack, weight->name, o.bytes);
    if (!block) {
        block = l->owned = rs_aligned(o.bytes, 1);
        if (block)
            memset(block, 0, o.bytes);
    }
    if (!block || !pack_all(l, &o, weight, bias, block)) {
        rs_linear_free(l);
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the weights of %s.", weight->name);
    }
    point_at(l, &o, block, bias);
    return 0;
}

static void quantize_row(const struct rs_rows *r, const float *x, int i)
{
    const size_t kpad = round_up((size_t)r->k, 64);
    const struct rs_backend *b = r->backend;
    int8_t *q = (int8_t *)r->q + (size_t)(i / 16) * 16 * kpad + i % 16 * 64;
    for (int levels = b->levels, crowd = 0;; levels = (levels * (RS_INT8_CROWD - 8) - 1) / crowd) {       /* 8: rounded up */
        r->scale[i] = rs_kernels()->quantize(x, r->k, (int)kpad, levels, q, &r->sum[i]);
        crowd = b->crowd && levels > RS_INT8_ROOMY ? b->crowd(q, (int)kpad) : 0;
        if (crowd <= RS_INT8_CROWD)
            return;
    }
}

static void quantize_part(void *arg, int part, int parts)
{
    const struct rs_rows *r = arg;
    int from, to;
    rs_pool_share(r->m, 1, part, parts, &from, &to);
    for (int i = from; i < to; i++)
        quantize_row(r, r->x + i * r->stride, i);
}

static bool allocate(struct rs_rows *r, struct rs_arena *a)
{
    const size_t kpad = round_up((size_t)r->k, 64), rows = round_up((size_t)r->m, 16);
    r->q = rs_arena_alloc(a, rows, kpad);
    r->scale = rs_arena_alloc(a, rows, sizeof *r->scale);
    r->sum = rs_arena_alloc(a, rows, sizeof *r->sum);
    if (!r->q || !r->scale || !r->sum)
        return false;
    /* Rows that only fill up the last tile are never stored, but must be defined memory. */
    for (size_t i = (size_t)r->m; i < rows; i++) {
        for (size_t t = 0; t < kpad / 64; t++)
            memset((char *)r->q + i / 16 * 16 * kpad + t * RS_TILE + i % 16 * 64, 0, 64);
        r->scale[i] = 0;
        r->sum[i] = 0;
    }
    return true;
}

bool rs_int8_prepare(struct rs_rows *r, struct rs_pool *pool, struct rs_arena *a)
{
    if (!allocate(r, a))
        return false;
    rs_pool_run(r->m > 8 ? pool : NULL, quantize_part, r);
    return true;
}

struct made { const struct rs_rows *r; rs_row_maker *make; void *arg; float *rows; };

static void made_part(void *arg, int part, int parts)
{
    const struct made *m = arg;
    float *row = m->rows + (size_t)part * round_up((size_t)m->r->k, 16);
    int from, to;
    rs_pool_share(m->r->m, 1, part, parts, &from, &to);
    for (int i = from; i < to; i++) {
        m->make(m->arg, part, i, row);
        quantize_row(m->r, row, i);
    }
}

bool rs_int8_make_rows(struct rs_rows *r, struct rs_pool *pool, struct rs_arena *a, rs_row_maker *make, void *arg)
{
    struct made m = {r, make, arg, NULL};
    m.rows = rs_arena_alloc(a, (size_t)rs_pool_threads(pool) * round_up((size_t)r->k, 16), sizeof *m.rows);
    if (!m.rows || !allocate(r, a))
        return false;
    rs_pool_run(r->m > 8 ? pool : NULL, made_part, &m);
    return true;
}

static rs_int8_columns *columns_of(const struct rs_linear *l)
{
    return in_four(l) ? rs_int4_columns : (rs_int8_columns *)l->backend->product;
}

/* A part's own share of something that is done in steps; who is done with his helps the next. */
struct share { _Alignas(64) atomic_int taken; };

/* The next step of one share, from either end; false when there is none. */
static bool take_step(struct share *s, int share, int shares, int steps, bool backwards, int *step)
{
    int from, to;
    rs_pool_share(steps, 1, share, shares, &from, &to);
    const int n = atomic_fetch_add_explicit(&s[share].taken, 1, memory_order_relaxed);
    *step = backwards ? to - 1 - n : from + n;
    return n < to - from;
}

/* One or several GEMMs as one job of the pool: their columns in steps are one sequence, of which every part has
 * a share of its own, so that a core meets the same weights each time. */
struct spread {
    struct rs_int8_job job[RS_VECTORS];
    rs_int8_columns *columns[RS_VECTORS];
    int first[RS_VECTORS + 1], count, step;
    bool backwards;
    struct share share[MOST_SHARES];
};

/* steps: about how many each thread should have; `width` columns at least. */
static void spread_begin(struct spread *s, const struct rs_linear *const *l, int count, struct rs_pool *pool, int steps, int width)
{
    int columns = 0;
    for (int i = 0; i < count; i++)
        columns += l[i]->n;
    const int step = columns / (steps * rs_pool_threads(pool)) / 32 * 32;
    *s = (struct spread){.step = step < width ? width : step};
}

static void spread_add(struct spread *s, const struct rs_linear *l, const struct rs_rows *r, enum rs_act act, float alpha, bool add,
                       float *y, ptrdiff_t stride)
{
    const int i = s->count++;
    s->job[i] = (struct rs_int8_job){
        .q = r->q, .x_scale = r->scale, .x_sum = r->sum, .m = r->m, .n = l->n, .kpad = (int)round_up((size_t)l->k, 64),
        .panel = l->panel, .w_scale = l->scale, .bias = l->bias, .act = act, .alpha = alpha, .add = add, .y = y,
        .stride = stride, .inner = (rs_int8_columns *)l->backend->product};
    s->columns[i] = columns_of(l);
    s->first[i + 1] = s->first[i] + (l->n + s->step - 1) / s->step;
}

static void spread_step(const struct spread *s, int step)
{
    int i = 0;
    while (step >= s->first[i + 1])
        i++;
    const int from = (step - s->first[i]) * s->step, left = s->job[i].n - from;
    s->columns[i](&s->job[i], from, from + (left < s->step ? left : s->step));
}

static void spread_part(void *arg, int part, int parts)
{
    struct spread *s = arg;
    const int shares = parts < MOST_SHARES ? parts : MOST_SHARES, steps = s->first[s->count];
    for (int i = 0, at; i < shares; i++)
        while (take_step(s->share, (part + i) % shares, shares, steps, s->backwards, &at))
            spread_step(s, at);
}

void rs_int8_apply(const struct rs_linear *l, const struct rs_rows *r, struct rs_pool *pool, enum rs_act act, float alpha,
                   bool add, float *y, ptrdiff_t stride)
{
    struct spread s;
    spread_begin(&s, &l, 1, pool, 16, 32);
    spread_add(&s, l, r, act, alpha, add, y, stride);
    rs_pool_run(pool, spread_part, &s);
}

void rs_int8_apply_all(const struct rs_linear *const *l, int count, const struct rs_rows *r, struct rs_pool *pool, float *const *y,
                       ptrdiff_t stride)
{
    struct spread s;
    spread_begin(&s, l, count, pool, 16, 32);
    for (int i = 0; i < count; i++)
        spread_add(&s, l[i], r, RS_ACT_NONE, 1, false, y[i], stride);
    rs_pool_run(pool, spread_part, &s);
}

/* What exceeds the caches is read forwards and backwards in turns: a core begins with what it read last. */
static bool turn_back(size_t work)
{
    static _Thread_local bool back;
    return work > (size_t)1 << 22 && (back = !back);
}

bool rs_int8_vectors(const struct rs_linear *const *l, const float *const *x, float *const *y, int count, struct rs_pool *pool,
                     struct rs_arena *a)
{
    struct spread s;
    size_t work = 0;
    for (int i = 0; i < count; i++)
        work += (size_t)l[i]->n * (size_t)l[i]->k;
    if (work < 1 << 18)                       /* 256 kB pass faster than another thread wakes */
        pool = NULL;
    spread_begin(&s, l, count, pool, 16, 64);
    s.backwards = turn_back(work);
    for (int i = 0; i < count; i++) {
        struct rs_rows r = {.backend = l[i]->backend, .m = 1, .k = l[i]->k, .x = x[i], .stride = l[i]->k};
        if (!allocate(&r, a))
            return false;
        quantize_part(&r, 0, 1);
        spread_add(&s, l[i], &r, RS_ACT_NONE, 1, false, y[i], l[i]->n);
    }
    rs_pool_run(pool, spread_part, &s);
    return true;
}

void rs_int8_columns_portable(const struct rs_int8_job *j, int from, int to)
{
    for (int col = from; col < to; col += 16) {
        const int8_t *panel = j->panel + (ptrdiff_t)col * j->kpad;
        for (int row = 0; row < j->m; row++) {
            const int8_t *x = rs_int8_row(j, row);
            int32_t sums[16] = {0};
            for (int k = 0; k < j->kpad; k += 4) {
                const int8_t *a = x + k / 64 * RS_TILE + k % 64;
                const rs_int8_weight *w = (const rs_int8_weight *)panel + k * 16;
                for (int c = 0; c < 16; c++, w += 4)
                    sums[c] += a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
            }
            finish_tile(j, sums, row, 1, col);
        }
    }
}

static bool always(void) { return true; }
static const struct rs_kernels *portable(void) { return &rs_kernels_portable; }

#ifdef __x86_64__
#define ORDER(bits) (bits == 4 ? "int4-x86-3" : "int8-x86-2")
#else
#define ORDER(bits) (bits == 4 ? "int4-2" : "int8-1")
#endif

#define BACKEND(id, words, width, can, table, limit, most, kind, f) \
    const struct rs_backend id = { \
        .name = words, .usable = can, .kernels = table, .init = rs_int8_init, .prepare = rs_int8_prepare, \
        .make_rows = rs_int8_make_rows, .apply = rs_int8_apply, .apply_all = rs_int8_apply_all, .vectors = rs_int8_vectors, .bits = width, .levels = limit, .crowd = most, \
        .attention = kind, .order = ORDER(width), .product = (void (*)(void))f, \
    }
/* The same instructions under int8 and under 4-bit storage. */
#define BOTH(isa, words, can, table, limit, most, kind) \
    BACKEND(rs_int8_##isa, "int8-" words, 8, can, table, limit, most, kind, rs_int8_columns_##isa); \
    BACKEND(rs_int4_##isa, "int4-" words, 4, can, table, limit, most, kind, rs_int8_columns_##isa)

BACKEND(rs_int8_portable, "int8-portable", 8, always, portable, 127, NULL, RS_ATTENTION_F32, rs_int8_columns_portable);

#if defined __x86_64__
static bool has_amx(void) { return rs_cpu_has(RS_CPU_AMX_INT8) && rs_cpu_allow_amx(); }
static bool has_vnni(void) { return rs_cpu_has(RS_CPU_VNNI); }
static bool has_avxvnni(void) { return rs_cpu_has(RS_CPU_AVXVNNI); }
static bool has_avx2(void) { return rs_cpu_has(RS_CPU_AVX2); }
static const struct rs_kernels *avx2(void) { return &rs_kernels_avx2; }
static const struct rs_kernels *avx512(void) { return &rs_kernels_avx512; }
BOTH(amx, "amx", has_amx, avx512, 127, NULL, RS_ATTENTION_TILES);
BOTH(vnni, "vnni", has_vnni, avx512, 127, NULL, RS_ATTENTION_I16);
BOTH(avxvnni, "avxvnni", has_avxvnni, avx2, 127, NULL, RS_ATTENTION_I16);
BOTH(avx2, "avx2", has_avx2, avx2, 63, rs_int8_crowd_avx2, RS_ATTENTION_I16);
#elif defined __aarch64__
static bool has_dotprod(void) { return rs_cpu_has(RS_CPU_DOTPROD); }
static bool has_i8mm(void) { return rs_cpu_has(RS_CPU_DOTPROD | RS_CPU_I8MM); }
BOTH(dotprod, "dotprod", has_dotprod, portable, 127, NULL, RS_ATTENTION_F32);
BOTH(i8mm, "i8mm", has_i8mm, portable, 127, NULL, RS_ATTENTION_F32);
#endif
