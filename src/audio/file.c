/* Files and pipes as a source, through libsndfile.
 *
 * A regular file is decoded in the reader's thread, as much as it asks for. A pipe is decoded in a thread
 * of its own, because decoders wait for bytes and rs_source_read must not. libsndfile sees a pipe through
 * `struct stream`: a window of the last bytes, so that headers can be read back and forth while memory
 * stays bounded, and a stream that never ends is given out as it arrives. Decoders that look for the end
 * of the file (Ogg's length, chunks behind a WAV's samples) are told that there is nothing there.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sndfile.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "audio/ring.h"
#include "audio/source_impl.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/wake.h"

enum {
    BLOCK_FRAMES = 1024,
    WINDOW = 1 << 20,                 /* bytes of a pipe that can be read again */
    AHEAD_CHUNKS = 64 << 10,          /* how far a read may skip before it counts as "at the end": RIFF and its kin, */
    AHEAD_TAGS = 16 << 20,            /* whose samples are skipped to look for more chunks; formats with tags in front */
    PACE_MS = 10,
    ID3V1 = 128,                      /* bytes of a tag at the end of a file */
};

struct stream {
    int fd, quit;                     /* quit: an eventfd that ends every wait */
    uint8_t *bytes;
    size_t cap;
    int64_t base, end, pos;           /* file offsets: of bytes[0], behind the last one, of the decoder */
    int64_t ahead;
    bool eof, last, lost;             /* last: told to quit; lost: the decoder went back behind the window */
    int error;                        /* errno of a failed read */
};

struct file {
    struct rs_source s;                        /* its descriptor is an epoll over the next two */
    int event, timer;
    char name[256];
    SNDFILE *snd;
    SF_INFO sf;
    float *block;
    bool realtime, decoded, broken, stopped;
    int64_t begin_ns, stop_ns, given, limit;   /* samples given out, and the most to give (-1: no limit) */
    struct rs_loss loss;
    /* pipes only */
    bool piped, threaded, opened;
    struct stream in;
    pthread_t thread;
    struct rs_ring ring;
    struct rs_err error;              /* written by the thread before `state` says so */
    _Atomic int state;                /* enum pipe_state */
    int space;                        /* eventfd: the reader made room, or wants the thread to end */
};

enum pipe_state { PIPE_OPENING, PIPE_OPEN, PIPE_DONE };

/* ---- The window over a pipe ---- */

/* Waits for bytes and appends them; false at the end, on an error and when told to quit. */
static bool stream_more(struct stream *st)
{
    enum { PIECE = 64 << 10 };
    struct pollfd p[2] = {{.fd = st->fd, .events = POLLIN}, {.fd = st->quit, .events = POLLIN}};
    if (st->eof || st->error)
        return false;
    while (poll(p, 2, -1) < 0)
        if (errno != EINTR) {
            st->error = errno;
            return false;
        }
    if (p[1].revents) {               /* what the pipe holds already is still taken, once */
        const bool more = p[0].revents & POLLIN && !st->last;
        st->last = true;
        if (!more) {
            st->eof = true;
            return false;
        }
    }
    size_t have = (size_t)(st->end - st->base);
    if (have + PIECE > st->cap && have > WINDOW) {
        memmove(st->bytes, st->bytes + have - WINDOW, WINDOW);
        st->base = st->end - WINDOW;
        have = WINDOW;
    }
    if (!rs_grow((void **)&st->bytes, &st->cap, have + PIECE, 1)) {
        st->error = ENOMEM;
        return false;
    }
    const ssize_t n = read(st->fd, st->bytes + have, PIECE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n < 0)
        st->error = errno;
    st->eof = n == 0;
    st->end += n > 0 ? n : 0;
    return n > 0;
}

static sf_count_t stream_length(void *u) { (void)u; return (sf_count_t)1 << 62; }
static sf_count_t stream_tell(void *u) { return ((struct stream *)u)->pos; }

