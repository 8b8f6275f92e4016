/* See tokenizer.h. Rules: NeMo parts/utils/timestamp_utils.py and parts/submodules/rnnt_decoding.py. */
#include "asr/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "asr/unicode.h"
#include "base/mem.h"

#define SPACE_LEN ((int)sizeof RS_SPACE - 1)

enum { PIECE_UNKNOWN = 2, PIECE_CONTROL = 3, PIECE_UNUSED = 5, PIECE_BYTE = 6 };   /* SentencePiece's types */

struct piece {
    const char *text;         /* without a leading ▁ */
    uint16_t len;
    bool space, special, punctuation, closing;
    int16_t byte;             /* 0 … 255, or -1 */
};

struct rs_tokenizer { struct piece *pieces; int count; };

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int byte_value(const char *s, int len)
{
    if (len != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0)
        return -1;
    return hex(s[3]) * 16 + hex(s[4]);
}

static bool bracketed(const char *s, int len, char open, char close)
{
    return len > 2 && s[0] == open && s[len - 1] == close;
}

static void describe(struct piece *p, const struct rs_piece *from)
{
    const char *s = from->text;
    int len = from->len;
    p->byte = (int16_t)byte_value(s, len);
    p->special = p->byte < 0 && (from->kind == PIECE_UNKNOWN || from->kind == PIECE_CONTROL || from->kind == PIECE_UNUSED ||
                                 bracketed(s, len, '<', '>'));
    p->space = len >= SPACE_LEN && memcmp(s, RS_SPACE, SPACE_LEN) == 0;
    if (p->space)
        s += SPACE_LEN, len -= SPACE_LEN;
    p->text = s;
    p->len = (uint16_t)len;
}

/* Supported punctuation is what occurs in the vocabulary inside pieces that begin no word, are no
 * continuation in WordPiece's sense and are not in brackets. */
static void collect(const struct rs_piece *from, int32_t *set, int *count, int cap)
{
    const char *s = from->text, *end = s + from->len;
    if ((from->len >= SPACE_LEN && !memcmp(s, RS_SPACE, SPACE_LEN)) || (from->len >= 2 && !memcmp(s, "##", 2)) ||
        bracketed(s, from->len, '<', '>') || bracketed(s, from->len, '[', ']'))
        return;
    while (s < end) {
        const int32_t c = rs_utf8_next(&s, end);
        bool known = !rs_is_punctuation(c);
        for (int i = 0; i < *count && !known; i++)
            known = set[i] == c;
        if (!known && *count < cap)
            set[(*count)++] = c;
    }
}

static void mark_punctuation(struct piece *p, const int32_t *set, int count)
{
    const char *s = p->text, *end = s + p->len;
    p->punctuation = p->closing = p->len > 0 && !p->special && p->byte < 0;
    while (s < end && p->punctuation) {
        const int32_t c = rs_utf8_next(&s, end);
        bool in = false;
        for (int i = 0; i < count && !in; i++)
            in = set[i] == c;
        p->punctuation = in;
        p->closing = p->closing && in && rs_is_closing_punctuation(c);
    }
}

int rs_tokenizer_new(struct rs_tokenizer **out, const struct rs_model *m, struct rs_err *e)
{
    int32_t set[256];
    int n = 0;
    *out = NULL;
    struct rs_tokenizer *t = rs_zeroed(1, sizeof *t);
    if (t)
        t->pieces = rs_zeroed((size_t)(m->n_pieces > 0 ? m->n_pieces : 1), sizeof *t->pieces);
    if (!t || !t->pieces) {
        rs_tokenizer_free(t);
        return rs_fail(e, RS_E_NOMEM, "no memory for the pieces of %s", m->name);
    }
    t->count = m->n_pieces;
    for (int i = 0; i < m->n_pieces; i++) {
        describe(&t->pieces[i], &m->pieces[i]);
        collect(&m->pieces[i], set, &n, 256);
    }
    for (int i = 0; i < m->n_pieces; i++)
        mark_punctuation(&t->pieces[i], set, n);
    *out = t;
    return 0;
}

void rs_tokenizer_free(struct rs_tokenizer *t)
{
    if (!t)
        return;
    free(t->pieces);
    free(t);
}

static const struct piece *get(const struct rs_tokenizer *t, int id)
{
    static const struct piece nothing = {.text = "", .special = true, .byte = -1};
    return id >= 0 && id < t->count ? &t->pieces[id] : &nothing;
}

bool rs_tokenizer_starts_word(const struct rs_tokenizer *t, int id)
{
    return get(t, id)->space;
}

bool rs_tokenizer_is_punctuation(const struct rs_tokenizer *t, int id)
{
    return get(t, id)->punctuation;
}

bool rs_tokenizer_is_special(const struct rs_tokenizer *t, int id)
{
    return get(t, id)->special;
}

bool rs_tokenizer_same_piece(const struct rs_tokenizer *t, int id1, int id2)
{
    if (id1 == id2)
        return true;
    const struct piece *a = get(t, id1), *b = get(t, id2);
    if (a->special || b->special || a->byte != b->byte || a->space != b->space)
        return false;
    const char *p = a->text, *q = b->text, *p_end = p + a->len, *q_end = q + b->len;
    while (p < p_end && q < q_end)
        if (rs_lower(rs_utf8_next(&p, p_end)) != rs_lower(rs_utf8_next(&q, q_end)))
            return false;
    return p == p_end && q == q_end;
}

/* ---- Text ---- */

