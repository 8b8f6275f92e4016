/* The ALSA side of the microphone: open and negotiate, read, recover, say what went wrong. Only these
 * files and devices.c know libasound. Used by the capture thread alone. */
#ifndef RS_PCM_H
#define RS_PCM_H

#include <alsa/asoundlib.h>

#include "audio/source.h"
#include "base/err.h"

struct rs_pcm {
    snd_pcm_t *handle;
    snd_pcm_format_t format;
    unsigned rate, channels;
    size_t frame_bytes;
    snd_pcm_uframes_t period, buffer;
};

/* Opens without blocking, negotiates and starts. */
int rs_pcm_open(struct rs_pcm *p, const char *name, struct rs_err *e);
void rs_pcm_close(struct rs_pcm *p);

/* Fills `info` from what was negotiated. */
void rs_pcm_describe(const struct rs_pcm *p, const char *name, struct rs_source_info *info);

/* Interleaved frames as the device gives them → floats in [-1, 1). */
void rs_pcm_to_float(snd_pcm_format_t format, const void *from, float *to, size_t samples);

/* libasound's and its plugins' own messages go nowhere; ours name the device. Called by the main thread
 * before any other thread begins; again is harmless. */
void rs_pcm_quiet(void);

/* devices.c: the PCM name that a person's word for a device stands for. */
int rs_device_resolve(const char *wanted, char *name, size_t size, struct rs_err *e);

/* devices.c: "a, b, c" of the devices that exist but for `failed`, for error sentences. */
void rs_device_names(char *buf, size_t size, const char *failed);

#endif
