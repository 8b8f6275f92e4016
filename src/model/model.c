/* See model.h: finding the file, mapping it, handing it to its container's reader, and looking up tensors. */
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/paths.h"
#include "model/container.h"
#include "model/embedded.h"

const char *const rs_model_shared[2] = {"/usr/local/share/rec-stt/models", "/usr/share/rec-stt/models"};

char *rs_model_string(struct rs_model *m, const char *s, size_t len)
{
    char *to = rs_arena_alloc(&((struct rs_model_impl *)m->impl)->strings, len + 1, 1);
    if (to) {
        memcpy(to, s, len);
        to[len] = '\0';
    }
    return to;
}

int rs_model_add(struct rs_model *m, const struct rs_tensor *t, const char *name, size_t name_len, struct rs_err *e)
{
    struct rs_model_impl *impl = m->impl;
    char *own = rs_model_string(m, name, name_len);
    if (!own || !rs_grow((void **)&m->tensors, &impl->tensor_cap, m->n_tensors + 1, sizeof *m->tensors))
        return rs_fail(e, RS_E_NOMEM, "no memory for the tensors of %s", m->path);
    m->tensors[m->n_tensors] = *t;
    m->tensors[m->n_tensors++].name = own;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rs_tensor *)a)->name, ((const struct rs_tensor *)b)->name);
}

const struct rs_tensor *rs_model_find(const struct rs_model *m, const char *name)
{
    const struct rs_tensor key = {.name = name};
    return m->n_tensors ? bsearch(&key, m->tensors, m->n_tensors, sizeof *m->tensors, by_name) : NULL;
}

static void shape_words(char *to, size_t size, int ndim, const int64_t *shape)
{
    size_t at = 0;
    for (int i = 0; i < ndim && at < size; i++)
        at += (size_t)snprintf(to + at, size - at, shape[i] < 0 ? "%sany" : "%s%lld", i ? "x" : "", (long long)shape[i]);
}

int rs_model_need(const struct rs_model *m, const struct rs_tensor **out, const char *name, int ndim, const int64_t *shape,
                  struct rs_err *e)
{
    const struct rs_tensor *t = rs_model_find(m, name);
    *out = NULL;
    if (!t)
        return rs_fail(e, RS_E_MODEL_BAD, "the model %s lacks the tensor %s: it is damaged or of another kind", m->path, name);
    int has = t->ndim, want = ndim;
    while (has > 1 && t->shape[has - 1] == 1)
        has--;
    while (want > 1 && shape[want - 1] == 1)
        want--;
    bool same = has == want || (has < want && has >= 1);
    for (int i = 0; i < (has > want ? has : want) && same; i++) {
        const int64_t a = i < has ? t->shape[i] : 1, b = i < want ? shape[i] : 1;
        same = b < 0 || a == b;
    }
    if (!same) {
        char is[64] = "", wanted[64] = "";
        shape_words(is, sizeof is, t->ndim, t->shape);
        shape_words(wanted, sizeof wanted, ndim, shape);
        return rs_fail(e, RS_E_MODEL_BAD, "the tensor %s of %s is %s where %s is needed: it is damaged or of another kind", name, m->path,
                       is, wanted);
    }
    *out = t;
    return 0;
}

/* ---- Opening ---- */

void rs_model_close(struct rs_model *m)
{
    if (!m)
        return;
    struct rs_model_impl *impl = m->impl;
    if (impl && impl->mapped) {
        rs_guard_remove(impl->data);
        munmap((void *)impl->data, impl->size);
    }
    if (impl)
        rs_arena_free(&impl->strings);
    if (impl)
        free(impl->pieces);
    free(impl);
    free(m->tensors);
    free(m);
}

static struct rs_model *fresh(const char *path, struct rs_err *e)
{
    struct rs_model *m = rs_zeroed(1, sizeof *m);
    if (m)
        m->impl = rs_zeroed(1, sizeof(struct rs_model_impl));
    if (!m || !m->impl) {
        free(m);
        rs_fail(e, RS_E_NOMEM, "no memory to open %s", path);
        return NULL;
    }
    snprintf(m->path, sizeof m->path, "%s", path);
    const char *base = strrchr(path, '/');
    snprintf(m->name, sizeof m->name, "%.120s", base ? base + 1 : path);
    char *end = strrchr(m->name, '.');
    if (end && (strcmp(end, ".nemo") == 0 || strcmp(end, ".gguf") == 0))
        *end = '\0';
    return m;
}

