/* Silero VAD's 16 kHz graph (snakers4/silero-vad, src/silero_vad/tinygrad_model.py; the same in v5 and v6).
 *
 * A hop of 512 samples and the 64 before it, mirrored by 64 at the end, give four magnitude spectra of
 * 256 points; four convolutions shrink them to 128 numbers, an LSTM cell remembers, one unit answers.
 * Every layer is one product with its weights transposed, so that neighbouring outputs are neighbours in
 * memory; hops that come together go through it layer by layer, because reading the weights costs more than
 * the sums. The spectrum is a product with cosine and sine tables over the folded window: for a real signal
 * that is half the work, and no FFT library's planner (which threads may not share) is needed.
 */
#include "vad/silero.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/ops.h"

enum {
    CONTEXT = 64, FRAME = 256, STRIDE = 128, FRAMES = 4, BINS = 129, HALF = 128,
    SAMPLES = CONTEXT + RS_VAD_HOP, SPAN = SAMPLES + CONTEXT,      /* without and with the mirrored end */
    CELL = 128, GATES = 4 * CELL,
    CONV_FLOATS = 3 * BINS * 128 + 128 + 3 * 128 * 64 + 64 + 3 * 64 * 64 + 64 + 3 * 64 * 128 + 128,
    TABLE_FLOATS = (HALF + 1) * HALF + (HALF - 1) * HALF,
    ALL_FLOATS = CONV_FLOATS + 2 * CELL * GATES + GATES + TABLE_FLOATS + CELL + 1,
};

struct layer { int in, out, stride; float *w, *bias; };     /* w [3·in][out], a tap's inputs together */

struct silero {
    rs_silero_product *product;
    struct layer conv[4];
    float *gates;                      /* [2·CELL][GATES]: W_ih over W_hh, transposed */
    float *gates_bias;                 /* b_ih + b_hh */
    float *head;                       /* [CELL], then the bias */
    float *cosine, *sine;              /* [HALF + 1][HALF], [HALF - 1][HALF] */
    float window[FRAME];               /* periodic Hann */
    float past[CONTEXT], h[CELL], c[CELL];
    float *block;                      /* all of the above in one allocation */
};

static const struct { const char *name; int in, out, stride; } shapes[4] = {
    {"conv1", BINS, 128, 1}, {"conv2", 128, 64, 2}, {"conv3", 64, 64, 2}, {"conv4", 64, 128, 1},
};

/* Takes `count` floats from the block. */
static float *take(float **next, size_t count)
{
    float *p = *next;
    *next += count;
    return p;
}

static void lay_out(struct silero *s)
{
    float *next = s->block;
    for (int i = 0; i < 4; i++) {
        s->conv[i] = (struct layer){.in = shapes[i].in, .out = shapes[i].out, .stride = shapes[i].stride};
        s->conv[i].w = take(&next, (size_t)3 * (size_t)shapes[i].in * (size_t)shapes[i].out);
        s->conv[i].bias = take(&next, (size_t)shapes[i].out);
    }
    s->gates = take(&next, (size_t)2 * CELL * GATES);
    s->gates_bias = take(&next, GATES);
    s->cosine = take(&next, (size_t)(HALF + 1) * HALF);
    s->sine = take(&next, (size_t)(HALF - 1) * HALF);
    s->head = take(&next, CELL + 1);
}

/* The tensor as f32, which the caller frees; NULL with the reason in `e`. */
static float *read_tensor(const struct rs_model *m, const char *name, int ndim, const int64_t *shape, struct rs_err *e)
{
    const struct rs_tensor *t;
    if (rs_model_need(m, &t, name, ndim, shape, e) < 0)
        return NULL;
    const int64_t count = rs_tensor_count(t);
    if (rs_type_whole(t->type) || count % rs_type_block(t->type) != 0) {
        rs_fail(e, RS_E_MODEL_BAD, "In %s the tensor %s has a type that a voice detector cannot use.", m->path, name);
        return NULL;
    }
    float *v = rs_aligned((size_t)count, sizeof(float));
    if (v)
        rs_dequantize(t->type, t->data, v, count);
    else
        rs_fail(e, RS_E_NOMEM, "There is no memory for the voice detector.");
    return v;
}

