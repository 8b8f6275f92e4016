/* The operators: shares of rows (or heads) for the pool, the loops themselves from the table of kernels. */
#include "tensor/ops.h"

#include <stdatomic.h>

#include "tensor/attention.h"
#include "tensor/backend.h"
#include "tensor/cpu.h"
#include "tensor/kernels.h"

struct rows_job {
    const float *x, *gamma, *beta, *w;
    float *y;
    ptrdiff_t xs, ys;
    int m, n, taps, left;
    float eps;
    enum rs_act act;
};

static void layer_norm_part(void *arg, int part, int parts)
{
    const struct rows_job *j = arg;
    int from, to;
    rs_pool_share(j->m, 1, part, parts, &from, &to);
    for (int i = from; i < to; i++)
        rs_kernels()->layer_norm(j->x + i * j->xs, j->gamma, j->beta, j->n, j->eps, j->y + i * j->ys);
}

void rs_layer_norm(struct rs_pool *pool, const float *x, ptrdiff_t xs, int m, int n, const float *gamma,
                   const float *beta, float eps, float *y, ptrdiff_t ys)
{
    struct rows_job j = {.x = x, .gamma = gamma, .beta = beta, .y = y, .xs = xs, .ys = ys, .m = m, .n = n, .eps = eps};
    rs_pool_run(pool, layer_norm_part, &j);
}

static void normed(void *arg, int part, int i, float *row)
{
    const struct rows_job *j = arg;
    (void)part;
    rs_kernels()->layer_norm(j->x + i * j->xs, j->gamma, j->beta, j->n, j->eps, row);
}

bool rs_layer_norm_rows(struct rs_rows *r, const struct rs_backend *b, struct rs_pool *pool, struct rs_arena *a,
                        const float *x, ptrdiff_t xs, int m, int n, const float *gamma, const float *beta, float eps)
{
    *r = (struct rs_rows){.backend = b, .m = m, .k = n, .x = x, .stride = xs};
    if (b->make_rows)
        return b->make_rows(r, pool, a, normed, &(struct rows_job){.x = x, .xs = xs, .gamma = gamma, .beta = beta, .n = n, .eps = eps});
    float *y = rs_arena_alloc(a, (size_t)m * (size_t)n, sizeof *y);
    if (!y)
        return false;
    rs_layer_norm(pool, x, xs, m, n, gamma, beta, eps, y, n);
    return rs_rows_prepare(r, b, pool, a, y, n, m, n);
}

static void glu_part(void *arg, int part, int parts)
{
    const struct rows_job *j = arg;
    int from, to;
    rs_pool_share(j->m, 1, part, parts, &from, &to);
    for (int i = from; i < to; i++)
        rs_kernels()->glu(j->x + i * j->xs, j->n, j->y + i * j->ys);
}

void rs_glu(struct rs_pool *pool, const float *x, ptrdiff_t xs, int m, int n, float *y, ptrdiff_t ys)
{
    struct rows_job j = {.x = x, .y = y, .xs = xs, .ys = ys, .m = m, .n = n};
    rs_pool_run(pool, glu_part, &j);
}

void rs_lstm_cell(const float *gates, const float *recalled, int hidden, const float *before, float *cell, float *h)
{
    rs_kernels()->lstm(gates, recalled, hidden, before, cell, h);
}

static void conv_part(void *arg, int part, int parts)
{
    const struct rows_job *j = arg;
    const float *rows[RS_TAPS];
    int from, to;
    rs_pool_share(j->m, 1, part, parts, &from, &to);
    for (int i = from; i < to; i++) {
        for (int t = 0; t < j->taps; t++) {
            const int row = i + t - j->left;
            rows[t] = row >= 0 && row < j->m ? j->x + row * j->xs : NULL;
        }
        rs_kernels()->depthwise(rows, j->taps, j->w, j->beta, j->n, j->act, j->y + i * j->ys);
    }
}

void rs_conv_time(struct rs_pool *pool, const float *x, ptrdiff_t xs, int m, int n, const float *w, const float *b,
                  int taps, int left, enum rs_act act, float *y, ptrdiff_t ys)
{
    struct rows_job j = {.x = x, .w = w, .beta = b, .y = y, .xs = xs, .ys = ys, .m = m, .n = n, .taps = taps,
                         .left = left, .act = act};
    if (taps <= RS_TAPS)
        rs_pool_run(pool, conv_part, &j);
}

struct attention_job {
    const struct rs_attention *t;
    void (*head)(const struct rs_attention *t, int head, void *scratch);
    char *scratch;
    size_t each;              /* bytes of scratch per part */
};

static void attention_part(void *arg, int part, int parts)
{
    const struct attention_job *j = arg;
    int from, to;
    rs_pool_share(j->t->heads, 1, part, parts, &from, &to);
    for (int head = from; head < to; head++)
        j->head(j->t, head, j->scratch + (size_t)part * j->each);
}

static _Atomic(enum rs_attention_kind) in_use;

void rs_attention_use(enum rs_attention_kind kind)
{
    atomic_store(&in_use, kind);
}

bool rs_attention(const struct rs_attention *t, struct rs_pool *pool, struct rs_arena *a)
{
    struct attention_job j = {.t = t, .head = rs_attention_f32};
    const enum rs_attention_kind kind = atomic_load(&in_use);
    if (kind != RS_ATTENTION_F32 && rs_kernels()->panels16) {
        j.head = rs_attention_i16;
        j.each = rs_attention_i16_room(t);
    } else {
        j.each = rs_attention_f32_room(t);
    }
#if defined __x86_64__
    /* Tiles compute all scores: a narrow band over a long sound is better off without. */
    const bool band = t->left >= 0 && t->right >= 0 && t->n > 4 * (t->left + t->right);
    if (kind == RS_ATTENTION_TILES && rs_cpu_has(RS_CPU_AMX_BF16) && t->dk % 32 == 0 && !band) {
        j.head = rs_attention_amx;
        j.each = rs_attention_amx_room(t);
    }
#endif
    j.each = (j.each + 63) / 64 * 64;
    j.scratch = rs_arena_alloc(a, (size_t)rs_pool_threads(pool), j.each);
    if (!j.scratch)
        return false;
    rs_pool_run(pool, attention_part, &j);
    return true;
}
