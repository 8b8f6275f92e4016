/* Every backend that this CPU has against sums in double precision, and the int8 family against its
 * portable member, on shapes that fit no block. */
#include "tensor/linear.h"

#include <stdlib.h>

#include "tensor/backend.h"
#include "tensor/ops.h"
#include "test.h"

static uint32_t seed = 1;
static float uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (float)(1 << 23) - 1;
}

static float *numbers(size_t n)
{
    float *x = rs_aligned(n ? n : 1, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = uniform();
    return x;
}

struct shape { int m, n, k; };
static const struct shape shapes[] = {
    {1, 1, 1}, {1, 16, 64}, {1, 100, 130}, {2, 17, 63}, {3, 33, 65}, {4, 64, 64}, {5, 48, 200}, {7, 15, 1},
    {8, 31, 320}, {9, 80, 96}, {15, 130, 64}, {16, 16, 128}, {17, 97, 128}, {31, 32, 67}, {32, 96, 256},
    {33, 200, 640}, {48, 64, 1024}, {188, 40, 72}, {65, 300, 31}, {205, 50, 2112}, {400, 34, 576},
};

/* How far a backend may be from the exact result, relative to Σ|x·w|: f32 rounding, bf16's 8 bits of both
 * factors, int8's half steps of both. */
static double tolerance(const char *name)
{
    return !strncmp(name, "f32", 3) ? 1e-5 : !strncmp(name, "bf16", 4) ? 6e-3 : 1.6e-2;
}

static double act(double v, enum rs_act a)
{
    return a == RS_ACT_RELU ? (v > 0 ? v : 0) : a == RS_ACT_SILU ? v / (1 + exp(-v)) : v;
}

struct setting { enum rs_act act; float alpha; bool add, bias; };
static const struct setting settings[] = {
    {RS_ACT_NONE, 1, false, false}, {RS_ACT_NONE, 0.5f, true, true}, {RS_ACT_SILU, 1, false, true},
    {RS_ACT_RELU, 2, true, false},
};

static void one(const struct rs_backend *b, struct rs_pool *pool, const struct shape *s, const struct setting *o)
{
    const int stride_x = s->k + 3, stride_y = s->n + 5;
    float *x = numbers((size_t)s->m * (size_t)stride_x), *w = numbers((size_t)s->n * (size_t)s->k);
    float *bias = numbers((size_t)s->n), *y = numbers((size_t)s->m * (size_t)stride_y);
    float *before = numbers((size_t)s->m * (size_t)stride_y);
    memcpy(before, y, (size_t)s->m * (size_t)stride_y * sizeof *y);
    const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 3, .shape = {s->n, s->k, 1}, .data = w,
                                 .bytes = (size_t)s->n * (size_t)s->k * 4};
    const struct rs_tensor bt = {.name = "b", .type = RS_F32, .ndim = 1, .shape = {s->n}, .data = bias,
                                 .bytes = (size_t)s->n * 4};
    struct rs_linear l;
    struct rs_rows r;
    struct rs_arena a = {0};
    struct rs_err e = {0};
    CHECK_INT(rs_linear_init(&l, b, NULL, &wt, o->bias ? &bt : NULL, &e), 0);
    CHECK(rs_rows_prepare(&r, b, pool, &a, x, stride_x, s->m, s->k));
    rs_linear_apply(&l, &r, pool, o->act, o->alpha, o->add, y, stride_y);
    const double tol = tolerance(rs_backend_name(b));
    int bad = 0;
    for (int i = 0; i < s->m; i++) {
        for (int j = 0; j < s->n; j++) {
            double sum = 0, size = 0.01;
            for (int c = 0; c < s->k; c++) {
                const double p = (double)x[i * stride_x + c] * w[j * s->k + c];
                sum += p;
                size += fabs(p);
            }
            const double was = before[i * stride_y + j];
            const double want = o->alpha * act(sum + (o->bias ? bias[j] : 0), o->act) + (o->add ? was : 0);
            bad += !(fabs(want - y[i * stride_y + j]) <= tol * size * 2);
        }
        for (int j = s->n; j < stride_y; j++)       /* nothing beyond the row is touched */
            bad += y[i * stride_y + j] != before[i * stride_y + j];
    }
    if (bad)
        printf("  %s m=%d n=%d k=%d act=%d: %d values off\n", rs_backend_name(b), s->m, s->n, s->k, o->act, bad);
    CHECK_INT(bad, 0);
    rs_linear_free(&l);
    rs_arena_free(&a);
    free(x);
    free(w);
    free(bias);
    free(y);
    free(before);
}

