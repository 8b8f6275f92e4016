/* Models of the published shapes with random weights, made in memory: for measuring speed with no file.
 *
 * The matrices are q8_0 views on one shared block of random bytes, so that a 0.6B model costs a few
 * megabytes. The joint's bias makes the decoder always emit a token of duration 3, so that the work per
 * second of sound is fixed (63 steps for 15 s).
 */
#ifndef RS_SYNTHETIC_H
#define RS_SYNTHETIC_H

#include "base/err.h"
#include "model/model.h"

/* shape: "0.6b-v3", "0.6b-v2", "110m". Freed by rs_synthetic_free, not by rs_model_close. */
int rs_synthetic_model(struct rs_model **out, const char *shape, struct rs_err *e);
void rs_synthetic_free(struct rs_model *m);

/* The shapes' names separated by '|'. */
#define RS_SYNTHETIC_SHAPES "0.6b-v3|0.6b-v2|110m"

#endif
