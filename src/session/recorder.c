/* The main loop of a recording: one poll over signals, standard input, the source, the worker and the writer. */
#include "session/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/paths.h"
#include "base/wake.h"
#include "session/control.h"
#include "session/recorder_impl.h"
#include "tensor/linear.h"

enum { PENDING = 8000 };              /* samples: half a second */
#define QUIET_S 0.25                  /* longer than the pauses inside words */
#define RELAX_S 2.0                   /* after so much silence a tenth of a second more may pass before speech is seen */

unsigned rs_open_standard_fds(void)
{
    unsigned closed = 0;
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) == fd)
            closed |= 1u << fd;
    return closed;
}

/* ---- Ending ---- */

/* Whether whoever spoke has been quiet for a while (or nobody spoke): a tail would only hold silence. */
static bool fallen_silent(struct rs_recorder *r)
{
    struct rs_speech_state s;
    rs_progress_speech(r->progress, &s);
    return !s.any || (!s.speaking && s.audio_s - s.last_s >= QUIET_S);
}

/* Asks for the end. The first reason counts; a later call with no tail cuts a running tail short. */
static void stop(struct rs_recorder *r, const char *reason, int tail_ms)
{
    if (!r->stopping) {
        r->stopping = true;
        r->reason = r->reason ? r->reason : reason;
        r->stop_ns = r->stop_ns ? r->stop_ns : rs_now_ns();
        if (r->first_sound_ns)
            rs_timing_add(&r->timing, "recording", r->source ? "source" : r->backend, -1, r->first_sound_ns, r->stop_ns);
    }
    r->tail = tail_ms > 0 && !fallen_silent(r);
    if (r->tail)
        rs_progress_stopping(r->progress);
    rs_source_stop(r->source, r->tail ? tail_ms : 0);
}

/* Ends now, whatever the worker is doing; the process must not wait for it, and no line of it comes any more. */
static void abandon(struct rs_recorder *r, const char *reason)
{
    r->reason = r->reason && strcmp(reason, "stop_signal") == 0 ? r->reason : reason;
    r->stop_ns = r->stop_ns ? r->stop_ns : rs_now_ns();
    r->abandoned = r->over = true;
    pthread_mutex_lock(&r->lock);
    r->quit = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    rs_writer_release(r->writer);
}

static void end_of_source(struct rs_recorder *r)
{
    r->source_ended = true;
    if (r->stop_ns)
        rs_timing_add(&r->timing, "tail_and_drain", "source", -1, r->stop_ns, rs_now_ns());
    else
        r->stop_ns = rs_now_ns();
    r->reason = r->reason ? r->reason : "end_of_input";
    rs_progress_end(r->progress);
    rs_worker_wake(r);
}

static void source_failed(struct rs_recorder *r, const struct rs_err *e)
{
    if (!r->ready && r->fed)
        rs_line_ready(r);                         /* it did deliver, if only silence */
    rs_line_error(r, e);
    r->reason = r->reason ? r->reason : e->code == RS_E_DEVICE_GONE ? "device_gone" : "error";
    end_of_source(r);
}

/* ---- Sound ---- */

static void tell_note(struct rs_recorder *r, const struct rs_note *n)
{
    static const char *const codes[] = {[RS_NOTE_OVERRUN] = "overrun", [RS_NOTE_SUSPENDED] = "suspended", [RS_NOTE_SILENT] = "mic_silent",
                                        [RS_NOTE_STALLED] = "stalled", [RS_NOTE_TRUNCATED] = "truncated", [RS_NOTE_BAD_SAMPLES] = "bad_samples"};
    if (n->kind == RS_NOTE_FIRST_SOUND) {
        r->first_sound_ns = n->at_ns ? n->at_ns : rs_now_ns();
        rs_timing_add(&r->timing, "first_sound", "source", -1, r->opened_ns, r->first_sound_ns);
    }
    if (!r->ready && n->kind != RS_NOTE_STALLED)
        rs_line_ready(r);
    if (n->kind != RS_NOTE_FIRST_SOUND)
        rs_line_warning(r, codes[n->kind], n->text, n);
}

