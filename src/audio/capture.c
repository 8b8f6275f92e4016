/* The microphone as a source.
 *
 * One thread owns the PCM from snd_pcm_open to snd_pcm_close and does nothing but copy frames into a ring
 * of half a minute and stamp what happens; a sound server that hangs hangs that thread alone, so that
 * neither the start nor the end of a recording ever waits for it longer than a stated time. Whatever
 * befalls the stream is put as a `mark` at an exact frame of the ring, and the reader's thread handles
 * it when it gets there: silence in place of lost frames, notes, the end.
 *
 * Sound servers lose frames without a word when their client sleeps for too long: they drop them, or put
 * zeros in their place. So after each pause between two reads the frames that came are held against the
 * clock (what is missing counts as an overrun), and zeros that follow real sound in what had piled up
 * count as lost too.
 *
 * Trust is in the flow of samples, not in error codes: plugins may hide a lost device behind EAGAIN or
 * simply go quiet. The watchdog lives in the reader and counts ticks of a timer, not seconds, so that a
 * stopped process or a sleeping machine does not look like a dead microphone.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "audio/pcm.h"
#include "audio/ring.h"
#include "audio/source_impl.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/wake.h"

enum {
    RING_SECONDS = 30, RING_MAX_BYTES = 64 << 20,
    OPEN_WAIT_MS = 5000,              /* how long a start may take */
    POLL_MS = 100,
    TICK_MS = 250, STALLED_TICKS = 10, GONE_TICKS = 20,     /* 2.5 s (PulseAudio's null sink may send once in 2 s) and 5 s without a sample */
    STUCK_TICKS = 2,                  /* 0.5 s after a stop's tail for the thread to finish */
    MARKS = 1024, MAX_POLL_FDS = 16,
    TRIES = 3, RETRY_MS = 50,         /* an EIO may pass; overruns with nothing between them are not answered at once */
    RESUME_TRIES = 20, RESUME_MS = 100,
    PAUSE_MS = 200,                   /* between two reads: look what was lost */
    SETTLE_MS = 400,                  /* how long a server may take to hand over what piled up */
    SLEPT_MS = 1000,                  /* by so much CLOCK_BOOTTIME ran on alone: the machine was asleep */
    JITTER_MS = 60, ZEROS_MS = 20,    /* less than this is no loss */
    NAP_MS = 60, LONG_NAP_MS = 100,   /* between two reads once the sound flows; while nobody speaks */
};

enum mark_kind { MARK_OVERRUN, MARK_FULL, MARK_PAUSE, MARK_SUSPENDED, MARK_END, MARK_GONE };
struct mark { uint64_t frame; double ms; int64_t at_ns; enum mark_kind kind; int error, count; };

/* What thread and reader share; freed by whoever lets go last, because a stuck thread is left behind. */
struct shared {
    atomic_int owners;
    char name[256];
    struct rs_pcm pcm;
    struct rs_ring ring;
    struct mark marks[MARKS];
    _Atomic unsigned marks_put, marks_got;
    int event, quit;                  /* eventfds: news for the reader; news for the thread */
    _Atomic int64_t stop_ns;          /* 0: go on */
    atomic_bool relaxed;
    _Atomic int64_t first_sound_ns, last_frames_ns;
    pthread_mutex_t mutex;            /* guards the two below, during the start only */
    pthread_cond_t cond;
    int opened;                       /* 0: not yet, 1: recording, -1: failed */
    struct rs_err error;
    /* the thread's own */
    bool sound, plenty;               /* one sample that is not zero came; the last read gave a period or more */
    int64_t slept_ns;                 /* CLOCK_BOOTTIME minus CLOCK_MONOTONIC */
    uint64_t full_frames;             /* lost because the ring was full, not yet told */
    struct mark pending;              /* waits for room among the marks */
    bool has_pending;
    int64_t pause_from_ns, pause_until_ns;   /* a pause that is being looked at; 0: none */
    uint64_t pause_frames;            /* frames since it began */
    void *scratch;
};

