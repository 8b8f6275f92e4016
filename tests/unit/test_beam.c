/* The n-gram model on a trie written down by hand, damaged ones, and the beam on scripted networks. */
#include "test.h"

#include <stdlib.h>

#include "asr/beam.h"
#include "words_set.h"

/* ---- A small model: pieces 1, 2, 3; "0 1", "1 2", "1 3", "2 3" and "1 2 3" are known ---- */

struct image { uint8_t at[128]; size_t size; };

static void put(struct image *m, const void *bytes, size_t n)
{
    memcpy(m->at + m->size, bytes, n);
    m->size += n;
}

static void put_u32(struct image *m, uint32_t v) { put(m, &v, 4); }

static struct image small_model(void)
{
    struct image m = {.size = 0};
    put(&m, "RSNG", 4);
    put_u32(&m, 1);
    put_u32(&m, 3);
    put_u32(&m, 4);
    put_u32(&m, 4);
    put_u32(&m, 1);
    put(&m, (uint8_t[]){0, 1, 2, 3}, 4);          /* pieces */
    put(&m, (uint8_t[]){255, 16, 32, 48}, 4);     /* 1, 2 and 3 nats */
    put(&m, (uint8_t[]){48, 56, 64, 48}, 4);      /* backoffs 0, -0.5, -1, 0 */
    put(&m, (uint8_t[]){1, 2, 1, 0}, 4);
    put_u32(&m, 0);
    put(&m, (uint8_t[]){1, 2, 3, 3}, 4);          /* 0 1, 1 2, 1 3, 2 3 */
    put(&m, (uint8_t[]){8, 4, 12, 20}, 4);
    put(&m, (uint8_t[]){48, 40, 48, 48}, 4);      /* after 1 2: +0.5 */
    put(&m, (uint8_t[]){0, 1, 0, 0}, 4);
    put_u32(&m, 0);
    put(&m, (uint8_t[]){3}, 1);                   /* 1 2 3 */
    put(&m, (uint8_t[]){2}, 1);
    return m;
}

static struct rs_ngram *open_small(const struct image *m)
{
    struct rs_ngram *n = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_ngram_open(&n, m->at, m->size, "test", &e), 0);
    return n;
}

static void backing_off(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct rs_ngram_state none = {{0}}, one, two, s;
    if (!n)
        return;
    CHECK_NEAR(rs_ngram_step(n, &none, 1, &one), -1, 1e-6);
    CHECK_NEAR(rs_ngram_step(n, &one, 2, &two), -0.25, 1e-6);
    CHECK_NEAR(rs_ngram_step(n, &two, 3, &s), -0.125, 1e-6);          /* 1 2 3 is known */
    CHECK_NEAR(rs_ngram_step(n, &two, 1, &s), 0.5 - 1 - 1, 1e-6);     /* both contexts back off */
    CHECK_NEAR(rs_ngram_step(n, &s, 3, &s), -0.75, 1e-6);             /* to may be the state itself */
    CHECK_NEAR(rs_ngram_step(n, &one, 1, &s), -0.5 - 1, 1e-6);
    CHECK_NEAR(rs_ngram_step(n, &none, 200, &s), -16, 1e-6);          /* never seen */
    CHECK_NEAR(rs_ngram_step(n, &none, 4711, &s), -16, 1e-6);
    CHECK_INT(s.node[1], 0);
    rs_ngram_close(n);
}

static void damaged(void)
{
    static _Alignas(8) struct image m;
    struct rs_ngram *n;
    struct rs_err e = {0};
    m = small_model();
    for (size_t size = 0; size < m.size; size++) {
        uint8_t *own = malloc(size ? size : 1);      /* of exactly this size, so that ASan sees a read beyond it */
        if (!own)
            return;
        memcpy(own, m.at, size);
        CHECK_INT(rs_ngram_open(&n, own, size, "test", &e), -RS_E_MODEL_BAD);
        free(own);
    }
    CHECK(strstr(e.msg, "damaged"));
    /* whatever a byte becomes: it is refused, or every question still has an answer */
    for (size_t i = 0; i < m.size; i++)
        for (int bit = 0; bit < 8; bit++) {
            static _Alignas(8) struct image bad;
            bad = m;
            bad.at[i] ^= (uint8_t)(1 << bit);
            if (rs_ngram_open(&n, bad.at, bad.size, "test", &e))
                continue;
            struct rs_ngram_state s = {{0}};
            for (int k = 0; k < 64; k++)
                CHECK(isfinite(rs_ngram_step(n, &s, (k * k + 1) % 4, &s)));
            rs_ngram_close(n);
        }
}

