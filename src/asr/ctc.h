/* Greedy CTC: the best label of every frame, equal neighbours taken once, blanks dropped.
 *
 * A token begins at the first frame of its run and lasts for the run; its confidence is its best
 * probability in it. (NeMo reports spans that lag by one token; ports differ among themselves.)
 */
#ifndef RS_CTC_H
#define RS_CTC_H

#include "asr/asr.h"
#include "model/model.h"
#include "tensor/linear.h"
#include "tensor/pool.h"

struct rs_ctc;

bool rs_ctc_present(const struct rs_model *m);
int rs_ctc_open(struct rs_ctc **out, const struct rs_model *m, const struct rs_backend *b, struct rs_pack *pack,
                struct rs_pool *pool, int width, struct rs_err *e);
void rs_ctc_close(struct rs_ctc *c);

/* encoded[frames][width] → tokens with frames, durations, confidences (times are not set). */
int rs_ctc_run(struct rs_ctc *c, const float *encoded, int frames, struct rs_transcript *out, struct rs_err *e);

/* log probabilities of all labels, [frames][pieces + 1], valid until the next call; NULL: out of memory. */
const float *rs_ctc_log_probs(struct rs_ctc *c, const float *encoded, int frames);

#endif