struct capture {
    struct rs_source s;               /* its descriptor is an epoll over sh->event and the timer */
    struct shared *sh;
    pthread_t thread;
    bool threaded, stopped, ended, stalled, lost;
    int timer;
    float *block;
    uint64_t owed;                    /* frames of silence still to put in */
    int64_t pile_end, pile_zeros;     /* sound that piled up in a pause ends at that frame; zeros before it; -1: none */
    uint64_t seen;                    /* frames at the last tick */
    int ticks, end_error;             /* ticks without a new frame */
    int64_t stop_at_ns, tail_begin_ns;
    struct rs_loss loss;
};

static void shared_drop(struct shared *sh)
{
    if (atomic_fetch_sub(&sh->owners, 1) > 1)
        return;
    rs_ring_free(&sh->ring);
    if (sh->event >= 0)
        close(sh->event);
    if (sh->quit >= 0)
        close(sh->quit);
    pthread_mutex_destroy(&sh->mutex);
    pthread_cond_destroy(&sh->cond);
    free(sh->scratch);
    free(sh);
}

/* ---- The capture thread ---- */

static int64_t time_asleep(void)
{
    struct timespec b;
    if (clock_gettime(CLOCK_BOOTTIME, &b))
        return 0;
    return (int64_t)b.tv_sec * 1000000000 + b.tv_nsec - rs_now_ns();
}

static bool put_mark(struct shared *sh, struct mark m)
{
    const unsigned put = atomic_load_explicit(&sh->marks_put, memory_order_relaxed);
    if (put - atomic_load_explicit(&sh->marks_got, memory_order_acquire) == MARKS)
        return false;
    sh->marks[put % MARKS] = m;
    atomic_store_explicit(&sh->marks_put, put + 1, memory_order_release);
    rs_wake(sh->event);
    return true;
}

/* Marks that find no room wait, and overruns add up while they do. */
static void mark(struct shared *sh, enum mark_kind kind, double ms, int error)
{
    struct mark m = {.frame = atomic_load_explicit(&sh->ring.written, memory_order_relaxed), .ms = ms,
                     .at_ns = rs_now_ns(), .kind = kind, .error = error, .count = 1};
    if (sh->has_pending && put_mark(sh, sh->pending))
        sh->has_pending = false;
    if (sh->has_pending) {
        sh->pending.ms += ms;
        sh->pending.count++;
        if (kind >= MARK_END)
            sh->pending.kind = kind, sh->pending.error = error, sh->pending.frame = m.frame;
    } else if (!put_mark(sh, m)) {
        sh->pending = m;
        sh->has_pending = true;
    }
}

/* Sleeps, but not through a stop. */
static void rest(struct shared *sh, int ms)
{
    struct pollfd p = {.fd = sh->quit, .events = POLLIN};
    if (poll(&p, 1, ms) > 0)
        rs_woken(sh->quit);           /* whoever rests again looks at stop_ns first */
}

static bool stop_due(const struct shared *sh)
{
    const int64_t at = atomic_load(&sh->stop_ns);
    return at && rs_now_ns() >= at;
}

static void look_for_sound(struct shared *sh, const void *frames, size_t n)
{
    const uint8_t *b = frames;
    const size_t bytes = n * sh->pcm.frame_bytes;
    if (sh->sound || !bytes)
        return;
    const uint8_t zero = sh->pcm.format == SND_PCM_FORMAT_U8 ? 0x80 : 0;
    if (b[0] == zero && memcmp(b, b + 1, bytes - 1) == 0)
        return;
    sh->sound = true;
    atomic_store(&sh->first_sound_ns, rs_now_ns());
}

