/* The whole engine in f32 against an independent implementation (transformers' Parakeet), on tiny random
 * models: log-mel, subsampling, every layer, tokens, frames, durations, confidences. The fixtures come from
 * scripts/parity/tiny.py, which also says how an .expect file is laid out. With arguments FOLDER NAME [BACKEND
 * [THREADS]] it compares such a pair of files instead (scripts/parity/full.py does that for real sizes).
 */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "asr/asr.h"
#include "asr/ctc.h"
#include "asr/fastconformer.h"
#include "asr/transducer.h"
#include "base/mem.h"
#include "feature/logmel.h"

#define STAGES 64

static const char *folder = "tests/fixtures/parity";

/* The same arithmetic as signal() in scripts/parity/common.py. */
static uint32_t lcg;

static uint32_t rnd(void)
{
    lcg = lcg * 1664525u + 1013904223u;
    return lcg >> 8;
}

static void make_signal(uint32_t seed, size_t n, float *x)
{
    uint32_t phase = 0, step = 0;
    double amp = 0, noise = 0;
    lcg = seed;
    for (size_t i = 0; i < n; i++) {
        if (i % 1280 == 0) {
            step = 5000000 + rnd() * 40;
            amp = rnd() / 16777216.0;
            amp = amp * amp * 0.6;
            noise = rnd() / 16777216.0;
            noise = 0.003 + noise * noise * 0.1;
        }
        phase += step;
        const double tone = amp * sin(phase * (2.0 * M_PI / 4294967296.0));
        x[i] = (float)(tone + noise * (rnd() / 8388608.0 - 1.0));
    }
}

struct reader { const unsigned char *p, *end; };

static uint32_t get_u32(struct reader *r)
{
    uint32_t v = 0;
    if (r->end - r->p >= 4)
        memcpy(&v, r->p, 4);
    r->p += 4;
    return v;
}

static float get_f32(struct reader *r)
{
    union { uint32_t u; float f; } v = {.u = get_u32(r)};
    return v.f;
}

/* Compares every stride-th value with what the file holds; returns the largest difference. */
static double compare(struct reader *r, const float *x, size_t count, double *top)
{
    const uint32_t total = get_u32(r), stride = get_u32(r), kept = get_u32(r);
    double worst = 0;
    *top = get_f32(r);
    CHECK_INT(total, count);
    for (uint32_t i = 0; i < kept; i++) {
        const float want = get_f32(r);
        const double d = total == count ? fabs((double)x[(size_t)i * stride] - want) : INFINITY;
        worst = d > worst || d != d ? d : worst;
    }
    return worst;
}

struct stages { float *x[STAGES]; size_t count[STAGES]; int n; };

static void keep_stage(void *arg, int stage, const float *x, int rows, int columns)
{
    struct stages *s = arg;
    const size_t count = (size_t)rows * (size_t)columns;
    if (stage >= STAGES)
        return;
    s->n = stage + 1;
    s->count[stage] = count;
    s->x[stage] = realloc(s->x[stage], count * sizeof(float));
    memcpy(s->x[stage], x, count * sizeof(float));
}

struct engine {
    struct rs_model *model;
    struct rs_pool *pool;
    struct rs_logmel *logmel;
    struct rs_fc *encoder;
    struct rs_transducer *transducer;
    struct rs_ctc *ctc;
    struct stages stages;
    double worst_mel, worst_layer;
    int tokens;
};

static void close_engine(struct engine *g)
{
    rs_transducer_close(g->transducer);
    rs_ctc_close(g->ctc);
    rs_fc_close(g->encoder);
    rs_logmel_free(g->logmel);
    rs_pool_free(g->pool);
    rs_model_close(g->model);
    for (int i = 0; i < STAGES; i++)
        free(g->stages.x[i]);
}

