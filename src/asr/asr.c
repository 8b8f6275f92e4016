/* See asr.h: model file → log-mel → encoder → decoder → tokens, and what callers ask about them. */
#include "asr/asr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asr/ctc.h"
#include "asr/fastconformer.h"
#include "asr/tokenizer.h"
#include "asr/transducer.h"
#include "base/clock.h"
#include "base/guard.h"
#include "base/mem.h"
#include "feature/logmel.h"
#include "model/model.h"
#include "tensor/linear.h"
#include "tensor/pack.h"
#include "tensor/pool.h"

struct rs_asr {
    struct rs_model *model, *own_model;       /* own: opened here, NULL when the caller gave one */
    struct rs_pool *pool;
    struct rs_pack *pack;                     /* NULL: packed weights are private memory */
    struct rs_logmel *logmel;
    struct rs_fc *encoder;
    struct rs_transducer *transducer;         /* one of the two, or both where the transducer's beam asks the other */
    struct rs_ctc *ctc;
    struct rs_tokenizer *tokenizer;
    struct rs_asr_info info;
    unsigned lost;                            /* rs_guard_hits before it was opened */
    float *mel;                               /* grown on the first chunks */
    size_t mel_cap;
    double frame_s;                           /* seconds in an encoder frame */
};

/* ---- Opening ---- */

static int open_features(struct rs_asr *a, int mels, struct rs_err *e)
{
    const struct rs_model_config *c = &a->model->config;
    const struct rs_logmel_options o = {
        .rate = c->sample_rate, .n_fft = c->n_fft, .win_length = c->win_length, .hop_length = c->hop_length, .mels = mels,
        .preemphasis = c->preemphasis, .log_guard = c->log_guard, .normalize = c->normalize};
    if (c->sample_rate != RS_SAMPLE_RATE)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s wants sound at %d Hz; only models for 16000 Hz are supported", a->model->path, c->sample_rate);
    const struct rs_tensor *bank = rs_model_find(a->model, "preprocessor.featurizer.fb");
    if (!bank)
        return rs_logmel_new(&a->logmel, &o, NULL, a->pool, e);
    const int64_t count = rs_tensor_count(bank);
    if (count != (int64_t)mels * (c->n_fft / 2 + 1))
        return rs_fail(e, RS_E_MODEL_BAD, "the mel bank of %s has %lld values where %d bands need %lld: fetch the model again", a->model->path,
                       (long long)count, mels, (long long)mels * (c->n_fft / 2 + 1));
    float *values = rs_aligned((size_t)count, sizeof *values);
    if (!values)
        return rs_fail(e, RS_E_NOMEM, "no memory for the audio features");
    rs_dequantize(bank->type, bank->data, values, count);
    const int rc = rs_logmel_new(&a->logmel, &o, values, a->pool, e);
    free(values);
    return rc;
}

/* is_own: whether it is the one that the model's file is for. */
static int choose_decoder(struct rs_asr *a, const char *wanted, bool *is_own, struct rs_err *e)
{
    const struct rs_model *m = a->model;
    const bool transducer = rs_model_find(m, "joint.joint_net.2.weight") != NULL, ctc = rs_ctc_present(m);
    const bool automatic = !wanted || strcmp(wanted, "auto") == 0;
    const char *own = transducer ? m->config.n_durations ? "tdt" : "rnnt" : "ctc";
    if (!transducer && !ctc)
        return rs_fail(e, RS_E_MODEL_BAD, "%s has neither a transducer nor a CTC head: it is damaged or of another kind", m->path);
    a->info.decoder = automatic || strcmp(wanted, own) == 0 ? own : "ctc";
    if (!automatic && strcmp(wanted, a->info.decoder) != 0)
        return rs_fail(e, RS_E_USAGE, "%s has no %s decoder; it has %s%s", m->name, wanted, own, transducer && ctc ? " and ctc" : "");
    if (!ctc && strcmp(a->info.decoder, "ctc") == 0)
        return rs_fail(e, RS_E_USAGE, "%s has no ctc decoder; it has %s", m->name, own);
    *is_own = strcmp(a->info.decoder, own) == 0;
    return 0;
}

static int open_decoder(struct rs_asr *a, const struct rs_backend *b, struct rs_err *e)
{
    const struct rs_model *m = a->model;
    const int width = rs_fc_shape(a->encoder)->width;
    if (strcmp(a->info.decoder, "ctc") != 0) {
        const int rc = rs_transducer_open(&a->transducer, m, b, a->pack, a->pool, width, e);
        if (rc || !rs_ctc_present(m) || !rs_transducer_wants_ctc(a->transducer))
            return rc;
    }
    return rs_ctc_open(&a->ctc, m, b, a->pack, a->pool, width, e);
}

