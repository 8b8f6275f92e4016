/* See progress.h.
 *
 * The recording is a line of windows: each is up to `chunk_s` long and begins `overlap_s` before the end of
 * the one before. Words that end in the second half of an overlap are left to the next window (merge.c).
 * The last window is filled backwards with real sound and ends half a second after the last thing heard.
 * Where speech goes on for more than HOLE seconds without a word, the place is decoded again from the start
 * of the hole; what stays empty is reported as a gap.
 */
#include "session/progress.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/guard.h"
#include "base/mem.h"

enum { FRAME = 1280, CALL = 8192, MAX_HOLES = 4 };

static const double HOP = (double)RS_VAD_HOP / RS_SAMPLE_RATE;
static const float SPEECH = 0.5f, STAYS = 0.35f;   /* probability that begins speech, and that continues it */
static const float AUDIBLE = 0.15f;                /* from this on it may be a word's end */
static const double NEAR = 0.5;                    /* seconds from speech within which a word is believed */
static const int ARMS = 2;                         /* hops of speech (64 ms) before it counts as said */
static const double AFTER = 0.5;                   /* seconds kept behind the last thing heard */
static const double HOLE = 1.5, MARGIN = 0.2;
static const double HELD = 0.3;                    /* seconds before a cut in which a word may not be whole */
static const double PAUSE = 0.25;                  /* seconds of silence before the open chunk is decoded ahead */
static const double BRIEF = 0.1;                   /* the same after a stop: it is likely to be the end */

struct rs_progress {
    struct rs_progress_options o;
    struct rs_vad *vad;
    struct rs_recogniser asr;          /* asr.run is NULL until one is attached */

    pthread_mutex_t lock;              /* guards what follows, up to `worker` */
    float *audio;
    size_t count, cap;                 /* samples kept */
    size_t base;                       /* the session's sample that audio[0] is; a whole number of frames */
    size_t window;                     /* where the open window begins */
    float *prob;
    size_t hops, hops_cap;             /* the detector's answers since the session began */
    size_t hop_base;                   /* of which prob[0] is this one: as old as the sound that is kept */
    struct rs_speech_state speech;
    int run;                           /* hops of speech in a row */
    bool ended, cut, finished, stopping;
    double cost_s;                     /* what the last decode took */
    double ahead_to;                   /* the last speech that was decoded ahead */
    char *text;
    size_t text_len, text_cap;

    struct {                           /* the worker's own */
        struct rs_merge merge, trial;
        struct rs_transcript transcript;
        struct rs_tokens fresh, again, out;
        float *pcm;
        size_t pcm_cap;
        struct rs_chunk ahead;         /* what the open chunk would be if nothing more is said */
        bool ahead_valid;
        double ahead_said;             /* the last thing heard when it was made */
        int index;
        double covered;                /* seconds of the session that chunks have answered for */
        double reported;               /* where the last gap ended */
    } worker;
};

/* ------------------------------------------------------------------ recognisers */

static int asr_run(void *s, const float *pcm, size_t n, struct rs_transcript *t, struct rs_err *e)
{
    const unsigned before = rs_guard_hits();
    const int rc = rs_asr_run(s, pcm, n, t, e);
    if (rc == 0 && rs_guard_hits() != before)
        return rs_fail(e, RS_E_MODEL_BAD, "The model's file shrank or went away while it was in use: start again with a whole one.");
    return rc;
}

static bool asr_starts_word(const void *s, int id) { return rs_asr_starts_word(s, id); }
static bool asr_same_piece(const void *s, int a, int b) { return rs_asr_same_piece(s, a, b); }
static size_t asr_text(const void *s, const struct rs_token *t, size_t n, char *b, size_t z) { return rs_asr_text(s, t, n, b, z); }
static int asr_words(const void *s, const struct rs_token *t, size_t n, struct rs_word **w, size_t *k, struct rs_err *e)
{
    return rs_asr_words(s, t, n, w, k, e);
}

void rs_progress_attach_recogniser(struct rs_progress *p, const struct rs_recogniser *r)
{
    pthread_mutex_lock(&p->lock);
    p->asr = *r;
    pthread_mutex_unlock(&p->lock);
}