static void exact_enough(void)
{
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        const struct rs_backend *chosen;
        if (!rs_backend_available(*b)) {
            printf("  (no %s here)\n", rs_backend_name(*b));
            continue;
        }
        CHECK_INT(rs_backend_choose(&chosen, rs_backend_name(*b), NULL), 0);
        CHECK(chosen == *b);
        for (int threads = 1; threads <= 3; threads += 2) {
            struct rs_pool *pool;
            CHECK_INT(rs_pool_new(&pool, threads, NULL), 0);
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                one(*b, pool, &shapes[s], &settings[s % 4]);
            for (size_t o = 0; o < 4; o++)
                one(*b, pool, &(struct shape){19, 77, 129}, &settings[o]);
            rs_pool_free(pool);
        }
    }
}

/* 4-bit storage: a file in q4_0 loses nothing by being packed but int8's rounding. Every instruction set
 * gives the same, on rows and on vectors. */
static void four_bits(void)
{
    enum { M = 33, N = 70, K = 768 };
    float *w = numbers(N * K), *kept = numbers(N * K), *x = numbers(M * K), *y = numbers(M * N), *first = NULL;
    unsigned char *stored = malloc(N * K);
    for (int i = 0; i < K; i++)
        w[5 * K + i] *= i < 64 ? 1 : 0.01f;                    /* groups of very different width in one row */
    memset(w + 7 * K, 0, K * sizeof *w);
    rs_quantize(RS_Q4_0, w, stored, N * K);
    rs_dequantize(RS_Q4_0, stored, kept, N * K);
    const struct rs_tensor wt = {.name = "w", .type = RS_Q4_0, .ndim = 2, .shape = {N, K}, .data = stored,
                                 .bytes = N * rs_row_bytes(RS_Q4_0, K)};
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        const struct rs_backend *chosen;
        struct rs_linear l;
        struct rs_rows r;
        struct rs_arena a = {0};
        if (strncmp(rs_backend_name(*b), "int4", 4) || !rs_backend_available(*b))
            continue;
        CHECK_INT(rs_backend_choose(&chosen, rs_backend_name(*b), NULL), 0);
        CHECK_INT(rs_linear_init(&l, *b, NULL, &wt, NULL, NULL), 0);
        CHECK(rs_rows_prepare(&r, *b, NULL, &a, x, K, M, K));
        rs_linear_apply(&l, &r, NULL, RS_ACT_NONE, 1, false, y, N);
        int bad = 0;
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double sum = 0, size = 0.01;
                for (int k = 0; k < K; k++) {
                    sum += (double)x[i * K + k] * kept[j * K + k];
                    size += fabs((double)x[i * K + k] * kept[j * K + k]);
                }
                bad += !(fabs(sum - y[i * N + j]) <= 0.016 * size);
                if (first && (*b)->levels == 127)
                    bad += !(fabsf(first[i * N + j] - y[i * N + j]) <= 1e-5f * (1 + fabsf(y[i * N + j])));
            }
        CHECK_INT(bad, 0);
        if (!first) {
            first = numbers(M * N);
            memcpy(first, y, M * N * sizeof *y);
        }
        CHECK(rs_linear_vector(&l, NULL, &a, x, y));
        for (int j = 0; j < N && (*b)->levels == 127; j++)
            CHECK_NEAR(y[j], first[j], 1e-5 * (1 + fabs((double)y[j])));
        rs_linear_free(&l);
        rs_arena_free(&a);
    }
    free(w);
    free(kept);
    free(x);
    free(y);
    free(first);
    free(stored);
}

