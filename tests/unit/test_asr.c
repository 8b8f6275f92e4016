/* The recogniser as its callers see it: opening, decoders, odd input, times, words, text. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "asr/asr.h"
#include "model/model.h"

#define TINY(name) "tests/fixtures/parity/tiny-" name ".gguf"

static float *sound(size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);
    uint32_t s = 7;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = 0.3f * sinf((float)(i % 16000) * (0.02f + 0.1f * (float)(i / 4000 % 5))) + 0.01f * ((float)(s >> 8) / 8388608.f - 1);
    }
    return x;
}

static struct rs_asr *open_asr(const char *model, const char *decoder)
{
    struct rs_asr *a = NULL;
    struct rs_err e = {0};
    const struct rs_asr_options o = {.model = model, .backend = "f32-portable", .decoder = decoder, .threads = 2};
    CHECK_INT(rs_asr_open(&a, &o, &e), 0);
    CHECK_STR(e.msg, "");
    return a;
}

static void facts(void)
{
    struct rs_asr *a = open_asr(TINY("hybrid"), NULL);
    const struct rs_asr_info *i = rs_asr_facts(a);
    CHECK_STR(i->model, "tiny-hybrid");
    CHECK_STR(i->backend, "f32-portable");
    CHECK_STR(i->decoder, "tdt");
    CHECK_INT(i->threads, 2);
    CHECK_INT(i->layers, 2);
    CHECK_INT(i->width, 24);
    CHECK_INT(i->mels, 80);
    CHECK_INT(i->pieces, 40);
    CHECK(i->parameters > 10000);
    rs_asr_close(a);
    rs_asr_close(NULL);
}

static void expect_refusal(const char *model, const char *backend, const char *decoder, int code)
{
    struct rs_asr *a = NULL;
    struct rs_err e = {0};
    const struct rs_asr_options o = {.model = model, .backend = backend, .decoder = decoder, .threads = 1};
    CHECK_INT(rs_asr_open(&a, &o, &e), -code);
    CHECK(a == NULL && e.msg[0]);
}

static void refusals(void)
{
    expect_refusal(TINY("ctc"), NULL, "tdt", RS_E_USAGE);
    expect_refusal(TINY("tdt"), NULL, "ctc", RS_E_USAGE);
    expect_refusal(TINY("rnnt"), NULL, "tdt", RS_E_USAGE);
    expect_refusal(TINY("tdt"), "f64-abacus", NULL, RS_E_USAGE);
    expect_refusal("/nowhere/model.gguf", NULL, NULL, RS_E_MODEL_MISSING);
    expect_refusal("models/rec-stt-vad.gguf", NULL, NULL, RS_E_MODEL_UNSUPPORTED);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rs_tensor *)a)->name, ((const struct rs_tensor *)b)->name);
}

/* The open model is refused, in a sentence with these words. */
static void refused(struct rs_model *m, const char *backend, int code, const char *words)
{
    struct rs_asr *a = NULL;
    struct rs_err e = {0};
    const struct rs_asr_options o = {.backend = backend, .threads = 1};
    CHECK_INT(rs_asr_open_model(&a, m, &o, &e), -code);
    CHECK(!a && strstr(e.msg, words));
}

/* A predictor of one layer more than there is room for. */
static void too_many_layers(void)
{
    static const char *const names[] = {"decoder.prediction.dec_rnn.lstm.weight_ih_l1", "decoder.prediction.dec_rnn.lstm.weight_ih_l2",
                                        "decoder.prediction.dec_rnn.lstm.weight_ih_l3", "decoder.prediction.dec_rnn.lstm.weight_ih_l4"};
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_model_open(&m, TINY("tdt"), &e), 0);
    struct rs_tensor *own = m->tensors, *more = calloc((size_t)m->n_tensors + 4, sizeof *more);
    const struct rs_tensor *first = rs_model_find(m, "decoder.prediction.dec_rnn.lstm.weight_ih_l0");
    CHECK(first);
    memcpy(more, own, (size_t)m->n_tensors * sizeof *more);
    for (int i = 0; first && i < 4; i++) {
        more[m->n_tensors] = *first;
        more[m->n_tensors++].name = names[i];
    }
    qsort(more, (size_t)m->n_tensors, sizeof *more, by_name);
    m->tensors = more;
    refused(m, "f32-portable", RS_E_MODEL_BAD, "decoder");
    m->tensors = own;
    m->n_tensors -= 4;
    rs_model_close(m);
    free(more);
}

