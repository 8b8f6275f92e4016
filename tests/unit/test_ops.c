/* The operators of every kernel table against plain double precision. */
#include "tensor/ops.h"

#include <stdlib.h>

#include "tensor/attention.h"
#include "tensor/cpu.h"
#include "tensor/kernels.h"
#include "test.h"

static uint32_t seed = 5;
static float uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (float)(1 << 23) - 1;
}
static void fill(float *x, int n, float scale)
{
    for (int i = 0; i < n; i++)
        x[i] = scale * uniform();
}

static void values(void)
{
    enum { N = 20001 };
    static float x[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = -86 + 172 * (float)i / (N - 1);
    rs_kernels()->exp(x, N, y);
    double worst = 0;
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs(y[i] / exp(x[i]) - 1));
    CHECK_NEAR(worst, 0, 1e-6);
    for (int i = 0; i < N; i++)                        /* 2^±125, and every part of one octave */
        x[i] = ldexpf(1 + (float)(i % 997) / 997, i % 251 - 125);
    rs_kernels()->log(x, N, y);
    worst = 0;
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs(y[i] - log(x[i])) / fmax(fabs(log(x[i])), 1e-3));
    CHECK_NEAR(worst, 0, 2e-7);
    for (int i = 0; i < N; i++)
        x[i] = -30 + 60 * (float)i / (N - 1);
    double s = 0, g = 0, t = 0;
    rs_kernels()->silu(x, N, y);
    for (int i = 0; i < N; i++)
        s = fmax(s, fabs(y[i] - x[i] / (1 + exp(-(double)x[i]))) / (1e-3 + fabs(y[i])));
    rs_kernels()->sigmoid(x, N, y);
    for (int i = 0; i < N; i++)
        g = fmax(g, fabs(y[i] * (1 + exp(-(double)x[i])) - 1));
    rs_kernels()->tanh(x, N, y);
    for (int i = 0; i < N; i++)
        t = fmax(t, fabs(y[i] - tanh(x[i])) / (1e-6 + fabs(tanh(x[i]))));
    CHECK_NEAR(s, 0, 1e-6);
    CHECK_NEAR(g, 0, 1e-6);
    CHECK_NEAR(t, 0, 2e-6);
    rs_kernels()->relu(x, N, y);
    CHECK(y[0] == 0 && y[N - 1] == 30);
    static const float small[7] = {0, 1e-8f, -1e-8f, 0.19f, -0.21f, 500, -500};
    rs_kernels()->tanh(small, 7, y);
    for (int i = 0; i < 7; i++)
        CHECK_NEAR(y[i], tanh(small[i]), 3e-7 * fabs(tanh(small[i])));
    rs_kernels()->exp(small + 5, 2, y);
    CHECK(isfinite(y[0]) && y[1] >= 0 && y[1] < 1e-37);
}

static void softmax(void)
{
    for (int n = 1; n < 80; n++) {
        float x[80];
        double e[80], sum = 0;
        fill(x, n, 8);
        x[n / 2] = 20;
        for (int i = 0; i < n; i++)
            sum += e[i] = exp(x[i] - 20.0);
        rs_kernels()->softmax(x, n, 1);
        for (int i = 0; i < n; i++)
            CHECK_NEAR(x[i], e[i] / sum, 2e-6 * e[i] / sum + 1e-12);
    }
}

/* Largest value and Σe^x of any length, the last vector a partial one. */
static void largest(void)
{
    float x[101];
    for (int n = 1; n <= 101; n += n < 40 ? 1 : 7) {
        fill(x, n, 5);
        int best = 0;
        double sum = 0;
        for (int i = 0; i < n; i++) {
            best = x[i] > x[best] ? i : best;
            sum += exp((double)x[i] - 2);
        }
        CHECK_INT(rs_kernels()->argmax(x, n), best);
        CHECK_NEAR(rs_kernels()->sum_exp(x, n, 2), sum, 1e-5 * sum);
        int at[101], next = 0;
        const int found = rs_kernels()->at_least(x, n, x[best] - 3, at);
        for (int i = 0; i < n; i++)
            if (x[i] >= x[best] - 3)
                CHECK_INT(next < found ? at[next++] : -1, i);
        CHECK_INT(next, found);
        x[n / 2] = x[n - 1] = x[best] + 1;
        CHECK_INT(rs_kernels()->argmax(x, n), n / 2);
    }
}

