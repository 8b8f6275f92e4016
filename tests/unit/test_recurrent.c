/* The recurrent language model against its formulas in double precision, on weights from a generator. */
#include "test.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "asr/recurrent.h"

enum { PIECES = 12, HIDDEN = 32, SLOTS = 4, ROWS = 3 };

static float input[PIECES][4 * HIDDEN], hidden[4 * HIDDEN][HIDDEN], output[PIECES][HIDDEN], bias[PIECES];
static struct rs_tensor tensors[] = {       /* sorted by name */
    {.name = "lm.hidden.weight", .ndim = 2, .shape = {4 * HIDDEN, HIDDEN}, .data = hidden, .bytes = sizeof hidden},
    {.name = "lm.input.weight", .ndim = 2, .shape = {PIECES, 4 * HIDDEN}, .data = input, .bytes = sizeof input},
    {.name = "lm.output.bias", .ndim = 1, .shape = {PIECES}, .data = bias, .bytes = sizeof bias},
    {.name = "lm.output.weight", .ndim = 2, .shape = {PIECES, HIDDEN}, .data = output, .bytes = sizeof output},
};
static struct rs_model model = {.path = "generated", .name = "generated", .tensors = tensors, .n_tensors = 4, .n_pieces = PIECES};

static void generate(float *v, size_t n, float scale)
{
    static uint32_t seed = 3;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = ((float)(seed >> 8) / (1 << 23) - 1) * scale;
    }
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* log p of every piece after the tokens, from the start of a sentence. */
static void formulas(const int *tokens, int n, double *next)
{
    double c[HIDDEN] = {0}, h[HIDDEN] = {0}, sum = 0;
    for (int t = -1; t < n; t++) {
        double gates[4 * HIDDEN];
        for (int i = 0; i < 4 * HIDDEN; i++) {
            gates[i] = (double)input[t < 0 ? 0 : tokens[t]][i];
            for (int k = 0; k < HIDDEN; k++)
                gates[i] += (double)hidden[i][k] * h[k];
        }
        for (int i = 0; i < HIDDEN; i++) {
            c[i] = sigmoid(gates[HIDDEN + i]) * c[i] + sigmoid(gates[i]) * tanh(gates[2 * HIDDEN + i]);
            h[i] = sigmoid(gates[3 * HIDDEN + i]) * tanh(c[i]);
        }
    }
    for (int i = 0; i < PIECES; i++) {
        next[i] = (double)bias[i];
        for (int k = 0; k < HIDDEN; k++)
            next[i] += (double)output[i][k] * h[k];
        sum += exp(next[i]);
    }
    for (int i = 0; i < PIECES; i++)
        next[i] -= log(sum);
}

static struct rs_recurrent *open_with(struct rs_err *e)
{
    const struct rs_backend *b;
    struct rs_recurrent *r = NULL;
    if (rs_backend_choose(&b, "f32-portable", e))
        return NULL;
    struct rs_arena own = {0};
    struct rs_weights w = {.model = &model, .backend = b, .own = &own, .e = e};
    rs_recurrent_open(&r, &w, NULL, SLOTS, ROWS);
    rs_arena_free(&own);
    return r;
}

static void check(const struct rs_recurrent *r, int slot, const int *tokens, int n)
{
    double next[PIECES];
    formulas(tokens, n, next);
    for (int i = 0; i < PIECES; i++)
        CHECK_NEAR(rs_recurrent_next(r, slot)[i], next[i], 1e-5);
}

static void readings_go_their_own_ways(void)
{
    struct rs_err e = {0};
    struct rs_recurrent *r = open_with(&e);
    CHECK(r != NULL);
    if (!r)
        return;
    CHECK(rs_recurrent_begin(r));
    check(r, 0, NULL, 0);
    CHECK(rs_recurrent_take(r, (int[]){0, 0, 0}, (int[]){3, 7, 0}, (int[]){1, 2, 3}, 3));      /* three from one */
    check(r, 0, NULL, 0);
    check(r, 1, (int[]){3}, 1);
    check(r, 2, (int[]){7}, 1);
    check(r, 3, (int[]){0}, 1);
    CHECK(rs_recurrent_take(r, (int[]){2, 1}, (int[]){11, 5}, (int[]){3, 1}, 2));              /* one onto itself */
    check(r, 1, (int[]){3, 5}, 2);
    check(r, 2, (int[]){7}, 1);
    check(r, 3, (int[]){7, 11}, 2);
    CHECK(rs_recurrent_begin(r));                                                             /* the next chunk */
    check(r, 0, NULL, 0);
    rs_recurrent_close(r);
}

static void damaged_ones_are_refused(void)
{
    for (int i = 0; i < 4; i++) {
        struct rs_err e = {0};
        tensors[i].shape[0]++;
        struct rs_recurrent *r = open_with(&e);
        CHECK(r == NULL);
        CHECK_INT(e.code, RS_E_MODEL_BAD);
        tensors[i].shape[0]--;
    }
    for (int i = 0; i < 4; i++) {
        struct rs_err e = {0};
        if (i == 2)
            continue;
        tensors[i].shape[1]++;
        CHECK(open_with(&e) == NULL);
        CHECK_INT(e.code, RS_E_MODEL_BAD);
        tensors[i].shape[1]--;
    }
}

static void a_model_without_one(void)
{
    struct rs_err e = {0};
    model.n_tensors = 0;
    CHECK(open_with(&e) == NULL);
    CHECK_INT(e.code, 0);
    model.n_tensors = 4;
}

int main(void)
{
    generate(input[0], sizeof input / sizeof(float), 1.5f);
    generate(hidden[0], sizeof hidden / sizeof(float), 0.4f);
    generate(output[0], sizeof output / sizeof(float), 1);
    generate(bias, PIECES, 1);
    RUN(readings_go_their_own_ways);
    RUN(damaged_ones_are_refused);
    RUN(a_model_without_one);
    return REPORT();
}
