/* Pieces to text and words. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "asr/tokenizer.h"
#include "asr/unicode.h"

static const char *const texts[] = {
    "<unk>", "▁And", "▁so", ",", "▁my", "▁f", "ell", "ow", ".", "▁", "<0xC3>", "<0xA9>", "▁¿", "Que", "▁(", "a", ")", "▁ell",
    "ELL", "<|spk0|>", "▁Été", "▁été", "?", "'", "[x]", "¿", "(", "\xff", "▁I", "don", "t", "<pad>"};
enum { UNK, AND, SO, COMMA, MY, F, ELL, OW, DOT, SPACE, C3, A9, QUE0, QUE, OPEN, LA, CLOSE, SELL, UELL, SPK, ETE, ete, ASK, APO, BR,
       QUE1, OPEN1, BAD, I, DON, T, PAD, COUNT };

static struct rs_tokenizer *tok;

static void setup(void)
{
    static struct rs_piece pieces[COUNT];
    static struct rs_model m;
    struct rs_err e = {0};
    for (int i = 0; i < COUNT; i++)
        pieces[i] = (struct rs_piece){texts[i], (uint16_t)strlen(texts[i]), 1};
    m.pieces = pieces;
    m.n_pieces = COUNT;
    CHECK_INT(rs_tokenizer_new(&tok, &m, &e), 0);
}

static size_t tokens_of(const int *ids, int n, struct rs_token *out)
{
    for (int i = 0; i < n; i++)
        out[i] = (struct rs_token){.id = ids[i], .frame = i, .duration = 1, .start = (float)i, .end = (float)i + 1, .confidence = 0.5f + 0.01f * (float)i};
    return (size_t)n;
}

#define IDS(...) ((const int[]){__VA_ARGS__}), (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

/* The text, and that the words joined by single spaces are the same. */
static void check_text(const int *ids, int n, const char *want)
{
    struct rs_token t[64];
    char buf[256], joined[256] = "";
    struct rs_word *w = NULL;
    size_t words = 0;
    const size_t count = tokens_of(ids, n, t);
    CHECK_INT(rs_tokenizer_text(tok, t, count, buf, sizeof buf), strlen(want));
    CHECK_STR(buf, want);
    CHECK_INT(rs_tokenizer_words(tok, t, count, &w, &words, NULL), 0);
    for (size_t i = 0; i < words; i++) {
        strcat(joined, i ? " " : "");
        strcat(joined, w[i].text);
    }
    CHECK_STR(joined, want);
    free(w);
}

static void texts_and_words(void)
{
    check_text(IDS(AND, SO, COMMA, MY, F, ELL, OW, DOT), "And so, my fellow.");
    check_text(IDS(OW, AND), "ow And");
    check_text(IDS(UNK, AND, SPK, PAD, DOT), "And.");
    check_text(IDS(AND, SPACE, DOT), "And.");
    check_text(IDS(AND, SPACE, QUE), "And Que");
    check_text(IDS(AND, SPACE, AND), "And And");
    check_text(IDS(AND, QUE0, QUE, ASK), "And ¿Que?");
    check_text(IDS(AND, OPEN, LA, CLOSE, SO), "And (a) so");
    check_text(IDS(I, DON, APO, T), "Idon't");
    check_text(IDS(SPACE, SPACE), "");
    check_text(IDS(UNK), "");
    check_text(IDS(-1, 99999, AND), "And");
}

static void bytes(void)
{
    check_text(IDS(AND, C3, A9), "Andé");
    check_text(IDS(AND, SPACE, C3, A9, LA), "And éa");
    check_text(IDS(AND, C3, LA), "And\xef\xbf\xbd" "a");
    check_text(IDS(AND, A9, LA), "And\xef\xbf\xbd" "a");
    check_text(IDS(C3, C3, A9), "\xef\xbf\xbdé");
    check_text(IDS(AND, C3), "And\xef\xbf\xbd");
    check_text(IDS(AND, C3, AND), "And\xef\xbf\xbd And");
    check_text(IDS(AND, BAD), "And\xef\xbf\xbd");
}

static void length_as_snprintf(void)
{
    struct rs_token t[4];
    char small[6];
    const size_t n = tokens_of(IDS(AND, SO), t);
    CHECK_INT(rs_tokenizer_text(tok, t, n, small, sizeof small), 6);
    CHECK_STR(small, "And s");
    CHECK_INT(rs_tokenizer_text(tok, t, n, NULL, 0), 6);
    CHECK_INT(rs_tokenizer_text(tok, t, 0, small, sizeof small), 0);
    CHECK_STR(small, "");
}

