/* 16 kHz from a whole multiple of it (32, 48, 96 kHz ...): a linear-phase low-pass of which only every factor-th
 * output is computed. Output j lies exactly at input j·factor: the filter's delay is taken out.
 */
#ifndef RS_DECIMATE_H
#define RS_DECIMATE_H

#include <stddef.h>

enum { RS_DECIMATE_MAX = 48 };        /* 768 kHz */

struct rs_decimator;

/* factor 2 to RS_DECIMATE_MAX. NULL: no memory. */
struct rs_decimator *rs_decimator_new(int factor);
void rs_decimator_free(struct rs_decimator *d);

/* Takes n samples and writes what is finished to out: at most n / factor + 1. The results do not depend on how the
 * sound was cut into calls. */
size_t rs_decimator_push(struct rs_decimator *d, const float *x, size_t n, float *out);
/* After the last sample, once: as if zeros followed. */
size_t rs_decimator_flush(struct rs_decimator *d, float *out);
/* The most that flush writes. */
size_t rs_decimator_rest(const struct rs_decimator *d);

#endif
