/* See transducer.h. Sources: NeMo modules/rnnt.py and parts/submodules/rnnt_greedy_decoding.py; arXiv 2304.06795
 * (TDT). Three things keep a step short: the encoder's part of the joint is one product for all frames, the
 * predictor runs only after a token (a blank changes nothing), and probabilities are computed only for
 * tokens. Durations are compared by their raw scores: after a softmax over everything they underflow.
 */
#include "asr/transducer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asr/beam.h"
#include "asr/lstm.h"
#include "asr/neural_lm.h"
#include "asr/weights.h"
#include "tensor/backend.h"
#include "tensor/kernels.h"
#include "tensor/ops.h"
#include "tensor/pack.h"

#define MAX_LAYERS 4
#define MAX_SYMBOLS 100         /* at a frame: published models say 10 */

/* ---- Network ---- */

/* What the predictor says after some tokens. */
struct predictor {
    float *said;                              /* [joint] */
    float *expected;                          /* [pieces]: beam only, log p at an average frame */
};

struct rs_transducer {
    const struct rs_model_config *config;
    struct rs_pool *pool;
    int width, hidden, joint, layers, pieces, outputs, max_symbols;
    int durations[16], n_durations;
    const struct rs_tensor *embed;            /* [pieces+1][hidden] */
    const uint16_t *answers;                  /* [pieces+1][4·hidden] f16: ih[0] of every embedding; NULL: not packed */
    struct rs_linear ih[MAX_LAYERS], hh[MAX_LAYERS];            /* [4·hidden][hidden] */
    struct rs_linear enc, pred, out;          /* [joint][width], [joint][hidden], [pieces+1+durations][joint] */
    void (*activate)(const float *x, int n, float *y);
    struct rs_arena own, chunk, step;
    struct rs_lstm_memory memory[MAX_LAYERS][RS_BEAM_SLOTS];      /* of some tokens, as many as the beam has in mind; */
    struct predictor slots[RS_BEAM_SLOTS];                        /* the greedy search has slot 0 only */
    bool recall;                              /* h changed: the next step computes `recalled` beside its scores */
    float *x, *gates, *z, *logits;            /* one row; with a language model RS_BEAM_WIDTH rows */
    struct rs_ngram *lm;                      /* NULL: greedy */
    struct rs_neural_lm *neural;              /* or NULL; its histories have the predictor's slots */
    struct rs_words *words;                   /* or NULL */
    struct rs_beam_options beam;
    struct rs_pool *alone;                    /* the beam's products are too small to be shared */
    float *common;                            /* what the encoder says on average [joint] */
    const float *heard;                       /* this run's [frames][joint] */
    const float *ctc;                         /* this run's [frames][pieces + 1], or NULL */
    int frames;
};

/* The predictor's answer to one more token; NULL is the start: a vector of zeros. What a layer remembers is
 * ready: it does not depend on the token, so it was computed beside the scores that chose the token. */
static bool predict(struct rs_transducer *t, const int *token)
{
    const size_t d = (size_t)t->hidden;
    const float *x = t->x;
    const bool known = token && t->answers;
    if (known)
        rs_dequantize(RS_F16, t->answers + 4 * d * (size_t)*token, t->gates, 4 * t->hidden);
    else if (token)
        rs_tensor_row(t->embed, *token, t->x);
    else
        memset(t->x, 0, d * sizeof *t->x);
    for (int l = 0; l < t->layers; l++) {
        const struct rs_lstm_memory *m = &t->memory[l][0];
        rs_arena_reset(&t->step);
        if (!(known && l == 0) && !rs_linear_vector(&t->ih[l], t->pool, &t->step, x, t->gates))
            return false;
        rs_lstm_cell(t->gates, m->recalled, t->hidden, m->cell, m->cell, m->h);
        x = m->h;
    }
    t->recall = true;
    rs_arena_reset(&t->step);
    return rs_linear_vector(&t->pred, t->pool, &t->step, x, t->slots[0].said);
}

