/* What vad.c asks of a detector. A detector sees whole hops of finite samples, in order, and nothing else. */
#ifndef RS_DETECTOR_H
#define RS_DETECTOR_H

#include "vad/vad.h"

struct rs_detector {
    const char *name;
    float (*hop)(void *self, const float *x);    /* RS_VAD_HOP samples → probability of speech */
    void (*reset)(void *self);
    void (*free)(void *self);
};

/* The energy gate; NULL when memory ends. */
void *rs_energy_new(void);
extern const struct rs_detector rs_energy_detector;

#endif
