/* The set of known words: what it says of readings, against a set that language_model.py made, and damaged ones. */
#include "test.h"

#include <stdlib.h>

#include "asr/words.h"
#include "words_set.h"

/* No stranger below happens to be let in by the set. */
enum { D, ON, T, APOSTROPHE_T, E, N, SPACE_ALONE, UNKNOWN };
static struct rs_piece pieces[] = {{"\xe2\x96\x81" "d", 4, 1}, {"on", 2, 1}, {"\xe2\x96\x81" "t", 4, 1}, {"'t", 2, 1},
                                   {"e", 1, 1}, {"n", 1, 1}, {"\xe2\x96\x81", 3, 1}, {"\xc3\xa4", 2, 1}};
static struct rs_model model = {.path = "test", .pieces = pieces, .n_pieces = 8};

static struct rs_words *open_set(void)
{
    struct rs_words *w = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_words_open(&w, words_set, sizeof words_set, &model, &e), 0);
    return w;
}

/* The doubts after each piece, and at the end. */
static void expect(const struct rs_words *w, const int *ids, int n, const char *doubts)
{
    char got[32] = "";
    struct rs_words_state s = {0};
    for (int i = 0; i < n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%d", rs_words_step(w, &s, ids[i]));
    snprintf(got + strlen(got), sizeof got - strlen(got), " %d", rs_words_end(w, &s));
    CHECK_STR(got, doubts);
    CHECK_INT(s.spelt, 0);
}
#define EXPECT(w, doubts, ...) expect(w, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)), doubts)

static void known_and_unknown(void)
{
    struct rs_words *w = open_set();
    if (!w)
        return;
    EXPECT(w, "00 0", D, ON);                     /* "don" */
    EXPECT(w, "0 1", D);                          /* a beginning, but no word */
    EXPECT(w, "00000 0", T, ON, E, D, ON);        /* "tone don" */
    EXPECT(w, "010 1", D, T, ON);                 /* "d": found out when the next one starts; "ton": at the end */
    EXPECT(w, "010000 0", D, E, ON, E, D, ON);    /* "deone" is doubted once, as soon as "de" stands there */
    rs_words_close(w);
}

static void apostrophes_and_spaces(void)
{
    struct rs_words *w = open_set();
    if (!w)
        return;
    EXPECT(w, "000 0", D, ON, APOSTROPHE_T);      /* "don't" */
    EXPECT(w, "01 0", D, APOSTROPHE_T);           /* "d't" */
    EXPECT(w, "0000 0", SPACE_ALONE, ON, SPACE_ALONE, APOSTROPHE_T);
    EXPECT(w, "0 0", SPACE_ALONE);
    EXPECT(w, "01 0", SPACE_ALONE, UNKNOWN);      /* bytes beyond ASCII are letters like any other */
    EXPECT(w, "00 0", -1, 4711);                  /* no such pieces */
    rs_words_close(w);
}

static void damaged(void)
{
    struct rs_err e = {0};
    for (size_t size = 0; size < sizeof words_set; size++) {
        struct rs_words *w;
        uint8_t *own = malloc(size ? size : 1);   /* of exactly this size, so that ASan sees a read beyond it */
        if (!own)
            return;
        memcpy(own, words_set, size);
        CHECK_INT(rs_words_open(&w, own, size, &model, &e), -RS_E_MODEL_BAD);
        free(own);
    }
    CHECK_STR(e.msg, "the list of words in test is damaged: fetch the model again");
    /* whatever a bit of the head becomes: it is refused, or every question still has an answer */
    for (int bit = 0; bit < 16 * 8; bit++) {
        uint8_t bad[sizeof words_set];
        struct rs_words *w;
        memcpy(bad, words_set, sizeof words_set);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (rs_words_open(&w, bad, sizeof bad, &model, &e))
            continue;
        struct rs_words_state s = {0};
        for (int k = 0; k < 64; k++)
            CHECK(rs_words_step(w, &s, (k * k + 1) % 8) <= 2);
        rs_words_close(w);
    }
}

int main(void)
{
    RUN(known_and_unknown);
    RUN(apostrophes_and_spaces);
    RUN(damaged);
    return REPORT();
}
