/* Downmix and resampling: nothing depends on how the sound was cut, nothing is lost, levels are kept. */
#include "test.h"

#include <stdlib.h>

#include "audio/resample.h"

static float out1[200000], out2[200000];

/* Pushes n frames in pieces of `step` and returns what came out. */
static size_t push_all(int rate, int channels, const float *x, size_t n, size_t step, float *out, struct rs_mix_facts *facts)
{
    struct rs_mix *m;
    struct rs_err e = {0};
    size_t got = 0;
    CHECK_INT(rs_mix_new(&m, rate, channels, "test", &e), 0);
    for (size_t i = 0; i < n; i += step) {
        CHECK_INT(rs_mix_push(m, x + i * (size_t)channels, n - i < step ? n - i : step, &e), 0);
        got += rs_mix_pull(m, out + got, 200000 - got);
    }
    CHECK_INT(rs_mix_flush(m, &e), 0);
    got += rs_mix_pull(m, out + got, 200000 - got);
    CHECK_INT(rs_mix_ready(m), 0);
    if (facts)
        *facts = *rs_mix_facts(m);
    rs_mix_free(m);
    return got;
}

static float *noise(size_t n)
{
    float *x = malloc(n * sizeof *x);
    unsigned seed = 5;
    for (size_t i = 0; x && i < n; i++)
        x[i] = (float)rand_r(&seed) / (float)RAND_MAX - 0.5f;
    return x;
}

static void sixteen_khz_mono_is_untouched(void)
{
    float *x = noise(16001);
    CHECK_INT(push_all(16000, 1, x, 16001, 333, out1, NULL), 16001);
    CHECK(memcmp(x, out1, 16001 * sizeof *x) == 0);
    free(x);
}

static void cuts_do_not_matter(void)
{
    static const int rates[] = {8000, 11025, 16000, 44100, 48000, 96000};
    for (size_t r = 0; r < 6; r++)
        for (int channels = 1; channels <= 3; channels++) {
            const size_t n = (size_t)rates[r] * 3 / 2 + 7;
            float *x = noise(n * (size_t)channels);
            const size_t a = push_all(rates[r], channels, x, n, 4096, out1, NULL);
            const size_t b = push_all(rates[r], channels, x, n, 13, out2, NULL);
            CHECK_INT(a, b);
            CHECK(memcmp(out1, out2, a * sizeof *out1) == 0);
            CHECK_NEAR((double)a, (double)n * 16000 / rates[r], 1.5);
            free(x);
        }
}

/* What a sine of `hz` at this rate becomes: the largest error against the same sine at 16 kHz, sample by sample, or its
 * largest value where the band cannot hold it. The ends, where the sine is cut off, do not count. */
static double sine_error(int rate, double hz)
{
    const size_t n = (size_t)rate / 2;
    float *x = malloc(n * sizeof *x);
    double worst = 0;
    for (size_t i = 0; x && i < n; i++)
        x[i] = 0.5f * (float)sin(2 * M_PI * hz * (double)i / rate);
    const size_t got = push_all(rate, 1, x, n, 1000, out1, NULL);
    CHECK_NEAR((double)got, 8000, 1.5);
    for (size_t j = 400; j + 400 < got; j++)
        worst = fmax(worst, fabs(out1[j] - (hz < 8000 ? 0.5 * sin(2 * M_PI * hz * (double)j / 16000) : 0)));
    free(x);
    return worst;
}

static void keeps_the_band_and_nothing_else(void)
{
    static const int rates[] = {32000, 48000, 96000, 192000, 768000, 44100};
    for (size_t r = 0; r < 6; r++) {
        /* libsamplerate's ratio is less exact, and its band falls off earlier */
        const double small = rates[r] == 44100 ? 3e-4 : 2e-6, edge = rates[r] == 44100 ? 6400 : 7190;
        CHECK_NEAR(sine_error(rates[r], 100), 0, small);
        CHECK_NEAR(sine_error(rates[r], 997), 0, small);
        CHECK_NEAR(sine_error(rates[r], edge), 0, small);
        CHECK_NEAR(sine_error(rates[r], 8010), 0, small);
        CHECK_NEAR(sine_error(rates[r], 12345), 0, small);
        if (rates[r] > 40000)
            CHECK_NEAR(sine_error(rates[r], 16000), 0, small);      /* would be heard as 0 Hz */
    }
}

static double level(const float *x, size_t n)
{
    double s = 0;
    for (size_t i = n / 5; i < n - n / 5; i++)
        s += (double)x[i] * x[i];
    return sqrt(s / (double)(n - 2 * (n / 5)));
}

