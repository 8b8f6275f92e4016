/* Silero's graph against PyTorch's answers (vad_silero.inc) on weights from a generator. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "vad/silero.h"
#include "vad_silero.inc"

enum { HOPS = sizeof expected / sizeof expected[0] };

static uint32_t seed;
static struct { struct rs_tensor t; float scale; } table[] = {      /* the published order */
    {{.name = "conv1.weight", .ndim = 3, .shape = {128, 129, 3}}, 0.12f}, {{.name = "conv1.bias", .ndim = 1, .shape = {128}}, 0.12f},
    {{.name = "conv2.weight", .ndim = 3, .shape = {64, 128, 3}}, 0.09f}, {{.name = "conv2.bias", .ndim = 1, .shape = {64}}, 0.09f},
    {{.name = "conv3.weight", .ndim = 3, .shape = {64, 64, 3}}, 0.12f}, {{.name = "conv3.bias", .ndim = 1, .shape = {64}}, 0.12f},
    {{.name = "conv4.weight", .ndim = 3, .shape = {128, 64, 3}}, 0.12f}, {{.name = "conv4.bias", .ndim = 1, .shape = {128}}, 0.12f},
    {{.name = "lstm_cell.weight_ih", .ndim = 2, .shape = {512, 128}}, 0.14f},
    {{.name = "lstm_cell.weight_hh", .ndim = 2, .shape = {512, 128}}, 0.14f},
    {{.name = "lstm_cell.bias_ih", .ndim = 1, .shape = {512}}, 0.14f}, {{.name = "lstm_cell.bias_hh", .ndim = 1, .shape = {512}}, 0.14f},
    {{.name = "final_conv.weight", .ndim = 3, .shape = {1, 128, 1}}, 3.0f}, {{.name = "final_conv.bias", .ndim = 1, .shape = {1}}, 3.0f},
};
enum { TENSORS = sizeof table / sizeof table[0] };
static struct rs_tensor tensors[TENSORS];
static struct rs_model model = {.path = "generated", .tensors = tensors, .n_tensors = TENSORS};
static float sound[HOPS * RS_VAD_HOP];

static float next(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (1 << 23) - 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rs_tensor *)a)->name, ((const struct rs_tensor *)b)->name);
}

static void generate(void)
{
    seed = 7;
    for (int i = 0; i < TENSORS; i++) {
        tensors[i] = table[i].t;
        const int64_t n = rs_tensor_count(&tensors[i]);
        float *v = malloc((size_t)n * sizeof *v);
        for (int64_t j = 0; v && j < n; j++)
            v[j] = next() * table[i].scale;
        tensors[i].data = v;
        tensors[i].bytes = (size_t)n * sizeof *v;
    }
    qsort(tensors, TENSORS, sizeof tensors[0], by_name);
    for (int i = 0; i < HOPS * RS_VAD_HOP; i++)
        sound[i] = next() * ((float)(i / 4096 % 3) * 0.25f);
}

static void answers_equal_pytorch(void)
{
    void *d;
    struct rs_err e = {0};
    CHECK_INT(rs_silero_new(&d, &model, &e), 0);
    for (int group = 1; d && group <= RS_VAD_GROUP; group++) {
        for (int i = 0; i < HOPS; i += group) {
            float p[RS_VAD_GROUP];
            const int n = HOPS - i < group ? HOPS - i : group;
            rs_silero_detector.hops(d, sound + i * RS_VAD_HOP, n, p);
            for (int j = 0; j < n; j++)
                CHECK_NEAR(p[j], expected[i + j], 2e-5);
        }
        rs_silero_detector.reset(d);
    }
    rs_silero_detector.free(d);
}

static void products_agree(void)
{
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return;
    enum { ROWS = 7, OUT = 128, IN = 100 };
    float a[ROWS][OUT] = {{0}}, b[ROWS][OUT] = {{0}};
    const float *x[ROWS];
    float *to_a[ROWS], *to_b[ROWS];
    for (int r = 0; r < ROWS; r++)
        x[r] = sound + 4100 + 37 * r, to_a[r] = a[r], to_b[r] = b[r];
    rs_silero_product_portable(sound + 4096, OUT, IN, ROWS, x, to_a);
    rs_silero_product_avx2(sound + 4096, OUT, IN, ROWS, x, to_b);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < OUT; i++) {
            double sum = 0;
            for (int k = 0; k < IN; k++)
                sum += (double)x[r][k] * sound[4096 + k * OUT + i];
            CHECK_NEAR(a[r][i], sum, 1e-5);
            CHECK_NEAR(b[r][i], sum, 1e-5);
        }
#endif
}

static void absurd_sound_does_not_stay(void)
{
    void *d;
    struct rs_err e = {0};
    static float loud[RS_VAD_HOP];
    for (int i = 0; i < RS_VAD_HOP; i++)
        loud[i] = i % 2 ? 3e38f : -3e38f;
    CHECK_INT(rs_silero_new(&d, &model, &e), 0);
    float p;
    rs_silero_detector.hops(d, loud, 1, &p);
    CHECK(p >= 0 && p <= 1);
    rs_silero_detector.hops(d, sound, 1, &p);
    rs_silero_detector.hops(d, sound, 1, &p);
    CHECK_NEAR(p, expected[1], 0.2);
    rs_silero_detector.free(d);
}

static void a_wrong_shape_is_refused(void)
{
    void *d;
    struct rs_err e = {0};
    tensors[0].shape[0]++;
    CHECK_INT(rs_silero_new(&d, &model, &e), -RS_E_MODEL_BAD);
    CHECK(d == NULL && strstr(e.msg, tensors[0].name));
    tensors[0].shape[0]--;
}

int main(void)
{
    generate();
    RUN(answers_equal_pytorch);
    RUN(products_agree);
    RUN(absurd_sound_does_not_stay);
    RUN(a_wrong_shape_is_refused);
    for (int i = 0; i < TENSORS; i++)
        free((void *)tensors[i].data);
    return REPORT();
}
