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
    for (size_t i = 0; impl && i < impl->n_more; i++) {
        rs_guard_remove(impl->more[i].data);
        munmap((void *)impl->more[i].data, impl->more[i].size);
    }
    if (impl) {
        rs_arena_free(&impl->strings);
        free(impl->pieces);
        free(impl->more);
    }
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

static uint64_t with(uint64_t h, uint64_t v) { return (h ^ v) * 1099511628211u; }         /* FNV-1a */

static uint64_t stamp_of(const struct stat *st)
{
    return with(with(with(1, (uint64_t)st->st_mtim.tv_sec), (uint64_t)st->st_mtim.tv_nsec), st->st_ino);
}

/* The first bytes of every file, and what stat says of it. */
static uint64_t identify(const struct rs_model_impl *impl)
{
    uint64_t h = 14695981039346656037u;
    for (size_t k = 0; k <= impl->n_more; k++) {
        const struct rs_mapping f = k ? impl->more[k - 1] : (struct rs_mapping){impl->data, impl->size, impl->stamp};
        for (size_t i = 0; i < f.size && i < 65536; i++)
            h = with(h, f.data[i]);
        h = with(with(h, f.size), f.stamp);
    }
    return h;
}

struct rs_model_config rs_model_defaults(void)
{
    return (struct rs_model_config){.att_left = -1, .att_right = -1, .max_symbols = 10, .sample_rate = 16000, .n_fft = 512, .win_length = 400,
                                    .hop_length = 160, .preemphasis = 0.97f, .log_guard = 0x1p-24f, .normalize = true, .activation = "relu"};
}

/* The head is what the tensors are: configurations name heads that the file does not have, and leave out durations. */
static int settle_head(struct rs_model *m, struct rs_err *e)
{
    struct rs_model_config *c = &m->config;
    const struct rs_tensor *joint = rs_model_find(m, "joint.joint_net.2.weight");
    const struct rs_tensor *ctc = rs_model_find(m, joint ? "ctc_decoder.decoder_layers.0.weight" : "decoder.decoder_layers.0.weight");
    const int64_t extra = joint ? joint->shape[0] - m->n_pieces - 1 : 0;
    if (ctc && ctc->shape[0] != m->n_pieces + 1)
        return rs_fail(e, RS_E_MODEL_BAD, "%s has %d tokens, but its CTC head is of another size", m->path, m->n_pieces);
    if (extra < 0 || extra > 16)
        return rs_fail(e, RS_E_MODEL_BAD, "%s has %d tokens, but its decoder is of another size", m->path, m->n_pieces);
    if (extra && c->n_durations && extra != c->n_durations)
        return rs_fail(e, RS_E_MODEL_BAD, "%s names %d durations, but its decoder has %d", m->path, c->n_durations, (int)extra);
    for (int i = 0; i < extra && !c->n_durations; i++)
        c->durations[i] = i;
    c->n_durations = (int)extra;
    return 0;
}

/* A vector of `n` equal values that the file leaves out. */
int rs_model_add_constant(struct rs_model *m, const char *name, int64_t n, float value, struct rs_err *e)
{
    struct rs_tensor t = {.type = RS_F32, .ndim = 1, .shape = {n}, .bytes = (size_t)n * sizeof value};
    float *v = rs_arena_alloc(&((struct rs_model_impl *)m->impl)->strings, (size_t)n, sizeof *v);
    if (!v)
        return rs_fail(e, RS_E_NOMEM, "no memory for the tensors of %s", m->path);
    for (int64_t i = 0; i < n; i++)
        v[i] = value;
    t.data = v;
    return rs_model_add(m, &t, name, strlen(name), e);
}

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* What containers fold: the LSTM's two biases into one, and which of its two names the CTC head has. */
static int complete(struct rs_model *m, struct rs_err *e)
{
    static const char ih[] = "decoder.prediction.dec_rnn.lstm.bias_ih_l", ctc[] = "ctc_decoder.decoder_layers.";
    bool joint = false, both = false;
    for (size_t i = 0; i < m->n_tensors; i++) {
        joint |= begins(m->tensors[i].name, "joint.");
        both |= begins(m->tensors[i].name, "decoder.prediction.dec_rnn.lstm.bias_hh_l");
    }
    const size_t count = m->n_tensors;
    for (size_t i = 0; i < count; i++) {
        const struct rs_tensor *t = &m->tensors[i];
        char hh[sizeof ih + 40];
        if (!joint && begins(t->name, ctc))
            m->tensors[i].name = t->name + 4;         /* without "ctc_" */
        if (both || !begins(t->name, ih) || t->ndim != 1 || strlen(t->name) > sizeof ih + 8)
            continue;
        snprintf(hh, sizeof hh, "decoder.prediction.dec_rnn.lstm.bias_hh_l%s", t->name + sizeof ih - 1);
        const int rc = rs_model_add_constant(m, hh, t->shape[0], 0, e);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_container(struct rs_model *m, struct rs_err *e)
{
    const struct rs_model_impl *impl = m->impl;
    int rc;
    if (!impl->data)
        rc = rs_huggingface_read(m, m->path, e);
    else if (impl->size >= 4 && memcmp(impl->data, "GGUF", 4) == 0)
        rc = rs_gguf_read(m, e);
    else if (impl->size >= 4 && memcmp(impl->data, "lmgg", 4) == 0)
        rc = rs_ggml_bin_read(m, e);
    else if (rs_safetensors_is(impl->data, impl->size))
        rc = rs_safetensors_read(m, e);
    else if (rs_nemo_is(impl->data, impl->size))
        rc = rs_nemo_read(m, e);
    else
        rc = rs_model_unlike(m->path, impl->data, impl->size, e);
    rc = rc ? rc : complete(m, e);
    if (rc)
        return rc;
    if (m->n_tensors)
        qsort(m->tensors, m->n_tensors, sizeof *m->tensors, by_name);
    for (size_t i = 1; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i - 1].name, m->tensors[i].name) == 0)
            return rs_fail(e, RS_E_MODEL_BAD, "%s has two tensors called %s: it is damaged", m->path, m->tensors[i].name);
    return m->config.arch == RS_ARCH_FASTCONFORMER ? settle_head(m, e) : 0;
}

