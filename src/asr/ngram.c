/* See ngram.h. Backing off: the longest known context that has the piece gives its probability; every longer one that
 * has not multiplies it by its backoff weight (Katz 1987). */
#include "asr/ngram.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BLOCK = 64, BACKOFF_ZERO = 48, PIECES = 256 };
#define STEP 16.0f
#define UNKNOWN 16.0f                   /* nats for a piece that the text never had */

struct level {
    const uint8_t *piece, *cost, *backoff, *successors;      /* the last two NULL on the last level */
    const uint32_t *begin;
    uint32_t count;
};

struct rs_ngram {
    int levels;
    struct level level[RS_NGRAM_LEVELS];
    uint32_t first[PIECES];             /* piece → index + 1 on the first level */
};

static const uint8_t *part(const uint8_t **at, const uint8_t *end, size_t bytes)
{
    const uint8_t *p = *at;
    if (!p || bytes > (size_t)(end - p))
        return *at = NULL;
    *at = p + bytes;
    return p;
}

/* The begins must be what the counts of successors say: a search then stays inside its level. */
static bool adds_up(const struct level *l, uint32_t next)
{
    uint64_t sum = 0;
    for (uint32_t at = 0; at < l->count; at += BLOCK) {
        if (l->begin[at / BLOCK] != sum || sum > next)
            return false;
        const uint32_t end = at + BLOCK < l->count ? at + BLOCK : l->count;
        for (uint32_t i = at; i < end; i++)
            sum += l->successors[i];
    }
    return sum == next;
}

static bool lay_out(struct rs_ngram *n, const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    uint32_t head[3 + RS_NGRAM_LEVELS] = {0};
    const uint8_t *p = part(&at, end, 12);
    if (!p || (uintptr_t)data % 4)
        return false;
    memcpy(head, p, 12);
    if (memcmp(p, "RSNG", 4) != 0 || head[1] != 1 || head[2] < 1 || head[2] > RS_NGRAM_LEVELS)
        return false;
    n->levels = (int)head[2];
    if (!(p = part(&at, end, 4 * (size_t)n->levels)))
        return false;
    memcpy(head + 3, p, 4 * (size_t)n->levels);
    for (int k = 0; k < n->levels; k++) {
        struct level *l = &n->level[k];
        l->count = head[3 + k];
        l->piece = part(&at, end, l->count);
        l->cost = part(&at, end, l->count);
        if (k + 1 < n->levels) {
            l->backoff = part(&at, end, l->count);
            l->successors = part(&at, end, l->count);
            part(&at, end, (size_t)-(at - data) % 4);
            l->begin = (const uint32_t *)(const void *)part(&at, end, 4 * ((size_t)l->count / BLOCK + 1));
        }
        if (!at || (k == 0 && l->count > PIECES))
            return false;
    }
    for (int k = 0; k + 1 < n->levels; k++)
        if (!adds_up(&n->level[k], n->level[k + 1].count))
            return false;
    return true;
}

int rs_ngram_open(struct rs_ngram **out, const void *data, size_t size, const char *name, struct rs_err *e)
{
    *out = NULL;
    struct rs_ngram *n = rs_zeroed(1, sizeof *n);
    if (!n)
        return rs_fail(e, RS_E_NOMEM, "no memory for the language model of %s", name);
    if (!lay_out(n, data, size)) {
        free(n);
        return rs_fail(e, RS_E_MODEL_BAD, "the language model in %s is damaged: fetch the model again", name);
    }
    for (uint32_t i = 0; i < n->level[0].count; i++)
        n->first[n->level[0].piece[i]] = i + 1;
    *out = n;
    return 0;
}

void rs_ngram_close(struct rs_ngram *n)
{
    free(n);
}

/* The n-gram `node` and then the piece: its index + 1 on the next level, or 0. */
static uint32_t successor(const struct rs_ngram *n, int k, uint32_t node, uint8_t piece)
{
    const struct level *l = &n->level[k - 1];
    const uint8_t *pieces = n->level[k].piece;
    uint32_t from = l->begin[node / BLOCK], many = l->successors[node];
    for (uint32_t i = node - node % BLOCK; i < node; i++)
        from += l->successors[i];
    while (many) {
        const uint32_t half = many / 2;
        if (pieces[from + half] < piece) {
            from += half + 1;
            many -= half + 1;
        } else if (pieces[from + half] > piece) {
            many = half;
        } else {
            return from + half + 1;
        }
    }
    return 0;
}

float rs_ngram_step(const struct rs_ngram *n, const struct rs_ngram_state *state, int piece, struct rs_ngram_state *to)
{
    struct rs_ngram_state next = {{0}};
    float log_p = 0;
    bool found = false;
    if (piece < 0 || piece >= PIECES) {
        *to = next;
        return -UNKNOWN;
    }
    for (int k = n->levels - 1; k > 0; k--) {
        if (!state->node[k])
            continue;
        const uint32_t node = state->node[k] - 1, at = successor(n, k, node, (uint8_t)piece);
        if (k + 1 < n->levels)
            next.node[k + 1] = at;
        if (!found && at)
            log_p -= (float)n->level[k].cost[at - 1] / STEP;
        else if (!found)
            log_p += (float)(BACKOFF_ZERO - n->level[k - 1].backoff[node]) / STEP;
        found = found || at;
    }
    const uint32_t at = n->first[piece];
    if (n->levels > 1)
        next.node[1] = at;
    if (!found)
        log_p -= at ? (float)n->level[0].cost[at - 1] / STEP : UNKNOWN;
    *to = next;
    return log_p;
}