/* The scores of z, and after a token what the layers remember, in one go: it is all one stream of weights. */
static bool score(struct rs_transducer *t)
{
    const struct rs_linear *l[1 + MAX_LAYERS] = {&t->out};
    const float *x[1 + MAX_LAYERS] = {t->z};
    float *y[1 + MAX_LAYERS] = {t->logits};
    int count = 1;
    for (int i = 0; i < t->layers && t->recall; i++, count++) {
        l[count] = &t->hh[i];
        x[count] = t->memory[i][0].h;
        y[count] = t->memory[i][0].recalled;
    }
    t->recall = false;
    rs_arena_reset(&t->step);
    return rs_linear_vectors(l, x, y, count, t->pool, &t->step);
}

/* For the greedy search */

static bool best(void *net, int frame, struct rs_step *step)
{
    struct rs_transducer *t = net;
    const float *heard = t->heard + (size_t)frame * (size_t)t->joint;
    const int tokens = t->pieces + 1;
    for (int i = 0; i < t->joint; i++)
        t->z[i] = heard[i] + t->slots[0].said[i];
    t->activate(t->z, t->joint, t->z);
    if (!score(t))
        return false;
    step->token = rs_argmax(t->logits, tokens);
    if (t->n_durations)
        step->duration = t->durations[rs_argmax(t->logits + tokens, t->n_durations)];
    else
        step->duration = step->token == t->pieces;
    step->confidence = step->token == t->pieces ? 0 : 1 / rs_kernels()->sum_exp(t->logits, tokens, t->logits[step->token]);
    return true;
}

static bool take(void *net, int token)
{
    return predict(net, &token);
}

/* The start: h is 0, and what is remembered is the bias alone. */
static bool recall_nothing(struct rs_transducer *t)
{
    for (int i = 0; i < t->layers; i++) {
        const struct rs_lstm_memory *m = &t->memory[i][0];
        memset(m->cell, 0, (size_t)t->hidden * sizeof *m->cell);
        memset(m->h, 0, (size_t)t->hidden * sizeof *m->h);
        rs_arena_reset(&t->step);
        if (!rs_linear_vector(&t->hh[i], t->pool, &t->step, m->h, m->recalled))
            return false;
    }
    return true;
}

/* ---- For the beam: the same for a few readings at once ---- */

/* A row of scores for what was heard after each slot's tokens. */
static bool score_rows(struct rs_transducer *t, const float *heard, const int *slots, int n)
{
    struct rs_rows rows;
    for (int i = 0; i < n; i++) {
        float *z = t->z + i * t->joint;
        memcpy(z, heard, (size_t)t->joint * sizeof *z);
        rs_kernels()->add(t->slots[slots[i]].said, t->joint, 1, z);
    }
    t->activate(t->z, n * t->joint, t->z);
    rs_arena_reset(&t->step);
    if (!rs_rows_prepare(&rows, t->out.backend, t->alone, &t->step, t->z, t->joint, n, t->joint))
        return false;
    rs_linear_apply(&t->out, &rows, t->alone, RS_ACT_NONE, 1, false, t->logits, t->outputs);
    return true;
}

/* What the predictor alone would say, at an average frame. */
static bool set_expected(struct rs_transducer *t, const int *slots, int n)
{
    if (!score_rows(t, t->common, slots, n))
        return false;
    for (int i = 0; i < n; i++) {
        const float *x = t->logits + (size_t)i * (size_t)t->outputs;
        const float norm = rs_log_sum_exp(x, t->pieces, x[rs_argmax(x, t->pieces)]);
        for (int j = 0; j < t->pieces; j++)
            t->slots[slots[i]].expected[j] = x[j] - norm;
    }
    return true;
}

/* How likely the token is before it is heard: what the neural language model says for it, and against it what the
 * predictor would say anyway. */
static float beam_expected(void *net, int slot, int token)
{
    const struct rs_transducer *t = net;
    const struct rs_model_config *c = t->config;
    const float next = t->neural ? c->lm_neural * rs_neural_lm_next(t->neural, slot)[token] : 0;
    return next - c->lm_prior * t->slots[slot].expected[token];
}

static float beam_ends(void *net, int slot)
{
    const struct rs_transducer *t = net;
    return t->config->lm_end * *rs_neural_lm_next(t->neural, slot);
}

/* The two heads need not speak at the very same frame. */
static float beam_second(void *net, int frame, int token)
{
    enum { REACH = 3 };
    const struct rs_transducer *t = net;
    float best = -10;                         /* what one head did not hear at all, the other still may have */
    for (int i = frame < REACH ? 0 : frame - REACH; i <= frame + REACH && i < t->frames; i++) {
        const float p = t->ctc[(size_t)i * ((size_t)t->pieces + 1) + (size_t)token];
        best = p > best ? p : best;
    }
    return best;
}

