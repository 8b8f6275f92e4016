/* See beam.h. The search is synchronous in time: readings wait in a queue for each of the next few frames, and only the
 * best of a queue are looked at when their frame comes. A reading's score is the log probability of the tokens and blanks
 * that the transducer chose (with the durations' there are no fewer wrong words), plus the weighted ones of its tokens in
 * the language models (shallow fusion: Gulcehre et al. 2015, arXiv 1503.03535) and in the model's CTC head, where it has
 * one, less something for each word that is none.
 * Readings with equal tokens at the same frame are one: their probabilities add. Of readings that end in the same few
 * tokens only the best goes on, for what follows will hardly tell them apart ("path merging": Prabhavalkar et al. 2021,
 * arXiv 2012.06749); the places are for readings that differ now.
 *
 * The predictor runs when a reading's turn comes, not when it is thought of: most are never looked at. What it said
 * after the same tokens at another frame is taken from there: one in nine on read speech. */
#include "asr/beam.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "asr/greedy.h"
#include "base/mem.h"
#include "tensor/kernels.h"

#ifndef RECENT                      /* scripts/train/engine_readings.c looks further back */
#define RECENT 7                    /* tokens that tell readings apart */
#endif
#define CANDIDATES 6
#define FLOOR 6.0f                  /* nats: tokens so far below the best one are not tried */
#define BEHIND 7.0f                 /* nats: readings so far behind the best one of their frame are dropped */

struct step { int parent, token, frame, duration; float confidence; };       /* parent: index, -1: the start */

struct reading {
    float score;                    /* of everything */
    int last;                       /* its last step, -1: none */
    int slot;                       /* the predictor after `last`, or when `pending` before it */
    bool pending;
    int token;                      /* that the predictor has not heard yet */
    int symbols;                    /* tokens at this frame */
    uint64_t tokens;                /* hash of all of them */
    uint16_t recent[RECENT];        /* the last ones, each + 1 */
    struct rs_ngram_state before;
    struct rs_words_state word;
};

struct queue { struct reading r[RS_BEAM_WIDTH]; int count; };

/* A slot of the predictor, and what was said in it; it stays known while nobody needs the slot for something else. */
struct slot { int users; uint64_t tokens; };

struct search {
    const struct rs_beam_net *net;
    const struct rs_beam_options *o;
    struct queue queues[RS_BEAM_DURATION + 1];        /* frame modulo their number */
    struct slot slots[RS_BEAM_SLOTS];
    int said[256];                  /* the slot in which tokens of such a hash were said last */
    int taken;                      /* the last slot that was taken */
    struct step *steps;
    size_t count, cap;
    int frame;
};

static void let_go(struct search *s, int slot)
{
    s->slots[slot].users--;
}

/* The slot that has heard these tokens, otherwise a free one, in turns; the caller uses it. There are more than readings. */
static int slot_for(struct search *s, uint64_t tokens, bool *heard)
{
    int *said = &s->said[tokens >> 56];
    *heard = *said && s->slots[*said].tokens == tokens;          /* slot 0 is the start, where nothing was said */
    if (!*heard) {
        do
            s->taken = (s->taken + 1) % RS_BEAM_SLOTS;
        while (s->slots[s->taken].users);
        *said = s->taken;
        s->slots[*said].tokens = tokens;
    }
    s->slots[*said].users++;
    return *said;
}

static float add_logs(float a, float b)
{
    return a > b ? a + log1pf(expf(b - a)) : b + log1pf(expf(a - b));
}

/* Puts a reading into the queue of a frame, if it is among the best there. The slot gets one more user. */
static void put(struct search *s, int frame, const struct reading *r)
{
    struct queue *q = &s->queues[frame % (RS_BEAM_DURATION + 1)];
    int worst = 0;
    for (int i = 0; i < q->count; i++) {
        if (memcmp(q->r[i].recent, r->recent, sizeof r->recent) == 0) {
            const bool same = q->r[i].tokens == r->tokens;
            const float score = same ? add_logs(q->r[i].score, r->score) : fmaxf(q->r[i].score, r->score);
            if (r->score > q->r[i].score) {
                let_go(s, q->r[i].slot);
                q->r[i] = *r;
                s->slots[r->slot].users++;
            }
            q->r[i].score = score;
            return;
        }
        if (q->r[i].score < q->r[worst].score)
            worst = i;
    }
    if (q->count < RS_BEAM_WIDTH)
        worst = q->count++;
    else if (q->r[worst].score >= r->score)
        return;
    else
        let_go(s, q->r[worst].slot);
    q->r[worst] = *r;
    s->slots[r->slot].users++;
}

