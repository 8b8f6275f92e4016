/* Downmix and resampling.
 *
 * The downmix works on blocks of 10 ms. A channel counts when its energy (rising at once, decaying over half a
 * second) is within 20 dB of the loudest channel's; the mono signal is the mean of the channels that count. So a
 * dead or unplugged channel does not halve the level, as a plain average would, and a stereo recording
 * is averaged as everywhere else. Microphones wired in opposite phase would cancel: when the mean holds less than a
 * quarter of what channels with nothing in common would give it, the loudest channel is taken alone. Weights glide
 * to their new values over one block, so that no choice is heard as a click. Energy is what lies above the mains' hum:
 * a constant offset, which many converters have, is no sound, and outweighs a quiet voice.
 *
 * Rates that are a whole multiple of 16 kHz, which is what sound servers run at, go through our own decimator
 * (decimate.h: flat up to 7.2 kHz, 120 dB beyond 8 kHz); all others through libsamplerate's medium sinc converter, which
 * begins to fall off earlier (its fastest loses everything above 6.4 kHz) and, made for any ratio, takes ten times as
 * long: that was the largest part of what listening cost.
 */
#include "audio/resample.h"

#include <math.h>
#include <samplerate.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "audio/decimate.h"
#include "base/mem.h"

enum { OUT_RATE = 16000, RUNS_A_SECOND = 200, HUM_HZ = 200 };      /* a quiet microphone gives single zeros, but not for 5 ms */

struct rs_mix {
    int rate, channels;
    SRC_STATE *src;                /* one of these two; neither at 16 kHz */
    struct rs_decimator *decimator;
    size_t block, filled;          /* frames of a 10 ms block, and of it what is there */
    float *frames;                 /* the open block, interleaved */
    float *weight, *target;        /* per channel: now, and at the end of the block */
    float *high;                   /* the block without what lies below HUM_HZ, interleaved */
    double pole, *before, *after;  /* of that high-pass; per channel: its last input and output */
    double *energy;
    double mixed, apart;           /* energy of the plain mean and of its channels, decaying */
    bool measured, settled, *counts, alone;
    int lone;                      /* the channel taken while `alone` */
    float *mono;                   /* one block */
    float *out;                    /* finished samples */
    size_t out_from, out_to, out_cap;
    struct rs_mix_facts facts;
};

int rs_mix_new(struct rs_mix **out, int rate, int channels, const char *name, struct rs_err *e)
{
    *out = NULL;
    if (rate < 1000 || rate > 768000 || channels < 1 || channels > 1024)
        return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' has %d channels at %d Hz; 1 to 1024 channels at 1000 to 768000 Hz "
                       "can be read.", name, channels, rate);
    struct rs_mix *m = rs_zeroed(1, sizeof *m);
    if (!m)
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to resample '%.200s'.", name);
    *m = (struct rs_mix){.rate = rate, .channels = channels, .block = (size_t)(rate / 100), .facts.first_sound = -1};
    m->frames = rs_zeroed(m->block, (size_t)channels * sizeof(float));
    m->weight = rs_zeroed((size_t)channels, sizeof(float));
    m->target = rs_zeroed((size_t)channels, sizeof(float));
    m->energy = rs_zeroed((size_t)channels, sizeof(double));
    m->high = rs_zeroed(m->block, (size_t)channels * sizeof(float));
    m->before = rs_zeroed((size_t)channels, sizeof(double));
    m->after = rs_zeroed((size_t)channels, sizeof(double));
    m->pole = exp(-2 * M_PI * HUM_HZ / rate);
    m->counts = rs_zeroed((size_t)channels, sizeof(bool));
    m->mono = rs_zeroed(m->block, sizeof(float));
    int code = 0;
    if (rate != OUT_RATE && rate % OUT_RATE == 0)
        m->decimator = rs_decimator_new(rate / OUT_RATE);
    else if (rate != OUT_RATE)
        m->src = src_new(SRC_SINC_MEDIUM_QUALITY, 1, &code);
    if (!m->frames || !m->weight || !m->target || !m->energy || !m->high || !m->before || !m->after || !m->counts || !m->mono ||
        (rate != OUT_RATE && !m->src && !m->decimator)) {
        rs_mix_free(m);
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to resample '%.200s'.", name);
    }
    *out = m;
    return 0;
}