/* A sine on some of the channels; gain per channel. */
static double mixed_level(int channels, const float *gain)
{
    const size_t n = 32000;
    float *x = calloc(n * (size_t)channels, sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        for (int c = 0; c < channels; c++)
            x[i * (size_t)channels + (size_t)c] = gain[c] * (float)sin(2 * M_PI * 500 * (double)i / 16000);
    const size_t got = push_all(16000, channels, x, n, 160, out1, NULL);
    free(x);
    return level(out1, got) * sqrt(2);
}

static void dead_channels_do_not_count(void)
{
    CHECK_NEAR(mixed_level(2, (float[]){0.5f, 0.5f}), 0.5, 1e-3);
    CHECK_NEAR(mixed_level(2, (float[]){0.5f, 0}), 0.5, 1e-3);
    CHECK_NEAR(mixed_level(2, (float[]){0, 0.5f}), 0.5, 1e-3);
    CHECK_NEAR(mixed_level(2, (float[]){0.5f, 0.001f}), 0.5, 1e-3);
    CHECK_NEAR(mixed_level(2, (float[]){0.5f, 0.25f}), 0.375, 1e-3);
    CHECK_NEAR(mixed_level(8, (float[]){0, 0, 0.5f, 0, 0, 0, 0, 0}), 0.5, 1e-3);
    CHECK_NEAR(mixed_level(2, (float[]){0.5f, -0.5f}), 0.5, 1e-3);
}

/* Two channels of 1 kHz (levels a and b) on constant offsets; the second tone begins at `from` seconds, the first ends
 * there if `turn`. Gives the mean level of what is heard 20 ms after `from` and for 100 ms. */
static double heard(float a, float b, float offset_a, float offset_b, double from, int turn)
{
    enum { N = 32000 };
    float *x = calloc(2 * N, sizeof *x), *y = calloc(N + 100, sizeof *y);
    for (int i = 0; x && i < N; i++) {
        const float t = sinf((float)(2 * M_PI * (i % 16) / 16));
        x[2 * i] = offset_a + (turn && i >= from * 16000 ? 0 : a * t);
        x[2 * i + 1] = offset_b + (i >= from * 16000 ? b * t : 0);
    }
    push_all(16000, 2, x, N, 333, y, NULL);
    double cosine = 0, sine = 0;
    for (int i = 0; i < 1600; i++) {
        const int at = (int)(from * 16000) + 320 + i;
        cosine += y[at] * cos(2 * M_PI * at / 16), sine += y[at] * sin(2 * M_PI * at / 16);
    }
    free(x);
    free(y);
    return sqrt(cosine * cosine + sine * sine) / 800;
}

static void offsets_are_no_sound(void)
{
    CHECK_NEAR(heard(0.005f, 0, 0, 0.05f, 0.5, 0), 0.005, 1e-4);              /* a dead channel with an offset */
    CHECK_NEAR(heard(0.03f, -0.03f, 0.02f, 0.02f, 0, 0), 0.03, 1e-3);         /* opposite phase on a common offset */
}

static void a_quieter_voice_counts_at_once(void)
{
    CHECK_NEAR(heard(0.2f, 0.2f, 0, 0, 1, 1), 0.1, 2e-3);
    CHECK_NEAR(heard(0.2f, 0.04f, 0, 0, 1, 1), 0.02, 1e-3);
}

static void finds_silence_and_bad_samples(void)
{
    float x[3000] = {0};
    struct rs_mix_facts f;
    x[1000] = 0.5f, x[1500] = NAN, x[1501] = -INFINITY;
    CHECK_INT(push_all(16000, 1, x, 3000, 100, out1, &f), 3000);
    CHECK_INT(f.first_sound, 1000);
    CHECK_INT(f.zero_run, 1999);
    CHECK_INT(f.zeros, 2999);
    CHECK_INT(f.bad_samples, 2);
    CHECK(out1[1500] == 0 && out1[1501] == 0);
    CHECK_INT(push_all(16000, 1, x, 500, 100, out1, &f), 500);
    CHECK_INT(f.first_sound, -1);
}

static void silence_takes_its_place(void)
{
    struct rs_mix *m;
    struct rs_err e = {0};
    float *x = noise(4096);
    CHECK_INT(rs_mix_new(&m, 48000, 1, "test", &e), 0);
    CHECK_INT(rs_mix_push(m, x, 4096, &e), 0);
    CHECK_INT(rs_mix_silence(m, 48000, &e), 0);
    CHECK_INT(rs_mix_push(m, x, 4096, &e), 0);
    CHECK_INT(rs_mix_flush(m, &e), 0);
    CHECK_NEAR((double)rs_mix_ready(m), (48000 + 8192) / 3.0, 1.5);
    rs_mix_free(m);
    free(x);
}

static void any_length(void)
{
    static float zeros[4096];
    for (size_t n = 0; n < 700; n += n < 20 ? 1 : 37)
        CHECK_NEAR((double)push_all(44100, 1, zeros, n, 4096, out1, NULL), (double)n * 16000 / 44100, 1.5);
}

static void refuses_nonsense(void)
{
    struct rs_mix *m;
    struct rs_err e = {0};
    CHECK(rs_mix_new(&m, 0, 1, "x", &e) < 0);
    CHECK(rs_mix_new(&m, 1000000000, 1, "x", NULL) < 0);
    CHECK(rs_mix_new(&m, 16000, 0, "x", NULL) < 0);
    CHECK(rs_mix_new(&m, 16000, 100000, "x", NULL) < 0 && m == NULL);
    CHECK_INT(e.code, RS_E_AUDIO_FILE);
}

int main(void)
{
    RUN(sixteen_khz_mono_is_untouched);
    RUN(cuts_do_not_matter);
    RUN(keeps_the_band_and_nothing_else);
    RUN(dead_channels_do_not_count);
    RUN(offsets_are_no_sound);
    RUN(a_quieter_voice_counts_at_once);
    RUN(finds_silence_and_bad_samples);
    RUN(silence_takes_its_place);
    RUN(any_length);
    RUN(refuses_nonsense);
    return REPORT();
}