static sf_count_t stream_seek(sf_count_t offset, int whence, void *u)
{
    struct stream *st = u;
    const int64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? st->pos : stream_length(u);
    int64_t to;
    if (__builtin_add_overflow(from, offset, &to) || to < 0)
        return -1;
    return st->pos = to;
}

static sf_count_t stream_read(void *to, sf_count_t count, void *u)
{
    struct stream *st = u;
    while (st->end < 4 && stream_more(st))
        ;
    if (!st->ahead && st->end >= 4) {
        static const char *const chunked[] = {"RIFF", "RIFX", "RF64", "riff", "FORM", ".snd", "caff"};
        st->ahead = AHEAD_TAGS;
        for (size_t i = 0; i < sizeof chunked / sizeof *chunked; i++)
            if (memcmp(st->bytes, chunked[i], 4) == 0)
                st->ahead = AHEAD_CHUNKS;
    }
    if (st->pos >= stream_length(u) - ID3V1) {
        const sf_count_t n = count < stream_length(u) - st->pos ? count : stream_length(u) - st->pos;
        memset(to, 0, (size_t)n);     /* no tag there; mpg123 insists on reading one */
        st->pos += n;
        return n;
    }
    if (st->pos > st->end + st->ahead)
        return 0;
    while (st->pos + count > st->end && stream_more(st))
        ;
    if (st->pos < st->base)
        st->lost = true;
    if (st->pos < st->base || st->pos >= st->end)
        return 0;
    const sf_count_t n = count < st->end - st->pos ? count : st->end - st->pos;
    memcpy(to, st->bytes + (st->pos - st->base), (size_t)n);
    st->pos += n;
    return n;
}

/* ---- What libsndfile says ---- */

static void describe(struct file *f)
{
    static const struct { int code; const char *name; } major[] = {
        {SF_FORMAT_WAV, "wav"}, {SF_FORMAT_WAVEX, "wav"}, {SF_FORMAT_RF64, "rf64"}, {SF_FORMAT_W64, "w64"},
        {SF_FORMAT_AIFF, "aiff"}, {SF_FORMAT_AU, "au"}, {SF_FORMAT_CAF, "caf"}, {SF_FORMAT_FLAC, "flac"},
        {SF_FORMAT_OGG, "ogg"}, {SF_FORMAT_MPEG, "mpeg"}, {SF_FORMAT_RAW, "raw"},
    }, minor[] = {
        {SF_FORMAT_PCM_S8, "pcm_8"}, {SF_FORMAT_PCM_U8, "pcm_8"}, {SF_FORMAT_PCM_16, "pcm_16"}, {SF_FORMAT_PCM_24, "pcm_24"},
        {SF_FORMAT_PCM_32, "pcm_32"}, {SF_FORMAT_FLOAT, "float"}, {SF_FORMAT_DOUBLE, "double"}, {SF_FORMAT_ULAW, "ulaw"},
        {SF_FORMAT_ALAW, "alaw"}, {SF_FORMAT_VORBIS, "vorbis"}, {SF_FORMAT_OPUS, "opus"},
        {SF_FORMAT_MPEG_LAYER_III, "mp3"}, {SF_FORMAT_MPEG_LAYER_II, "mp2"},
    };
    const char *a = "other", *b = "other";
    for (size_t i = 0; i < sizeof major / sizeof *major; i++)
        if ((f->sf.format & SF_FORMAT_TYPEMASK) == major[i].code)
            a = major[i].name;
    for (size_t i = 0; i < sizeof minor / sizeof *minor; i++)
        if ((f->sf.format & SF_FORMAT_SUBMASK) == minor[i].code)
            b = minor[i].name;
    snprintf(f->s.info.format, sizeof f->s.info.format, "%s/%s", a, b);
    f->s.info.rate = f->sf.samplerate;
    f->s.info.channels = f->sf.channels;
    /* streaming writers put the largest size there is into the header: then the length is not known */
    f->s.info.frames = f->sf.frames < 0x1fff0000 ? f->sf.frames : -1;
}