static void measure(struct rs_recorder *r, const float *x, size_t n)
{
    const size_t step = (size_t)(RS_SAMPLE_RATE / r->o->levels_hz);
    for (size_t i = 0; i < n; i++) {
        r->level_sum += (double)x[i] * x[i];
        r->level_peak = fmax(r->level_peak, fabsf(x[i]));
        if (++r->level_n >= step) {
            rs_line_level(r, (double)(r->fed + i + 1) / RS_SAMPLE_RATE);
            r->level_sum = r->level_peak = 0;
            r->level_n = 0;
        }
    }
}

/* Gives what was read to the session; false while its backlog is full. */
static bool feed(struct rs_recorder *r)
{
    struct rs_err e = {0};
    if (!r->pending_n)
        return true;
    const int rc = rs_progress_feed(r->progress, r->pending, r->pending_n, &e);
    if (rc == -RS_E_BACKPRESSURE)
        return false;
    if (rc) {
        source_failed(r, &e);                     /* the worker still gives what came before */
        r->pending_n = 0;
        return true;
    }
    if (r->o->levels_hz > 0 && r->ready)
        measure(r, r->pending, r->pending_n);
    r->fed += r->pending_n;
    r->pending_n = 0;
    return true;
}

/* A file waits for the engine; a microphone cannot, so the recording ends before anything would be lost. */
static void fell_behind(struct rs_recorder *r)
{
    r->blocked = true;
    if (r->stopping || (r->o->input && !r->o->realtime))
        return;
    rs_line_warning(r, "backpressure", "Transcription or the reader of the output is too far behind; the recording ends here, and what was said is kept.", NULL);
    stop(r, "backpressure", 0);
}

static bool full(const struct rs_recorder *r) { return r->o->max_s > 0 && (double)r->fed >= r->o->max_s * RS_SAMPLE_RATE; }

static void check_limits(struct rs_recorder *r)
{
    const struct rs_record_options *o = r->o;
    struct rs_speech_state s;
    if (r->stopping)
        return;
    if (full(r)) {
        stop(r, "max_seconds", 0);
        return;
    }
    rs_progress_speech(r->progress, &s);
    rs_source_relax(r->source, !s.speaking && s.audio_s - s.last_s > RELAX_S);
    if (o->silence_s > 0 && s.any && !s.speaking && s.audio_s - s.last_s >= o->silence_s)
        stop(r, "silence", 0);
    else if (o->no_speech_s > 0 && !s.any && s.audio_s >= o->no_speech_s)
        stop(r, "no_speech", 0);
}

/* How many samples may still be read: never more than --max-seconds asks for. */
static size_t wanted(const struct rs_recorder *r)
{
    if (r->o->max_s <= 0)
        return PENDING;
    const double left = r->o->max_s * RS_SAMPLE_RATE - (double)r->fed;
    return left < 1 ? 1 : left < PENDING ? (size_t)left : PENDING;
}

static void read_source(struct rs_recorder *r)
{
    struct rs_note note;
    for (int round = 0; round < 16 && !r->source_ended && !r->over; round++) {
        struct rs_err e = {0};
        size_t got = 0;
        const int state = r->pending_n ? RS_SOURCE_MORE : rs_source_read(r->source, r->pending, wanted(r), &got, &e);
        while (rs_source_note(r->source, &note))
            tell_note(r, &note);
        r->pending_n += full(r) ? 0 : got;                    /* what is drained after --max-seconds is too much */
        if (!feed(r)) {
            fell_behind(r);
            return;
        }
        if (r->source_ended)
            break;
        if (state < 0)
            source_failed(r, &e);
        else if (state == RS_SOURCE_END) {
            if (!r->ready)
                rs_line_ready(r);
            end_of_source(r);
        } else if (r->tail && fallen_silent(r)) {
            r->tail = false;
            rs_source_stop(r->source, 0);             /* the last word is in: nobody waits for the rest */
        } else {
            check_limits(r);
        }
        if (!got)
            break;
    }
    if (rs_progress_due(r->progress) || rs_progress_wants_ahead(r->progress))
        rs_worker_wake(r);
}

