/* Linear layers in f32: the reference, and the fallback where a CPU has no int8 dot product. Weights stay
 * in the mapped file when they are stored as f32, else they are decoded once.
 *
 * OpenBLAS is linked in its serial build: the pool gives each thread a range of outputs. Built with
 * RS_NO_OPENBLAS (cross-compiled tests), that backend is not there.
 */
#ifndef RS_NO_OPENBLAS
#include <cblas.h>
#include <pthread.h>
#endif
#include <stdint.h>
#include <string.h>

#include "tensor/backend.h"
#include "tensor/kernels.h"

static bool always(void) { return true; }
static const struct rs_kernels *portable(void) { return &rs_kernels_portable; }

static int init(struct rs_linear *l, const struct rs_backend *b, struct rs_pack *pack, const struct rs_tensor *weight,
                const struct rs_tensor *bias, struct rs_err *e)
{
    (void)b;
    (void)pack;
    const size_t n = (size_t)l->n, k = (size_t)l->k;
    const bool in_place = weight->type == RS_F32 && (uintptr_t)weight->data % sizeof(float) == 0;
    size_t values = 0;
    if (!in_place && !rs_mul_ok(n, k, &values))
        return rs_fail(e, RS_E_MODEL_BAD, "Tensor %s is too large.", weight->name);
    float *owned = NULL;
    if ((values || bias) && !(owned = rs_aligned(values + n, sizeof *owned)))
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the weights of %s.", weight->name);
    l->owned = owned;
    l->panel = in_place ? weight->data : owned;
    for (size_t i = 0; !in_place && i < n; i++)
        rs_tensor_row(weight, (int64_t)i, owned + i * k);
    if (bias) {
        rs_dequantize(bias->type, bias->data, owned + values, l->n);
        l->bias = owned + values;
    }
    return 0;
}

static bool prepare(struct rs_rows *r, struct rs_pool *pool, struct rs_arena *a)
{
    (void)r;
    (void)pool;
    (void)a;
    return true;
}

struct job {
    const struct rs_linear *l;
    const struct rs_rows *r;
    enum rs_act act;
    float alpha;
    bool add;
    float *y;
    ptrdiff_t stride;
};

/* act and add together need the product apart from y: in blocks that fit the stack. */
static void apply_aside(const struct job *j, rs_f32_product *product, int from, int to)
{
    enum { ROWS = 32, COLS = 64 };
    float v[ROWS * COLS];
    const struct rs_linear *l = j->l;
    for (int c = from; c < to; c += COLS)
        for (int i = 0; i < j->r->m; i += ROWS) {
            const int n = to - c < COLS ? to - c : COLS, m = j->r->m - i < ROWS ? j->r->m - i : ROWS;
            product(j->r->x + i * j->r->stride, j->r->stride, m, (const float *)l->panel + (ptrdiff_t)c * l->k, n, l->k, 1,
                    false, v, COLS);
            for (int t = 0; t < m; t++)
                rs_kernels()->finish(v + t * COLS, NULL, l->bias ? l->bias + c : NULL, n, j->act, j->alpha, j->add,
                                     j->y + (i + t) * j->stride + c);
        }
}

static void apply_part(void *arg, int part, int parts)
{
    const struct job *j = arg;
    const struct rs_linear *l = j->l;
    rs_f32_product *product = (rs_f32_product *)l->backend->product;
    int from, to;
    rs_pool_share(l->n, 16, part, parts, &from, &to);
    if (from == to)
        return;
    if (j->act != RS_ACT_NONE && j->add) {
        apply_aside(j, product, from, to);
        return;
    }
    const bool plain = j->act == RS_ACT_NONE;
    product(j->r->x, j->r->stride, j->r->m, (const float *)l->panel + (ptrdiff_t)from * l->k, to - from, l->k,
            plain ? j->alpha : 1, plain && j->add, j->y + from, j->stride);
    for (int i = 0; i < j->r->m; i++) {
        float *y = j->y + i * j->stride + from;
        if (!plain)
            rs_kernels()->finish(y, NULL, l->bias ? l->bias + from : NULL, to - from, j->act, j->alpha, false, y);
        else if (l->bias)
            rs_kernels()->add(l->bias + from, to - from, j->alpha, y);
    }
}

static void apply(const struct rs_linear *l, const struct rs_rows *r, struct rs_pool *pool, enum rs_act act, float alpha,
                  bool add, float *y, ptrdiff_t stride)
{
    struct job j = {l, r, act, alpha, add, y, stride};
    rs_pool_run(pool, apply_part, &j);
}

static bool vectors(const struct rs_linear *const *l, const float *const *x, float *const *y, int count, struct rs_pool *pool,
                    struct rs_arena *a)
{
    (void)a;
    for (int i = 0; i < count; i++) {
        const struct rs_rows r = {.backend = l[i]->backend, .m = 1, .k = l[i]->k, .x = x[i], .stride = l[i]->k};
        apply(l[i], &r, (int64_t)l[i]->n * l[i]->k > 1 << 19 ? pool : NULL, RS_ACT_NONE, 1, false, y[i], l[i]->n);
    }
    return true;
}

#ifndef RS_NO_OPENBLAS
/* The serial build keeps its work buffers without a lock: two calls at once may share one, and then give
 * wrong numbers now and then. */
static pthread_mutex_t openblas_lock = PTHREAD_MUTEX_INITIALIZER;

static void product_openblas(const float *x, ptrdiff_t xs, int m, const float *w, int n, int k, float alpha, bool add,
                             float *y, ptrdiff_t ys)
{
    pthread_mutex_lock(&openblas_lock);
    if (m == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, alpha, w, k, x, 1, add, y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, alpha, x, (int)xs, w, k, add, y, (int)ys);
    pthread_mutex_unlock(&openblas_lock);
}
#endif

/* Rows in blocks that stay in the second cache while all weights pass by once. */
static void product_dots(const float *x, ptrdiff_t xs, int m, const float *w, int n, int k, float alpha, bool add,
                         float *y, ptrdiff_t ys)
{
    const struct rs_kernels *kernels = rs_kernels();
    if (alpha == 1 && !add) {
        kernels->dots(x, xs, m, w, k, n, k, y, ys);
        return;
    }
    enum { ROWS = 64, COLS = 32 };
    float v[ROWS * COLS];
    for (int c = 0; c < n; c += COLS)
        for (int i = 0; i < m; i += ROWS) {
            const int cols = n - c < COLS ? n - c : COLS, rows = m - i < ROWS ? m - i : ROWS;
            kernels->dots(x + i * xs, xs, rows, w + (ptrdiff_t)c * k, k, cols, k, v, COLS);
            for (int t = 0; t < rows; t++)
                kernels->finish(v + t * COLS, NULL, NULL, cols, RS_ACT_NONE, alpha, add, y + (i + t) * ys + c);
        }
}

#define BACKEND(id, words, can, table, f) \
    const struct rs_backend id = { \
        .name = words, .usable = can, .kernels = table, .init = init, .prepare = prepare, .apply = apply, \
        .vectors = vectors, .product = (void (*)(void))f, \
    }
#ifndef RS_NO_OPENBLAS
static const struct rs_kernels *best(void)
{
    rs_kernels_use(NULL);
    return rs_kernels();
}
BACKEND(rs_f32_openblas, "f32-openblas", always, best, product_openblas);
#endif
BACKEND(rs_f32_portable, "f32-portable", always, portable, product_dots);
