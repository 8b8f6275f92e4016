/* rec-stt doctor: looks at everything that a recording needs, says what is missing and how to get it. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/source.h"
#include "base/clock.h"
#include "base/paths.h"
#include "cmd/cmd.h"
#include "model/model.h"
#include "session/sandbox.h"
#include "tensor/cpu.h"
#include "tensor/linear.h"

enum state { GOOD, ODD, BAD };      /* ODD: works, but somebody should know */
static const char *const state_words[] = {"ok", "warning", "missing"};

struct report { bool json; int bad, first_code; };

static void say(struct report *r, enum state state, const char *what, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void say(struct report *r, enum state state, const char *what, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->bad += state == BAD;
    if (!r->json) {
        printf("%-8s %-12s %s\n", state_words[state], what, text);
        return;
    }
    json_t *o = json_pack("{s:s, s:s, s:s%}", "check", what, "state", state_words[state], "text", text, strlen(text));
    char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (line)
        puts(line);
    else
        printf("{\"check\":\"%s\",\"state\":\"%s\"}\n", what, state_words[state]);
    free(line);
    json_decref(o);
}

static void failed(struct report *r, const char *what, const struct rs_err *e)
{
    if (!r->first_code)
        r->first_code = e->code;
    say(r, BAD, what, "%s", e->msg);
}

static void look_at_cpu(struct report *r)
{
    const struct rs_backend *chosen;
    struct rs_err e = {0};
    char all[300] = "";
    size_t used = 0;
    if (rs_backend_choose(&chosen, NULL, &e)) {
        failed(r, "engine", &e);
        return;
    }
    for (const struct rs_backend *const *b = rs_backend_list(); *b && used < sizeof all; b++)
        if (rs_backend_available(*b) && *b != chosen) {
            const int n = snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", rs_backend_name(*b));
            used += n > 0 ? (size_t)n : 0;
        }
    say(r, GOOD, "engine", "%s (also: %s), %d cores, %s", rs_backend_name(chosen), used ? all : "none", rs_cpu_cores(),
        *rs_cpu_words() ? rs_cpu_words() : "no special instructions");
}

static void look_at_model(struct report *r, const char *name)
{
    struct rs_model *m;
    struct rs_err e = {0};
    if (rs_model_open(&m, name, &e)) {
        failed(r, "model", &e);
        return;
    }
    say(r, GOOD, "model", "%s, %s, %s", m->name, m->container, m->path);
    rs_model_close(m);
}

/* Half a second of the microphone: what was opened, and how loud it is. */
static void listen(struct report *r, struct rs_source *s)
{
    static float block[8000];
    const struct rs_source_info *f = rs_source_facts(s);
    const int64_t end = rs_now_ns() + 500000000;
    struct rs_err e = {0};
    float peak = 0;
    size_t heard = 0, got = 0;
    int state = RS_SOURCE_MORE;
    while (state == RS_SOURCE_MORE && rs_now_ns() < end) {
        struct pollfd p = {.fd = rs_source_fd(s), .events = POLLIN};
        if (poll(&p, 1, 50) < 0 && errno != EINTR)
            break;
        state = rs_source_read(s, block, sizeof block / sizeof *block, &got, &e);
        heard += got;
        for (size_t i = 0; i < got; i++)
            peak = fmaxf(peak, fabsf(block[i]));
    }
    if (state < 0)
        failed(r, "microphone", &e);
    else if (!heard)
        say(r, ODD, "microphone", "'%s' opens but sent nothing for half a second.", f->device);
    else if (peak == 0)
        say(r, ODD, "microphone", "'%s' (%s, %d Hz, %d channels) gives exact zeros: is it muted?", f->device, f->format, f->rate, f->channels);
    else
        say(r, GOOD, "microphone", "'%s', %s, %d Hz, %d channels, loudest %.0f dB below full scale", f->device, f->format, f->rate,
            f->channels, -20 * log10((double)peak));
}

static void look_at_sound(struct report *r, const char *device)
{
    struct rs_device *d = NULL;
    struct rs_source *s;
    struct rs_err e = {0};
    size_t count = 0, monitors = 0;
    if (rs_source_microphone(&s, device, &e)) {
        failed(r, "microphone", &e);
    } else {
        listen(r, s);
        rs_source_close(s);
    }
    if (rs_devices_list(&d, &count, &e)) {
        failed(r, "devices", &e);
        return;
    }
    for (size_t i = 0; i < count; i++)
        monitors += d[i].is_monitor;
    say(r, count ? GOOD : ODD, "devices", "%zu, of them %zu monitors; 'rec-stt devices' lists them", count, monitors);
    rs_devices_free(d, count);
}

/* Can the folder be written, or be made where it is not there yet? */
static bool writable(const char *path)
{
    char p[PATH_MAX];
    snprintf(p, sizeof p, "%s", path);
    while (access(p, F_OK) && strrchr(p, '/') && p[1])
        *(strrchr(p, '/') == p ? strrchr(p, '/') + 1 : strrchr(p, '/')) = 0;
    return access(p, W_OK | X_OK) == 0;
}

static void look_at_folders(struct report *r)
{
    static const struct { const char *name, *use; int (*path)(char *, size_t, const char *, struct rs_err *); } folders[] = {
        {"runtime", "'stop', 'toggle' and 'status' find the recorder there", rs_path_runtime},
        {"cache", "prepared models are kept there", rs_path_cache},
        {"models", "models put there are found by name", rs_path_data},
    };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[PATH_MAX];
        struct rs_err e = {0};
        if (folders[i].path(path, sizeof path, folders[i].path == rs_path_data ? "models" : "", &e))
            say(r, ODD, folders[i].name, "%s", e.msg);
        else if (!writable(path))
            say(r, ODD, folders[i].name, "'%.400s' cannot be written (%s).", path, folders[i].use);
        else
            say(r, GOOD, folders[i].name, "%.400s", path);
    }
}

