/* rec-stt transcribe: the recorder's pipeline on files or a pipe, as fast as the machine can. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/cmd.h"
#include "cmd/record.h"
#include "session/events.h"
#include "session/output.h"

enum { BLOCK = 16000 };

/* What all files share, and what is the one file's at work. */
struct job {
    struct rs_asr_options asr_options;
    struct rs_progress_options plan;
    struct rs_raw_format raw;
    const char *format, *vad, *path;
    bool words, several;
    struct rs_source *source;
    struct rs_vad *detector;
    struct rs_asr *asr;
    struct rs_progress *progress;
    struct rs_chunk chunk;
    struct rs_script script;
    int64_t begun;
    struct rs_err failed;              /* the first part that could not be read or transcribed; the rest goes on */
};

static bool is(const struct job *j, const char *format) { return strcmp(j->format, format) == 0; }

static int out_line(char *line, size_t len, struct rs_err *e)
{
    const bool ok = line && fwrite(line, 1, len, stdout) == len && fflush(stdout) == 0;
    if (!line)
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for the output.");
    free(line);
    return ok ? 0 : rs_fail(e, RS_E_STDOUT, "The text could not be written: %s.", strerror(errno));
}

static void tell_notes(struct job *j)
{
    struct rs_note note;
    while (rs_source_note(j->source, &note))
        if (note.kind == RS_NOTE_TRUNCATED || note.kind == RS_NOTE_BAD_SAMPLES)
            fprintf(stderr, "rec-stt transcribe: %s\n", note.text);
}

/* Text appears chunk by chunk, so that a long file can be read while it is worked on. */
static int show_chunk(struct job *j, bool *wrote, struct rs_err *e)
{
    if (!rs_script_add(&j->script, &j->chunk))
        return rs_fail(e, RS_E_NOMEM, "There is no memory left for words.");
    if (!is(j, "text") || !j->chunk.text || !j->chunk.text[0])
        return 0;
    if (!*wrote && j->several && printf("%s: ", j->path) < 0)
        return rs_fail(e, RS_E_STDOUT, "The text could not be written: %s.", strerror(errno));
    if (printf("%s%s", *wrote ? " " : "", j->chunk.text) < 0 || fflush(stdout))
        return rs_fail(e, RS_E_STDOUT, "The text could not be written: %s.", strerror(errno));
    *wrote = true;
    return 0;
}

static int due_chunks(struct job *j, bool *wrote, struct rs_err *e)
{
    while (rs_progress_due(j->progress)) {
        rs_progress_chunk(j->progress, &j->chunk, &j->failed);      /* a chunk that fails is a gap, as in a recording */
        const int rc = show_chunk(j, wrote, e);
        if (rc)
            return rc;
    }
    return 0;
}

static int work_through(struct job *j, struct rs_err *e)
{
    static float block[BLOCK];
    bool wrote = false;
    for (;;) {
        size_t got = 0;
        int state = rs_source_read(j->source, block, BLOCK, &got, &j->failed);
        tell_notes(j);
        if (state < 0)
            state = RS_SOURCE_END;                    /* what came before is transcribed */
        int rc = rs_progress_feed(j->progress, block, got, e);
        if (state == RS_SOURCE_END)
            rs_progress_end(j->progress);
        if (rc == 0)
            rc = due_chunks(j, &wrote, e);
        if (rc)
            return rc;
        j->script.duration_s += (double)got / RS_SAMPLE_RATE;
        if (state == RS_SOURCE_END)
            break;
        if (got == 0)
            poll(&(struct pollfd){.fd = rs_source_fd(j->source), .events = POLLIN}, 1, 1000);
    }
    if (is(j, "text") && !wrote && j->several)
        printf("%s:", j->path);
    return is(j, "text") && (puts("") < 0 || fflush(stdout)) ? rs_fail(e, RS_E_STDOUT, "The text could not be written.") : 0;
}

static void add_words(struct rs_event *ev, const struct rs_script *s)
{
    json_t *list = rs_event_list(ev, "words");
    for (size_t i = 0; i < s->n_words; i++) {
        struct rs_event w = rs_event(NULL);
        rs_event_text(&w, "text", s->words[i].text);
        rs_event_number(&w, "start", s->words[i].start, 2);
        rs_event_number(&w, "end", s->words[i].end, 2);
        rs_event_number(&w, "confidence", s->words[i].confidence, 3);
        rs_event_add(ev, list, &w);
    }
}