void rs_progress_attach(struct rs_progress *p, struct rs_asr *asr)
{
    const struct rs_recogniser r = {asr, asr_run, asr_starts_word, asr_same_piece, asr_text, asr_words};
    rs_progress_attach_recogniser(p, &r);
}

/* ------------------------------------------------------------------ life */

int rs_progress_new(struct rs_progress **out, struct rs_vad *vad, const struct rs_progress_options *o, struct rs_err *e)
{
    struct rs_progress *p = *out = rs_zeroed(1, sizeof *p);
    if (!p)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a recording.");
    p->o = *o;
    p->vad = vad;
    p->ahead_to = -1;
    pthread_mutex_init(&p->lock, NULL);
    if (!rs_grow((void **)&p->text, &p->text_cap, 1, 1)) {
        rs_progress_free(p);
        *out = NULL;
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a recording.");
    }
    p->text[0] = 0;
    return 0;
}

void rs_chunk_free(struct rs_chunk *c)
{
    free(c->text);
    free(c->tokens);
    free(c->words);
    free(c->gaps);
    *c = (struct rs_chunk){0};
}

/* What was heard does not stay in memory that others may get. */
static void wipe(void *p, size_t bytes)
{
    if (p)
        explicit_bzero(p, bytes);
    free(p);
}