/* One layer of n predictors; x holds their inputs, and those of the next layer afterwards. */
static bool take_layer(struct rs_transducer *t, int l, const int *from, const int *tokens, const int *to, int n)
{
    const size_t four = 4 * (size_t)t->hidden;
    struct rs_rows rows;
    rs_arena_reset(&t->step);
    if (l == 0 && t->answers) {
        for (int i = 0; i < n; i++)
            rs_dequantize(RS_F16, t->answers + four * (size_t)tokens[i], t->gates + four * (size_t)i, 4 * t->hidden);
    } else {
        if (!rs_rows_prepare(&rows, t->ih[l].backend, t->alone, &t->step, t->x, t->hidden, n, t->hidden))
            return false;
        rs_linear_apply(&t->ih[l], &rows, t->alone, RS_ACT_NONE, 1, false, t->gates, 4 * t->hidden);
    }
    if (!rs_lstm_step(&t->hh[l], t->alone, &t->step, t->memory[l], from, to, n, t->gates, &rows))
        return false;
    for (int i = 0; i < n && l + 1 < t->layers; i++)
        memcpy(t->x + (size_t)t->hidden * (size_t)i, t->memory[l][to[i]].h, (size_t)t->hidden * sizeof *t->x);
    if (l + 1 == t->layers)
        rs_linear_apply(&t->pred, &rows, t->alone, RS_ACT_NONE, 1, false, t->z, t->joint);
    return true;
}

static bool predict_rows(struct rs_transducer *t, const struct rs_beam_round *r)
{
    for (int i = 0; i < r->taken && !t->answers; i++)
        rs_tensor_row(t->embed, r->tokens[i], t->x + (size_t)i * (size_t)t->hidden);
    for (int l = 0; l < t->layers; l++)
        if (!take_layer(t, l, r->from, r->tokens, r->to, r->taken))
            return false;
    for (int i = 0; i < r->taken; i++)
        memcpy(t->slots[r->to[i]].said, t->z + (size_t)i * (size_t)t->joint, (size_t)t->joint * sizeof(float));
    return set_expected(t, r->to, r->taken);
}

struct hearing { struct rs_transducer *t; const struct rs_beam_round *round; bool heard, read; };

static void round_part(void *arg, int part, int parts)
{
    struct hearing *h = arg;
    struct rs_transducer *t = h->t;
    const struct rs_beam_round *r = h->round;
    if (part == 0)
        h->heard = (!r->taken || predict_rows(t, r)) &&
                   (!r->scored || score_rows(t, t->heard + (size_t)r->frame * (size_t)t->joint, r->slots, r->scored));
    if (part == (parts > 1))
        h->read = !t->neural || !r->taken || rs_neural_lm_take(t->neural, r->from, r->tokens, r->to, r->taken);
}

/* The transducer and the language model have nothing to tell each other: two threads take one each, and find its weights in
 * their cache. */
static bool beam_round(void *net, const struct rs_beam_round *r, const float **scores)
{
    struct rs_transducer *t = net;
    struct hearing h = {t, r, false, false};
    const bool both = t->neural && r->taken;
    if (both && !rs_neural_lm_recall(t->neural, t->pool, r->from, r->taken))
        return false;
    rs_pool_run(both ? t->pool : NULL, round_part, &h);
    if (r->scored)
        *scores = t->logits;
    return h.heard && h.read;
}

static int beam(struct rs_transducer *t, int frames, struct rs_transcript *out, struct rs_err *e)
{
    const struct rs_beam_net net = {beam_round, beam_expected, t->ctc ? beam_second : NULL,
                                    t->neural && t->config->lm_end > 0 ? beam_ends : NULL, t};
    memset(t->common, 0, (size_t)t->joint * sizeof *t->common);
    for (int i = 0; i < frames; i++)
        rs_kernels()->add(t->heard + (size_t)i * (size_t)t->joint, t->joint, 1 / (float)frames, t->common);
    const int start = 0;
    for (int l = 0; l < t->layers; l++)
        t->memory[l][start].known = false;
    if (!set_expected(t, &start, 1))
        return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
    return rs_beam_search(&net, &t->beam, frames, out, e);
}

