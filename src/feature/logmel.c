/* See logmel.h. Frames are independent until the scaling, so the pool's threads share them; the scaling's
 * sums run in one thread, so that the result does not depend on the number of threads. The transform is in
 * double: a band of one weak bin beside a loud tone loses 2e-4 of its scaled value to rounding in f32.
 * Formulas: NeMo parts/preprocessing/features.py; librosa.filters.mel.
 */
#include "feature/logmel.h"

#include <fftw3.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernels.h"

struct band { int first, count; const float *weight; };

struct rs_logmel {
    struct rs_logmel_options o;
    struct rs_pool *pool;
    int bins, parts;
    fftw_plan plan;
    double *window;           /* [win_length] */
    float *weights;           /* the bank's non-zero runs, one after the other */
    struct band *bands;       /* [mels] */
    double *scratch;          /* per part: frame [n_fft], spectrum [2*bins] */
    size_t scratch_step;
    double *sums;             /* [2][mels] */
};

static double hz_to_mel(double hz)
{
    return hz < 1000 ? hz * 3 / 200 : 15 + log(hz / 1000) * 27 / log(6.4);
}

static double mel_to_hz(double mel)
{
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

void rs_mel_bank(float *bank, int mels, int bins, double rate)
{
    const double top = hz_to_mel(rate / 2), step = rate / 2 / (bins - 1);
    for (int m = 0; m < mels; m++) {
        const double low = mel_to_hz(top * m / (mels + 1)), mid = mel_to_hz(top * (m + 1) / (mels + 1)),
                     high = mel_to_hz(top * (m + 2) / (mels + 1));
        for (int b = 0; b < bins; b++) {
            const double hz = b * step, w = fmin((hz - low) / (mid - low), (high - hz) / (high - mid));
            bank[(size_t)m * bins + b] = (float)(fmax(w, 0) * 2 / (high - low));
        }
    }
}

/* Keeps the non-zero run of every row: a band covers a handful of bins. */
static void pack_bands(struct rs_logmel *l, const float *bank)
{
    float *to = l->weights;
    for (int m = 0; m < l->o.mels; m++, bank += l->bins) {
        int first = 0, end = l->bins;
        while (first < end && bank[first] == 0)
            first++;
        while (end > first && bank[end - 1] == 0)
            end--;
        l->bands[m] = (struct band){first, end - first, to};
        memcpy(to, bank + first, sizeof *to * (size_t)(end - first));
        to += end - first;
    }
}

static int check_options(const struct rs_logmel_options *o, struct rs_err *e)
{
    if (o->rate < 1000 || o->n_fft < 16 || o->n_fft > 65536 || o->n_fft % 2 || o->win_length < 2 ||
        o->win_length > o->n_fft || o->hop_length < 1 || o->hop_length > o->n_fft || o->mels < 1 || o->mels > 1024 ||
        !(o->log_guard >= FLT_MIN) || !isfinite(o->preemphasis))
        return rs_fail(e, RS_E_MODEL_BAD, "the model's audio settings make no sense (rate %d, FFT %d, window %d, hop %d, "
                       "%d bands): fetch it again", o->rate, o->n_fft, o->win_length, o->hop_length, o->mels);
    return 0;
}

/* Where memory is missing while it plans, FFTW calls this and would end the process: ours goes back to plan(). What its
 * planner held by then is lost, so it is not asked a second time. */
static _Thread_local jmp_buf *planning;
static atomic_bool planner_lost;

void fftw_assertion_failed(const char *text, int line, const char *file);

void fftw_assertion_failed(const char *text, int line, const char *file)
{
    if (planning)
        longjmp(*planning, 1);
    fprintf(stderr, "fftw: %s:%d: assertion failed: %s\n", file, line, text);
    abort();
}

static int plan(struct rs_logmel *l)
{
    jmp_buf back;
    if (atomic_load(&planner_lost))
        return -1;
    if (setjmp(back)) {
        planning = NULL;
        atomic_store(&planner_lost, true);
        return -1;
    }
    planning = &back;
    /* Every part's scratch is aligned as this one's is, which the vector codelets rely on. */
    l->plan = fftw_plan_dft_r2c_1d(l->o.n_fft, l->scratch, (fftw_complex *)(l->scratch + l->o.n_fft),
                                    FFTW_ESTIMATE | FFTW_PRESERVE_INPUT);
    planning = NULL;
    return l->plan ? 0 : -1;
}

static int fill(struct rs_logmel *l, const float *bank, struct rs_err *e)
{
    const int n = l->o.win_length;
    const size_t size = (size_t)l->o.mels * (size_t)l->bins;
    float *own = bank ? NULL : rs_aligned(size, sizeof *own);
    l->window = rs_aligned((size_t)n, sizeof *l->window);
    l->weights = rs_aligned(size, sizeof *l->weights);
    l->bands = rs_zeroed((size_t)l->o.mels, sizeof *l->bands);
    l->sums = rs_zeroed((size_t)l->o.mels, 2 * sizeof *l->sums);
    l->scratch_step = ((size_t)l->o.n_fft + 2 * (size_t)l->bins + 31) & ~(size_t)15;
    l->scratch = rs_aligned(l->scratch_step * (size_t)l->parts, sizeof *l->scratch);
    if ((!bank && !own) || !l->window || !l->weights || !l->bands || !l->sums || !l->scratch) {
        free(own);
        return rs_fail(e, RS_E_NOMEM, "no memory for the audio features");
    }
    memset(l->scratch, 0, sizeof *l->scratch * l->scratch_step * (size_t)l->parts);
    for (int i = 0; i < n; i++)
        l->window[i] = 0.5 - 0.5 * cos(2 * M_PI * i / (n - 1));
    if (own)
        rs_mel_bank(own, l->o.mels, l->bins, l->o.rate);
    pack_bands(l, bank ? bank : own);
    free(own);
    if (plan(l))
        return rs_fail(e, RS_E_NOMEM, "no memory for the Fourier transform");
    return 0;
}

int rs_logmel_new(struct rs_logmel **out, const struct rs_logmel_options *o, const float *bank, struct rs_pool *pool,
                  struct rs_err *e)
{
    *out = NULL;
    int rc = check_options(o, e);
    if (rc)
        return rc;
    struct rs_logmel *l = rs_zeroed(1, sizeof *l);
    if (!l)
        return rs_fail(e, RS_E_NOMEM, "no memory for the audio features");
    *l = (struct rs_logmel){.o = *o, .pool = pool, .bins = o->n_fft / 2 + 1, .parts = rs_pool_threads(pool)};
    rc = fill(l, bank, e);
    if (rc) {
        rs_logmel_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void rs_logmel_free(struct rs_logmel *l)
{
    if (!l)
        return;
    if (l->plan)
        fftw_destroy_plan(l->plan);
    free(l->window);
    free(l->weights);
    free(l->bands);
    free(l->sums);
    free(l->scratch);
    free(l);
}

size_t rs_logmel_frames(const struct rs_logmel *l, size_t samples)
{
    return samples / (size_t)l->o.hop_length;
}

static inline double finite_or_0(float x)
{
    return fabsf(x) <= 3.4e38f ? x : 0;       /* false for NaN, too */
}

/* The windowed, pre-emphasised frame whose window begins at sample `from` (may be negative). The zeros
 * around the window stay from the start. */
static void cut_frame(const struct rs_logmel *l, const float *pcm, ptrdiff_t samples, ptrdiff_t from, double *frame)
{
    const int n = l->o.win_length;
    const double pre = l->o.preemphasis;
    frame += (l->o.n_fft - n) / 2;
    int i = 0, end = n;
    for (; i < n && from + i < 0; i++)
        frame[i] = 0;
    if (i < n && from + i == 0 && samples > 0) {
        frame[i] = finite_or_0(pcm[0]) * l->window[i];
        i++;
    }
    if (from + end > samples)
        end = samples > from ? (int)(samples - from) : 0;
    for (; i < end; i++)
        frame[i] = (finite_or_0(pcm[from + i]) - pre * finite_or_0(pcm[from + i - 1])) * l->window[i];
    for (; i < n; i++)
        frame[i] = 0;
}

struct job { struct rs_logmel *l; const float *pcm; ptrdiff_t samples; float *out; int frames; };

static void one_frame(const struct job *job, int t, double *frame, double *spectrum)
{
    const struct rs_logmel *l = job->l;
    cut_frame(l, job->pcm, job->samples, (ptrdiff_t)t * l->o.hop_length - l->o.win_length / 2, frame);
    fftw_execute_dft_r2c(l->plan, frame, (fftw_complex *)spectrum);
    for (int b = 0; b < l->bins; b++)
        spectrum[b] = spectrum[2 * b] * spectrum[2 * b] + spectrum[2 * b + 1] * spectrum[2 * b + 1];
    float *out = job->out + (size_t)t * (size_t)l->o.mels;
    for (int m = 0; m < l->o.mels; m++) {
        const struct band *band = &l->bands[m];
        const double *p = spectrum + band->first;
        double sum = 0;
        for (int b = 0; b < band->count; b++)
            sum += band->weight[b] * p[b];
        out[m] = (float)(sum + l->o.log_guard);
    }
    rs_kernels()->log(out, l->o.mels, out);
}

static void frames_part(void *arg, int part, int parts)
{
    const struct job *job = arg;
    const struct rs_logmel *l = job->l;
    double *frame = l->scratch + l->scratch_step * (size_t)part;
    int from, to;
    rs_pool_share(job->frames, 1, part, parts, &from, &to);
    for (int t = from; t < to; t++)
        one_frame(job, t, frame, frame + l->o.n_fft);
}

/* Mean and deviation (divisor frames-1, then + 1e-5) over the whole sound, in two passes. */
static void scale_bands(const struct rs_logmel *l, float *out, int frames)
{
    const int mels = l->o.mels;
    double *mean = l->sums, *square = l->sums + mels;
    memset(mean, 0, sizeof *mean * 2 * (size_t)mels);
    for (int t = 0; t < frames; t++)
        for (int m = 0; m < mels; m++)
            mean[m] += out[(size_t)t * mels + m];
    for (int m = 0; m < mels; m++)
        mean[m] /= frames;
    for (int t = 0; t < frames; t++)
        for (int m = 0; m < mels; m++) {
            const double d = out[(size_t)t * mels + m] - mean[m];
            square[m] += d * d;
        }
    for (int m = 0; m < mels; m++)
        square[m] = 1 / ((frames > 1 ? sqrt(square[m] / (frames - 1)) : 0) + 1e-5);
    for (int t = 0; t < frames; t++)
        for (int m = 0; m < mels; m++)
            out[(size_t)t * mels + m] = (float)((out[(size_t)t * mels + m] - mean[m]) * square[m]);
}

void rs_logmel_run(struct rs_logmel *l, const float *pcm, size_t samples, float *out)
{
    const int frames = (int)rs_logmel_frames(l, samples);
    if (frames == 0)
        return;
    struct job job = {.l = l, .pcm = pcm, .samples = (ptrdiff_t)samples, .out = out, .frames = frames};
    rs_pool_run(l->pool, frames_part, &job);
    if (l->o.normalize)
        scale_bands(l, out, frames);
}