/* n frames came: was there a pause before them, and is it time to settle the account of the last one? */
static void note_pause(struct shared *sh, uint64_t n)
{
    const int64_t now = rs_now_ns(), last = atomic_exchange(&sh->last_frames_ns, now);
    const bool began = atomic_load_explicit(&sh->ring.written, memory_order_relaxed) > 0;
    const int64_t asleep = time_asleep() - sh->slept_ns;
    if (asleep > SLEPT_MS * 1000000ll) {         /* a sound server's clients see no ESTRPIPE */
        sh->slept_ns += asleep;
        sh->pause_from_ns = 0;
        mark(sh, MARK_SUSPENDED, rs_ms(asleep) + rs_ms(now - last), 0);
        return;
    }
    if (!sh->pause_from_ns && began && now - last > PAUSE_MS * 1000000ll) {
        sh->pause_from_ns = last;
        sh->pause_until_ns = now + SETTLE_MS * 1000000ll;
        sh->pause_frames = 0;
        mark(sh, MARK_PAUSE, rs_ms(now - last), 0);
    }
    sh->pause_frames += n;
    if (!sh->pause_from_ns || now < sh->pause_until_ns)
        return;
    const double missing = rs_ms(now - sh->pause_from_ns) - 1e3 * (double)sh->pause_frames / sh->pcm.rate;
    sh->pause_from_ns = 0;
    if (missing > JITTER_MS)
        mark(sh, MARK_OVERRUN, missing, 0);
}

/* Reads what the device has. >0: frames, 0: nothing there, negative: an error code. */
static snd_pcm_sframes_t read_some(struct shared *sh)
{
    size_t room;
    void *to = rs_ring_space(&sh->ring, &room);
    const snd_pcm_uframes_t want = to && room < sh->pcm.buffer ? room : sh->pcm.buffer;
    const snd_pcm_sframes_t n = snd_pcm_readi(sh->pcm.handle, to ? to : sh->scratch, want);
    if (n <= 0)
        return n == -EAGAIN || n == -EINTR ? 0 : n;
    note_pause(sh, (uint64_t)n);
    if (!to) {
        sh->full_frames += (uint64_t)n;
        return n;
    }
    if (sh->full_frames) {
        mark(sh, MARK_FULL, 1e3 * (double)sh->full_frames / sh->pcm.rate, 0);
        sh->full_frames = 0;
    }
    look_for_sound(sh, to, (size_t)n);
    rs_ring_commit(&sh->ring, (size_t)n);
    rs_wake(sh->event);
    return n;
}

/* After an overrun everything since the last read is gone; how much that was, the clock says. */
static int restart(struct shared *sh, enum mark_kind kind)
{
    int rc = snd_pcm_prepare(sh->pcm.handle);
    if (rc >= 0)
        rc = snd_pcm_start(sh->pcm.handle);
    if (rc < 0)
        return rc;
    const int64_t now = rs_now_ns(), last = atomic_exchange(&sh->last_frames_ns, now);
    const int64_t asleep = time_asleep() - sh->slept_ns;
    sh->pause_from_ns = 0;            /* this stretch is accounted for here */
    if (kind == MARK_SUSPENDED) {
        sh->slept_ns += asleep;
        mark(sh, kind, rs_ms(asleep > 0 ? asleep : 0) + rs_ms(now - last), 0);
    } else {
        mark(sh, kind, rs_ms(now - last), 0);
    }
    return 0;
}

static int resume(struct shared *sh)
{
    int rc = -EAGAIN;
    for (int i = 0; i < RESUME_TRIES && rc == -EAGAIN && !stop_due(sh); i++) {
        rc = snd_pcm_resume(sh->pcm.handle);
        if (rc == -EAGAIN)
            rest(sh, RESUME_MS);
    }
    if (rc == 0 && snd_pcm_state(sh->pcm.handle) == SND_PCM_STATE_RUNNING) {
        const int64_t now = rs_now_ns(), last = atomic_exchange(&sh->last_frames_ns, now), asleep = time_asleep() - sh->slept_ns;
        sh->slept_ns += asleep;
        sh->pause_from_ns = 0;
        mark(sh, MARK_SUSPENDED, rs_ms(asleep > 0 ? asleep : 0) + rs_ms(now - last), 0);
        return 0;
    }
    return restart(sh, MARK_SUSPENDED);
}