static int raw_format(SF_INFO *sf, const struct rs_raw_format *raw, const char *name, struct rs_err *e)
{
    const int kind = !strcmp(raw->encoding, "s16le") ? SF_FORMAT_PCM_16 : !strcmp(raw->encoding, "s32le") ? SF_FORMAT_PCM_32
                   : !strcmp(raw->encoding, "f32le") ? SF_FORMAT_FLOAT : 0;
    if (!kind)
        return rs_fail(e, RS_E_USAGE, "'%.40s' is no encoding of raw samples; there are s16le, s32le and f32le.", raw->encoding);
    if (raw->rate < 1000 || raw->rate > 768000 || raw->channels < 1 || raw->channels > 1024)
        return rs_fail(e, RS_E_USAGE, "Raw samples of '%.200s' need 1 to 1024 channels at 1000 to 768000 Hz, not %d at %d Hz.",
                       name, raw->channels, raw->rate);
    *sf = (SF_INFO){.samplerate = raw->rate, .channels = raw->channels, .format = SF_FORMAT_RAW | SF_ENDIAN_LITTLE | kind};
    return 0;
}

static int not_audio(struct file *f, struct rs_err *e)
{
    if (f->piped && f->in.error)
        return rs_fail(e, RS_E_IO, "Reading '%.200s' failed: %s.", f->name, strerror(f->in.error));
    if (f->piped && f->in.end == 0)
        return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' ended before any audio came.", f->name);
    return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' is not audio that can be read here (wav, flac, ogg, opus, mp3 and the like): %.150s "
                   "Convert it with 'ffmpeg -i FILE -f wav - | rec-stt transcribe -', or tell by --raw what samples without a header are.",
                   f->name, f->snd ? "MPEG layer I." : sf_strerror(NULL));
}

/* A header that promises more than the file holds leaves its trace in libsndfile's log. */
static void tell_truncated(struct file *f)
{
    char log[4096];
    long long promised = 0;
    const int64_t got = rs_mix_facts(f->s.mix)->frames;
    if (!f->piped && (f->sf.format & SF_FORMAT_TYPEMASK) != SF_FORMAT_RAW) {
        sf_command(f->snd, SFC_GET_LOG_INFO, log, sizeof log);
        const char *at = strstr(log, "data : ");
        long long real;
        if (!at || sscanf(at, "data : %lld (should be %lld)", &promised, &real) != 2 || promised >= 0x7fff0000 || promised <= real)
            promised = 0;
        if (promised)
            rs_source_tell(&f->s, RS_NOTE_TRUNCATED, got, 0, rs_now_ns(),
                           "'%.100s' ends early: its header speaks of %lld bytes, there are %lld.", f->name, promised, real);
    }
    /* an MPEG file's length is an estimate */
    const int type = f->sf.format & SF_FORMAT_TYPEMASK;
    if (!promised && f->s.info.frames > got && type != SF_FORMAT_RAW && type != SF_FORMAT_MPEG)
        rs_source_tell(&f->s, RS_NOTE_TRUNCATED, got, rs_source_ms(&f->s, f->s.info.frames - got), rs_now_ns(),
                       "'%.100s' ends early: its header speaks of %lld frames, %lld came.", f->name,
                       (long long)f->s.info.frames, (long long)got);
}