/* One quantisation, integer sums: the whole int8 family agrees to f32 rounding, on rows and on
 * vectors. AVX2 quantises rows to 7 bits and is held to the general tolerance above. */
static void int8_family_agrees(void)
{
    const struct rs_backend *ref;
    CHECK_INT(rs_backend_choose(&ref, "int8-portable", NULL), 0);
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        if (strncmp(rs_backend_name(*b), "int8", 4) || !rs_backend_available(*b) || (*b)->levels != 127)
            continue;
        for (int m = 1; m <= 49; m++) {
            const int n = 70, k = 200;
            float *x = numbers((size_t)m * k), *w = numbers(n * k);
            float *y1 = numbers((size_t)m * n), *y2 = numbers((size_t)m * n);
            x[k / 2] = 100;                          /* an outlier: large quantised values elsewhere stay small */
            for (int i = 0; i < k; i++)
                w[3 * k + i] = -1;                   /* −127 everywhere: the extreme of every pair sum */
            const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {n, k}, .data = w,
                                         .bytes = (size_t)n * k * 4};
            struct rs_linear l1, l2;
            struct rs_rows r1, r2;
            struct rs_arena a = {0};
            struct rs_err e = {0};
            CHECK_INT(rs_linear_init(&l1, ref, NULL, &wt, NULL, &e), 0);
            CHECK_INT(rs_linear_init(&l2, *b, NULL, &wt, NULL, &e), 0);
            CHECK(rs_rows_prepare(&r1, ref, NULL, &a, x, k, m, k));
            CHECK(rs_rows_prepare(&r2, *b, NULL, &a, x, k, m, k));
            rs_linear_apply(&l1, &r1, NULL, RS_ACT_NONE, 1, false, y1, n);
            rs_linear_apply(&l2, &r2, NULL, RS_ACT_NONE, 1, false, y2, n);
            int bad = 0;
            for (int i = 0; i < m * n; i++)
                bad += !(fabsf(y1[i] - y2[i]) <= 2e-6f * (1 + fabsf(y1[i])));
            CHECK(rs_linear_vector(&l2, NULL, &a, x, y2));
            for (int i = 0; i < n; i++)
                bad += !(fabsf(y1[i] - y2[i]) <= 2e-6f * (1 + fabsf(y1[i])));
            if (bad)
                printf("  %s m=%d: %d values off\n", rs_backend_name(*b), m, bad);
            CHECK_INT(bad, 0);
            rs_linear_free(&l1);
            rs_linear_free(&l2);
            rs_arena_free(&a);
            free(x);
            free(w);
            free(y1);
            free(y2);
        }
    }
}

/* y = x·wᵀ for m rows, and the scales of the rows of a backend that may take fewer levels; false where the CPU cannot. */
static bool product(const struct rs_backend *b, const struct rs_tensor *w, const float *x, int m, float *y, float *scales)
{
    const struct rs_backend *chosen;
    struct rs_linear l;
    struct rs_rows r;
    struct rs_arena a = {0};
    if (!rs_backend_available(b))
        return false;
    CHECK_INT(rs_backend_choose(&chosen, rs_backend_name(b), NULL), 0);
    CHECK_INT(rs_linear_init(&l, b, NULL, w, NULL, NULL), 0);
    CHECK(rs_rows_prepare(&r, b, NULL, &a, x, l.k, m, l.k));
    rs_linear_apply(&l, &r, NULL, RS_ACT_NONE, 1, false, y, l.n);
    if (b->crowd)
        memcpy(scales, r.scale, (size_t)m * sizeof *scales);
    rs_linear_free(&l);
    rs_arena_free(&a);
    return true;
}

