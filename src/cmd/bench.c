/* rec-stt bench: how fast, how large and how right the models are on this computer with each backend.
 *
 * Every row is measured in a child process of its own, so that memory figures are that row's alone. Stages
 * are medians over the runs after one that warms up, with the smallest and largest beside them.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "asr/asr.h"
#include "audio/source.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/bench_wer.h"
#include "cmd/cmd.h"
#include "model/synthetic.h"
#include "tensor/cpu.h"
#include "tensor/linear.h"

#define MAX_RUNS 99

struct options {
    const char *model, *shape, *backend, *wer;
    int threads, runs;
    double seconds;
    bool json;
};

struct spread { double median, min, max; };

/* What a child sends to its parent; -1 stands for "not measured". */
struct row {
    char model[128], backend[32], message[480];
    int code, threads;
    double audio_ms, cold_ms, rss_mb, private_mb, wer;
    struct spread encoder, decoder, frontend;
};

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct spread spread_of(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (struct spread){n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2, v[0], v[n - 1]};
}

/* Something like speech for any length: a gliding buzz under a slow envelope, and noise. Always the same. */
static float *make_sound(size_t n)
{
    float *x = rs_aligned(n ? n : 1, sizeof *x);
    uint32_t state = 1;
    double phase = 0;
    for (size_t i = 0; x && i < n; i++) {
        const double t = (double)i / RS_SAMPLE_RATE, pitch = 120 + 30 * sin(2 * M_PI * 0.7 * t);
        state = state * 1664525u + 1013904223u;
        phase += pitch / RS_SAMPLE_RATE;
        const double buzz = 2 * (phase - floor(phase)) - 1, noise = (double)(state >> 8) / (1 << 23) - 1;
        const double loud = 0.5 - 0.5 * cos(2 * M_PI * 3 * t);
        x[i] = (float)(loud * (0.2 * buzz + 0.02 * noise));
    }
    return x;
}

/* Memory of this process in MB: everything that is mapped and present, and what nobody shares. */
static void memory_now(struct row *r)
{
    char line[200];
    double private_kb = 0, value;
    r->rss_mb = r->private_mb = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "Rss: %lf", &value) == 1)
            r->rss_mb = value / 1024;
        /* Private_Clean is the page cache's, too: mapped weights that no other process happens to map now. */
        if (sscanf(line, "Private_Dirty: %lf", &value) == 1)
            private_kb = value;
    }
    r->private_mb = private_kb / 1024;
    fclose(f);
}

static int time_stages(struct rs_asr *a, const struct options *o, struct row *r, struct rs_err *e)
{
    const size_t n = (size_t)(o->seconds * RS_SAMPLE_RATE);
    double encoder[MAX_RUNS] = {0}, decoder[MAX_RUNS] = {0}, frontend[MAX_RUNS] = {0};
    struct rs_transcript t = {0};
    float *pcm = make_sound(n);
    int rc = pcm ? 0 : rs_fail(e, RS_E_NOMEM, "There is no memory for %.0f s of sound.", o->seconds);
    for (int i = -1; i < o->runs && !rc; i++) {
        rc = rs_asr_run(a, pcm, n, &t, e);
        if (i < 0)
            continue;
        encoder[i] = rs_ms(t.times.encoder_ns);
        decoder[i] = rs_ms(t.times.decoder_ns);
        frontend[i] = rs_ms(t.times.features_ns);
    }
    if (!rc) {
        r->encoder = spread_of(encoder, o->runs);
        r->decoder = spread_of(decoder, o->runs);
        r->frontend = spread_of(frontend, o->runs);
        r->audio_ms = o->seconds * 1000;
        memory_now(r);
    }
    rs_transcript_free(&t);
    free(pcm);
    return rc;
}

static void measure(const struct options *o, const char *backend, int threads, struct row *r)
{
    struct rs_err e = {0};
    struct rs_asr *a = NULL;
    struct rs_model *m = NULL;
    const struct rs_asr_options ao = {.model = o->model, .backend = backend, .threads = threads};
    int rc = o->shape ? rs_synthetic_model(&m, o->shape, &e) : 0;
    rc = rc ? rc : m ? rs_asr_open_model(&a, m, &ao, &e) : rs_asr_open(&a, &ao, &e);
    if (!rc) {
        const struct rs_asr_info *info = rs_asr_facts(a);
        snprintf(r->model, sizeof r->model, "%s", info->model);
        snprintf(r->backend, sizeof r->backend, "%s", info->backend);
        r->threads = info->threads;
        rc = time_stages(a, o, r, &e);
    }
    r->wer = -1;
    if (!rc && o->wer)
        rc = rs_bench_wer(a, o->wer, &r->wer, &e);
    if (!rc && !m)
        rc = rs_asr_keep_packed(a, NULL, NULL) < 0 ? 0 : rc;     /* without a place the next spawn packs again */
    r->code = rc;
    snprintf(r->message, sizeof r->message, "%s", e.msg);
    rs_asr_close(a);
    rs_synthetic_free(m);
}

