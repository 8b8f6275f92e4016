/* A microphone made of a script: preloaded before libasound, it answers the PCM calls that the recorder
 * makes, in virtual time (the monotonic clock runs ahead by what the script says), so that hours of faults
 * take seconds. FAKE_ALSA holds the script, words separated by blanks or newlines:
 *
 *   rates A B … ;  channels A B … ;  format NAME ;        what the hardware takes (16000, 1, S16_LE)
 *   period N ; buffer N ; signal counter|tone|silence ; dead C ; opposed ;
 *   open CODE TIMES ;                                     snd_pcm_open fails that often; plughw: has two channels of any
 *   drift PPM ;                                           the device's clock runs so much faster than ours, and both
 *                                                         at most 60 times as fast as the real one: long recordings
 *   pace ;                                                from here on frames take their time on the real clock
 *   ok N ; short K N ;                                    N frames (in reads of at most K)
 *   zeros N ; nan N ;                                     N frames of zeros, or of NaN
 *   eagain N ; eintr N ; fail CODE N ;                    N calls of readi return that
 *   xrun MS ; suspend MS RETRIES CODE ;                   EPIPE; ESTRPIPE, and resume's last answer
 *   error CODE ; stall ; hang ;                           for ever: an error, silence without error, a stuck call
 *   late MS ;                                             the clock jumps
 *   asleep MS ;                                           the machine slept, and the device says nothing about it
 *   end ;                                                 nothing more comes and the clock jumps an hour
 *
 * The counter signal gives frame f the 16-bit value f·7919 mod 65521 − 32760, which is never the same within
 * 65521 frames; at 16 kHz, mono, it arrives unchanged. FAKE_CALLS names a file for the number of readi calls.
 */
#include <alsa/asoundlib.h>
#include <dlfcn.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static char script[1 << 20];
static char *at = script;
static char op[16];
static long arg[8];
static int n_args;
static long left;                       /* of the current operation's count */

static long rates[8] = {16000}, channel_counts[8] = {1};
static int n_rates = 1, n_channels = 1, dead = -1;
static int opposed, resumed, started, paced;
static double drift = 1;
static char format_name[16] = "S16_LE", signal_kind[16] = "counter";
static snd_pcm_format_t format;
static unsigned rate = 16000, channels = 1;
static snd_pcm_uframes_t period = 160, buffer = 8000;
static long fail_opens, fail_code;
static unsigned long position, calls;
static _Atomic long long mono_ahead, boot_ahead;      /* ns */
static int ready_fd = -1, never_fd = -1;

/* ---- Virtual time ---- */

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    const int rc = real(id, t);
    long long ahead = id == CLOCK_MONOTONIC ? mono_ahead : id == CLOCK_BOOTTIME ? mono_ahead + boot_ahead : 0;
    if (rc || !ahead)
        return rc;
    ahead += t->tv_nsec;
    t->tv_sec += ahead / 1000000000;
    t->tv_nsec = ahead % 1000000000;
    return rc;
}

static void pass(long frames) { mono_ahead += llround(1e9 * (double)frames / (rate * drift)); }

/* Frames that have come by the real clock. */
static long due(void)
{
    static long long begin;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const long long now = t.tv_sec * 1000000000ll + t.tv_nsec;
    if (!begin)
        begin = now;
    return (long)((now - begin) * rate / 1000000000 - (long)position);
}

/* ---- The script ---- */

/* Reads one operation up to its semicolon; the setting ones are carried out at once. */
static void next(void)
{
    for (;;) {
        char words[8][16];
        int n = 0;
        while (n < 8) {
            int used = 0;
            char word[16];
            if (sscanf(at, " %15[^; \n]%n", word, &used) != 1)
                break;
            memcpy(words[n++], word, sizeof word);
            at += used;
        }
        at += strspn(at, " \n;");
        strcpy(op, n ? words[0] : "stall");
        n_args = n - 1;
        for (int i = 1; i < n; i++)
            arg[i - 1] = atol(words[i]);
        left = n > 1 ? arg[strcmp(op, "short") == 0 || strcmp(op, "fail") == 0] : 0;
        if (!strcmp(op, "rates"))
            memcpy(rates, arg, sizeof rates), n_rates = n - 1;
        else if (!strcmp(op, "channels"))
            memcpy(channel_counts, arg, sizeof channel_counts), n_channels = n - 1;
        else if (!strcmp(op, "format"))
            strcpy(format_name, words[1]);
        else if (!strcmp(op, "signal"))
            strcpy(signal_kind, words[1]);
        else if (!strcmp(op, "period"))
            period = (snd_pcm_uframes_t)arg[0];
        else if (!strcmp(op, "buffer"))
            buffer = (snd_pcm_uframes_t)arg[0];
        else if (!strcmp(op, "dead"))
            dead = (int)arg[0];
        else if (!strcmp(op, "drift"))
            drift = 1 + (double)arg[0] * 1e-6;
        else if (!strcmp(op, "pace"))
            paced = 1;
        else if (!strcmp(op, "opposed"))
            opposed = 1;
        else if (!strcmp(op, "open"))
            fail_code = arg[0], fail_opens = arg[1];
        else
            return;
    }
}

