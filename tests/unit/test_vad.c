/* The energy gate on synthetic sound: what must stay low, and speech-like sound that must not be missed;
 * and that the door opens what it should. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "vad/vad.h"

enum { SECOND = 16000, LONGEST = 20 * SECOND };
static float sound[LONGEST], prob[LONGEST / RS_VAD_HOP + 1];
static uint32_t seed;

static float white(void)               /* uniform, rms 1 */
{
    seed = seed * 1664525u + 1013904223u;
    return ((float)(seed >> 8) / (1 << 24) - 0.5f) * 3.4641f;
}

static void add_noise(size_t from, size_t to, float rms)
{
    for (size_t i = from; i < to; i++)
        sound[i] += rms * white();
}

static void add_brown(size_t n, float rms)
{
    float y = 0;
    for (size_t i = 0; i < n; i++) {
        y = 0.995f * y + 0.1f * white();
        sound[i] += rms * y;
    }
}

static void add_hum(size_t n, float peak)
{
    for (size_t i = 0; i < n; i++)
        for (int k = 1; k <= 8; k++)
            sound[i] += peak / (float)k * sinf(2 * 3.14159265f * 50 * (float)k * (float)i / SECOND);
}

/* Syllables: 160 ms of a gliding 100…170 Hz pulse train with two resonances' worth of harmonics, 90 ms pause. */
static void add_syllables(size_t from, size_t to, float peak)
{
    float phase = 0;
    for (size_t i = from; i < to; i++) {
        const float t = (float)((i - from) % 4000) / SECOND, f0 = 135 + 35 * sinf((float)i / 9000);
        phase += 2 * 3.14159265f * f0 / SECOND;
        const float shape = t < 0.16f ? sinf(3.14159265f * t / 0.16f) : 0;
        float y = 0;
        for (int k = 1; k <= 20; k++) {
            const float f = f0 * (float)k, a = 1 / (1 + powf((f - 550) / 150, 2)) + 0.5f / (1 + powf((f - 1600) / 200, 2));
            y += a * sinf(phase * (float)k);
        }
        sound[i] += peak * 0.4f * shape * y;
    }
}

static size_t detect(size_t n)
{
    struct rs_vad *v;
    struct rs_err e = {0};
    if (rs_vad_open(&v, "energy", &e) != 0)
        return 0;
    const size_t hops = rs_vad_feed(v, sound, n, prob);
    rs_vad_close(v);
    return hops;
}

/* Hops with a probability of at least one half between two moments in seconds. */
static int speech(double from, double to)
{
    int n = 0;
    for (size_t i = (size_t)(from * SECOND / RS_VAD_HOP); i < (size_t)(to * SECOND / RS_VAD_HOP); i++)
        n += prob[i] >= 0.5f;
    return n;
}

static void clear(void)
{
    memset(sound, 0, sizeof sound);
    seed = 1;
}

static void zeros_are_never_speech(void)
{
    clear();
    const size_t hops = detect(5 * SECOND);
    CHECK_INT(hops, 5 * SECOND / RS_VAD_HOP);
    for (size_t i = 0; i < hops; i++)
        CHECK(prob[i] == 0);
}

static void steady_noise_is_not_speech(void)
{
    const float rms[] = {0.0005f, 0.005f, 0.05f, 0.2f};
    for (int i = 0; i < 4; i++) {
        clear();
        add_noise(0, 10 * SECOND, rms[i]);
        detect(10 * SECOND);
        CHECK_INT(speech(0, 10), 0);
        clear();
        add_brown(10 * SECOND, rms[i]);
        detect(10 * SECOND);
        CHECK_INT(speech(0, 0.5), 0);
        CHECK(speech(0.5, 10) <= 2);
    }
}

static void hum_is_not_speech(void)
{
    clear();
    add_hum(10 * SECOND, 0.05f);
    add_noise(0, 10 * SECOND, 0.0005f);
    detect(10 * SECOND);
    CHECK_INT(speech(0.6, 10), 0);
}

static void a_louder_noise_becomes_the_floor(void)
{
    clear();
    add_noise(0, 10 * SECOND, 0.001f);
    add_noise(4 * SECOND, 10 * SECOND, 0.03f);
    detect(10 * SECOND);
    CHECK_INT(speech(0, 4), 0);
    CHECK_INT(speech(4.7, 10), 0);
}

static void noise_after_digital_silence_is_not_speech(void)
{
    clear();
    add_noise(3 * SECOND, 8 * SECOND, 0.01f);
    detect(8 * SECOND);
    CHECK_INT(speech(0, 8), 0);
}

