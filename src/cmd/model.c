/* rec-stt model: the models at hand, what is in them, and making them rec-stt's own. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asr/asr.h"
#include "base/clock.h"
#include "base/guard.h"
#include "base/paths.h"
#include "cmd/cmd.h"
#include "model/embedded.h"
#include "model/gguf_write.h"
#include "model/model.h"

struct options { bool names, speed; const char *quantize, *output; };

static int folder_of(char *to, size_t size, struct rs_err *e) { return rs_path_data(to, size, "models", e); }

static bool is_model_name(const char *name)
{
    static const char *const ends[] = {".gguf", ".nemo", ".safetensors", ".bin"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(dot, ends[i]) == 0)
            return name[0] != '.';
    return false;
}

/* A model of Hugging Face is a folder with a config.json. */
static void list_model_folder(const char *path, const char *name, const char *chosen, const struct options *o)
{
    char config[1500];
    snprintf(config, sizeof config, "%s/config.json", path);
    if (name[0] == '.' || access(config, R_OK) != 0)
        return;
    if (o->names)
        puts(name);
    else
        printf("%c %-44s   folder     %s\n", strcmp(path, chosen) == 0 ? '*' : ' ', name, path);
}

static void list_folder(const char *folder, const char *chosen, const struct options *o)
{
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[1400];
        struct stat st;
        const char *name = entries[i]->d_name;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        list_model_folder(path, name, chosen, o);
        if (is_model_name(name) && strncmp(name, "default.", 8) != 0 && stat(path, &st) == 0) {
            if (o->names)
                printf("%.*s\n", (int)(strrchr(name, '.') - name), name);
            else
                printf("%c %-44s %8.1f MB  %s\n", strcmp(path, chosen) == 0 ? '*' : ' ', name, (double)st.st_size / 1e6, path);
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static int list(const struct options *o, const char *name, struct rs_err *e)
{
    char folder[900], chosen[1024] = "";
    (void)name;
    int rc = folder_of(folder, sizeof folder, e);
    if (rc)
        return rc;
    rs_model_locate(NULL, chosen, sizeof chosen, NULL);
    list_folder(folder, chosen, o);
    for (size_t i = 0; i < sizeof rs_model_shared / sizeof *rs_model_shared; i++)
        list_folder(rs_model_shared[i], chosen, o);
    const struct rs_embedded own = rs_embedded_model();
    if (own.size && o->names)
        puts(own.name);
    else if (own.size)
        printf("%c %-44s %8.1f MB  in the program itself\n", strcmp(chosen, "embedded") == 0 ? '*' : ' ', own.name, (double)own.size / 1e6);
    return 0;
}

static int show_path(const struct options *o, const char *name, struct rs_err *e)
{
    char path[1024];
    (void)o;
    const int rc = rs_model_locate(name, path, sizeof path, e);
    if (!rc)
        puts(path);
    return rc;
}

/* ---- What is in it ---- */

static void say_heads(const struct rs_model *m)
{
    const bool joint = rs_model_find(m, "joint.joint_net.2.weight"), pure = rs_model_find(m, "decoder.decoder_layers.0.weight");
    printf("heads         %s%s\n", joint ? m->config.n_durations ? "tdt" : "rnnt" : "",
           rs_model_find(m, "ctc_decoder.decoder_layers.0.weight") ? " ctc" : pure ? "ctc" : "");
}

static int say_speed(const char *name, struct rs_err *e)
{
    struct rs_asr *a;
    struct rs_transcript t = {0};
    const struct rs_asr_options options = {.model = name};
    enum { SECONDS = 4 };
    float *noise = calloc(SECONDS * RS_SAMPLE_RATE, sizeof *noise);
    int rc = noise ? rs_asr_open(&a, &options, e) : rs_fail(e, RS_E_NOMEM, "no memory for a measurement");
    if (!rc) {
        for (int i = 0; i < SECONDS * RS_SAMPLE_RATE; i++)
            noise[i] = 1e-3f * (float)((i * 7919) % 2001 - 1000) / 1000;
        rc = rs_asr_run(a, noise, SECONDS * RS_SAMPLE_RATE, &t, e);
        const int64_t begin = rs_now_ns();
        rc = rc ? rc : rs_asr_run(a, noise, SECONDS * RS_SAMPLE_RATE, &t, e);
        if (!rc)
            printf("speed         %.0f times faster than speech on this machine (%d s of noise, measured, %s)\n",
                   SECONDS * 1000 / rs_ms(rs_now_ns() - begin), SECONDS, rs_asr_facts(a)->backend);
        rs_transcript_free(&t);
        rs_asr_close(a);
    }
    free(noise);
    return rc;
}

static int info(const struct options *o, const char *name, struct rs_err *e)
{
    struct rs_model *m;
    size_t bytes[RS_TYPE_COUNT] = {0}, all = 0;
    int64_t values = 0;
    const int rc = rs_model_open(&m, name, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < m->n_tensors; i++) {
        bytes[m->tensors[i].type] += m->tensors[i].bytes;
        all += m->tensors[i].bytes;
        values += rs_type_whole(m->tensors[i].type) ? 0 : rs_tensor_count(&m->tensors[i]);
    }
    const bool asr = m->config.arch == RS_ARCH_FASTCONFORMER;
    printf("name          %s\npath          %s\ncontainer     %s\narchitecture  %s\n", m->name, m->path, m->container,
           asr ? "FastConformer" : "Silero voice detector");
    if (asr)
        say_heads(m);
    printf("values        %.1f million in %zu tensors\ntypes        ", (double)values / 1e6, m->n_tensors);
    for (int t = 0; t < RS_TYPE_COUNT; t++)
        if (bytes[t])
            printf(" %s %.1f MB", rs_type_name((enum rs_type)t), (double)bytes[t] / 1e6);
    printf("\ntokens        %d\nlanguage      %s\nlicence       %s\n", m->n_pieces, *m->language ? m->language : "auto",
           *m->licence ? m->licence : "not stated");
    printf("memory        about %.0f MB while it works (mapped weights, a packed copy, and room for 15 s of sound)\n", (double)all / 1e6 * 2 + 60);
    rs_model_close(m);
    return asr && o->speed ? say_speed(name, e) : 0;
}

/* Every number is looked at, and the recogniser must accept the whole. */
static int verify(const struct options *o, const char *name, struct rs_err *e)
{
    struct rs_model *m;
    struct rs_asr *a = NULL;
    const unsigned lost = rs_guard_hits();
    int rc = rs_model_open(&m, name, e);
    (void)o;
    if (rc)
        return rc;
    for (size_t i = 0; i < m->n_tensors && !rc; i++) {
        const struct rs_tensor *t = &m->tensors[i];
        const int block = rs_type_block(t->type);
        float v[256];
        for (int64_t at = 0; !rs_type_whole(t->type) && at < rs_tensor_count(t) && !rc; at += block) {
            rs_dequantize(t->type, (const uint8_t *)t->data + (size_t)(at / block) * rs_type_bytes(t->type), v, block);
            for (int k = 0; k < block && !rc; k++)
                if (!isfinite(v[k]))
                    rc = rs_fail(e, RS_E_MODEL_BAD, "the tensor %s of %s holds values that are no numbers: fetch the model again", t->name, m->path);
        }
    }
    if (!rc && rs_guard_hits() != lost)
        rc = rs_fail(e, RS_E_MODEL_BAD, "parts of %s cannot be read: fetch the model again", m->path);
    const struct rs_asr_options options = {.model = name};
    if (!rc && m->config.arch == RS_ARCH_FASTCONFORMER) {
        rc = rs_asr_open(&a, &options, e);
        rc = rc ? rc : rs_asr_verify_packed(a, e);
        rs_asr_close(a);
    }
    if (!rc)
        printf("%s: good\n", m->name);
    rs_model_close(m);
    return rc;
}

/* ---- Changing what is at hand ---- */

static int point_default(const char *folder, const char *path, struct rs_err *e)
{
    char link[1000], part[1040];
    snprintf(link, sizeof link, "%s/default", folder);
    snprintf(part, sizeof part, "%s.%ld.part", link, (long)getpid());
    int rc = rs_make_parents(link, e);
    if (!rc && (symlink(path, part) || rename(part, link))) {
        rc = rs_fail(e, RS_E_IO, "%s cannot be made: %s", link, strerror(errno));
        unlink(part);
    }
    return rc;
}

static int set_default(const struct options *o, const char *name, struct rs_err *e)
{
    char folder[900], path[1024], whole[PATH_MAX];
    struct rs_model *m;
    int rc = folder_of(folder, sizeof folder, e);
    if (rc || !name)
        return rc ? rc : show_path(o, "default", e);
    rc = rs_model_locate(name, path, sizeof path, e);
    rc = rc ? rc : rs_model_open(&m, name, e);
    if (rc)
        return rc;
    const bool speech = m->config.arch == RS_ARCH_FASTCONFORMER;
    rs_model_close(m);
    if (!speech)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is a voice detector: give it to --vad", path);
    if (strcmp(path, "embedded") == 0) {
        snprintf(path, sizeof path, "%s/default", folder);
        if (unlink(path) && errno != ENOENT)
            return rs_fail(e, RS_E_IO, "%s cannot be removed: %s", path, strerror(errno));
        return 0;
    }
    if (!realpath(path, whole))
        return rs_fail(e, RS_E_IO, "%s cannot be found: %s", path, strerror(errno));
    return point_default(folder, whole, e);
}

/* Only a file in the person's own folder; the default goes with the model it named. */
static int remove_model(const struct options *o, const char *name, struct rs_err *e)
{
    char folder[900], whole[PATH_MAX], given[1024], path[PATH_MAX], link[1000], to[PATH_MAX];
    (void)o;
    int rc = folder_of(folder, sizeof folder, e);
    rc = rc ? rc : rs_model_locate(name, given, sizeof given, e);
    if (rc)
        return rc;
    if (strcmp(given, "embedded") == 0)
        return rs_fail(e, RS_E_USAGE, "%s is a part of the program and cannot be removed", name);
    if (!realpath(given, path))
        return rs_fail(e, RS_E_MODEL_MISSING, "%s cannot be found: %s", given, strerror(errno));
    const size_t n = realpath(folder, whole) ? strlen(whole) : 0;
    if (!n || strncmp(path, whole, n) != 0 || path[n] != '/' || strchr(path + n + 1, '/'))
        return rs_fail(e, RS_E_USAGE, "%s is not in %s: remove it yourself", given, folder);
    snprintf(link, sizeof link, "%s/default", folder);
    const bool chosen = realpath(link, to) && strcmp(to, path) == 0;
    if (unlink(path))
        return rs_fail(e, RS_E_IO, "%s cannot be removed: %s", path, strerror(errno));
    if (chosen)
        unlink(link);
    printf("removed %s\n", path);
    return 0;
}

static void show_progress(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    if (isatty(2))
        fprintf(stderr, "\r%3.0f %% of %.0f MB%s", 100.0 * (double)done / (double)total, (double)total / 1e6, done == total ? "\n" : "");
}

static int import(const struct options *o, const char *name, struct rs_err *e)
{
    char folder[900], path[1200], leaf[200];
    struct rs_model *m;
    int rc = folder_of(folder, sizeof folder, e);
    rc = rc ? rc : rs_model_open(&m, name, e);
    if (rc)
        return rc;
    const enum rs_type type = !o->quantize ? RS_TYPE_COUNT : o->quantize[0] == 'f' ? RS_F16 : o->quantize[1] == '8' ? RS_Q8_0 : RS_Q4_0;
    const char *base = strrchr(m->path, '/');
    snprintf(leaf, sizeof leaf, "%.120s", base ? base + 1 : m->path);
    if (is_model_name(leaf))
        *strrchr(leaf, '.') = '\0';
    if (o->quantize)
        snprintf(leaf + strlen(leaf), sizeof leaf - strlen(leaf), "-%s", o->quantize);
    if (o->output && strchr(o->output, '/'))
        snprintf(path, sizeof path, "%s", o->output);
    else if (o->output && is_model_name(o->output))
        snprintf(path, sizeof path, "%s/%.120s", folder, o->output);
    else
        snprintf(path, sizeof path, "%s/%.120s.gguf", folder, o->output ? o->output : leaf);
    rc = rs_make_parents(path, e);
    rc = rc ? rc : rs_gguf_write(m, path, type, show_progress, NULL, e);
    rs_model_close(m);
    if (!rc)
        puts(path);
    return rc;
}

static int prepare(const struct options *o, const char *name, struct rs_err *e)
{
    struct rs_asr *a;
    const char *path = "";
    const struct rs_asr_options options = {.model = name};
    (void)o;
    int rc = rs_asr_open(&a, &options, e);
    if (rc)
        return rc;
    rc = rs_asr_keep_packed(a, &path, e);
    if (!rc)
        puts(*path ? path : "nothing to keep: this backend uses the weights as they are");
    rs_asr_close(a);
    return rc;
}

static int run(int argc, char **argv)
{
    static const struct { const char *word; int (*act)(const struct options *, const char *, struct rs_err *); bool needs; } acts[] = {
        {"list", list, false}, {"info", info, false}, {"path", show_path, false}, {"import", import, true}, {"verify", verify, false},
        {"remove", remove_model, true}, {"default", set_default, false}, {"prepare", prepare, false},
    };
    struct options o = {0};
    const struct rs_opt options[] = {
        {.name = "names", .kind = RS_OPT_FLAG, .value = &o.names, .help = "list: names only, one a line"},
        {.name = "speed", .kind = RS_OPT_FLAG, .value = &o.speed, .help = "info: also measure the speed on this machine"},
        {.name = "quantize", .kind = RS_OPT_CHOICE, .value = &o.quantize, .arg = "q8|q4|f16", .choices = "q8|q4|f16",
         .help = "import: store matrices so (default: as they are)"},
        {.name = "output", .letter = 'o', .kind = RS_OPT_STRING, .value = &o.output, .arg = "NAME",
         .help = "import: the new model's name, or a path"},
        {0},
    };
    struct rs_err e = {0};
    int nargs;
    const int parsed = rs_opt_parse(&rs_cmd_model, options, argc, argv, &nargs, &e);
    if (parsed)
        return parsed == RS_OPT_DONE ? 0 : rs_report(&rs_cmd_model, &e);
    const char *word = nargs ? argv[1] : "list", *name = nargs > 1 ? argv[2] : NULL;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(acts[i].word, word) != 0)
            continue;
        if (acts[i].needs && !name)
            rs_fail(&e, RS_E_USAGE, "'model %s' needs the name of a model", word);
        else if (acts[i].act == list && name)
            rs_fail(&e, RS_E_USAGE, "'model list' takes no name: 'model info %.60s' looks into one", name);
        else
            acts[i].act(&o, name, &e);
        if (!e.code && (fflush(stdout) || ferror(stdout)))
            rs_fail(&e, RS_E_STDOUT, "the answer cannot be written");
        return e.code ? rs_report(&rs_cmd_model, &e) : 0;
    }
    rs_fail(&e, RS_E_USAGE, "'model' knows list, info, path, import, verify, remove, default and prepare, not '%.60s'", word);
    return rs_report(&rs_cmd_model, &e);
}

const struct rs_cmd rs_cmd_model = {
    .name = "model",
    .synopsis = "list|info|path|import|verify|remove|default|prepare [OPTION]... [MODEL]",
    .summary = "the models at hand: list, look into, convert, choose",
    .details = "MODEL is a file or the name of one in the models folder; without it the default is meant.\n"
               "import writes any readable model as rec-stt's own GGUF; default NAME makes a model the default\n"
               "('default embedded' goes back to the one in the program); prepare packs the weights for this CPU.\n",
    .max_args = 2,
    .run = run,
};
