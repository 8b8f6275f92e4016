/* Tensors: typed views on memory that somebody else owns. Row-major (PyTorch order): shape[ndim-1] is
 * contiguous. Block types store each row of shape[ndim-1] values in whole blocks. */
#ifndef RS_TENSOR_H
#define RS_TENSOR_H

#include <stddef.h>
#include <stdint.h>

enum rs_type {
    RS_F32, RS_F16, RS_BF16, RS_Q8_0, RS_Q4_0, RS_Q5_0, RS_Q4_K, RS_Q5_K, RS_Q6_K, RS_I64, RS_I8, RS_TYPE_COUNT
};

struct rs_tensor {
    const char *name;         /* canonical (NeMo) name; NULL in a tensor that is absent */
    enum rs_type type;
    int ndim;
    int64_t shape[4];
    const void *data;         /* bytes as stored; aligned to at least the element, blocks to 2 bytes */
    size_t bytes;
};

static inline int64_t rs_tensor_count(const struct rs_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

static inline int rs_type_whole(enum rs_type type) { return type == RS_I64 || type == RS_I8; }   /* counters, bytes: no weights */

const char *rs_type_name(enum rs_type type);              /* "q8_0" */
int rs_type_block(enum rs_type type);                     /* values in a block (1 for plain types) */
size_t rs_type_bytes(enum rs_type type);                  /* bytes of a block */
size_t rs_row_bytes(enum rs_type type, int64_t columns);  /* bytes of one row of `columns` values */

/* Decodes `count` values (a multiple of the block) from stored form to f32. Formulas: ggml's block
 * formats, see src/tensor/blocks.c. */
void rs_dequantize(enum rs_type type, const void *src, float *dst, int64_t count);

/* Encodes to RS_F16, RS_BF16, RS_Q8_0 or RS_Q4_0. */
void rs_quantize(enum rs_type type, const float *src, void *dst, int64_t count);

float rs_f16_to_f32(uint16_t h);
uint16_t rs_f32_to_f16(float f);
static inline float rs_bf16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = {.u = (uint32_t)h << 16};
    return v.f;
}

#endif
