/* The chunker and the merge against a scripted recogniser: a world of words at known times, decoded with
 * the errors that real decoders make near a window's edges. A sample's value is its place in the session,
 * so that the recogniser knows what it hears; the detector here is told by the world, too. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "session/progress.h"

enum { MAX_WORDS = 40000, GARBAGE = 99999 };
static struct { double from, to; int id; } world[MAX_WORDS];
static int n_words;
static double world_s;
static unsigned seed;
static int errors_per_mille, deaf_from = -1, deaf_to = -1, fail_run = -1, runs;
static bool stutters;                            /* says every third word twice, a frame apart */
static double hole_from = -1, hole_to = -1;      /* decoded empty unless a window begins near it */

static double rnd(void)
{
    seed = seed * 1103515245u + 12345u;
    return (double)(seed >> 8 & 0xffff) / 65536;
}

/* --- the detector */
struct rs_vad { size_t at, rest; };
size_t rs_vad_feed(struct rs_vad *v, const float *pcm, size_t n, float *prob)
{
    (void)pcm;
    size_t k = 0;
    for (v->rest += n; v->rest >= RS_VAD_HOP; v->rest -= RS_VAD_HOP, v->at++) {
        static int w;
        const double t = ((double)v->at + 0.5) * RS_VAD_HOP / RS_SAMPLE_RATE;
        if (v->at == 0)
            w = 0;
        while (w < n_words && world[w].to + 0.05 < t)
            w++;
        prob[k++] = w < n_words && t > world[w].from - 0.05 ? 0.95f : 0.02f;
    }
    return k;
}

/* --- the recogniser */
static void say(struct rs_transcript *t, int id, double at, double end, double origin)
{
    if (t->count == t->cap)
        t->tokens = realloc(t->tokens, (t->cap = t->cap ? 2 * t->cap : 64) * sizeof *t->tokens);
    t->tokens[t->count++] = (struct rs_token){.id = id, .frame = (int)((at - origin) / RS_FRAME_S), .duration = 1,
                                              .start = (float)(at - origin), .end = (float)(end - origin), .confidence = 0.9f};
}

static int run(void *self, const float *pcm, size_t n, struct rs_transcript *t, struct rs_err *e)
{
    (void)self;
    t->count = 0;
    if (runs++ == fail_run)
        return rs_fail(e, RS_E_TRANSCRIBE, "told to fail");
    if (n == 0)
        return 0;
    const double from = (double)llround((double)pcm[0] * 16777216.0) / RS_SAMPLE_RATE, to = from + (double)n / RS_SAMPLE_RATE;
    int before = -1;
    for (int i = 0; i < n_words; i++) {
        if (world[i].to <= from || world[i].from >= to || (i >= deaf_from && i < deaf_to))
            continue;
        if (world[i].from >= hole_from && world[i].to <= hole_to && from < hole_from - 1)
            continue;
        const double jitter = (rnd() - 0.5) * 0.16;
        double at = world[i].from + jitter < from ? from : world[i].from + jitter;
        const int cut = world[i].from < from - 0.02 || world[i].to > to + 0.02;
        const int near = (from > 0.01 && world[i].from < from + 0.4) || (to < world_s - 0.01 && world[i].to > to - 0.2);
        int id = world[i].id;
        if (cut && rnd() < 0.4)
            continue;
        if (errors_per_mille && world[i].from < from - 0.02)     /* the rest of a word is made out late */
            at = from + rnd() * fmin(0.38, world[i].to - from);
        if (cut || (near && rnd() * 1000 < errors_per_mille))
            id = GARBAGE + (int)(rnd() * 50);
        if (before >= 0 && (int)((at - from) / RS_FRAME_S) < before)
            id = id == GARBAGE ? GARBAGE : id;
        const double guess = errors_per_mille ? rnd() * 0.5 : 0;   /* of the word's end */
        say(t, id, at, world[i].to - guess * (world[i].to - at), from);
        if (stutters && i % 3 == 0)
            say(t, id, at + RS_FRAME_S, world[i].to, from);
        before = t->tokens[t->count - 1].frame;
    }
    return 0;
}
static bool starts(const void *s, int id) { (void)s; return id >= 0; }
static bool same(const void *s, int a, int b) { (void)s; return a == b; }
static size_t text(const void *s, const struct rs_token *t, size_t n, char *buf, size_t size)
{
    (void)s;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        char w[24];
        const int k = snprintf(w, sizeof w, "%sw%d", i ? " " : "", t[i].id);
        for (int j = 0; j < k; j++, at++)
            if (at + 1 < size)
                buf[at] = w[j];
    }
    if (size)
        buf[at < size ? at : size - 1] = 0;
    return at;
}
static int words(const void *s, const struct rs_token *t, size_t n, struct rs_word **w, size_t *k, struct rs_err *e)
{
    (void)s, (void)t, (void)n, (void)e;
    *w = NULL;
    *k = 0;
    return 0;
}
static const struct rs_recogniser fake = {NULL, run, starts, same, text, words};

