/* The table of tensors in a PyTorch state dict's pickle, read as data: nothing is ever called. */
#ifndef RS_PICKLE_H
#define RS_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tensor/tensor.h"

struct rs_pickled {
    const char *name, *key;             /* in the pickle itself, not terminated: the tensor and its storage's record */
    size_t name_len, key_len;
    struct rs_tensor t;                 /* type and shape; no data yet; ndim 0 for a scalar */
    uint64_t offset;                    /* first value within the storage */
};

/* *out is freed by the caller. */
int rs_pickle_read(struct rs_pickled **out, size_t *count, const uint8_t *data, size_t size, const char *path, struct rs_err *e);

#endif
