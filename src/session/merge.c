/* See merge.h. A word's place is where its tokens were emitted: start and end times of the decoders differ
 * in convention (CTC's spans begin at the token before), emission frames do not. */
#include "session/merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

static const double SAME_PLACE = 0.6;     /* seconds by which two hearings of one word may lie apart */
static const double FRAGMENT = 0.12;      /* a window's first word so soon after the last given one is its rest */
static const double JITTER = 0.1;         /* seconds by which two windows may emit a token apart */
static const double CUT = 0.4;            /* seconds from a window's begin in which the rest of a word is made out */
static const double LONG_WORD = 0.8;      /* seconds that a word may last */
static const double REACH = 40;           /* seconds of given words that are remembered */
static const double NEAR = 0.2;           /* seconds: nearer than this, two hearings are of one sound */
static const double OVERLAPS = 0.3;       /* share of a held word that a new one must cover to stand for it */

struct span { size_t first, n; double from, last, to; }; /* a word: tokens; seconds of the first, the last, its end */
struct spans { struct span *at; size_t count; };

bool rs_tokens_add(struct rs_tokens *t, const struct rs_token *from, size_t n)
{
    if (!rs_grow((void **)&t->at, &t->cap, t->count + n, sizeof *t->at))
        return false;
    if (n)
        memcpy(t->at + t->count, from, n * sizeof *from);
    t->count += n;
    return true;
}

void rs_merge_free(struct rs_merge *m)
{
    free(m->given.at);
    free(m->held.at);
    *m = (struct rs_merge){0};
}

bool rs_merge_copy(struct rs_merge *to, const struct rs_merge *from)
{
    to->given.count = to->held.count = 0;
    return rs_tokens_add(&to->given, from->given.at, from->given.count) &&
           rs_tokens_add(&to->held, from->held.at, from->held.count);
}

static bool split(const struct rs_recogniser *r, const struct rs_tokens *t, struct spans *out)
{
    out->count = 0;
    out->at = rs_zeroed(t->count, sizeof *out->at);
    if (!out->at)
        return false;
    for (size_t i = 0; i < t->count; i++) {
        if (i == 0 || r->starts_word(r->self, t->at[i].id))
            out->at[out->count++] = (struct span){.first = i, .from = t->at[i].frame * RS_FRAME_S};
        struct span *w = &out->at[out->count - 1];
        w->n++;
        w->last = t->at[i].frame * RS_FRAME_S;
        w->to = fmax((t->at[i].frame + 1) * RS_FRAME_S, fmin((double)t->at[i].end, t->at[i].frame * RS_FRAME_S + 0.6));
    }
    return true;
}

/* The words of two lists that lie one behind the other: none has a part in both. */
static bool behind(const struct spans *a, size_t tokens, const struct spans *b, struct spans *out)
{
    out->count = a->count + b->count;
    out->at = rs_zeroed(out->count, sizeof *out->at);
    for (size_t i = 0; out->at && i < out->count; i++) {
        out->at[i] = i < a->count ? a->at[i] : b->at[i - a->count];
        out->at[i].first += i < a->count ? 0 : tokens;
    }
    return out->at;
}

/* Letters, digits and what lies beyond ASCII, in lower case. */
static void bare(const struct rs_recogniser *r, const struct rs_token *t, size_t n, char *buf, size_t size)
{
    r->text(r->self, t, n, buf, size);
    char *to = buf;
    for (const char *p = buf; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c >= 128 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'))
            *to++ = *p;
        else if (c >= 'A' && c <= 'Z')
            *to++ = (char)(c + 32);
    }
    *to = 0;
}

static bool same_word(const struct rs_recogniser *r, const struct rs_token *a, const struct span *x,
                      const struct rs_token *b, const struct span *y)
{
    if (fabs(x->from - y->from) > SAME_PLACE && fabs(x->to - y->to) > SAME_PLACE)
        return false;
    bool same = x->n == y->n;
    for (size_t i = 0; same && i < x->n; i++)
        same = r->same_piece(r->self, a[x->first + i].id, b[y->first + i].id);
    if (same)
        return true;
    char left[96], right[96];            /* the same word in other pieces, or with a comma more */
    bare(r, a + x->first, x->n, left, sizeof left);
    bare(r, b + y->first, y->n, right, sizeof right);
    return left[0] && strcmp(left, right) == 0;
}

