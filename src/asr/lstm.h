/* One layer of LSTM, for a few histories at once: what the transducer's predictor and the neural language model share. */
#ifndef RS_LSTM_H
#define RS_LSTM_H

#include <stdbool.h>

#include "tensor/linear.h"

/* What a layer remembers of one history. */
struct rs_lstm_memory {
    float *cell, *h;            /* [hidden] */
    float *recalled;            /* W_hh·h + b_hh [4·hidden], which does not depend on the next input, once it is known */
    bool known;
};

/* Makes `recalled` known for n of the memories. rs_lstm_step does it where it was not done before. False: out of memory. */
bool rs_lstm_recall(const struct rs_linear *hh, struct rs_pool *pool, struct rs_arena *a, struct rs_lstm_memory *memories,
                    const int *from, int n);

/* memories[to[i]] becomes memories[from[i]] after one more input, whose W_ih·x + b_ih is row i of gates [n][4·hidden]
 * (no memory is in both lists). rows: the answers h, as the products that follow want them, until the arena is
 * reset. False: out of memory. */
bool rs_lstm_step(const struct rs_linear *hh, struct rs_pool *pool, struct rs_arena *a, struct rs_lstm_memory *memories,
                  const int *from, const int *to, int n, const float *gates, struct rs_rows *rows);

#endif