static void begin(void)
{
    if (op[0])
        return;
    const char *s = getenv("FAKE_ALSA");
    FILE *f = s && s[0] == '/' ? fopen(s, "r") : NULL;
    if (f) {
        script[fread(script, 1, sizeof script - 1, f)] = 0;
        fclose(f);
    } else {
        snprintf(script, sizeof script, "%s", s ? s : "");
    }
    next();
    format = snd_pcm_format_value(format_name);
    ready_fd = eventfd(1, EFD_CLOEXEC);
    never_fd = eventfd(0, EFD_CLOEXEC);
}

/* ---- Sound ---- */

static double value(unsigned long frame, unsigned c)
{
    if (dead == (int)c || !strcmp(signal_kind, "silence"))
        return 0;
    const double x = !strcmp(signal_kind, "tone") ? 0.5 * sin(2 * M_PI * 1000 * (double)frame / rate)
                                                  : ((long)(frame * 7919 % 65521) - 32760) / 32768.0;
    return opposed && c % 2 ? -x : x;
}

static void put(char **to, double x)
{
    const int32_t v = (int32_t)lrint(fmin(x * 2147483648.0, 2147483647.0));
    const float f = (float)x;
    const int16_t h = (int16_t)(v >> 16);
    const int32_t v24 = (v >> 8) & 0xffffff;
    switch (format) {
    case SND_PCM_FORMAT_S16_LE: memcpy(*to, &h, 2); *to += 2; break;
    case SND_PCM_FORMAT_S24_3LE: memcpy(*to, &v24, 3); *to += 3; break;
    case SND_PCM_FORMAT_S24_LE: memcpy(*to, &v24, 4); *to += 4; break;
    case SND_PCM_FORMAT_FLOAT_LE: memcpy(*to, &f, 4); *to += 4; break;
    case SND_PCM_FORMAT_U8: **to = (char)((v >> 24) + 128); *to += 1; break;
    default: memcpy(*to, &v, 4); *to += 4;
    }
}

static snd_pcm_sframes_t deliver(char *to, snd_pcm_uframes_t want, long most, double gain)
{
    long n = (long)want < left ? (long)want : left;
    n = n < most ? n : most;
    if (paced)
        n = n < due() ? n : due();
    if (n <= 0)
        return -EAGAIN;
    for (long i = 0; i < n; i++, position++)
        for (unsigned c = 0; c < channels; c++)
            put(&to, gain == 0 ? 0 : gain * value(position, c));
    if (!paced)
        pass(n);
    if (drift != 1)                       /* a reader that the machine holds up must not fill the ring */
        usleep((useconds_t)(n * 1000000 / rate / 60));
    if ((left -= n) <= 0)
        next();
    return n;
}

static snd_pcm_sframes_t give(char *to, snd_pcm_uframes_t want)
{
    if (!strcmp(op, "ok"))
        return deliver(to, want, (long)period, 1);
    if (!strcmp(op, "short"))
        return deliver(to, want, arg[0], 1);
    if (!strcmp(op, "zeros"))
        return deliver(to, want, (long)period, 0);
    if (!strcmp(op, "nan"))
        return deliver(to, want, (long)period, NAN);
    if (!strcmp(op, "eagain") || !strcmp(op, "eintr") || !strcmp(op, "fail")) {
        const int code = op[0] == 'f' ? (int)arg[0] : op[1] == 'a' ? -EAGAIN : -EINTR;
        if (--left <= 0)
            next();
        return code;
    }
    if (!strcmp(op, "xrun") || !strcmp(op, "late")) {
        const long lost = arg[0] * (long)rate / 1000;
        const int xrun = op[0] == 'x';
        pass(lost);
        position += (unsigned long)(xrun ? lost : 0);
        next();
        return xrun ? -EPIPE : -EAGAIN;
    }
    if (!strcmp(op, "asleep")) {
        boot_ahead += 1000000ll * arg[0];
        next();
        return -EAGAIN;
    }
    if (!strcmp(op, "suspend")) {
        boot_ahead += 1000000ll * arg[0];
        resumed = 0;
        return -ESTRPIPE;
    }
    if (!strcmp(op, "error"))
        return arg[0];
    if (!strcmp(op, "hang"))
        for (;;)
            pause();
    if (!strcmp(op, "end")) {
        mono_ahead += 3600ll * 1000000000;
        strcpy(op, "stall");
    }
    return -EAGAIN;
}

snd_pcm_sframes_t snd_pcm_readi(snd_pcm_t *h, void *to, snd_pcm_uframes_t want)
{
    (void)h;
    calls++;
    return started ? give(to, want) : -EBADFD;
}

int snd_pcm_resume(snd_pcm_t *h)
{
    (void)h;
    if (resumed++ < arg[1])
        return -EAGAIN;
    const int code = (int)arg[2];
    next();
    return code;
}

/* ---- The rest of the device ---- */