/* ---- The beam: pieces 0 to 3, blank 4, durations 0 1 2 ---- */

enum { PIECES = 4, BLANK = 4, OUTPUTS = 8, FRAMES = 8 };
static const int durations[] = {0, 1, 2};

/* What is heard at a frame, whatever was said before; `hurt` after piece 3. */
struct net { float p[FRAMES][PIECES + 1]; int duration[FRAMES]; int last[RS_BEAM_SLOTS]; float rows[RS_BEAM_WIDTH * OUTPUTS]; int most, now, taken; };

static void score(struct net *s, const int *slots, int n, int frame)
{
    s->most = n > s->most ? n : s->most;
    s->now = n;
    for (int i = 0; i < n; i++) {
        float *row = s->rows + i * OUTPUTS;
        CHECK(slots[i] >= 0 && slots[i] < RS_BEAM_SLOTS);
        for (int k = 0; k <= PIECES; k++)
            row[k] = logf(s->p[frame][k] + 1e-9f) + 3;      /* any constant may be added */
        for (int k = 0; k < 3; k++)
            row[PIECES + 1 + k] = k == s->duration[frame] ? 2 : 0;
    }
}

static bool hear_round(void *net, const struct rs_beam_round *r, const float **scores)
{
    struct net *s = net;
    CHECK(r->taken + r->scored > 0);
    for (int i = 0; i < r->taken; i++) {
        CHECK(r->to[i] > 0 && r->from[i] != r->to[i]);
        s->last[r->to[i]] = r->tokens[i];
        s->taken++;
    }
    if (r->scored) {
        score(s, r->slots, r->scored, r->frame);
        *scores = s->rows;
    }
    return true;
}

/* What is expected after `last`: 2 after 1, where `expects` says how surely. */
static float expects;
static float expected(void *net, int slot, int token) { return ((struct net *)net)->last[slot] == 1 && token == 2 ? expects : 0; }

static void hear(struct net *s, int frame, int duration, float a, float b, float c, float d, float blank)
{
    const float p[] = {a, b, c, d, blank};
    memcpy(s->p[frame], p, sizeof p);
    s->duration[frame] = duration;
}

static struct net silence(void)
{
    struct net s = {.most = 0};
    for (int i = 0; i < FRAMES; i++)
        hear(&s, i, 1, 0, 0, 0, 0, 1);
    return s;
}

/* Another head, which hears 2 in frame 1 and is not sure of anything else. */
static float second(void *net, int frame, int token) { return net && frame == 1 && token == 2 ? 0 : -3; }
static bool two_heads;

/* No sentence ends after 1, where somebody asks. */
static float ends(void *net, int slot) { return ((struct net *)net)->last[slot] == 1 ? -4 : 0; }
static bool whole_sentences;
static const struct rs_words *words;

static struct rs_transcript search(struct net *s, const struct rs_ngram *n, float weight, float bonus)
{
    const struct rs_beam_net net = {hear_round, expected, two_heads ? second : NULL, whole_sentences ? ends : NULL, s};
    const struct rs_beam_options o = {.lm = n, .weight = weight, .bonus = bonus, .ctc = 0.25f, .words = words, .unknown = 1, .pieces = PIECES, .outputs = OUTPUTS, .max_symbols = 3,
                                      .durations = durations, .n_durations = 3};
    struct rs_transcript t = {0};
    struct rs_err e = {0};
    CHECK_INT(rs_beam_search(&net, &o, FRAMES, &t, &e), 0);
    CHECK(s->most <= RS_BEAM_WIDTH);
    return t;
}

