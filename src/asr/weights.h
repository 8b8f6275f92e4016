/* Reading a network's weights out of a model file: every name and shape is checked on the way in.
 *
 * The first failure stays in `rc`; later calls do nothing, so that a loader lists its tensors one per
 * line and looks at `rc` once. Vectors that are f32 in the file are used in place; others are decoded
 * into `own`, which the network frees.
 */
#ifndef RS_WEIGHTS_H
#define RS_WEIGHTS_H

#include "base/err.h"
#include "base/mem.h"
#include "model/model.h"
#include "tensor/linear.h"

struct rs_weights {
    const struct rs_model *model;
    const struct rs_backend *backend;
    struct rs_pack *pack;
    struct rs_arena *own;
    struct rs_err *e;
    int rc;
};

/* prefix and name are joined: rs_weights_linear(w, &l, "encoder.layers.3.", "self_attn.linear_q", n, k) reads
 * …linear_q.weight [n, k] and, where there is one, …linear_q.bias [n]. */
void rs_weights_linear(struct rs_weights *w, struct rs_linear *l, const char *prefix, const char *name, int n, int k);

/* The tensor's values as f32, its shape checked (ndim dimensions; trailing ones ignored). */
const float *rs_weights_values(struct rs_weights *w, const char *prefix, const char *name, int ndim, const int64_t *shape);
const float *rs_weights_vector(struct rs_weights *w, const char *prefix, const char *name, int n);

/* As rs_weights_vector, but NULL without failure where the tensor is absent. */
const float *rs_weights_optional(struct rs_weights *w, const char *prefix, const char *name, int n);

/* Fresh memory of the network's own. */
float *rs_weights_room(struct rs_weights *w, size_t count);

/* The tensor, or a failure (its shape is the caller's business). */
const struct rs_tensor *rs_weights_find(struct rs_weights *w, const char *prefix, const char *name);

#endif
