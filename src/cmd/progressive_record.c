/* rec-stt progressive-record: the microphone (or a file) to events, until something ends it. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/record.h"
#include "session/control.h"
#include "session/recorder.h"
#include "session/sandbox.h"

/* Any thread; past stderr, in which a microphone's plugins are hushed (pcm.c). */
static void say(const char *sentence) { dprintf(STDERR_FILENO, "rec-stt: %s\n", sentence); }

int rs_parse_raw(const char *text, struct rs_raw_format *raw, struct rs_err *e)
{
    static const char *const encodings[] = {"s16le", "s32le", "f32le"};
    int at = 0;
    raw->encoding = NULL;
    if (sscanf(text, "%d,%d,%n", &raw->rate, &raw->channels, &at) == 2 && at)
        for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
            if (strcmp(text + at, encodings[i]) == 0)
                raw->encoding = encodings[i];
    if (!raw->encoding || raw->rate < 1000 || raw->rate > 768000 || raw->channels < 1 || raw->channels > 64)
        return rs_fail(e, RS_E_USAGE, "--raw takes RATE,CHANNELS,FORMAT with FORMAT s16le, s32le or f32le, as in 16000,1,s16le, not '%.80s'.", text);
    return 0;
}

int rs_check_overlap(double overlap_s, double chunk_s, struct rs_err *e)
{
    if (overlap_s <= chunk_s / 2)
        return 0;
    return rs_fail(e, RS_E_USAGE, "--overlap (%g seconds) may be at most half of --chunk (%g).", overlap_s, chunk_s);
}

static int check(const struct rs_record_options *o, const char *raw, struct rs_err *e)
{
    const int rc = rs_check_overlap(o->overlap_s, o->chunk_s, e);
    if (rc)
        return rc;
    if (o->backlog_s < 2 * o->chunk_s)
        return rs_fail(e, RS_E_USAGE, "--backlog must be at least twice --chunk (%g seconds).", 2 * o->chunk_s);
    if (o->input && o->device)
        return rs_fail(e, RS_E_USAGE, "--input and --device exclude each other.");
    if (!o->input && (o->realtime || raw))
        return rs_fail(e, RS_E_USAGE, "%s goes with --input only.", raw ? "--raw" : "--realtime");
    if (o->stdin_control && o->input && strcmp(o->input, "-") == 0)
        return rs_fail(e, RS_E_USAGE, "Standard input cannot be sound and --stdin-control at once.");
    return 0;
}

/* Claims the place of the one recorder, or stops the one that has it. RS_OPT_DONE: there is nothing to record. */
static int take_place(const struct rs_record_options *o, bool toggles, bool separate, struct rs_control *control, struct rs_err *e)
{
    pid_t pid;
    control->fd = -1;
    if (separate || (o->input && !o->realtime))
        return 0;
    const int rc = rs_control_claim(control, e);
    if (rc != -RS_E_ALREADY_RUNNING || !toggles)
        return rc;
    *e = (struct rs_err){0};
    const int sent = rs_control_signal(SIGTERM, 0, &pid, e);
    if (sent == -RS_E_NOT_RUNNING)
        *e = (struct rs_err){0};              /* it ended by itself meanwhile: what was asked for */
    return sent && sent != -RS_E_NOT_RUNNING ? sent : RS_OPT_DONE;
}

static void leave(void *control) { rs_control_release(control); }

static int record(const struct rs_cmd *cmd, struct rs_record_options *o, bool toggles, bool separate)
{
    struct rs_record_result result;
    struct rs_control control;
    struct rs_err e = {0};
    sigset_t ours;
    sigemptyset(&ours);
    for (int i = 0; i < 5; i++)               /* once the place is ours a stop may come: it waits for the recorder */
        sigaddset(&ours, (const int[]){SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}[i]);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    const int rc = take_place(o, toggles, separate, &control, &e);
    if (rc == RS_OPT_DONE)
        return 0;
    if (rc)
        return e.code == RS_E_USAGE ? rs_report(cmd, &e) : rs_record_refuse(o, &e);
    o->leave = leave;
    o->leave_arg = &control;
    rs_record(o, &result);
    o->leave_arg = NULL;
    if (result.abandoned)
        _exit(result.status);                 /* the engine may be in the middle of a chunk */
    rs_control_release(&control);
    return result.status;
}

