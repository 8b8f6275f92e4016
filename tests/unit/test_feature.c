/* The log-mel front end against vectors computed elsewhere in double precision (constants of slaney's bank,
 * a chirp with noise), and its behaviour at the edges. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "feature/logmel.h"

#define RATE 16000

static void chirp(float *x)
{
    uint32_t s = 1;
    for (int n = 0; n < RATE; n++) {
        const double t = n / 16000.0;
        s = (1103515245u * s + 12345u) & 0x7fffffffu;
        x[n] = (float)(0.4 * sin(2 * M_PI * (200 * t + 1500 * t * t)) + 0.01 * (s / 1073741824.0 - 1));
    }
}

static void bank_sums(void)
{
    float *bank = malloc(128 * 257 * sizeof *bank);
    const struct { int mels, nonzero; double sum; } want[] = {{80, 500, 2.55826078}, {128, 504, 4.09048764}};
    for (int k = 0; k < 2; k++) {
        double sum = 0;
        int nonzero = 0;
        rs_mel_bank(bank, want[k].mels, 257, RATE);
        for (int i = 0; i < want[k].mels * 257; i++) {
            sum += bank[i];
            nonzero += bank[i] > 0;
        }
        CHECK_NEAR(sum, want[k].sum, 1e-7);
        CHECK_INT(nonzero, want[k].nonzero);
    }
    free(bank);
}

static void bank_rows(void)
{
    float *bank = malloc(128 * 257 * sizeof *bank);
    const struct { int mels, row, bin; double value; } want[] = {
        {80, 0, 1, 0.022534561}, {80, 0, 2, 0.0086377102}, {80, 2, 3, 0.013896851}, {80, 2, 4, 0.01727542},
        {80, 10, 12, 0.0018805703}, {80, 10, 13, 0.024415131}, {80, 10, 14, 0.00675714}, {80, 40, 54, 0.0071594415},
        {80, 40, 57, 0.0017512018}, {80, 79, 238, 0.00033759616}, {80, 79, 237, 0}, {80, 79, 256, 0},
        {128, 0, 1, 0.028377543}, {128, 2, 2, 0.028778016}, {128, 10, 8, 0.029578963}, {128, 64, 54, 0.011216706},
        {128, 64, 56, 0.00064914452}, {128, 127, 244, 4.7641341e-05}, {128, 127, 243, 0}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        rs_mel_bank(bank, want[i].mels, 257, RATE);
        CHECK_NEAR(bank[want[i].row * 257 + want[i].bin], want[i].value, 1e-9);
    }
    free(bank);
}

static struct rs_logmel *make(int mels, bool normalize, struct rs_pool *pool)
{
    const struct rs_logmel_options o = {.rate = RATE, .n_fft = 512, .win_length = 400, .hop_length = 160, .mels = mels,
                                        .preemphasis = 0.97f, .log_guard = 0x1p-24f, .normalize = normalize};
    struct rs_logmel *l = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_logmel_new(&l, &o, NULL, pool, &e), 0);
    return l;
}

struct golden { int frame; float raw[4], scaled[4]; };

static void check_chirp(int mels, const int *bins, const struct golden *g, int count, double raw_sum, double square_sum)
{
    float *x = malloc(RATE * sizeof *x), *raw = malloc(100 * (size_t)mels * sizeof *raw), *scaled = malloc(100 * (size_t)mels * sizeof *raw);
    struct rs_pool *pool = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_pool_new(&pool, 2, &e), 0);
    struct rs_logmel *a = make(mels, false, pool), *b = make(mels, true, pool);
    double sum = 0, squares = 0;
    chirp(x);
    CHECK_NEAR(x[1], 0.024913145, 1e-8);
    CHECK_NEAR(x[15999], -0.37201474, 1e-7);
    CHECK_INT(rs_logmel_frames(a, RATE), 100);
    rs_logmel_run(a, x, RATE, raw);
    rs_logmel_run(b, x, RATE, scaled);
    for (int i = 0; i < 100 * mels; i++) {
        sum += raw[i];
        squares += (double)scaled[i] * scaled[i];
    }
    CHECK_NEAR(sum, raw_sum, 1e-2);
    CHECK_NEAR(squares, square_sum, 1e-2);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 4; k++) {
            CHECK_NEAR(raw[g[i].frame * mels + bins[k]], g[i].raw[k], 2e-5);
            CHECK_NEAR(scaled[g[i].frame * mels + bins[k]], g[i].scaled[k], 2e-5);
        }
    rs_logmel_free(a);
    rs_logmel_free(b);
    rs_pool_free(pool);
    free(x);
    free(raw);
    free(scaled);
}

static void chirp_80(void)
{
    static const struct golden g[] = {
        {0, {-6.77695f, -7.61814f, -8.54389f, -8.39511f}, {6.80038f, 0.90065f, 0.06172f, -2.33853f}},
        {1, {-11.81157f, -10.16504f, -9.28749f, -7.34223f}, {2.74321f, 0.07709f, -0.17671f, 0.25216f}},
        {50, {-14.90445f, -12.38598f, 2.46114f, -7.40042f}, {0.25079f, -0.64106f, 3.59036f, 0.10900f}},
        {99, {-10.26384f, -9.87204f, -8.25779f, -7.58733f}, {3.99045f, 0.17184f, 0.15346f, -0.35093f}}};
    check_chirp(80, (const int[]){0, 20, 40, 79}, g, 4, -75553.1745, 7919.871);
}

static void chirp_128(void)
{
    static const struct golden g[] = {
        {0, {-7.11023f, -7.79314f, -8.53800f, -7.99098f}, {6.70333f, 0.93975f, 0.13670f, -1.03779f}},
        {1, {-12.58655f, -10.28432f, -9.46679f, -7.61577f}, {2.26452f, 0.12388f, -0.16976f, -0.32408f}},
        {50, {-15.06246f, -12.50555f, 2.73375f, -7.49570f}, {0.25768f, -0.60360f, 3.85589f, -0.09570f}},
        {99, {-10.47067f, -10.00389f, -8.16813f, -7.88890f}, {3.97954f, 0.21572f, 0.25874f, -0.84361f}}};
    check_chirp(128, (const int[]){0, 32, 64, 127}, g, 4, -122677.4420, 12671.819);
}

static void edges(void)
{
    struct rs_pool *pool = NULL;
    struct rs_err e = {0};
    float x[800], y[5 * 80], z[5 * 80];
    CHECK_INT(rs_pool_new(&pool, 1, &e), 0);
    struct rs_logmel *l = make(80, true, pool);
    for (int i = 0; i < 800; i++)
        x[i] = sinf((float)i * 0.3f);
    CHECK_INT(rs_logmel_frames(l, 0), 0);
    CHECK_INT(rs_logmel_frames(l, 159), 0);
    CHECK_INT(rs_logmel_frames(l, 160), 1);
    rs_logmel_run(l, NULL, 0, NULL);
    rs_logmel_run(l, x, 160, y);
    for (int i = 0; i < 80; i++)
        CHECK(y[i] == 0);                     /* one frame: its own mean */
    x[100] = NAN;
    x[300] = INFINITY;
    x[301] = -INFINITY;
    rs_logmel_run(l, x, 800, y);
    x[100] = x[300] = x[301] = 0;
    rs_logmel_run(l, x, 800, z);
    CHECK(memcmp(y, z, sizeof y) == 0);
    memset(x, 0, sizeof x);
    rs_logmel_run(l, x, 800, y);
    for (int i = 0; i < 5 * 80; i++)
        CHECK(y[i] == 0);                     /* digital silence */
    rs_logmel_free(l);
    rs_pool_free(pool);
}

static void hostile_settings(void)
{
    const struct rs_logmel_options good = {.rate = RATE, .n_fft = 512, .win_length = 400, .hop_length = 160, .mels = 80, .log_guard = 1e-7f};
    struct rs_logmel_options bad[6] = {good, good, good, good, good, good};
    struct rs_pool *pool = NULL;
    struct rs_err e = {0};
    bad[0].n_fft = 511;
    bad[1].win_length = 600;
    bad[2].hop_length = 0;
    bad[3].mels = -1;
    bad[4].log_guard = NAN;
    bad[5].rate = 0;
    CHECK_INT(rs_pool_new(&pool, 1, &e), 0);
    for (int i = 0; i < 6; i++) {
        struct rs_logmel *l = NULL;
        struct rs_err why = {0};
        CHECK_INT(rs_logmel_new(&l, &bad[i], NULL, pool, &why), -RS_E_MODEL_BAD);
        CHECK(l == NULL && why.msg[0]);
    }
    rs_pool_free(pool);
}

int main(void)
{
    RUN(bank_sums);
    RUN(bank_rows);
    RUN(chirp_80);
    RUN(chirp_128);
    RUN(edges);
    RUN(hostile_settings);
    return REPORT();
}
