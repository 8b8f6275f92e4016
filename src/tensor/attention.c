/* Relative attention in f32: for a head, keys and positions are turned so that a score row is a mix of
 * their columns (kernels.h: mix), which reads memory in sequence; then blocks of queries: scores against
 * the keys in reach, scores against the position rows that they meet, softmax, mix of the values.
 */
#include "tensor/attention.h"

#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

#define QUERIES 32

/* Keys and position rows that a block of queries can see, at most. */
static int most_keys(const struct rs_attention *t)
{
    if (t->left < 0 || t->right < 0 || t->left + t->right + QUERIES > t->n)
        return t->n;
    return t->left + t->right + QUERIES;
}

static size_t floats(int n) { return ((size_t)n + 15) / 16 * 16; }

/* A band moves with its block; a full view is turned once for a head. */
static bool banded(const struct rs_attention *t) { return most_keys(t) < t->n; }

static int turned_rows(const struct rs_attention *t)
{
    return banded(t) ? most_keys(t) + QUERIES : 2 * t->n - 1;
}

size_t rs_attention_f32_room(const struct rs_attention *t)
{
    const size_t dk = (size_t)t->dk, keys = floats(most_keys(t)), rows = floats(turned_rows(t));
    return sizeof(float) * (dk * (keys + rows) + QUERIES * (dk + keys + floats(most_keys(t) + QUERIES)) + 64);
}

struct view {
    float *k, *p, *q, *scores, *position;
    int low, first_row;                   /* the first key and position row that were turned */
    int keys, rows;
};

/* [rows][dk], `stride` floats apart → [dk][rows] */
static void turn(const float *x, ptrdiff_t stride, int rows, int dk, float *to)
{
    enum { TILE = 16 };
    for (int r0 = 0; r0 < rows; r0 += TILE)
        for (int c0 = 0; c0 < dk; c0 += TILE)
            for (int c = c0; c < c0 + TILE && c < dk; c++)
                for (int r = r0; r < r0 + TILE && r < rows; r++)
                    to[(ptrdiff_t)c * rows + r] = x[r * stride + c];
}

static void see(const struct rs_attention *t, struct view *v, int at, int low, int high, int first_row, int last_row)
{
    v->low = low;
    v->keys = high - low;
    v->first_row = first_row;
    v->rows = last_row - first_row + 1;
    turn(t->k + low * t->ks + at, t->ks, v->keys, t->dk, v->k);
    turn(t->p + first_row * t->ps + at, t->ps, v->rows, t->dk, v->p);
}

static void shifted(const float *q, ptrdiff_t qs, const float *bias, int rows, int dk, float *out)
{
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < dk; c++)
            out[i * dk + c] = q[i * qs + c] + bias[c];
}

/* Queries first…first+rows-1 against keys [low, high). Query i meets key j at position row n − 1 + j − i:
 * within the block those rows start at n − 1 + low − (first + rows − 1). */
static void attend(const struct rs_attention *t, struct view *v, int at, int first, int rows)
{
    const struct rs_kernels *f = rs_kernels();
    const int dk = t->dk, last = first + rows - 1;
    const int low = t->left < 0 || first - t->left < 0 ? 0 : first - t->left;
    const int high = t->right < 0 || last + t->right >= t->n ? t->n : last + t->right + 1;
    const int keys = high - low, span = keys + rows - 1, row0 = t->n - 1 + low - last;
    if (banded(t))
        see(t, v, at, low, high, row0, row0 + span - 1);
    shifted(t->q + first * t->qs + at, t->qs, t->u + at, rows, dk, v->q);
    f->mix(v->q, dk, rows, v->k + (low - v->low), v->keys, dk, keys, v->scores, keys);
    shifted(t->q + first * t->qs + at, t->qs, t->v + at, rows, dk, v->q);
    f->mix(v->q, dk, rows, v->p + (row0 - v->first_row), v->rows, dk, span, v->position, span);
    for (int i = 0; i < rows; i++) {
        float *row = v->scores + (ptrdiff_t)i * keys;
        const int query = first + i;
        f->add(v->position + (ptrdiff_t)i * span + rows - 1 - i, keys, 1, row);
        const int from = t->left >= 0 && query - t->left > low ? query - t->left - low : 0;
        const int to = t->right >= 0 && query + t->right + 1 < high ? query + t->right + 1 - low : keys;
        f->softmax(row + from, to - from, 1 / sqrtf((float)dk));
        memset(row, 0, (size_t)from * sizeof *row);
        memset(row + to, 0, (size_t)(keys - to) * sizeof *row);
    }
    f->mix(v->scores, keys, rows, t->value + low * t->vs + at, t->vs, keys, dk, t->out + first * t->ys + at, t->ys);
}

void rs_attention_f32(const struct rs_attention *t, int head, void *scratch)
{
    const size_t dk = (size_t)t->dk;
    struct view v = {.k = scratch};
    v.p = v.k + dk * floats(most_keys(t));
    v.q = v.p + dk * floats(turned_rows(t));
    v.scores = v.q + QUERIES * dk;
    v.position = v.scores + QUERIES * floats(most_keys(t));
    if (!banded(t))
        see(t, &v, head * t->dk, 0, t->n, 0, 2 * t->n - 2);
    for (int first = 0; first < t->n; first += QUERIES)
        attend(t, &v, head * t->dk, first, t->n - first < QUERIES ? t->n - first : QUERIES);
}