int rs_record_command(const struct rs_cmd *cmd, bool toggles, int argc, char **argv)
{
    struct rs_record_options o = {.chunk_s = 15, .overlap_s = 2, .backlog_s = 300, .max_s = 3600, .tail_ms = 300,
                                  .queue_kib = 1024, .say = say, .version = RS_VERSION};
    const char *format = "jsonl", *sandbox = "auto", *raw = NULL;
    bool separate = false;
    const struct rs_opt options[] = {
        {.name = "device", .letter = 'd', .kind = RS_OPT_STRING, .value = &o.device, .arg = "DEVICE", .help = "record from this device: a name from 'rec-stt devices' or a unique part of one"},
        {.name = "input", .letter = 'i', .kind = RS_OPT_STRING, .value = &o.input, .arg = "FILE|-", .help = "a file or standard input in place of the microphone"},
        {.name = "realtime", .kind = RS_OPT_FLAG, .value = &o.realtime, .help = "give --input at the speed of the clock, as a microphone would"},
        {.name = "raw", .kind = RS_OPT_STRING, .value = &raw, .arg = "RATE,CHANNELS,FORMAT", .help = "--input has no header; FORMAT is s16le, s32le or f32le"},
        {.name = "model", .letter = 'm', .kind = RS_OPT_STRING, .value = &o.model, .arg = "MODEL", .help = "model file, folder or name (default: the pulled or linked-in one)"},
        {.name = "backend", .kind = RS_OPT_STRING, .value = &o.backend, .arg = "BACKEND", .help = "force an implementation of the arithmetic; 'rec-stt doctor' lists them"},
        {.name = "decoder", .kind = RS_OPT_CHOICE, .value = &o.decoder, .choices = "auto|tdt|rnnt|ctc", .help = "which of the model's decoders to use"},
        {.name = "language", .kind = RS_OPT_STRING, .value = &o.language, .arg = "CODE", .help = "the language that is spoken; a model that cannot be told warns"},
        {.name = "threads", .kind = RS_OPT_INT, .value = &o.threads, .arg = "COUNT", .help = "threads of the engine (0: one for each core)", .min = 0, .max = 256},
        {.name = "vad", .kind = RS_OPT_STRING, .value = &o.vad, .arg = "FILE|energy", .help = "another detector of speech"},
        {.name = "chunk", .kind = RS_OPT_REAL, .value = &o.chunk_s, .arg = "SECONDS", .help = "length of a chunk (15)", .min = 1, .max = 120},
        {.name = "overlap", .kind = RS_OPT_REAL, .value = &o.overlap_s, .arg = "SECONDS", .help = "how much of a chunk the next one hears again (2)", .min = 0, .max = 60},
        {.name = "backlog", .kind = RS_OPT_REAL, .value = &o.backlog_s, .arg = "SECONDS", .help = "sound kept at most while transcription is behind (300)", .min = 2, .max = 7200},
        {.name = "format", .letter = 'f', .kind = RS_OPT_CHOICE, .value = &format, .choices = "jsonl|text", .help = "events, or the words alone"},
        {.name = "words", .kind = RS_OPT_FLAG, .value = &o.words, .help = "give each word's times and confidence with the chunks"},
        {.name = "partials", .kind = RS_OPT_FLAG, .value = &o.partials, .help = "print the open chunk's text at pauses"},
        {.name = "timing", .kind = RS_OPT_FLAG, .value = &o.timing, .help = "print where the time went, before done"},
        {.name = "levels", .kind = RS_OPT_REAL, .value = &o.levels_hz, .arg = "HZ", .help = "print how loud it is, so often a second", .min = 0, .max = 100},
        {.name = "max-seconds", .kind = RS_OPT_REAL, .value = &o.max_s, .arg = "SECONDS", .help = "end after so long (3600; 0: never)", .min = 0, .max = 1e7},
        {.name = "stop-on-silence", .kind = RS_OPT_REAL, .value = &o.silence_s, .arg = "SECONDS", .help = "end when so long nobody spoke, once somebody did (0: never)", .min = 0, .max = 3600},
        {.name = "no-speech-timeout", .kind = RS_OPT_REAL, .value = &o.no_speech_s, .arg = "SECONDS", .help = "end when nobody began to speak for so long (0: never)", .min = 0, .max = 3600},
        {.name = "tail-ms", .kind = RS_OPT_INT, .value = &o.tail_ms, .arg = "MS", .help = "keep recording at most so long after a stop, for the last word; not in silence (300)", .min = 0, .max = 10000},
        {.name = "stdin-control", .kind = RS_OPT_FLAG, .value = &o.stdin_control, .help = "take the lines stop (or q), cancel and cut from standard input; its end stops"},
        {.name = "die-with-parent", .kind = RS_OPT_FLAG, .value = &o.die_with_parent, .help = "stop when the process that started this one ends"},
        {.name = "separate", .kind = RS_OPT_FLAG, .value = &separate, .help = "record beside another recorder; stop, cancel, toggle and status do not see this one"},
        {.name = "queue", .kind = RS_OPT_INT, .value = &o.queue_kib, .arg = "KIB", .help = "output kept at most for a reader that is slow (1024)", .min = 1, .max = 1048576},
        {.name = "sandbox", .kind = RS_OPT_CHOICE, .value = &sandbox, .choices = "auto|off", .help = "confine the process once the microphone is open"},
        {0},
    };
    struct rs_err e = {0};
    int nargs;
    const unsigned closed = rs_open_standard_fds();
    int rc = rs_opt_parse(cmd, options, argc, argv, &nargs, &e);
    if (rc == RS_OPT_DONE)
        return fflush(stdout) || ferror(stdout) ? 1 : 0;
    rc = rc || !raw ? rc : rs_parse_raw(raw, &o.raw, &e);
    rc = rc ? rc : check(&o, raw, &e);
    if (!rc && (closed & 1u << STDOUT_FILENO))
        rc = rs_fail(&e, RS_E_STDOUT, "Standard output is closed: nobody could read what is said.");
    if (rc)
        return rs_report(cmd, &e);
    o.text = strcmp(format, "text") == 0;
    o.no_sandbox = strcmp(sandbox, "off") == 0;
    if (o.no_sandbox)
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    else
        rs_no_core_dumps();
    return record(cmd, &o, toggles, separate);
}

static int run(int argc, char **argv) { return rs_record_command(&rs_cmd_progressive_record, false, argc, argv); }

const struct rs_cmd rs_cmd_progressive_record = {
    .name = "progressive-record",
    .synopsis = "[OPTION]...",
    .summary = "record the microphone, print its words as JSON lines while you talk",
    .details = "Ends by Ctrl-C, SIGTERM, 'rec-stt stop', silence (--stop-on-silence), the end of a pipe on standard input whose\n"
               "writer was there at the start (use </dev/null to be rid of that), or when nobody reads the output any more.\n"
               "A second Ctrl-C ends at once. SIGUSR1 prints the open chunk now, SIGUSR2 ends without text.\n",
    .run = run,
};