/* Writes what fits and counts everything. Bytes are held back until they form a whole code point. */
struct writer { char *buf; size_t size, len; char part[4]; int held; bool begun; };

static void put(struct writer *w, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++, w->len++)
        if (w->len + 1 < w->size)
            w->buf[w->len] = s[i];
    w->begun |= n > 0;
}

static void put_checked(struct writer *w, const char *s, size_t n)
{
    const char *end = s + n;
    while (s < end) {
        const char *from = s;
        if (rs_utf8_next(&s, end) < 0)
            put(w, "\xef\xbf\xbd", 3);
        else
            put(w, from, (size_t)(s - from));
    }
}

static void flush_bytes(struct writer *w)
{
    put_checked(w, w->part, (size_t)w->held);
    w->held = 0;
}

static void put_byte(struct writer *w, int byte)
{
    if ((byte & 0xc0) != 0x80)                /* not a continuation: what is held will never be whole */
        flush_bytes(w);
    w->part[w->held++] = (char)byte;
    const unsigned char first = (unsigned char)w->part[0];
    const int need = first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 1;
    if (w->held >= need)
        flush_bytes(w);
}

/* Inner ▁ are spaces, too. */
static void put_piece(struct writer *w, const struct piece *p)
{
    const char *s = p->text, *end = s + p->len;
    if (p->byte >= 0) {
        put_byte(w, p->byte);
        return;
    }
    flush_bytes(w);
    while (s < end) {
        const char *space = memmem(s, (size_t)(end - s), RS_SPACE, SPACE_LEN);
        put_checked(w, s, (size_t)((space ? space : end) - s));
        if (space)
            put(w, " ", 1);
        s = space ? space + SPACE_LEN : end;
    }
}

/* The text of a run of tokens. A space is owed from ▁ until something is written that wants it. */
static void put_tokens(const struct rs_tokenizer *t, struct writer *w, const struct rs_token *tokens, size_t count)
{
    bool owed = false;
    for (size_t i = 0; i < count; i++) {
        const struct piece *p = get(t, tokens[i].id);
        if (p->special)
            continue;
        owed |= p->space;
        if (p->byte < 0 && p->len == 0)
            continue;
        if (owed) {
            flush_bytes(w);
            if (w->begun && !p->closing)
                put(w, " ", 1);
        }
        owed = false;
        put_piece(w, p);
    }
    flush_bytes(w);
}

size_t rs_tokenizer_text(const struct rs_tokenizer *t, const struct rs_token *tokens, size_t count, char *buf, size_t size)
{
    struct writer w = {.buf = buf, .size = size};
    put_tokens(t, &w, tokens, count);
    if (size)
        buf[w.len < size ? w.len : size - 1] = '\0';
    return w.len;
}

/* ---- Words ---- */

/* Finds the words: a word begins at a token that owes a space and is not closing punctuation. Fills
 * `words` (when not NULL) with token ranges; returns how many there are. */
static size_t split(const struct rs_tokenizer *t, const struct rs_token *tokens, size_t count, struct rs_word *words)
{
    size_t n = 0;
    bool owed = true, open = false;
    for (size_t i = 0; i < count; i++) {
        const struct piece *p = get(t, tokens[i].id);
        owed |= p->space && !p->special;
        if (p->special || (p->byte < 0 && p->len == 0))
            continue;
        if (!open || (owed && !p->closing)) {
            if (words)
                words[n] = (struct rs_word){.first_token = i, .start = tokens[i].start};
            n++;
            open = true;
        }
        owed = false;
        if (words) {
            struct rs_word *w = &words[n - 1];
            w->n_tokens = i + 1 - w->first_token;
            w->end = tokens[i].end > w->end ? tokens[i].end : w->end;
        }
    }
    return n;
}

static float mean_confidence(const struct rs_tokenizer *t, const struct rs_token *tokens, size_t count)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (!get(t, tokens[i].id)->special) {
            sum += tokens[i].confidence;
            n++;
        }
    return n ? (float)(sum / (double)n) : 0;
}

int rs_tokenizer_words(const struct rs_tokenizer *t, const struct rs_token *tokens, size_t count, struct rs_word **words,
                       size_t *n_words, struct rs_err *e)
{
    const size_t n = split(t, tokens, count, NULL);
    size_t texts = n, block;
    for (size_t i = 0; i < count; i++)
        texts += 3 * ((size_t)get(t, tokens[i].id)->len + 1);     /* a bad byte becomes three */
    *words = NULL;
    *n_words = 0;
    struct rs_word *w = rs_mul_ok(n, sizeof *w, &block) && rs_add_ok(block, texts + 1, &block) ? malloc(block) : NULL;
    if (!w)
        return rs_fail(e, RS_E_NOMEM, "no memory for %zu words", n);
    char *text = (char *)(w + n);
    split(t, tokens, count, w);
    for (size_t i = 0; i < n; i++) {
        const struct rs_token *first = tokens + w[i].first_token;
        const size_t len = rs_tokenizer_text(t, first, w[i].n_tokens, text, texts + 1);
        w[i].text = text;
        w[i].confidence = mean_confidence(t, first, w[i].n_tokens);
        text += len + 1;
        texts -= len + 1;
    }
    *words = w;
    *n_words = n;
    return 0;
}

void rs_tokenizer_refine_times(const struct rs_tokenizer *t, struct rs_token *tokens, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (get(t, tokens[i].id)->punctuation)
            tokens[i].start = tokens[i].end = tokens[i - 1].end;
}