/* FNV-1a over the file's first bytes, mixed with what stat says. */
static uint64_t identify(const struct rs_model_impl *impl, const struct stat *st)
{
    uint64_t h = 14695981039346656037u;
    const size_t n = impl->size < 65536 ? impl->size : 65536;
    for (size_t i = 0; i < n; i++)
        h = (h ^ impl->data[i]) * 1099511628211u;
    const uint64_t facts[] = {impl->size, st ? (uint64_t)st->st_mtim.tv_sec : 0, st ? (uint64_t)st->st_mtim.tv_nsec : 0, st ? st->st_ino : 0};
    for (int i = 0; i < 4; i++)
        h = (h ^ facts[i]) * 1099511628211u;
    return h;
}

struct rs_model_config rs_model_defaults(void)
{
    return (struct rs_model_config){.att_left = -1, .att_right = -1, .max_symbols = 10, .sample_rate = 16000, .n_fft = 512, .win_length = 400,
                                    .hop_length = 160, .preemphasis = 0.97f, .log_guard = 0x1p-24f, .normalize = true, .activation = "relu"};
}

/* A container that no reader takes: what it seems to be, and what to do. */
static int unknown(const struct rs_model *m, struct rs_err *e)
{
    static const struct { const char *bytes; size_t len; const char *what; } signs[] = {
        {"lmgg", 4, "a ggml file of whisper.cpp, which this program does not read; use a GGUF or .nemo of a Parakeet model"},
        {"version https://git-lfs", 23, "a Git LFS pointer, not the model: run 'git lfs pull' or download the file itself"},
        {"<!DOCTYPE", 9, "a web page, not a model: the download failed"},
        {"<!doctype", 9, "a web page, not a model: the download failed"},
        {"<html", 5, "a web page, not a model: the download failed"},
        {"PK\3\4", 4, "a zip, perhaps a bare PyTorch checkpoint; give the whole .nemo file"},
        {"\x1f\x8b", 2, "compressed with gzip: unpack it with gunzip and give the result"},
        {"\x08", 1, "perhaps an ONNX file, which this program does not read; use a GGUF or .nemo of a Parakeet model"},
        {"{", 1, "a JSON file, not a model"},
    };
    const struct rs_model_impl *impl = m->impl;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (impl->size >= signs[i].len && memcmp(impl->data, signs[i].bytes, signs[i].len) == 0)
            return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is %s", m->path, signs[i].what);
    return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is no model file that this program knows (GGUF, .nemo, safetensors)", m->path);
}

/* The head is what the tensors are: configurations name heads that the file does not have, and leave out durations. */
static int settle_head(struct rs_model *m, struct rs_err *e)
{
    struct rs_model_config *c = &m->config;
    const struct rs_tensor *joint = rs_model_find(m, "joint.joint_net.2.weight");
    const int64_t extra = joint ? joint->shape[0] - m->n_pieces - 1 : 0;
    if (extra < 0 || extra > 16)
        return rs_fail(e, RS_E_MODEL_BAD, "%s has %d tokens, but its decoder is of another size", m->path, m->n_pieces);
    if (extra && c->n_durations && extra != c->n_durations)
        return rs_fail(e, RS_E_MODEL_BAD, "%s names %d durations, but its decoder has %d", m->path, c->n_durations, (int)extra);
    for (int i = 0; i < extra && !c->n_durations; i++)
        c->durations[i] = i;
    c->n_durations = (int)extra;
    return 0;
}

static int read_container(struct rs_model *m, struct rs_err *e)
{
    const struct rs_model_impl *impl = m->impl;
    bool settle = false;
    int rc;
    if (impl->size >= 4 && memcmp(impl->data, "GGUF", 4) == 0)
        rc = rs_gguf_read(m, e);
    else if (rs_safetensors_is(impl->data, impl->size))
        rc = rs_safetensors_read(m, e);
    else if (rs_nemo_is(impl->data, impl->size))
        rc = rs_nemo_read(m, e), settle = true;
    else
        rc = unknown(m, e);
    if (rc)
        return rc;
    if (m->n_tensors)
        qsort(m->tensors, m->n_tensors, sizeof *m->tensors, by_name);
    for (size_t i = 1; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i - 1].name, m->tensors[i].name) == 0)
            return rs_fail(e, RS_E_MODEL_BAD, "%s has two tensors called %s: it is damaged", m->path, m->tensors[i].name);
    return settle ? settle_head(m, e) : 0;
}

