#include "session/writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/wake.h"

struct line { struct line *next; char *text; size_t len; int chunk; int64_t queued_ns; };

struct rs_writer {
    int fd, event, idle;                  /* event: the state changed; idle: nothing is left to write */
    size_t limit, bytes;                  /* bytes queued, the line being written included */
    struct line *first, **last;
    bool ending, released;
    enum rs_writer_state state;
    int error;
    rs_written *written;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* One line, whatever the descriptor is: stdout may have been left non-blocking by whoever started us. */
static int put(int fd, const char *p, size_t n)
{
    while (n) {
        const ssize_t k = write(fd, p, n);
        if (k >= 0) {
            p += k;
            n -= (size_t)k;
        } else if (errno == EAGAIN) {
            struct pollfd f = {.fd = fd, .events = POLLOUT};
            poll(&f, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static void free_lines(struct rs_writer *w)
{
    while (w->first) {
        struct line *l = w->first;
        w->first = l->next;
        w->bytes -= l->len;
        free(l->text);
        free(l);
    }
    w->last = &w->first;
}

static void fail(struct rs_writer *w, int error)
{
    w->state = error == EPIPE ? RS_WRITER_CLOSED : RS_WRITER_BROKEN;
    w->error = error;
    free_lines(w);
    rs_wake(w->event);
}

static struct line *take(struct rs_writer *w)
{
    while (!w->first && !w->ending)
        pthread_cond_wait(&w->changed, &w->lock);
    struct line *l = w->first;
    if (l) {
        w->first = l->next;
        if (!w->first)
            w->last = &w->first;
    }
    return l;
}

static void *work(void *arg)
{
    struct rs_writer *w = arg;
    struct line *l;
    pthread_mutex_lock(&w->lock);
    while ((l = take(w))) {
        pthread_mutex_unlock(&w->lock);
        const int error = put(w->fd, l->text, l->len);
        if (!error && l->chunk >= 0 && w->written)
            w->written(w->arg, l->chunk, l->queued_ns, rs_now_ns());
        pthread_mutex_lock(&w->lock);
        w->bytes -= l->len;
        if (error)
            fail(w, error);
        if (!w->bytes)
            rs_wake(w->idle);
        pthread_cond_broadcast(&w->changed);
        free(l->text);
        free(l);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int rs_writer_open(struct rs_writer **out, int fd, size_t limit, rs_written *written, void *arg, struct rs_err *e)
{
    struct rs_writer *w = rs_zeroed(1, sizeof *w);
    *out = NULL;
    if (!w)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the output.");
    *w = (struct rs_writer){.fd = fd, .limit = limit, .last = &w->first, .written = written, .arg = arg,
                            .event = rs_wake_open(), .idle = rs_wake_open()};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (w->event >= 0 && w->idle >= 0 && pthread_create(&w->thread, NULL, work, w) == 0) {
        *out = w;
        return 0;
    }
    if (w->event >= 0)
        close(w->event);
    if (w->idle >= 0)
        close(w->idle);
    free(w);
    return rs_fail(e, RS_E_THREAD, "The output's thread cannot be started: %s.", strerror(errno));
}

int rs_writer_fd(const struct rs_writer *w) { return w->event; }

enum rs_writer_state rs_writer_state(struct rs_writer *w, int *error)
{
    pthread_mutex_lock(&w->lock);
    const enum rs_writer_state s = w->state;
    if (error)
        *error = w->error;
    pthread_mutex_unlock(&w->lock);
    return s;
}

/* With the lock: whether a line of so many bytes may be queued now. */
static bool admit(struct rs_writer *w, size_t len, enum rs_push how)
{
    while (how == RS_PUSH_WAIT && w->bytes && w->bytes + len > w->limit && w->state == RS_WRITER_OPEN && !w->released)
        pthread_cond_wait(&w->changed, &w->lock);
    return w->state == RS_WRITER_OPEN && !(how == RS_PUSH_WAIT && w->released) && !(how == RS_PUSH_DROP && w->bytes > w->limit / 2);
}

bool rs_writer_push(struct rs_writer *w, char *line, size_t len, enum rs_push how, int chunk)
{
    struct line *l = line ? malloc(sizeof *l) : NULL;
    pthread_mutex_lock(&w->lock);
    if (!l) {
        if (w->state == RS_WRITER_OPEN)
            fail(w, ENOMEM);
    } else if (admit(w, len, how)) {
        *l = (struct line){.text = line, .len = len, .chunk = chunk, .queued_ns = rs_now_ns()};
        *w->last = l;
        w->last = &l->next;
        w->bytes += len;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        return true;
    }
    pthread_mutex_unlock(&w->lock);
    free(l);
    free(line);
    return false;
}

void rs_writer_release(struct rs_writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->released = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static bool empty(struct rs_writer *w)
{
    pthread_mutex_lock(&w->lock);
    const bool e = !w->bytes || w->state != RS_WRITER_OPEN;
    pthread_mutex_unlock(&w->lock);
    return e;
}

bool rs_writer_flush(struct rs_writer *w, int timeout_ms, int stop_fd)
{
    enum { LAST_MS = 100 };           /* a hotkey pressed twice must not cut off lines that somebody reads */
    int64_t end = rs_now_ns() + (int64_t)timeout_ms * 1000000;
    while (!empty(w)) {
        struct pollfd f[3] = {{.fd = w->idle, .events = POLLIN}, {.fd = w->event, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
        const int left = timeout_ms < 0 ? -1 : (int)((end - rs_now_ns()) / 1000000);
        if ((timeout_ms >= 0 && left <= 0) || poll(f, 3, left) == 0)
            return empty(w);
        if (f[2].revents & POLLIN) {
            stop_fd = -1;
            timeout_ms = LAST_MS;
            end = rs_now_ns() + LAST_MS * 1000000ll;
        }
        rs_woken(w->idle);
    }
    return true;
}

void rs_writer_close(struct rs_writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    free_lines(w);
    close(w->event);
    close(w->idle);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w);
}