/* Handles an error code of readi; 0: go on. */
static int recover(struct shared *sh, int error, int *failures, int *overruns)
{
    int rc = error;
    if (error == -EPIPE) {
        if (++*overruns > TRIES)
            rest(sh, RETRY_MS);
        rc = restart(sh, MARK_OVERRUN);
    }
    if (error == -ESTRPIPE)
        rc = resume(sh);
    if (rc >= 0)
        return 0;
    /* these may pass; everything else is the end of the device */
    if ((rc == -EIO || rc == -EPIPE || rc == -ESTRPIPE) && ++*failures < TRIES) {
        rest(sh, RETRY_MS);
        return 0;
    }
    return rc;
}

/* Once the sound flows nobody needs its first frame at once: reads by the clock wake the processor three times less
 * often than the short periods that make the start quick. Only a stop is in a hurry, and it ends the nap. A device that
 * hands out less than a period at a time is not kept waiting. 0: no nap. */
static int nap_ms(const struct shared *sh)
{
    const uint64_t frames = atomic_load_explicit(&sh->ring.written, memory_order_relaxed);
    const bool relaxed = atomic_load(&sh->relaxed);
    const int nap = relaxed ? LONG_NAP_MS : NAP_MS;
    const int most = (int)(1000 * sh->pcm.buffer / sh->pcm.rate) / (relaxed ? 5 : 8);      /* of a short buffer */
    if (!sh->plenty || atomic_load(&sh->stop_ns) || (!sh->sound && frames < 2ull * sh->pcm.rate))
        return 0;
    return most < nap ? most : nap;
}

/* Waits for the device or for news from the reader. */
static void wait_for_frames(struct shared *sh, int *idle)
{
    const int nap = nap_ms(sh);
    if (nap) {
        *idle = 0;
        rest(sh, nap);
        return;
    }
    struct pollfd p[MAX_POLL_FDS + 1] = {{.fd = sh->quit, .events = POLLIN}};
    int n = snd_pcm_poll_descriptors(sh->pcm.handle, p + 1, MAX_POLL_FDS);
    n = n < 0 ? 0 : n;
    int64_t ms = POLL_MS;
    const int64_t stop = atomic_load(&sh->stop_ns);
    if (stop) {
        const int64_t left = (stop - rs_now_ns()) / 1000000 + 1;
        ms = left < 0 ? 0 : left < ms ? left : ms;
    }
    /* a descriptor that is always ready without frames must not turn this into a busy loop */
    if (++*idle > 8) {
        rest(sh, 10);
        return;
    }
    const int got = poll(p, (nfds_t)n + 1, (int)ms);
    if (got > 0 && p[0].revents)
        rs_woken(sh->quit);
    unsigned short revents;
    if (got > 0 && n > 0)
        snd_pcm_poll_descriptors_revents(sh->pcm.handle, p + 1, (unsigned)n, &revents);
    if (got == 0)
        *idle = 0;
}

static void capture_loop(struct shared *sh)
{
    int failures = 0, overruns = 0, idle = 0, rc = 0;
    while (!rc && !stop_due(sh)) {
        const snd_pcm_sframes_t n = read_some(sh);
        if (n > 0) {
            failures = overruns = idle = 0;
            sh->plenty = (snd_pcm_uframes_t)n >= sh->pcm.period;
            if (sh->plenty)
                continue;
        }
        if (n < 0)
            rc = recover(sh, (int)n, &failures, &overruns);
        else
            wait_for_frames(sh, &idle);
    }
    /* What the device still holds belongs to the recording; a buffer's length is the most there can be. */
    for (snd_pcm_uframes_t drained = 0; !rc && drained < sh->pcm.buffer;) {
        const snd_pcm_sframes_t n = read_some(sh);
        if (n <= 0)
            break;
        drained += (snd_pcm_uframes_t)n;
    }
    if (sh->full_frames)
        mark(sh, MARK_FULL, 1e3 * (double)sh->full_frames / sh->pcm.rate, 0);
    mark(sh, rc ? MARK_GONE : MARK_END, 0, rc);
    while (sh->has_pending && atomic_load(&sh->owners) > 1) {
        rest(sh, RETRY_MS);
        if (put_mark(sh, sh->pending))
            sh->has_pending = false;
    }
    snd_pcm_drop(sh->pcm.handle);
}