static void add_timing(struct rs_event *ev, const struct job *j, const char *backend)
{
    const struct { const char *stage; int64_t ns; } stages[] = {
        {"features", j->script.times.features_ns}, {"encoder", j->script.times.encoder_ns},
        {"decoder", j->script.times.decoder_ns}, {"total", rs_now_ns() - j->begun}};
    json_t *list = rs_event_list(ev, "timing");
    for (int i = 0; i < 4; i++) {
        struct rs_event t = rs_event(NULL);
        rs_event_text(&t, "stage", stages[i].stage);
        rs_event_number(&t, "ms", rs_ms(stages[i].ns), 2);
        rs_event_text(&t, "backend", backend);
        rs_event_add(ev, list, &t);
    }
}

static int show_json(const struct job *j, struct rs_err *e)
{
    const struct rs_asr_info *info = rs_asr_facts(j->asr);
    struct rs_event ev = rs_event("transcript");
    rs_event_text(&ev, "file", j->path);
    rs_event_text(&ev, "text", rs_progress_text(j->progress));
    rs_event_number(&ev, "confidence", j->script.n_tokens ? j->script.confidence_sum / (double)j->script.n_tokens : 0, 3);
    rs_event_number(&ev, "duration_s", j->script.duration_s, 3);
    rs_event_int(&ev, "chunks", j->script.chunks);
    rs_event_text(&ev, "model", info->model);
    rs_event_text(&ev, "decoder", info->decoder);
    rs_event_text(&ev, "backend", info->backend);
    rs_event_text(&ev, "language", info->language && info->language[0] ? info->language : "auto");
    if (j->words)
        add_words(&ev, &j->script);
    json_t *gaps = rs_event_list(&ev, "gaps");
    for (size_t i = 0; i < j->script.n_gaps; i++) {
        struct rs_event g = rs_event(NULL);
        rs_event_number(&g, "start", j->script.gaps[i].start, 2);
        rs_event_number(&g, "end", j->script.gaps[i].end, 2);
        rs_event_add(&ev, gaps, &g);
    }
    add_timing(&ev, j, info->backend);
    size_t len = 0;
    char *line = rs_event_line(&ev, &len);
    return out_line(line, len, e);
}

static int finish(struct job *j, struct rs_err *e)
{
    if (is(j, "json"))
        return show_json(j, e);
    if (is(j, "srt") || is(j, "vtt"))
        rs_script_subtitles(&j->script, stdout, is(j, "vtt"), e);
    for (size_t i = 0; i < j->script.n_gaps; i++)
        fprintf(stderr, "rec-stt transcribe: from %.1f s to %.1f s somebody seems to speak, but no words came out.\n",
                j->script.gaps[i].start, j->script.gaps[i].end);
    if (fflush(stdout))
        return rs_fail(e, RS_E_STDOUT, "The text could not be written: %s.", strerror(errno));
    return e->code ? -e->code : 0;
}

/* For the next spawn; without a place for it that packs again. What the first use cost is said where it was felt. */
static void keep(struct rs_asr *asr, double opening_s)
{
    const char *path = "";
    if (rs_asr_keep_packed(asr, &path, NULL) == 0 && *path && opening_s > 0.5)
        fprintf(stderr, "rec-stt transcribe: The weights of %s took %.1f s to pack for this CPU; they are kept, so the next start is quick.\n",
                rs_asr_facts(asr)->model, opening_s);
}

static int one_file(struct job *j, struct rs_err *e)
{
    j->begun = rs_now_ns();
    j->failed = (struct rs_err){0};
    int rc = rs_source_file(&j->source, j->path, j->raw.encoding ? &j->raw : NULL, false, e);
    rc = rc ? rc : rs_progress_new(&j->progress, j->detector, &j->plan, e);
    if (rc == 0) {
        rs_vad_reset(j->detector);
        rs_progress_attach(j->progress, j->asr);
        rc = work_through(j, e);
    }
    const bool nothing = j->failed.code && j->script.duration_s == 0;
    rc = rc || nothing ? rc : finish(j, e);
    if (rc == 0 && j->failed.code)
        rc = rs_fail(e, j->failed.code, "%s", j->failed.msg);
    rs_script_free(&j->script);
    rs_progress_free(j->progress);
    rs_source_close(j->source);
    j->progress = NULL;
    j->source = NULL;
    return rc;
}

