/* Runs the recogniser over ranges of a raw int16 file: engine_tokens MODEL BACKEND DECODER FILE.pcm
 * reads "start count" lines (samples) from standard input and prints one line of token ids for each.
 * Built and used by compare.py. */
#include <stdio.h>
#include <stdlib.h>

#include "asr/asr.h"

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    struct rs_err e = {0};
    struct rs_asr *asr;
    struct rs_asr_options o = {.model = argv[1], .backend = argv[2], .decoder = argv[3], .threads = 1};
    FILE *pcm = fopen(argv[4], "rb");
    if (!pcm) {
        perror(argv[4]);
        return 1;
    }
    if (rs_asr_open(&asr, &o, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    struct rs_transcript t = {0};
    long start, count;
    while (scanf("%ld %ld", &start, &count) == 2) {
        int16_t *in = malloc((size_t)count * sizeof *in);
        float *x = malloc((size_t)count * sizeof *x);
        if (!in || !x || fseek(pcm, start * 2, SEEK_SET) || fread(in, 2, (size_t)count, pcm) != (size_t)count)
            return 1;
        for (long i = 0; i < count; i++)
            x[i] = in[i] / 32768.0f;
        if (rs_asr_run(asr, x, (size_t)count, &t, &e)) {
            fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        for (size_t i = 0; i < t.count; i++)
            printf("%d ", t.tokens[i].id);
        putchar('\n');
        free(in);
        free(x);
    }
    rs_transcript_free(&t);
    rs_asr_close(asr);
    fclose(pcm);
    return 0;
}
