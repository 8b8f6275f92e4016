/* Inside rs_attention: one head at a time, in f32 or on AMX tiles in bf16. */
#ifndef RS_ATTENTION_H
#define RS_ATTENTION_H

#include "tensor/ops.h"

/* Bytes of scratch that one head needs; each part of the pool has its own, 64-byte aligned. */
size_t rs_attention_f32_room(const struct rs_attention *t);
void rs_attention_f32(const struct rs_attention *t, int head, void *scratch);

/* bf16 products with f32 sums; heads of 32, 64, 96 … values. */
size_t rs_attention_amx_room(const struct rs_attention *t);
void rs_attention_amx(const struct rs_attention *t, int head, void *scratch);

/* Whether rs_attention may use tiles: follows the backend, as the kernels do. */
void rs_attention_use_tiles(bool tiles);

#endif
