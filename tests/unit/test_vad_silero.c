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
    for (int pass = 0; d && pass < 2; pass++) {
        for (int i = 0; i < HOPS; i++)
            CHECK_NEAR(rs_silero_detector.hop(d, sound + i * RS_VAD_HOP), expected[i], 2e-5);
        rs_silero_detector.reset(d);
    }
    rs_silero_detector.free(d);
}

static void products_agree(void)
{
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return;
    float a[128] = {0}, b[128] = {0};
    rs_silero_product_portable(sound + 4096, 128, 100, sound + 4100, a);
    rs_silero_product_avx2(sound + 4096, 128, 100, sound + 4100, b);
    for (int i = 0; i < 128; i++)
        CHECK_NEAR(a[i], b[i], 1e-5);
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
    const float p = rs_silero_detector.hop(d, loud);
    CHECK(p >= 0 && p <= 1);
    rs_silero_detector.hop(d, sound);
    CHECK_NEAR(rs_silero_detector.hop(d, sound), expected[1], 0.2);
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