bool rs_transducer_wants_ctc(const struct rs_transducer *t)
{
    return t->lm && t->beam.ctc > 0;
}

int rs_transducer_run(struct rs_transducer *t, const float *encoded, int frames, const float *ctc, struct rs_transcript *out,
                      struct rs_err *e)
{
    struct rs_rows rows;
    rs_arena_reset(&t->chunk);
    rs_arena_reset(&t->step);
    float *heard = rs_arena_alloc(&t->chunk, (size_t)frames * (size_t)t->joint, sizeof *heard);
    if (!heard || !rs_rows_prepare(&rows, t->enc.backend, t->pool, &t->step, encoded, t->width, frames, t->width))
        return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
    rs_linear_apply(&t->enc, &rows, t->pool, RS_ACT_NONE, 1, false, heard, t->joint);
    t->heard = heard;
    t->ctc = ctc;
    t->frames = frames;
    rs_pool_busy(t->pool);
    int rc = recall_nothing(t) && predict(t, NULL) ? 0 : rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
    if (!rc && t->lm)
        rc = beam(t, frames, out, e);
    else if (!rc)
        rc = rs_transducer_search(&(struct rs_transducer_net){best, take, t}, frames, t->pieces, t->max_symbols, out, e);
    rs_pool_idle(t->pool);
    return rc;
}

/* ---- Loading ---- */

static int count_lstm(const struct rs_model *m)
{
    char name[64];
    int n = 0;
    for (; n <= MAX_LAYERS; n++) {
        snprintf(name, sizeof name, "decoder.prediction.dec_rnn.lstm.weight_ih_l%d", n);
        if (!rs_model_find(m, name))
            break;
    }
    return n;
}

/* PyTorch's names end in _l0, not in .weight. */
static void load_lstm(struct rs_transducer *t, struct rs_weights *w, struct rs_linear *l, const char *way, int layer)
{
    const struct rs_tensor *weight, *bias;
    char name[80];
    if (w->rc)
        return;
    snprintf(name, sizeof name, "decoder.prediction.dec_rnn.lstm.weight_%s_l%d", way, layer);
    w->rc = rs_model_need(w->model, &weight, name, 2, (const int64_t[]){4 * t->hidden, t->hidden}, w->e);
    snprintf(name, sizeof name, "decoder.prediction.dec_rnn.lstm.bias_%s_l%d", way, layer);
    if (!w->rc)
        w->rc = rs_model_need(w->model, &bias, name, 1, (const int64_t[]){4 * t->hidden}, w->e);
    if (!w->rc)
        w->rc = rs_linear_init(l, w->backend, w->pack, weight, bias, w->e);
}

static void find_geometry(struct rs_transducer *t, struct rs_weights *w)
{
    const struct rs_model_config *c = &w->model->config;
    const struct rs_tensor *embed = rs_weights_find(w, "decoder.", "prediction.embed.weight");
    const struct rs_tensor *enc = rs_weights_find(w, "joint.", "enc.weight"), *out = rs_weights_find(w, "joint.", "joint_net.2.weight");
    if (w->rc)
        return;
    t->embed = embed;
    t->pieces = w->model->n_pieces;
    t->layers = count_lstm(w->model);
    t->hidden = embed->ndim == 2 && embed->shape[1] <= 8192 ? (int)embed->shape[1] : 0;
    t->joint = enc->shape[0] <= 8192 ? (int)enc->shape[0] : 0;
    t->max_symbols = c->max_symbols > 0 ? c->max_symbols : 10;
    if (t->max_symbols > MAX_SYMBOLS)
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "%s wants up to %d tokens at a frame; at most %d make sense: fetch the model again",
                        w->model->path, t->max_symbols, MAX_SYMBOLS);
    t->n_durations = c->n_durations;
    memcpy(t->durations, c->durations, sizeof t->durations);
    t->outputs = t->pieces + 1 + t->n_durations;
    bool ok = t->n_durations >= 0 && t->n_durations <= 16;
    for (int i = 0; i < t->n_durations && ok; i++)
        ok = t->durations[i] >= 0 && t->durations[i] <= 1000;
    if (t->layers < 1 || t->layers > MAX_LAYERS || t->hidden < 1 || t->joint < 1 || embed->shape[0] != t->pieces + 1 || !ok ||
        out->shape[0] != t->outputs)
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the decoder of %s does not fit together (%d pieces, %lld embeddings, %lld outputs, "
                        "%d durations): fetch the model again", w->model->path, t->pieces, (long long)embed->shape[0],
                        (long long)out->shape[0], t->n_durations);
}

