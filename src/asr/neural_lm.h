/* A language model over a recogniser's pieces that remembers more than a few of them: how likely is each piece after
 * those before it? One LSTM layer; scripts/train/neural_lm.py trains it, tensors lm.neural.* of the model file hold it:
 *
 *   embed.weight [pieces][input], ih [4·hidden][input], hh [4·hidden][hidden] (PyTorch's order of gates), out [pieces][hidden]
 *
 * Piece 0 stands for the start of a sentence and, as what comes next, for the end of one; ih has the sum of both biases.
 * Histories are kept in numbered slots. */
#ifndef RS_NEURAL_LM_H
#define RS_NEURAL_LM_H

#include <stdbool.h>

#include "asr/weights.h"

struct rs_neural_lm;

/* Room for `slots` (2 or more) histories, of which `rows` at most take a piece at once; slot 0 is the start, and stays so.
 * *out is NULL without failure where the model file has none; failures are in w->rc. Memory comes from w->own. */
void rs_neural_lm_open(struct rs_neural_lm **out, struct rs_weights *w, struct rs_pool *pool, int slots, int rows);
void rs_neural_lm_close(struct rs_neural_lm *l);

/* What rs_neural_lm_take can do ahead of knowing the pieces, on all threads of the pool: its largest product. */
bool rs_neural_lm_recall(struct rs_neural_lm *l, struct rs_pool *pool, const int *from, int n);

/* Slot to[i] becomes from[i] and one more piece (no slot is in both). False: out of memory. */
bool rs_neural_lm_take(struct rs_neural_lm *l, const int *from, const int *pieces, const int *to, int n);

/* log p(piece | what the slot holds, and that it goes on) of every piece; instead of piece 0's the log p that it ends there.
 * Valid until the slot changes. */
const float *rs_neural_lm_next(const struct rs_neural_lm *l, int slot);

#endif