/* --- the world */
static void make_world(unsigned s, double seconds, double pause_share)
{
    seed = s;
    n_words = 0;
    world_s = seconds;
    for (double t = 0.3 + rnd(); t < seconds - 0.8 && n_words < MAX_WORDS;) {
        const double d = 0.12 + 0.5 * rnd();
        world[n_words].from = t;
        world[n_words].to = t + d;
        /* in 3,136 recordings nobody said a word again within three frames */
        const bool again = n_words && rnd() < 0.05 && t - world[n_words - 1].from > 0.32;
        world[n_words].id = again ? world[n_words - 1].id : (int)(rnd() * 300);
        n_words++;
        t += d + (rnd() < pause_share ? 0.5 + 3 * rnd() : 0.02 + 0.1 * rnd());
    }
}

struct result { int lost, added, chunks, gaps, errors; bool joined; size_t peak; };       /* joined: texts, times and gaps follow each other */

static void count_edits(const int *got, int n, struct result *r)
{
    int (*d)[2] = malloc(sizeof *d * (size_t)(n + 1));      /* errors, of them lost */
    for (int j = 0; j <= n; j++)
        d[j][0] = j, d[j][1] = 0;
    for (int i = 1; i <= n_words; i++) {
        int corner[2] = {d[0][0], d[0][1]};
        d[0][0] = i, d[0][1] = i;
        for (int j = 1; j <= n; j++) {
            const int keep[2] = {d[j][0], d[j][1]};
            int best[2] = {corner[0] + (world[i - 1].id != got[j - 1]), corner[1] + (world[i - 1].id != got[j - 1])};
            if (d[j - 1][0] + 1 < best[0])
                best[0] = d[j - 1][0] + 1, best[1] = d[j - 1][1];
            if (keep[0] + 1 < best[0])
                best[0] = keep[0] + 1, best[1] = keep[1] + 1;
            corner[0] = keep[0], corner[1] = keep[1];
            d[j][0] = best[0], d[j][1] = best[1];
        }
    }
    r->lost = d[n][1];
    r->added = d[n][0] - d[n][1];
    free(d);
}

/* Feeds the world in steps; looks ahead where the chunker wants it and `ahead` allows. */
static struct result record(double chunk, double overlap, size_t step, bool ahead, double cut_at)
{
    const struct rs_progress_options o = {.chunk_s = chunk, .overlap_s = overlap, .max_backlog_s = 120};
    struct rs_vad vad = {0};
    struct rs_progress *p = NULL;
    struct rs_err e = {0};
    struct rs_chunk c = {0}, a = {0};
    struct result r = {.joined = true};
    char *joined = calloc(1, 1 << 20);
    int *got = malloc(sizeof *got * 2 * MAX_WORDS), n = 0;
    float *pcm = malloc(step * sizeof *pcm);
    CHECK_INT(rs_progress_new(&p, &vad, &o, &e), 0);
    rs_progress_attach_recogniser(p, &fake);
    const size_t total = (size_t)(world_s * RS_SAMPLE_RATE);
    bool was_cut = false;
    float last = -1;
    double told = 0;
    for (size_t at = 0; !rs_progress_finished(p);) {
        const size_t now = total - at < step ? total - at : step;
        for (size_t i = 0; i < now; i++)
            pcm[i] = (float)((double)(at + i) / 16777216.0);
        if (now && rs_progress_feed(p, pcm, now, &e))
            r.errors++;
        at += now;
        if (at == total)
            rs_progress_end(p);
        if (cut_at > 0 && !was_cut && (double)at / RS_SAMPLE_RATE >= cut_at) {
            rs_progress_cut(p);
            was_cut = true;
        }
        if (ahead && rs_progress_wants_ahead(p))
            CHECK_INT(rs_progress_ahead(p, &a, &e), 0);
        while (rs_progress_due(p)) {
            e = (struct rs_err){0};
            r.errors += rs_progress_chunk(p, &c, &e) != 0;
            CHECK_INT(c.index, r.chunks);
            r.chunks++;
            for (size_t i = 0; i < c.n_gaps; i++) {
                r.joined = r.joined && c.gaps[i].start >= told - 1e-6 && c.gaps[i].end > c.gaps[i].start;
                told = c.gaps[i].end;
                r.gaps++;
            }
            for (size_t i = 0; i < c.n_tokens; i++) {
                got[n++] = c.tokens[i].id;
                r.joined = r.joined && c.tokens[i].start >= last;
                last = c.tokens[i].start;
            }
            if (c.text && c.text[0])
                strcat(strcat(joined, joined[0] ? " " : ""), c.text);
        }
    }
    r.joined = r.joined && strcmp(joined, rs_progress_text(p)) == 0;
    count_edits(got, n, &r);
    rs_chunk_free(&c);
    rs_chunk_free(&a);
    rs_progress_free(p);
    free(joined);
    free(got);
    free(pcm);
    return r;
}

