/* In place of src/asr/beam.c, for rivals.py: the same search, but readings count as one only if their last 48 tokens are the same,
 * and all that are left at the end are printed, each as "|score outside token token ...": outside is the part of the score that does
 * not come from the transducer. Linked with engine_tokens.c, whose line of tokens ends it, and build/librec-stt.a. */
#include <stdio.h>

#define RECENT 48
#define rs_beam_search search_without_telling
#include "asr/beam.c"
#undef rs_beam_search

enum { LONGEST = 1000 };

/* Goes through a reading once more, without the sound. */
static float outside_of(struct search *s, const struct step *const *path, int n)
{
    struct rs_ngram_state before = {{0}};
    struct rs_words_state word = {0};
    uint64_t tokens = 0;
    float sum = 0;
    int slot = 0;
    s->slots[slot].users++;
    for (int i = 0; i < n; i++) {
        const int token = path[i]->token;
        struct rs_beam_round round = {.from = {slot}, .tokens = {token}, .taken = 1};
        bool heard;
        sum = spoken_for(s, sum, slot, token, path[i]->frame);
        sum += s->o->weight * rs_ngram_step(s->o->lm, &before, token, &before);
        if (s->o->words)
            sum -= s->o->unknown * (float)rs_words_step(s->o->words, &word, token);
        tokens = hash_with(tokens, token);
        slot = round.to[0] = slot_for(s, tokens, &heard);
        if (!heard && !s->net->round(s->net->net, &round, NULL))
            exit(1);
        let_go(s, round.from[0]);
    }
    sum += at_end(s, slot, word);
    let_go(s, slot);
    return sum;
}

static void tell_reading(struct search *s, const struct reading *r)
{
    const struct step *path[LONGEST];
    int n = 0;
    for (int i = r->last; i >= 0 && n < LONGEST; i = s->steps[i].parent)
        n++;
    int at = n;
    for (int i = r->last; at > 0; i = s->steps[i].parent)
        path[--at] = &s->steps[i];
    const float score = r->score + at_end(s, r->slot, r->word), outside = outside_of(s, path, n);
    printf("|%.3f %.3f", (double)score, (double)outside);
    for (int i = 0; i < n; i++)
        printf(" %d", path[i]->token);
}

int rs_beam_search(const struct rs_beam_net *net, const struct rs_beam_options *o, int frames, struct rs_transcript *out,
                   struct rs_err *e)
{
    struct search s = {.net = net, .o = o};
    const bool ok = search_all(&s, frames, out);
    for (int i = 0; i <= RS_BEAM_DURATION && ok; i++)
        for (int j = 0; j < s.queues[i].count; j++)
            tell_reading(&s, &s.queues[i].r[j]);
    putchar('|');
    free(s.steps);
    return ok ? 0 : rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
}