static void say_opened(struct shared *sh, int how)
{
    pthread_mutex_lock(&sh->mutex);
    sh->opened = how;
    pthread_cond_signal(&sh->cond);
    pthread_mutex_unlock(&sh->mutex);
}

/* Where `default` leads nowhere, a sound server may still be there under its own name; a card is never
 * guessed. The sentence that counts is the one about `default`. */
static int open_default_or(struct shared *sh, struct rs_err *e)
{
    static const char *const others[] = {"pulse", "pipewire"};
    int rc = rs_pcm_open(&sh->pcm, sh->name, e);
    for (int i = 0; i < 2 && rc == -RS_E_DEVICE_NOT_FOUND && strcmp(sh->name, "default") == 0; i++)
        if (rs_pcm_open(&sh->pcm, others[i], NULL) == 0) {
            snprintf(sh->name, sizeof sh->name, "%s", others[i]);
            *e = (struct rs_err){0};
            rc = 0;
        }
    return rc;
}

static int open_in_thread(struct shared *sh, struct rs_err *e)
{
    char wanted[256];
    snprintf(wanted, sizeof wanted, "%s", sh->name);
    int rc = rs_device_resolve(wanted, sh->name, sizeof sh->name, e);
    if (!rc)
        rc = open_default_or(sh, e);
    if (rc)
        return rc;
    size_t frames = (size_t)sh->pcm.rate * RING_SECONDS;
    if (frames > RING_MAX_BYTES / sh->pcm.frame_bytes)
        frames = RING_MAX_BYTES / sh->pcm.frame_bytes;
    sh->scratch = rs_zeroed(sh->pcm.buffer, sh->pcm.frame_bytes);
    if (!sh->scratch || !rs_ring_init(&sh->ring, sh->pcm.frame_bytes, frames))
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to record from '%.100s'.", sh->name);
    sh->slept_ns = time_asleep();
    atomic_store(&sh->last_frames_ns, rs_now_ns());
    return 0;
}

static void *capture_thread(void *arg)
{
    struct shared *sh = arg;
    const int rc = open_in_thread(sh, &sh->error);
    say_opened(sh, rc ? -1 : 1);
    if (!rc)
        capture_loop(sh);
    rs_pcm_close(&sh->pcm);
    shared_drop(sh);
    return NULL;
}

/* ---- The reader's side ---- */

static uint64_t frames_of(const struct capture *c, double ms) { return (uint64_t)(ms * c->s.info.rate / 1e3 + 0.5); }

static void handle_mark(struct capture *c, const struct mark *m)
{
    struct rs_source *s = &c->s;
    const int64_t at = rs_mix_facts(s->mix)->frames;
    switch (m->kind) {
    case MARK_OVERRUN:
    case MARK_FULL:
        c->owed += frames_of(c, m->ms);
        c->loss.overruns += m->count;
        c->loss.lost_ms += m->ms;
        rs_source_tell(s, RS_NOTE_OVERRUN, at, m->ms, m->at_ns, m->kind == MARK_FULL
                       ? "%.0f ms of sound were lost because transcription did not take them for half a minute."
                       : "%.0f ms of sound were lost: the computer was too busy to take them from the device.", m->ms);
        break;
    case MARK_PAUSE:
        if (rs_mix_facts(s->mix)->zero_run == 0 && c->pile_end < 0) {
            c->pile_end = at + (int64_t)frames_of(c, m->ms);
            c->pile_zeros = rs_mix_facts(s->mix)->zeros;
        }
        break;
    case MARK_SUSPENDED:
        rs_source_tell(s, RS_NOTE_SUSPENDED, at, m->ms, m->at_ns, "The recording was suspended for %.0f ms.", m->ms);
        break;
    case MARK_GONE:
        c->lost = true;
        c->end_error = m->error;
        /* fall through */
    case MARK_END:
        c->ended = true;
        if (c->stopped)
            c->loss.tail_ms = rs_ms(atomic_load(&c->sh->last_frames_ns) - c->tail_begin_ns);
        if (c->loss.tail_ms < 0)
            c->loss.tail_ms = 0;
    }
}

