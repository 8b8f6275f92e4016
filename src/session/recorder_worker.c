/* The engine's thread: opens the model while the microphone already records, then chunk after chunk. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/wake.h"
#include "session/recorder_impl.h"

static bool quitting(struct rs_recorder *r)
{
    pthread_mutex_lock(&r->lock);
    const bool q = r->quit;
    pthread_mutex_unlock(&r->lock);
    return q;
}

static int open_model(struct rs_recorder *r, struct rs_err *e)
{
    const struct rs_record_options *o = r->o;
    const struct rs_asr_options options = {.model = o->model, .backend = o->backend, .decoder = o->decoder,
                                           .language = o->language, .threads = o->threads};
    const int64_t begun = rs_now_ns();
    const int rc = rs_asr_open(&r->asr, &options, e);
    if (rc)
        return rc;
    const struct rs_asr_info *info = rs_asr_facts(r->asr);
    pthread_mutex_lock(&r->lock);
    snprintf(r->model, sizeof r->model, "%s", info->model);
    snprintf(r->language, sizeof r->language, "%s", info->language ? info->language : "");
    r->model_open = true;
    if (!o->no_sandbox)
        rs_sandbox_seal(&r->sandbox);
    pthread_mutex_unlock(&r->lock);
    rs_timing_add(&r->timing, "model_open", r->backend, -1, begun, rs_now_ns());
    rs_progress_attach(r->progress, r->asr);
    return 0;
}

/* The stages of a chunk one after the other; what is left of its time is cutting, merging and searching again. */
static void account(struct rs_recorder *r, const struct rs_chunk *c, int64_t begun)
{
    const struct { const char *stage; int64_t ns; } stages[] = {
        {"features", c->times.features_ns}, {"encoder", c->times.encoder_ns}, {"decoder", c->times.decoder_ns}};
    const int64_t ended = rs_now_ns();
    int64_t at = begun;
    if (!c->ahead)
        for (int i = 0; i < 3; at += stages[i++].ns)
            rs_timing_add(&r->timing, stages[i].stage, r->backend, c->index, at, at + stages[i].ns);
    rs_timing_add(&r->timing, "merge", r->backend, c->index, at < ended ? at : ended, ended);
}

/* Said once, with the first chunk, because `ready` comes before everything else. */
static void tell_language(struct rs_recorder *r)
{
    const char *note = rs_asr_facts(r->asr)->language_note;
    if (note && !r->language_told)
        rs_line_warning(r, "language_ignored", note, NULL);
    r->language_told = true;
}

static void one_chunk(struct rs_recorder *r, struct rs_chunk *c)
{
    tell_language(r);
    struct rs_err e = {0};
    const int64_t begun = rs_now_ns();
    if (rs_progress_chunk(r->progress, c, &e))
        rs_line_error(r, &e);
    else
        account(r, c, begun);
    rs_line_chunk(r, c);
    rs_wake(r->worker_fd);
}

static void one_ahead(struct rs_recorder *r, struct rs_chunk *c)
{
    struct rs_err e = {0};
    const int64_t begun = rs_now_ns();
    if (rs_progress_ahead(r->progress, c, &e))
        return;                               /* the chunk itself will say so when it is due */
    rs_timing_add(&r->timing, "ahead", r->backend, c->index, begun, rs_now_ns());
    if (r->o->partials)
        rs_line_partial(r, c);
}

/* Sleeps until there is something to do: 'c' a chunk, 'a' a look ahead, 0 when all is done. */
static char next(struct rs_recorder *r)
{
    char what = 0;
    pthread_mutex_lock(&r->lock);
    while (!r->quit && !rs_progress_finished(r->progress)) {
        what = rs_progress_due(r->progress) ? 'c' : rs_progress_wants_ahead(r->progress) ? 'a' : 0;
        if (what)
            break;
        pthread_cond_wait(&r->wake, &r->lock);
    }
    if (r->quit)
        what = 0;
    pthread_mutex_unlock(&r->lock);
    return what;
}

static void *work(void *arg)
{
    struct rs_recorder *r = arg;
    struct rs_chunk chunk = {0}, ahead = {0};
    struct rs_err e = {0};
    char what;
    if (open_model(r, &e) == 0)
        while ((what = next(r)) && !quitting(r)) {
            if (what == 'c')
                one_chunk(r, &chunk);
            else
                one_ahead(r, &ahead);
        }
    rs_chunk_free(&chunk);
    rs_chunk_free(&ahead);
    pthread_mutex_lock(&r->lock);
    r->failure = e;
    r->worker_done = true;
    pthread_mutex_unlock(&r->lock);
    rs_wake(r->worker_fd);
    return NULL;
}

int rs_worker_start(struct rs_recorder *r, struct rs_err *e)
{
    r->worker_fd = rs_wake_open();
    const int error = r->worker_fd < 0 ? errno : pthread_create(&r->worker, NULL, work, r);
    if (error)
        return rs_fail(e, RS_E_THREAD, "The engine's thread cannot be started: %s.", strerror(error));
    r->worker_started = true;
    return 0;
}

void rs_worker_wake(struct rs_recorder *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}
