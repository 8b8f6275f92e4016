/* Opening a capture device.
 *
 * Rate: the device's own. ALSA's converters are switched off, and 48 kHz (or what is nearest to it) is
 * asked for. A sound server resamples to whatever it is asked for, PulseAudio by default with a cheap
 * filter that folds treble back when it goes down to 16 kHz; 48 kHz is what nearly all hardware runs at,
 * and coming down from there is our own converter's work.
 * Format: 32 bits if there are, because quiet microphones live in the low bits.
 * Channels: two if there are, else what the device has; resample.c decides which of them count.
 * Period: 20 ms, so that sound is seen early; a sound server wakes itself and us for each, and at 10 ms that
 * would be a third of what listening costs. Buffer: 500 ms, so that a thread that gets no processor for half a
 * second loses nothing; some plugins offer 10 to 20 s and would deliver late, so both are set.
 */
#include "audio/pcm.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { PERIOD_US = 20000, BUFFER_US = 500000, BUSY_WAIT_MS = 1000, BUSY_STEP_MS = 100 };

static void silent_handler(const char *file, int line, const char *function, int err, const char *fmt, ...)
{
    (void)file, (void)line, (void)function, (void)err, (void)fmt;
}

/* Plugins also write to stderr themselves, from threads of their own. Of this program's only the main thread uses it
 * (the recorder's others write to the descriptor), so the others are not heard. */
static ssize_t main_thread_only(void *cookie, const char *text, size_t size)
{
    (void)cookie;
    return gettid() == getpid() ? write(STDERR_FILENO, text, size) : (ssize_t)size;
}

static void quiet_once(void)
{
    snd_lib_error_set_handler(silent_handler);
    FILE *filtered = fopencookie(NULL, "w", (cookie_io_functions_t){.write = main_thread_only});
    if (!filtered)
        return;
    setvbuf(filtered, NULL, _IONBF, 0);
    fflush(stderr);
    stderr = filtered;
}

void rs_pcm_quiet(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, quiet_once);
}

static int open_failed(const char *name, int code, struct rs_err *e)
{
    char there[300];
    if (code == -EBUSY)
        return rs_fail(e, RS_E_DEVICE_BUSY, "Another program holds the microphone '%.100s'; close it, or record through the "
                       "sound server with --device default.", name);
    if (code == -EACCES || code == -EPERM)
        return rs_fail(e, RS_E_DEVICE_PERMISSION, "The microphone '%.100s' may not be opened by this user; "
                       "'sudo usermod -aG audio $USER' and a new login usually help.", name);
    rs_device_names(there, sizeof there, name);
    if (code == -ECONNREFUSED || code == -EHOSTDOWN)        /* PulseAudio's plugin, PipeWire's */
        return rs_fail(e, RS_E_DEVICE_NOT_FOUND, "The microphone '%.60s' needs a sound server, and none answers. There is: %s. "
                       "Choose with --device NAME.", name, there);
    return rs_fail(e, RS_E_DEVICE_NOT_FOUND, "The microphone '%.60s' cannot be opened (%s). There is: %s. Choose with "
                   "--device NAME; 'rec-stt devices' tells more.", name, snd_strerror(code), there);
}

static const snd_pcm_format_t wanted_formats[] = {
    SND_PCM_FORMAT_S32_LE, SND_PCM_FORMAT_FLOAT_LE, SND_PCM_FORMAT_S24_LE, SND_PCM_FORMAT_S24_3LE, SND_PCM_FORMAT_S16_LE,
    SND_PCM_FORMAT_U8,
};

static int choose_hardware(struct rs_pcm *p, snd_pcm_hw_params_t *hw)
{
    snd_pcm_t *h = p->handle;
    int rc = snd_pcm_hw_params_any(h, hw);
    if (rc < 0)
        return rc;
    snd_pcm_hw_params_set_rate_resample(h, hw, 0);
    if ((rc = snd_pcm_hw_params_set_access(h, hw, SND_PCM_ACCESS_RW_INTERLEAVED)) < 0)
        return rc;
    rc = -EINVAL;
    for (size_t i = 0; i < sizeof wanted_formats / sizeof *wanted_formats && rc < 0; i++) {
        rc = snd_pcm_hw_params_set_format(h, hw, wanted_formats[i]);
        p->format = wanted_formats[i];
    }
    if (rc < 0)
        return rc;
    p->channels = 2;
    if ((rc = snd_pcm_hw_params_set_channels_near(h, hw, &p->channels)) < 0)
        return rc;
    p->rate = 48000;
    if ((rc = snd_pcm_hw_params_set_rate_near(h, hw, &p->rate, NULL)) < 0)
        return rc;
    unsigned buffer_us = BUFFER_US, period_us = PERIOD_US;
    /* the buffer first: a device with a small one then still gets as much as it has */
    snd_pcm_hw_params_set_buffer_time_near(h, hw, &buffer_us, NULL);
    snd_pcm_hw_params_set_period_time_near(h, hw, &period_us, NULL);
    if ((rc = snd_pcm_hw_params(h, hw)) < 0)
        return rc;
    if ((rc = snd_pcm_hw_params_get_period_size(hw, &p->period, NULL)) < 0)
        return rc;
    return snd_pcm_hw_params_get_buffer_size(hw, &p->buffer);
}