void rs_progress_free(struct rs_progress *p)
{
    if (!p)
        return;
    wipe(p->audio, p->cap * sizeof *p->audio);
    wipe(p->worker.pcm, p->worker.pcm_cap * sizeof *p->worker.pcm);
    wipe(p->text, p->text_cap);
    free(p->prob);
    rs_merge_free(&p->worker.merge);
    rs_merge_free(&p->worker.trial);
    rs_transcript_free(&p->worker.transcript);
    free(p->worker.fresh.at);
    free(p->worker.again.at);
    free(p->worker.out.at);
    rs_chunk_free(&p->worker.ahead);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ------------------------------------------------------------------ the feeder's side */

static size_t samples(double seconds) { return (size_t)(seconds * RS_SAMPLE_RATE + 0.5); }
static double total_s(const struct rs_progress *p) { return (double)(p->base + p->count) / RS_SAMPLE_RATE; }

static void hear(struct rs_progress *p, float prob)
{
    const double from = (double)p->hops * HOP;
    p->prob[p->hops++ - p->hop_base] = prob;
    const bool speech = prob >= (p->run ? STAYS : SPEECH);
    p->run = speech ? p->run + 1 : 0;
    p->speech.speaking = p->run >= ARMS;
    if (!p->speech.speaking)
        return;
    if (!p->speech.any)
        p->speech.first_s = from - (ARMS - 1) * HOP;
    p->speech.any = true;
    p->speech.last_s = from + HOP;
}

static int take(struct rs_progress *p, const float *pcm, size_t n, struct rs_err *e)
{
    float prob[CALL / RS_VAD_HOP + 2];
    if (!p->o.single_pass && p->o.max_backlog_s && p->base + p->count + n > p->window + samples(p->o.chunk_s) + p->o.max_backlog_s * RS_SAMPLE_RATE)
        return rs_fail(e, RS_E_BACKPRESSURE, "Transcription is more than %zu s behind the recording.", p->o.max_backlog_s);
    if (!rs_grow((void **)&p->audio, &p->cap, p->count + n, sizeof *p->audio) ||
        !rs_grow((void **)&p->prob, &p->hops_cap, p->hops - p->hop_base + CALL / RS_VAD_HOP + 2, sizeof *p->prob))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for sound.");
    memcpy(p->audio + p->count, pcm, n * sizeof *pcm);
    p->count += n;
    const size_t answers = rs_vad_feed(p->vad, pcm, n, prob);
    for (size_t i = 0; i < answers; i++)
        hear(p, prob[i]);
    p->speech.audio_s = total_s(p);
    return 0;
}

int rs_progress_feed(struct rs_progress *p, const float *pcm, size_t n, struct rs_err *e)
{
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    for (size_t at = 0; at < n && rc == 0; at += CALL)
        rc = take(p, pcm + at, n - at < CALL ? n - at : CALL, e);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void raise_flag(struct rs_progress *p, bool *flag)
{
    pthread_mutex_lock(&p->lock);
    *flag = true;
    pthread_mutex_unlock(&p->lock);
}

void rs_progress_end(struct rs_progress *p) { raise_flag(p, &p->ended); }
void rs_progress_cut(struct rs_progress *p) { raise_flag(p, &p->cut); }
void rs_progress_stopping(struct rs_progress *p) { raise_flag(p, &p->stopping); }

void rs_progress_speech(struct rs_progress *p, struct rs_speech_state *s)
{
    pthread_mutex_lock(&p->lock);
    *s = p->speech;
    pthread_mutex_unlock(&p->lock);
}

/* ------------------------------------------------------------------ what is to be done */

static bool full(const struct rs_progress *p)
{
    return !p->o.single_pass && p->base + p->count >= p->window + samples(p->o.chunk_s);
}

bool rs_progress_due(struct rs_progress *p)
{
    pthread_mutex_lock(&p->lock);
    const bool due = p->asr.run && !p->finished && (p->ended || p->cut || full(p));
    pthread_mutex_unlock(&p->lock);
    return due;
}

bool rs_progress_finished(struct rs_progress *p)
{
    pthread_mutex_lock(&p->lock);
    const bool finished = p->finished;
    pthread_mutex_unlock(&p->lock);
    return finished;
}

/* A pause after speech that no decode has seen, with time to decode it before the next chunk is due. */
bool rs_progress_wants_ahead(struct rs_progress *p)
{
    pthread_mutex_lock(&p->lock);
    const double now = total_s(p), due = (double)p->window / RS_SAMPLE_RATE + p->o.chunk_s;
    const bool wants = p->asr.run && !p->o.single_pass && !p->o.no_ahead && !p->ended && !p->cut && !full(p) && p->speech.any && !p->speech.speaking &&
                       now - p->speech.last_s >= (p->stopping ? BRIEF : PAUSE) && p->speech.last_s > p->ahead_to + 0.1 &&
                       (p->stopping || due - now > 1.5 * p->cost_s);
    pthread_mutex_unlock(&p->lock);
    return wants;
}

/* The end of the last hop in [from, to) seconds that may hold a word; `from` where none does. */
static double last_above(const struct rs_progress *p, double from, double to, float level)
{
    size_t hop = (size_t)ceil(to / HOP);
    if (hop > p->hops) {
        if ((double)p->hops * HOP <= from)
            return to;                 /* nothing of it was judged yet */
        hop = p->hops;
    }
    for (; hop > p->hop_base && (double)hop * HOP > from; hop--)
        if (p->prob[hop - 1 - p->hop_base] >= level)
            return (double)hop * HOP;
    return from;
}

static double last_audible(const struct rs_progress *p, double from, double to) { return last_above(p, from, to, AUDIBLE); }

/* Whether a word at these moments would be believed: the detector hears speech within NEAR seconds of it. Where it does
 * not, decoding could only invent words (of an hour of noises 58 became 28, of 40 minutes of speech 5,664 became 5,662). */
static bool believable(const struct rs_progress *p, double from, double to)
{
    const double start = fmax(0, from - NEAR);
    return last_above(p, start, to + NEAR, SPEECH) > start;
}

/* ------------------------------------------------------------------ decoding */

struct plan { size_t from, to; bool final, cut; double until; };

/* Decodes samples [from, to) into tokens on the session's clock. */
static int decode(struct rs_progress *p, size_t from, size_t to, struct rs_tokens *tokens, struct rs_chunk *c, struct rs_err *e)
{
    tokens->count = 0;
    const size_t n = to > from ? to - from : 0;
    if (!rs_grow((void **)&p->worker.pcm, &p->worker.pcm_cap, n + 1, sizeof *p->worker.pcm))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left to transcribe.");
    pthread_mutex_lock(&p->lock);
    memcpy(p->worker.pcm, p->audio + (from - p->base), n * sizeof *p->audio);
    pthread_mutex_unlock(&p->lock);
    struct rs_transcript *t = &p->worker.transcript;
    t->count = 0;
    const int rc = p->asr.run(p->asr.self, p->worker.pcm, n, t, e);
    if (rc < 0)
        return rc;
    c->audio_ms += (double)n * 1000 / RS_SAMPLE_RATE;
    c->times.features_ns += t->times.features_ns;
    c->times.encoder_ns += t->times.encoder_ns;
    c->times.decoder_ns += t->times.decoder_ns;
    if (!rs_tokens_add(tokens, t->tokens, t->count))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    const float shift = (float)((double)from / RS_SAMPLE_RATE);
    for (size_t i = 0; i < tokens->count; i++) {
        tokens->at[i].frame += (int)(from / FRAME);
        tokens->at[i].start += shift;
        tokens->at[i].end += shift;
    }
    return 0;
}

/* Tokens of the word that begins at token i. */
static size_t word_length(const struct rs_progress *p, const struct rs_tokens *t, size_t i)
{
    size_t n = 1;
    while (i + n < t->count && !p->asr.starts_word(p->asr.self, t->at[i + n].id))
        n++;
    return n;
}

/* Whether two words are of the same pieces and begin so many frames apart at most. */
static bool same_word(const struct rs_progress *p, const struct rs_token *a, size_t n, const struct rs_token *b, size_t m, int apart)
{
    if (n != m || abs(a->frame - b->frame) > apart)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!p->asr.same_piece(p->asr.self, a[i].id, b[i].id))
            return false;
    return true;
}

/* Leaves out words where nobody speaks, and the second of two that are one: a transducer may emit a word twice at one
 * place, the same pieces a frame later at most. Nobody speaks so fast (in 3,136 recordings 9 of 9 such pairs were one word;
 * words that were said twice came three frames apart or more). */
static void disbelieve(struct rs_progress *p, struct rs_tokens *t)
{
    size_t kept = 0, last_n = 0;          /* of the last word kept */
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0, n; i < t->count; i += n) {
        n = word_length(p, t, i);
        if (!believable(p, t->at[i].frame * RS_FRAME_S, t->at[i + n - 1].frame * RS_FRAME_S) ||
            (last_n && same_word(p, t->at + kept - last_n, last_n, t->at + i, n, 1)))
            continue;
        memmove(t->at + kept, t->at + i, n * sizeof *t->at);
        kept += n;
        last_n = n;
    }
    pthread_mutex_unlock(&p->lock);
    t->count = kept;
}

