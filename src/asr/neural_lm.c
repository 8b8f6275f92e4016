/* See neural_lm.h. */
#include "asr/neural_lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "asr/greedy.h"
#include "asr/lstm.h"
#include "base/mem.h"
#include "tensor/backend.h"

enum { START = 0, END = 0, LARGEST = 8192 };

struct rs_neural_lm {
    int pieces, input, hidden;
    const struct rs_tensor *embed;
    struct rs_linear ih, hh, out;
    struct rs_lstm_memory *slots;
    float *next;                    /* [slots][pieces] */
    float *x, *gates, *z;           /* a row of each for every history that takes a piece */
    struct rs_pool *pool;
    struct rs_arena step;
};

bool rs_neural_lm_recall(struct rs_neural_lm *l, struct rs_pool *pool, const int *from, int n)
{
    return rs_lstm_recall(&l->hh, pool, &l->step, l->slots, from, n);
}

bool rs_neural_lm_take(struct rs_neural_lm *l, const int *from, const int *pieces, const int *to, int n)
{
    struct rs_rows rows;
    for (int i = 0; i < n; i++)
        rs_tensor_row(l->embed, pieces[i], l->x + (size_t)l->input * (size_t)i);
    rs_arena_reset(&l->step);
    if (!rs_rows_prepare(&rows, l->ih.backend, l->pool, &l->step, l->x, l->input, n, l->input))
        return false;
    rs_linear_apply(&l->ih, &rows, l->pool, RS_ACT_NONE, 1, false, l->gates, 4 * l->hidden);
    if (!rs_lstm_step(&l->hh, l->pool, &l->step, l->slots, from, to, n, l->gates, &rows))
        return false;
    rs_linear_apply(&l->out, &rows, l->pool, RS_ACT_NONE, 1, false, l->z, l->pieces);
    for (int i = 0; i < n; i++) {
        const float *x = l->z + (size_t)l->pieces * (size_t)i, *going_on = x + 1;
        const float norm = rs_log_sum_exp(going_on, l->pieces - 1, going_on[rs_argmax(going_on, l->pieces - 1)]);
        float *next = l->next + (size_t)l->pieces * (size_t)to[i];
        const float far = norm - x[END];
        next[END] = far > 80 ? -far : -log1pf(expf(far));
        for (int k = 1; k < l->pieces; k++)
            next[k] = x[k] - norm;
    }
    return true;
}

const float *rs_neural_lm_next(const struct rs_neural_lm *l, int slot)
{
    return l->next + (size_t)l->pieces * (size_t)slot;
}

/* ---- Loading ---- */

static const struct rs_tensor *matrix(struct rs_weights *w, const char *name)
{
    const struct rs_tensor *t = rs_weights_find(w, "lm.neural.", name);
    if (t && (t->ndim != 2 || t->shape[0] < 1 || t->shape[0] > 4 * LARGEST || t->shape[1] < 1 || t->shape[1] > LARGEST))
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the language model in %s is damaged: fetch the model again", w->model->path);
    return t;
}

static void get_room(struct rs_neural_lm *l, struct rs_weights *w, size_t slots, size_t rows)
{
    const size_t d = (size_t)l->hidden;
    if (w->rc)
        return;
    l->slots = rs_zeroed(slots, sizeof *l->slots);
    if (!l->slots) {
        w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the language model of %s", w->model->name);
        return;
    }
    for (size_t i = 0; i < slots && !w->rc; i++)
        l->slots[i] = (struct rs_lstm_memory){.cell = rs_weights_room(w, d), .h = rs_weights_room(w, d), .recalled = rs_weights_room(w, 4 * d)};
    l->next = rs_weights_room(w, slots * (size_t)l->pieces);
    l->x = rs_weights_room(w, rows * (size_t)l->input);
    l->gates = rs_weights_room(w, rows * 4 * d);
    l->z = rs_weights_room(w, rows * (size_t)l->pieces);
}

/* Slot 0: nothing is remembered, and a sentence starts. */
static bool start(struct rs_neural_lm *l, int other)
{
    memset(l->slots[other].cell, 0, (size_t)l->hidden * sizeof(float));
    memset(l->slots[other].h, 0, (size_t)l->hidden * sizeof(float));
    l->slots[other].known = false;
    return rs_neural_lm_take(l, &other, (const int[]){START}, (const int[]){0}, 1);
}

void rs_neural_lm_open(struct rs_neural_lm **out, struct rs_weights *w, struct rs_pool *pool, int slots, int rows)
{
    *out = NULL;
    if (w->rc || !rs_model_find(w->model, "lm.neural.embed.weight"))
        return;
    struct rs_neural_lm *l = rs_zeroed(1, sizeof *l);
    if (!l) {
        w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the language model of %s", w->model->name);
        return;
    }
    l->pool = pool;
    l->pieces = w->model->n_pieces;
    l->embed = matrix(w, "embed.weight");
    const struct rs_tensor *hh = matrix(w, "hh.weight");
    if (!w->rc && (l->embed->shape[0] != l->pieces || l->pieces < 2))
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the language model in %s knows %lld pieces, its recogniser %d: fetch the model again",
                        w->model->path, (long long)l->embed->shape[0], l->pieces);
    l->input = w->rc ? 0 : (int)l->embed->shape[1];
    l->hidden = w->rc ? 0 : (int)hh->shape[1];
    rs_weights_linear(w, &l->ih, "lm.neural.", "ih", 4 * l->hidden, l->input);
    rs_weights_linear(w, &l->hh, "lm.neural.", "hh", 4 * l->hidden, l->hidden);
    rs_weights_linear(w, &l->out, "lm.neural.", "out", l->pieces, l->hidden);
    get_room(l, w, (size_t)slots, (size_t)rows);
    if (!w->rc && !start(l, slots - 1))
        w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the language model of %s", w->model->name);
    if (w->rc)
        rs_neural_lm_close(l);
    else
        *out = l;
}

void rs_neural_lm_close(struct rs_neural_lm *l)
{
    if (!l)
        return;
    rs_linear_free(&l->ih);
    rs_linear_free(&l->hh);
    rs_linear_free(&l->out);
    rs_arena_free(&l->step);
    free(l->slots);
    free(l);
}
