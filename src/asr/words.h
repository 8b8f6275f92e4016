/* Which words there are, and how they begin: the beam doubts a reading that spells neither.
 *
 * The bytes are a tensor of the model file ("lm.words", written by scripts/train/language_model.py), used in place: a
 * set that may take a stranger for a member, never a member for a stranger (Bloom 1970). Members are all beginnings of
 * words, and each whole word with a space after it. An apostrophe parts words as a space does: "don't" is "don" and "t".
 * Little-endian:
 *
 *   "RSWD", u32 version = 1, u32 probes, u32 bits, u8 set[bits / 8]
 *
 * A member's FNV-1a hash of 64 bits is folded to h = hash ^ hash >> 32 and g = hash >> 17 | 1 (32 bits each); the bits
 * number (h + i·g mod 2^32) · bits >> 32 are set for i = 0 … probes - 1.
 */
#ifndef RS_WORDS_H
#define RS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/model.h"

struct rs_words;

/* The word that is being spelt. All zeros: none. */
struct rs_words_state { uint64_t spelt; bool doubted; };

/* data stays the caller's, and m, whose pieces are spelt, too; RS_E_MODEL_BAD with a sentence where data does not fit
 * together. */
int rs_words_open(struct rs_words **out, const void *data, size_t size, const struct rs_model *m, struct rs_err *e);
void rs_words_close(struct rs_words *w);

/* How many words are in doubt from this piece on, that were not before: one that has come to begin as no known word
 * does, or one that ends here without being one. Each is counted once. */
int rs_words_step(const struct rs_words *w, struct rs_words_state *state, int piece);

/* The same for the end of everything. */
int rs_words_end(const struct rs_words *w, struct rs_words_state *state);

#endif
