/* Relative attention in f32 or 16 bits: for a head, keys and positions are turned into panels of columns (kernels.h),
 * values put into panels as they are, so that the products read memory in sequence; then blocks of
 * queries: scores against the keys, scores against the position rows that they meet, softmax, values.
 *
 * In 16 bits every matrix of a head has one scale, chosen so that its products' sums fit 32 bits: some 12 bits of what is
 * multiplied remain where the linear layers around keep 8.
 *
 * Query i of a block meets key j in column BLOCK − 1 + j − i of the block's span of position rows. Those
 * are stored moved by `shift`, which puts the first row of every block's span at the start of a panel.
 */
#include "tensor/attention.h"

#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

#define BLOCK 32

struct room {
    int panel, keys, key_panels, span_panels, row_panels, out_panels;
    bool banded;                          /* a block sees only part: packed anew for each */
    int shift;
    bool narrow;
    float *k, *p, *v, *q, *scores, *position, *out;
    float *pairs;                         /* rows in 16 bits, before they are turned or multiplied */
    float k_scale, p_scale, v_scale;
};

/* In 16 bits two values are one, as far as memory is concerned. */
static int width_of(const struct room *r, int n) { return r->narrow ? (n + 1) / 2 : n; }

static int panels_of(int n, int panel) { return (n + panel - 1) / panel; }

static size_t lay_out(struct room *r, const struct rs_attention *t, bool narrow, float *at)
{
    const int panel = rs_kernels()->panel, n = t->n;
    r->panel = panel;
    r->narrow = narrow;
    r->banded = t->left >= 0 && t->right >= 0 && t->left + t->right + BLOCK < n;
    r->keys = r->banded ? t->left + t->right + BLOCK : n;
    r->shift = r->banded ? 0 : BLOCK + (panel - n % panel) % panel;
    r->key_panels = panels_of(r->keys, panel);
    r->span_panels = panels_of(r->keys + BLOCK, panel);
    r->row_panels = r->banded ? r->span_panels : (n - BLOCK + r->shift) / panel + r->span_panels;
    r->out_panels = panels_of(t->dk, panel);
    const size_t wide = (size_t)panel, dk = (size_t)width_of(r, t->dk), keys = (size_t)width_of(r, r->keys);
    /* the rows of all keys or positions, or a block's weights */
    const size_t rows = (size_t)(r->banded ? r->keys + BLOCK + panel : 2 * n), most = rows * dk > BLOCK * keys ? rows * dk : BLOCK * keys;
    struct { float **to; size_t floats; } parts[] = {
        {&r->k, dk * wide * (size_t)r->key_panels}, {&r->p, dk * wide * (size_t)r->row_panels},
        {&r->v, keys * wide * (size_t)r->out_panels}, {&r->q, (size_t)BLOCK * (size_t)t->dk},
        {&r->scores, BLOCK * wide * (size_t)r->key_panels}, {&r->position, BLOCK * wide * (size_t)r->span_panels},
        {&r->out, BLOCK * wide * (size_t)r->out_panels}, {&r->pairs, narrow ? most : 0},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (at)
            *parts[i].to = at + used;
        used += (parts[i].floats + 15) / 16 * 16;
    }
    return used * sizeof(float);
}

/* The largest 16-bit value of which n products with another such sum up within 32 bits. */
static float level(int n)
{
    return fminf(INT16_MAX, floorf(sqrtf((float)(INT32_MAX - 256) / (float)(n + 1))));
}

/* Rows in 16 bits; returns what one unit is worth. */
static float narrowed(const struct room *r, const float *x, ptrdiff_t xs, int rows, int n)
{
    const struct rs_kernels *f = rs_kernels();
    const float by = level(n) / fmaxf(f->largest(x, xs, rows, n), 1e-30f);
    for (int i = 0; i < rows; i++)
        f->narrow(x + i * xs, n, by, (int16_t *)(r->pairs + (ptrdiff_t)i * width_of(r, n)));
    return 1 / by;
}

/* Rows [first, first + n) of a matrix of so many rows, its columns from then on. */
static float turned(const struct room *r, const float *x, ptrdiff_t xs, int first, int n, int rows, int k, float *to)
{
    if (!r->narrow) {
        rs_kernels()->pack_turned(x, xs, first, n, rows, k, to);
        return 1;
    }
    const int from = first > 0 ? first : 0, end = first + n < rows ? first + n : rows, width = width_of(r, k);
    const float scale = narrowed(r, x + from * xs, xs, end - from, k);
    rs_kernels()->pack_turned(r->pairs, width, first - from, n, end - from, width, to);
    return scale;
}

/* Keys [low, high) and the position rows that they meet, from position `first` on; those beyond the limits are zeros. */
static void see(const struct rs_attention *t, struct room *r, int at, int low, int high, int first)
{
    const struct rs_kernels *f = rs_kernels();
    const float *v = t->value + low * t->vs + at;
    const int keys = high - low, left = rs_attention_reach(t->left, t->n), right = rs_attention_reach(t->right, t->n);
    r->k_scale = turned(r, t->k + low * t->ks + at, t->ks, 0, keys, keys, t->dk, r->k);
    r->p_scale = turned(r, t->p - left * t->ps + at, t->ps, first + left, (r->banded ? r->span_panels : r->row_panels) * r->panel,
                        left + 1 + right, t->dk, r->p);
    if (!r->narrow) {
        f->pack(v, t->vs, keys, t->dk, r->v);
        return;
    }
    /* Weights have all 16 bits, since they add up to 1, give or take their rounding. */
    const float by = fminf(INT16_MAX, (float)(INT32_MAX - 256) / (float)(INT16_MAX + keys)) / fmaxf(f->largest(v, t->vs, keys, t->dk), 1e-30f);
    f->pack_pairs(v, t->vs, keys, t->dk, by, (int16_t *)r->v);
    r->v_scale = 1 / by / INT16_MAX;
}

