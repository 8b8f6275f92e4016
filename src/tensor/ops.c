/* The operators: shares of rows (or heads) for the pool, the loops themselves from the table of kernels. */
#include "tensor/ops.h"

#include <math.h>
#include <string.h>

#include "tensor/backend.h"
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

bool rs_layer_norm_rows(struct rs_rows *r, const struct rs_backend *b, struct rs_pool *pool, struct rs_arena *a,
                        const float *x, ptrdiff_t xs, int m, int n, const float *gamma, const float *beta, float eps)
{
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

void rs_silu(const float *x, int n, float *y) { rs_kernels()->silu(x, n, y); }
void rs_relu(const float *x, int n, float *y) { rs_kernels()->relu(x, n, y); }
void rs_sigmoid(const float *x, int n, float *y) { rs_kernels()->sigmoid(x, n, y); }
void rs_tanh(const float *x, int n, float *y) { rs_kernels()->tanh(x, n, y); }
void rs_exp(const float *x, int n, float *y) { rs_kernels()->exp(x, n, y); }
void rs_softmax(float *x, int n) { rs_kernels()->softmax(x, n, 1); }

#define MAX_TAPS 64

static void conv_part(void *arg, int part, int parts)
{
    const struct rows_job *j = arg;
    const float *rows[MAX_TAPS];
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
    if (taps <= MAX_TAPS)
        rs_pool_run(pool, conv_part, &j);
}

/* Attention in f32: units are a head and a block of queries. Per block: scores against all keys in its
 * reach, scores against the position rows that they meet, softmax, mix of the values. */
#define QUERIES 32

struct attention_job {
    const struct rs_attention *t;
    float *scratch;
    size_t each;              /* floats of scratch per part */
};

static void shifted(const float *q, ptrdiff_t qs, const float *bias, int rows, int dk, float *out)
{
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < dk; c++)
            out[i * dk + c] = q[i * qs + c] + bias[c];
}

/* Queries first…first+rows-1 of one head against keys [low, high). Query i meets key j at position row
 * n − 1 + j − i: within the block the rows start at n − 1 + low − (first + rows − 1). */
static void attend(const struct rs_attention *t, int head, int first, int rows, float *scratch)
{
    const struct rs_kernels *f = rs_kernels();
    const int dk = t->dk, at = head * dk, last = first + rows - 1;
    const int low = t->left < 0 || first - t->left < 0 ? 0 : first - t->left;
    const int high = t->right < 0 || last + t->right >= t->n ? t->n : last + t->right + 1;
    const int keys = high - low, span = keys + rows - 1;
    float *q = scratch, *s = q + QUERIES * dk, *b = s + (ptrdiff_t)QUERIES * t->n;
    shifted(t->q + first * t->qs + at, t->qs, t->u + at, rows, dk, q);
    f->dots(q, dk, rows, t->k + low * t->ks + at, t->ks, keys, dk, s, keys);
    shifted(t->q + first * t->qs + at, t->qs, t->v + at, rows, dk, q);
    f->dots(q, dk, rows, t->p + (t->n - 1 + low - last) * t->ps + at, t->ps, span, dk, b, span);
    for (int i = 0; i < rows; i++) {
        float *row = s + (ptrdiff_t)i * keys;
        const int query = first + i;
        f->add(b + (ptrdiff_t)i * span + rows - 1 - i, keys, 1, row);
        const int from = t->left >= 0 && query - t->left > low ? query - t->left - low : 0;
        const int to = t->right >= 0 && query + t->right + 1 < high ? query + t->right + 1 - low : keys;
        f->softmax(row + from, to - from, 1 / sqrtf((float)dk));
        memset(row, 0, (size_t)from * sizeof *row);
        memset(row + to, 0, (size_t)(keys - to) * sizeof *row);
    }
    f->mix(s, keys, rows, t->value + low * t->vs + at, t->vs, keys, dk, t->out + first * t->ys + at, t->ys);
}

static void attention_part(void *arg, int part, int parts)
{
    const struct attention_job *j = arg;
    const struct rs_attention *t = j->t;
    const int blocks = (t->n + QUERIES - 1) / QUERIES;
    int from, to;
    rs_pool_share(blocks * t->heads, 1, part, parts, &from, &to);
    for (int unit = from; unit < to; unit++) {
        const int first = unit % blocks * QUERIES, left = t->n - first;
        attend(t, unit / blocks, first, left < QUERIES ? left : QUERIES, j->scratch + (size_t)part * j->each);
    }
}

bool rs_attention(const struct rs_attention *t, struct rs_pool *pool, struct rs_arena *a)
{
    const size_t n = (size_t)t->n;
    struct attention_job j = {.t = t, .each = QUERIES * ((size_t)t->dk + n + n + QUERIES) + 16};
    j.scratch = rs_arena_alloc(a, (size_t)rs_pool_threads(pool) * j.each, sizeof(float));
    if (!j.scratch)
        return false;
    rs_pool_run(pool, attention_part, &j);
    return true;
}
