/* The one linear contract: y[m, n] = act(x[m, k] · W[n, k]ᵀ + bias[n]).
 *
 * A backend decides how W is held (in place in the mapped file, or packed into panels of its own) and
 * how x is presented to it (f32 rows, or rows quantised to int8 with one scale each). Callers never look
 * inside: they prepare rows once and apply as many linears to them as share that input (q, k and v).
 * All backends agree with `portable` within the tolerance that tests/unit states for them.
 */
#ifndef RS_LINEAR_H
#define RS_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "tensor/pool.h"
#include "tensor/tensor.h"

struct rs_backend;    /* tensor/backend.h: name, availability, function table */

/* The table of backends, best first for this CPU. `name` NULL or "auto" picks the first that the CPU and
 * the operating system allow; an unknown or unavailable name is RS_E_USAGE and lists what there is. */
int rs_backend_choose(const struct rs_backend **out, const char *name, struct rs_err *e);
const char *rs_backend_name(const struct rs_backend *b);          /* "int8-amx", "f32-openblas", … */
const char *rs_backend_order(const struct rs_backend *b);         /* of its packed weights (pack.h); NULL: it packs nothing */
const struct rs_backend *const *rs_backend_list(void);            /* NULL-terminated, best first, all that were built */
bool rs_backend_available(const struct rs_backend *b);

/* A store of ready-packed panels for one model (see tensor/pack.h): NULL packs into private memory. */
struct rs_pack;

struct rs_linear {
    const struct rs_backend *backend;
    int n, k;
    const void *panel;        /* weights as the backend wants them */
    const float *scale;       /* per output channel, or NULL */
    const float *bias;        /* n values, or NULL */
    void *owned;              /* memory to free, or NULL when everything is mapped */
};

/* Takes a 2-D tensor [n, k] (or [n, k, 1…]) of any type and an optional bias tensor [n] (f32/f16/bf16). */
int rs_linear_init(struct rs_linear *l, const struct rs_backend *b, struct rs_pack *pack,
                   const struct rs_tensor *weight, const struct rs_tensor *bias, struct rs_err *e);
void rs_linear_free(struct rs_linear *l);

enum rs_act { RS_ACT_NONE, RS_ACT_RELU, RS_ACT_SILU };

/* Activations as the backend wants them. Filled by rs_rows_prepare; memory comes from the arena. */
struct rs_rows {
    const struct rs_backend *backend;
    int m, k;
    const float *x;           /* f32 rows, `stride` floats apart (f32 backends read these) */
    ptrdiff_t stride;
    void *q;                  /* quantised rows */
    float *scale;             /* per row */
    int32_t *sum;             /* per row: Σ_k of the quantised values */
};

/* x: m rows of k floats, `stride` floats apart. Returns false when the arena is out of memory. */
bool rs_rows_prepare(struct rs_rows *r, const struct rs_backend *b, struct rs_pool *pool, struct rs_arena *a,
                     const float *x, ptrdiff_t stride, int m, int k);

/* y: m rows of l->n floats, `stride` apart. With `add`, y = y + alpha·(…) instead of y = alpha·(…)
 * (the residual of a Conformer block; alpha 0.5 for the macaron halves). act is applied before alpha. */
void rs_linear_apply(const struct rs_linear *l, const struct rs_rows *r, struct rs_pool *pool, enum rs_act act,
                     float alpha, bool add, float *y, ptrdiff_t stride);

/* Up to RS_VECTORS linears on the same rows, as one job of the pool: y[i] = W[i]·x + bias[i], rows `stride` apart. */
#define RS_VECTORS 8
void rs_linear_apply_all(const struct rs_linear *const *l, int count, const struct rs_rows *r, struct rs_pool *pool,
                         float *const *y, ptrdiff_t stride);

/* One row without preparation, for the decoder: y[n] = W·x + bias. Serial unless n is large. */
bool rs_linear_vector(const struct rs_linear *l, struct rs_pool *pool, struct rs_arena *a, const float *x, float *y);

/* Up to RS_VECTORS of them that do not depend on each other, as one job of the pool: y[i] = W[i]·x[i] + bias[i]. */
bool rs_linear_vectors(const struct rs_linear *const *l, const float *const *x, float *const *y, int count,
                       struct rs_pool *pool, struct rs_arena *a);

#endif