/* Share of hops with speech between two moments, and the speech's own edges. */
static double speech_share(struct rs_progress *p, double *from, double *to)
{
    pthread_mutex_lock(&p->lock);
    size_t a = (size_t)(*from / HOP), b = (size_t)(*to / HOP), said = 0;
    const size_t base = p->hop_base;
    a = a > base ? a : base;
    b = b < p->hops ? b : p->hops;
    while (a < b && p->prob[a - base] < SPEECH)
        a++;
    while (b > a && p->prob[b - 1 - base] < SPEECH)
        b--;
    for (size_t i = a; i < b; i++)
        said += p->prob[i - base] >= SPEECH;
    pthread_mutex_unlock(&p->lock);
    *from = (double)a * HOP;
    *to = (double)b * HOP;
    return b > a ? (double)said / (double)(b - a) : 0;
}

static bool add_gap(struct rs_chunk *c, double from, double to)
{
    struct rs_gap *g = realloc(c->gaps, (c->n_gaps + 1) * sizeof *g);
    if (!g)
        return false;
    c->gaps = g;
    g[c->n_gaps++] = (struct rs_gap){from, to};
    return true;
}

/* Whether word i of a list is word k of another, heard a second time. */
static bool heard_again(const struct rs_progress *p, const struct rs_tokens *a, size_t i, const struct rs_tokens *b, size_t k)
{
    return same_word(p, a->at + i, word_length(p, a, i), b->at + k, word_length(p, b, k), 3);
}

