/* ggml's block formats: groups of 32 or 256 values that share scales. A row is a whole number of blocks.
 *
 * Formulas: ggml's src/ggml-common.h describes the layouts; each function states its own. A byte holds two
 * 4-bit values: the low nibble belongs to the block's first half, the high one to its second.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/tensor.h"

#define PIECE (1 << 20)

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static float half_at(const uint8_t *p) { return rs_f16_to_f32(u16(p)); }

/* d, 32 signed bytes: d·q */
static void decode_q8_0(const uint8_t *b, float *y)
{
    const float d = half_at(b);
    for (int j = 0; j < 32; j++)
        y[j] = d * (int8_t)b[2 + j];
}

/* d, 16 bytes of nibbles: d·(q − 8) */
static void decode_q4_0(const uint8_t *b, float *y)
{
    const float d = half_at(b);
    for (int j = 0; j < 16; j++) {
        y[j] = d * ((b[2 + j] & 15) - 8);
        y[j + 16] = d * ((b[2 + j] >> 4) - 8);
    }
}

/* d, 32 fifth bits, 16 bytes of nibbles: d·(q − 16) */
static void decode_q5_0(const uint8_t *b, float *y)
{
    const float d = half_at(b);
    const uint32_t high = (uint32_t)u16(b + 2) | (uint32_t)u16(b + 4) << 16;
    for (int j = 0; j < 16; j++) {
        y[j] = d * ((int)((b[6 + j] & 15u) | (high >> j & 1) << 4) - 16);
        y[j + 16] = d * ((int)((b[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
    }
}

/* The 6-bit scale and minimum of sub-block j, eight of each in twelve bytes. */
static void scale_min(const uint8_t *s, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

/* d, dmin, scales, [32 bytes of fifth bits,] 128 bytes of nibbles: d·scale·q − dmin·min. Byte l of group g
 * (64 values) holds values l of sub-blocks 2g and 2g + 1; their fifth bits are bits 2g and 2g + 1. */
static void decode_k(const uint8_t *b, const uint8_t *fifth, const uint8_t *nibbles, float *y)
{
    const float d = half_at(b), dmin = half_at(b + 2);
    for (int sub = 0; sub < 8; sub++, y += 32) {
        int scale, min;
        scale_min(b + 4, sub, &scale, &min);
        const float m = dmin * (float)min, s = d * (float)scale;
        const uint8_t *q = nibbles + 32 * (sub / 2);
        const int shift = sub % 2 * 4;
        for (int l = 0; l < 32; l++) {
            const int high = fifth ? (fifth[l] >> sub & 1) << 4 : 0;
            y[l] = s * (float)((q[l] >> shift & 15) + high) - m;
        }
    }
}

static void decode_q4_k(const uint8_t *b, float *y) { decode_k(b, NULL, b + 16, y); }
static void decode_q5_k(const uint8_t *b, float *y) { decode_k(b, b + 16, b + 48, y); }

/* 128 low nibbles' bytes, 64 bytes of 2-bit fields, 16 signed scales, d: d·scale·(q − 32) */
static void decode_q6_k(const uint8_t *b, float *y)
{
    const float d = half_at(b + 208);
    for (int part = 0; part < 2; part++) {
        const uint8_t *low = b + 64 * part, *high = b + 128 + 32 * part;
        const int8_t *scale = (const int8_t *)b + 192 + 8 * part;
        for (int i = 0; i < 128; i++) {
            const int field = i / 32, l = i % 32;
            const int nibble = low[l + 32 * (field & 1)] >> (field & 2 ? 4 : 0) & 15;
            const int q = nibble | (high[l] >> 2 * field & 3) << 4;
            y[128 * part + i] = d * scale[i / 16] * (float)(q - 32);
        }
    }
}

void rs_dequantize(enum rs_type type, const void *src, float *dst, int64_t count)
{
    const uint8_t *s = src;
    void (*decode)(const uint8_t *, float *) = NULL;
    switch (type) {
    case RS_F32: memcpy(dst, src, (size_t)count * sizeof *dst); return;
    case RS_F16:
        for (int64_t i = 0; i < count; i += PIECE)
            rs_kernels()->from_f16(s + 2 * i, (int)(count - i < PIECE ? count - i : PIECE), dst + i);
        return;
    case RS_BF16:
        for (int64_t i = 0; i < count; i++)
            dst[i] = rs_bf16_to_f32(u16(s + 2 * i));
        return;
    case RS_I64:
        for (int64_t i = 0; i < count; i++) {
            int64_t v;
            memcpy(&v, s + 8 * i, sizeof v);
            dst[i] = (float)v;
        }
        return;
    case RS_I8:
        for (int64_t i = 0; i < count; i++)
            dst[i] = (float)(int8_t)s[i];
        return;
    case RS_Q8_0: decode = decode_q8_0; break;
    case RS_Q4_0: decode = decode_q4_0; break;
    case RS_Q5_0: decode = decode_q5_0; break;
    case RS_Q4_K: decode = decode_q4_k; break;
    case RS_Q5_K: decode = decode_q5_k; break;
    case RS_Q6_K: decode = decode_q6_k; break;
    case RS_TYPE_COUNT: return;
    }
    const int block = rs_type_block(type);
    for (int64_t i = 0; i < count; i += block, s += rs_type_bytes(type))
        decode(s, dst + i);
}

static void put_half(uint8_t *p, float f)
{
    const uint16_t h = rs_f32_to_f16(f);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* d = amax/127; halves round away from zero, as ggml's reference does */
static void encode_q8_0(const float *x, uint8_t *b)
{
    float amax = 0;
    for (int j = 0; j < 32; j++)
        amax = fmaxf(amax, fabsf(x[j]));
    const float d = amax / 127, inverse = d != 0 ? 1 / d : 0;
    put_half(b, d);
    for (int j = 0; j < 32; j++)
        b[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
}

/* d = (the value of largest magnitude)/−8, so that it is exact at q = 0 */
static void encode_q4_0(const float *x, uint8_t *b)
{
    float extreme = 0;
    for (int j = 0; j < 32; j++)
        if (fabsf(x[j]) > fabsf(extreme))
            extreme = x[j];
    const float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
    put_half(b, d);
    for (int j = 0; j < 16; j++) {
        const int low = (int)(x[j] * inverse + 8.5f), high = (int)(x[j + 16] * inverse + 8.5f);
        b[2 + j] = (uint8_t)((low > 15 ? 15 : low) | (high > 15 ? 15 : high) << 4);
    }
}

static uint16_t to_bf16(float f)
{
    union { float f; uint32_t u; } v = {.f = f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(v.u >> 16 | 64);          /* stay NaN */
    return (uint16_t)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}

void rs_quantize(enum rs_type type, const float *src, void *dst, int64_t count)
{
    uint8_t *d = dst;
    if (type == RS_Q8_0 || type == RS_Q4_0) {
        for (int64_t i = 0; i < count; i += 32, d += rs_type_bytes(type))
            (type == RS_Q8_0 ? encode_q8_0 : encode_q4_0)(src + i, d);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        const uint16_t h = type == RS_BF16 ? to_bf16(src[i]) : rs_f32_to_f16(src[i]);
        d[2 * i] = (uint8_t)h;
        d[2 * i + 1] = (uint8_t)(h >> 8);
    }
}
