/* See weights.h. */
#include "asr/weights.h"

#include <stdio.h>
#include <string.h>

static bool full_name(struct rs_weights *w, char *to, size_t size, const char *prefix, const char *name, const char *suffix)
{
    const int n = snprintf(to, size, "%s%s%s", prefix, name, suffix);
    if (n > 0 && (size_t)n < size)
        return true;
    if (!w->rc)
        w->rc = rs_fail(w->e, RS_E_INTERNAL, "the tensor name %s%s%s is too long", prefix, name, suffix);
    return false;
}

void rs_weights_linear(struct rs_weights *w, struct rs_linear *l, const char *prefix, const char *name, int n, int k)
{
    char full[128];
    const struct rs_tensor *weight, *bias = NULL;
    if (w->rc || !full_name(w, full, sizeof full, prefix, name, ".weight"))
        return;
    w->rc = rs_model_need(w->model, &weight, full, 2, (const int64_t[]){n, k}, w->e);
    if (w->rc || !full_name(w, full, sizeof full, prefix, name, ".bias"))
        return;
    if (rs_model_find(w->model, full))
        w->rc = rs_model_need(w->model, &bias, full, 1, (const int64_t[]){n}, w->e);
    if (!w->rc)
        w->rc = rs_linear_init(l, w->backend, w->pack, weight, bias, w->e);
}

float *rs_weights_room(struct rs_weights *w, size_t count)
{
    if (w->rc)
        return NULL;
    float *p = rs_arena_alloc(w->own, count, sizeof *p);
    if (!p)
        w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the model %s", w->model->name);
    return p;
}

const float *rs_weights_values(struct rs_weights *w, const char *prefix, const char *name, int ndim, const int64_t *shape)
{
    char full[128];
    const struct rs_tensor *t;
    if (w->rc || !full_name(w, full, sizeof full, prefix, name, ""))
        return NULL;
    w->rc = rs_model_need(w->model, &t, full, ndim, shape, w->e);
    if (w->rc)
        return NULL;
    if (t->type == RS_F32 && (uintptr_t)t->data % sizeof(float) == 0)
        return t->data;
    if (rs_type_whole(t->type)) {
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the tensor %s of %s holds whole numbers: fetch the model again", full, w->model->path);
        return NULL;
    }
    const int64_t count = rs_tensor_count(t);
    float *own = rs_weights_room(w, (size_t)count);
    if (own)
        rs_dequantize(t->type, t->data, own, count);
    return own;
}

const float *rs_weights_vector(struct rs_weights *w, const char *prefix, const char *name, int n)
{
    return rs_weights_values(w, prefix, name, 1, (const int64_t[]){n});
}

const float *rs_weights_optional(struct rs_weights *w, const char *prefix, const char *name, int n)
{
    char full[128];
    if (w->rc || !full_name(w, full, sizeof full, prefix, name, "") || !rs_model_find(w->model, full))
        return NULL;
    return rs_weights_vector(w, prefix, name, n);
}

const struct rs_tensor *rs_weights_find(struct rs_weights *w, const char *prefix, const char *name)
{
    char full[128];
    if (w->rc || !full_name(w, full, sizeof full, prefix, name, ""))
        return NULL;
    const struct rs_tensor *t = rs_model_find(w->model, full);
    if (!t)
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the model %s lacks the tensor %s: it is damaged or of another kind",
                        w->model->path, full);
    return t;
}