static void choose_activation(struct rs_transducer *t, struct rs_weights *w)
{
    const char *name = w->model->config.activation;
    if (*name == '\0' || strcmp(name, "relu") == 0)
        t->activate = rs_kernels()->relu;
    else if (strcmp(name, "tanh") == 0)
        t->activate = rs_kernels()->tanh;
    else if (strcmp(name, "sigmoid") == 0)
        t->activate = rs_kernels()->sigmoid;
    else if (!w->rc)
        w->rc = rs_fail(w->e, RS_E_MODEL_UNSUPPORTED, "%s joins encoder and predictor by \"%s\"; relu, tanh and sigmoid are known",
                        w->model->path, name);
}

static void get_room(struct rs_transducer *t, struct rs_weights *w)
{
    const size_t d = (size_t)t->hidden;
    const size_t rows = t->lm ? RS_BEAM_WIDTH : 1;
    for (int i = 0; i < (t->lm ? RS_BEAM_SLOTS : 1); i++) {
        t->slots[i].said = rs_weights_room(w, (size_t)t->joint);
        t->slots[i].expected = t->lm ? rs_weights_room(w, (size_t)t->pieces) : NULL;
        for (int l = 0; l < t->layers && !w->rc; l++)               /* of a damaged model there may be too many */
            t->memory[l][i] = (struct rs_lstm_memory){.cell = rs_weights_room(w, d), .h = rs_weights_room(w, d),
                                                      .recalled = rs_weights_room(w, 4 * d)};
    }
    t->x = rs_weights_room(w, rows * d);
    t->gates = rs_weights_room(w, rows * 4 * d);
    t->z = rs_weights_room(w, rows * (size_t)t->joint);
    t->logits = rs_weights_room(w, rows * (size_t)t->outputs);
    t->common = t->lm ? rs_weights_room(w, (size_t)t->joint) : NULL;
}

/* The first layer's answer to every token, from the pack or into it: one row to read instead of a matrix. */
static void packed_answers(struct rs_transducer *t, struct rs_weights *w, struct rs_pack *pack)
{
    enum { ROWS = 64 };
    const size_t d = (size_t)t->hidden, bytes = ((size_t)t->pieces + 1) * 4 * d * sizeof *t->answers;
    t->answers = rs_pack_find(pack, "decoder.answers", bytes);
    uint16_t *room = t->answers ? NULL : rs_pack_room(pack, "decoder.answers", bytes);
    float *x = room ? rs_arena_alloc(&t->chunk, ROWS * d, sizeof *x) : NULL, *y = x ? rs_arena_alloc(&t->chunk, ROWS * 4 * d, sizeof *y) : NULL;
    if (room && !y)                     /* a room that nobody fills must not be kept */
        w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the decoder of %s", w->model->name);
    if (!y)
        return;
    for (int from = 0; from <= t->pieces; from += ROWS) {
        const int m = t->pieces + 1 - from < ROWS ? t->pieces + 1 - from : ROWS;
        struct rs_rows rows;
        for (int i = 0; i < m; i++)
            rs_tensor_row(t->embed, from + i, x + (size_t)i * d);
        rs_arena_reset(&t->step);
        if (!rs_rows_prepare(&rows, t->ih[0].backend, t->pool, &t->step, x, t->hidden, m, t->hidden)) {
            w->rc = rs_fail(w->e, RS_E_NOMEM, "no memory for the decoder of %s", w->model->name);
            return;
        }
        rs_linear_apply(&t->ih[0], &rows, t->pool, RS_ACT_NONE, 1, false, y, 4 * t->hidden);
        rs_quantize(RS_F16, y, room + (size_t)from * 4 * d, (int64_t)m * 4 * t->hidden);
    }
    t->answers = room;
}