int snd_pcm_open(snd_pcm_t **h, const char *name, snd_pcm_stream_t stream, int mode)
{
    (void)stream, (void)mode;
    begin();
    const bool plug = strncmp(name, "plughw:", 7) == 0;
    if (strcmp(name, "default") != 0 && strncmp(name, "hw:", 3) != 0 && !plug)
        return -ENOENT;
    if (fail_opens-- > 0)
        return (int)fail_code;
    if (plug)
        channel_counts[0] = 2, n_channels = 1;
    *h = (snd_pcm_t *)script;
    return 0;
}

int snd_pcm_close(snd_pcm_t *h)
{
    (void)h;
    FILE *f = getenv("FAKE_CALLS") ? fopen(getenv("FAKE_CALLS"), "w") : NULL;
    if (f) {
        fprintf(f, "%lu\n", calls);
        fclose(f);
    }
    return 0;
}

static unsigned nearest(const long *list, int n, unsigned want)
{
    long best = list[0];
    for (int i = 1; i < n; i++)
        if (labs(list[i] - (long)want) < labs(best - (long)want))
            best = list[i];
    return (unsigned)best;
}

#define UNUSED(a, b) ((void)(a), (void)(b))
int snd_pcm_hw_params_any(snd_pcm_t *h, snd_pcm_hw_params_t *p) { return UNUSED(h, p), 0; }
int snd_pcm_hw_params_set_rate_resample(snd_pcm_t *h, snd_pcm_hw_params_t *p, unsigned v) { return UNUSED(h, p), (void)v, 0; }
int snd_pcm_hw_params_set_access(snd_pcm_t *h, snd_pcm_hw_params_t *p, snd_pcm_access_t a) { return UNUSED(h, p), (void)a, 0; }
int snd_pcm_hw_params_set_format(snd_pcm_t *h, snd_pcm_hw_params_t *p, snd_pcm_format_t f) { return UNUSED(h, p), f == format ? 0 : -EINVAL; }
int snd_pcm_hw_params_set_channels_near(snd_pcm_t *h, snd_pcm_hw_params_t *p, unsigned *v)
{
    UNUSED(h, p);
    *v = channels = nearest(channel_counts, n_channels, *v);
    return 0;
}
int snd_pcm_hw_params_set_rate_near(snd_pcm_t *h, snd_pcm_hw_params_t *p, unsigned *v, int *dir)
{
    UNUSED(h, p), (void)dir;
    *v = rate = nearest(rates, n_rates, *v);
    return 0;
}
int snd_pcm_hw_params_set_buffer_time_near(snd_pcm_t *h, snd_pcm_hw_params_t *p, unsigned *v, int *dir) { UNUSED(h, p); UNUSED(v, dir); return 0; }
int snd_pcm_hw_params_set_period_time_near(snd_pcm_t *h, snd_pcm_hw_params_t *p, unsigned *v, int *dir) { UNUSED(h, p); UNUSED(v, dir); return 0; }
int snd_pcm_hw_params(snd_pcm_t *h, snd_pcm_hw_params_t *p) { return UNUSED(h, p), 0; }
int snd_pcm_hw_params_get_period_size(const snd_pcm_hw_params_t *p, snd_pcm_uframes_t *v, int *dir) { return UNUSED(p, dir), *v = period, 0; }
int snd_pcm_hw_params_get_buffer_size(const snd_pcm_hw_params_t *p, snd_pcm_uframes_t *v) { return (void)p, *v = buffer, 0; }
int snd_pcm_sw_params_current(snd_pcm_t *h, snd_pcm_sw_params_t *p) { return UNUSED(h, p), 0; }
int snd_pcm_sw_params_set_avail_min(snd_pcm_t *h, snd_pcm_sw_params_t *p, snd_pcm_uframes_t v) { return UNUSED(h, p), (void)v, 0; }
int snd_pcm_sw_params_set_tstamp_mode(snd_pcm_t *h, snd_pcm_sw_params_t *p, snd_pcm_tstamp_t v) { return UNUSED(h, p), (void)v, 0; }
int snd_pcm_sw_params(snd_pcm_t *h, snd_pcm_sw_params_t *p) { return UNUSED(h, p), 0; }
int snd_pcm_prepare(snd_pcm_t *h)
{
    (void)h;
    if (!strcmp(op, "suspend"))
        next();
    return 0;
}
int snd_pcm_start(snd_pcm_t *h) { return (void)h, started = 1, 0; }
int snd_pcm_drop(snd_pcm_t *h) { return (void)h, 0; }
snd_pcm_state_t snd_pcm_state(snd_pcm_t *h) { return (void)h, SND_PCM_STATE_RUNNING; }
int snd_pcm_poll_descriptors(snd_pcm_t *h, struct pollfd *p, unsigned n)
{
    UNUSED(h, n);
    *p = (struct pollfd){.fd = strcmp(op, "stall") && strcmp(op, "end") ? ready_fd : never_fd, .events = POLLIN};
    return 1;
}
int snd_pcm_poll_descriptors_revents(snd_pcm_t *h, struct pollfd *p, unsigned n, unsigned short *revents)
{
    UNUSED(h, n);
    *revents = (unsigned short)p->revents;
    return 0;
}