/* Common subsequence of words, a pair of which counts the more the nearer it lies: by number alone, a word that is said again
 * and again would be paired with the next saying of it. twin[i] is old word i's place in the new list, or -1. */
static bool align(const struct rs_recogniser *r, const struct rs_tokens *old, const struct spans *o,
                  const struct rs_tokens *fresh, const struct spans *f, long *twin)
{
    const size_t n = o->count, m = f->count, width = m + 1;
    long *best = rs_zeroed((n + 1) * width, sizeof *best), *paired = rs_zeroed(n * width, sizeof *paired);
    if (!best || !paired) {
        free(best);
        free(paired);
        return false;
    }
    for (size_t i = n; i-- > 0;)
        for (size_t j = m; j-- > 0;) {
            const long skip = best[(i + 1) * width + j] > best[i * width + j + 1] ? best[(i + 1) * width + j]
                                                                                  : best[i * width + j + 1];
            if (same_word(r, old->at, &o->at[i], fresh->at, &f->at[j]))
                paired[i * width + j] = best[(i + 1) * width + j + 1] +
                                        lround(fmax(1, 100 * (SAME_PLACE - fabs(o->at[i].from - f->at[j].from))));
            best[i * width + j] = paired[i * width + j] > skip ? paired[i * width + j] : skip;
        }
    size_t i = 0, j = 0;
    for (size_t k = 0; k < n; k++)
        twin[k] = -1;
    while (i < n && j < m)
        if (paired[i * width + j] > 0 && best[i * width + j] == paired[i * width + j])
            twin[i++] = (long)j++;
        else if (best[(i + 1) * width + j] >= best[i * width + j + 1])
            i++;
        else
            j++;
    free(best);
    free(paired);
    return true;
}

static double middle(const struct span *w) { return (w->from + w->to) / 2; }

/* How many of the first words of a window that begins at `begin` seconds are the rest of a word that it cuts: nobody
 * heard them before, and a word begun shortly before the window was heard whole. */
static size_t cut_words(const struct spans *o, const struct spans *f, const long *twin, double begin)
{
    bool cuts = false;
    size_t known = f->count, n = 0;
    for (size_t i = o->count; i-- > 0;) {
        cuts = cuts || (o->at[i].from < begin && o->at[i].from > begin - LONG_WORD);
        known = twin[i] >= 0 ? (size_t)twin[i] : known;
    }
    while (cuts && n < known && f->at[n].from < begin + CUT)
        n++;
    return n;
}

/* The first new word, from `first` on, that follows the `given` words at the front of the old list: behind the last
 * given word's twin; where that has none, what lies behind its end, but not behind the first held word's twin. */
static size_t continuation(const struct spans *o, size_t given, const struct spans *f, size_t first, const long *twin)
{
    size_t next = first, limit = f->count;
    if (given == 0)
        return first;
    for (size_t i = 0; i < given; i++)
        if (twin[i] >= 0)
            next = (size_t)twin[i] + 1;
    for (size_t i = o->count; i-- > given;)
        if (twin[i] >= 0)
            limit = (size_t)twin[i];
    if (twin[given - 1] >= 0)
        return next;
    const struct span *end = &o->at[given - 1];
    while (next < limit && (middle(&f->at[next]) < end->to + (next ? 0 : FRAGMENT) || f->at[next].from < end->last - JITTER))
        next++;
    return next;
}

/* True when one of the new words from `next` on stands for the held word. */
static bool covered(const struct span *held, const struct spans *f, size_t next)
{
    for (size_t j = next; j < f->count; j++) {
        const double from = fmax(held->from, f->at[j].from), to = fmin(held->to, f->at[j].to);
        if (to - from >= OVERLAPS * (held->to - held->from) || fabs(middle(held) - middle(&f->at[j])) < NEAR ||
            fabs(held->from - f->at[j].from) < NEAR)
            return true;
    }
    return false;
}