/* Decodes from the last word before the hole on and puts words that lie behind it and before the next one into their
 * place, after `place` tokens. */
static int refill(struct rs_progress *p, const struct plan *w, struct rs_tokens *t, size_t *place, double from, double to,
                  struct rs_chunk *c, struct rs_err *e)
{
    size_t before = *place, after = *place;
    while (before > 0 && (before == *place || !p->asr.starts_word(p->asr.self, t->at[before].id)))
        before--;
    while (after < t->count && !p->asr.starts_word(p->asr.self, t->at[after].id))
        after++;
    const double begin = *place ? fmin(from, t->at[*place - 1].frame * RS_FRAME_S) : from;
    size_t start = samples(begin > MARGIN ? begin - MARGIN : 0) / FRAME * FRAME, end = samples(to + 2);
    start = start > w->from ? start : w->from;
    end = end < w->to ? end : w->to;
    struct rs_tokens *again = &p->worker.again;
    const int rc = decode(p, start, end, again, c, e);
    if (rc < 0)
        return rc;
    const int least = *place ? t->at[*place - 1].frame + 1 : (int)ceil(from / RS_FRAME_S);
    size_t first = 0, last;
    while (first < again->count && (again->at[first].frame < least || !p->asr.starts_word(p->asr.self, again->at[first].id) ||
                                    (*place && heard_again(p, t, before, again, first))))
        first++;
    for (last = first; last < again->count && again->at[last].frame * RS_FRAME_S < to &&
                       !(after < t->count && heard_again(p, again, last, t, after));)
        last += word_length(p, again, last);
    if (first == last)
        return add_gap(c, from, to) ? 0 : rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    const size_t n = last - first, rest = t->count - *place;
    if (!rs_tokens_add(t, again->at + first, n))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    memmove(t->at + *place + n, t->at + *place, rest * sizeof *t->at);
    memcpy(t->at + *place, again->at + first, n * sizeof *t->at);
    *place += n;
    return 0;
}

/* Looks for long speech without words between what earlier chunks answered for and `until`: such a stretch may lie across
 * the seam, but what was reported before is not reported again. */
static int search_holes(struct rs_progress *p, const struct plan *w, const struct rs_merge *m, struct rs_tokens *t, struct rs_chunk *c,
                        struct rs_err *e)
{
    const double said = m->given.count ? m->given.at[m->given.count - 1].frame * RS_FRAME_S + 0.4 : p->worker.covered;
    double from = fmax((double)w->from / RS_SAMPLE_RATE, fmax(p->worker.reported, fmin(p->worker.covered, said)));
    const double stop = fmin((double)w->to / RS_SAMPLE_RATE, w->until);
    int holes = 0;
    for (size_t i = 0; i <= t->count && holes < MAX_HOLES; i++) {
        const double next = i < t->count ? fmin(t->at[i].frame * RS_FRAME_S, stop) : stop;
        double a = from, b = next;
        if (next - from > HOLE && speech_share(p, &a, &b) > 0.8 && b - a > HOLE) {
            const int rc = refill(p, w, t, &i, a, b, c, e);
            holes++;
            if (rc < 0)
                return rc;
        }
        if (i < t->count)
            from = fmax(from, t->at[i].frame * RS_FRAME_S + 0.4);
    }
    return 0;
}

/* ------------------------------------------------------------------ chunks */

/* Fills the chunk's words, text and figures from its tokens. */
static int finish(struct rs_progress *p, struct rs_chunk *c, const struct rs_tokens *t, struct rs_err *e)
{
    if (!rs_grow((void **)&c->tokens, &c->cap_tokens, t->count + 1, sizeof *c->tokens))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    if (t->count)
        memcpy(c->tokens, t->at, t->count * sizeof *t->at);
    c->n_tokens = t->count;
    const size_t need = p->asr.text(p->asr.self, c->tokens, c->n_tokens, NULL, 0);
    char *text = realloc(c->text, need + 1);
    if (!text)
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for text.");
    c->text = text;
    p->asr.text(p->asr.self, c->tokens, c->n_tokens, text, need + 1);
    free(c->words);
    c->words = NULL;
    c->n_words = 0;
    double sum = 0;
    for (size_t i = 0; i < c->n_tokens; i++)
        sum += (double)c->tokens[i].confidence;
    c->confidence = c->n_tokens ? sum / (double)c->n_tokens : 0;
    if (c->n_tokens) {
        c->start = (double)c->tokens[0].start;
        c->end = (double)c->tokens[c->n_tokens - 1].end;
    }
    return p->asr.words(p->asr.self, c->tokens, c->n_tokens, &c->words, &c->n_words, e);
}

