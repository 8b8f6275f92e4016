/* Prints the detector's probability for each hop of f32 samples on standard input, one a line:
 * probe energy|default|FILE <samples. Built by known_answers. */
#include <stdio.h>
#include <string.h>

#include "vad/vad.h"

int main(int argc, char **argv)
{
    struct rs_vad *v;
    struct rs_err e = {0};
    float x[RS_VAD_HOP], p[2];
    if (rs_vad_open(&v, argc < 2 || strcmp(argv[1], "default") == 0 ? NULL : argv[1], &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    for (size_t n; (n = fread(x, sizeof *x, RS_VAD_HOP, stdin)) > 0;) {
        memset(x + n, 0, (RS_VAD_HOP - n) * sizeof *x);
        if (rs_vad_feed(v, x, RS_VAD_HOP, p) == 1)
            printf("%.6f\n", (double)p[0]);
    }
    rs_vad_close(v);
    return 0;
}