static void fill_info(struct rs_asr *a, const struct rs_backend *b)
{
    const struct rs_model *m = a->model;
    const struct rs_fc_config *c = rs_fc_shape(a->encoder);
    a->info.model = m->name;
    a->info.container = m->container;
    a->info.backend = rs_backend_name(b);
    a->info.language = m->language;
    a->info.threads = rs_pool_threads(a->pool);
    a->info.layers = c->layers;
    a->info.width = c->width;
    a->info.mels = c->mels;
    a->info.pieces = m->n_pieces;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strncmp(m->tensors[i].name, "preprocessor.", 13) != 0)
            a->info.parameters += rs_tensor_count(&m->tensors[i]);
    a->frame_s = (double)m->config.hop_length * c->factor / m->config.sample_rate;
}

/* Cutting and merging count in frames of 80 ms, which all published models have. */
static int look_at_frames(struct rs_asr *a, struct rs_err *e)
{
    const struct rs_model_config *c = &a->model->config;
    const int factor = rs_fc_shape(a->encoder)->factor;
    if (12500 * (int64_t)c->hop_length * factor == 1000 * (int64_t)c->sample_rate)
        return 0;
    return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s has encoder frames of %g ms; only 80 ms are known", a->model->path,
                   1e3 * c->hop_length * factor / c->sample_rate);
}

/* Pages of the model that could not be read are zeros since: what was made of them is of no use. */
static int look_for_losses(const struct rs_asr *a, struct rs_err *e)
{
    if (rs_guard_hits() == a->lost)
        return 0;
    return rs_fail(e, RS_E_MODEL_BAD, "The file of %s shrank or could not be read while it was in use: start again with a whole one.", a->model->name);
}

/* No model that is read today takes a hint: they know one language, or find it by themselves. */
static void look_at_language(struct rs_asr *a, const char *wanted)
{
    const char *known = a->info.language;
    if (!wanted || !*wanted || strcmp(wanted, "auto") == 0 || (known && strcmp(wanted, known) == 0))
        return;
    a->info.language_note = known && *known ? "The model knows another language than --language asks for."
                            : "The model takes no language hint: it finds the language by itself.";
}

/* A pack holds what one decoder needs: it is whole for that one. */
static int open_pack(struct rs_asr *a, const struct rs_backend *b, bool own_decoder, struct rs_err *e)
{
    char order[48];
    snprintf(order, sizeof order, "%s%s%s", rs_backend_order(b), own_decoder ? "" : "-", own_decoder ? "" : a->info.decoder);
    return rs_pack_open(&a->pack, a->model->identity, order, e);
}

static int open_all(struct rs_asr *a, struct rs_model *given, const struct rs_asr_options *o, struct rs_err *e)
{
    const struct rs_backend *b;
    bool own_decoder = true;
    a->lost = rs_guard_hits();
    int rc = rs_backend_choose(&b, o->backend, e);
    a->model = given;
    if (!rc && !given) {
        rc = rs_model_open(&a->own_model, o->model, e);
        a->model = a->own_model;
    }
    if (!rc && a->model->config.arch != RS_ARCH_FASTCONFORMER)
        rc = rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is not a speech recogniser", a->model->path);
    rc = rc ? rc : choose_decoder(a, o->decoder, &own_decoder, e);
    rc = rc ? rc : rs_pool_new(&a->pool, o->threads, e);
    if (!rc && !given && rs_backend_order(b))
        rc = open_pack(a, b, own_decoder, e);
    rc = rc ? rc : rs_fc_open(&a->encoder, a->model, b, a->pack, a->pool, e);
    rc = rc ? rc : look_at_frames(a, e);
    rc = rc ? rc : open_features(a, rs_fc_shape(a->encoder)->mels, e);
    rc = rc ? rc : open_decoder(a, b, e);
    rc = rc ? rc : rs_tokenizer_new(&a->tokenizer, a->model, e);
    rc = rc ? rc : look_for_losses(a, e);
    if (!rc) {
        fill_info(a, b);
        look_at_language(a, o->language);
    }
    return rc;
}