/* The words to come: the new ones from `next` on and, in their places, held ones that nothing stands for. */
static bool join(const struct rs_tokens *old, const struct spans *o, size_t given, const struct rs_tokens *fresh,
                 const struct spans *f, size_t next, const long *twin, struct rs_tokens *out)
{
    size_t j = next;
    for (size_t i = given; i < o->count; i++) {
        const struct span *h = &o->at[i];
        if (twin[i] >= (long)next || covered(h, f, next))
            continue;
        for (; j < f->count && f->at[j].from < h->from; j++)
            if (!rs_tokens_add(out, fresh->at + f->at[j].first, f->at[j].n))
                return false;
        if (!rs_tokens_add(out, old->at + h->first, h->n))
            return false;
    }
    for (; j < f->count; j++)
        if (!rs_tokens_add(out, fresh->at + f->at[j].first, f->at[j].n))
            return false;
    return true;
}

/* Later tokens never begin before earlier ones; the order is never changed. */
static void settle_times(const struct rs_tokens *given, struct rs_tokens *t)
{
    float least = given->count ? given->at[given->count - 1].start : 0;
    int frame = given->count ? given->at[given->count - 1].frame : 0;
    for (size_t i = 0; i < t->count; i++) {
        struct rs_token *k = &t->at[i];
        k->start = k->start < least ? least : k->start;
        k->end = k->end < k->start ? k->start : k->end;
        k->frame = k->frame < frame ? frame : k->frame;
        least = k->start;
        frame = k->frame;
    }
}

static void forget(struct rs_tokens *given)
{
    size_t old = 0;
    if (given->count == 0)
        return;
    const double now = given->at[given->count - 1].frame * RS_FRAME_S;
    while (old < given->count && given->at[old].frame * RS_FRAME_S < now - REACH)
        old++;
    memmove(given->at, given->at + old, (given->count - old) * sizeof *given->at);
    given->count -= old;
}

/* Gives the words of `coming` that end by `until`, holds the rest. */
static bool deliver(struct rs_merge *m, const struct rs_recogniser *r, const struct rs_tokens *coming, double until,
                    struct rs_tokens *out)
{
    struct spans w;
    struct rs_tokens rest = {0};
    if (!split(r, coming, &w))
        return false;
    size_t k = 0;
    while (k < w.count && w.at[k].to <= until)
        k++;
    const size_t cut = k < w.count ? w.at[k].first : coming->count;
    const bool ok = rs_tokens_add(&rest, coming->at + cut, coming->count - cut) && rs_tokens_add(out, coming->at, cut) &&
                    rs_tokens_add(&m->given, coming->at, cut);
    free(w.at);
    if (!ok) {
        free(rest.at);
        return false;
    }
    free(m->held.at);
    m->held = rest;
    forget(&m->given);
    return true;
}

bool rs_merge_next(struct rs_merge *m, const struct rs_recogniser *r, const struct rs_tokens *fresh, double begin,
                   double until, struct rs_tokens *out)
{
    struct rs_tokens old = {0}, coming = {0};
    struct spans o = {0}, f = {0}, g = {0}, h = {0};
    bool ok = rs_tokens_add(&old, m->given.at, m->given.count) && rs_tokens_add(&old, m->held.at, m->held.count) &&
              split(r, &m->given, &g) && split(r, &m->held, &h) && behind(&g, m->given.count, &h, &o) && split(r, fresh, &f);
    long *twin = ok ? rs_zeroed(o.count, sizeof *twin) : NULL;
    ok = ok && twin && align(r, &old, &o, fresh, &f, twin);
    if (ok) {
        const size_t first = cut_words(&o, &f, twin, begin), next = continuation(&o, g.count, &f, first, twin);
        ok = join(&old, &o, g.count, fresh, &f, next, twin, &coming);
    }
    if (ok) {
        settle_times(&m->given, &coming);
        ok = deliver(m, r, &coming, until, out);
    }
    free(twin);
    free(o.at);
    free(f.at);
    free(g.at);
    free(h.at);
    free(old.at);
    free(coming.at);
    return ok;
}
