/* A recurrent language model over a recogniser's pieces, for the decoder's beam: one LSTM layer.
 *
 * What it knows after some tokens lies in numbered slots, as the predictor's states do. Tensors of the model file,
 * written by scripts/train/recurrent_model.py:
 *   lm.input.weight  [pieces][4·hidden]    what a token adds to the gates (i, f, g, o), biases included
 *   lm.hidden.weight [4·hidden][hidden]
 *   lm.output.weight [pieces][hidden], lm.output.bias [pieces]
 * Piece 0 stands for the start of a sentence.
 */
#ifndef RS_RECURRENT_H
#define RS_RECURRENT_H

#include <stdbool.h>

#include "asr/weights.h"
#include "tensor/pool.h"

struct rs_recurrent;

/* For at most `rows` tokens at once. *out is NULL, without failure, where the file has no such tensors. */
void rs_recurrent_open(struct rs_recurrent **out, struct rs_weights *w, struct rs_pool *pool, int slots, int rows);
void rs_recurrent_close(struct rs_recurrent *r);

/* Slot 0 becomes the start of a sentence. False: out of memory. */
bool rs_recurrent_begin(struct rs_recurrent *r);

/* Slot to[i] becomes from[i] and one more token, for n of them. False: out of memory. */
bool rs_recurrent_take(struct rs_recurrent *r, const int *from, const int *tokens, const int *to, int n);

/* log p(piece | tokens of the slot) for every piece. */
const float *rs_recurrent_next(const struct rs_recurrent *r, int slot);

#endif