static bool open_engine(struct engine *g, const char *path, const char *backend, bool ctc, int threads, struct rs_err *e)
{
    const struct rs_backend *b;
    if (rs_backend_choose(&b, backend, e) || rs_model_open(&g->model, path, e) || rs_pool_new(&g->pool, threads, e) ||
        rs_fc_open(&g->encoder, g->model, b, NULL, g->pool, e))
        return false;
    const struct rs_fc_config *c = rs_fc_shape(g->encoder);
    const struct rs_model_config *m = &g->model->config;
    const struct rs_logmel_options o = {.rate = m->sample_rate, .n_fft = m->n_fft, .win_length = m->win_length, .hop_length = m->hop_length,
                                        .mels = c->mels, .preemphasis = m->preemphasis, .log_guard = m->log_guard, .normalize = m->normalize};
    const struct rs_tensor *bank = rs_model_find(g->model, "preprocessor.featurizer.fb");
    if (rs_logmel_new(&g->logmel, &o, bank && bank->type == RS_F32 ? bank->data : NULL, g->pool, e))
        return false;
    rs_fc_watch(g->encoder, keep_stage, &g->stages);
    return (ctc ? rs_ctc_open(&g->ctc, g->model, b, NULL, g->pool, c->width, e)
                : rs_transducer_open(&g->transducer, g->model, b, NULL, g->pool, c->width, e)) == 0;
}

static void check_tokens(struct reader *r, struct engine *g, const struct rs_transcript *t)
{
    const uint32_t count = get_u32(r);
    CHECK_INT(t->count, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t id = get_u32(r), frame = get_u32(r), duration = get_u32(r);
        const float confidence = get_f32(r);
        if (i >= t->count)
            continue;
        CHECK_INT(t->tokens[i].id, id);
        CHECK_INT(t->tokens[i].frame, frame);
        CHECK_INT(t->tokens[i].duration, duration);
        CHECK_NEAR(t->tokens[i].confidence, confidence, 2e-4);
        g->tokens++;
    }
}

/* All frames' log probabilities at once, as the beam asks for them: each row sums to 1, and the best labels without
 * repeats and blanks are the tokens. */
static void check_log_probs(struct engine *g, const float *encoded, int frames, const struct rs_transcript *t)
{
    const float *x = rs_ctc_log_probs(g->ctc, encoded, frames);
    const int labels = g->model->n_pieces + 1;
    size_t n = 0;
    CHECK(x != NULL);
    for (int i = 0, previous = labels - 1; x && i < frames; i++, x += labels) {
        double sum = 0;
        int best = 0;
        for (int j = 0; j < labels; j++) {
            sum += exp((double)x[j]);
            best = x[j] > x[best] ? j : best;
        }
        CHECK_NEAR(sum, 1, 1e-4);
        if (best != previous && best != labels - 1) {
            CHECK_INT(n < t->count ? t->tokens[n].id : -1, best);
            n++;
        }
        previous = best;
    }
    CHECK_INT(n, t->count);
}

static void one_input(struct reader *r, struct engine *g)
{
    const uint32_t seed = get_u32(r), samples = get_u32(r), mel_frames = get_u32(r), frames = get_u32(r), tensors = get_u32(r);
    const size_t mel_count = (size_t)mel_frames * (size_t)rs_fc_shape(g->encoder)->mels;
    float *pcm = malloc(samples * sizeof *pcm), *mel = malloc(mel_count * sizeof *mel);
    struct rs_transcript t = {0};
    struct rs_err e = {0};
    const float *encoded = NULL;
    double top;
    make_signal(seed, samples, pcm);
    CHECK_INT(rs_logmel_frames(g->logmel, samples), mel_frames);
    CHECK_INT(rs_fc_frames(g->encoder, (int)mel_frames), frames);
    rs_logmel_run(g->logmel, pcm, samples, mel);
    const double off = compare(r, mel, mel_count, &top);
    g->worst_mel = off > g->worst_mel ? off : g->worst_mel;
    CHECK_INT(rs_fc_run(g->encoder, mel, (int)mel_frames, &encoded, &e), 0);
    CHECK_INT(g->stages.n, tensors - 1);
    for (uint32_t i = 0; i + 1 < tensors; i++) {
        const double d = compare(r, g->stages.x[i], g->stages.count[i], &top) / top;
        g->worst_layer = d > g->worst_layer ? d : g->worst_layer;
    }
    if (encoded) {
        CHECK_INT(g->transducer ? rs_transducer_run(g->transducer, encoded, (int)frames, NULL, &t, &e)
                                : rs_ctc_run(g->ctc, encoded, (int)frames, &t, &e), 0);
        check_tokens(r, g, &t);
        if (!g->transducer)
            check_log_probs(g, encoded, (int)frames, &t);
    }
    rs_transcript_free(&t);
    free(pcm);
    free(mel);
}