static void expect(struct rs_transcript *t, const char *ids)
{
    char got[64] = "";
    for (size_t i = 0; i < t->count && i < 20; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%d@%d ", t->tokens[i].id, t->tokens[i].frame);
    CHECK_STR(got, ids);
    rs_transcript_free(t);
}

static void clear_speech(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    struct rs_transcript t = search(&s, n, 0.5f, 0);
    expect(&t, "");
    hear(&s, 0, 0, 0, 0.99f, 0, 0, 0.01f);        /* 1 for ever: three of them at most */
    hear(&s, 2, 2, 0, 0, 0, 0.99f, 0.01f);
    hear(&s, 3, 1, 0, 0.99f, 0, 0, 0);            /* skipped by the duration */
    t = search(&s, n, 0, 0);
    CHECK_NEAR(t.count ? t.tokens[0].confidence : 0, 0.99, 1e-3);
    expect(&t, "1@0 1@0 1@0 3@2 ");
    rs_ngram_close(n);
}

/* What is the likelier reading until there is no more to hear. */
static void a_sentence_ends(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 2, 1, 0, 0.6f, 0, 0.4f, 0);
    struct rs_transcript t = search(&s, n, 0, 0);
    expect(&t, "1@2 ");
    whole_sentences = true;
    t = search(&s, n, 0, 0);
    expect(&t, "3@2 ");
    hear(&s, FRAMES - 1, 1, 0, 0.6f, 0, 0.4f, 0);         /* and where the very last frame has a token */
    t = search(&s, n, 0, 0);
    expect(&t, "1@2 3@7 ");
    whole_sentences = false;
    rs_ngram_close(n);
}

/* The same token from the same start in several frames: the predictor hears it once. */
static void equal_tokens_are_heard_once(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    for (int i = 1; i < 4; i++)
        hear(&s, i, 1, 0, 0, 0, 0.5f, 0.5f);
    struct rs_transcript t = search(&s, n, 0, -3);       /* a token costs so much that two are never looked at */
    rs_transcript_free(&t);
    CHECK(s.taken >= 1 && s.taken <= 2);
    rs_ngram_close(n);
}

static void the_language_model_decides(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 0, 1, 0, 0.9f, 0, 0, 0.1f);
    hear(&s, 1, 1, 0.4f, 0, 0.3f, 0, 0.3f);       /* 0 was never read after 1, 2 often */
    struct rs_transcript t = search(&s, n, 0, 0);
    expect(&t, "1@0 0@1 ");
    t = search(&s, n, 0.5f, 0.5f);
    expect(&t, "1@0 2@1 ");
    /* what was hardly heard is not said for the language's sake */
    hear(&s, 1, 1, 0.999f, 0, 0.00001f, 0, 0);
    t = search(&s, n, 0.5f, 0.5f);
    expect(&t, "1@0 0@1 ");
    rs_ngram_close(n);
}

/* What is expected weighs as what is heard does, and belongs to the reading: the same 2 after 3 gains nothing. */
static void what_is_expected_decides(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 0, 1, 0, 0.9f, 0, 0, 0.1f);
    hear(&s, 1, 1, 0.4f, 0, 0.3f, 0, 0.3f);
    struct rs_transcript t = search(&s, n, 0, 0);
    expect(&t, "1@0 0@1 ");
    expects = 0.5f;                               /* 0.3 becomes 0.49 */
    t = search(&s, n, 0, 0);
    expect(&t, "1@0 2@1 ");
    hear(&s, 0, 1, 0, 0, 0, 0.9f, 0.1f);
    t = search(&s, n, 0, 0);
    expect(&t, "3@0 0@1 ");
    expects = 0;
    rs_ngram_close(n);
}

static void the_other_head_decides(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 0, 1, 0, 0.9f, 0, 0, 0.1f);
    hear(&s, 1, 1, 0.45f, 0, 0.35f, 0, 0.2f);
    struct rs_transcript t = search(&s, n, 0, 0.75f);
    expect(&t, "1@0 0@1 ");
    two_heads = true;
    t = search(&s, n, 0, 0.75f);                  /* each token costs 0.75, but 2 */
    expect(&t, "1@0 2@1 ");
    two_heads = false;
    rs_ngram_close(n);
}