/* Runs measure in a child and takes the row from a pipe. */
static bool measure_apart(const struct options *o, const char *backend, int threads, struct row *r)
{
    int ends[2];
    memset(r, 0, sizeof *r);
    if (pipe(ends) != 0)
        return false;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        measure(o, backend, threads, r);
        const bool sent = write(ends[1], r, sizeof *r) == (ssize_t)sizeof *r;      /* below PIPE_BUF: whole or not */
        _exit(sent ? 0 : 1);
    }
    close(ends[1]);
    ssize_t got = -1;
    if (child > 0) {
        do
            got = read(ends[0], r, sizeof *r);
        while (got < 0 && errno == EINTR);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    return got == (ssize_t)sizeof *r;
}

static bool write_wav(const char *path, const float *x, size_t n)
{
    const uint32_t bytes = (uint32_t)n * 2, rate = RS_SAMPLE_RATE;
    FILE *f = fopen(path, "wbe");
    if (!f)
        return false;
    const uint32_t head[11] = {0x46464952, 36 + bytes, 0x45564157, 0x20746d66, 16, 0x00010001, rate, rate * 2, 0x00100002,
                               0x61746164, bytes};
    bool ok = fwrite(head, 1, 44, f) == 44;
    for (size_t i = 0; i < n && ok; i++) {
        const int16_t s = (int16_t)lrintf(x[i] * 32767);
        ok = fwrite(&s, 2, 1, f) == 1;
    }
    return fclose(f) == 0 && ok;
}

/* One `rec-stt transcribe` of the file, from exec to its end, in ms; negative when it failed. */
static double spawn_once(const struct options *o, const struct row *r, const char *wav)
{
    char self[4096], threads[16];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return -1;
    self[length] = 0;
    snprintf(threads, sizeof threads, "%d", r->threads);
    const char *const argv[] = {"rec-stt", "transcribe", "--backend", r->backend, "--threads", threads, wav,
                                o->model ? "--model" : NULL, o->model, NULL};
    const int64_t begun = rs_now_ns();
    const pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))
            execv(self, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? rs_ms(rs_now_ns() - begun) : -1;
}

/* From exec to text for a file of that length, page cache warm. Only for models that a spawn can open. */
static void time_cold(const struct options *o, struct row *r)
{
    char wav[] = "/tmp/rec-stt-bench-XXXXXX";
    double ms[MAX_RUNS] = {0};
    const size_t n = (size_t)(o->seconds * RS_SAMPLE_RATE);
    const int runs = o->runs < 5 ? o->runs : 5, fd = mkstemp(wav);
    float *pcm = make_sound(n);
    r->cold_ms = -1;
    if (fd >= 0 && pcm && write_wav(wav, pcm, n)) {
        int i = 0;
        for (spawn_once(o, r, wav); i < runs && (ms[i] = spawn_once(o, r, wav)) >= 0; i++)
            ;
        if (i == runs)
            r->cold_ms = spread_of(ms, runs).median;
    }
    if (fd >= 0) {
        close(fd);
        unlink(wav);
    }
    free(pcm);
}

static json_t *number(double v)
{
    return v < 0 ? json_null() : json_real(round(v * 1000) / 1000);
}

static void add_spread(json_t *o, const char *name, const struct spread *s)
{
    char key[40];
    json_object_set_new(o, name, number(s->median));
    snprintf(key, sizeof key, "%s_min", name);
    json_object_set_new(o, key, number(s->min));
    snprintf(key, sizeof key, "%s_max", name);
    json_object_set_new(o, key, number(s->max));
}

static void print_json(const struct row *r)
{
    json_t *o = json_pack("{s:s, s:s, s:i}", "model", r->model, "backend", r->backend, "threads", r->threads);
    if (!o)
        return;
    json_object_set_new(o, "audio_ms", number(r->audio_ms));
    add_spread(o, "encoder_ms", &r->encoder);
    add_spread(o, "decoder_ms", &r->decoder);
    add_spread(o, "frontend_ms", &r->frontend);
    json_object_set_new(o, "cold_ms", number(r->cold_ms));
    json_object_set_new(o, "rss_mb", number(r->rss_mb));
    json_object_set_new(o, "private_mb", number(r->private_mb));
    json_object_set_new(o, "wer", number(r->wer));
    char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (line)
        puts(line);
    free(line);
    json_decref(o);
}

static const char *cell(char *buf, size_t size, double v, const char *fmt)
{
    if (v < 0)
        return "-";
    snprintf(buf, size, fmt, v);
    return buf;
}

