/* Inside rs_attention: one head at a time, in f32, in 16 bits or on AMX tiles in bf16. */
#ifndef RS_ATTENTION_H
#define RS_ATTENTION_H

#include "tensor/ops.h"

/* Bytes of scratch that one head needs; each part of the pool has its own, 64-byte aligned. */
size_t rs_attention_f32_room(const struct rs_attention *t);
void rs_attention_f32(const struct rs_attention *t, int head, void *scratch);

/* 16-bit products with 32-bit sums; kernels that have panels16. */
size_t rs_attention_i16_room(const struct rs_attention *t);
void rs_attention_i16(const struct rs_attention *t, int head, void *scratch);

/* bf16 products with f32 sums; heads of 32, 64, 96 … values. */
size_t rs_attention_amx_room(const struct rs_attention *t);
void rs_attention_amx(const struct rs_attention *t, int head, void *scratch);

/* What rs_attention uses: follows the backend, as the kernels do. */
enum rs_attention_kind { RS_ATTENTION_F32, RS_ATTENTION_I16, RS_ATTENTION_TILES };
void rs_attention_use(enum rs_attention_kind kind);

#endif
