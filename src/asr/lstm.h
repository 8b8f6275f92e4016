/* One layer of LSTM, for a few histories at once: what the transducer's predictor and the neural language model share. */
#ifndef RS_LSTM_H
#define RS_LSTM_H

#include <stdbool.h>

#include "tensor/linear.h"

/* What a layer remembers of one history. */
struct rs_lstm_memory {
    float *cell;                /* [hidden] */
    float *recalled;            /* W_hh·h + b_hh [4·hidden]: it does not depend on the next input */
};

/* memories[to[i]] becomes memories[from[i]] after one more input, whose W_ih·x + b_ih is row i of gates [n][4·hidden], which
 * is written over (no memory is in both lists). h [n][hidden] is the layer's answer, and `rows` the same as the products
 * that follow want it, until the arena is reset. False: out of memory. */
bool rs_lstm_step(const struct rs_linear *hh, struct rs_pool *pool, struct rs_arena *a, const struct rs_lstm_memory *memories,
                  const int *from, const int *to, int n, float *gates, float *h, struct rs_rows *rows);

#endif
