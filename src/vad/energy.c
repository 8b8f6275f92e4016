/* The energy gate: speech is what rises above the room's own sound, above all when it has a pitch.
 *
 * Each hop's level (after a high-pass and a pre-emphasis, which take away rumble and hum and flatten the
 * usual noises) is compared with a floor: the lowest smoothed level of the last three seconds. Running
 * speech touches its floor between syllables; a noise that is steady for half a second is made the floor
 * at once, however loud. The rise in decibels and the voicing (the highest normalised autocorrelation
 * between 80 and 400 Hz) make a probability. While no floor is known yet, at the start or after digital
 * silence, loud sound without pitch is not believed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "vad/detector.h"

enum {
    WINDOW = 94,                       /* hops over which the lowest level is the floor: 3 s */
    STEADY = 16,                       /* hops of unchanging level that make a new floor: 0.5 s */
    DECIMATE = 4,                      /* voicing is searched at 4 kHz */
    PITCH = 2 * RS_VAD_HOP / DECIMATE, /* samples of it: this hop and the one before */
    LAG_MIN = 10, LAG_MAX = 50,        /* 400 … 80 Hz at 4 kHz */
};

static const float DIGITAL_DB = -95;       /* zeros or dither: the microphone is muted or not awake yet */
static const float QUIET_DB = -75;         /* the lowest floor: the noise of converters */
static const float UNKNOWN_DB = -63;       /* the floor of a room not heard yet */
static const float STEADY_DB = 1.2f;       /* standard deviation of a steady noise's level; speech has 4 and more */
static const float MINIMUM_BIAS_DB = 1.5f; /* the lowest of many smoothed levels lies this far under their mean */
static const float UNSURE = 0.3f;          /* factor for sound without pitch while no floor is known */

struct energy {
    float in1, in2, out1, out2, emphasis;  /* filter memories */
    float level[WINDOW];                   /* dB, a ring */
    int at, filled;                        /* next place in the ring; places in use */
    int known;                             /* hops heard since the last digital silence, at most STEADY */
    float pitch[PITCH];
};

void *rs_energy_new(void)
{
    return rs_zeroed(1, sizeof(struct energy));
}

static void energy_reset(void *self)
{
    memset(self, 0, sizeof(struct energy));
}

/* Second-order Butterworth high-pass at 120 Hz (bilinear transform at 16 kHz). */
static float high_pass(struct energy *g, float x)
{
    static const float B = 0.9672273f, A1 = -1.9333802f, A2 = 0.9355289f;
    const float y = B * (x - 2 * g->in1 + g->in2) - A1 * g->out1 - A2 * g->out2;
    g->in2 = g->in1;
    g->in1 = x;
    g->out2 = g->out1;
    g->out1 = fabsf(y) < 1e-20f ? 0 : y;   /* no denormals in a long silence */
    return y;
}

/* Filters the hop: its level in dB is returned, its decimated form enters the pitch buffer. */
static float filter_hop(struct energy *g, const float *x)
{
    double power = 0;
    memmove(g->pitch, g->pitch + PITCH / 2, PITCH / 2 * sizeof *g->pitch);
    for (int i = 0; i < RS_VAD_HOP; i += DECIMATE) {
        float sum = 0;
        for (int j = 0; j < DECIMATE; j++) {
            const float clipped = fminf(fmaxf(x[i + j], -8), 8), y = high_pass(g, clipped), d = y - 0.9f * g->emphasis;
            g->emphasis = y;
            power += (double)d * d;
            sum += y;
        }
        g->pitch[PITCH / 2 + i / DECIMATE] = sum / DECIMATE;
    }
    return (float)(10 * log10(power / RS_VAD_HOP + 1e-12));
}

static float voicing(const struct energy *g)
{
    float best = 0;
    for (int lag = LAG_MIN; lag <= LAG_MAX; lag++) {
        float ab = 0, aa = 1e-9f, bb = 1e-9f;
        for (int i = lag; i < PITCH; i++) {
            ab += g->pitch[i] * g->pitch[i - lag];
            aa += g->pitch[i] * g->pitch[i];
            bb += g->pitch[i - lag] * g->pitch[i - lag];
        }
        best = fmaxf(best, ab / sqrtf(aa * bb));
    }
    return best;
}

/* The level `back` hops ago (1: the newest). */
static float recent(const struct energy *g, int back)
{
    return g->level[(g->at - back + WINDOW) % WINDOW];
}

/* When the last half second was steady, its mean becomes the whole past. */
static void adopt_steady(struct energy *g)
{
    if (g->filled < STEADY)
        return;
    float mean = 0, var = 0;
    for (int i = 1; i <= STEADY; i++)
        mean += recent(g, i) / STEADY;
    for (int i = 1; i <= STEADY; i++)
        var += (recent(g, i) - mean) * (recent(g, i) - mean) / STEADY;
    if (var < STEADY_DB * STEADY_DB)
        for (int i = 0; i < g->filled; i++)
            g->level[i] = mean - MINIMUM_BIAS_DB;
}

static float noise_floor(const struct energy *g)
{
    float low = 0;
    for (int i = 1; i + 2 <= g->filled; i++) {
        const float smooth = (recent(g, i) + recent(g, i + 1) + recent(g, i + 2)) / 3;
        low = i == 1 ? smooth : fminf(low, smooth);
    }
    return g->filled < 3 ? QUIET_DB : fmaxf(low + MINIMUM_BIAS_DB, QUIET_DB);
}

static float energy_hop(struct energy *g, const float *x)
{
    const float level = filter_hop(g, x);
    if (level < DIGITAL_DB) {          /* digital silence tells nothing of the room */
        g->known = g->filled = g->at = 0;
        return 0;
    }
    g->level[g->at] = level;
    g->at = (g->at + 1) % WINDOW;
    g->filled += g->filled < WINDOW;
    g->known += g->known < STEADY;
    adopt_steady(g);
    const float rise = level - (g->known < STEADY ? UNKNOWN_DB : noise_floor(g)), pitch = voicing(g);
    const float p = 1 / (1 + expf(-(rise - 4 + 10 * (pitch - 0.5f)) / 2));
    return g->known < STEADY && pitch < 0.5f ? UNSURE * p : p;
}

static void energy_hops(void *self, const float *x, int n, float *prob)
{
    for (int i = 0; i < n; i++)
        prob[i] = energy_hop(self, x + i * RS_VAD_HOP);
}

const struct rs_detector rs_energy_detector = {
    .name = "energy", .hops = energy_hops, .reset = energy_reset, .free = free,
};
