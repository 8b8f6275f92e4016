/* See lstm.h. The gates stand in PyTorch's order. */
#include "asr/lstm.h"

#include <string.h>

#include "tensor/kernels.h"
#include "tensor/ops.h"

bool rs_lstm_step(const struct rs_linear *hh, struct rs_pool *pool, struct rs_arena *a, const struct rs_lstm_memory *memories,
                  const int *from, const int *to, int n, float *gates, float *h, struct rs_rows *rows)
{
    const int hidden = hh->k;
    const size_t d = (size_t)hidden, four = 4 * d;
    for (int i = 0; i < n; i++) {
        const struct rs_lstm_memory *before = &memories[from[i]], *after = &memories[to[i]];
        memcpy(after->cell, before->cell, d * sizeof *after->cell);
        rs_kernels()->add(before->recalled, 4 * hidden, 1, gates + four * (size_t)i);
        rs_lstm_cell(gates + four * (size_t)i, hidden, after->cell, h + d * (size_t)i);
    }
    rs_arena_reset(a);
    if (!rs_rows_prepare(rows, hh->backend, pool, a, h, hidden, n, hidden))
        return false;
    rs_linear_apply(hh, rows, pool, RS_ACT_NONE, 1, false, gates, 4 * hidden);
    for (int i = 0; i < n; i++)
        memcpy(memories[to[i]].recalled, gates + four * (size_t)i, four * sizeof *gates);
    return true;
}