static void print_text(const struct row *r, bool first)
{
    char cold[24], rss[24], own[24], wer[24], encoder[48];
    if (first)
        printf("%-24s %-14s %2s %7s %24s %8s %8s %7s %8s %7s %7s %6s\n", "model", "backend", "t", "audio s", "encoder ms (min..max)",
               "decoder", "frontend", "x real", "cold ms", "rss MB", "own MB", "wer %");
    const double all = r->encoder.median + r->decoder.median + r->frontend.median;
    snprintf(encoder, sizeof encoder, "%.1f (%.1f..%.1f)", r->encoder.median, r->encoder.min, r->encoder.max);
    printf("%-24s %-14s %2d %7.1f %24s %8.1f %8.1f %7.0f %8s %7s %7s %6s\n", r->model, r->backend, r->threads, r->audio_ms / 1000,
           encoder, r->decoder.median, r->frontend.median, all > 0 ? r->audio_ms / all : 0, cell(cold, sizeof cold, r->cold_ms, "%.0f"),
           cell(rss, sizeof rss, r->rss_mb, "%.0f"), cell(own, sizeof own, r->private_mb, "%.0f"),
           cell(wer, sizeof wer, r->wer < 0 ? -1 : 100 * r->wer, "%.2f"));
}

/* One row; the exit status of its failure, or 0. */
static int one_row(const struct options *o, const char *backend, int threads, bool *first)
{
    struct row r;
    struct rs_err e = {0};
    if (!measure_apart(o, backend, threads, &r)) {
        rs_fail(&e, RS_E_INTERNAL, "Measuring %s ended without a result.", backend ? backend : "the best backend");
        return rs_report(&rs_cmd_bench, &e);
    }
    if (r.code) {
        rs_fail(&e, -r.code, "%s", r.message);
        return rs_report(&rs_cmd_bench, &e);
    }
    r.cold_ms = -1;
    if (!o->shape)
        time_cold(o, &r);
    if (o->json)
        print_json(&r);
    else
        print_text(&r, *first);
    *first = false;
    if (fflush(stdout) || ferror(stdout)) {
        rs_fail(&e, RS_E_STDOUT, "Writing the table failed.");
        return rs_report(&rs_cmd_bench, &e);
    }
    return 0;
}

static int run(int argc, char **argv)
{
    struct options o = {.seconds = 15, .runs = 5};
    const struct rs_opt table[] = {
        {"model", 'm', RS_OPT_STRING, &o.model, "MODEL", "model to measure: a name or a file; without it the default one", 0, 0, NULL},
        {"shape", 0, RS_OPT_CHOICE, &o.shape, "SHAPE", "measure random weights of a published shape; needs no file", 0, 0, RS_SYNTHETIC_SHAPES},
        {"backend", 'b', RS_OPT_STRING, &o.backend, "NAME", "backend to measure, or all of them with 'all'; without it the best", 0, 0, NULL},
        {"threads", 't', RS_OPT_INT, &o.threads, "N", "threads; without it one per physical core", 1, 64, NULL},
        {"seconds", 0, RS_OPT_REAL, &o.seconds, "S", "length of the sound (15)", 0.1, 600, NULL},
        {"runs", 'n', RS_OPT_INT, &o.runs, "N", "measured runs after one that warms up (5)", 1, MAX_RUNS, NULL},
        {"wer", 0, RS_OPT_STRING, &o.wer, "DIR", "also count word errors over DIR/data.tsv (columns file, speaker, transcript)", 0, 0, NULL},
        {"json", 0, RS_OPT_FLAG, &o.json, NULL, "one JSON object a line", 0, 0, NULL},
        {0},
    };
    struct rs_err e = {0};
    int nargs, status = 0;
    bool first = true;
    const int rc = rs_opt_parse(&rs_cmd_bench, table, argc, argv, &nargs, &e);
    if (rc)
        return rc == RS_OPT_DONE ? 0 : rs_report(&rs_cmd_bench, &e);
    if (!o.backend || strcmp(o.backend, "all"))
        return one_row(&o, o.backend, o.threads, &first);
    for (const struct rs_backend *const *b = rs_backend_list(); *b; b++)
        if (rs_backend_available(*b)) {
            const int s = one_row(&o, rs_backend_name(*b), o.threads, &first);
            status = status ? status : s;
        }
    return status;
}

const struct rs_cmd rs_cmd_bench = {
    .name = "bench", .synopsis = "[OPTION]...", .summary = "measure speed, memory and accuracy on this computer",
    .details = "Prints a table: the encoder's, decoder's and front end's milliseconds for one chunk (medians), how many\n"
               "times faster than real time that is, the time from exec to text, memory, and word errors.\n"
               "'own' memory is what the process does not share with the page cache.",
    .max_args = 0, .run = run};
