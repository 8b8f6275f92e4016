/* Every line that a recording prints, field by field; `--format text` prints words alone. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "session/recorder_impl.h"

bool rs_line_event(struct rs_recorder *r, struct rs_event *ev, enum rs_push how, int chunk)
{
    size_t len = 0;
    char *line = rs_event_line(ev, &len);
    if (!r->o->text)
        return rs_writer_push(r->writer, line, len, how, chunk);
    free(line);
    return true;
}

static bool put_text(struct rs_recorder *r, const char *before, const char *text, enum rs_push how, int chunk)
{
    const size_t n = strlen(before), k = strlen(text);
    char *line = malloc(n + k + 1);
    if (line) {
        memcpy(line, before, n);
        memcpy(line + n, text, k + 1);
    }
    return rs_writer_push(r->writer, line, n + k, how, chunk);
}

void rs_line_ready(struct rs_recorder *r)
{
    const struct rs_source_info *s = rs_source_facts(r->source);
    const int64_t at = r->first_sound_ns ? r->first_sound_ns : rs_now_ns();
    char confined[64];
    struct rs_event ev = rs_event("ready");
    rs_event_int(&ev, "schema", RS_EVENTS_SCHEMA);
    rs_event_text(&ev, "version", r->o->version);
    pthread_mutex_lock(&r->lock);
    rs_event_text(&ev, "model", r->model[0] ? r->model : NULL);
    rs_event_flag(&ev, "warming", !r->model_open);
    rs_event_text(&ev, "backend", r->backend);
    rs_event_text(&ev, "language", r->language[0] ? r->language : "auto");
    rs_event_text(&ev, "sandbox", rs_sandbox_text(&r->sandbox, confined, sizeof confined));
    pthread_mutex_unlock(&r->lock);
    rs_event_text(&ev, "device", s->device);
    rs_event_int(&ev, "rate", s->rate);
    rs_event_text(&ev, "format", s->format);
    rs_event_int(&ev, "channels", s->channels);
    rs_event_text(&ev, "detector", rs_vad_name(r->vad));
    rs_event_flag(&ev, "silent", !r->first_sound_ns);
    rs_event_int(&ev, "pid", getpid());
    rs_event_number(&ev, "ready_ms", rs_ms(at - rs_process_start_ns()), 2);
    rs_line_event(r, &ev, RS_PUSH_ALWAYS, -1);
    r->ready = true;
}

static void add_words(struct rs_event *ev, const struct rs_chunk *c)
{
    json_t *list = rs_event_list(ev, "words");
    for (size_t i = 0; i < c->n_words; i++) {
        const struct rs_word *w = &c->words[i];
        struct rs_event item = rs_event(NULL);
        rs_event_text(&item, "text", w->text);
        rs_event_number(&item, "start", w->start, 3);
        rs_event_number(&item, "end", w->end, 3);
        rs_event_number(&item, "confidence", w->confidence, 3);
        rs_event_add(ev, list, &item);
    }
}

/* Room for so much more text, so that what was queued can always be remembered. */
static bool make_room(struct rs_recorder *r, size_t len)
{
    return rs_grow((void **)&r->text, &r->text_cap, r->text_len + len + 2, 1);
}

static void remember(struct rs_recorder *r, const char *text, size_t len)
{
    if (!len)
        return;
    if (r->text_len)
        r->text[r->text_len++] = ' ';
    memcpy(r->text + r->text_len, text, len + 1);
    r->text_len += len;
}

static void put_gap(struct rs_recorder *r, const struct rs_gap *gap)
{
    struct rs_event ev = rs_event("gap");
    rs_event_number(&ev, "start", gap->start, 3);
    rs_event_number(&ev, "end", gap->end, 3);
    rs_line_event(r, &ev, RS_PUSH_WAIT, -1);
}

static bool chunk_event(struct rs_recorder *r, const struct rs_chunk *c, int index, const char *text)
{
    struct rs_event ev = rs_event("chunk");
    rs_event_int(&ev, "index", index);
    rs_event_text(&ev, "text", text);
    rs_event_number(&ev, "confidence", c->confidence, 3);
    rs_event_number(&ev, "elapsed_ms", rs_ms(c->elapsed_ns), 2);
    rs_event_number(&ev, "start", c->start, 3);
    rs_event_number(&ev, "end", c->end, 3);
    rs_event_number(&ev, "audio_ms", c->audio_ms, 1);
    rs_event_text(&ev, "model", r->model);
    rs_event_text(&ev, "backend", r->backend);
    if (c->ahead)
        rs_event_flag(&ev, "ahead", true);
    if (r->o->words)
        add_words(&ev, c);
    return rs_line_event(r, &ev, RS_PUSH_WAIT, index);
}

void rs_line_chunk(struct rs_recorder *r, const struct rs_chunk *c)
{
    size_t len = 0;
    char *text = rs_utf8_repair(c->text ? c->text : "", c->text ? strlen(c->text) : 0, &len);
    bool given = false;
    pthread_mutex_lock(&r->giving);
    if (!text || !make_room(r, len))
        rs_writer_push(r->writer, NULL, 0, RS_PUSH_WAIT, -1);
    else if (!r->o->text)
        given = chunk_event(r, c, r->chunks, text);
    else
        given = !len || put_text(r, r->text_len ? " " : "", text, RS_PUSH_WAIT, r->chunks);
    if (given) {
        remember(r, text, len);
        r->chunks++;
        r->gaps += (int)c->n_gaps;
    }
    pthread_mutex_unlock(&r->giving);
    for (size_t i = 0; given && i < c->n_gaps; i++)
        put_gap(r, &c->gaps[i]);
    free(text);
}