static unsigned char *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    unsigned char *data = NULL;
    if (f && fseek(f, 0, SEEK_END) == 0 && (*size = (size_t)ftell(f)) > 12 && (data = malloc(*size)) != NULL) {
        rewind(f);
        if (fread(data, 1, *size, f) != *size)
            *size = 0;
    }
    if (f)
        fclose(f);
    return data;
}

static void one_model(const char *name, const char *backend, int threads)
{
    char path[512];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s.expect", folder, name);
    unsigned char *data = read_all(path, &size);
    CHECK(data && size > 12 && memcmp(data, "RSPF", 4) == 0);
    struct reader r = {data + 4, data + size};
    const uint32_t runs = data ? get_u32(&r) : 0;
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    for (uint32_t i = 0; i < runs; i++) {
        char word[16] = "";
        const uint32_t len = get_u32(&r);
        memcpy(word, r.p, len < 15 ? len : 15);
        r.p += len;
        struct engine g = {0};
        struct rs_err e = {0};
        CHECK(open_engine(&g, path, backend, strcmp(word, "ctc") == 0, threads, &e));
        CHECK_STR(e.msg, "");
        const uint32_t inputs = get_u32(&r);
        for (uint32_t k = 0; k < inputs && !e.code; k++)
            one_input(&r, &g);
        printf("  %s %s, %s, %d thread(s): %u inputs, %d tokens, mel off by %.1e, layers by %.1e of their largest value\n", name, word,
               backend, threads, inputs, g.tokens, g.worst_mel, g.worst_layer);
        CHECK(g.worst_mel <= 1e-4);
        CHECK(g.worst_layer <= 1e-4);
        close_engine(&g);
    }
    CHECK(r.p == r.end);
    free(data);
}

static void tdt_128_bands(void) { one_model("tiny-tdt", "f32-openblas", 1); }
static void tdt_in_threads(void) { one_model("tiny-tdt", "f32-openblas", 3); }
static void tdt_portable(void) { one_model("tiny-tdt", "f32-portable", 2); }
static void hybrid_tdt_and_ctc(void) { one_model("tiny-hybrid", "f32-openblas", 2); }
static void ctc_xscaling(void) { one_model("tiny-ctc", "f32-openblas", 2); }
static void rnnt_xscaling(void) { one_model("tiny-rnnt", "f32-openblas", 2); }
static void local_attention_raw_mel(void) { one_model("tiny-local", "f32-openblas", 2); }
static void every_stored_type(void) { one_model("tiny-quants", "f32-openblas", 2); }

int main(int argc, char **argv)
{
    if (argc > 2) {
        folder = argv[1];
        one_model(argv[2], argc > 3 ? argv[3] : "f32-openblas", argc > 4 ? atoi(argv[4]) : 2);
        printf("%d passed, %d failed\n", !checks_failed, checks_failed > 0);
        return checks_failed > 0;
    }
    RUN(tdt_128_bands);
    RUN(tdt_in_threads);
    RUN(tdt_portable);
    RUN(hybrid_tdt_and_ctc);
    RUN(ctc_xscaling);
    RUN(rnnt_xscaling);
    RUN(local_attention_raw_mel);
    RUN(every_stored_type);
    return REPORT();
}