/* A file that cannot be read is told, and the others go on; the first failure is the whole's. */
static int transcribe(struct job *j, char **paths, int count, struct rs_err *e)
{
    const int64_t before = rs_now_ns();
    int rc = rs_vad_open(&j->detector, j->vad, e);
    rc = rc ? rc : rs_asr_open(&j->asr, &j->asr_options, e);
    const double opening_s = rs_ms(rs_now_ns() - before) / 1000;
    const bool opened = rc == 0;
    const char *note = opened ? rs_asr_facts(j->asr)->language_note : NULL;
    if (note)
        fprintf(stderr, "rec-stt transcribe: %s\n", note);
    for (int i = 0; i < count && opened; i++) {
        struct rs_err here = {0};
        j->path = paths[i];
        if (one_file(j, &here) == 0)
            continue;
        if (rc == 0)
            rc = rs_fail(e, here.code, "%s", here.msg);
        else
            fprintf(stderr, "rec-stt transcribe: %s\n", here.msg);
        if (here.code == RS_E_STDOUT)
            break;
    }
    if (rc == 0)
        keep(j->asr, opening_s);
    rs_chunk_free(&j->chunk);
    rs_asr_close(j->asr);
    rs_vad_close(j->detector);
    return rc;
}

static int run(int argc, char **argv)
{
    struct job j = {.plan = {.chunk_s = 15, .overlap_s = 2}, .format = "json"};
    const char *raw = NULL;
    const struct rs_opt options[] = {
        {.name = "format", .letter = 'f', .kind = RS_OPT_CHOICE, .value = &j.format, .choices = "json|text|srt|vtt", .arg = "FORMAT", .help = "json (one object a line for each file), text, srt or vtt"},
        {.name = "words", .kind = RS_OPT_FLAG, .value = &j.words, .help = "give each word's times and confidence (json)"},
        {.name = "raw", .kind = RS_OPT_STRING, .value = &raw, .arg = "RATE,CHANNELS,FORMAT", .help = "the sound has no header; FORMAT is s16le, s32le or f32le"},
        {.name = "model", .letter = 'm', .kind = RS_OPT_STRING, .value = &j.asr_options.model, .arg = "MODEL", .help = "model file, folder or name (default: the pulled or linked-in one)"},
        {.name = "backend", .kind = RS_OPT_STRING, .value = &j.asr_options.backend, .arg = "BACKEND", .help = "force an implementation of the arithmetic; 'rec-stt doctor' lists them"},
        {.name = "decoder", .kind = RS_OPT_CHOICE, .value = &j.asr_options.decoder, .choices = "auto|tdt|rnnt|ctc", .arg = "DECODER", .help = "which of the model's decoders to use"},
        {.name = "language", .kind = RS_OPT_STRING, .value = &j.asr_options.language, .arg = "CODE", .help = "the language that is spoken; a model that cannot be told warns"},
        {.name = "threads", .kind = RS_OPT_INT, .value = &j.asr_options.threads, .arg = "COUNT", .help = "threads of the engine (0: one for each core)", .min = 0, .max = 256},
        {.name = "vad", .kind = RS_OPT_STRING, .value = &j.vad, .arg = "FILE|energy", .help = "another detector of speech"},
        {.name = "chunk", .kind = RS_OPT_REAL, .value = &j.plan.chunk_s, .arg = "SECONDS", .help = "length of a chunk (15)", .min = 1, .max = 120},
        {.name = "overlap", .kind = RS_OPT_REAL, .value = &j.plan.overlap_s, .arg = "SECONDS", .help = "how much of a chunk the next one hears again (2)", .min = 0, .max = 60},
        {.name = "single-pass", .kind = RS_OPT_FLAG, .value = &j.plan.single_pass, .help = "everything in one chunk; memory grows with the square of the length"},
        {0},
    };
    struct rs_err e = {0};
    int nargs;
    int rc = rs_opt_parse(&rs_cmd_transcribe, options, argc, argv, &nargs, &e);
    if (rc == RS_OPT_DONE)
        return fflush(stdout) || ferror(stdout) ? 1 : 0;
    rc = rc || !raw ? rc : rs_parse_raw(raw, &j.raw, &e);
    rc = rc ? rc : rs_check_overlap(j.plan.overlap_s, j.plan.chunk_s, &e);
    j.several = nargs > 1;
    if (rc == 0 && j.several && (is(&j, "srt") || is(&j, "vtt")))
        rc = rs_fail(&e, RS_E_USAGE, "Subtitles belong to one recording: give one FILE with --format %s.", j.format);
    if (rc == 0)
        rc = transcribe(&j, argv + 1, nargs, &e);
    return rc ? rs_report(&rs_cmd_transcribe, &e) : 0;
}

const struct rs_cmd rs_cmd_transcribe = {
    .name = "transcribe",
    .synopsis = "[OPTION]... FILE...|-",
    .summary = "turn recordings (wav, flac, ogg, opus, mp3, raw) into text, JSON or subtitles",
    .details = "'-' reads standard input. The recording passes through the same chunks, detector and merge as the microphone's.\n"
               "With several files each line of text begins with the file's name; one that cannot be read does not stop the others.",
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
