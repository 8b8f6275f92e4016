/* Where sound comes from: the microphone, a file or a pipe, all as 16 kHz mono f32.
 *
 * A microphone source has a capture thread of its own that only copies into a ring, so that nobody's
 * slowness costs a sample; downmix and resampling happen in the reader's thread. A file source behind
 * the same interface makes every bug report replayable. Knows nothing of models.
 */
#ifndef RS_SOURCE_H
#define RS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rs_source;

struct rs_source_info {
    char device[256];         /* what was opened: a PCM name, a path, "-" */
    char format[24];          /* "S16_LE", "FLOAT_LE", "wav/pcm_16" … */
    int rate, channels;       /* as negotiated or as in the file */
    double period_ms, buffer_ms;
    int64_t frames;           /* length of a file, -1 if unknown */
};

/* Things that happened to the sound, in order; times are in seconds of the session's 16 kHz audio. */
enum rs_note_kind {
    RS_NOTE_FIRST_SOUND,      /* the first sample that is not zero; at_ns holds when it was read */
    RS_NOTE_OVERRUN,          /* `ms` of sound were lost; as much silence was put in their place */
    RS_NOTE_SUSPENDED,        /* the machine slept for `ms` (no silence is put in) */
    RS_NOTE_SILENT,           /* exact zeros for over a second: muted, or a headset that wakes up */
    RS_NOTE_STALLED,          /* no samples for 2.5 s though no error was reported */
    RS_NOTE_TRUNCATED,        /* the file holds less than its header says */
    RS_NOTE_BAD_SAMPLES,      /* NaN or infinite samples were replaced by 0 (`ms` of them) */
};
struct rs_note { enum rs_note_kind kind; double at, ms; int64_t at_ns; char text[200]; };

/* device: an ALSA PCM name, or a unique part of a device's name or description; NULL: "default". Opens
 * and starts recording at once: when this returns, sound is being kept. */
int rs_source_microphone(struct rs_source **out, const char *device, struct rs_err *e);

struct rs_raw_format { int rate, channels; const char *encoding; /* "s16le", "s32le", "f32le" */ };

/* path: a file, or "-" for standard input; for a pipe, rate and channels are 0 in the facts until its
 * header has come (with the first samples). raw: NULL, or the format of headerless samples. realtime:
 * samples become available at the speed of the clock, as from a microphone. */
int rs_source_file(struct rs_source **out, const char *path, const struct rs_raw_format *raw, bool realtime,
                   struct rs_err *e);

void rs_source_close(struct rs_source *s);
const struct rs_source_info *rs_source_facts(const struct rs_source *s);

/* A descriptor that polls readable when rs_source_read has something to say. */
int rs_source_fd(const struct rs_source *s);

enum rs_source_state { RS_SOURCE_MORE, RS_SOURCE_END };

/* Takes what is there, at most `max` samples, without waiting. RS_SOURCE_END once everything was given
 * (end of the file, or stopped and drained). Negative: the device was lost (RS_E_DEVICE_GONE …) or the
 * file broke; every sample before that has been given already. */
int rs_source_read(struct rs_source *s, float *out, size_t max, size_t *got, struct rs_err *e);

/* Pops the oldest note; false when there is none. */
bool rs_source_note(struct rs_source *s, struct rs_note *note);

/* While nobody speaks nobody waits for the sound: a relaxed source hands it out in larger pieces, a tenth of a second. */
void rs_source_relax(struct rs_source *s, bool relaxed);

/* Ends the recording: `tail_ms` more are captured, then what the device and the resampler still hold is
 * drained and the source ends. Again with 0 cuts a running tail short. */
void rs_source_stop(struct rs_source *s, int tail_ms);

struct rs_loss { int64_t captured_frames; int overruns; double lost_ms, tail_ms; };   /* device frames */
void rs_source_account(const struct rs_source *s, struct rs_loss *loss);

/* audio/devices.c: capture devices by names that survive a reboot. */
struct rs_device { char *name, *description; bool is_default, is_monitor; };
int rs_devices_list(struct rs_device **out, size_t *count, struct rs_err *e);
void rs_devices_free(struct rs_device *d, size_t count);

#endif