/* Rows whose largest values all stand where one instruction set adds them up in 16 bits, of one sign or of two, against the
 * largest weights of each sign: no sum may wrap, and a row that need not give way keeps its levels. */
static void crowded_rows(void)
{
    enum { M = 12, N = 32, K = 1088 };
    float *x = rs_aligned(M * K, sizeof *x), *w = rs_aligned(N * K, sizeof *w), *y = numbers(M * N);
    for (int j = 0; j < N; j++)
        for (int k = 0; k < K; k++)
            w[j * K + k] = j % 2 ? 1 : -1;
    for (int i = 0; i < M; i++)
        for (int k = 0; k < K; k++)
            x[i * K + k] = i < 2    ? (i ? -1.0f : 1.0f)                /* everywhere */
                           : i < 6  ? (k / 2 % 2 == i % 2 ? (i < 4 ? 1.0f : -1.0f) : 0.25f)       /* every other pair */
                           : i < 10 ? (k / 32 == i ? 1 : 0.01f * (float)(k % 3))                   /* one group */
                                    : (k % 32 == i ? 1 : 0.125f);
    const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {N, K}, .data = w, .bytes = sizeof(float[N][K])};
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        float scales[M];
        if (!product(*b, &wt, x, M, y, scales))
            continue;
        for (int i = 0; i < M; i++) {
            double sum = 0, size = 0;
            for (int k = 0; k < K; k++) {
                sum += (double)x[i * K + k];
                size += fabs((double)x[i * K + k]);
            }
            for (int j = 0; j < N; j++)
                CHECK_NEAR(y[i * N + j], j % 2 ? sum : -sum, 0.06 * size + 0.01 * K);
        }
        if ((*b)->crowd)
            CHECK_NEAR(scales[10], 1.0 / (*b)->levels, 1e-6);
    }
    free(x);
    free(w);
    free(y);
}

/* Activations of one sign, as after ReLU or SiLU: rounding that leans to one side would add up over k. The mean error over
 * outputs and rows must be nothing beside the error of one. */
static void nothing_leans(void)
{
    enum { M = 24, N = 64, K = 4096 };
    float *x = numbers(M * K), *w = numbers(N * K), *y = numbers(M * N), scales[M];
    for (int i = 0; i < M * K; i++)
        x[i] = fabsf(x[i]);
    const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {N, K}, .data = w, .bytes = sizeof(float[N][K])};
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        double off = 0, spread = 0, size = 0;
        if (!product(*b, &wt, x, M, y, scales))
            continue;
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double sum = 0, squares = 0;
                for (int k = 0; k < K; k++) {
                    const double p = (double)x[i * K + k] * w[j * K + k];
                    sum += p;
                    squares += p * p;
                }
                off += (y[i * N + j] - sum) / (M * N);
                spread += (y[i * N + j] - sum) * (y[i * N + j] - sum) / (M * N);
                size += squares / (M * N);
            }
        printf("  %s: error %.4f, of it on average %.4f\n", rs_backend_name(*b), sqrt(spread / size), off / sqrt(size));
        const bool four = strncmp(rs_backend_name(*b), "int4", 4) == 0;      /* few steps, not all as often odd as even */
        CHECK(fabs(off) < (four ? 0.03 : 0.01) * sqrt(size));
        CHECK(four || spread < 0.05 * 0.05 * size);
    }
    free(x);
    free(w);
    free(y);
}

/* What is no number comes out as something, but it comes out. */
static void no_numbers(void)
{
    enum { M = 9, N = 16, K = 128 };
    float scales[M];
    float *x = rs_aligned(M * K, sizeof *x), *w = numbers(N * K), *y = numbers(M * N);
    for (int i = 0; i < M * K; i++)
        x[i] = i / K % 3 == 0 ? NAN : i / K % 3 == 1 ? INFINITY : i % 2 ? NAN : 1;
    const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {N, K}, .data = w, .bytes = sizeof(float[N][K])};
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++)
        product(*b, &wt, x, M, y, scales);
    free(x);
    free(w);
    free(y);
}