/* Whether a reading that scores no more than that could not stay among a frame's. */
static bool hopeless(const struct search *s, int frame, float most)
{
    const struct queue *q = &s->queues[frame % (RS_BEAM_DURATION + 1)];
    float best = -FLT_MAX, worst = FLT_MAX;
    for (int i = 0; i < q->count; i++) {
        best = q->r[i].score > best ? q->r[i].score : best;
        worst = q->r[i].score < worst ? q->r[i].score : worst;
    }
    return q->count && (most < best - BEHIND || (q->count == RS_BEAM_WIDTH && most <= worst));
}

/* The readings' turn: their predictors hear the last tokens now, and where x is wanted, a row of scores for each reading. */
static bool settle(struct search *s, struct reading *r, int n, const float **x)
{
    struct rs_beam_round round = {.frame = s->frame};
    for (int i = 0; i < n; i++) {
        if (r[i].pending) {
            bool heard;
            const int slot = slot_for(s, r[i].tokens, &heard);
            if (heard) {
                let_go(s, r[i].slot);
            } else {
                round.from[round.taken] = r[i].slot;
                round.tokens[round.taken] = r[i].token;
                round.to[round.taken++] = slot;
            }
            r[i].slot = slot;
            r[i].pending = false;
        }
        if (x)
            round.slots[round.scored++] = r[i].slot;
    }
    const bool ok = !(round.taken + round.scored) || s->net->round(s->net->net, &round, x);
    for (int i = 0; i < round.taken; i++)
        let_go(s, round.from[i]);
    return ok;
}

static uint64_t hash_with(uint64_t tokens, int token)
{
    return (tokens ^ (uint64_t)(token + 1)) * 0x9e3779b97f4a7c15u;
}

/* The score with what speaks for a token beside the transducer; the n-grams and the words apart, which only take away. */
static float spoken_for(const struct search *s, float score, int slot, int token, int frame)
{
    score = score + s->net->expected(s->net->net, slot, token) + s->o->bonus;
    if (s->net->second)
        score += s->o->ctc * s->net->second(s->net->net, frame, token);
    return score;
}

static bool extend(struct search *s, const struct reading *r, int token, float log_p, int duration)
{
    const int advance = duration == 0 && r->symbols + 1 >= s->o->max_symbols ? 1 : duration;
    const float heard = spoken_for(s, r->score + log_p, r->slot, token, s->frame);
    if (hopeless(s, s->frame + advance, heard))
        return true;
    if (!rs_grow((void **)&s->steps, &s->cap, s->count + 1, sizeof *s->steps))
        return false;
    struct reading next = *r;
    next.score = heard + s->o->weight * rs_ngram_step(s->o->lm, &r->before, token, &next.before);
    if (s->o->words)
        next.score -= s->o->unknown * (float)rs_words_step(s->o->words, &next.word, token);
    next.last = (int)s->count;
    next.pending = true;
    next.token = token;
    memmove(next.recent + 1, next.recent, sizeof next.recent - sizeof *next.recent);
    next.recent[0] = (uint16_t)(token + 1);
    next.symbols = advance ? 0 : r->symbols + 1;
    next.tokens = hash_with(r->tokens, token);
    s->steps[s->count++] = (struct step){.parent = r->last, .token = token, .frame = s->frame, .duration = duration,
                                         .confidence = expf(log_p)};
    put(s, s->frame + advance, &next);
    return true;
}

/* The best few tokens that score at least `limit`, best first; a language model cannot make up for what was hardly heard. */
static int candidates(const float *x, int count, float limit, int *best)
{
    enum { BLOCK = 64 };
    int at[BLOCK], n = 0;
    for (int first = 0; first < count; first += BLOCK) {
        const float least = n == CANDIDATES ? x[best[n - 1]] : limit;
        const int found = rs_kernels()->at_least(x + first, count - first < BLOCK ? count - first : BLOCK, least, at);
        for (int i = 0; i < found; i++) {
            const int token = first + at[i];
            if (n == CANDIDATES && x[token] <= x[best[n - 1]])
                continue;
            int place = n < CANDIDATES ? n++ : n - 1;
            for (; place > 0 && x[best[place - 1]] < x[token]; place--)
                best[place] = best[place - 1];
            best[place] = token;
        }
    }
    return n;
}

