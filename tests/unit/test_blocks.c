/* The block formats against the reference implementation's own results. */
#include "tensor/tensor.h"
#include "test.h"

#include "blocks_vectors.h"

static void same(enum rs_type type, const void *raw, const float *want)
{
    float got[256];
    const int n = rs_type_block(type);
    rs_dequantize(type, raw, got, n);
    for (int i = 0; i < n; i++)
        CHECK_NEAR(got[i], want[i], 1e-6 * (1 + fabs((double)want[i])));
}

static void q8_0(void) { same(RS_Q8_0, vector_q8_0_raw, vector_q8_0); }
static void q4_0(void) { same(RS_Q4_0, vector_q4_0_raw, vector_q4_0); }
static void q5_0(void) { same(RS_Q5_0, vector_q5_0_raw, vector_q5_0); }
static void q4_k(void) { same(RS_Q4_K, vector_q4_k_raw, vector_q4_k); }
static void q5_k(void) { same(RS_Q5_K, vector_q5_k_raw, vector_q5_k); }
static void q6_k(void) { same(RS_Q6_K, vector_q6_k_raw, vector_q6_k); }

static void encodings(void)
{
    static const struct { enum rs_type type; const unsigned char *want; size_t bytes; } cases[] = {
        {RS_Q8_0, vector_q8_0_encoded, sizeof vector_q8_0_encoded},
        {RS_Q4_0, vector_q4_0_encoded, sizeof vector_q4_0_encoded},
        {RS_F16, vector_f16_encoded, sizeof vector_f16_encoded},
        {RS_BF16, vector_bf16_encoded, sizeof vector_bf16_encoded},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        unsigned char got[256];
        CHECK_INT((long long)rs_row_bytes(cases[c].type, 64), (long long)cases[c].bytes);
        rs_quantize(cases[c].type, vector_row, got, 64);
        CHECK(memcmp(got, cases[c].want, cases[c].bytes) == 0);
    }
}

static void half_round_trip(void)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = rs_f16_to_f32((uint16_t)h);
        const uint16_t back = rs_f32_to_f16(f);
        if (f != f)
            CHECK((back & 0x7c00) == 0x7c00 && (back & 0x3ff));
        else
            CHECK_INT(back, h);
    }
    CHECK_INT(rs_f32_to_f16(65519.f), 0x7bff);
    CHECK_INT(rs_f32_to_f16(65520.f), 0x7c00);
    CHECK_INT(rs_f32_to_f16(-1e30f), 0xfc00);
    CHECK_INT(rs_f32_to_f16(0x1p-25f), 0);           /* a tie goes to even */
    CHECK_INT(rs_f32_to_f16(0x1.8p-25f), 1);
    CHECK_INT(rs_f32_to_f16(1.f + 0x1p-11f), 0x3c00);
    CHECK_INT(rs_f32_to_f16(1.f + 0x1.8p-10f), 0x3c02);
}

static void names(void)
{
    CHECK_STR(rs_type_name(RS_Q4_K), "q4_K");
    CHECK_INT((long long)rs_row_bytes(RS_Q6_K, 1024), 840);
    CHECK_INT(rs_type_block(RS_BF16), 1);
}

int main(void)
{
    RUN(q8_0);
    RUN(q4_0);
    RUN(q5_0);
    RUN(q4_k);
    RUN(q5_k);
    RUN(q6_k);
    RUN(encodings);
    RUN(half_round_trip);
    RUN(names);
    return REPORT();
}