/* MPEG's layer I is what quiet samples without a header look like (they begin with -1), and nothing else is these days. */
static bool is_layer_one(const struct file *f)
{
    return (f->sf.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG && (f->sf.format & SF_FORMAT_SUBMASK) == SF_FORMAT_MPEG_LAYER_I;
}

/* ---- The thread that decodes a pipe ---- */

static int decode_pipe(struct file *f, struct rs_err *e)
{
    SF_VIRTUAL_IO io = {stream_length, stream_seek, stream_read, NULL, stream_tell};
    f->snd = sf_open_virtual(&io, SFM_READ, &f->sf, &f->in);
    if (!f->snd || is_layer_one(f))
        return not_audio(f, e);
    if (!rs_ring_init(&f->ring, (size_t)f->sf.channels * sizeof(float), (size_t)f->sf.samplerate + BLOCK_FRAMES))
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to read '%.200s'.", f->name);
    atomic_store(&f->state, PIPE_OPEN);
    for (;;) {
        size_t room;
        float *to = rs_ring_space(&f->ring, &room);
        if (!to) {
            struct pollfd p[2] = {{.fd = f->space, .events = POLLIN}, {.fd = f->in.quit, .events = POLLIN}};
            if (poll(p, 2, -1) > 0 && p[1].revents)
                return 0;
            rs_woken(f->space);
            continue;
        }
        /* small reads: sound that arrives slowly is passed on as it comes */
        const size_t step = (size_t)f->sf.samplerate / 50 + 1;
        const sf_count_t n = sf_readf_float(f->snd, to, (sf_count_t)(room < step ? room : step));
        if (n <= 0)
            break;
        rs_ring_commit(&f->ring, (size_t)n);
        if (!f->realtime)
            rs_wake(f->event);
    }
    if (f->in.error)
        return rs_fail(e, RS_E_IO, "Reading '%.200s' failed: %s.", f->name, strerror(f->in.error));
    if (f->in.lost)
        return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' cannot be read from a pipe; give it as a file.", f->name);
    return 0;
}

static void *pipe_thread(void *arg)
{
    struct file *f = arg;
    decode_pipe(f, &f->error);
    atomic_store(&f->state, PIPE_DONE);
    if (!f->realtime)
        rs_wake(f->event);
    return NULL;
}

/* ---- Reading ---- */

static int new_mixer(struct file *f, struct rs_err *e)
{
    f->opened = true;
    describe(f);
    return rs_mix_new(&f->s.mix, f->sf.samplerate, f->sf.channels, f->name, e);
}

static int finish_decoding(struct file *f, struct rs_err *e)
{
    f->decoded = true;
    if (!f->s.mix)
        return 0;
    const int rc = rs_mix_flush(f->s.mix, e);
    if (!f->stopped)
        tell_truncated(f);
    return rc;
}

/* Puts one more block into the mixer; *idle says that nothing is there yet (a pipe). */
static int feed_pipe(struct file *f, bool *idle, struct rs_err *e)
{
    const int state = atomic_load(&f->state);
    *idle = false;
    if (f->stopped && rs_now_ns() >= f->stop_ns)
        rs_wake(f->in.quit);             /* it hands over what it holds and is done */
    if (state == PIPE_OPENING) {
        *idle = true;
        return 0;
    }
    if (f->ring.data && !f->opened) {
        const int rc = new_mixer(f, e);
        if (rc)
            return rc;
    }
    size_t n = 0;
    const float *from = f->ring.data ? rs_ring_peek(&f->ring, &n) : NULL;
    if (from) {
        n = n < RS_MIX_MAX_FRAMES ? n : RS_MIX_MAX_FRAMES;
        const int rc = rs_mix_push(f->s.mix, from, n, e);
        rs_ring_take(&f->ring, n);
        rs_wake(f->space);
        rs_source_observe(&f->s, rs_now_ns());
        return rc;
    }
    if (state != PIPE_DONE) {
        *idle = true;
        return 0;
    }
    if (f->error.code) {
        const int rc = finish_decoding(f, NULL);
        (void)rc;                     /* the first failure is the one to tell */
        f->broken = true;
        return 0;
    }
    return finish_decoding(f, e);
}

static int feed_file(struct file *f, struct rs_err *e)
{
    const sf_count_t n = sf_readf_float(f->snd, f->block, BLOCK_FRAMES);
    if (n > 0) {
        const int rc = rs_mix_push(f->s.mix, f->block, (size_t)n, e);
        rs_source_observe(&f->s, rs_now_ns());
        return rc;
    }
    if (sf_error(f->snd) != SF_ERR_NO_ERROR) {
        rs_fail(&f->error, RS_E_AUDIO_FILE, "'%.200s' is damaged after %.1f s: %.150s", f->name,
                rs_source_ms(&f->s, rs_mix_facts(f->s.mix)->frames) / 1e3, sf_strerror(f->snd));
        f->broken = true;
    }
    return finish_decoding(f, e);
}

/* How many samples the clock allows by now. */
static int64_t allowed(const struct file *f)
{
    int64_t most = INT64_MAX;
    if (f->realtime)
        most = (rs_now_ns() - f->begin_ns) / (1000000000 / 16000);
    if (f->limit >= 0 && f->limit < most)
        most = f->limit;
    return most;
}

static int file_read(struct rs_source *s, float *out, size_t max, size_t *got, struct rs_err *e)
{
    struct file *f = (struct file *)s;
    if (f->piped || f->realtime) {
        rs_woken(f->event);
        rs_woken(f->timer);
    }
    const int64_t most = allowed(f);
    const size_t want = most - f->given < (int64_t)max ? (size_t)(most > f->given ? most - f->given : 0) : max;
    bool idle = false;
    while (*got < want) {
        if (s->mix)
            *got += rs_mix_pull(s->mix, out + *got, want - *got);
        if (*got == want || f->decoded || idle)
            break;
        const int rc = f->piped ? feed_pipe(f, &idle, e) : feed_file(f, e);
        if (rc)
            return rc;
    }
    f->given += (int64_t)*got;
    const bool cut = f->limit >= 0 && f->given >= f->limit;
    if (!cut && (!f->decoded || (s->mix && rs_mix_ready(s->mix)))) {
        if (f->piped && !f->realtime && !idle)
            rs_wake(f->event);
        return RS_SOURCE_MORE;
    }
    rs_wake(f->event);
    if (f->broken && *got == 0)
        return rs_fail(e, f->error.code, "%s", f->error.msg);
    return f->broken ? RS_SOURCE_MORE : RS_SOURCE_END;
}

static void file_stop(struct rs_source *s, int tail_ms)
{
    struct file *f = (struct file *)s;
    const int64_t now = rs_now_ns();
    if (f->stopped && f->stop_ns <= now)
        return;
    f->stopped = true;
    f->stop_ns = now + (int64_t)tail_ms * 1000000;
    f->loss.tail_ms = f->piped || f->realtime ? tail_ms : 0;
    if (f->realtime)
        f->limit = (f->stop_ns - f->begin_ns) / (1000000000 / 16000);
    else if (!f->piped)
        f->limit = f->given;
    const struct itimerspec when = {.it_value = {.tv_sec = f->stop_ns / 1000000000, .tv_nsec = f->stop_ns % 1000000000}};
    if (f->piped && !f->realtime && timerfd_settime(f->timer, TFD_TIMER_ABSTIME, &when, NULL))
        f->stop_ns = now;             /* nothing would wake the reader at the tail's end */
}

static void file_account(const struct rs_source *s, struct rs_loss *loss)
{
    const struct file *f = (const struct file *)s;
    *loss = f->loss;
    loss->captured_frames = s->mix ? rs_mix_facts(s->mix)->frames : 0;
}

static void file_close(struct rs_source *s)
{
    struct file *f = (struct file *)s;
    if (f->threaded) {
        rs_wake(f->in.quit);
        pthread_join(f->thread, NULL);
    }
    if (f->snd)
        sf_close(f->snd);
    rs_ring_free(&f->ring);
    rs_mix_free(s->mix);
    const int fds[] = {s->fd, f->event, f->timer, f->in.fd, f->in.quit, f->space};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(f->in.bytes);
    free(f->block);
    free(f);
}

static const struct rs_source_ops file_ops = {
    .read = file_read, .stop = file_stop, .account = file_account, .close = file_close,
};

/* ---- Opening ---- */

static int open_path(struct file *f, const char *path, struct stat *st, struct rs_err *e)
{
    const bool in = strcmp(path, "-") == 0;
    const int fd = in ? fcntl(0, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st)) {
        const int code = errno;
        if (fd >= 0)
            close(fd);
        return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' cannot be opened: %s.", f->name, strerror(code));
    }
    f->in.fd = fd;
    if (S_ISDIR(st->st_mode))
        return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' is a folder; give an audio file.", f->name);
    f->piped = !S_ISREG(st->st_mode);
    return 0;
}