/* All that a reading may become at this frame, by its scores x. */
static bool expand(struct search *s, const struct reading *r, const float *x)
{
    const int blank = s->o->pieces, top = rs_argmax(x, blank + 1);
    const int duration = s->o->n_durations ? s->o->durations[rs_argmax(x + blank + 1, s->o->n_durations)] : 0;
    const float norm = rs_log_sum_exp(x, blank + 1, x[top]);
    struct reading waits = *r;
    waits.score += x[blank] - norm;
    waits.symbols = 0;
    put(s, s->frame + (s->o->n_durations && duration ? duration : 1), &waits);
    int best[CANDIDATES];
    const int n = candidates(x, blank, x[top] - FLOOR, best);
    for (int i = 0; i < n; i++)
        if (!extend(s, r, best[i], x[best[i]] - norm, duration))
            return false;
    return true;
}

static int by_score(const void *a, const void *b)
{
    const float x = ((const struct reading *)a)->score, y = ((const struct reading *)b)->score;
    return (x < y) - (x > y);
}

/* One frame: tokens of duration 0 fill its queue again, for another round. */
static bool one_frame(struct search *s)
{
    struct queue *q = &s->queues[s->frame % (RS_BEAM_DURATION + 1)];
    float best = -FLT_MAX;
    bool ok = true;
    while (q->count && ok) {
        struct reading r[RS_BEAM_WIDTH];
        int n = 0;
        const int all = q->count;
        memcpy(r, q->r, (size_t)all * sizeof *r);
        q->count = 0;
        qsort(r, (size_t)all, sizeof *r, by_score);
        best = r[0].score > best ? r[0].score : best;
        while (n < all && r[n].score >= best - BEHIND)
            n++;
        for (int i = n; i < all; i++)
            let_go(s, r[i].slot);
        const float *x = NULL;
        ok = settle(s, r, n, &x);
        for (int i = 0; i < n; i++) {
            ok = ok && expand(s, &r[i], x + (size_t)i * (size_t)s->o->outputs);
            let_go(s, r[i].slot);
        }
    }
    return ok;
}

static bool tell(const struct search *s, int last, struct rs_transcript *out)
{
    size_t n = 0;
    for (int i = last; i >= 0; i = s->steps[i].parent)
        n++;
    const size_t from = out->count;
    for (size_t i = 0; i < n; i++)
        if (!rs_transcript_push(out))
            return false;
    for (int i = last; i >= 0; i = s->steps[i].parent) {
        const struct step *p = &s->steps[i];
        out->tokens[from + --n] = (struct rs_token){.id = p->token, .frame = p->frame, .duration = p->duration,
                                                    .confidence = p->confidence};
    }
    return true;
}

static void drop_below(struct search *s, struct queue *q, float least)
{
    int kept = 0;
    for (int i = 0; i < q->count; i++) {
        if (q->r[i].score >= least)
            q->r[kept++] = q->r[i];
        else
            let_go(s, q->r[i].slot);
    }
    q->count = kept;
}

/* What is added to a score when nothing follows the tokens. */
static float at_end(const struct search *s, int slot, struct rs_words_state word)
{
    const float ends = s->net->ends ? s->net->ends(s->net->net, slot) : 0;
    return s->o->words ? ends - s->o->unknown * (float)rs_words_end(s->o->words, &word) : ends;
}

/* The last step of the best reading, now that there is no more to hear. */
static bool choose(struct search *s, int *last)
{
    float top = -FLT_MAX, best = -FLT_MAX;
    for (int i = 0; i <= RS_BEAM_DURATION; i++)
        for (int j = 0; j < s->queues[i].count; j++)
            top = fmaxf(top, s->queues[i].r[j].score);
    for (int i = 0; i <= RS_BEAM_DURATION; i++) {
        struct queue *q = &s->queues[i];
        drop_below(s, q, top - BEHIND);
        if (s->net->ends && !settle(s, q->r, q->count, NULL))
            return false;
        for (int j = 0; j < q->count; j++) {
            const struct reading *r = &q->r[j];
            const float score = r->score + at_end(s, r->slot, r->word);
            if (score > best) {
                best = score;
                *last = r->last;
            }
        }
    }
    return true;
}

static bool search_all(struct search *s, int frames, struct rs_transcript *out)
{
    const struct reading start = {.last = -1};
    bool ok = true;
    int last = -1;
    s->slots[0].users = 1;                   /* it stays: nobody lets go of the start */
    put(s, 0, &start);
    for (s->frame = 0; s->frame < frames && ok; s->frame++)
        ok = one_frame(s);
    return ok && choose(s, &last) && tell(s, last, out);
}

int rs_beam_search(const struct rs_beam_net *net, const struct rs_beam_options *o, int frames, struct rs_transcript *out,
                   struct rs_err *e)
{
    struct search s = {.net = net, .o = o};
    const bool ok = search_all(&s, frames, out);
    free(s.steps);
    return ok ? 0 : rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
}