/* ---- Signals, standard input, the worker, the writer ---- */

/* Before the first sound there is nothing to cut, and `ready` comes before any chunk. */
static void cut(struct rs_recorder *r)
{
    if (!r->ready)
        return;
    rs_progress_cut(r->progress);
    rs_worker_wake(r);
}

static bool parent_died(const struct rs_recorder *r) { return r->o->die_with_parent && getppid() != r->parent; }

static bool is_command(const struct signalfd_siginfo *s) { return s->ssi_code == SI_QUEUE && s->ssi_int == RS_CONTROL_COMMAND; }

/* Whether a signal to end is the second: a command never is, nor the first after an end by itself. */
static bool insists(struct rs_recorder *r, const struct signalfd_siginfo *s)
{
    const bool before = r->signalled;
    r->signalled |= !is_command(s);
    return before && !is_command(s);
}

static void one_signal(struct rs_recorder *r, const struct signalfd_siginfo *s)
{
    switch (s->ssi_signo) {
    case SIGUSR1:
        cut(r);
        break;
    case SIGUSR2:
        abandon(r, "cancelled");
        break;
    default:
        if (parent_died(r)) {
            stop(r, "parent_gone", 0);
        } else if (insists(r, s)) {
            pthread_mutex_lock(&r->lock);
            r->status = s->ssi_signo == SIGINT ? 130 : 143;
            pthread_mutex_unlock(&r->lock);
            abandon(r, "stop_signal");
        } else if (!r->stopping || is_command(s)) {
            stop(r, is_command(s) ? "stop_command" : "stop_signal", r->o->tail_ms);
        }
    }
}

static void read_signals(struct rs_recorder *r)
{
    struct signalfd_siginfo s;
    while (!r->over && read(r->signal_fd, &s, sizeof s) == sizeof s)
        one_signal(r, &s);
}

static void control_word(struct rs_recorder *r)
{
    const char *w = r->control_line;
    if (strcmp(w, "q") == 0 || strcmp(w, "stop") == 0)
        stop(r, "stop_command", r->o->tail_ms);
    else if (strcmp(w, "cancel") == 0)
        abandon(r, "cancelled");
    else if (strcmp(w, "cut") == 0)
        cut(r);
    else if (*w)
        rs_line_warning(r, "unknown_command", "Standard input takes the lines stop (or q), cancel and cut.", NULL);
}

/* Under --stdin-control lines are read; otherwise only the end of a pipe is watched, its bytes are left alone. */
static void read_stdin(struct rs_recorder *r)
{
    char bytes[256];
    const ssize_t n = r->o->stdin_control ? read(STDIN_FILENO, bytes, sizeof bytes) : 0;
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    for (ssize_t i = 0; i < n && !r->over; i++) {
        if (bytes[i] != '\n') {
            if (bytes[i] != '\r' && r->control_len < sizeof r->control_line - 1)
                r->control_line[r->control_len++] = bytes[i];
            continue;
        }
        r->control_line[r->control_len] = 0;
        r->control_len = 0;
        control_word(r);
    }
    if (n <= 0) {
        r->watch_stdin = false;
        if (!r->stopping)
            stop(r, "stdin_eof", r->o->tail_ms);
    }
}

static void hear_worker(struct rs_recorder *r)
{
    if (!rs_woken(r->worker_fd))
        return;
    pthread_mutex_lock(&r->lock);
    const bool done = r->worker_done;
    pthread_mutex_unlock(&r->lock);
    if (done) {
        if (r->failure.code) {
            rs_line_error(r, &r->failure);
            r->reason = "error";
        }
        r->over = true;
    } else if (r->blocked) {
        r->blocked = false;
        read_source(r);
    }
}