void rs_mix_free(struct rs_mix *m)
{
    if (!m)
        return;
    if (m->src)
        src_delete(m->src);
    rs_decimator_free(m->decimator);
    free(m->frames);
    free(m->weight);
    free(m->target);
    free(m->energy);
    free(m->high);
    free(m->before);
    free(m->after);
    free(m->counts);
    free(m->mono);
    free(m->out);
    free(m);
}

static bool out_space(struct rs_mix *m, size_t n)
{
    if (m->out_from == m->out_to)
        m->out_from = m->out_to = 0;
    if (m->out_from && m->out_to + n > m->out_cap) {
        memmove(m->out, m->out + m->out_from, (m->out_to - m->out_from) * sizeof *m->out);
        m->out_to -= m->out_from;
        m->out_from = 0;
    }
    return rs_grow((void **)&m->out, &m->out_cap, m->out_to + n, sizeof *m->out);
}

/* n mono frames at the device's rate → 16 kHz. */
static int resample(struct rs_mix *m, const float *mono, size_t n, bool last, struct rs_err *e)
{
    if (m->decimator) {
        const size_t most = n / 2 + 1 + (last ? n + rs_decimator_rest(m->decimator) : 0);
        if (!out_space(m, most))
            return rs_fail(e, RS_E_NOMEM, "Not enough memory for the resampled sound.");
        m->out_to += rs_decimator_push(m->decimator, mono, n, m->out + m->out_to);
        if (last)
            m->out_to += rs_decimator_flush(m->decimator, m->out + m->out_to);
        return 0;
    }
    if (!m->src) {
        if (!out_space(m, n))
            return rs_fail(e, RS_E_NOMEM, "Not enough memory for the resampled sound.");
        if (n)
            memcpy(m->out + m->out_to, mono, n * sizeof *mono);
        m->out_to += n;
        return 0;
    }
    SRC_DATA d = {.data_in = mono, .input_frames = (long)n, .src_ratio = (double)OUT_RATE / m->rate, .end_of_input = last};
    do {
        const size_t room = 64 + (size_t)((double)d.input_frames * d.src_ratio);
        if (!out_space(m, room))
            return rs_fail(e, RS_E_NOMEM, "Not enough memory for the resampled sound.");
        d.data_out = m->out + m->out_to;
        d.output_frames = (long)room;
        const int code = src_process(m->src, &d);
        if (code)
            return rs_fail(e, RS_E_INTERNAL, "The resampler failed: %s.", src_strerror(code));
        m->out_to += (size_t)d.output_frames_gen;
        d.data_in += d.input_frames_used;
        d.input_frames -= d.input_frames_used;
    } while (d.input_frames > 0 || (last && d.output_frames_gen > 0));
    return 0;
}

/* What of the block can be speech. The first sample of all begins without a step. */
static void high_pass(struct rs_mix *m, size_t n)
{
    const size_t ch = (size_t)m->channels;
    for (size_t c = 0; c < ch; c++) {
        double before = m->measured ? m->before[c] : m->frames[c], after = m->after[c];
        for (size_t i = c; i < n * ch; i += ch) {
            after = (double)m->frames[i] - before + m->pole * after;
            before = m->frames[i];
            m->high[i] = (float)after;
        }
        m->before[c] = before;
        m->after[c] = after;
    }
    m->measured = true;
}

/* Rises at once, so that whoever begins to speak after a louder voice counts from the first word on. */
static double follow(double energy, double now)
{
    const double keep = 0.98;      /* per 10 ms: a time constant of half a second */
    return fmax(energy * keep + now * (1 - keep), now);
}

