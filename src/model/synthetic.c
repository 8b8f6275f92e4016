/* See synthetic.h. Geometry: the model cards' configurations (0.6B: 24 layers of 1024; 110M: 17 of 512). */
#include "model/synthetic.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define CHANNELS 256
#define HIDDEN 640
#define KERNEL 9
#define HEADS 8

struct shape { const char *name; int layers, width, mels, pieces, lstm; bool bias, ctc; };
static const struct shape shapes[] = {
    {"0.6b-v3", 24, 1024, 128, 8192, 2, false, false},
    {"0.6b-v2", 24, 1024, 128, 1024, 2, false, false},
    {"110m", 17, 512, 80, 1024, 1, true, true},
};

struct impl {
    struct rs_model model;
    const struct shape *s;
    struct rs_arena memory;
    uint8_t *noise[4];            /* q8_0 blocks, one block for each size of row, scaled to its length */
    int noise_row[4];
    float *values, *ones, *zeros; /* f32: small random numbers, 1, 0 */
    size_t cap;
    bool failed;
};

static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static struct rs_tensor *add(struct impl *m, enum rs_type type, const void *data, int ndim, const int64_t *shape,
                             const char *format, va_list args)
{
    void *tensors = m->model.tensors;
    char *name = rs_arena_alloc(&m->memory, 80, 1);
    if (!name || !rs_grow(&tensors, &m->cap, m->model.n_tensors + 1, sizeof *m->model.tensors)) {
        m->failed = true;
        return NULL;
    }
    m->model.tensors = tensors;
    vsnprintf(name, 80, format, args);
    struct rs_tensor *t = &m->model.tensors[m->model.n_tensors++];
    *t = (struct rs_tensor){.name = name, .type = type, .ndim = ndim, .data = data};
    int64_t rows = 1;
    for (int i = 0; i < ndim; i++) {
        t->shape[i] = shape[i];
        rows *= i < ndim - 1 ? shape[i] : 1;
    }
    t->bytes = (size_t)rows * rs_row_bytes(type, shape[ndim - 1]);
    return t;
}

/* Random values of f32: as many as any of these tensors holds. */
__attribute__((format(printf, 5, 6)))
static void vector(struct impl *m, const float *data, int ndim, const int64_t *shape, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(m, RS_F32, data, ndim, shape, format, args);
    va_end(args);
}

#define VALUES (1 << 20)
#define ROWS_MADE 4096

/* Blocks for 4096 rows of k values with deviation 1/sqrt(k); more rows repeat them. */
static const uint8_t *noise_of(struct impl *m, int k, int rows)
{
    const size_t blocks = (size_t)(k / 32);
    for (int i = 0; i < 4; i++) {
        if (m->noise_row[i] == k)
            return m->noise[i];
        if (m->noise_row[i])
            continue;
        const size_t count = (size_t)(rows > ROWS_MADE ? rows : ROWS_MADE) * blocks;
        uint8_t *p = rs_arena_alloc(&m->memory, count, 34);
        if (!p)
            return NULL;
        const uint16_t d = rs_f32_to_f16(1 / (73 * sqrtf((float)k)));     /* bytes in ±127 deviate by 73 */
        uint32_t state = 2463534242u + (uint32_t)k;
        for (size_t b = 0; b < count; b++) {
            memcpy(p + 34 * b, &d, 2);
            for (int j = 0; j < 32; j += 4) {
                const uint32_t r = next(&state) | 0x01010101u;            /* never −128 */
                memcpy(p + 34 * b + 2 + j, &r, 4);
            }
        }
        m->noise[i] = p;
        m->noise_row[i] = k;
        return p;
    }
    return NULL;
}

__attribute__((format(printf, 4, 5)))
static void matrix(struct impl *m, int n, int k, const char *format, ...)
{
    const uint8_t *data = noise_of(m, k, n < ROWS_MADE ? ROWS_MADE : 8198);
    va_list args;
    if (!data) {
        m->failed = true;
        return;
    }
    va_start(args, format);
    add(m, RS_Q8_0, data, 2, (const int64_t[]){n, k}, format, args);
    va_end(args);
}

static void norm(struct impl *m, int layer, const char *name)
{
    vector(m, m->ones, 1, (const int64_t[]){m->s->width}, "encoder.layers.%d.%s.weight", layer, name);
    vector(m, m->zeros, 1, (const int64_t[]){m->s->width}, "encoder.layers.%d.%s.bias", layer, name);
}