static void output_broke(struct rs_recorder *r)
{
    int error;
    struct rs_err e = {0};
    if (rs_writer_state(r->writer, &error) == RS_WRITER_BROKEN) {
        rs_fail(&e, error == ENOMEM ? RS_E_NOMEM : RS_E_STDOUT, "The output cannot be written: %s.", strerror(error));
        rs_line_error(r, &e);
        abandon(r, "error");
    } else {
        abandon(r, "stdout_closed");
    }
}

/* ---- The loop ---- */

enum { P_SIGNAL, P_SOURCE, P_WORKER, P_WRITER, P_STDIN, P_STDOUT, P_COUNT };

static int timeout_ms(const struct rs_recorder *r)
{
    if (!r->deadline_ns || r->stopping)
        return -1;
    const int64_t left = (r->deadline_ns - rs_now_ns() + 999999) / 1000000;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void loop(struct rs_recorder *r)
{
    while (!r->over) {
        struct pollfd p[P_COUNT] = {
            [P_SIGNAL] = {.fd = r->signal_fd, .events = POLLIN},
            [P_SOURCE] = {.fd = r->source_ended || r->blocked ? -1 : rs_source_fd(r->source), .events = POLLIN},
            [P_WORKER] = {.fd = r->worker_fd, .events = POLLIN},
            [P_WRITER] = {.fd = rs_writer_fd(r->writer), .events = POLLIN},
            [P_STDIN] = {.fd = r->watch_stdin ? STDIN_FILENO : -1, .events = r->o->stdin_control ? POLLIN : POLLRDHUP},
            [P_STDOUT] = {.fd = r->watch_stdout ? STDOUT_FILENO : -1},
        };
        if (poll(p, P_COUNT, timeout_ms(r)) < 0 && errno != EINTR)
            break;
        if (p[P_SIGNAL].revents)
            read_signals(r);
        if (p[P_WRITER].revents)
            output_broke(r);
        else if (p[P_STDOUT].revents & (POLLERR | POLLHUP | POLLNVAL))
            abandon(r, "stdout_closed");
        if (p[P_STDIN].revents && !r->over)
            read_stdin(r);
        if (p[P_SOURCE].revents && !r->over)
            read_source(r);
        if (p[P_WORKER].revents && !r->over)
            hear_worker(r);
        if (!r->over && !r->stopping && r->deadline_ns && rs_now_ns() >= r->deadline_ns)
            stop(r, "max_seconds", 0);
    }
}

/* ---- Beginning and end ---- */

/* Which descriptors tell that nobody is interested any more. A pipe whose writer was gone before we began (some
 * hotkey daemons leave one) says nothing. */
static void choose_watches(struct rs_recorder *r)
{
    struct stat in, out;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLRDHUP};
    const bool pipe_in = fstat(STDIN_FILENO, &in) == 0 && (S_ISFIFO(in.st_mode) || S_ISSOCK(in.st_mode));
    const bool own_input = r->o->input && strcmp(r->o->input, "-") == 0;
    r->watch_stdin = r->o->stdin_control || (pipe_in && !own_input && !(poll(&p, 1, 0) > 0 && p.revents));
    r->watch_stdout = fstat(STDOUT_FILENO, &out) == 0 && (S_ISFIFO(out.st_mode) || S_ISSOCK(out.st_mode));
}

static int block_signals(struct rs_recorder *r, struct rs_err *e)
{
    static const int ours[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        sigaddset(&set, ours[i]);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);       /* before any thread starts, so that all inherit it */
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r->signal_fd < 0)
        return rs_fail(e, RS_E_THREAD, "Signals cannot be received: %s.", strerror(errno));
    return 0;
}

static void written(void *arg, int chunk, int64_t queued_ns, int64_t written_ns)
{
    struct rs_recorder *r = arg;
    rs_timing_add(&r->timing, "delivery", "stdout", chunk, queued_ns, written_ns);
}