static bool read_vector(float *to, const struct rs_model *m, const char *name, int n, bool add, struct rs_err *e)
{
    float *v = read_tensor(m, name, 1, (int64_t[]){n}, e);
    if (!v)
        return false;
    for (int i = 0; i < n; i++)
        to[i] = (add ? to[i] : 0) + v[i];
    free(v);
    return true;
}

static bool read_conv(struct layer *l, const struct rs_model *m, const char *name, struct rs_err *e)
{
    char full[40];
    snprintf(full, sizeof full, "%s.weight", name);
    float *v = read_tensor(m, full, 3, (int64_t[]){l->out, l->in, 3}, e);
    if (!v)
        return false;
    for (int o = 0; o < l->out; o++)
        for (int i = 0; i < l->in; i++)
            for (int tap = 0; tap < 3; tap++)
                l->w[(tap * l->in + i) * l->out + o] = v[(o * l->in + i) * 3 + tap];
    free(v);
    snprintf(full, sizeof full, "%s.bias", name);
    return read_vector(l->bias, m, full, l->out, false, e);
}

static bool read_gates(struct silero *s, const struct rs_model *m, struct rs_err *e)
{
    static const char *const names[2] = {"lstm_cell.weight_ih", "lstm_cell.weight_hh"};
    for (int part = 0; part < 2; part++) {
        float *v = read_tensor(m, names[part], 2, (int64_t[]){GATES, CELL}, e);
        if (!v)
            return false;
        for (int o = 0; o < GATES; o++)
            for (int i = 0; i < CELL; i++)
                s->gates[(part * CELL + i) * GATES + o] = v[o * CELL + i];
        free(v);
    }
    return read_vector(s->gates_bias, m, "lstm_cell.bias_ih", GATES, false, e) &&
           read_vector(s->gates_bias, m, "lstm_cell.bias_hh", GATES, true, e);
}

static bool read_head(struct silero *s, const struct rs_model *m, struct rs_err *e)
{
    float *v = read_tensor(m, "final_conv.weight", 3, (int64_t[]){1, CELL, 1}, e);
    if (!v)
        return false;
    memcpy(s->head, v, CELL * sizeof *v);
    free(v);
    return read_vector(s->head + CELL, m, "final_conv.bias", 1, false, e);
}

/* A file may carry the transform's basis; it has to be the one that the tables stand for. */
static bool check_basis(const struct silero *s, const struct rs_model *m, struct rs_err *e)
{
    if (!rs_model_find(m, "stft_conv.weight"))
        return true;
    float *v = read_tensor(m, "stft_conv.weight", 3, (int64_t[]){2 * BINS, 1, FRAME}, e), worst = 0;
    if (!v)
        return false;
    for (int k = 0; k < BINS; k++)
        for (int n = 0; n < FRAME; n++) {
            const float angle = 2 * (float)M_PI * (float)(k * n % FRAME) / FRAME;
            worst = fmaxf(worst, fabsf(v[k * FRAME + n] - s->window[n] * cosf(angle)));
            worst = fmaxf(worst, fabsf(v[(BINS + k) * FRAME + n] + s->window[n] * sinf(angle)));
        }
    free(v);
    if (worst < 2e-3f)
        return true;
    rs_fail(e, RS_E_MODEL_UNSUPPORTED, "The voice detector %s has another transform than Silero's 16 kHz graph.", m->path);
    return false;
}