static int start_pipe(struct file *f, struct rs_err *e)
{
    f->in.quit = rs_wake_open();
    f->space = rs_wake_open();
    if (f->in.quit < 0 || f->space < 0)
        return rs_fail(e, RS_E_IO, "No descriptor is left to read '%.200s'.", f->name);
    const int code = pthread_create(&f->thread, NULL, pipe_thread, f);
    if (code)
        return rs_fail(e, RS_E_THREAD, "No thread could be started to read '%.200s': %s.", f->name, strerror(code));
    f->threaded = true;
    return 0;
}

static int start_file(struct file *f, const struct stat *st, bool raw, struct rs_err *e)
{
    if (!raw && st->st_size == 0)
        return rs_fail(e, RS_E_AUDIO_FILE, "'%.200s' is empty; there is no audio in it.", f->name);
    f->snd = sf_open_fd(f->in.fd, SFM_READ, &f->sf, SF_FALSE);
    if (!f->snd || is_layer_one(f))
        return not_audio(f, e);
    const int rc = new_mixer(f, e);
    if (rc)
        return rc;
    f->block = rs_zeroed(BLOCK_FRAMES, (size_t)f->sf.channels * sizeof(float));
    return f->block ? 0 : rs_fail(e, RS_E_NOMEM, "Not enough memory to read '%.200s'.", f->name);
}