static int open_source(struct rs_recorder *r, struct rs_err *e)
{
    const struct rs_record_options *o = r->o;
    const int rc = o->input ? rs_source_file(&r->source, o->input, o->raw.encoding ? &o->raw : NULL, o->realtime, e)
                            : rs_source_microphone(&r->source, o->device, e);
    r->opened_ns = rs_now_ns();
    if (!rc)
        rs_timing_add(&r->timing, "audio_open", o->input ? "file" : "alsa", -1, rs_process_start_ns(), r->opened_ns);
    return rc;
}

static int open_session(struct rs_recorder *r, struct rs_err *e)
{
    const struct rs_record_options *o = r->o;
    const struct rs_progress_options p = {.chunk_s = o->chunk_s, .overlap_s = o->overlap_s, .max_backlog_s = (size_t)o->backlog_s,
                                          .no_ahead = o->input && !o->realtime};
    r->pending = rs_zeroed(PENDING, sizeof *r->pending);
    if (!r->pending)
        return rs_fail(e, RS_E_NOMEM, "There is no memory to record into.");
    const int rc = rs_vad_open(&r->vad, o->vad, e);
    return rc ? rc : rs_progress_new(&r->progress, r->vad, &p, e);
}

/* The microphone is open, the model is not: from here on the process gives up what it will not need. */
static void confine(struct rs_recorder *r)
{
    char runtime[PATH_MAX], cache[PATH_MAX];
    const char *writable[3] = {NULL};
    int n = 0;
    r->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);      /* see keep_packed: later nothing can be opened */
    if (r->o->no_sandbox)
        return;
    if (rs_path_runtime(runtime, sizeof runtime, "", NULL) == 0)
        writable[n++] = runtime;
    if (rs_path_cache(cache, sizeof cache, "x", NULL) == 0) {
        rs_make_parents(cache, NULL);          /* only a folder that is there can be let through */
        cache[strlen(cache) - 2] = 0;
        writable[n++] = cache;
    }
    rs_sandbox_begin(&r->sandbox, writable);
}

static int begin(struct rs_recorder *r, struct rs_err *e)
{
    const struct rs_record_options *o = r->o;
    const struct rs_backend *b;
    int rc = rs_backend_choose(&b, o->backend, e);
    if (rc)
        return rc;
    r->backend = rs_backend_name(b);
    rc = open_source(r, e);
    rc = rc ? rc : open_session(r, e);
    if (rc)
        return rc;
    if (o->max_s > 0 && (!o->input || o->realtime))
        r->deadline_ns = rs_now_ns() + (int64_t)((o->max_s + 1) * 1e9);    /* for a device that gives nothing */
    choose_watches(r);
    confine(r);
    return rs_worker_start(r, e);
}

/* The microphone is free before the last lines wait for their reader. */
static void close_source(struct rs_recorder *r)
{
    if (r->source) {
        rs_source_account(r->source, &r->loss);
        rs_source_close(r->source);
    }
    r->source = NULL;
    if (r->pending)
        explicit_bzero(r->pending, PENDING * sizeof *r->pending);
    free(r->pending);
    r->pending = NULL;
}

/* Whether what was signalled while the last lines wait for their reader ends that wait. */
static bool enough(struct rs_recorder *r)
{
    struct signalfd_siginfo s;
    bool ends = false;
    while (read(r->signal_fd, &s, sizeof s) == sizeof s)
        if (s.ssi_signo != SIGUSR1)
            ends |= s.ssi_signo == SIGUSR2 || parent_died(r) || insists(r, &s);
    return ends;
}

static bool await_reader(struct rs_recorder *r, bool hurry)
{
    for (;;) {
        if (rs_writer_flush(r->writer, hurry ? 100 : -1, r->signal_fd))
            return true;
        if (hurry || enough(r))
            return false;
    }
}