static int finish(struct rs_model **out, struct rs_model *m, const struct stat *st, struct rs_err *e)
{
    const int rc = read_container(m, e);
    if (rc) {
        rs_model_close(m);
        return rc;
    }
    m->identity = identify(m->impl, st);
    *out = m;
    return 0;
}

int rs_model_open_memory(struct rs_model **out, const void *data, size_t size, const char *name, struct rs_err *e)
{
    *out = NULL;
    struct rs_model *m = fresh(name, e);
    if (!m)
        return -RS_E_NOMEM;
    struct rs_model_impl *impl = m->impl;
    impl->data = data;
    impl->size = size;
    return finish(out, m, NULL, e);
}

static int open_path(struct rs_model **out, const char *path, struct rs_err *e)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rs_fail(e, errno == ENOENT ? RS_E_MODEL_MISSING : RS_E_IO, "the model %s cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 4) {
        close(fd);
        return rs_fail(e, RS_E_MODEL_BAD, "%s is no model file", path);
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    const int why = errno;
    close(fd);
    if (data == MAP_FAILED)
        return rs_fail(e, RS_E_IO, "the model %s cannot be mapped: %s", path, strerror(why));
    struct rs_model *m = fresh(path, e);
    if (!m) {
        munmap(data, (size_t)st.st_size);
        return -RS_E_NOMEM;
    }
    struct rs_model_impl *impl = m->impl;
    *impl = (struct rs_model_impl){.data = data, .size = (size_t)st.st_size, .mapped = true};
    rs_guard_add(data, impl->size);
    return finish(out, m, &st, e);
}

/* The file of that name in one folder, whatever its container; links are followed, so that a default has its own name. */
static bool find_in(const char *folder, const char *name, char *path, size_t size)
{
    static const char *const ends[] = {"", ".gguf", ".nemo", ".safetensors", ".bin"};
    char at[PATH_MAX], whole[PATH_MAX];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (snprintf(at, sizeof at, "%s/%s%s", folder, name, ends[i]) >= (int)sizeof at || !realpath(at, whole) || access(whole, R_OK))
            continue;
        return snprintf(path, size, "%s", whole) < (int)size;
    }
    return false;
}

int rs_model_locate(const char *name_or_path, char *path, size_t size, struct rs_err *e)
{
    const char *set = getenv("REC_STT_MODEL");
    const char *name = name_or_path ? name_or_path : set && *set ? set : "default";
    const struct rs_embedded own = rs_embedded_model();
    char folder[900];
    if (strchr(name, '/') || access(name, R_OK) == 0) {
        if (snprintf(path, size, "%s", name) < (int)size)
            return 0;
        return rs_fail(e, RS_E_MODEL_MISSING, "the model's path is too long: %.80s…", name);
    }
    if (!rs_path_data(folder, sizeof folder, "models", NULL) && find_in(folder, name, path, size))
        return 0;
    for (size_t i = 0; i < sizeof rs_model_shared / sizeof *rs_model_shared; i++)
        if (find_in(rs_model_shared[i], name, path, size))
            return 0;
    if (own.size && (strcmp(name, "default") == 0 || strcmp(name, "embedded") == 0 || strcmp(name, own.name) == 0)) {
        snprintf(path, size, "embedded");
        return 0;
    }
    return rs_fail(e, RS_E_MODEL_MISSING, "there is no model \"%.120s\": give --model FILE; 'rec-stt model list' lists what is here, 'rec-stt pull --list' what can be fetched",
                   name);
}

int rs_model_open(struct rs_model **out, const char *name_or_path, struct rs_err *e)
{
    char path[1024];
    *out = NULL;
    const int rc = rs_model_locate(name_or_path, path, sizeof path, e);
    if (rc)
        return rc;
    const struct rs_embedded own = rs_embedded_model();
    if (strcmp(path, "embedded") == 0)
        return rs_model_open_memory(out, own.data, own.size, own.name, e);
    return open_path(out, path, e);
}