static void look_at_sandbox(struct report *r)
{
    struct rs_sandbox s;
    char text[100];
    rs_sandbox_probe(&s);
    if (s.syscalls && s.landlock)
        say(r, GOOD, "confinement", "seccomp and Landlock (version %d)", s.landlock);
    else
        say(r, ODD, "confinement", "this kernel offers %s; the recorder does without the rest",
            rs_sandbox_text(&s, text, sizeof text));
}

static int run(int argc, char **argv)
{
    struct report r = {0};
    const char *device = NULL, *model = NULL;
    const struct rs_opt options[] = {
        {.name = "device", .letter = 'd', .kind = RS_OPT_STRING, .value = &device, .arg = "NAME", .help = "the microphone to try"},
        {.name = "model", .letter = 'm', .kind = RS_OPT_STRING, .value = &model, .arg = "MODEL", .help = "the model to try"},
        {.name = "json", .kind = RS_OPT_FLAG, .value = &r.json, .help = "one JSON object a line: check, state, text"},
        {0},
    };
    struct rs_err e = {0};
    int nargs;
    const int rc = rs_opt_parse(&rs_cmd_doctor, options, argc, argv, &nargs, &e);
    if (rc)
        return rc == RS_OPT_DONE ? 0 : rs_report(&rs_cmd_doctor, &e);
    look_at_cpu(&r);
    look_at_model(&r, model);
    look_at_sound(&r, device);
    look_at_folders(&r);
    look_at_sandbox(&r);
    if (fflush(stdout) || ferror(stdout)) {
        rs_fail(&e, RS_E_STDOUT, "Writing the report failed.");
        return rs_report(&rs_cmd_doctor, &e);
    }
    return r.bad ? rs_exit_status(r.first_code) : 0;
}

const struct rs_cmd rs_cmd_doctor = {
    .name = "doctor",
    .synopsis = "[OPTION]...",
    .summary = "check the engine, the model, the microphone and the folders",
    .details = "Each line says what was found, or what is missing and how to get it. The exit status is 0 when everything that\n"
               "a recording needs is there, else that of the first thing missing (3: the model, 4: the microphone).\n",
    .run = run,
};