static void other_frames(void)
{
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_model_open(&m, TINY("tdt"), &e), 0);
    m->config.hop_length = 80;
    refused(m, "f32-portable", RS_E_MODEL_UNSUPPORTED, "40 ms");
    rs_model_close(m);
}

static void too_many_tokens_at_a_frame(void)
{
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_model_open(&m, TINY("tdt"), &e), 0);
    m->config.max_symbols = 101;
    refused(m, "f32-portable", RS_E_MODEL_BAD, "101 tokens");
    rs_model_close(m);
}

/* What is packed out of pages that were lost is refused, and not kept. */
static void a_file_that_shrinks_while_it_is_opened(void)
{
    char path[] = "/tmp/rs-asr-XXXXXX";
    static char bytes[1 << 20];
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    FILE *in = fopen(TINY("tdt"), "rb");
    const int fd = mkstemp(path);
    const size_t n = in ? fread(bytes, 1, sizeof bytes, in) : 0;
    CHECK(fd >= 0 && n > 65536 && write(fd, bytes, n) == (ssize_t)n);
    CHECK_INT(rs_model_open(&m, path, &e), 0);
    CHECK_INT(ftruncate(fd, 65536), 0);
    refused(m, "int8-portable", RS_E_MODEL_BAD, "shrank");
    rs_model_close(m);
    unlink(path);
    close(fd);
    if (in)
        fclose(in);
}

/* What one decoder left in the cache is not all that the other needs: each has its own. */
static void each_decoder_has_its_pack(void)
{
    char cache[] = "/tmp/rs-asr-XXXXXX", paths[2][1024], command[64];
    CHECK(mkdtemp(cache) != NULL);
    setenv("XDG_CACHE_HOME", cache, 1);
    for (int i = 0; i < 4; i++) {
        struct rs_asr *a = NULL;
        struct rs_err e = {0};
        const char *path = NULL;
        const struct rs_asr_options o = {.model = TINY("hybrid"), .backend = "int8-portable", .decoder = i % 2 ? "tdt" : "ctc", .threads = 1};
        CHECK_INT(rs_asr_open(&a, &o, &e), 0);
        CHECK_INT(rs_asr_keep_packed(a, &path, &e), 0);
        if (i < 2)
            snprintf(paths[i], sizeof paths[i], "%s", path);
        CHECK_STR(path, paths[i % 2]);
        CHECK(access(path, R_OK) == 0);
        rs_asr_close(a);
    }
    CHECK(strcmp(paths[0], paths[1]) != 0);
    snprintf(command, sizeof command, "rm -r %s", cache);
    CHECK_INT(system(command), 0);
    unsetenv("XDG_CACHE_HOME");
}

