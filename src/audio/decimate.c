#include "audio/decimate.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Kaiser's design: 120 dB of attenuation from 8 kHz on, flat up to 7.2 kHz (90 % of the band). Length and beta by his
 * formulas (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6). */
#define ATTENUATION 120.0
#define PASS 0.45                     /* of the output's rate */
#define STOP 0.5

enum { LANES = 16, FEED = 1024 };     /* taps are a multiple of LANES */

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

struct rs_decimator {
    int factor, taps;
    size_t have;                      /* samples in `line` */
    long long in, outs;               /* samples taken, results given */
    float *tap, *line;                /* line: taps + FEED samples */
};

/* The modified Bessel function of order 0, by its series. */
static double bessel0(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; term > sum * 1e-17; k++) {
        term *= x / (2 * k) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

static void design(struct rs_decimator *d, int length)
{
    const double beta = 0.1102 * (ATTENUATION - 8.7), half = (length - 1) / 2.0, cut = (PASS + STOP) / d->factor;
    double sum = 0;
    for (int i = 0; i < length; i++) {
        const double t = i - half, r = t / half, angle = M_PI * cut * t;
        const double sinc = t == 0 ? 1 : sin(angle) / angle;
        d->tap[i] = (float)(sinc * bessel0(beta * sqrt(1 - r * r)));
        sum += d->tap[i];
    }
    for (int i = 0; i < length; i++)
        d->tap[i] = (float)(d->tap[i] / sum);
}

struct rs_decimator *rs_decimator_new(int factor)
{
    if (factor < 2 || factor > RS_DECIMATE_MAX)
        return NULL;
    struct rs_decimator *d = rs_zeroed(1, sizeof *d);
    if (!d)
        return NULL;
    const int half = (int)ceil((ATTENUATION - 8) / (2.285 * 2 * M_PI * (STOP - PASS) / factor) / 2), length = 2 * half + 1;
    d->factor = factor;
    d->taps = (length + LANES - 1) / LANES * LANES;     /* the rest stays 0 */
    d->have = (size_t)half;                             /* silence before the first sample */
    d->tap = rs_zeroed((size_t)d->taps, sizeof(float));
    d->line = rs_zeroed((size_t)d->taps + FEED, sizeof(float));
    if (!d->tap || !d->line) {
        rs_decimator_free(d);
        return NULL;
    }
    design(d, length);
    return d;
}

void rs_decimator_free(struct rs_decimator *d)
{
    if (!d)
        return;
    free(d->tap);
    free(d->line);
    free(d);
}

/* Four sums that do not wait for each other. */
static float filtered(const struct rs_decimator *d, const float *x)
{
    four a = {0}, b = {0}, c = {0}, e = {0};
    for (int i = 0; i < d->taps; i += LANES) {
        const four *w = (const four *)(d->tap + i), *v = (const four *)(x + i);
        a += w[0] * v[0];
        b += w[1] * v[1];
        c += w[2] * v[2];
        e += w[3] * v[3];
    }
    const four s = (a + b) + (c + e);
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Gives what the line holds enough samples for, and keeps what later results need. */
static size_t drain(struct rs_decimator *d, float *out, size_t most)
{
    size_t at = 0, got = 0;
    for (; at + (size_t)d->taps <= d->have && got < most; at += (size_t)d->factor)
        out[got++] = filtered(d, d->line + at);
    d->have -= at;
    memmove(d->line, d->line + at, d->have * sizeof *d->line);
    d->outs += (long long)got;
    return got;
}

/* x NULL: zeros. */
static size_t feed(struct rs_decimator *d, const float *x, size_t n, float *out, size_t most)
{
    size_t got = 0;
    while (n && got < most) {
        const size_t room = (size_t)d->taps + FEED - d->have, k = room < n ? room : n;
        if (x)
            memcpy(d->line + d->have, x, k * sizeof *x), x += k;
        else
            memset(d->line + d->have, 0, k * sizeof *d->line);
        d->have += k, n -= k;
        got += drain(d, out + got, most - got);
    }
    return got;
}

size_t rs_decimator_push(struct rs_decimator *d, const float *x, size_t n, float *out)
{
    d->in += (long long)n;
    return feed(d, x, n, out, SIZE_MAX);
}

size_t rs_decimator_rest(const struct rs_decimator *d)
{
    return (size_t)((d->in + d->factor - 1) / d->factor - d->outs);
}

size_t rs_decimator_flush(struct rs_decimator *d, float *out)
{
    return feed(d, NULL, (size_t)d->taps, out, rs_decimator_rest(d));
}