static void fill_tables(struct silero *s)
{
    for (int n = 0; n < FRAME; n++)
        s->window[n] = 0.5f - 0.5f * cosf(2 * (float)M_PI * (float)n / FRAME);
    for (int n = 0; n <= HALF; n++)
        for (int k = 0; k < HALF; k++)
            s->cosine[n * HALF + k] = cosf(2 * (float)M_PI * (float)(n * k % FRAME) / FRAME);
    for (int n = 1; n < HALF; n++)
        for (int k = 0; k < HALF; k++)
            s->sine[(n - 1) * HALF + k] = sinf(2 * (float)M_PI * (float)(n * k % FRAME) / FRAME);
}

static rs_silero_product *best_product(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return rs_silero_product_avx2;
#endif
    return rs_silero_product_portable;
}

static void silero_free(void *self)
{
    struct silero *s = self;
    if (s)
        free(s->block);
    free(s);
}

int rs_silero_new(void **out, const struct rs_model *m, struct rs_err *e)
{
    struct rs_err own = {0};
    if (!e)
        e = &own;
    *out = NULL;
    struct silero *s = rs_zeroed(1, sizeof *s);
    if (s)
        s->block = rs_aligned(ALL_FLOATS, sizeof(float));
    if (!s || !s->block) {
        silero_free(s);
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the voice detector.");
    }
    lay_out(s);
    s->product = best_product();
    fill_tables(s);
    bool ok = check_basis(s, m, e);
    for (int i = 0; ok && i < 4; i++)
        ok = read_conv(&s->conv[i], m, shapes[i].name, e);
    if (!ok || !read_gates(s, m, e) || !read_head(s, m, e)) {
        silero_free(s);
        return -e->code;
    }
    *out = s;
    return 0;
}

/* |STFT| of the frames whose samples begin at x, STRIDE apart, hop after hop, into m, a hop's frames between two rows of
 * zeros. The window is symmetric around HALF, so cosines see x[n] + x[FRAME-n] and sines x[n] - x[FRAME-n]; the last
 * bin's cosines alternate in sign and its sines are zero. */
static void spectra(const struct silero *s, const float *x, int hops, float *m)
{
    enum { ROWS = RS_VAD_GROUP * FRAMES };
    float even[ROWS][HALF + 1], odd[ROWS][HALF], re[ROWS][HALF] = {0}, im[ROWS][HALF] = {0};
    const float *evens[ROWS] = {0}, *odds[ROWS] = {0};
    float *res[ROWS] = {0}, *ims[ROWS] = {0};
    const int rows = hops * FRAMES;
    for (int r = 0; r < rows; r++) {
        const float *f = x + r / FRAMES * SPAN + r % FRAMES * STRIDE;
        even[r][0] = f[0] * s->window[0];
        even[r][HALF] = f[HALF] * s->window[HALF];
        for (int n = 1; n < HALF; n++) {
            even[r][n] = s->window[n] * (f[n] + f[FRAME - n]);
            odd[r][n] = s->window[n] * (f[n] - f[FRAME - n]);
        }
        evens[r] = even[r], odds[r] = odd[r] + 1, res[r] = re[r], ims[r] = im[r];
    }
    s->product(s->cosine, HALF, HALF + 1, rows, evens, res);
    s->product(s->sine, HALF, HALF - 1, rows, odds, ims);
    for (int r = 0; r < rows; r++) {
        float *to = m + (r / FRAMES * (FRAMES + 2) + 1 + r % FRAMES) * BINS, last = 0;
        for (int k = 0; k < HALF; k++)
            to[k] = sqrtf(re[r][k] * re[r][k] + im[r][k] * im[r][k]);
        for (int n = 0; n <= HALF; n++)
            last += n % 2 ? -even[r][n] : even[r][n];
        to[HALF] = fabsf(last);
    }
}

/* Three taps, then ReLU: x [hops][1 + frames + 1][in] with zeros around each hop's frames → y [hops][1 + made + 1][out],
 * likewise. Returns made, the frames of each hop that come out. */