/* Vectors that run as one job give what each gives alone, however often and in whichever direction. */
static void many_vectors(void)
{
    enum { COUNT = 3, K = 512, MOST = 5000 };
    const int n[COUNT] = {MOST, 70, 3650};
    float *w = numbers((size_t)MOST * K), *x = numbers(COUNT * K), *alone = numbers(COUNT * MOST), *y = numbers(COUNT * MOST);
    struct rs_pool *pool;
    CHECK_INT(rs_pool_new(&pool, 2, NULL), 0);
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        const struct rs_backend *chosen;
        struct rs_linear l[COUNT];
        struct rs_arena a = {0};
        if (!rs_backend_available(*b))
            continue;
        CHECK_INT(rs_backend_choose(&chosen, rs_backend_name(*b), NULL), 0);
        for (int i = 0; i < COUNT; i++) {
            const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {n[i], K}, .data = w,
                                         .bytes = (size_t)n[i] * K * 4};
            CHECK_INT(rs_linear_init(&l[i], *b, NULL, &wt, NULL, NULL), 0);
            CHECK(rs_linear_vector(&l[i], NULL, &a, x + i * K, alone + i * MOST));
        }
        for (int round = 0; round < 4; round++) {
            memset(y, 0, COUNT * MOST * sizeof *y);
            rs_arena_reset(&a);
            CHECK(rs_linear_vectors((const struct rs_linear *const[]){&l[0], &l[1], &l[2]},
                                    (const float *const[]){x, x + K, x + 2 * K}, (float *const[]){y, y + MOST, y + 2 * MOST},
                                    COUNT, pool, &a));
            for (int i = 0; i < COUNT; i++)
                CHECK(memcmp(y + i * MOST, alone + i * MOST, (size_t)n[i] * sizeof *y) == 0);
        }
        for (int i = 0; i < COUNT; i++)
            rs_linear_free(&l[i]);
        rs_arena_free(&a);
    }
    rs_pool_free(pool);
    free(w);
    free(x);
    free(alone);
    free(y);
}

static void stored_types(void)
{
    enum { N = 20, K = 256 };
    float *w = numbers(N * K), *x = numbers(K), y[N];
    unsigned char *stored = malloc(N * K * 4);
    static const struct { enum rs_type type; double tol; } cases[] = {
        {RS_F16, 1e-3}, {RS_BF16, 8e-3}, {RS_Q8_0, 8e-3}, {RS_Q4_0, 0.15}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
            if (!rs_backend_available(*b))
                continue;
            for (int i = 0; i < N; i++)
                rs_quantize(cases[c].type, w + i * K, stored + (size_t)i * rs_row_bytes(cases[c].type, K), K);
            const struct rs_tensor wt = {.name = "w", .type = cases[c].type, .ndim = 2, .shape = {N, K}, .data = stored,
                                         .bytes = N * rs_row_bytes(cases[c].type, K)};
            struct rs_linear l;
            struct rs_arena a = {0};
            struct rs_err e = {0};
            CHECK_INT(rs_linear_init(&l, *b, NULL, &wt, NULL, &e), 0);
            CHECK(rs_linear_vector(&l, NULL, &a, x, y));
            for (int i = 0; i < N; i++) {
                double want = 0;
                for (int k = 0; k < K; k++)
                    want += (double)w[i * K + k] * x[k];
                CHECK_NEAR(y[i], want, (cases[c].tol + tolerance(rs_backend_name(*b))) * sqrt(K));
            }
            rs_linear_free(&l);
            rs_arena_free(&a);
        }
    free(w);
    free(x);
    free(stored);
}