/* With a language model in the file the search is a beam. */
static void load_language_model(struct rs_transducer *t, struct rs_weights *w)
{
    const struct rs_model_config *c = &w->model->config;
    const struct rs_tensor *ngrams = w->rc ? NULL : rs_model_find(w->model, "lm.ngrams");
    if (!ngrams)
        return;
    const struct rs_tensor *words = rs_model_find(w->model, "lm.words");
    for (int i = 0; i < t->n_durations && !w->rc; i++)
        if (t->durations[i] > RS_BEAM_DURATION)
            w->rc = rs_fail(w->e, RS_E_MODEL_UNSUPPORTED, "%s has a language model and durations above %d", w->model->path, RS_BEAM_DURATION);
    const bool numbers = isfinite(c->lm_weight + c->lm_prior + c->lm_bonus + c->lm_ctc + c->lm_unknown + c->lm_neural + c->lm_end) && c->lm_weight >= 0 &&
                         c->lm_ctc >= 0 && c->lm_unknown >= 0 && c->lm_end >= 0;
    if (!w->rc && (ngrams->type != RS_I8 || (words && words->type != RS_I8) || !numbers))
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the language model in %s is damaged: fetch the model again", w->model->path);
    if (!w->rc)
        w->rc = rs_ngram_open(&t->lm, ngrams->data, ngrams->bytes, w->model->path, w->e);
    if (!w->rc && words)
        w->rc = rs_words_open(&t->words, words->data, words->bytes, w->model, w->e);
    if (!w->rc)
        w->rc = rs_pool_new(&t->alone, 1, w->e);
    rs_neural_lm_open(&t->neural, w, t->alone, RS_BEAM_SLOTS, RS_BEAM_WIDTH);
    t->beam = (struct rs_beam_options){.lm = t->lm, .weight = c->lm_weight, .ctc = c->lm_ctc, .bonus = c->lm_bonus,
                                       .words = t->words, .unknown = c->lm_unknown,
                                       .pieces = t->pieces, .outputs = t->outputs, .max_symbols = t->max_symbols, .durations = t->durations,
                                       .n_durations = t->n_durations};
}

int rs_transducer_open(struct rs_transducer **out, const struct rs_model *m, const struct rs_backend *b, struct rs_pack *pack,
                       struct rs_pool *pool, int width, struct rs_err *e)
{
    *out = NULL;
    struct rs_transducer *t = rs_zeroed(1, sizeof *t);
    if (!t)
        return rs_fail(e, RS_E_NOMEM, "no memory for the decoder of %s", m->name);
    struct rs_weights w = {.model = m, .backend = b, .pack = pack, .own = &t->own, .e = e};
    t->config = &m->config;
    t->pool = pool;
    t->width = width;
    find_geometry(t, &w);
    for (int i = 0; i < t->layers && !w.rc; i++) {
        load_lstm(t, &w, &t->ih[i], "ih", i);
        load_lstm(t, &w, &t->hh[i], "hh", i);
    }
    rs_weights_linear(&w, &t->enc, "joint.", "enc", t->joint, width);
    rs_weights_linear(&w, &t->pred, "joint.", "pred", t->joint, t->hidden);
    rs_weights_linear(&w, &t->out, "joint.", "joint_net.2", t->outputs, t->joint);
    choose_activation(t, &w);
    load_language_model(t, &w);
    get_room(t, &w);
    if (!w.rc && pack && b->bits != 4)             /* they are larger than the matrix: not where memory counts */
        packed_answers(t, &w, pack);
    if (w.rc) {
        rs_transducer_close(t);
        return w.rc;
    }
    *out = t;
    return 0;
}

void rs_transducer_close(struct rs_transducer *t)
{
    if (!t)
        return;
    for (int i = 0; i < MAX_LAYERS; i++) {
        rs_linear_free(&t->ih[i]);
        rs_linear_free(&t->hh[i]);
    }
    rs_linear_free(&t->enc);
    rs_linear_free(&t->pred);
    rs_linear_free(&t->out);
    rs_ngram_close(t->lm);
    rs_neural_lm_close(t->neural);
    rs_words_close(t->words);
    rs_pool_free(t->alone);
    rs_arena_free(&t->own);
    rs_arena_free(&t->chunk);
    rs_arena_free(&t->step);
    free(t);
}

bool rs_transducer_has_durations(const struct rs_transducer *t)
{
    return t->n_durations > 0;
}
