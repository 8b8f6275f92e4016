/* See ctc.h. Formula: Graves 2006; NeMo parts/submodules/ctc_greedy_decoding.py. */
#include "asr/ctc.h"

#include <stdlib.h>

#include "asr/greedy.h"
#include "asr/weights.h"
#include "tensor/kernels.h"

#define BLOCK 32          /* frames whose scores exist at a time */

struct rs_ctc {
    struct rs_pool *pool;
    int width, pieces;
    struct rs_linear out;             /* [pieces+1][width] */
    struct rs_arena own, step, chunk;
    float *logits;                    /* [BLOCK][pieces+1] */
};

static const char *prefix_of(const struct rs_model *m)
{
    return rs_model_find(m, "ctc_decoder.decoder_layers.0.weight") ? "ctc_decoder." : "decoder.";
}

bool rs_ctc_present(const struct rs_model *m)
{
    return rs_model_find(m, "ctc_decoder.decoder_layers.0.weight") || rs_model_find(m, "decoder.decoder_layers.0.weight");
}

int rs_ctc_open(struct rs_ctc **out, const struct rs_model *m, const struct rs_backend *b, struct rs_pack *pack,
                struct rs_pool *pool, int width, struct rs_err *e)
{
    *out = NULL;
    struct rs_ctc *c = rs_zeroed(1, sizeof *c);
    if (!c)
        return rs_fail(e, RS_E_NOMEM, "no memory for the decoder of %s", m->name);
    struct rs_weights w = {.model = m, .backend = b, .pack = pack, .own = &c->own, .e = e};
    c->pool = pool;
    c->width = width;
    c->pieces = m->n_pieces;
    rs_weights_linear(&w, &c->out, prefix_of(m), "decoder_layers.0", c->pieces + 1, width);
    c->logits = rs_weights_room(&w, BLOCK * ((size_t)c->pieces + 1));
    if (w.rc) {
        rs_ctc_close(c);
        return w.rc;
    }
    *out = c;
    return 0;
}

void rs_ctc_close(struct rs_ctc *c)
{
    if (!c)
        return;
    rs_linear_free(&c->out);
    rs_arena_free(&c->own);
    rs_arena_free(&c->step);
    rs_arena_free(&c->chunk);
    free(c);
}

/* One frame: extends the last token when its run goes on, else begins a new one. false: out of memory. */
static bool take_frame(const struct rs_ctc *c, const float *logits, int frame, int *previous, struct rs_transcript *out)
{
    const int best = rs_argmax(logits, c->pieces + 1);
    const bool again = best == *previous;
    *previous = best;
    if (best == c->pieces)
        return true;
    const float p = 1 / rs_kernels()->sum_exp(logits, c->pieces + 1, logits[best]);
    if (!again && !rs_transcript_push(out))
        return false;
    struct rs_token *token = &out->tokens[out->count - 1];
    if (!again)
        *token = (struct rs_token){.id = best, .frame = frame, .confidence = p};
    token->duration++;
    token->confidence = p > token->confidence ? p : token->confidence;
    return true;
}

/* encoded[m][width] → scores[m][pieces + 1] */
static bool score(struct rs_ctc *c, const float *encoded, int m, float *scores)
{
    struct rs_rows rows;
    rs_arena_reset(&c->step);
    if (!rs_rows_prepare(&rows, c->out.backend, c->pool, &c->step, encoded, c->width, m, c->width))
        return false;
    rs_linear_apply(&c->out, &rows, c->pool, RS_ACT_NONE, 1, false, scores, c->pieces + 1);
    return true;
}

const float *rs_ctc_log_probs(struct rs_ctc *c, const float *encoded, int frames)
{
    const int labels = c->pieces + 1;
    rs_arena_reset(&c->chunk);
    float *scores = rs_arena_alloc(&c->chunk, (size_t)frames * (size_t)labels, sizeof *scores);
    if (!scores || !score(c, encoded, frames, scores))
        return NULL;
    for (int i = 0; i < frames; i++) {
        float *x = scores + (size_t)i * (size_t)labels;
        const float norm = rs_log_sum_exp(x, labels, x[rs_argmax(x, labels)]);
        for (int j = 0; j < labels; j++)
            x[j] -= norm;
    }
    return scores;
}

int rs_ctc_run(struct rs_ctc *c, const float *encoded, int frames, struct rs_transcript *out, struct rs_err *e)
{
    const int labels = c->pieces + 1;
    int previous = c->pieces;
    for (int from = 0; from < frames; from += BLOCK) {
        const int m = frames - from < BLOCK ? frames - from : BLOCK;
        if (!score(c, encoded + (size_t)from * (size_t)c->width, m, c->logits))
            return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
        for (int i = 0; i < m; i++)
            if (!take_frame(c, c->logits + (size_t)i * (size_t)labels, from + i, &previous, out))
                return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
    }
    return 0;
}