/* Monotone, inside the sound, words that cover all tokens in order; the joined words are the text. */
static void check_transcript(struct rs_asr *a, const struct rs_transcript *t, double seconds)
{
    char text[4096], joined[4096] = "";
    struct rs_word *w = NULL;
    size_t n = 0, at = 0;
    struct rs_err e = {0};
    for (size_t i = 0; i < t->count; i++) {
        const struct rs_token *k = &t->tokens[i];
        CHECK(k->start <= k->end && k->start >= 0 && k->end <= seconds + 0.5);
        CHECK(k->confidence > 0 && k->confidence <= 1);
        CHECK(i == 0 || k->frame >= t->tokens[i - 1].frame);
        CHECK(k->frame >= 0 && k->frame < t->frames);
        if (i > 0 && rs_asr_is_punctuation(a, k->id) && strcmp(rs_asr_facts(a)->decoder, "rnnt"))
            CHECK(k->start == k->end && k->start == t->tokens[i - 1].end);
    }
    CHECK_INT(rs_asr_words(a, t->tokens, t->count, &w, &n, &e), 0);
    for (size_t i = 0; i < n; i++) {
        CHECK(w[i].first_token >= at && w[i].n_tokens > 0 && w[i].first_token + w[i].n_tokens <= t->count);
        CHECK(w[i].start <= w[i].end && w[i].confidence > 0 && w[i].confidence <= 1);
        at = w[i].first_token + w[i].n_tokens;
        strcat(strcat(joined, i ? " " : ""), w[i].text);
    }
    CHECK(rs_asr_text(a, t->tokens, t->count, text, sizeof text) < sizeof text);
    CHECK_STR(joined, text);
    free(w);
}

static void every_head(void)
{
    const char *const models[][2] = {{TINY("tdt"), "auto"}, {TINY("hybrid"), "tdt"}, {TINY("hybrid"), "ctc"}, {TINY("ctc"), NULL},
                                     {TINY("rnnt"), "rnnt"}, {TINY("local"), "ctc"}};
    const size_t lengths[] = {0, 1, 159, 160, 161, 1280, 16000, 48123};
    float *x = sound(48123);
    struct rs_transcript t = {0};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        struct rs_asr *a = open_asr(models[m][0], models[m][1]);
        for (size_t i = 0; a && i < sizeof lengths / sizeof *lengths; i++) {
            struct rs_err e = {0};
            CHECK_INT(rs_asr_run(a, x, lengths[i], &t, &e), 0);
            CHECK_INT(t.frames, (lengths[i] / 160 + 7) / 8);
            if (lengths[i] < 160)
                CHECK_INT(t.count, 0);
            check_transcript(a, &t, (double)lengths[i] / 16000);
        }
        rs_asr_close(a);
    }
    rs_transcript_free(&t);
    free(x);
}

static void bad_samples_count_as_silence(void)
{
    struct rs_asr *a = open_asr(TINY("tdt"), NULL);
    float *x = sound(32000), *y = sound(32000);
    struct rs_transcript t = {0}, u = {0};
    struct rs_err e = {0};
    for (int i = 5000; i < 5100; i++) {
        x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
        y[i] = 0;
    }
    CHECK_INT(rs_asr_run(a, x, 32000, &t, &e), 0);
    CHECK_INT(rs_asr_run(a, y, 32000, &u, &e), 0);
    CHECK_INT(t.count, u.count);
    CHECK(t.count == u.count && memcmp(t.tokens, u.tokens, t.count * sizeof *t.tokens) == 0);
    for (int i = 0; i < 32000; i++)
        x[i] = NAN;
    CHECK_INT(rs_asr_run(a, x, 32000, &t, &e), 0);
    for (int i = 0; i < 32000; i++)
        x[i] = i % 2 ? 3e38f : -3e38f;
    CHECK_INT(rs_asr_run(a, x, 32000, &t, &e), 0);
    CHECK_INT(rs_asr_run(a, y, 32000, &t, &e), 0);
    CHECK(t.count == u.count && memcmp(t.tokens, u.tokens, t.count * sizeof *t.tokens) == 0);
    rs_transcript_free(&t);
    rs_transcript_free(&u);
    rs_asr_close(a);
    free(x);
    free(y);
}

int main(void)
{
    RUN(facts);
    RUN(refusals);
    RUN(too_many_layers);
    RUN(other_frames);
    RUN(too_many_tokens_at_a_frame);
    RUN(a_file_that_shrinks_while_it_is_opened);
    RUN(each_decoder_has_its_pack);
    RUN(every_head);
    RUN(bad_samples_count_as_silence);
    return REPORT();
}