static int convolve(const struct silero *s, const struct layer *l, const float *x, int hops, int frames, float *y)
{
    const int made = (frames + l->stride - 1) / l->stride;
    const int first = made == 1, last = frames == 1 ? 1 : 2;      /* taps that see more than zeros */
    const float *from[RS_VAD_GROUP * FRAMES] = {0};
    float *to[RS_VAD_GROUP * FRAMES] = {0};
    for (int r = 0; r < hops * made; r++) {
        from[r] = x + (r / made * (frames + 2) + r % made * l->stride + first) * l->in;
        to[r] = y + (r / made * (made + 2) + 1 + r % made) * l->out;
    }
    memset(y, 0, (size_t)(hops * (made + 2) * l->out) * sizeof *y);
    for (int r = 0; r < hops * made; r++)
        memcpy(to[r], l->bias, (size_t)l->out * sizeof *l->bias);
    s->product(l->w + first * l->in * l->out, l->out, (last - first + 1) * l->in, hops * made, from, to);
    for (int r = 0; r < hops * made; r++)
        for (int i = 0; i < l->out; i++)
            to[r][i] = fmaxf(to[r][i], 0);
    return made;
}

/* One step of the LSTM cell, of which z holds the input's part; the head sees the rectified state. */
static float remember(struct silero *s, float *z)
{
    float p = s->head[CELL];
    s->product(s->gates + CELL * GATES, GATES, CELL, 1, (const float *[]){s->h}, (float *[]){z});
    rs_lstm_cell(z, NULL, CELL, s->c, s->c, s->h);
    for (int i = 0; i < CELL; i++)
        p += s->head[i] * fmaxf(s->h[i], 0);
    return 1 / (1 + expf(-p));
}

static void silero_reset(void *self)
{
    struct silero *s = self;
    memset(s->past, 0, sizeof s->past);
    memset(s->h, 0, sizeof s->h);
    memset(s->c, 0, sizeof s->c);
}

static void silero_hops(void *self, const float *x, int n, float *prob)
{
    struct silero *s = self;
    float samples[RS_VAD_GROUP * SPAN] = {0}, z[RS_VAD_GROUP][GATES];
    float a[RS_VAD_GROUP * (FRAMES + 2) * BINS] = {0}, b[RS_VAD_GROUP * (FRAMES + 2) * 128];
    const float *in[RS_VAD_GROUP];
    float *out[RS_VAD_GROUP];
    for (int h = 0; h < n; h++, x += RS_VAD_HOP) {
        float *to = samples + h * SPAN;
        memcpy(to, s->past, sizeof s->past);
        memcpy(to + CONTEXT, x, RS_VAD_HOP * sizeof *x);
        for (int i = 0; i < CONTEXT; i++)
            to[SAMPLES + i] = to[SAMPLES - 2 - i];
        memcpy(s->past, x + RS_VAD_HOP - CONTEXT, sizeof s->past);
    }
    spectra(s, samples, n, a);
    int frames = convolve(s, &s->conv[0], a, n, FRAMES, b);
    frames = convolve(s, &s->conv[1], b, n, frames, a);
    frames = convolve(s, &s->conv[2], a, n, frames, b);
    convolve(s, &s->conv[3], b, n, frames, a);
    for (int h = 0; h < n; h++) {
        in[h] = a + (3 * h + 1) * CELL;
        out[h] = z[h];
        memcpy(z[h], s->gates_bias, sizeof z[h]);
    }
    s->product(s->gates, GATES, CELL, n, in, out);
    for (int h = 0; h < n; h++) {
        prob[h] = remember(s, z[h]);
        if (!isfinite(prob[h])) {
            silero_reset(s);           /* absurd input or weights: start afresh rather than stay lost */
            prob[h] = 0;
        }
    }
}

const struct rs_detector rs_silero_detector = {
    .name = "silero", .hops = silero_hops, .reset = silero_reset, .free = silero_free,
};