static void no_word_is_lost_or_doubled_at_seams(void)
{
    int seams = 0, lost = 0, added = 0;
    errors_per_mille = 300;
    for (unsigned s = 1; s <= 60; s++) {
        make_world(s, 500 + 7.3 * s, s % 3 * 0.1);
        const struct result r = record(15, 2, 1600, s % 2, 0);
        seams += r.chunks - 1;
        lost += r.lost;
        added += r.added;
        CHECK(r.joined && r.errors == 0);
    }
    printf("  %d seams: %d words lost or changed, %d added\n", seams, lost, added);
    CHECK(seams > 2000);
    CHECK(lost * 1000 <= seams && added * 1000 <= seams);
}

static void odd_lengths_and_overlaps(void)
{
    errors_per_mille = 0;
    for (int k = 1; k <= 3; k++)
        for (int d = -1; d <= 1; d++) {
            make_world((unsigned)(10 * k + d), 13.0 * k + 2 + d / 16000.0, 0.1);
            const struct result r = record(15, 2, 777, true, 0);
            CHECK(r.joined && r.lost == 0 && r.added == 0);
        }
    make_world(5, 100, 0.1);
    struct result r = record(5, 2.5, 1600, false, 0);
    CHECK(r.joined && r.lost == 0 && r.added == 0);
    r = record(15, 2, 1600, false, 20.1);
    CHECK(r.joined && r.lost + r.added <= 1);
}

static void a_cut_in_the_middle_of_a_word(void)
{
    int lost = 0, added = 0;
    errors_per_mille = 300;
    for (unsigned s = 1; s <= 100; s++) {
        make_world(s, 40, 0);
        const struct result r = record(15, 2, 1600, false, 5 + 0.07 * s);
        lost += r.lost;
        added += r.added;
    }
    printf("  100 cuts: %d words lost or changed, %d added\n", lost, added);
    CHECK(lost + added <= 10);
    errors_per_mille = 0;
}

static void short_and_empty_recordings(void)
{
    for (int n = 0; n < 5; n++) {
        static const double lengths[] = {0, 1 / 16000.0, 159 / 16000.0, 160 / 16000.0, 0.5};
        n_words = 0;
        world_s = lengths[n];
        const struct result r = record(15, 2, 1600, true, 0);
        CHECK_INT(r.chunks, 1);
        CHECK(r.joined && r.lost == 0 && r.added == 0 && r.errors == 0);
    }
    n_words = 0;
    world_s = 60;
    runs = 0;
    CHECK_INT(record(15, 2, 1600, true, 0).gaps, 0);
    CHECK_INT(runs, 0);                          /* silence is never decoded */
}

static void a_failed_decode_is_a_gap(void)
{
    errors_per_mille = 0;
    make_world(77, 60, 0);
    runs = 0;
    fail_run = 1;
    const struct result r = record(15, 2, 1600, false, 0);
    fail_run = -1;
    CHECK_INT(r.errors, 1);
    CHECK(r.gaps >= 1 && r.joined && r.added <= 1 && r.lost < n_words / 2);
}

static void holes_are_decoded_again_or_reported(void)
{
    errors_per_mille = 0;
    make_world(78, 40, 0);
    hole_from = 5, hole_to = 9;
    struct result r = record(15, 2, 1600, false, 0);
    CHECK(r.lost <= 1 && r.added <= 1 && r.gaps == 0);
    hole_from = hole_to = -1;
    deaf_from = 10, deaf_to = 20;
    r = record(15, 2, 1600, false, 0);
    CHECK_INT(r.lost, 10);
    CHECK(r.gaps >= 1);
    deaf_from = deaf_to = -1;
}

/* The word before a hole, and the one behind it, are heard again with it, a little earlier or later. */
static void a_hole_doubles_and_loses_nothing_around_it(void)
{
    int lost = 0, added = 0, gaps = 0;
    errors_per_mille = 0;
    for (unsigned s = 1; s <= 200; s++) {
        make_world(s, 40, 0);
        hole_from = 4 + s % 40 * 0.1, hole_to = hole_from + 4;
        const struct result r = record(15, 2, 1600, false, 0);
        lost += r.lost;
        added += r.added;
        gaps += r.gaps;
    }
    hole_from = hole_to = -1;
    printf("  200 holes: %d words lost, %d added\n", lost, added);
    CHECK(lost <= 2 && added <= 2 && gaps == 0);
}