/* The end of what had piled up in a pause: zeros in it stand for sound that the server threw away. */
static void settle_pile(struct capture *c)
{
    const struct rs_mix_facts *f = rs_mix_facts(c->s.mix);
    if (c->pile_end < 0 || f->frames < c->pile_end)
        return;
    const double ms = rs_source_ms(&c->s, f->zeros - c->pile_zeros);
    c->pile_end = -1;
    if (ms < ZEROS_MS)
        return;
    c->loss.overruns++;
    c->loss.lost_ms += ms;
    rs_source_tell(&c->s, RS_NOTE_OVERRUN, f->frames, ms, rs_now_ns(),
                   "%.0f ms of sound were lost: the sound server did not keep them while the recorder was stopped.", ms);
}

/* Moves one piece from the ring into the mixer; *idle says that there was nothing to move. */
static int feed(struct capture *c, bool *idle, struct rs_err *e)
{
    struct shared *sh = c->sh;
    size_t n;
    *idle = false;
    if (c->owed) {
        n = c->owed < RS_MIX_MAX_FRAMES ? c->owed : RS_MIX_MAX_FRAMES;
        c->owed -= n;
        return rs_mix_silence(c->s.mix, n, e);
    }
    /* frames first, marks second: a mark is published before the frames behind it */
    const void *from = rs_ring_peek(&sh->ring, &n);
    const unsigned got = atomic_load_explicit(&sh->marks_got, memory_order_relaxed);
    const uint64_t taken = atomic_load_explicit(&sh->ring.taken, memory_order_relaxed);
    const struct mark *m = got != atomic_load_explicit(&sh->marks_put, memory_order_acquire) ? &sh->marks[got % MARKS] : NULL;
    /* a mark that had to wait for room may lie behind: it counts here */
    const uint64_t before = m && m->frame > taken ? m->frame - taken : 0;
    if (m && before < n)
        n = (size_t)before;
    if (n) {
        n = n < RS_MIX_MAX_FRAMES ? n : RS_MIX_MAX_FRAMES;
        rs_pcm_to_float(sh->pcm.format, from, c->block, n * sh->pcm.channels);
        rs_ring_take(&sh->ring, n);
        c->loss.captured_frames += (int64_t)n;
        const int rc = rs_mix_push(c->s.mix, c->block, n, e);
        settle_pile(c);
        rs_source_observe(&c->s, c->s.sound_seen ? rs_now_ns() : atomic_load(&sh->first_sound_ns));
        return rc;
    }
    if (!m) {
        *idle = true;
        return 0;
    }
    if (before)
        return 0;                     /* frames before the mark arrived since the peek */
    const struct mark copy = *m;
    atomic_store_explicit(&sh->marks_got, got + 1, memory_order_release);
    handle_mark(c, &copy);
    return c->ended ? rs_mix_flush(c->s.mix, e) : 0;
}

