/* The neural language model against PyTorch's answers (neural_lm.inc) on weights from a generator. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "asr/neural_lm.h"
#include "neural_lm.inc"

enum { PIECES = 12, INPUT = 8, HIDDEN = 16, STEPS = sizeof histories[0] / sizeof histories[0][0], TENSORS = 6, SLOTS = 6 };

static float values[PIECES * INPUT + 4 * HIDDEN * (INPUT + 1 + HIDDEN) + PIECES * (HIDDEN + 1)];
static const struct rs_tensor whole[TENSORS] = {         /* in the order of the generator's values */
    {.name = "lm.neural.embed.weight", .ndim = 2, .shape = {PIECES, INPUT}},
    {.name = "lm.neural.ih.weight", .ndim = 2, .shape = {4 * HIDDEN, INPUT}},
    {.name = "lm.neural.ih.bias", .ndim = 1, .shape = {4 * HIDDEN}},
    {.name = "lm.neural.hh.weight", .ndim = 2, .shape = {4 * HIDDEN, HIDDEN}},
    {.name = "lm.neural.out.weight", .ndim = 2, .shape = {PIECES, HIDDEN}},
    {.name = "lm.neural.out.bias", .ndim = 1, .shape = {PIECES}},
};
static struct rs_tensor tensors[TENSORS];
static struct rs_model model = {.path = "generated", .name = "generated", .tensors = tensors, .n_tensors = TENSORS, .n_pieces = PIECES};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rs_tensor *)a)->name, ((const struct rs_tensor *)b)->name);
}

static void generate(void)
{
    uint32_t seed = 11;
    float *v = values;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = ((float)(seed >> 8) / (1 << 23) - 1) * 1.5f;
    }
    for (int i = 0; i < TENSORS; i++) {
        const int64_t n = rs_tensor_count(&whole[i]);
        tensors[i] = whole[i];
        tensors[i].data = v;
        tensors[i].bytes = (size_t)n * sizeof *v;
        v += n;
    }
    qsort(tensors, TENSORS, sizeof tensors[0], by_name);
}

struct reader { struct rs_neural_lm *lm; struct rs_pool *pool; struct rs_arena own; struct rs_err e; int rc; };

static struct reader open_model(const char *backend)
{
    struct reader r = {.lm = NULL};
    const struct rs_backend *b;
    CHECK_INT(rs_backend_choose(&b, backend, &r.e), 0);
    CHECK_INT(rs_pool_new(&r.pool, 1, &r.e), 0);
    struct rs_weights w = {.model = &model, .backend = b, .own = &r.own, .e = &r.e};
    rs_neural_lm_open(&r.lm, &w, r.pool, SLOTS, 2);
    r.rc = w.rc;
    return r;
}

static void close_model(struct reader *r)
{
    rs_neural_lm_close(r->lm);
    rs_pool_free(r->pool);
    rs_arena_free(&r->own);
}

static void check(const struct rs_neural_lm *lm, int slot, const double *want, double tolerance)
{
    const float *got = rs_neural_lm_next(lm, slot);
    const double goes_on = log1p(-exp(want[0]));          /* PyTorch's are of everything that may come, the end included */
    double sum = 0;
    CHECK_NEAR(got[0], want[0], tolerance);
    for (int i = 1; i < PIECES; i++) {
        CHECK_NEAR(got[i], want[i] - goes_on, tolerance);
        sum += exp((double)got[i]);
    }
    CHECK_NEAR(sum, 1, 1e-5);
}

/* Both histories side by side, in slots that take turns, from a start that stays what it was. */
static void answers_equal_pytorch(const char *backend, double tolerance)
{
    struct reader r = open_model(backend);
    CHECK_INT(r.rc, 0);
    for (int time = 0; r.lm && time < 2; time++) {
        check(r.lm, 0, expected[0][0], tolerance);
        for (int i = 1; i < STEPS; i++) {
            const int from[] = {i == 1 ? 0 : 1 + i % 2, i == 1 ? 0 : 3 + i % 2}, to[] = {2 - i % 2, 4 - i % 2};
            CHECK(rs_neural_lm_take(r.lm, from, (const int[]){histories[0][i], histories[1][i]}, to, 2));
            check(r.lm, to[0], expected[0][i], tolerance);
            check(r.lm, to[1], expected[1][i], tolerance);
        }
    }
    close_model(&r);
}

static void in_f32(void) { answers_equal_pytorch("f32-openblas", 2e-5); }
static void in_int8(void) { answers_equal_pytorch("int8-portable", 0.25); }

static void absent(void)
{
    const int all = model.n_tensors;
    model.n_tensors = 0;
    struct reader r = open_model("f32-openblas");
    CHECK_INT(r.rc, 0);
    CHECK(!r.lm);
    close_model(&r);
    model.n_tensors = all;
}

/* Every tensor but the first may be lacking, and each may have another shape: a sentence, and no crash. */
static void damaged(void)
{
    for (int i = 0; i < TENSORS; i++) {
        const struct rs_tensor good = tensors[i];
        for (int d = 0; d < good.ndim; d++) {
            tensors[i].shape[d] = good.shape[d] + 1;
            struct reader r = open_model("f32-openblas");
            CHECK_INT(r.rc, -RS_E_MODEL_BAD);
            CHECK(!r.lm);
            CHECK(*r.e.msg);
            close_model(&r);
            tensors[i] = good;
        }
        if (strcmp(good.name, "lm.neural.embed.weight") == 0 || strstr(good.name, ".bias"))
            continue;
        struct rs_tensor kept[TENSORS];
        memcpy(kept, tensors, sizeof kept);
        memmove(tensors + i, tensors + i + 1, (size_t)(TENSORS - 1 - i) * sizeof *tensors);
        model.n_tensors = TENSORS - 1;
        struct reader r = open_model("f32-openblas");
        CHECK_INT(r.rc, -RS_E_MODEL_BAD);
        CHECK(strstr(r.e.msg, good.name));
        close_model(&r);
        memcpy(tensors, kept, sizeof kept);
        model.n_tensors = TENSORS;
    }
}

int main(void)
{
    generate();
    RUN(in_f32);
    RUN(in_int8);
    RUN(absent);
    RUN(damaged);
    return REPORT();
}