int rs_asr_open_model(struct rs_asr **out, struct rs_model *m, const struct rs_asr_options *o, struct rs_err *e)
{
    *out = NULL;
    struct rs_asr *a = rs_zeroed(1, sizeof *a);
    if (!a)
        return rs_fail(e, RS_E_NOMEM, "no memory for the recogniser");
    const int rc = open_all(a, m, o, e);
    if (rc) {
        rs_asr_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

int rs_asr_open(struct rs_asr **out, const struct rs_asr_options *o, struct rs_err *e)
{
    return rs_asr_open_model(out, NULL, o, e);
}

void rs_asr_close(struct rs_asr *a)
{
    if (!a)
        return;
    rs_tokenizer_free(a->tokenizer);
    rs_transducer_close(a->transducer);
    rs_ctc_close(a->ctc);
    rs_fc_close(a->encoder);
    rs_logmel_free(a->logmel);
    rs_pool_free(a->pool);
    rs_pack_close(a->pack);
    rs_model_close(a->own_model);
    free(a->mel);
    free(a);
}

const struct rs_asr_info *rs_asr_facts(const struct rs_asr *a)
{
    return &a->info;
}

int rs_asr_keep_packed(struct rs_asr *a, const char **path, struct rs_err *e)
{
    int rc = look_for_losses(a, e);
    rc = rc ? rc : rs_pack_publish(a->pack, e);
    if (path)
        *path = rs_pack_path(a->pack);
    return rc;
}

int rs_asr_verify_packed(const struct rs_asr *a, struct rs_err *e)
{
    return rs_pack_verify(a->pack, e);
}

/* ---- Running ---- */

/* Seconds from frames. RNNT gives every token its frame; punctuation takes no time where durations are known. */
static void set_times(const struct rs_asr *a, struct rs_transcript *t)
{
    const bool rnnt = a->transducer && !rs_transducer_has_durations(a->transducer);
    for (size_t i = 0; i < t->count; i++) {
        struct rs_token *k = &t->tokens[i];
        k->start = (float)(k->frame * a->frame_s);
        k->end = (float)((k->frame + (rnnt ? 1 : k->duration)) * a->frame_s);
    }
    if (!rnnt)
        rs_tokenizer_refine_times(a->tokenizer, t->tokens, t->count);
}

static int decode(struct rs_asr *a, const float *encoded, int frames, struct rs_transcript *out, struct rs_err *e)
{
    if (!a->transducer)
        return rs_ctc_run(a->ctc, encoded, frames, out, e);
    const float *ctc = a->ctc ? rs_ctc_log_probs(a->ctc, encoded, frames) : NULL;
    if (a->ctc && !ctc)
        return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
    return rs_transducer_run(a->transducer, encoded, frames, ctc, out, e);
}

int rs_asr_run(struct rs_asr *a, const float *pcm, size_t n, struct rs_transcript *out, struct rs_err *e)
{
    const size_t mel_frames = rs_logmel_frames(a->logmel, n);
    const int mels = a->info.mels;
    const float *encoded;
    out->count = 0;
    out->frames = 0;
    out->times = (struct rs_stage_times){0};
    if (mel_frames == 0)
        return 0;
    if (mel_frames > INT32_MAX / 2 || !rs_grow((void **)&a->mel, &a->mel_cap, mel_frames * (size_t)mels, sizeof *a->mel))
        return rs_fail(e, RS_E_NOMEM, "no memory to transcribe %.0f s of sound at once: use shorter chunks", (double)n / RS_SAMPLE_RATE);
    const int64_t begun = rs_now_ns();
    rs_logmel_run(a->logmel, pcm, n, a->mel);
    const int64_t featured = rs_now_ns();
    int rc = rs_fc_run(a->encoder, a->mel, (int)mel_frames, &encoded, e);
    if (rc)
        return rc;
    const int64_t encoded_at = rs_now_ns();
    out->frames = rs_fc_frames(a->encoder, (int)mel_frames);
    rc = decode(a, encoded, out->frames, out, e);
    set_times(a, out);
    out->times = (struct rs_stage_times){featured - begun, encoded_at - featured, rs_now_ns() - encoded_at};
    return rc;
}

/* ---- Text ---- */

bool rs_asr_starts_word(const struct rs_asr *a, int id)
{
    return rs_tokenizer_starts_word(a->tokenizer, id);
}

bool rs_asr_is_punctuation(const struct rs_asr *a, int id)
{
    return rs_tokenizer_is_punctuation(a->tokenizer, id);
}

bool rs_asr_same_piece(const struct rs_asr *a, int id1, int id2)
{
    return rs_tokenizer_same_piece(a->tokenizer, id1, id2);
}

size_t rs_asr_text(const struct rs_asr *a, const struct rs_token *tokens, size_t count, char *buf, size_t size)
{
    return rs_tokenizer_text(a->tokenizer, tokens, count, buf, size);
}

int rs_asr_words(const struct rs_asr *a, const struct rs_token *tokens, size_t count, struct rs_word **words,
                 size_t *n_words, struct rs_err *e)
{
    return rs_tokenizer_words(a->tokenizer, tokens, count, words, n_words, e);
}
