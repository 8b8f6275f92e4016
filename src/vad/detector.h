/* What vad.c asks of a detector. A detector sees whole hops of finite samples, in order, and nothing else. */
#ifndef RS_DETECTOR_H
#define RS_DETECTOR_H

#include "vad/vad.h"

#define RS_VAD_GROUP 8                 /* the most hops that a detector is handed at once */

struct rs_detector {
    const char *name;
    void (*hops)(void *self, const float *x, int n, float *prob);    /* n · RS_VAD_HOP samples → n probabilities */
    void (*reset)(void *self);
    void (*free)(void *self);
};

/* The energy gate; NULL when memory ends. */
void *rs_energy_new(void);
extern const struct rs_detector rs_energy_detector;

#endif
