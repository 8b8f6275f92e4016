/* A click track that shows every lost or doubled sample. `clicks make RATE CHANNELS SECONDS` writes a WAV
 * file of soft clicks at uneven distances; `clicks check SECONDS` reads 16 kHz f32 samples of a recording of
 * it and prints what it found: a recording in which every click sits where the one before says it must,
 * within a third of a sample, has neither lost nor doubled any. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Click k in seconds: every 100 ms, moved by up to 36 ms in an order that does not repeat soon. */
static double when(int k) { return 0.25 + 0.1 * k + 0.001 * ((k * 7919) % 37); }

static void put(uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        putchar((int)(v >> (8 * i) & 255));
}

static int make(int rate, int channels, double seconds)
{
    const int clicks = (int)((seconds - 0.5) / 0.1);
    const uint32_t frames = (uint32_t)(seconds * rate), bytes = frames * (uint32_t)channels * 2;
    fputs("RIFF", stdout), put(36 + bytes, 4), fputs("WAVEfmt ", stdout), put(16, 4), put(1, 2), put((uint32_t)channels, 2);
    put((uint32_t)rate, 4), put((uint32_t)(rate * channels * 2), 4), put((uint32_t)channels * 2, 2), put(16, 2);
    fputs("data", stdout), put(bytes, 4);
    for (uint32_t i = 0; i < frames; i++) {
        const double t = (double)i / rate;
        const int k = (int)((t - 0.25) / 0.1);
        double x = 0;
        for (int j = k - 1; j <= k + 1; j++)
            if (j >= 0 && j < clicks) {
                const double d = (t - when(j)) / 0.0002;
                x += 0.8 * exp(-0.5 * d * d);
            }
        for (int c = 0; c < channels; c++)
            put((uint32_t)(int)lrint(x * 32767), 2);
    }
    return fflush(stdout) ? 1 : 0;
}

static int check(double seconds)
{
    const int clicks = (int)((seconds - 0.5) / 0.1);
    const size_t most = 16000 * 3600;
    float *x = malloc(most * sizeof *x);
    double *found = malloc((size_t)(clicks + 1000) * sizeof *found), worst = 0;
    if (!x || !found)
        return 1;
    const size_t n = fread(x, sizeof *x, most, stdin);
    int count = 0;
    size_t last = 0;
    for (size_t i = 1; i + 1 < n && count < clicks + 1000; i++)
        if (x[i] > 0.3f && x[i] >= x[i - 1] && x[i] > x[i + 1] && (!count || i - last > 160)) {
            const double a = log(fabs(x[i - 1]) + 1e-9), b = log(x[i]), c = log(fabs(x[i + 1]) + 1e-9);
            found[count++] = (double)i + 0.5 * (a - c) / (a - 2 * b + c);    /* a Gaussian is a parabola in its logarithm */
            last = i;
        }
    double shift = 0;
    for (int k = 0; k < count && k < clicks; k++) {
        const double off = (found[k] - found[0]) - (when(k) - when(0)) * 16000;
        shift = off;
        if (fabs(off) > worst)
            worst = fabs(off);
    }
    printf("clicks %d found %d shift %.2f worst %.2f samples\n", clicks, count, shift, worst);
    free(x);
    free(found);
    return count == clicks && worst < 1.0 / 3 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "make") == 0)
        return make(atoi(argv[2]), atoi(argv[3]), atof(argv[4]));
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(atof(argv[2]));
    fputs("usage: clicks make RATE CHANNELS SECONDS > WAV; clicks check SECONDS < F32\n", stderr);
    return 2;
}
