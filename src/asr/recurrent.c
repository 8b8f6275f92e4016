/* See recurrent.h. */
#include "asr/recurrent.h"

#include <stdlib.h>
#include <string.h>

#include "asr/greedy.h"
#include "base/mem.h"
#include "tensor/backend.h"
#include "tensor/kernels.h"
#include "tensor/ops.h"

struct slot { float *c, *h, *next; };         /* [hidden], [hidden], [pieces] */

struct rs_recurrent {
    struct rs_pool *pool;
    struct rs_arena own, step;
    const struct rs_tensor *input;
    struct rs_linear hidden_layer, output;
    int pieces, hidden, rows;
    struct slot *slots;
    float *x, *gates, *input_row, *logits;    /* [rows][hidden], [rows][4·hidden], [4·hidden], [rows][pieces] */
};

static bool apply(struct rs_recurrent *r, const struct rs_linear *l, int n, float *y, int outputs)
{
    struct rs_rows rows;
    rs_arena_reset(&r->step);
    if (!rs_rows_prepare(&rows, l->backend, r->pool, &r->step, r->x, r->hidden, n, r->hidden))
        return false;
    rs_linear_apply(l, &rows, r->pool, RS_ACT_NONE, 1, false, y, outputs);
    return true;
}

bool rs_recurrent_take(struct rs_recurrent *r, const int *from, const int *tokens, const int *to, int n)
{
    const size_t d = (size_t)r->hidden;
    for (int i = 0; i < n; i++)
        memcpy(r->x + d * (size_t)i, r->slots[from[i]].h, d * sizeof *r->x);
    if (!apply(r, &r->hidden_layer, n, r->gates, 4 * r->hidden))
        return false;
    for (int i = 0; i < n; i++) {
        const struct slot *s = &r->slots[to[i]];
        float *gates = r->gates + 4 * d * (size_t)i;
        rs_tensor_row(r->input, tokens[i], r->input_row);
        rs_kernels()->add(r->input_row, 4 * r->hidden, 1, gates);
        memmove(s->c, r->slots[from[i]].c, d * sizeof *s->c);
        rs_lstm_cell(gates, r->hidden, s->c, s->h);
        memcpy(r->x + d * (size_t)i, s->h, d * sizeof *r->x);
    }
    if (!apply(r, &r->output, n, r->logits, r->pieces))
        return false;
    for (int i = 0; i < n; i++) {
        const float *x = r->logits + (size_t)i * (size_t)r->pieces;
        const float norm = rs_log_sum_exp(x, r->pieces, x[rs_argmax(x, r->pieces)]);
        for (int j = 0; j < r->pieces; j++)
            r->slots[to[i]].next[j] = x[j] - norm;
    }
    return true;
}

bool rs_recurrent_begin(struct rs_recurrent *r)
{
    const int slot = 0, start = 0;
    memset(r->slots[0].c, 0, (size_t)r->hidden * sizeof(float));
    memset(r->slots[0].h, 0, (size_t)r->hidden * sizeof(float));
    return rs_recurrent_take(r, &slot, &start, &slot, 1);
}

const float *rs_recurrent_next(const struct rs_recurrent *r, int slot)
{
    return r->slots[slot].next;
}

void rs_recurrent_open(struct rs_recurrent **out, struct rs_weights *w, struct rs_pool *pool, int slots, int rows)
{
    *out = NULL;
    if (w->rc || !rs_model_find(w->model, "lm.input.weight"))
        return;
    const struct rs_tensor *input = rs_weights_find(w, "lm.", "input.weight");
    const int pieces = w->model->n_pieces;
    if (input->ndim != 2 || input->shape[0] != pieces || input->shape[1] % 4 || input->shape[1] < 4 || input->shape[1] > 32768) {
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the language model in %s is damaged: fetch the model again", w->model->path);
        return;
    }
    struct rs_recurrent *r = rs_zeroed(1, sizeof *r);
    if (r)
        r->slots = rs_zeroed((size_t)slots, sizeof *r->slots);
    if (!r || !r->slots) {
        rs_recurrent_close(r);
        w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the language model of %s", w->model->name);
        return;
    }
    r->pool = pool;
    r->input = input;
    r->pieces = pieces;
    r->hidden = (int)input->shape[1] / 4;
    struct rs_arena *before = w->own;
    w->own = &r->own;
    rs_weights_linear(w, &r->hidden_layer, "lm.", "hidden", 4 * r->hidden, r->hidden);
    rs_weights_linear(w, &r->output, "lm.", "output", pieces, r->hidden);
    const size_t d = (size_t)r->hidden, n = (size_t)rows;
    for (int i = 0; i < slots; i++)
        r->slots[i] = (struct slot){rs_weights_room(w, d), rs_weights_room(w, d), rs_weights_room(w, (size_t)pieces)};
    r->x = rs_weights_room(w, n * d);
    r->gates = rs_weights_room(w, n * 4 * d);
    r->input_row = rs_weights_room(w, 4 * d);
    r->logits = rs_weights_room(w, n * (size_t)pieces);
    w->own = before;
    if (w->rc)
        rs_recurrent_close(r);
    else
        *out = r;
}

void rs_recurrent_close(struct rs_recurrent *r)
{
    if (!r)
        return;
    rs_linear_free(&r->hidden_layer);
    rs_linear_free(&r->output);
    rs_arena_free(&r->own);
    rs_arena_free(&r->step);
    free(r->slots);
    free(r);
}