static void norm_and_glu(void)
{
    for (int n = 1; n < 100; n += 7) {
        float x[3 * 200], g[100], b[100], y[3 * 100];
        fill(x, 3 * 2 * n, 50);
        fill(g, n, 1);
        fill(b, n, 1);
        rs_layer_norm(NULL, x, 2 * n, 3, n, g, b, 1e-5f, y, n);
        for (int r = 0; r < 3; r++) {
            double mean = 0, var = 0;
            for (int i = 0; i < n; i++)
                mean += x[r * 2 * n + i] / (double)n;
            for (int i = 0; i < n; i++)
                var += (x[r * 2 * n + i] - mean) * (x[r * 2 * n + i] - mean) / n;
            for (int i = 0; i < n; i++)
                CHECK_NEAR(y[r * n + i], (x[r * 2 * n + i] - mean) / sqrt(var + 1e-5) * g[i] + b[i], 2e-5);
        }
        rs_glu(NULL, x, 2 * n, 3, n, y, n);
        for (int r = 0; r < 3; r++)
            for (int i = 0; i < n; i++)
                CHECK_NEAR(y[r * n + i], x[r * 2 * n + i] / (1 + exp(-(double)x[r * 2 * n + n + i])), 1e-4);
    }
}

static void conv_time(void)
{
    for (int n = 1; n < 70; n += 13)
        for (int m = 1; m < 12; m += 2) {
            float x[12 * 70], w[9 * 70], b[70], y[12 * 70];
            const int left = m % 3 == 0 ? 8 : 4;
            fill(x, m * n, 1);
            fill(w, 9 * n, 1);
            fill(b, n, 1);
            rs_conv_time(NULL, x, n, m, n, w, b, 9, left, RS_ACT_NONE, y, n);
            for (int t = 0; t < m; t++)
                for (int c = 0; c < n; c++) {
                    double s = b[c];
                    for (int j = 0; j < 9; j++)
                        if (t + j - left >= 0 && t + j - left < m)
                            s += (double)w[j * n + c] * x[(t + j - left) * n + c];
                    CHECK_NEAR(y[t * n + c], s, 1e-5);
                }
        }
}

static double tolerance = 1e-4;       /* 16 bits: 4e-4; bf16 keeps 8 bits: 5e-3 */

/* The specification's example: one head of 2, three frames. */
static void attention_example(void)
{
    static const float q[6] = {1, 0, 0, 1, 1, 1}, k[6] = {.5f, -.5f, 1, 0, 0, 2}, v[6] = {1, 2, 3, 4, 5, 6};
    static const float u[2] = {.1f, .2f}, vb[2] = {-.1f, .3f};
    static const float p[10] = {.2f, .1f, .4f, -.2f, 0, 1, -.3f, .5f, .6f, .6f};
    static const double want[6] = {3.17208, 4.17208, 4.372241, 5.372241, 4.449587, 5.449587};
    float out[6];
    struct rs_arena a = {0};
    const struct rs_attention t = {.n = 3, .heads = 1, .dk = 2, .left = -1, .right = -1, .q = q, .k = k, .value = v,
                                   .p = p + 4, .u = u, .v = vb, .qs = 2, .ks = 2, .vs = 2, .ps = 2, .ys = 2, .out = out};
    CHECK(rs_attention(&t, NULL, &a));
    for (int i = 0; i < 6; i++)
        CHECK_NEAR(out[i], want[i], tolerance);
    rs_arena_free(&a);
}

