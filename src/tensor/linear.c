/* The table of backends and the checks that all of them share. */
#include "tensor/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/attention.h"
#include "tensor/backend.h"
#include "tensor/kernels.h"

/* Best first. Without any int8 dot product OpenBLAS is faster than int8 in plain C. 4-bit storage halves the
 * memory at some loss of accuracy, bf16 doubles it: only by name, so after everything that "auto" may pick. */
static const struct rs_backend *const backends[] = {
#if defined __x86_64__
    &rs_int8_amx, &rs_int8_vnni, &rs_int8_avxvnni, &rs_int8_avx2,
#elif defined __aarch64__
    &rs_int8_i8mm, &rs_int8_dotprod,
#endif
#ifndef RS_NO_OPENBLAS
    &rs_f32_openblas,
#endif
    &rs_int8_portable, &rs_f32_portable,
#if defined __x86_64__
    &rs_bf16_amx, &rs_int4_amx, &rs_int4_vnni, &rs_int4_avxvnni, &rs_int4_avx2,
#elif defined __aarch64__
    &rs_int4_i8mm, &rs_int4_dotprod,
#endif
    NULL,
};

const struct rs_backend *const *rs_backend_list(void)
{
    return backends;
}

const char *rs_backend_name(const struct rs_backend *b)
{
    return b->name;
}

const char *rs_backend_order(const struct rs_backend *b)
{
    return b->order;
}

bool rs_backend_available(const struct rs_backend *b)
{
    return b->usable();
}

int rs_backend_choose(const struct rs_backend **out, const char *name, struct rs_err *e)
{
    const bool any = !name || !strcmp(name, "auto");
    char list[256] = "";
    for (const struct rs_backend *const *b = backends; *b; b++) {
        if (!(*b)->usable())
            continue;
        if (any || !strcmp(name, (*b)->name)) {
            rs_kernels_use((*b)->kernels());
            rs_attention_use((*b)->attention);
            *out = *b;
            return 0;
        }
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", (*b)->name);
    }
    return rs_fail(e, RS_E_USAGE, "Backend \"%.40s\" is not available on this computer; there are: %s.", name, list);
}

/* A weight is [n, k] with any number of trailing ones, and holds as many bytes as that needs. */
static int check(const struct rs_tensor *w, const struct rs_tensor *bias, struct rs_err *e)
{
    const char *name = w->name ? w->name : "a weight";
    bool ok = w->ndim >= 2 && (unsigned)w->type < RS_TYPE_COUNT;
    for (int i = 2; ok && i < w->ndim; i++)
        ok = w->shape[i] == 1;
    ok = ok && w->shape[0] > 0 && w->shape[0] <= 1 << 24 && w->shape[1] > 0 && w->shape[1] <= 1 << 20;
    if (ok) {
        /* A [n, k, 1] tensor cannot be in blocks of k: its rows would be single values. */
        const int64_t row = w->ndim == 2 ? w->shape[1] : 1;
        ok = row % rs_type_block(w->type) == 0
             && w->bytes / (size_t)w->shape[0] >= rs_row_bytes(w->type, w->shape[1]);
    }
    if (!ok)
        return rs_fail(e, RS_E_MODEL_BAD, "Tensor %s is no matrix of a known type and complete length.", name);
    if (bias && (rs_tensor_count(bias) != w->shape[0] || rs_type_block(bias->type) != 1
                 || bias->bytes < rs_row_bytes(bias->type, w->shape[0])))
        return rs_fail(e, RS_E_MODEL_BAD, "The bias of %s does not have one number for each of its %lld outputs.", name,
                       (long long)w->shape[0]);
    return 0;
}

int rs_linear_init(struct rs_linear *l, const struct rs_backend *b, struct rs_pack *pack,
                   const struct rs_tensor *weight, const struct rs_tensor *bias, struct rs_err *e)
{
    *l = (struct rs_linear){.backend = b};
    const int status = check(weight, bias, e);
    if (status < 0)
        return status;
    l->n = (int)weight->shape[0];
    l->k = (int)weight->shape[1];
    return b->init(l, b, pack, weight, bias, e);
}

void rs_linear_free(struct rs_linear *l)
{
    free(l->owned);
    *l = (struct rs_linear){0};
}

bool rs_rows_prepare(struct rs_rows *r, const struct rs_backend *b, struct rs_pool *pool, struct rs_arena *a,
                     const float *x, ptrdiff_t stride, int m, int k)
{
    *r = (struct rs_rows){.backend = b, .m = m, .k = k, .x = x, .stride = stride};
    return b->prepare(r, pool, a);
}

void rs_linear_apply(const struct rs_linear *l, const struct rs_rows *r, struct rs_pool *pool, enum rs_act act,
                     float alpha, bool add, float *y, ptrdiff_t stride)
{
    if (r->m > 0)
        l->backend->apply(l, r, pool, act, alpha, add, y, stride);
}

void rs_linear_apply_all(const struct rs_linear *const *l, int count, const struct rs_rows *r, struct rs_pool *pool,
                         float *const *y, ptrdiff_t stride)
{
    if (r->m > 0 && l[0]->backend->apply_all)
        l[0]->backend->apply_all(l, count, r, pool, y, stride);
    else
        for (int i = 0; i < count; i++)
            rs_linear_apply(l[i], r, pool, RS_ACT_NONE, 1, false, y[i], stride);
}

bool rs_linear_vector(const struct rs_linear *l, struct rs_pool *pool, struct rs_arena *a, const float *x, float *y)
{
    return l->backend->vectors(&l, &x, &y, 1, pool, a);
}

bool rs_linear_vectors(const struct rs_linear *const *l, const float *const *x, float *const *y, int count,
                       struct rs_pool *pool, struct rs_arena *a)
{
    return l[0]->backend->vectors(l, x, y, count, pool, a);
}

void rs_tensor_row(const struct rs_tensor *t, int64_t row, float *out)
{
    const size_t bytes = rs_row_bytes(t->type, t->shape[1]);
    rs_dequantize(t->type, (const char *)t->data + (size_t)row * bytes, out, t->shape[1]);
}