static void clear(struct rs_chunk *c)
{
    c->n_tokens = c->n_words = c->n_gaps = 0;
    c->confidence = c->audio_ms = c->start = c->end = 0;
    c->times = (struct rs_stage_times){0};
    c->elapsed_ns = 0;
    c->ahead = c->final = false;
    if (c->text)
        c->text[0] = 0;
}

/* The window that is due. With `ahead` the open one as if the recording ended here. */
static struct plan plan_window(struct rs_progress *p, bool ahead)
{
    const size_t end = p->base + p->count, chunk = samples(p->o.chunk_s);
    struct plan w = {.from = p->window, .to = end, .final = ahead, .until = INFINITY};
    if (!ahead && full(p) && (end > p->window + chunk || !p->ended)) {
        w.to = p->window + chunk;
        w.until = (double)w.to / RS_SAMPLE_RATE - p->o.overlap_s / 2;
    } else if (!ahead) {
        w.final = p->ended;
        w.cut = !p->ended;
        if (w.cut && p->speech.speaking && p->o.overlap_s > 2 * HELD)         /* the next chunk hears that word whole */
            w.until = (double)end / RS_SAMPLE_RATE - HELD;
    }
    if (!w.final)
        return w;
    const double heard = last_audible(p, (double)w.from / RS_SAMPLE_RATE, (double)end / RS_SAMPLE_RATE);
    const size_t wanted = samples(heard + AFTER);
    w.to = wanted < end ? wanted : end;
    if (!p->o.single_pass) {           /* filled backwards, to a whole frame */
        const size_t back = w.to > chunk ? (w.to - chunk + FRAME - 1) / FRAME * FRAME : 0;
        w.from = back > p->base ? back : p->base;
        w.from = w.from < p->window ? w.from : p->window;
    }
    return w;
}

/* Decodes the window and merges it into `m`; what is new goes to `c`. A failure leaves the window's new part
 * as a gap and gives the words held from before. */
static int window_to_chunk(struct rs_progress *p, const struct plan *w, struct rs_merge *m, struct rs_chunk *c, struct rs_err *e)
{
    const double from = fmax((double)w->from / RS_SAMPLE_RATE, p->worker.covered), to = (double)w->to / RS_SAMPLE_RATE;
    struct rs_tokens *fresh = &p->worker.fresh, *out = &p->worker.out;
    fresh->count = out->count = 0;
    pthread_mutex_lock(&p->lock);
    const bool worth = to > from && believable(p, from, to);
    pthread_mutex_unlock(&p->lock);
    int rc = 0;
    if (worth) {
        rc = decode(p, w->from, w->to, fresh, c, e);
        if (rc == 0) {
            disbelieve(p, fresh);
            rc = search_holes(p, w, m, fresh, c, e);
        }
        if (rc < 0) {
            fresh->count = 0;
            add_gap(c, from, to);
        }
    }
    if (!rs_merge_next(m, &p->asr, fresh, (double)w->from / RS_SAMPLE_RATE, w->until, out))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    c->start = from;
    c->end = fmax(from, fmin(to, w->until));      /* of inserted silence there may be more than was heard */
    const int rc2 = finish(p, c, out, e);
    return rc < 0 ? rc : rc2;
}

