/* Voice activity: a probability of speech for each 32 ms (512 samples at 16 kHz), streaming.
 *
 * Two detectors stand behind it: an adaptive energy gate that needs no weights, and Silero's published
 * graph with weights from a safetensors or GGUF file or the embedded ones. */
#ifndef RS_VAD_H
#define RS_VAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define RS_VAD_HOP 512

struct rs_vad;

/* model: a path, "energy" for the gate, NULL: the embedded detector, or the gate where none is embedded. */
int rs_vad_open(struct rs_vad **out, const char *model, struct rs_err *e);
void rs_vad_close(struct rs_vad *v);
void rs_vad_reset(struct rs_vad *v);
const char *rs_vad_name(const struct rs_vad *v);

/* Feeds n samples (any n; a remainder is kept) and appends one probability per completed hop to
 * prob[0…]; returns how many were written, at most n / RS_VAD_HOP + 1. */
size_t rs_vad_feed(struct rs_vad *v, const float *pcm, size_t n, float *prob);

#endif
