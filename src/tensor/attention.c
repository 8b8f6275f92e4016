/* Relative attention in f32: for a head, keys and positions are turned into panels of columns (kernels.h),
 * values put into panels as they are, so that the products read memory in sequence; then blocks of
 * queries: scores against the keys, scores against the position rows that they meet, softmax, values.
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
    float *k, *p, *v, *q, *scores, *position, *out;
};

static int panels_of(int n, int panel) { return (n + panel - 1) / panel; }

static size_t lay_out(struct room *r, const struct rs_attention *t, float *at)
{
    const int panel = rs_kernels()->panel, n = t->n;
    r->panel = panel;
    r->banded = t->left >= 0 && t->right >= 0 && t->left + t->right + BLOCK < n;
    r->keys = r->banded ? t->left + t->right + BLOCK : n;
    r->shift = r->banded ? 0 : BLOCK + (panel - n % panel) % panel;
    r->key_panels = panels_of(r->keys, panel);
    r->span_panels = panels_of(r->keys + BLOCK, panel);
    r->row_panels = r->banded ? r->span_panels : (n - BLOCK + r->shift) / panel + r->span_panels;
    r->out_panels = panels_of(t->dk, panel);
    const size_t wide = (size_t)panel, dk = (size_t)t->dk;
    struct { float **to; size_t floats; } parts[] = {
        {&r->k, dk * wide * (size_t)r->key_panels}, {&r->p, dk * wide * (size_t)r->row_panels},
        {&r->v, (size_t)r->keys * wide * (size_t)r->out_panels}, {&r->q, BLOCK * dk},
        {&r->scores, BLOCK * wide * (size_t)r->key_panels}, {&r->position, BLOCK * wide * (size_t)r->span_panels},
        {&r->out, BLOCK * wide * (size_t)r->out_panels},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (at)
            *parts[i].to = at + used;
        used += (parts[i].floats + 15) / 16 * 16;
    }
    return used * sizeof(float);
}

size_t rs_attention_f32_room(const struct rs_attention *t)
{
    struct room r;
    return lay_out(&r, t, NULL);
}

/* Keys [low, high) and `panels` panels of position rows from first_row on. */
static void see(const struct rs_attention *t, const struct room *r, int at, int low, int high, int first_row)
{
    const struct rs_kernels *f = rs_kernels();
    f->pack_turned(t->k + low * t->ks + at, t->ks, 0, high - low, high - low, t->dk, r->k);
    f->pack_turned(t->p + at, t->ps, first_row, (r->banded ? r->span_panels : r->row_panels) * r->panel, 2 * t->n - 1, t->dk, r->p);
    f->pack(t->value + low * t->vs + at, t->vs, high - low, t->dk, r->v);
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

static void attend(const struct rs_attention *t, const struct room *r, int at, int first, int rows)
{
    const struct rs_kernels *f = rs_kernels();
    const int dk = t->dk, last = first + rows - 1;
    const int low = !r->banded || first < t->left ? 0 : first - t->left;
    const int high = !r->banded || last + t->right >= t->n ? t->n : last + t->right + 1;
    const int keys = high - low, first_row = t->n - 1 + low - (first + BLOCK - 1);
    const ptrdiff_t across = r->key_panels * r->panel, span = r->span_panels * r->panel, wide = r->out_panels * r->panel;
    if (r->banded)
        see(t, r, at, low, high, first_row);
    const float *p = r->banded ? r->p : r->p + (ptrdiff_t)(first_row + r->shift) * dk;
    shifted(t->q + first * t->qs + at, t->qs, t->u + at, rows, dk, r->q);
    f->panels(r->q, dk, rows, r->k, panels_of(keys, r->panel), dk, r->scores, across);
    shifted(t->q + first * t->qs + at, t->qs, t->v + at, rows, dk, r->q);
    f->panels(r->q, dk, rows, p, r->span_panels, dk, r->position, span);
    for (int i = 0; i < rows; i++)
        weigh(t, r->scores + i * across, r->position + i * span + BLOCK - 1 - i, first + i, low, keys);
    f->panels(r->scores, across, rows, r->v, r->out_panels, keys, r->out, wide);
    for (int i = 0; i < rows; i++)
        memcpy(t->out + (first + i) * t->ys + at, r->out + i * wide, (size_t)dk * sizeof *t->out);
}

void rs_attention_f32(const struct rs_attention *t, int head, void *scratch)
{
    struct room r;
    lay_out(&r, t, scratch);
    if (!r.banded)
        see(t, &r, head * t->dk, 0, t->n, -r.shift);
    for (int first = 0; first < t->n; first += BLOCK)
        attend(t, &r, head * t->dk, first, t->n - first < BLOCK ? t->n - first : BLOCK);
}