/* Drops sound that no later window can reach: the next one may be filled back to this one's start. */
static void advance(struct rs_progress *p, const struct plan *w)
{
    const size_t overlap = samples(p->o.overlap_s), next = w->to > overlap ? (w->to - overlap) / FRAME * FRAME : 0;
    const size_t from = w->from > p->base ? w->from : p->base;
    p->window = next > p->window ? next : p->window;
    if (p->count)                                 /* a recording of nothing has no memory to move */
        memmove(p->audio, p->audio + (from - p->base), (p->count - (from - p->base)) * sizeof *p->audio);
    p->count -= from - p->base;
    p->base = from;
    const size_t hop = from / RS_VAD_HOP < p->hops ? from / RS_VAD_HOP : p->hops;
    if (hop > p->hop_base) {
        memmove(p->prob, p->prob + (hop - p->hop_base), (p->hops - hop) * sizeof *p->prob);
        p->hop_base = hop;
    }
    p->cut = p->cut && !w->cut;
    p->finished = w->final;
}

static bool append_text(struct rs_progress *p, const char *text)
{
    const size_t n = text ? strlen(text) : 0;
    if (n == 0)
        return true;
    if (!rs_grow((void **)&p->text, &p->text_cap, p->text_len + n + 2, 1))
        return false;
    if (p->text_len)
        p->text[p->text_len++] = ' ';
    memcpy(p->text + p->text_len, text, n + 1);
    p->text_len += n;
    return true;
}

static void swap_chunks(struct rs_chunk *a, struct rs_chunk *b)
{
    const struct rs_chunk t = *a;
    *a = *b;
    *b = t;
}

int rs_progress_chunk(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e)
{
    const int64_t begun = rs_now_ns();
    clear(out);
    pthread_mutex_lock(&p->lock);
    const struct plan w = plan_window(p, false);
    const double heard = last_audible(p, p->worker.ahead_said, total_s(p));
    pthread_mutex_unlock(&p->lock);
    int rc = 0;
    if (w.final && p->worker.ahead_valid && heard <= p->worker.ahead_said) {
        swap_chunks(out, &p->worker.ahead);
        out->ahead = true;
    } else {
        rc = window_to_chunk(p, &w, &p->worker.merge, out, e);
    }
    p->worker.ahead_valid = false;
    p->worker.covered = fmin((double)w.to / RS_SAMPLE_RATE, w.until);
    p->worker.reported = out->n_gaps ? out->gaps[out->n_gaps - 1].end : p->worker.reported;
    out->final = w.final;
    out->index = p->worker.index++;
    pthread_mutex_lock(&p->lock);
    advance(p, &w);
    p->cost_s = (double)(rs_now_ns() - begun) / 1e9;
    const bool kept = append_text(p, out->text);
    pthread_mutex_unlock(&p->lock);
    out->elapsed_ns = rs_now_ns() - begun;
    return rc < 0 || kept ? rc : rs_fail(e, RS_E_NOMEM, "There is no memory left for text.");
}

int rs_progress_ahead(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e)
{
    const int64_t begun = rs_now_ns();
    struct rs_chunk *c = &p->worker.ahead;
    clear(out);
    clear(c);
    p->worker.ahead_valid = false;
    pthread_mutex_lock(&p->lock);
    const struct plan w = plan_window(p, true);
    const double heard = last_audible(p, (double)w.from / RS_SAMPLE_RATE, total_s(p));
    p->ahead_to = p->speech.last_s;
    pthread_mutex_unlock(&p->lock);
    if (!rs_merge_copy(&p->worker.trial, &p->worker.merge))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    int rc = window_to_chunk(p, &w, &p->worker.trial, c, e);
    if (rc < 0)
        return rc;
    p->worker.ahead_said = heard;
    p->worker.ahead_valid = true;
    const struct rs_tokens said = {.at = c->tokens, .count = c->n_tokens};
    rc = finish(p, out, &said, e);
    out->index = p->worker.index;
    out->audio_ms = c->audio_ms;
    out->times = c->times;
    out->elapsed_ns = rs_now_ns() - begun;
    pthread_mutex_lock(&p->lock);
    p->cost_s = (double)out->elapsed_ns / 1e9;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

const char *rs_progress_text(const struct rs_progress *p) { return p->text; }