/* What is never made out is told, wherever it lies, and once. */
static void what_stays_empty_is_told_once(void)
{
    static const double places[][2] = {{5, 7.6}, {12.7, 15.3}, {11.5, 17.5}, {24, 28.2}};
    errors_per_mille = 0;
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        int told = 0, in_order = 0;
        for (unsigned s = 1; s <= 100; s++) {
            make_world(s, 40, 0);
            for (deaf_from = 0; world[deaf_from].from < places[k][0]; deaf_from++)
                ;
            for (deaf_to = deaf_from; world[deaf_to].to <= places[k][1]; deaf_to++)
                ;
            const struct result r = record(15, 2, 1600, false, 0);
            told += r.gaps > 0;
            in_order += r.joined;
        }
        printf("  %.1f to %.1f s: told in %d of 100\n", places[k][0], places[k][1], told);
        CHECK(told >= 85);
        CHECK_INT(in_order, 100);
    }
    deaf_from = deaf_to = -1;
}

static void a_word_emitted_twice_at_one_place_is_one(void)
{
    errors_per_mille = 0;
    make_world(80, 200, 0.1);
    stutters = true;
    const struct result r = record(15, 2, 1600, false, 0);
    stutters = false;
    CHECK(r.joined && r.lost == 0 && r.added == 0);
}

static void the_end_is_ready_before_the_stop(void)
{
    errors_per_mille = 0;
    make_world(79, 9, 0);
    world_s = 10.2;                              /* over a second of silence at the end */
    runs = 0;
    const struct result r = record(15, 2, 1600, true, 0);
    CHECK(r.lost == 0 && r.added == 0 && r.chunks == 1);
    CHECK_INT(runs, 1);                          /* only the look ahead, nothing at the stop */
}

/* Whether the chunker would look ahead so long after the last word. */
static bool looks_ahead(double after, bool stopping)
{
    const struct rs_progress_options o = {.chunk_s = 15, .overlap_s = 2, .max_backlog_s = 120};
    struct rs_vad vad = {0};
    struct rs_progress *p = NULL;
    struct rs_err e = {0};
    make_world(79, 9, 0);
    world_s = world[n_words - 1].to + after;
    const size_t n = (size_t)(world_s * RS_SAMPLE_RATE);
    float *pcm = malloc(n * sizeof *pcm);
    for (size_t i = 0; i < n; i++)
        pcm[i] = (float)((double)i / 16777216.0);
    CHECK_INT(rs_progress_new(&p, &vad, &o, &e), 0);
    rs_progress_attach_recogniser(p, &fake);
    CHECK_INT(rs_progress_feed(p, pcm, n, &e), 0);
    if (stopping)
        rs_progress_stopping(p);
    const bool wants = rs_progress_wants_ahead(p);
    rs_progress_free(p);
    free(pcm);
    return wants;
}

static void after_a_stop_a_brief_pause_is_enough(void)
{
    CHECK(!looks_ahead(0.2, false));
    CHECK(looks_ahead(0.2, true));
    CHECK(looks_ahead(0.35, false));
    CHECK(!looks_ahead(0.05, true));
}

static void a_slow_engine_is_told_and_nothing_is_dropped(void)
{
    const struct rs_progress_options o = {.chunk_s = 15, .overlap_s = 2, .max_backlog_s = 30};
    struct rs_vad vad = {0};
    struct rs_progress *p = NULL;
    struct rs_err e = {0};
    float *pcm = calloc(16000, sizeof *pcm);
    n_words = 0;
    CHECK_INT(rs_progress_new(&p, &vad, &o, &e), 0);
    int seconds = 0;
    while (seconds < 100 && rs_progress_feed(p, pcm, 16000, &e) == 0)
        seconds++;
    CHECK_INT(seconds, 45);
    CHECK_INT(e.code, RS_E_BACKPRESSURE);
    rs_progress_free(p);
    free(pcm);
}

int main(void)
{
    RUN(no_word_is_lost_or_doubled_at_seams);
    RUN(odd_lengths_and_overlaps);
    RUN(a_cut_in_the_middle_of_a_word);
    RUN(short_and_empty_recordings);
    RUN(a_failed_decode_is_a_gap);
    RUN(holes_are_decoded_again_or_reported);
    RUN(a_hole_doubles_and_loses_nothing_around_it);
    RUN(what_stays_empty_is_told_once);
    RUN(a_word_emitted_twice_at_one_place_is_one);
    RUN(the_end_is_ready_before_the_stop);
    RUN(after_a_stop_a_brief_pause_is_enough);
    RUN(a_slow_engine_is_told_and_nothing_is_dropped);
    return REPORT();
}
