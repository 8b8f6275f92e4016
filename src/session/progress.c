/* See progress.h. The feeder appends sound and its speech probabilities under the lock; the worker copies the
 * window that it decodes, so that nobody waits for the engine.
 *
 * Windows are `chunk` long and begin `overlap` before the end of the one before. Words that begin in the
 * last half of an overlap are held back: the next window hears them whole. That window continues after the
 * last word given, which is found by the longest common subsequence of pieces at about the same time. The
 * last window reaches back over sound that was heard already instead of being padded.
 */
#include "session/progress.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"

#define RATE RS_SAMPLE_RATE
#define HEARD 0.5f            /* probability that counts as speech … */
#define FAINT 0.2f            /* … and as possibly speech: below it nothing is decoded */
#define PAD_S 0.5             /* kept behind the last speech */
#define PAUSE_S 0.35          /* a pause worth looking ahead */
#define HOLE_S 1.5            /* speech so long without a token is decoded again */
#define SAME_S 0.5            /* the same piece in two windows begins within this */

struct tokens { struct rs_token *t; size_t count, cap; };

struct rs_progress {
    struct rs_progress_options o;
    struct rs_vad *vad;
    struct rs_asr *asr;
    pthread_mutex_t lock;

    /* under the lock */
    float *audio, *prob;                  /* from sample `base` on; a probability for each hop of the session */
    size_t count, cap, base, hops, prob_cap;
    size_t window_end;                    /* where the last chunk's window ended */
    bool ended, cut, finished, attached;
    double first_heard, last_heard, last_faint;   /* ends of hops in seconds; -1: never */

    /* the worker's */
    float *window;
    size_t window_cap;
    struct rs_transcript transcript;
    struct tokens fresh, given, ahead;    /* session times; given: those that a later window may hear again */
    double given_until;                   /* words that begin before this were decided on */
    double ahead_faint;                   /* what was heard when the look ahead was made; -1: none */
    size_t ahead_window;
    char *text;
    size_t text_len, text_cap;
    int index;
};

static double seconds(size_t samples) { return (double)samples / RATE; }
static size_t samples(double s) { return s <= 0 ? 0 : (size_t)(s * RATE); }

void rs_chunk_free(struct rs_chunk *c)
{
    free(c->text);
    free(c->tokens);
    free(c->words);
    free(c->gaps);
    *c = (struct rs_chunk){0};
}

int rs_progress_new(struct rs_progress **out, struct rs_vad *vad, const struct rs_progress_options *o, struct rs_err *e)
{
    struct rs_progress *p = *out = rs_zeroed(1, sizeof *p);
    if (!p)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the session.");
    p->o = *o;
    p->vad = vad;
    p->first_heard = p->last_heard = p->last_faint = p->ahead_faint = -1;
    pthread_mutex_init(&p->lock, NULL);
    return 0;
}

