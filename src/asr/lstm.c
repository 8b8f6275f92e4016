/* See lstm.h. The gates stand in PyTorch's order. Most histories of a beam end without another input, so what they would
 * recall is computed for those that go on. */
#include "asr/lstm.h"

#include <string.h>

#include "tensor/ops.h"

bool rs_lstm_recall(const struct rs_linear *hh, struct rs_pool *pool, struct rs_arena *a, struct rs_lstm_memory *memories,
                    const int *from, int n)
{
    rs_arena_reset(a);
    const size_t d = (size_t)hh->k, four = 4 * d;
    struct rs_lstm_memory **wanted = rs_arena_alloc(a, (size_t)n, sizeof(void *));
    float *h = rs_arena_alloc(a, (size_t)n * d, sizeof *h), *y = rs_arena_alloc(a, (size_t)n * four, sizeof *y);
    struct rs_rows rows;
    int count = 0;
    for (int i = 0; i < n && wanted && h && y; i++) {
        struct rs_lstm_memory *m = &memories[from[i]];
        if (m->known)
            continue;
        memcpy(h + d * (size_t)count, m->h, d * sizeof *h);
        wanted[count++] = m;
        m->known = true;
    }
    if (!wanted || !h || !y)
        return false;
    if (!count)
        return true;
    if (!rs_rows_prepare(&rows, hh->backend, pool, a, h, hh->k, count, hh->k))
        return false;
    rs_linear_apply(hh, &rows, pool, RS_ACT_NONE, 1, false, y, 4 * hh->k);
    for (int i = 0; i < count; i++)
        memcpy(wanted[i]->recalled, y + four * (size_t)i, four * sizeof *y);
    return true;
}

bool rs_lstm_step(const struct rs_linear *hh, struct rs_pool *pool, struct rs_arena *a, struct rs_lstm_memory *memories,
                  const int *from, const int *to, int n, const float *gates, struct rs_rows *rows)
{
    const int hidden = hh->k;
    const size_t d = (size_t)hidden;
    if (!rs_lstm_recall(hh, pool, a, memories, from, n))
        return false;
    float *h = rs_arena_alloc(a, (size_t)n * d, sizeof *h);
    if (!h)
        return false;
    for (int i = 0; i < n; i++) {
        const struct rs_lstm_memory *before = &memories[from[i]];
        struct rs_lstm_memory *after = &memories[to[i]];
        rs_lstm_cell(gates + 4 * d * (size_t)i, before->recalled, hidden, before->cell, after->cell, after->h);
        memcpy(h + d * (size_t)i, after->h, d * sizeof *h);
        after->known = false;
    }
    return rs_rows_prepare(rows, hh->backend, pool, a, h, hidden, n, hidden);
}