/* One tick of the timer: does the sound flow, does the thread answer? */
static int watch(struct capture *c, struct rs_err *e)
{
    const uint64_t written = atomic_load(&c->sh->ring.written);
    c->ticks = written == c->seen ? c->ticks + 1 : 0;
    if (written != c->seen)
        c->stalled = false;
    c->seen = written;
    const bool stuck = c->stopped && c->ticks >= STUCK_TICKS && rs_now_ns() > c->stop_at_ns + STUCK_TICKS * TICK_MS * 1000000ll;
    if (c->ticks >= STALLED_TICKS && !c->stalled) {
        c->stalled = true;
        rs_source_tell(&c->s, RS_NOTE_STALLED, rs_mix_facts(c->s.mix)->frames, c->ticks * TICK_MS, rs_now_ns(),
                       "'%.100s' has sent nothing for %.3g s.", c->s.info.device, c->ticks * TICK_MS / 1e3);
    }
    if (!stuck && c->ticks < GONE_TICKS)
        return 0;
    c->ended = true;
    c->lost = !stuck;
    c->end_error = -ETIMEDOUT;
    return rs_mix_flush(c->s.mix, e);
}

static int capture_read(struct rs_source *s, float *out, size_t max, size_t *got, struct rs_err *e)
{
    struct capture *c = (struct capture *)s;
    uint64_t expired;
    bool idle = false;
    int rc = 0;
    rs_woken(c->sh->event);
    const bool tick = read(c->timer, &expired, sizeof expired) > 0;
    while (*got < max) {
        *got += rs_mix_pull(s->mix, out + *got, max - *got);
        if (*got == max || c->ended || idle)
            break;
        if ((rc = feed(c, &idle, e)))
            return rc;
        if (idle && tick && !c->ended && (rc = watch(c, e)))
            return rc;
    }
    if (!c->ended || rs_mix_ready(s->mix)) {
        if (!idle)
            rs_wake(c->sh->event);
        return RS_SOURCE_MORE;
    }
    rs_wake(c->sh->event);
    if (!c->lost)
        return RS_SOURCE_END;
    if (*got)
        return RS_SOURCE_MORE;
    if (c->end_error == -ETIMEDOUT)
        return rs_fail(e, RS_E_DEVICE_GONE, "The microphone '%.200s' sent nothing for %d s and was given up; everything before is kept.",
                       s->info.device, GONE_TICKS * TICK_MS / 1000);
    return rs_fail(e, RS_E_DEVICE_GONE, "The microphone '%.200s' was lost while recording (%s); everything before is kept.",
                   s->info.device, snd_strerror(c->end_error));
}

static void capture_relax(struct rs_source *s, bool relaxed)
{
    atomic_store(&((struct capture *)s)->sh->relaxed, relaxed);
}

static void capture_stop(struct rs_source *s, int tail_ms)
{
    struct capture *c = (struct capture *)s;
    const int64_t now = rs_now_ns(), at = now + (int64_t)tail_ms * 1000000;
    if (!c->stopped)
        c->tail_begin_ns = now;
    else if (at >= c->stop_at_ns)
        return;
    c->stopped = true;
    c->stop_at_ns = at;
    atomic_store(&c->sh->stop_ns, at);
    rs_wake(c->sh->quit);
}

static void capture_account(const struct rs_source *s, struct rs_loss *loss) { *loss = ((const struct capture *)s)->loss; }

static void capture_close(struct rs_source *s)
{
    struct capture *c = (struct capture *)s;
    if (c->threaded) {
        struct timespec until;
        capture_stop(s, 0);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += STUCK_TICKS * TICK_MS * 1000000l;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_clockjoin_np(c->thread, NULL, CLOCK_MONOTONIC, &until))
            pthread_detach(c->thread);
    }
    if (c->sh)
        shared_drop(c->sh);
    if (s->fd >= 0)
        close(s->fd);
    if (c->timer >= 0)
        close(c->timer);
    rs_mix_free(s->mix);
    free(c->block);
    free(c);
}

static const struct rs_source_ops capture_ops = {
    .read = capture_read, .relax = capture_relax, .stop = capture_stop, .account = capture_account, .close = capture_close,
};