void rs_progress_free(struct rs_progress *p)
{
    if (!p)
        return;
    if (p->audio)
        explicit_bzero(p->audio, p->cap * sizeof *p->audio);
    if (p->window)
        explicit_bzero(p->window, p->window_cap * sizeof *p->window);
    free(p->audio);
    free(p->prob);
    free(p->window);
    rs_transcript_free(&p->transcript);
    free(p->fresh.t);
    free(p->given.t);
    free(p->ahead.t);
    free(p->text);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void rs_progress_attach(struct rs_progress *p, struct rs_asr *asr)
{
    pthread_mutex_lock(&p->lock);
    p->asr = asr;
    p->attached = true;
    pthread_mutex_unlock(&p->lock);
}

/* ---- The feeder's side ---- */

static size_t total(const struct rs_progress *p) { return p->base + p->count; }

static void hear(struct rs_progress *p, const float *pcm, size_t n)
{
    const size_t fresh = rs_vad_feed(p->vad, pcm, n, p->prob + p->hops);
    for (size_t i = 0; i < fresh; i++) {
        const float v = p->prob[p->hops++];
        const double at = seconds(p->hops * RS_VAD_HOP);
        if (v >= FAINT)
            p->last_faint = at;
        if (v < HEARD)
            continue;
        p->last_heard = at;
        if (p->first_heard < 0)
            p->first_heard = at - seconds(RS_VAD_HOP);
    }
}

int rs_progress_feed(struct rs_progress *p, const float *pcm, size_t n, struct rs_err *e)
{
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    if (p->o.max_backlog_s && total(p) - p->window_end + n > p->o.max_backlog_s * RATE)
        rc = rs_fail(e, RS_E_BACKPRESSURE, "Transcription is %zu s behind.", p->o.max_backlog_s);
    else if (!rs_grow((void **)&p->audio, &p->cap, p->count + n, sizeof *p->audio) ||
             !rs_grow((void **)&p->prob, &p->prob_cap, p->hops + n / RS_VAD_HOP + 2, sizeof *p->prob))
        rc = rs_fail(e, RS_E_NOMEM, "There is no memory to record into.");
    else {
        for (size_t i = 0; i < n; i++)
            p->audio[p->count + i] = isfinite(pcm[i]) ? pcm[i] : 0;
        hear(p, p->audio + p->count, n);
        p->count += n;
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void set_flag(struct rs_progress *p, bool *flag)
{
    pthread_mutex_lock(&p->lock);
    *flag = true;
    pthread_mutex_unlock(&p->lock);
}

void rs_progress_end(struct rs_progress *p) { set_flag(p, &p->ended); }
void rs_progress_cut(struct rs_progress *p) { set_flag(p, &p->cut); }

void rs_progress_speech(struct rs_progress *p, struct rs_speech_state *s)
{
    pthread_mutex_lock(&p->lock);
    const double now = seconds(total(p));
    *s = (struct rs_speech_state){.audio_s = now, .any = p->first_heard >= 0, .first_s = p->first_heard, .last_s = p->last_heard,
                                  .speaking = p->last_heard >= 0 && now - p->last_heard < 0.2};
    pthread_mutex_unlock(&p->lock);
}

/* ---- When to decode ---- */

static size_t overlap(const struct rs_progress *p) { return samples(p->o.overlap_s); }

/* Where the next full window begins and ends. */
static size_t next_begin(const struct rs_progress *p) { return p->window_end > overlap(p) ? p->window_end - overlap(p) : 0; }
static size_t next_end(const struct rs_progress *p) { return next_begin(p) + samples(p->o.chunk_s); }

static bool due(const struct rs_progress *p)
{
    return p->attached && !p->finished && (p->ended || (!p->o.single_pass && (p->cut || total(p) >= next_end(p))));
}

bool rs_progress_due(struct rs_progress *p)
{
    pthread_mutex_lock(&p->lock);
    const bool d = due(p);
    pthread_mutex_unlock(&p->lock);
    return d;
}

bool rs_progress_finished(struct rs_progress *p)
{
    pthread_mutex_lock(&p->lock);
    const bool f = p->finished;
    pthread_mutex_unlock(&p->lock);
    return f;
}

bool rs_progress_wants_ahead(struct rs_progress *p)
{
    pthread_mutex_lock(&p->lock);
    const bool pause = p->last_heard >= 0 && seconds(total(p)) - p->last_heard >= PAUSE_S;
    const bool w = p->attached && !p->ended && !p->o.single_pass && pause && !due(p) && p->last_faint > p->given_until &&
                   p->last_faint != p->ahead_faint;
    pthread_mutex_unlock(&p->lock);
    return w;
}

const char *rs_progress_text(const struct rs_progress *p) { return p->text ? p->text : ""; }

/* ---- Decoding a window ---- */

static bool append(struct tokens *to, const struct rs_token *t, size_t n)
{
    if (!rs_grow((void **)&to->t, &to->cap, to->count + n, sizeof *t))
        return false;
    if (n)
        memcpy(to->t + to->count, t, n * sizeof *t);
    to->count += n;
    return true;
}

/* Decodes samples [from, to) of the session; the tokens in p->transcript get session times. */
static int decode(struct rs_progress *p, size_t from, size_t to, struct rs_stage_times *times, struct rs_err *e)
{
    pthread_mutex_lock(&p->lock);
    const bool room = rs_grow((void **)&p->window, &p->window_cap, to - from + 1, sizeof *p->window);
    if (room && to > from)
        memcpy(p->window, p->audio + (from - p->base), (to - from) * sizeof *p->window);
    pthread_mutex_unlock(&p->lock);
    if (!room)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
    const int rc = rs_asr_run(p->asr, p->window, to - from, &p->transcript, e);
    times->features_ns += p->transcript.times.features_ns;
    times->encoder_ns += p->transcript.times.encoder_ns;
    times->decoder_ns += p->transcript.times.decoder_ns;
    for (size_t i = 0; !rc && i < p->transcript.count; i++) {
        p->transcript.tokens[i].start += (float)seconds(from);
        p->transcript.tokens[i].end += (float)seconds(from);
    }
    return rc;
}

static bool starts_word(const struct rs_progress *p, const struct rs_token *t) { return rs_asr_starts_word(p->asr, t->id); }

/* The first token of the word that `i` belongs to, and the one behind its last. */
static size_t word_begin(const struct rs_progress *p, const struct tokens *t, size_t i)
{
    while (i > 0 && !starts_word(p, &t->t[i]))
        i--;
    return i;
}

static size_t word_end(const struct rs_progress *p, const struct tokens *t, size_t i)
{
    for (i++; i < t->count && !starts_word(p, &t->t[i]); i++)
        ;
    return i;
}

/* Whether the word at `at` is the last one given, spelt with other pieces: the same letters within two frames. */
static bool given_already(const struct rs_progress *p, const struct tokens *now, size_t at)
{
    const struct tokens *g = &p->given;
    char a[128], b[128];
    if (!g->count || at >= now->count)
        return false;
    const size_t from = word_begin(p, g, g->count - 1), end = word_end(p, now, at);
    if (fabsf(g->t[from].start - now->t[at].start) > 0.17f)
        return false;
    rs_asr_text(p->asr, g->t + from, g->count - from, a, sizeof a);
    rs_asr_text(p->asr, now->t + at, end - at, b, sizeof b);
    return strcasecmp(a, b) == 0;
}

/* The place in `now` after everything that `given` already has: behind the last pair of the longest common
 * subsequence, or, where the two have nothing in common, at the time where the last chunk stopped giving. */
static size_t continue_at(const struct rs_progress *p, const struct tokens *now)
{
    const struct tokens *g = &p->given;
    const size_t rows = g->count + 1, columns = now->count + 1;
    size_t at = 0, size;
    uint16_t *best = rs_mul_ok(rows, columns, &size) ? rs_zeroed(size, sizeof *best) : NULL;
    for (size_t i = 1; best && i < rows; i++)
        for (size_t k = 1; k < columns; k++) {
            const struct rs_token *a = &g->t[i - 1], *b = &now->t[k - 1];
            const bool same = fabsf(a->start - b->start) <= (float)SAME_S && rs_asr_same_piece(p->asr, a->id, b->id);
            const uint16_t up = best[(i - 1) * columns + k], left = best[i * columns + k - 1];
            best[i * columns + k] = same ? (uint16_t)(best[(i - 1) * columns + k - 1] + 1) : up > left ? up : left;
        }
    /* the smallest prefix of `now` that holds the whole subsequence ends with its last pair */
    if (best && best[size - 1])
        while (best[(rows - 1) * columns + at] < best[size - 1])
            at++;
    free(best);
    /* what begins before the last given word ends is that word, heard differently */
    const double last = g->count ? g->t[g->count - 1].end - 0.04 : 0;
    while (at < now->count && (now->t[at].start < p->given_until || now->t[at].start < last))
        at++;
    while (at < now->count && g->count && !starts_word(p, &now->t[at]))
        at++;                                             /* the rest of a word that was given */
    return given_already(p, now, at) ? word_end(p, now, at) : at;
}

/* Words that begin at `limit` or later are left to the next window: the number of tokens before them. */
static size_t hold_back(const struct rs_progress *p, const struct tokens *now, size_t from, double limit)
{
    for (size_t i = from; i < now->count; i++)
        if (now->t[i].start >= limit && starts_word(p, &now->t[i]))
            return i;
    return now->count;
}

/* ---- Holes: speech that gave no tokens ---- */

static bool has_token(const struct tokens *t, double from, double to)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->t[i].end > from - 0.3 && t->t[i].start < to + 0.3)
            return true;
    return false;
}

/* The first stretch of speech after `from` that is long enough and has no token. */
static bool find_hole(struct rs_progress *p, double from, double to, struct rs_gap *hole)
{
    const double hop = seconds(RS_VAD_HOP);
    bool found = false;
    double begin = -1;
    pthread_mutex_lock(&p->lock);
    for (size_t h = (size_t)(from / hop); !found && h <= p->hops && (double)h * hop <= to; h++) {
        const double at = (double)h * hop;
        const bool open = h < p->hops && at + hop <= to && p->prob[h] >= HEARD && !has_token(&p->fresh, at + 0.3, at + hop - 0.3) &&
                          !has_token(&p->given, at + 0.3, at + hop - 0.3);
        if (open && begin < 0)
            begin = at;
        if (!open && begin >= 0) {
            found = at - begin >= HOLE_S;
            *hole = (struct rs_gap){begin, at};
            begin = -1;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Puts the words of the transcript that begin inside the hole where they belong in time. */
static bool fill_hole(struct rs_progress *p, const struct rs_gap *hole)
{
    const struct rs_transcript *t = &p->transcript;
    size_t a = 0, b, at = 0;
    while (a < t->count && (t->tokens[a].start < hole->start - 0.1 || !starts_word(p, &t->tokens[a])))
        a++;
    for (b = a; b < t->count && (t->tokens[b].start < hole->end || !starts_word(p, &t->tokens[b])); b++)
        ;
    while (at < p->fresh.count && p->fresh.t[at].start < hole->start)
        at++;
    if (b == a)
        return true;
    if (!append(&p->fresh, &t->tokens[a], b - a))
        return false;
    memmove(p->fresh.t + at + (b - a), p->fresh.t + at, (p->fresh.count - (b - a) - at) * sizeof *p->fresh.t);
    memcpy(p->fresh.t + at, &t->tokens[a], (b - a) * sizeof *p->fresh.t);
    return true;
}

static int search_holes(struct rs_progress *p, double from, size_t end, struct rs_chunk *out, struct rs_err *e)
{
    struct rs_gap hole;
    size_t cap = 0;
    free(out->gaps);
    out->gaps = NULL;
    while (find_hole(p, from, seconds(end), &hole)) {
        const size_t begin = samples(hole.start - 0.1) > p->base ? samples(hole.start - 0.1) : p->base;
        const size_t before = p->fresh.count;
        const int rc = decode(p, begin, end, &out->times, e);
        if (rc)
            return rc;
        if (!fill_hole(p, &hole))
            return rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
        if (p->fresh.count == before) {
            if (!rs_grow((void **)&out->gaps, &cap, out->n_gaps + 1, sizeof hole))
                return rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
            out->gaps[out->n_gaps++] = hole;
        }
        from = hole.end;
    }
    return 0;
}

/* ---- Giving ---- */

static int fill_text(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e)
{
    const size_t n = rs_asr_text(p->asr, out->tokens, out->n_tokens, NULL, 0);
    char *text = realloc(out->text, n + 1);
    if (!text)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk's text.");
    out->text = text;
    rs_asr_text(p->asr, out->tokens, out->n_tokens, text, n + 1);
    const size_t lead = strspn(text, " ");
    memmove(text, text + lead, n - lead + 1);
    free(out->words);
    out->words = NULL;
    out->n_words = 0;
    return rs_asr_words(p->asr, out->tokens, out->n_tokens, &out->words, &out->n_words, e);
}

/* The tokens [from, to) of p->fresh as the chunk's own. */
static int give(struct rs_progress *p, struct rs_chunk *out, size_t from, size_t to, struct rs_err *e)
{
    double sum = 0;
    out->n_tokens = 0;
    if (!rs_grow((void **)&out->tokens, &out->cap_tokens, to - from, sizeof *out->tokens))
        return rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
    for (size_t i = from; i < to; i++) {
        out->tokens[out->n_tokens++] = p->fresh.t[i];
        sum += p->fresh.t[i].confidence;
    }
    out->confidence = out->n_tokens ? sum / (double)out->n_tokens : 0;
    return fill_text(p, out, e);
}

static bool remember_text(struct rs_progress *p, const char *text)
{
    const size_t n = strlen(text);
    if (!n)
        return true;
    if (!rs_grow((void **)&p->text, &p->text_cap, p->text_len + n + 2, 1))
        return false;
    if (p->text_len)
        p->text[p->text_len++] = ' ';
    memcpy(p->text + p->text_len, text, n + 1);
    p->text_len += n;
    return true;
}

/* Forgets given tokens and sound that no later window hears. */
static void forget(struct rs_progress *p, size_t window_end)
{
    const size_t kept = samples(p->o.chunk_s), from = window_end > kept ? window_end - kept : 0;
    size_t old = 0;
    while (old < p->given.count && p->given.t[old].start < seconds(from))
        old++;
    if (old)
        memmove(p->given.t, p->given.t + old, (p->given.count - old) * sizeof *p->given.t);
    p->given.count -= old;
    pthread_mutex_lock(&p->lock);
    if (from > p->base && !p->o.single_pass) {
        memmove(p->audio, p->audio + (from - p->base), (p->count - (from - p->base)) * sizeof *p->audio);
        p->count -= from - p->base;
        p->base = from;
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- The worker's side ---- */

struct plan { size_t from, to, end; bool final, cut, silent; double faint; };

/* What the next chunk's window is. The last one reaches back, and ends soon after the last speech. */
static struct plan plan(struct rs_progress *p, bool ahead)
{
    pthread_mutex_lock(&p->lock);
    struct plan w = {.from = next_begin(p), .to = next_end(p), .end = total(p), .faint = p->last_faint};
    w.final = ahead || (p->ended && (p->o.single_pass || w.end <= w.to));
    w.cut = !w.final && w.to > w.end;
    p->cut = w.final || !w.cut ? p->cut : false;
    if (w.final || w.cut) {
        const size_t heard = samples(p->last_faint + PAD_S), back = samples(p->o.chunk_s);
        w.to = w.final && heard < w.end ? heard : w.end;
        if (!p->o.single_pass)
            w.from = w.to > back ? w.to - back : 0;
        w.from = w.from < p->base ? p->base : w.from;
        w.to = w.to < w.from ? w.from : w.to;
    }
    w.silent = p->last_faint <= p->given_until;
    for (size_t h = samples(p->given_until) / RS_VAD_HOP; !w.silent; h++)
        if (h >= p->hops || (h + 1) * RS_VAD_HOP > w.to + RS_VAD_HOP)
            w.silent = true;
        else if (p->prob[h] >= FAINT)
            break;
    pthread_mutex_unlock(&p->lock);
    return w;
}

/* Fills p->fresh with the window's tokens; those that were given before are still in it. */
static int listen(struct rs_progress *p, const struct plan *w, struct rs_chunk *out, struct rs_err *e)
{
    p->fresh.count = 0;
    out->n_gaps = 0;
    if (w->silent)
        return 0;
    out->audio_ms = seconds(w->to - w->from) * 1000;
    int rc = decode(p, w->from, w->to, &out->times, e);
    if (!rc && !append(&p->fresh, p->transcript.tokens, p->transcript.count))
        rc = rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
    const double from = fmax(p->given_until, seconds(w->from));
    return rc ? rc : search_holes(p, from, w->to, out, e);
}

static void clear(struct rs_chunk *out, int index)
{
    out->index = index;
    out->final = out->ahead = false;
    out->n_tokens = out->n_words = out->n_gaps = 0;
    out->confidence = out->audio_ms = 0;
    out->times = (struct rs_stage_times){0};
    if (out->text)
        out->text[0] = 0;
}

/* A chunk that could not be decoded: its new span is a gap. */
static void lose(struct rs_progress *p, const struct plan *w, struct rs_chunk *out)
{
    size_t cap = 0;
    out->n_tokens = out->n_words = out->n_gaps = 0;
    free(out->gaps);
    out->gaps = NULL;
    if (seconds(w->end) > p->given_until && rs_grow((void **)&out->gaps, &cap, 1, sizeof *out->gaps))
        out->gaps[out->n_gaps++] = (struct rs_gap){p->given_until, seconds(w->final ? w->end : w->to)};
}

static int merge(struct rs_progress *p, const struct plan *w, double limit, struct rs_chunk *out, struct rs_err *e)
{
    const size_t from = continue_at(p, &p->fresh), to = w->final || w->cut ? p->fresh.count : hold_back(p, &p->fresh, from, limit);
    const int rc = give(p, out, from, to, e);
    if (!rc && (!append(&p->given, out->tokens, out->n_tokens) || !remember_text(p, out->text)))
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the text.");
    return rc;
}

int rs_progress_chunk(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e)
{
    const int64_t begun = rs_now_ns();
    const struct plan w = plan(p, false);
    const double limit = seconds(w.final ? w.end : w.cut ? w.to : w.to - overlap(p) / 2);
    int rc = 0;
    clear(out, p->index++);
    out->final = w.final;
    out->ahead = w.final && p->ahead_faint >= 0 && p->ahead_faint == w.faint && p->ahead_window == p->window_end;
    if (out->ahead) {
        p->fresh.count = 0;
        rc = append(&p->fresh, p->ahead.t, p->ahead.count) ? 0 : rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
    } else {
        rc = listen(p, &w, out, e);
    }
    rc = rc ? rc : merge(p, &w, limit, out, e);
    if (rc)
        lose(p, &w, out);
    out->start = p->given_until;
    out->end = fmax(limit, p->given_until);
    pthread_mutex_lock(&p->lock);
    p->given_until = out->end;
    p->window_end = w.final ? w.end : w.to;
    p->finished = w.final;
    pthread_mutex_unlock(&p->lock);
    forget(p, p->window_end);
    out->elapsed_ns = rs_now_ns() - begun;
    return rc;
}

int rs_progress_ahead(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e)
{
    const int64_t begun = rs_now_ns();
    const struct plan w = plan(p, true);
    clear(out, p->index);
    int rc = listen(p, &w, out, e);
    p->ahead.count = 0;
    if (!rc && !append(&p->ahead, p->fresh.t, p->fresh.count))
        rc = rs_fail(e, RS_E_NOMEM, "There is no memory for a chunk.");
    /* also after a failure: the same sound is not tried twice */
    pthread_mutex_lock(&p->lock);
    p->ahead_faint = w.faint;
    p->ahead_window = rc || out->n_gaps ? SIZE_MAX : p->window_end;
    pthread_mutex_unlock(&p->lock);
    rc = rc ? rc : give(p, out, continue_at(p, &p->fresh), p->fresh.count, e);
    out->start = p->given_until;
    out->end = seconds(w.to);
    out->elapsed_ns = rs_now_ns() - begun;
    return rc;
}