static void word_times(void)
{
    struct rs_token t[16];
    struct rs_word *w = NULL;
    size_t n = 0;
    const size_t count = tokens_of(IDS(AND, SO, COMMA, MY, F, ELL, OW, DOT), t);
    rs_tokenizer_refine_times(tok, t, count);
    CHECK_NEAR(t[2].start, 2, 0);
    CHECK_NEAR(t[2].end, 2, 0);
    CHECK_INT(rs_tokenizer_words(tok, t, count, &w, &n, NULL), 0);
    CHECK_INT(n, 4);
    if (n == 4) {
        CHECK_STR(w[1].text, "so,");
        CHECK_INT(w[1].first_token, 1);
        CHECK_INT(w[1].n_tokens, 2);
        CHECK_NEAR(w[1].start, 1, 0);
        CHECK_NEAR(w[1].end, 2, 0);
        CHECK_NEAR(w[1].confidence, (0.51 + 0.52) / 2, 1e-6);
        CHECK_STR(w[3].text, "fellow.");
        CHECK_NEAR(w[3].start, 4, 0);
        CHECK_NEAR(w[3].end, 7, 0);
    }
    free(w);
    CHECK_INT(rs_tokenizer_words(tok, t, 0, &w, &n, NULL), 0);
    CHECK_INT(n, 0);
    free(w);
}

static void kinds(void)
{
    CHECK(rs_tokenizer_starts_word(tok, AND) && !rs_tokenizer_starts_word(tok, OW));
    CHECK(rs_tokenizer_is_punctuation(tok, COMMA) && rs_tokenizer_is_punctuation(tok, QUE0) && rs_tokenizer_is_punctuation(tok, APO));
    CHECK(!rs_tokenizer_is_punctuation(tok, AND) && !rs_tokenizer_is_punctuation(tok, SPACE) && !rs_tokenizer_is_punctuation(tok, UNK));
    CHECK(!rs_tokenizer_is_punctuation(tok, -5));
    CHECK(rs_tokenizer_is_special(tok, SPK) && !rs_tokenizer_is_special(tok, C3));
    CHECK(rs_tokenizer_same_piece(tok, ETE, ete) && rs_tokenizer_same_piece(tok, ELL, UELL) && rs_tokenizer_same_piece(tok, DOT, DOT));
    CHECK(!rs_tokenizer_same_piece(tok, ELL, SELL) && !rs_tokenizer_same_piece(tok, C3, A9) && !rs_tokenizer_same_piece(tok, DOT, ASK));
}

static void unicode(void)
{
    const struct { const char *s; int32_t c; int n; } want[] = {
        {"a", 'a', 1}, {"é", 0xe9, 2}, {"▁", 0x2581, 3}, {"😀", 0x1f600, 4}, {"\xc0\x80", -1, 1}, {"\xed\xa0\x80", -1, 1},
        {"\xf4\x90\x80\x80", -1, 1}, {"\xe2\x96", -1, 1}, {"\x80", -1, 1}, {"\xe0\x80\x80", -1, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const char *p = want[i].s;
        CHECK_INT(rs_utf8_next(&p, want[i].s + strlen(want[i].s)), want[i].c);
        CHECK_INT(p - want[i].s, want[i].n);
    }
    CHECK(rs_is_punctuation('!') && rs_is_punctuation(0xbf) && rs_is_punctuation(0x3002) && !rs_is_punctuation('+') && !rs_is_punctuation(-1));
    const int32_t lower[][2] = {{'Z', 'z'}, {0xc9, 0xe9}, {0xd7, 0xd7}, {0x141, 0x142}, {0x160, 0x161}, {0x17d, 0x17e}, {0x391, 0x3b1},
                                {0x38f, 0x3ce}, {0x389, 0x3ae}, {0x416, 0x436}, {0x404, 0x454}, {0x490, 0x491}, {0x218, 0x219}, {0x178, 0xff},
                                {'a', 'a'}, {0x131, 0x131}};
    for (size_t i = 0; i < sizeof lower / sizeof *lower; i++)
        CHECK_INT(rs_lower(lower[i][0]), lower[i][1]);
}

int main(void)
{
    RUN(setup);
    RUN(texts_and_words);
    RUN(bytes);
    RUN(length_as_snprintf);
    RUN(word_times);
    RUN(kinds);
    RUN(unicode);
    rs_tokenizer_free(tok);
    return REPORT();
}
