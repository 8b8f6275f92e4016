/* The seam, where words are said again and again, and where a window begins within a word. test_progress.c has thousands of
 * seams of ordinary speech. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "session/merge.h"

static const char *const pieces[] = {" hello", "ow", " now", " we", " go", " so", " well", " no", " way", " then"};
enum { HELLO, OW, NOW, WE, GO, SO, WELL, NO, WAY, THEN };

static bool starts(const void *self, int id) { return !self && id != OW; }
static bool same(const void *self, int a, int b) { return !self && a == b; }
static size_t text(const void *self, const struct rs_token *t, size_t n, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (size_t i = 0; !self && i < n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s", pieces[t[i].id]);
    return at;
}
static const struct rs_recogniser words = {.starts_word = starts, .same_piece = same, .text = text};

static void hear(struct rs_tokens *t, int id, double at)
{
    const int frame = (int)lround(at / RS_FRAME_S);
    const struct rs_token k = {.id = id, .frame = frame, .confidence = 1, .start = (float)(frame * RS_FRAME_S),
                               .end = (float)(frame * RS_FRAME_S + 0.2)};
    CHECK(rs_tokens_add(t, &k, 1));
}

static void next(struct rs_merge *m, struct rs_tokens *fresh, double begin, double until, struct rs_tokens *out)
{
    CHECK(rs_merge_next(m, &words, fresh, begin, until, out));
    fresh->count = 0;
}

static void end(struct rs_merge *m, struct rs_tokens *fresh, struct rs_tokens *out, const char *want)
{
    char got[400];
    text(NULL, out->at, out->count, got, sizeof got);
    CHECK_STR(got, want);
    rs_merge_free(m);
    free(fresh->at);
    free(out->at);
}

/* "so well no no no … way then" across the seam at 13 to 15 s: each "no" is said once. */
static void said_again_and_again(void)
{
    for (int times = 2; times <= 8; times++)
        for (double apart = 0.32; apart < 0.7; apart += 0.04)
            for (double first = 12; first < 14; first += 0.12) {
                struct rs_merge m = {.given = {0}, .held = {0}};
                struct rs_tokens fresh = {0}, out = {0};
                char want[200] = " so well";
                for (int window = 0; window < 2; window++) {
                    const double from = 13 * window, to = from + 15;
                    for (int i = 0; i < times + 4; i++) {
                        const double at = i < 2 ? 1 + i : first + (i - 2) * apart;
                        const int id = i < 2 ? SO + i : i < times + 2 ? NO : WAY + i - times - 2;
                        if (at >= from && at + 0.2 < to)
                            hear(&fresh, id, at);
                    }
                    next(&m, &fresh, from, window ? INFINITY : 14, &out);
                }
                for (int i = 0; i < times; i++)
                    strcat(want, " no");
                end(&m, &fresh, &out, strcat(want, " way then"));
            }
}

/* What was held began within a word: it is no part of the last word given. */
static void held_within_a_word(void)
{
    struct rs_merge m = {.given = {0}, .held = {0}};
    struct rs_tokens fresh = {0}, out = {0};
    hear(&fresh, HELLO, 2);
    next(&m, &fresh, 0, 14, &out);
    hear(&fresh, OW, 27.3);
    hear(&fresh, WE, 27.6);
    next(&m, &fresh, 13, 27, &out);
    hear(&fresh, NOW, 27.3);
    hear(&fresh, WE, 27.6);
    hear(&fresh, GO, 28.2);
    next(&m, &fresh, 26, INFINITY, &out);
    end(&m, &fresh, &out, " hello now we go");
}

int main(void)
{
    RUN(said_again_and_again);
    RUN(held_within_a_word);
    return REPORT();
}
