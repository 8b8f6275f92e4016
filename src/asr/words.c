/* See words.h. */
#include "asr/words.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

struct rs_words {
    const struct rs_piece *pieces;
    int n_pieces;
    const uint8_t *set;
    uint32_t bits, probes;
};

static uint64_t and_then(uint64_t hash, char c)
{
    return (hash ^ (uint8_t)c) * FNV_PRIME;
}

static bool known(const struct rs_words *w, uint64_t hash)
{
    uint32_t h = (uint32_t)(hash ^ hash >> 32);
    const uint32_t g = (uint32_t)(hash >> 17) | 1;
    for (uint32_t i = 0; i < w->probes; i++, h += g) {
        const uint32_t bit = (uint32_t)((uint64_t)h * w->bits >> 32);
        if (!(w->set[bit / 8] >> bit % 8 & 1))
            return false;
    }
    return true;
}

int rs_words_open(struct rs_words **out, const void *data, size_t size, const struct rs_model *m, struct rs_err *e)
{
    uint32_t head[4] = {0};
    *out = NULL;
    if (size >= sizeof head)
        memcpy(head, data, sizeof head);
    if (size < sizeof head || memcmp(data, "RSWD", 4) != 0 || head[1] != 1 || head[2] < 1 || head[2] > 32 || !head[3] ||
        head[3] % 8 || head[3] / 8 != size - sizeof head)
        return rs_fail(e, RS_E_MODEL_BAD, "the list of words in %s is damaged: fetch the model again", m->path);
    struct rs_words *w = rs_zeroed(1, sizeof *w);
    if (!w)
        return rs_fail(e, RS_E_NOMEM, "no memory for the words of %s", m->path);
    *w = (struct rs_words){m->pieces, m->n_pieces, (const uint8_t *)data + sizeof head, head[3], head[2]};
    *out = w;
    return 0;
}

void rs_words_close(struct rs_words *w)
{
    free(w);
}

int rs_words_end(const struct rs_words *w, struct rs_words_state *state)
{
    const int doubts = state->spelt && !state->doubted && !known(w, and_then(state->spelt, ' '));
    *state = (struct rs_words_state){0};
    return doubts;
}

int rs_words_step(const struct rs_words *w, struct rs_words_state *state, int piece)
{
    if (piece < 0 || piece >= w->n_pieces)
        return 0;
    int doubts = 0;
    const char *s = w->pieces[piece].text;
    if (strncmp(s, RS_SPACE, sizeof RS_SPACE - 1) == 0) {
        doubts += rs_words_end(w, state);
        s += sizeof RS_SPACE - 1;
    }
    for (; *s; s++)
        if (*s == '\'')
            doubts += rs_words_end(w, state);
        else
            state->spelt = and_then(state->spelt ? state->spelt : FNV_BASIS, *s);
    if (state->spelt && !state->doubted && !known(w, state->spelt)) {
        state->doubted = true;
        doubts++;
    }
    return doubts;
}
