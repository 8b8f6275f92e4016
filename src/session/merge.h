/* The seam between two chunks: which words of the new one follow those already given out.
 *
 * Words are compared by their pieces and their times, never by text alone, spliced only where a word
 * begins, and kept in the order in which they were heard. Near a chunk's right edge words are held back:
 * the next chunk, which heard more of them, says them; if it does not, the held ones are given after all.
 * A seam may glue, it never deletes. Pure: no audio, no threads.
 */
#ifndef RS_MERGE_H
#define RS_MERGE_H

#include <stdbool.h>
#include <stddef.h>

#include "asr/asr.h"
#include "base/err.h"

/* What the merge and the chunker need of a recogniser; rs_asr behind it, or a script in tests. */
struct rs_recogniser {
    void *self;
    int (*run)(void *self, const float *pcm, size_t n, struct rs_transcript *out, struct rs_err *e);
    bool (*starts_word)(const void *self, int id);
    bool (*same_piece)(const void *self, int id1, int id2);
    size_t (*text)(const void *self, const struct rs_token *tokens, size_t n, char *buf, size_t size);
    int (*words)(const void *self, const struct rs_token *tokens, size_t n, struct rs_word **words, size_t *n_words,
                 struct rs_err *e);
};

struct rs_tokens { struct rs_token *at; size_t count, cap; };
bool rs_tokens_add(struct rs_tokens *t, const struct rs_token *from, size_t n);

struct rs_merge {
    struct rs_tokens given;       /* the last words given out, as far back as a chunk can reach */
    struct rs_tokens held;        /* heard after them, not given out yet */
};
void rs_merge_free(struct rs_merge *m);
bool rs_merge_copy(struct rs_merge *to, const struct rs_merge *from);

/* Takes the tokens of the next chunk (`frame`, `start`, `end` counted from the session's start), whose window begins at
 * `begin` seconds, and appends to `out` those that are new. Words that end after `until` seconds (and all that follow
 * them) are held. With `fresh` empty, held words that end by `until` are given. false: out of memory, nothing changed. */
bool rs_merge_next(struct rs_merge *m, const struct rs_recogniser *r, const struct rs_tokens *fresh, double begin,
                   double until, struct rs_tokens *out);

#define RS_FRAME_S 0.08           /* seconds of an encoder frame */

#endif