static void attention_one(int n, int heads, int dk, int left, int right, struct rs_pool *pool)
{
    const int d = heads * dk;
    float *q = malloc((size_t)(7 * n * d + 4 * d) * 4), *k = q + n * d, *v = k + n * d, *p = v + n * d;
    float *u = p + 2 * n * d, *vb = u + d, *out = vb + d;
    fill(q, 5 * n * d + 2 * d, 1);
    for (int r = 0; r < 2 * n - 1; r++)          /* positions beyond the limits are not looked at */
        for (int c = 0; c < d && ((left >= 0 && r < n - 1 - left) || (right >= 0 && r > n - 1 + right)); c++)
            p[r * d + c] = NAN;
    struct rs_arena a = {0};
    const struct rs_attention t = {.n = n, .heads = heads, .dk = dk, .left = left, .right = right, .q = q, .k = k,
                                   .value = v, .p = p + (n - 1) * d, .u = u, .v = vb, .qs = d, .ks = d, .vs = d, .ps = d, .ys = d,
                                   .out = out};
    CHECK(rs_attention(&t, pool, &a));
    double *s = malloc((size_t)n * sizeof *s), worst = 0;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int j = 0; j < n; j++) {
                double e = 0;
                for (int c = h * dk; c < (h + 1) * dk; c++)
                    e += (q[i * d + c] + u[c]) * (double)k[j * d + c]
                         + (q[i * d + c] + vb[c]) * (double)p[(n - 1 + j - i) * d + c];
                const bool seen = (left < 0 || i - j <= left) && (right < 0 || j - i <= right);
                sum += s[j] = seen ? exp(e / sqrt(dk)) : 0;
            }
            for (int c = h * dk; c < (h + 1) * dk; c++) {
                double o = 0;
                for (int j = 0; j < n; j++)
                    o += s[j] / sum * v[j * d + c];
                worst = fmax(worst, fabs(o - out[i * d + c]));
            }
        }
    CHECK_NEAR(worst, 0, tolerance);
    free(s);
    free(q);
    rs_arena_free(&a);
}

static void attention(void)
{
    struct rs_pool *pool;
    CHECK_INT(rs_pool_new(&pool, 2, NULL), 0);
    attention_one(1, 1, 4, -1, -1, NULL);
    attention_one(31, 2, 64, -1, -1, pool);
    attention_one(70, 2, 18, -1, -1, pool);
    attention_one(70, 2, 16, 10, 3, pool);
    attention_one(33, 1, 8, 0, 0, pool);
    attention_one(188, 1, 128, -1, -1, pool);
    attention_one(1, 1, 32, -1, -1, pool);
    attention_one(45, 3, 32, 20, -1, pool);
    attention_one(64, 1, 96, -1, 5, pool);
    attention_one(300, 1, 32, 16, 16, pool);
    attention_one(213, 1, 32, 128, 128, pool);      /* wide limits: not banded, and a table shorter than 2n - 1 */
    attention_one(140, 1, 32, 16, -1, pool);
    rs_pool_free(pool);
}

int main(void)
{
    const struct rs_kernels *tables[] = {&rs_kernels_portable,
#if defined __x86_64__
                                         rs_cpu_has(RS_CPU_AVX2) ? &rs_kernels_avx2 : NULL,
                                         rs_cpu_has(RS_CPU_AVX512) ? &rs_kernels_avx512 : NULL,
#endif
    };
    const struct rs_kernels *vnni = NULL;             /* the table whose 16 bits ask for an instruction set of their own */
#if defined __x86_64__
    vnni = &rs_kernels_avx512;
#endif
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (!tables[i])
            continue;
        printf("%s\n", tables[i]->name);
        rs_kernels_use(tables[i]);
        RUN(values);
        RUN(softmax);
        RUN(largest);
        RUN(norm_and_glu);
        RUN(conv_time);
        RUN(attention_example);
        RUN(attention);
        if (!tables[i]->panels16 || (tables[i] == vnni && !rs_cpu_has(RS_CPU_VNNI)))
            continue;
        printf("%s, 16 bits\n", tables[i]->name);
        rs_attention_use(RS_ATTENTION_I16);
        tolerance = 4e-4;
        RUN(attention_example);
        RUN(attention);
        rs_attention_use(RS_ATTENTION_F32);
        tolerance = 1e-4;
    }
#if defined __x86_64__
    if (rs_cpu_has(RS_CPU_AMX_BF16) && rs_cpu_allow_amx()) {
        printf("tiles\n");
        rs_attention_use(RS_ATTENTION_TILES);
        tolerance = 5e-3;
        RUN(attention);
    }
#endif
    return REPORT();
}
