/* The transducer search with a language model: the best few readings of the sound side by side.
 *
 * Without the network, as the greedy search is: it asks for the scores of a frame after some tokens, whose state the
 * network keeps in numbered slots.
 */
#ifndef RS_BEAM_H
#define RS_BEAM_H

#include <stdbool.h>

#include "asr/asr.h"
#include "asr/ngram.h"
#include "asr/words.h"
#include "base/err.h"

enum { RS_BEAM_WIDTH = 16, RS_BEAM_DURATION = 8,          /* readings kept at a frame; the longest duration + 1 */
       RS_BEAM_SLOTS = RS_BEAM_WIDTH * (RS_BEAM_DURATION + 2) + 1 };

/* Some slots take a token, then some are scored. */
struct rs_beam_round {
    int from[RS_BEAM_WIDTH], tokens[RS_BEAM_WIDTH], to[RS_BEAM_WIDTH], taken;         /* no slot is in both lists */
    int slots[RS_BEAM_WIDTH], scored, frame;
};

struct rs_beam_net {
    /* Slot to[i] becomes from[i] and one more token. Then of each of `slots` a row of scores at the frame (any constant may
     * be added): pieces + 1 tokens, blank last, then the durations. Valid until the next round. False: out of memory. */
    bool (*round)(void *net, const struct rs_beam_round *round, const float **scores);
    /* What speaks for the token before it is heard, in nats, the n-gram model apart; weighted already. */
    float (*expected)(void *net, int slot, int token);
    /* log p(token) as another head of the network hears it near that frame, at most 0; NULL: there is none. */
    float (*second)(void *net, int frame, int token);
    /* What speaks for it that a sentence ends after the slot's tokens, in nats and weighted; NULL: nothing. */
    float (*ends)(void *net, int slot);
    void *net;
};

struct rs_beam_options {
    const struct rs_ngram *lm;
    float weight;                 /* of log p(token | tokens before) in the language model */
    float ctc;                    /* of the other head's */
    float bonus;                  /* for each token: a language model prefers few */
    const struct rs_words *words; /* or NULL */
    float unknown;                /* what a word costs that is none of them */
    int pieces, outputs, max_symbols;             /* outputs: floats in a row of scores */
    const int *durations;
    int n_durations;              /* 0: RNNT */
};

/* Slot 0 is the start. Tokens are appended to out with frame, duration and confidence. */
int rs_beam_search(const struct rs_beam_net *net, const struct rs_beam_options *o, int frames, struct rs_transcript *out,
                   struct rs_err *e);

#endif