/* y = a·B for panels of B. */
static void multiply(const struct room *r, const float *a, ptrdiff_t as, int rows, const float *b, float scale, int panels, int k,
                     float *y, ptrdiff_t ys)
{
    const struct rs_kernels *f = rs_kernels();
    if (!r->narrow) {
        f->panels(a, as, rows, b, panels, k, y, ys);
        return;
    }
    const float unit = narrowed(r, a, as, rows, k);
    f->panels16((const int16_t *)r->pairs, width_of(r, k), rows, (const int16_t *)b, panels, width_of(r, k), unit * scale, y, ys);
}

/* y = a·values, each row of a adds up to 1. */
static void gather(const struct room *r, const float *a, ptrdiff_t as, int rows, int keys, float *y, ptrdiff_t ys)
{
    const struct rs_kernels *f = rs_kernels();
    const int width = width_of(r, keys);
    if (!r->narrow) {
        f->panels(a, as, rows, r->v, r->out_panels, keys, y, ys);
        return;
    }
    for (int i = 0; i < rows; i++)
        f->narrow(a + i * as, keys, INT16_MAX, (int16_t *)(r->pairs + (ptrdiff_t)i * width));
    f->panels16((const int16_t *)r->pairs, width, rows, (const int16_t *)r->v, r->out_panels, width, r->v_scale, y, ys);
}

static void shifted(const float *q, ptrdiff_t qs, const float *bias, int rows, int dk, float *out)
{
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < dk; c++)
            out[i * dk + c] = q[i * qs + c] + bias[c];
}

static void weigh(const struct rs_attention *t, float *row, const float *position, int query, int low, int keys)
{
    const struct rs_kernels *f = rs_kernels();
    f->add(position, keys, 1, row);
    const int from = t->left >= 0 && query - t->left > low ? query - t->left - low : 0;
    const int to = t->right >= 0 && query + t->right + 1 < low + keys ? query + t->right + 1 - low : keys;
    f->softmax(row + from, to - from, 1 / sqrtf((float)t->dk));
    memset(row, 0, (size_t)from * sizeof *row);
    memset(row + to, 0, (size_t)(keys - to) * sizeof *row);
}

static void attend(const struct rs_attention *t, struct room *r, int at, int first, int rows)
{
    const int dk = t->dk, last = first + rows - 1;
    const int low = !r->banded || first < t->left ? 0 : first - t->left;
    const int high = !r->banded || last + t->right >= t->n ? t->n : last + t->right + 1;
    const int keys = high - low, position = low - (first + BLOCK - 1);
    const ptrdiff_t across = r->key_panels * r->panel, span = r->span_panels * r->panel, wide = r->out_panels * r->panel;
    if (r->banded)
        see(t, r, at, low, high, position);
    const float *p = r->banded ? r->p : r->p + (ptrdiff_t)(t->n - 1 + position + r->shift) * width_of(r, dk);
    shifted(t->q + first * t->qs + at, t->qs, t->u + at, rows, dk, r->q);
    multiply(r, r->q, dk, rows, r->k, r->k_scale, panels_of(keys, r->panel), dk, r->scores, across);
    shifted(t->q + first * t->qs + at, t->qs, t->v + at, rows, dk, r->q);
    multiply(r, r->q, dk, rows, p, r->p_scale, r->span_panels, dk, r->position, span);
    for (int i = 0; i < rows; i++)
        weigh(t, r->scores + i * across, r->position + i * span + BLOCK - 1 - i, first + i, low, keys);
    gather(r, r->scores, across, rows, keys, r->out, wide);
    for (int i = 0; i < rows; i++)
        memcpy(t->out + (first + i) * t->ys + at, r->out + i * wide, (size_t)dk * sizeof *t->out);
}

static void run(const struct rs_attention *t, int head, bool narrow, void *scratch)
{
    struct room r;
    lay_out(&r, t, narrow, scratch);
    if (!r.banded)
        see(t, &r, head * t->dk, 0, t->n, 1 - t->n - r.shift);
    for (int first = 0; first < t->n; first += BLOCK)
        attend(t, &r, head * t->dk, first, t->n - first < BLOCK ? t->n - first : BLOCK);
}

size_t rs_attention_f32_room(const struct rs_attention *t)
{
    struct room r;
    return lay_out(&r, t, false, NULL);
}

void rs_attention_f32(const struct rs_attention *t, int head, void *scratch)
{
    run(t, head, false, scratch);
}

size_t rs_attention_i16_room(const struct rs_attention *t)
{
    struct room r;
    return lay_out(&r, t, true, NULL);
}

void rs_attention_i16(const struct rs_attention *t, int head, void *scratch)
{
    run(t, head, true, scratch);
}