/* ---- Opening ---- */

static struct shared *shared_new(const char *device)
{
    struct shared *sh = rs_zeroed(1, sizeof *sh);
    pthread_condattr_t attr;
    if (!sh)
        return NULL;
    atomic_store(&sh->owners, 1);
    snprintf(sh->name, sizeof sh->name, "%s", device ? device : "default");
    pthread_mutex_init(&sh->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&sh->cond, &attr);
    pthread_condattr_destroy(&attr);
    sh->event = rs_wake_open();
    sh->quit = rs_wake_open();
    if (sh->event >= 0 && sh->quit >= 0)
        return sh;
    shared_drop(sh);
    return NULL;
}

static int make_fds(struct capture *c)
{
    const struct itimerspec tick = {.it_interval = {.tv_nsec = TICK_MS * 1000000}, .it_value = {.tv_nsec = TICK_MS * 1000000}};
    struct epoll_event readable = {.events = EPOLLIN};
    c->s.fd = epoll_create1(EPOLL_CLOEXEC);
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return c->s.fd < 0 || c->timer < 0 || timerfd_settime(c->timer, 0, &tick, NULL) ||
           epoll_ctl(c->s.fd, EPOLL_CTL_ADD, c->timer, &readable) || epoll_ctl(c->s.fd, EPOLL_CTL_ADD, c->sh->event, &readable);
}

/* Waits for the thread's word; the deadline keeps a sound server that hangs from hanging us. */
static int await_open(struct capture *c, struct rs_err *e)
{
    struct shared *sh = c->sh;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += OPEN_WAIT_MS / 1000;
    pthread_mutex_lock(&sh->mutex);
    int timeout = 0;
    while (!sh->opened && !timeout)
        timeout = pthread_cond_timedwait(&sh->cond, &sh->mutex, &until);
    const int opened = sh->opened;
    pthread_mutex_unlock(&sh->mutex);
    if (!opened)
        return rs_fail(e, RS_E_DEVICE_BUSY, "The microphone '%.200s' did not answer within %d s; is the sound server stuck?",
                       sh->name, OPEN_WAIT_MS / 1000);
    return opened > 0 ? 0 : rs_fail(e, sh->error.code, "%s", sh->error.msg);
}

static int start_thread(struct capture *c, struct rs_err *e)
{
    atomic_fetch_add(&c->sh->owners, 1);
    const int code = pthread_create(&c->thread, NULL, capture_thread, c->sh);
    if (code) {
        atomic_fetch_sub(&c->sh->owners, 1);
        return rs_fail(e, RS_E_THREAD, "No thread could be started to record: %s.", strerror(code));
    }
    c->threaded = true;
    return 0;
}

int rs_source_microphone(struct rs_source **out, const char *device, struct rs_err *e)
{
    *out = NULL;
    struct capture *c = rs_zeroed(1, sizeof *c);
    if (!c)
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to record.");
    c->s.ops = &capture_ops;
    rs_pcm_quiet();
    c->s.fd = c->timer = -1;
    c->pile_end = -1;
    c->sh = shared_new(device);
    int rc = c->sh && !make_fds(c) ? 0 : rs_fail(e, RS_E_IO, "No memory or descriptor is left to record.");
    if (!rc)
        rc = start_thread(c, e);
    if (!rc)
        rc = await_open(c, e);
    if (!rc) {
        rs_pcm_describe(&c->sh->pcm, c->sh->name, &c->s.info);
        c->block = rs_zeroed(RS_MIX_MAX_FRAMES, c->sh->pcm.channels * sizeof(float));
        rc = c->block ? rs_mix_new(&c->s.mix, c->s.info.rate, c->s.info.channels, c->s.info.device, e)
                      : rs_fail(e, RS_E_NOMEM, "Not enough memory to record.");
    }
    if (rc) {
        capture_close(&c->s);
        return rc;
    }
    *out = &c->s;
    return 0;
}