/* The last lines. A reader that is slow gets its time, but a second signal ends the wait. */
static void finish(struct rs_recorder *r)
{
    const bool gone = strcmp(r->reason, "stdout_closed") == 0;
    if (!gone && rs_writer_state(r->writer, NULL) == RS_WRITER_OPEN) {
        bool hurry = r->abandoned && r->status >= 128;
        if (r->o->timing)                         /* the chunks' deliveries are a part of it */
            hurry |= !await_reader(r, hurry);
        if (r->stop_ns)
            rs_timing_add(&r->timing, "after_stop", r->backend ? r->backend : "source", -1, r->stop_ns, rs_now_ns());
        rs_line_timing(r);
        rs_line_done(r);
        if (!await_reader(r, hurry)) {
            r->abandoned = true;
            r->status = r->status ? r->status : 143;
        }
    }
    int error;
    if (rs_writer_state(r->writer, &error) == RS_WRITER_BROKEN && !r->status) {
        r->o->say("The output cannot be written, is the disk full?");
        r->status = 1;
    }
}

/* What a first use had to pack is kept for the next spawn. Nobody waits for it: everything is said, and the
 * readers of both outputs see their end before. */
static void keep_packed(struct rs_recorder *r)
{
    if (!r->asr || r->status)
        return;
    if (r->null_fd >= 0) {
        dup2(r->null_fd, STDOUT_FILENO);
        dup2(r->null_fd, STDERR_FILENO);
    }
    rs_asr_keep_packed(r->asr, NULL, NULL);     /* without a place for it the next spawn packs again */
}

static void release(struct rs_recorder *r)
{
    if (r->worker_started)
        pthread_join(r->worker, NULL);
    rs_writer_close(r->writer);
    rs_progress_free(r->progress);
    keep_packed(r);
    rs_asr_close(r->asr);
    rs_vad_close(r->vad);
    rs_timing_free(&r->timing);
    if (r->text) {
        explicit_bzero(r->text, r->text_cap);
        free(r->text);
    }
    if (r->signal_fd >= 0)
        close(r->signal_fd);
    if (r->worker_fd >= 0)
        close(r->worker_fd);
    if (r->null_fd >= 0)
        close(r->null_fd);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->giving);
    pthread_cond_destroy(&r->wake);
}

static int prepare(struct rs_recorder *r, const struct rs_record_options *o, struct rs_err *e)
{
    *r = (struct rs_recorder){.o = o, .parent = getppid(), .signal_fd = -1, .worker_fd = -1, .null_fd = -1};
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->giving, NULL);
    pthread_cond_init(&r->wake, NULL);
    rs_timing_init(&r->timing, rs_process_start_ns(), o->timing);
    const int rc = block_signals(r, e);
    return rc ? rc : rs_writer_open(&r->writer, STDOUT_FILENO, (size_t)o->queue_kib * 1024, written, r, e);
}

static void refuse(struct rs_recorder *r, const struct rs_err *e)
{
    r->reason = "error";
    r->signalled = true;                          /* there is nothing to lose: one signal is enough */
    rs_line_error(r, e);
    close_source(r);
    finish(r);
}

void rs_record(const struct rs_record_options *o, struct rs_record_result *result)
{
    struct rs_recorder *r = rs_zeroed(1, sizeof *r);
    struct rs_err e = {0};
    *result = (struct rs_record_result){.status = 1};
    if (!r || prepare(r, o, &e)) {
        o->say(r ? e.msg : "There is no memory to begin.");
        result->abandoned = true;
        return;
    }
    if (o->die_with_parent)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int rc = begin(r, &e);
    if (rc) {
        refuse(r, &e);
    } else {
        if (parent_died(r))
            stop(r, "parent_gone", 0);
        loop(r);
        close_source(r);
        finish(r);
    }
    if (o->leave)
        o->leave(o->leave_arg);
    result->status = r->status;
    result->abandoned = r->abandoned;
    if (r->abandoned)
        return;                                   /* threads still use what r holds; the process ends now */
    release(r);
    free(r);
}

int rs_record_refuse(const struct rs_record_options *o, const struct rs_err *e)
{
    struct rs_recorder r;
    struct rs_err failed = {0};
    if (prepare(&r, o, &failed)) {
        o->say(failed.msg);
        return 1;
    }
    refuse(&r, e);
    const int status = r.status;
    if (r.abandoned)
        _exit(status);                            /* the writer waits for a reader that does not come */
    release(&r);
    return status;
}