/* Layer norm into rows is the same as layer norm and then rows. */
static void norm_rows(void)
{
    enum { M = 21, N = 24, K = 100 };
    float *x = numbers(M * K), *w = numbers(N * K), *gamma = numbers(K), *beta = numbers(K), y1[M * N], y2[M * N], y3[M * N], *z = numbers(M * K);
    const struct rs_tensor wt = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {N, K}, .data = w, .bytes = N * K * 4};
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++) {
        const struct rs_backend *chosen;
        struct rs_linear l;
        struct rs_rows r;
        struct rs_arena a = {0};
        struct rs_pool *pool;
        if (!rs_backend_available(*b))
            continue;
        CHECK_INT(rs_backend_choose(&chosen, rs_backend_name(*b), NULL), 0);
        CHECK_INT(rs_pool_new(&pool, 2, NULL), 0);
        CHECK_INT(rs_linear_init(&l, *b, NULL, &wt, NULL, NULL), 0);
        rs_layer_norm(pool, x, K, M, K, gamma, beta, 1e-5f, z, K);
        CHECK(rs_rows_prepare(&r, *b, pool, &a, z, K, M, K));
        rs_linear_apply(&l, &r, pool, RS_ACT_NONE, 1, false, y1, N);
        CHECK(rs_layer_norm_rows(&r, *b, pool, &a, x, K, M, K, gamma, beta, 1e-5f));
        rs_linear_apply(&l, &r, pool, RS_ACT_NONE, 1, false, y2, N);
        CHECK(memcmp(y1, y2, sizeof y1) == 0);
        memset(y2, 0, sizeof y2);
        rs_linear_apply_all((const struct rs_linear *const[]){&l, &l}, 2, &r, pool, (float *const[]){y3, y2}, N);
        CHECK(memcmp(y1, y2, sizeof y1) == 0 && memcmp(y1, y3, sizeof y1) == 0);
        rs_linear_free(&l);
        rs_arena_free(&a);
        rs_pool_free(pool);
    }
    free(x);
    free(w);
    free(gamma);
    free(beta);
    free(z);
}

static void hostile(void)
{
    const struct rs_backend *b;
    struct rs_linear l;
    float w[64] = {0};
    struct rs_err e = {0};
    CHECK_INT(rs_backend_choose(&b, "nonsense", &e), -RS_E_USAGE);
    CHECK(strstr(e.msg, "f32-portable"));
    CHECK_INT(rs_backend_choose(&b, NULL, NULL), 0);
    struct rs_tensor t = {.name = "w", .type = RS_F32, .ndim = 2, .shape = {8, 8}, .data = w, .bytes = sizeof w - 4};
    e = (struct rs_err){0};
    CHECK_INT(rs_linear_init(&l, b, NULL, &t, NULL, &e), -RS_E_MODEL_BAD);
    t = (struct rs_tensor){.name = "w", .type = RS_F32, .ndim = 1, .shape = {64}, .data = w, .bytes = sizeof w};
    CHECK_INT(rs_linear_init(&l, b, NULL, &t, NULL, NULL), -RS_E_MODEL_BAD);
    t = (struct rs_tensor){.name = "w", .type = RS_Q8_0, .ndim = 2, .shape = {2, 40}, .data = w, .bytes = sizeof w};
    CHECK_INT(rs_linear_init(&l, b, NULL, &t, NULL, NULL), -RS_E_MODEL_BAD);
    t = (struct rs_tensor){.name = "w", .type = RS_F32, .ndim = 2, .shape = {8, 8}, .data = w, .bytes = sizeof w};
    const struct rs_tensor bias = {.name = "b", .type = RS_F32, .ndim = 1, .shape = {7}, .data = w, .bytes = 28};
    CHECK_INT(rs_linear_init(&l, b, NULL, &t, &bias, NULL), -RS_E_MODEL_BAD);
}

int main(void)
{
    RUN(exact_enough);
    RUN(int8_family_agrees);
    RUN(crowded_rows);
    RUN(nothing_leans);
    RUN(no_numbers);
    RUN(many_vectors);
    RUN(four_bits);
    RUN(stored_types);
    RUN(norm_rows);
    RUN(hostile);
    return REPORT();
}