void rs_line_partial(struct rs_recorder *r, const struct rs_chunk *c)
{
    struct rs_event ev = rs_event("partial");
    rs_event_int(&ev, "index", r->chunks);
    rs_event_text(&ev, "text", c->text ? c->text : "");
    rs_line_event(r, &ev, RS_PUSH_WAIT, -1);
}

static double decibels(double amplitude) { return amplitude > 1e-6 ? 20 * log10(amplitude) : -120; }

void rs_line_level(struct rs_recorder *r, double at)
{
    struct rs_speech_state speech;
    rs_progress_speech(r->progress, &speech);
    struct rs_event ev = rs_event("level");
    rs_event_number(&ev, "at", at, 3);
    rs_event_number(&ev, "rms_db", decibels(sqrt(r->level_sum / (double)r->level_n)), 1);
    rs_event_number(&ev, "peak_db", decibels(r->level_peak), 1);
    rs_event_flag(&ev, "speech", speech.speaking);
    rs_line_event(r, &ev, RS_PUSH_DROP, -1);
}

void rs_line_warning(struct rs_recorder *r, const char *code, const char *message, const struct rs_note *note)
{
    struct rs_event ev = rs_event("warning");
    rs_event_text(&ev, "code", code);
    rs_event_text(&ev, "message", message);
    if (note) {
        rs_event_number(&ev, "at", note->at, 3);
        rs_event_number(&ev, "ms", note->ms, 2);
    }
    rs_line_event(r, &ev, RS_PUSH_ALWAYS, -1);
    r->o->say(message);
}

static const char *hint(int code)
{
    switch (code) {
    case RS_E_DEVICE_NOT_FOUND: case RS_E_DEVICE_GONE: case RS_E_DEVICE_BUSY: case RS_E_DEVICE_REFUSED: case RS_E_DEVICE_PERMISSION:
        return "'rec-stt devices' lists what can be recorded from; 'rec-stt doctor' says what is missing.";
    case RS_E_MODEL_MISSING: case RS_E_MODEL_BAD: case RS_E_MODEL_UNSUPPORTED: case RS_E_UNSAFE_PICKLE:
        return "'rec-stt model list' lists the models at hand; --model takes a GGUF file too.";
    case RS_E_ALREADY_RUNNING:
        return "'rec-stt stop' ends it; --separate records beside it.";
    case RS_E_AUDIO_FILE:
        return "--input takes wav, flac, ogg, opus and mp3, and samples without a header by --raw.";
    default:
        return "'rec-stt doctor' looks at everything that a recording needs.";
    }
}

void rs_line_error(struct rs_recorder *r, const struct rs_err *e)
{
    struct rs_event ev = rs_event("error");
    rs_event_text(&ev, "code", rs_code_word(e->code));
    rs_event_text(&ev, "message", e->msg);
    rs_event_text(&ev, "hint", hint(e->code));
    rs_line_event(r, &ev, RS_PUSH_ALWAYS, -1);
    r->o->say(e->msg);
    pthread_mutex_lock(&r->lock);
    if (!r->status)
        r->status = rs_exit_status(e->code);
    pthread_mutex_unlock(&r->lock);
}

void rs_line_timing(struct rs_recorder *r)
{
    if (!r->o->timing)
        return;
    struct rs_event ev = rs_timing_event(&r->timing, r->model[0] ? r->model : NULL, r->backend);
    rs_line_event(r, &ev, RS_PUSH_ALWAYS, -1);
}

void rs_line_done(struct rs_recorder *r)
{
    pthread_mutex_lock(&r->giving);
    const bool told = r->text_len && strcmp(r->reason, "cancelled") != 0;
    struct rs_event ev = rs_event("done");
    rs_event_int(&ev, "totalChunks", r->chunks);
    rs_event_text(&ev, "full_text", told ? r->text : "");
    rs_event_text(&ev, "reason", r->reason);
    rs_event_number(&ev, "audio_ms", (double)r->fed * 1000 / RS_SAMPLE_RATE, 1);
    rs_event_int(&ev, "captured_frames", r->loss.captured_frames);
    rs_event_int(&ev, "overruns", r->loss.overruns);
    rs_event_number(&ev, "lost_ms", r->loss.lost_ms, 2);
    rs_event_number(&ev, "tail_ms", r->loss.tail_ms, 2);
    rs_event_int(&ev, "gaps", r->gaps);
    pthread_mutex_unlock(&r->giving);
    rs_event_number(&ev, "stop_to_done_ms", r->stop_ns ? rs_ms(rs_now_ns() - r->stop_ns) : 0, 2);
    pthread_mutex_lock(&r->lock);
    rs_event_text(&ev, "model", r->model[0] ? r->model : NULL);
    rs_event_text(&ev, "language", r->language[0] ? r->language : "auto");
    pthread_mutex_unlock(&r->lock);
    rs_event_text(&ev, "backend", r->backend);
    rs_line_event(r, &ev, RS_PUSH_ALWAYS, -1);
    if (r->o->text && told)
        put_text(r, "", "\n", RS_PUSH_ALWAYS, -1);
}
