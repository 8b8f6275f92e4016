/* What a tensor's type means in bytes, and half precision. The block formats themselves are in blocks.c. */
#include "tensor/tensor.h"

#include <string.h>

static const struct { const char *name; int block; size_t bytes; } types[RS_TYPE_COUNT] = {
    [RS_F32] = {"f32", 1, 4},       [RS_F16] = {"f16", 1, 2},        [RS_BF16] = {"bf16", 1, 2},
    [RS_Q8_0] = {"q8_0", 32, 34},   [RS_Q4_0] = {"q4_0", 32, 18},    [RS_Q5_0] = {"q5_0", 32, 22},
    [RS_Q4_K] = {"q4_K", 256, 144}, [RS_Q5_K] = {"q5_K", 256, 176},  [RS_Q6_K] = {"q6_K", 256, 210},
    [RS_I64] = {"i64", 1, 8},       [RS_I8] = {"i8", 1, 1},
};

const char *rs_type_name(enum rs_type type)
{
    return (unsigned)type < RS_TYPE_COUNT ? types[type].name : "unknown";
}

int rs_type_block(enum rs_type type)
{
    return types[type].block;
}

size_t rs_type_bytes(enum rs_type type)
{
    return types[type].bytes;
}

size_t rs_row_bytes(enum rs_type type, int64_t columns)
{
    return (size_t)(columns / types[type].block) * types[type].bytes;
}

/* IEEE 754 binary16. Subnormals are scaled by 2^-24; exponent 31 is infinity or NaN. */
float rs_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    union { uint32_t u; float f; } v;
    if (exponent == 0) {
        v.f = (float)mantissa * 0x1p-24f;
        v.u |= sign;
    } else if (exponent == 31) {
        v.u = sign | 0x7f800000u | mantissa << 13;
    } else {
        v.u = sign | (exponent + 112) << 23 | mantissa << 13;
    }
    return v.f;
}

/* Rounds to nearest, ties to even, as the hardware's conversion does. */
uint16_t rs_f32_to_f16(float f)
{
    union { float f; uint32_t u; } v = {.f = f};
    const uint16_t sign = (uint16_t)(v.u >> 16 & 0x8000);
    const uint32_t a = v.u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return sign | 0x7e00;
    if (a >= 0x477ff000u)               /* 65520 and more round to infinity */
        return sign | 0x7c00;
    if (a < 0x38800000u) {              /* below 2^-14: the sum's last bits are the subnormal's mantissa */
        union { uint32_t u; float f; } s = {.u = a};
        s.f += 0.5f;
        return sign | (uint16_t)(s.u - 0x3f000000u);
    }
    return sign | (uint16_t)((a + 0xfff + (a >> 13 & 1) - 0x38000000u) >> 13);
}
