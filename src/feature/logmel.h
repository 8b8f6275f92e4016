/* Log-mel features as NVIDIA's checkpoints were trained on (NeMo's FilterbankFeatures since 2.5).
 *
 * Pre-emphasis, a centred short-time Fourier transform with zeros beyond both ends, slaney mel bands,
 * natural logarithm, and each band scaled to mean 0 and deviation 1 over the sound given. Only the
 * frames that the reference calls valid exist here: floor(samples / hop).
 */
#ifndef RS_LOGMEL_H
#define RS_LOGMEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "tensor/pool.h"

struct rs_logmel;

struct rs_logmel_options {
    int rate, n_fft, win_length, hop_length, mels;
    float preemphasis, log_guard;
    bool normalize;           /* per band; false leaves the raw logarithms */
};

/* bank: [mels][n_fft/2+1] weights from the model file, or NULL for slaney's recipe. The pool must outlive it. */
int rs_logmel_new(struct rs_logmel **out, const struct rs_logmel_options *o, const float *bank, struct rs_pool *pool,
                  struct rs_err *e);
void rs_logmel_free(struct rs_logmel *l);

size_t rs_logmel_frames(const struct rs_logmel *l, size_t samples);

/* Fills out[frames][mels]. NaN and infinite samples count as 0. */
void rs_logmel_run(struct rs_logmel *l, const float *pcm, size_t samples, float *out);

/* Slaney's mel bank (librosa's default): bank[mels][bins], bins = n_fft/2+1. */
void rs_mel_bank(float *bank, int mels, int bins, double rate);

#endif