static void linear(struct impl *m, int layer, const char *name, int n, int k)
{
    matrix(m, n, k, "encoder.layers.%d.%s.weight", layer, name);
    if (m->s->bias && strcmp(name, "self_attn.linear_pos"))
        vector(m, m->values, 1, (const int64_t[]){n}, "encoder.layers.%d.%s.bias", layer, name);
}

static void encoder_layer(struct impl *m, int i)
{
    const int d = m->s->width;
    static const char *const norms[] = {"norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2", "norm_out"};
    static const char *const square[] = {"self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v",
                                         "self_attn.linear_out", "self_attn.linear_pos", "conv.pointwise_conv2"};
    for (size_t n = 0; n < 5; n++)
        norm(m, i, norms[n]);
    for (size_t n = 0; n < 6; n++)
        linear(m, i, square[n], d, d);
    linear(m, i, "feed_forward1.linear1", 4 * d, d);
    linear(m, i, "feed_forward1.linear2", d, 4 * d);
    linear(m, i, "feed_forward2.linear1", 4 * d, d);
    linear(m, i, "feed_forward2.linear2", d, 4 * d);
    linear(m, i, "conv.pointwise_conv1", 2 * d, d);
    vector(m, m->values, 3, (const int64_t[]){d, 1, KERNEL}, "encoder.layers.%d.conv.depthwise_conv.weight", i);
    if (m->s->bias)
        vector(m, m->zeros, 1, (const int64_t[]){d}, "encoder.layers.%d.conv.depthwise_conv.bias", i);
    static const char *const batch[] = {"weight", "bias", "running_mean", "running_var"};
    for (int b = 0; b < 4; b++)
        vector(m, b == 0 || b == 3 ? m->ones : m->zeros, 1, (const int64_t[]){d}, "encoder.layers.%d.conv.batch_norm.%s", i, batch[b]);
    vector(m, m->values, 2, (const int64_t[]){HEADS, d / HEADS}, "encoder.layers.%d.self_attn.pos_bias_u", i);
    vector(m, m->values + 7777, 2, (const int64_t[]){HEADS, d / HEADS}, "encoder.layers.%d.self_attn.pos_bias_v", i);
}

static void subsampling(struct impl *m)
{
    const int d = m->s->width;
    for (int i = 0; i < 3; i++) {
        const int at = i ? 3 * i - 1 : 0;
        vector(m, m->values + 99 * i, 4, (const int64_t[]){CHANNELS, 1, 3, 3}, "encoder.pre_encode.conv.%d.weight", at);
        vector(m, m->zeros, 1, (const int64_t[]){CHANNELS}, "encoder.pre_encode.conv.%d.bias", at);
        if (i) {
            matrix(m, CHANNELS, CHANNELS, "encoder.pre_encode.conv.%d.weight", at + 1);
            vector(m, m->zeros, 1, (const int64_t[]){CHANNELS}, "encoder.pre_encode.conv.%d.bias", at + 1);
        }
    }
    const int flat = CHANNELS * m->s->mels / 8;
    float *out = rs_arena_alloc(&m->memory, (size_t)d * (size_t)flat, 2);
    if (!out) {
        m->failed = true;
        return;
    }
    uint16_t *half = (uint16_t *)out;
    uint32_t state = 99;
    for (size_t i = 0; i < (size_t)d * (size_t)flat; i++)
        half[i] = (uint16_t)(0x2000 | (next(&state) & 0x83ff));    /* ±2^-7 to ±2^-6 */
    vector(m, m->zeros, 1, (const int64_t[]){d}, "encoder.pre_encode.out.bias");
    vector(m, out, 2, (const int64_t[]){d, flat}, "encoder.pre_encode.out.weight");
    struct rs_tensor *t = m->model.n_tensors ? &m->model.tensors[m->model.n_tensors - 1] : NULL;
    if (t) {
        t->type = RS_F16;
        t->bytes /= 2;
    }
}