/* Which channels make the mono signal, from the energies up to and with this block. */
static void choose_weights(struct rs_mix *m, size_t n)
{
    double loudest = 0, mixed = 0, apart = 0;
    int top = 0, count = 0;
    for (int c = 0; c < m->channels; c++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)m->high[i * (size_t)m->channels + (size_t)c] * m->high[i * (size_t)m->channels + (size_t)c];
        m->energy[c] = follow(m->energy[c], sum);
        if (m->energy[c] > loudest)
            loudest = m->energy[c], top = c;
    }
    for (int c = 0; c < m->channels; c++) {
        /* 20 dB to stay in, 17 dB to come back: no flutter at the threshold */
        m->counts[c] = m->energy[c] >= loudest * (m->counts[c] || !m->settled ? 0.01 : 0.02);
        count += m->counts[c];
    }
    for (size_t i = 0; i < n && count > 1; i++) {
        double sum = 0;
        for (int c = 0; c < m->channels; c++)
            if (m->counts[c]) {
                const double x = m->high[i * (size_t)m->channels + (size_t)c];
                sum += x;
                apart += x * x / count;
            }
        mixed += sum * sum / ((double)count * count);
    }
    m->mixed = follow(m->mixed, mixed);
    m->apart = follow(m->apart, apart);
    /* channels that have nothing in common give mixed = apart / count; four times less is opposition */
    m->alone = m->apart > 0 && m->mixed < m->apart / count * (m->alone ? 0.4 : 0.25);
    if (!m->alone || m->energy[m->lone] < loudest / 2)
        m->lone = top;
    for (int c = 0; c < m->channels; c++)
        m->target[c] = m->alone ? (c == m->lone) : m->counts[c] ? 1.0f / (float)count : 0;
    if (!m->settled)
        memcpy(m->weight, m->target, (size_t)m->channels * sizeof(float));
    m->settled = m->settled || loudest > 0;
}

static int finish_block(struct rs_mix *m, bool last, struct rs_err *e)
{
    const size_t n = m->filled;
    const float *mono = m->frames;
    if (m->channels > 1 && n) {
        high_pass(m, n);
        choose_weights(m, n);
        memset(m->mono, 0, n * sizeof(float));
        for (int c = 0; c < m->channels; c++) {
            const float from = m->weight[c], step = (m->target[c] - from) / (float)n;
            for (size_t i = 0; i < n; i++)
                m->mono[i] += m->frames[i * (size_t)m->channels + (size_t)c] * (from + step * (float)(i + 1));
            m->weight[c] = m->target[c];
        }
        mono = m->mono;
    }
    m->filled = 0;
    return resample(m, mono, n, last, e);
}

int rs_mix_push(struct rs_mix *m, const float *frames, size_t n, struct rs_err *e)
{
    const size_t ch = (size_t)m->channels;
    for (size_t i = 0; i < n; i++) {
        float *to = m->frames + m->filled * ch;
        bool sound = false;
        for (size_t c = 0; c < ch; c++) {
            float x = frames[i * ch + c];
            if (!isfinite(x)) {
                x = 0;
                m->facts.bad_samples++;
            }
            sound |= x != 0;
            to[c] = x;
        }
        if (sound && m->facts.first_sound < 0)
            m->facts.first_sound = m->facts.frames;
        m->facts.zero_run = sound ? 0 : m->facts.zero_run + 1;
        if (m->facts.zero_run == m->rate / RUNS_A_SECOND)
            m->facts.zeros += m->facts.zero_run;
        else if (m->facts.zero_run > m->rate / RUNS_A_SECOND)
            m->facts.zeros++;
        m->facts.frames++;
        if (++m->filled == m->block) {
            const int rc = finish_block(m, false, e);
            if (rc)
                return rc;
        }
    }
    return 0;
}

int rs_mix_silence(struct rs_mix *m, size_t n, struct rs_err *e)
{
    for (size_t i = 0; i < n; i++) {
        memset(m->frames + m->filled * (size_t)m->channels, 0, (size_t)m->channels * sizeof(float));
        m->facts.frames++;
        if (++m->filled == m->block) {
            const int rc = finish_block(m, false, e);
            if (rc)
                return rc;
        }
    }
    return 0;
}

int rs_mix_flush(struct rs_mix *m, struct rs_err *e) { return finish_block(m, true, e); }

size_t rs_mix_ready(const struct rs_mix *m) { return m->out_to - m->out_from; }

size_t rs_mix_pull(struct rs_mix *m, float *out, size_t max)
{
    const size_t n = max < rs_mix_ready(m) ? max : rs_mix_ready(m);
    if (n)
        memcpy(out, m->out + m->out_from, n * sizeof *out);
    m->out_from += n;
    return n;
}

const struct rs_mix_facts *rs_mix_facts(const struct rs_mix *m) { return &m->facts; }
