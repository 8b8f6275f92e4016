/* Greedy transducer decoding: TDT (token and duration) and RNNT, which is the same search without durations.
 *
 * The network behind the search of greedy.h: an LSTM over the tokens so far, and a joint layer over what it
 * says and what the encoder heard.
 */
#ifndef RS_TRANSDUCER_H
#define RS_TRANSDUCER_H

#include "asr/asr.h"
#include "asr/greedy.h"
#include "model/model.h"
#include "tensor/linear.h"
#include "tensor/pool.h"

struct rs_transducer;

int rs_transducer_open(struct rs_transducer **out, const struct rs_model *m, const struct rs_backend *b, struct rs_pack *pack,
                       struct rs_pool *pool, int width, struct rs_err *e);
void rs_transducer_close(struct rs_transducer *t);
bool rs_transducer_has_durations(const struct rs_transducer *t);

/* Whether its beam takes a CTC head's log probabilities in too. */
bool rs_transducer_wants_ctc(const struct rs_transducer *t);

/* encoded[frames][width] → tokens with frames, durations, confidences (times are not set). ctc: those of the CTC head,
 * [frames][pieces + 1], or NULL. */
int rs_transducer_run(struct rs_transducer *t, const float *encoded, int frames, const float *ctc, struct rs_transcript *out,
                      struct rs_err *e);

#endif