static int finish(struct rs_model **out, struct rs_model *m, struct rs_err *e)
{
    const int rc = read_container(m, e);
    if (rc) {
        rs_model_close(m);
        return rc;
    }
    m->identity = identify(m->impl);
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
    return finish(out, m, e);
}

static int map_file(const char *path, struct rs_mapping *file, struct rs_err *e)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rs_fail(e, errno == ENOENT ? RS_E_MODEL_MISSING : RS_E_IO, "the model %s cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 4) {
        close(fd);
        return rs_fail(e, RS_E_MODEL_BAD, "%s is no model file%s", path, st.st_size ? st.st_size < 4 ? ": it ends after its first bytes" : "" : ": it is empty");
    }
    void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    const int why = errno;
    close(fd);
    if (at == MAP_FAILED)
        return rs_fail(e, RS_E_IO, "the model %s cannot be mapped: %s", path, strerror(why));
    rs_guard_add(at, (size_t)st.st_size);
    *file = (struct rs_mapping){at, (size_t)st.st_size, stamp_of(&st)};
    return 0;
}

int rs_model_map(struct rs_model *m, const char *path, const uint8_t **data, size_t *size, struct rs_err *e)
{
    struct rs_model_impl *impl = m->impl;
    struct rs_mapping file;
    if (!rs_grow((void **)&impl->more, &impl->more_cap, impl->n_more + 1, sizeof *impl->more))
        return rs_fail(e, RS_E_NOMEM, "no memory to open %s", path);
    const int rc = map_file(path, &file, e);
    if (rc)
        return rc;
    *data = file.data;
    *size = file.size;
    impl->more[impl->n_more++] = file;
    return 0;
}

/* A folder, or the safetensors file of one. */
static int open_folder(struct rs_model **out, const char *path, struct rs_err *e)
{
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", path);
    for (size_t n = strlen(folder); n > 1 && folder[n - 1] == '/'; n--)
        folder[n - 1] = '\0';
    struct rs_model *m = fresh(folder, e);
    return m ? finish(out, m, e) : -RS_E_NOMEM;
}

/* Whether a safetensors file lies beside a config.json; `folder` then has the place of both. */
static bool beside_config(const char *path, char *folder, size_t size)
{
    char config[1100];
    const char *end = strrchr(path, '.'), *slash = strrchr(path, '/');
    if (!end || strcmp(end, ".safetensors") != 0)
        return false;
    snprintf(folder, size, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return snprintf(config, sizeof config, "%s/config.json", folder) < (int)sizeof config && access(config, R_OK) == 0;
}

static int open_path(struct rs_model **out, const char *path, struct rs_err *e)
{
    struct stat st;
    char folder[1024];
    struct rs_mapping file;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return open_folder(out, path, e);
    if (beside_config(path, folder, sizeof folder))
        return open_folder(out, folder, e);
    int rc = map_file(path, &file, e);
    if (rc)
        return rc;
    if (memcmp(file.data, "\x1f\x8b", 2) == 0) {
        const struct rs_mapping packed = file;
        rc = rs_model_gunzip(path, packed, &file, e);
        rs_guard_remove(packed.data);
        munmap((void *)packed.data, packed.size);
        if (rc)
            return rc;
    }
    struct rs_model *m = fresh(path, e);
    if (!m) {
        rs_guard_remove(file.data);
        munmap((void *)file.data, file.size);
        return -RS_E_NOMEM;
    }
    *(struct rs_model_impl *)m->impl = (struct rs_model_impl){.data = file.data, .size = file.size, .stamp = file.stamp, .mapped = true};
    return finish(out, m, e);
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
    const bool plain = *name && *name != '.' && !strchr(name, '/');
    if (plain && !rs_path_data(folder, sizeof folder, "models", NULL) && find_in(folder, name, path, size))
        return 0;
    for (size_t i = 0; plain && i < sizeof rs_model_shared / sizeof *rs_model_shared; i++)
        if (find_in(rs_model_shared[i], name, path, size))
            return 0;
    if (own.size && (strcmp(name, "default") == 0 || strcmp(name, "embedded") == 0 || strcmp(name, own.name) == 0)) {
        snprintf(path, size, "embedded");
        return 0;
    }
    if (!plain || access(name, R_OK) == 0) {
        if (snprintf(path, size, "%s", name) < (int)size)
            return 0;
        return rs_fail(e, RS_E_MODEL_MISSING, "the model's path is too long: %.80s…", name);
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
    if (strcmp(path, "embedded") != 0)
        return open_path(out, path, e);
    const int opened = rs_model_open_memory(out, own.data, own.size, own.name, e);
    if (!opened)
        (*out)->identity = own.identity;
    return opened;
}
