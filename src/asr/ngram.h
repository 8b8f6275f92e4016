/* An n-gram model over a recogniser's pieces: how likely is a piece after those before it?
 *
 * The bytes are a tensor of the model file ("lm.ngrams", written by scripts/train/language_model.py), used in place.
 * They are a trie, level by level: level k holds the n-grams of k pieces, the successors of one n-gram side by side and
 * sorted. Little-endian:
 *
 *   "RSNG", u32 version = 1, u32 levels, u32 n-grams[levels]
 *   for each level:  u8 piece[n]       the n-gram's last piece; piece 0 stands for the start of a sentence
 *                    u8 cost[n]        -log p(piece | the pieces before) in 1/16 nat
 *     all but last:  u8 backoff[n]     (48 - byte) / 16 = log of the weight of the shorter context
 *                    u8 successors[n]
 *                    0 to 3 bytes up to a multiple of four
 *                    u32 begin[n / 64 + 1]   where the successors of n-gram 64·i begin on the next level
 */
#ifndef RS_NGRAM_H
#define RS_NGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RS_NGRAM_LEVELS 8

struct rs_ngram;

/* What came before: for each length the n-gram of the last pieces, where the model has it. All zeros: nothing is known
 * of what came before. */
struct rs_ngram_state { uint32_t node[RS_NGRAM_LEVELS]; };       /* index + 1; node[k]: of the last k pieces, k >= 1 */

/* data stays the caller's and must live as long; RS_E_MODEL_BAD with a sentence when it does not fit together. */
int rs_ngram_open(struct rs_ngram **out, const void *data, size_t size, const char *name, struct rs_err *e);
void rs_ngram_close(struct rs_ngram *n);

/* log p(piece | state), and the state after it (to may be state). */
float rs_ngram_step(const struct rs_ngram *n, const struct rs_ngram_state *state, int piece, struct rs_ngram_state *to);

#endif