static int negotiate(struct rs_pcm *p)
{
    snd_pcm_hw_params_t *hw;
    snd_pcm_sw_params_t *sw;
    snd_pcm_hw_params_alloca(&hw);
    snd_pcm_sw_params_alloca(&sw);
    int rc = choose_hardware(p, hw);
    if (rc < 0)
        return rc;
    p->frame_bytes = (size_t)snd_pcm_format_physical_width(p->format) / 8 * p->channels;
    if ((rc = snd_pcm_sw_params_current(p->handle, sw)) < 0)
        return rc;
    snd_pcm_sw_params_set_avail_min(p->handle, sw, p->period);
    snd_pcm_sw_params_set_tstamp_mode(p->handle, sw, SND_PCM_TSTAMP_NONE);
    return snd_pcm_sw_params(p->handle, sw);
}

/* 0 or libasound's error; refused: the device is there, but gives nothing that can be read here. */
static int start(struct rs_pcm *p, const char *name, int64_t give_up, bool *refused)
{
    int rc;
    *p = (struct rs_pcm){0};
    *refused = false;
    while ((rc = snd_pcm_open(&p->handle, name, SND_PCM_STREAM_CAPTURE, SND_PCM_NONBLOCK)) == -EBUSY && rs_now_ns() < give_up)
        nanosleep(&(struct timespec){.tv_nsec = BUSY_STEP_MS * 1000000}, NULL);
    if (rc < 0) {
        p->handle = NULL;
    } else if ((rc = negotiate(p)) < 0 || (rc = snd_pcm_prepare(p->handle)) < 0 || (rc = snd_pcm_start(p->handle)) < 0) {
        rs_pcm_close(p);
        *refused = rc != -ENODEV && rc != -ENOENT && rc != -EBUSY && rc != -EIO;
    }
    return rc < 0 ? rc : 0;
}

/* A plugin makes two channels of any number by leaving out the others, and the one somebody speaks into may be among
 * those: plughw is for what cannot be read as it is. */
int rs_pcm_open(struct rs_pcm *p, const char *name, struct rs_err *e)
{
    const int64_t give_up = rs_now_ns() + BUSY_WAIT_MS * 1000000ll;
    bool refused;
    if (strncmp(name, "plughw:", 7) == 0 && start(p, name + 4, 0, &refused) == 0)
        return 0;
    const int rc = start(p, name, give_up, &refused);
    if (refused)
        return rs_fail(e, RS_E_DEVICE_REFUSED, "The microphone '%.100s' takes none of the formats that can be read here (%s); try "
                       "'plughw:' in place of 'hw:', or --device default.", name, snd_strerror(rc));
    return rc ? open_failed(name, rc, e) : 0;
}

void rs_pcm_close(struct rs_pcm *p)
{
    if (p->handle)
        snd_pcm_close(p->handle);
    p->handle = NULL;
}

void rs_pcm_describe(const struct rs_pcm *p, const char *name, struct rs_source_info *info)
{
    *info = (struct rs_source_info){.rate = (int)p->rate, .channels = (int)p->channels, .frames = -1,
                                    .period_ms = 1e3 * (double)p->period / p->rate,
                                    .buffer_ms = 1e3 * (double)p->buffer / p->rate};
    snprintf(info->device, sizeof info->device, "%s", name);
    snprintf(info->format, sizeof info->format, "%s", snd_pcm_format_name(p->format));
}

void rs_pcm_to_float(snd_pcm_format_t format, const void *from, float *to, size_t samples)
{
    const uint8_t *b = from;
    switch (format) {
    case SND_PCM_FORMAT_FLOAT_LE:
        memcpy(to, from, samples * sizeof *to);
        break;
    case SND_PCM_FORMAT_S16_LE:
        for (size_t i = 0; i < samples; i++)
            to[i] = (float)((const int16_t *)from)[i] / 32768.0f;
        break;
    case SND_PCM_FORMAT_S24_LE:       /* the upper eight bits are not defined */
        for (size_t i = 0; i < samples; i++)
            to[i] = (float)((int32_t)(((const uint32_t *)from)[i] << 8) >> 8) / 8388608.0f;
        break;
    case SND_PCM_FORMAT_S24_3LE:
        for (size_t i = 0; i < samples; i++, b += 3)
            to[i] = (float)((int32_t)((uint32_t)b[0] << 8 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 24) >> 8) / 8388608.0f;
        break;
    case SND_PCM_FORMAT_U8:
        for (size_t i = 0; i < samples; i++)
            to[i] = ((float)b[i] - 128.0f) / 128.0f;
        break;
    default:                          /* S32_LE; the divisor is exact, the sample keeps its upper 24 bits */
        for (size_t i = 0; i < samples; i++)
            to[i] = (float)((const int32_t *)from)[i] / 2147483648.0f;
    }
}