static void decoder(struct impl *m)
{
    const struct shape *s = m->s;
    const int outputs = s->pieces + 1 + 5;
    matrix(m, s->pieces + 1, HIDDEN, "decoder.prediction.embed.weight");
    for (int l = 0; l < s->lstm; l++)
        for (int way = 0; way < 2; way++) {
            matrix(m, 4 * HIDDEN, HIDDEN, "decoder.prediction.dec_rnn.lstm.weight_%s_l%d", way ? "hh" : "ih", l);
            vector(m, m->values, 1, (const int64_t[]){4 * HIDDEN}, "decoder.prediction.dec_rnn.lstm.bias_%s_l%d", way ? "hh" : "ih", l);
        }
    matrix(m, HIDDEN, s->width, "joint.enc.weight");
    matrix(m, HIDDEN, HIDDEN, "joint.pred.weight");
    matrix(m, outputs, HIDDEN, "joint.joint_net.2.weight");
    vector(m, m->values, 1, (const int64_t[]){HIDDEN}, "joint.enc.bias");
    vector(m, m->values, 1, (const int64_t[]){HIDDEN}, "joint.pred.bias");
    float *bias = rs_arena_alloc(&m->memory, (size_t)outputs, sizeof *bias);
    if (!bias) {
        m->failed = true;
        return;
    }
    memset(bias, 0, (size_t)outputs * sizeof *bias);
    bias[s->pieces] = -1e6f;                 /* never blank */
    bias[s->pieces + 1 + 3] = 1e6f;          /* always 3 frames */
    vector(m, bias, 1, (const int64_t[]){outputs}, "joint.joint_net.2.bias");
    if (s->ctc) {
        matrix(m, s->pieces + 1, s->width, "ctc_decoder.decoder_layers.0.weight");
        vector(m, m->zeros, 1, (const int64_t[]){s->pieces + 1}, "ctc_decoder.decoder_layers.0.bias");
    }
}

static bool constants(struct impl *m)
{
    m->values = rs_arena_alloc(&m->memory, VALUES, sizeof *m->values);
    m->ones = rs_arena_alloc(&m->memory, 8192, sizeof *m->ones);
    m->zeros = rs_arena_alloc(&m->memory, 8192, sizeof *m->zeros);
    m->model.pieces = rs_arena_alloc(&m->memory, (size_t)m->s->pieces, sizeof *m->model.pieces);
    if (!m->values || !m->ones || !m->zeros || !m->model.pieces)
        return false;
    uint32_t state = 12345;
    for (int i = 0; i < VALUES; i++)
        m->values[i] = ((float)(next(&state) >> 8) / (float)(1 << 23) - 1) / 4;
    for (int i = 0; i < 8192; i++) {
        m->ones[i] = 1;
        m->zeros[i] = 0;
    }
    m->model.n_pieces = m->s->pieces;
    for (int i = 0; i < m->s->pieces; i++)
        m->model.pieces[i] = (struct rs_piece){.text = i % 2 ? "\xe2\x96\x81""a" : "b", .len = i % 2 ? 4 : 1, .kind = 1};
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rs_tensor *)a)->name, ((const struct rs_tensor *)b)->name);
}

int rs_synthetic_model(struct rs_model **out, const char *shape, struct rs_err *e)
{
    *out = NULL;
    const struct shape *s = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, shape))
            s = &shapes[i];
    if (!s)
        return rs_fail(e, RS_E_USAGE, "There is no shape \"%.40s\"; there are " RS_SYNTHETIC_SHAPES ".", shape);
    struct impl *m = rs_zeroed(1, sizeof *m);
    if (!m)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a model of the shape %s.", shape);
    m->s = s;
    m->failed = !constants(m);
    if (!m->failed) {
        subsampling(m);
        for (int i = 0; i < s->layers; i++)
            encoder_layer(m, i);
        decoder(m);
    }
    if (m->failed) {
        rs_synthetic_free(&m->model);
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a model of the shape %s.", shape);
    }
    qsort(m->model.tensors, m->model.n_tensors, sizeof *m->model.tensors, by_name);
    snprintf(m->model.path, sizeof m->model.path, "shape %s", s->name);
    snprintf(m->model.name, sizeof m->model.name, "shape-%s", s->name);
    snprintf(m->model.container, sizeof m->model.container, "synthetic");
    m->model.config = (struct rs_model_config){
        .arch = RS_ARCH_FASTCONFORMER, .heads = HEADS, .att_left = -1, .att_right = -1, .durations = {0, 1, 2, 3, 4},
        .n_durations = 5, .max_symbols = 10, .sample_rate = 16000, .n_fft = 512, .win_length = 400, .hop_length = 160,
        .preemphasis = 0.97f, .log_guard = 0x1p-24f, .normalize = true, .activation = "relu"};
    m->model.identity = 0x5ca1ab1e00000000u | (uint32_t)(s - shapes);
    *out = &m->model;
    return 0;
}

void rs_synthetic_free(struct rs_model *model)
{
    if (!model)
        return;
    struct impl *m = (struct impl *)model;      /* the model is its first member */
    free(m->model.tensors);
    rs_arena_free(&m->memory);
    free(m);
}