static void syllables_are_speech_at_any_level(void)
{
    const float peak[] = {0.9f, 0.1f, 0.01f, 0.005f};
    for (int i = 0; i < 4; i++) {
        clear();
        add_noise(0, 8 * SECOND, 0.0002f);
        add_syllables(2 * SECOND, 6 * SECOND, peak[i]);
        detect(8 * SECOND);
        CHECK_INT(speech(0, 2), 0);
        CHECK(speech(2, 6) >= 16 * 3);            /* 16 syllables of five hops each */
        CHECK_INT(speech(6.2, 8), 0);
    }
}

static void every_syllable_is_heard_in_noise(void)
{
    clear();
    add_noise(0, 8 * SECOND, 0.01f);
    add_syllables(2 * SECOND, 6 * SECOND, 0.2f);
    detect(8 * SECOND);
    for (int i = 0; i < 16; i++)
        CHECK(speech(2 + 0.25 * i, 2 + 0.25 * i + 0.2) >= 2);
    CHECK_INT(speech(6.2, 8), 0);
}

static void speech_from_the_first_sample_is_heard(void)
{
    clear();
    add_noise(0, 4 * SECOND, 0.0005f);
    add_syllables(0, 4 * SECOND, 0.2f);
    detect(4 * SECOND);
    CHECK(speech(0, 0.3) >= 2);
}

static void long_speech_without_pauses_does_not_become_the_floor(void)
{
    clear();
    add_noise(0, 20 * SECOND, 0.001f);
    add_syllables(0, 20 * SECOND, 0.3f);
    detect(20 * SECOND);
    for (int t = 0; t < 19; t++)
        CHECK(speech(t, t + 1) >= 10);
}

static void odd_feeds_give_the_same_answers(void)
{
    clear();
    add_noise(0, 3 * SECOND, 0.001f);
    add_syllables(SECOND, 2 * SECOND, 0.3f);
    sound[700] = NAN;
    sound[701] = INFINITY;
    sound[702] = 1e30f;
    const size_t hops = detect(3 * SECOND);
    struct rs_vad *v;
    struct rs_err e = {0};
    CHECK_INT(rs_vad_open(&v, "energy", &e), 0);
    CHECK_INT(rs_vad_feed(v, sound, 700, (float[3]){0}), 1);
    rs_vad_reset(v);
    size_t made = 0;
    for (size_t i = 0, step = 1; i < 3 * SECOND; i += step, step = step * 3 % 1021 + 1) {
        float some[4];
        const size_t n = i + step > 3 * SECOND ? 3 * SECOND - i : step, k = rs_vad_feed(v, sound + i, n, some);
        CHECK(k <= n / RS_VAD_HOP + 1);
        for (size_t j = 0; j < k; j++)
            CHECK(some[j] == prob[made + j] && some[j] >= 0 && some[j] <= 1);
        made += k;
    }
    CHECK_INT(made, hops);
    rs_vad_close(v);
}

static void unknown_detectors_are_named(void)
{
    struct rs_vad *v;
    struct rs_err e = {0};
    CHECK(rs_vad_open(&v, "/nowhere/vad.safetensors", &e) < 0);
    CHECK(strstr(e.msg, "/nowhere/vad.safetensors") != NULL);
    CHECK(v == NULL);
}

static void a_speech_recogniser_is_no_detector(void)
{
    struct rs_vad *v;
    struct rs_err e = {0};
    CHECK_INT(rs_vad_open(&v, "tests/fixtures/parity/tiny-tdt.gguf", &e), -RS_E_MODEL_UNSUPPORTED);
    CHECK(strstr(e.msg, "tiny-tdt.gguf is not a voice detector") != NULL);
}

static void the_linked_in_detector_stays_low_without_speech(void)
{
    struct rs_vad *v;
    struct rs_err e = {0};
    CHECK_INT(rs_vad_open(&v, NULL, &e), 0);
    for (int kind = 0; v && kind < 3; kind++) {
        clear();
        if (kind == 1)
            add_noise(0, 5 * SECOND, 0.01f);
        if (kind == 2)
            add_hum(5 * SECOND, 0.05f);
        rs_vad_reset(v);
        rs_vad_feed(v, sound, 5 * SECOND, prob);
        CHECK_INT(speech(0.6, 5), 0);
    }
    rs_vad_close(v);
}

int main(void)
{
    RUN(zeros_are_never_speech);
    RUN(steady_noise_is_not_speech);
    RUN(hum_is_not_speech);
    RUN(a_louder_noise_becomes_the_floor);
    RUN(noise_after_digital_silence_is_not_speech);
    RUN(syllables_are_speech_at_any_level);
    RUN(every_syllable_is_heard_in_noise);
    RUN(speech_from_the_first_sample_is_heard);
    RUN(long_speech_without_pauses_does_not_become_the_floor);
    RUN(odd_feeds_give_the_same_answers);
    RUN(unknown_detectors_are_named);
    RUN(a_speech_recogniser_is_no_detector);
    RUN(the_linked_in_detector_stays_low_without_speech);
    return REPORT();
}