static int start_clock(struct file *f, struct rs_err *e)
{
    const struct itimerspec tick = {.it_interval = {.tv_nsec = PACE_MS * 1000000}, .it_value = {.tv_nsec = PACE_MS * 1000000}};
    struct epoll_event readable = {.events = EPOLLIN};
    f->begin_ns = rs_now_ns();
    f->s.fd = epoll_create1(EPOLL_CLOEXEC);
    f->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    f->event = eventfd(f->piped || f->realtime ? 0 : 1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->s.fd < 0 || f->timer < 0 || f->event < 0 || epoll_ctl(f->s.fd, EPOLL_CTL_ADD, f->timer, &readable) ||
        epoll_ctl(f->s.fd, EPOLL_CTL_ADD, f->event, &readable) || (f->realtime && timerfd_settime(f->timer, 0, &tick, NULL)))
        return rs_fail(e, RS_E_IO, "No descriptor is left to read '%.200s': %s.", f->name, strerror(errno));
    return 0;
}

int rs_source_file(struct rs_source **out, const char *path, const struct rs_raw_format *raw, bool realtime, struct rs_err *e)
{
    *out = NULL;
    struct file *f = rs_zeroed(1, sizeof *f);
    if (!f)
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to open '%.200s'.", path);
    f->s.ops = &file_ops;
    f->s.fd = f->event = f->timer = f->in.fd = f->in.quit = f->space = -1;
    f->limit = -1;
    f->s.info.frames = -1;
    f->realtime = realtime;
    snprintf(f->name, sizeof f->name, "%s", strcmp(path, "-") ? path : "standard input");
    snprintf(f->s.info.device, sizeof f->s.info.device, "%s", path);
    struct stat st;
    int rc = open_path(f, path, &st, e);
    if (!rc && raw)
        rc = raw_format(&f->sf, raw, f->name, e);
    if (!rc)
        rc = start_clock(f, e);
    if (!rc)
        rc = f->piped ? start_pipe(f, e) : start_file(f, &st, raw != NULL, e);
    if (rc) {
        file_close(&f->s);
        return rc;
    }
    *out = &f->s;
    return 0;
}