/* "tie" is heard a little better than "tone", but is no word; at the end "ton" is none, though "tone" begins with it. */
static void words_decide(void)
{
    static _Alignas(8) struct image m;
    static struct rs_piece pieces[] = {{"i", 1, 1}, {"\xe2\x96\x81t", 4, 1}, {"on", 2, 1}, {"e", 1, 1}};
    const struct rs_model model = {.path = "test", .pieces = pieces, .n_pieces = 4};
    struct rs_words *w = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_words_open(&w, words_set, sizeof words_set, &model, &e), 0);
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 0, 1, 0, 1, 0, 0, 0);
    hear(&s, 1, 1, 0.6f, 0, 0.4f, 0, 0);
    hear(&s, 2, 1, 0, 0, 0, 0.4f, 0.6f);
    struct rs_transcript t = search(&s, n, 0, 0);
    expect(&t, "1@0 0@1 ");
    words = w;
    t = search(&s, n, 0, 0);
    expect(&t, "1@0 2@1 3@2 ");
    words = NULL;
    rs_words_close(w);
    rs_ngram_close(n);
}

/* Two ways to the same tokens are one reading: 0.3 + 0.3 against 0.4. */
static void ways_add_up(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 0, 1, 0, 0.3f, 0.4f, 0, 0.3f);       /* 1 now, or blank and 1 then */
    hear(&s, 1, 1, 0, 1, 0, 0, 0);
    struct rs_transcript t = search(&s, n, 0, 0);
    CHECK_INT(t.count, 2);                        /* 2 then 1 is 0.4, 1 then 1 is 0.3, 1 alone 0.3 */
    expect(&t, "2@0 1@1 ");
    hear(&s, 1, 1, 0, 0.5f, 0, 0, 0.5f);          /* 1 alone: 0.15 + 0.15; 2 and 2 1: 0.2 each */
    t = search(&s, n, 0, 0);
    CHECK_INT(t.count, 1);
    CHECK_INT(t.count ? t.tokens[0].id : -1, 1);
    rs_transcript_free(&t);
    rs_ngram_close(n);
}

/* Two readings that differ only in what is long past: the worse one is given up, the better one keeps its own score. */
static void the_past_is_past(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    hear(&s, 0, 1, 0, 0.4f, 0.6f, 0, 0);
    for (int i = 1; i < FRAMES; i++)
        hear(&s, i, 1, 0, 0, 0, 1, 0);
    hear(&s, 1, 0, 0, 0, 0, 1, 0);                /* three at once */
    struct rs_transcript t = search(&s, n, 0, 0);
    CHECK_INT(s.now, 1);
    expect(&t, "2@0 3@1 3@1 3@1 3@2 3@3 3@4 3@5 3@6 3@7 ");
    hear(&s, 1, 1, 0, 0, 0, 1, 0);                /* not yet long past */
    for (int i = 5; i < FRAMES; i++)
        hear(&s, i, 1, 0, 0, 0, 0, 1);
    t = search(&s, n, 0, 0);
    CHECK_INT(s.now, 2);
    expect(&t, "2@0 3@1 3@2 3@3 3@4 ");
    rs_ngram_close(n);
}

/* Everything is possible everywhere: more readings than there are places, and all slots come back. */
static void crowded(void)
{
    static _Alignas(8) struct image m;
    m = small_model();
    struct rs_ngram *n = open_small(&m);
    struct net s = silence();
    for (int i = 0; i < FRAMES; i++)
        hear(&s, i, i % 3, 0.2f, 0.2f, 0.2f, 0.2f, 0.2f);
    struct rs_transcript t = search(&s, n, 0.3f, 0.3f);
    CHECK(t.count > 0 && t.count <= 3 * FRAMES);
    CHECK_INT(s.most, RS_BEAM_WIDTH);
    rs_transcript_free(&t);
    rs_ngram_close(n);
}

int main(void)
{
    RUN(backing_off);
    RUN(damaged);
    RUN(clear_speech);
    RUN(a_sentence_ends);
    RUN(equal_tokens_are_heard_once);
    RUN(the_language_model_decides);
    RUN(what_is_expected_decides);
    RUN(the_other_head_decides);
    RUN(words_decide);
    RUN(ways_add_up);
    RUN(the_past_is_past);
    RUN(crowded);
    return REPORT();
}
