/* What is in a recording of fakealsa's signals? Reads 16 kHz f32 samples and prints, for `counter frames`, its
 * pieces in order: "N@F" for N samples that count on from frame F, "zN" for N zeros; for `counter tone`, the
 * level of a 1 kHz sine and all that is not it, in dB below. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long inverse[65521];      /* value → frame modulo 65521 */

static void frames(const float *x, long n)
{
    for (long f = 0; f < 65521; f++)
        inverse[f * 7919 % 65521] = f;
    for (long i = 0; i < n;) {
        long j = i;
        while (j < n && x[j] == 0)
            j++;
        if (j - i > 1) {
            printf("z%ld ", j - i);
            i = j;
            continue;
        }
        const long v = lrint((double)x[i] * 32768) + 32760, start = v >= 0 && v < 65521 ? inverse[v] : 0;
        for (j = i; j < n && lrint((double)x[j] * 32768) + 32760 == (start + (j - i)) % 65521 * 7919 % 65521; j++)
            ;
        if (j == i) {
            printf("bad sample %ld\n", i);
            return;
        }
        printf("%ld@%ld ", j - i, start);
        i = j;
    }
    printf("\n");
}

static void tone(const float *x, long n)
{
    double s = 0, c = 0, all = 0;
    const long from = n / 10, to = from + (n - 2 * from) / 16 * 16;      /* whole periods */
    for (long i = from; i < to; i++) {
        s += x[i] * sin(2 * M_PI * 1000 * (double)i / 16000);
        c += x[i] * cos(2 * M_PI * 1000 * (double)i / 16000);
        all += (double)x[i] * x[i];
    }
    const double m = (double)(to - from), level = 2 * hypot(s, c) / m, rest = fmax(all / m - level * level / 2, 1e-20);
    printf("level %.3f rest %.0f dB\n", level, 10 * log10(rest / (level * level / 2)));
}

int main(int argc, char **argv)
{
    const size_t most = 16000 * 4000;
    float *x = malloc(most * sizeof *x);
    if (!x || argc != 2)
        return 2;
    const long n = (long)fread(x, sizeof *x, most, stdin);
    if (strcmp(argv[1], "tone") == 0)
        tone(x, n);
    else
        frames(x, n);
    free(x);
    return 0;
}
