/* bfloat16 as the upper half of an f32, rounded to nearest even. */
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float up(bf16 v)
{
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline bf16 down(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
