/* See gguf_write.h. The file is written in one pass: sizes are known before, tensors are converted a few rows
 * at a time and their source pages given back, so that memory does not grow with the model. */
#include "model/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/guard.h"
#include "model/container.h"

enum { ALIGN = 32, U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, ROOM = 1 << 16 };

struct out {
    FILE *f;
    const struct rs_model *m;
    enum rs_type type;
    uint64_t written, total, keys;
    bool bad;
    int why;                  /* errno of the first failure */
    void (*progress)(void *, uint64_t, uint64_t);
    void *user;
};

static void put(struct out *o, const void *p, size_t n)
{
    if (!o->bad && fwrite(p, 1, n, o->f) != n) {
        o->bad = true;
        o->why = errno;
    }
    o->written += n;
}

static void put_uint(struct out *o, uint64_t v, int bytes)
{
    uint8_t b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    put(o, b, (size_t)bytes);
}

static void put_text(struct out *o, const char *s)
{
    put_uint(o, strlen(s), 8);
    put(o, s, strlen(s));
}

static void key(struct out *o, const char *name, uint32_t type)
{
    o->keys++;
    put_text(o, name);
    put_uint(o, type, 4);
}

static void key_text(struct out *o, const char *name, const char *value) { key(o, name, STRING); put_text(o, value); }
static void key_int(struct out *o, const char *name, uint32_t type, int v) { key(o, name, type); put_uint(o, (uint32_t)v, 4); }
static void key_bool(struct out *o, const char *name, bool v) { key(o, name, BOOL); put_uint(o, v, 1); }

static void key_real(struct out *o, const char *name, double v)
{
    union { float f; uint32_t u; } bits = {.f = (float)v};
    key(o, name, F32);
    put_uint(o, bits.u, 4);
}

static int layers(const struct rs_model *m)
{
    char name[80];
    int n = 0;
    do
        snprintf(name, sizeof name, "encoder.layers.%d.norm_out.weight", n);
    while (rs_model_find(m, name) && ++n < 1000);
    return n;
}

static int extent(const struct rs_model *m, const char *name, int axis)
{
    const struct rs_tensor *t = rs_model_find(m, name);
    return t && axis < t->ndim ? (int)t->shape[axis] : 0;
}

static void put_keys(struct out *o)
{
    const struct rs_model *m = o->m;
    const struct rs_model_config *c = &m->config;
    const bool joint = rs_model_find(m, "joint.joint_net.2.weight");
    key_text(o, "general.architecture", "asr");
    key_text(o, "general.name", m->name);
    key_text(o, "general.license", m->licence);
    key_text(o, "general.language", m->language);
    key_text(o, "asr.head_type", !joint ? "ctc" : c->n_durations ? "tdt" : "rnnt");
    key_int(o, "asr.encoder.n_layers", U32, layers(m));
    key_int(o, "asr.encoder.d_model", U32, extent(m, "encoder.layers.0.norm_out.weight", 0));
    key_int(o, "asr.encoder.n_heads", U32, c->heads ? c->heads : extent(m, "encoder.layers.0.self_attn.pos_bias_u", 0));
    key_int(o, "asr.encoder.offline_left_ctx", I32, c->att_left);
    key_int(o, "asr.encoder.offline_right_ctx", I32, c->att_right);
    key_bool(o, "asr.encoder.xscaling", c->xscaling);
    key_bool(o, "asr.encoder.use_bias", rs_model_find(m, "encoder.layers.0.feed_forward1.linear1.bias"));
    key_text(o, "asr.encoder.att_context_style", "regular");
    key_text(o, "asr.encoder.q8_layout", "block_q8_0");
    key_int(o, "asr.preprocessor.sample_rate", U32, c->sample_rate);
    key_int(o, "asr.preprocessor.n_fft", U32, c->n_fft);
    key_real(o, "asr.preprocessor.window_size", (double)c->win_length / c->sample_rate);
    key_real(o, "asr.preprocessor.window_stride", (double)c->hop_length / c->sample_rate);
    key_real(o, "asr.preprocessor.preemph", (double)c->preemphasis);
    key_real(o, "parakeet.preprocessor.log_zero_guard", (double)c->log_guard);
    key_text(o, "asr.preprocessor.normalize", c->normalize ? "per_feature" : "NA");
    key_int(o, "asr.rnnt.max_symbols_per_step", U32, c->max_symbols);
    key_text(o, "parakeet.joint.activation", c->activation);
    if (rs_model_find(m, "lm.ngrams")) {
        key_real(o, "rec-stt.lm.weight", (double)c->lm_weight);
        key_real(o, "rec-stt.lm.prior", (double)c->lm_prior);
        key_real(o, "rec-stt.lm.bonus", (double)c->lm_bonus);
        key_real(o, "rec-stt.lm.ctc", (double)c->lm_ctc);
        key_real(o, "rec-stt.lm.unknown", (double)c->lm_unknown);
        key_real(o, "rec-stt.lm.neural", (double)c->lm_neural);
        key_real(o, "rec-stt.lm.end", (double)c->lm_end);
    }
    if (c->n_durations) {
        key(o, "asr.tdt.durations", ARRAY);
        put_uint(o, U32, 4);
        put_uint(o, (uint64_t)c->n_durations, 8);
        for (int i = 0; i < c->n_durations; i++)
            put_uint(o, (uint32_t)c->durations[i], 4);
    }
    key_text(o, "asr.tokenizer.type", "sentencepiece_bpe");
    key(o, "asr.tokenizer.vocab", ARRAY);
    put_uint(o, STRING, 4);
    put_uint(o, (uint64_t)m->n_pieces, 8);
    for (int i = 0; i < m->n_pieces; i++)
        put_text(o, m->pieces[i].text);
}

/* ---- Tensors ---- */

/* Matrices that a quantised product may replace; tables, norms and small convolutions stay as they are. */
static enum rs_type type_for(const struct out *o, const struct rs_tensor *t)
{
    static const char *const exact[] = {"embed", "batch_norm", "preprocessor", "pos_bias", "depthwise", "pre_encode.conv", "norm_", "bias"};
    int dims = t->ndim;
    while (dims > 1 && t->shape[dims - 1] == 1)
        dims--;
    if (o->type == RS_TYPE_COUNT || dims != 2 || t->shape[1] % 32 || t->shape[0] < 2)
        return t->type;
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        if (strstr(t->name, exact[i]))
            return t->type;
    return o->type;
}

static int dims_of(const struct rs_tensor *t)
{
    int dims = t->ndim;
    while (dims > 2 && t->shape[dims - 1] == 1 && strstr(t->name, "conv.conv") == NULL && strstr(t->name, "pre_encode") == NULL)
        dims--;
    return dims;
}

static uint64_t bytes_of(const struct out *o, const struct rs_tensor *t)
{
    const int64_t columns = t->shape[dims_of(t) - 1];
    return (uint64_t)(rs_tensor_count(t) / columns) * rs_row_bytes(type_for(o, t), columns);
}

static uint32_t ggml_type(enum rs_type type)
{
    static const uint8_t ids[RS_TYPE_COUNT] = {[RS_F32] = 0, [RS_F16] = 1, [RS_Q4_0] = 2, [RS_Q5_0] = 6, [RS_Q8_0] = 8, [RS_Q4_K] = 12,
                                               [RS_Q5_K] = 13, [RS_Q6_K] = 14, [RS_I8] = 24, [RS_I64] = 27, [RS_BF16] = 30};
    return ids[type];
}

/* NeMo-Speech.cpp's name: lstm.weight_ih_l0 is lstm.ih_l0.weight there. */
static void outer_name(const struct rs_tensor *t, char *to, size_t size)
{
    char kind[8], way[3];
    int layer;
    const char *lstm = strstr(t->name, ".lstm.");
    if (lstm && sscanf(lstm + 6, "%7[a-z]_%2[ih]_l%d", kind, way, &layer) == 3)
        snprintf(to, size, "%.*s.lstm.%s_l%d.%s", (int)(lstm - t->name), t->name, way, layer, kind);
    else
        snprintf(to, size, "%s", strcmp(t->name, "preprocessor.featurizer.fb") ? t->name : "preprocessor.fb");
}

static bool wanted(const struct rs_tensor *t) { return t->type != RS_I64; }

static void put_head(struct out *o, uint64_t keys)
{
    uint64_t count = 0, offset = 0;
    for (size_t i = 0; i < o->m->n_tensors; i++)
        count += wanted(&o->m->tensors[i]);
    put(o, "GGUF", 4);
    put_uint(o, 3, 4);
    put_uint(o, count, 8);
    put_uint(o, keys, 8);
    o->keys = 0;
    put_keys(o);
    for (size_t i = 0; i < o->m->n_tensors; i++) {
        const struct rs_tensor *t = &o->m->tensors[i];
        char name[160];
        if (!wanted(t))
            continue;
        outer_name(t, name, sizeof name);
        put_text(o, name);
        put_uint(o, (uint64_t)dims_of(t), 4);
        for (int d = dims_of(t); d-- > 0;)
            put_uint(o, (uint64_t)t->shape[d], 8);
        put_uint(o, ggml_type(type_for(o, t)), 4);
        put_uint(o, offset, 8);
        offset += (bytes_of(o, t) + ALIGN - 1) / ALIGN * ALIGN;
    }
    o->total = o->written + offset;
}

static void pad(struct out *o)
{
    static const uint8_t zero[ALIGN];
    if (o->written % ALIGN)
        put(o, zero, ALIGN - o->written % ALIGN);
}

/* Source pages of a mapped file are only a cache of it: give them back. */
static void forget(const struct rs_model *m, const struct rs_tensor *t)
{
    const struct rs_model_impl *impl = m->impl;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)t->data + page - 1) / page * page;
    const uintptr_t to = ((uintptr_t)t->data + t->bytes) / page * page;
    bool inside = impl && impl->mapped && from >= (uintptr_t)impl->data && to <= (uintptr_t)impl->data + impl->size;
    for (size_t i = 0; impl && i < impl->n_more && !inside; i++)
        inside = from >= (uintptr_t)impl->more[i].data && to <= (uintptr_t)impl->more[i].data + impl->more[i].size;
    if (inside && from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

static int put_tensor(struct out *o, const struct rs_tensor *t, float *values, uint8_t *coded, struct rs_err *e)
{
    const enum rs_type type = type_for(o, t);
    if (type == t->type) {
        put(o, t->data, t->bytes);
    } else {
        const int64_t columns = t->shape[1], rows = t->shape[0];
        const size_t from = rs_row_bytes(t->type, columns), to = rs_row_bytes(type, columns);
        if (columns > ROOM || columns % rs_type_block(t->type))
            return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "the tensor %s of %s has rows too long to convert", t->name, o->m->path);
        for (int64_t r = 0; r < rows; r++) {
            rs_dequantize(t->type, (const uint8_t *)t->data + (size_t)r * from, values, columns);
            rs_quantize(type, values, coded, columns);
            put(o, coded, to);
        }
    }
    pad(o);
    forget(o->m, t);
    if (o->progress)
        o->progress(o->user, o->written, o->total);
    return o->bad ? rs_fail(e, RS_E_IO, "the model cannot be written: %s", strerror(o->why)) : 0;
}

static int write_all(struct out *o, struct rs_err *e)
{
    float *values = rs_aligned(ROOM, sizeof *values);
    uint8_t *coded = rs_aligned(ROOM, sizeof *values);
    int rc = values && coded ? 0 : rs_fail(e, RS_E_NOMEM, "no memory to write a model");
    if (!rc) {
        put_head(o, 0);                       /* once to count the keys … */
        const uint64_t keys = o->keys;
        o->written = 0;
        o->bad = o->bad || fseeko(o->f, 0, SEEK_SET) != 0;
        put_head(o, keys);                    /* … and once with their number */
        pad(o);
        o->total = (o->total + ALIGN - 1) / ALIGN * ALIGN;
    }
    for (size_t i = 0; i < o->m->n_tensors && !rc; i++)
        if (wanted(&o->m->tensors[i]))
            rc = put_tensor(o, &o->m->tensors[i], values, coded, e);
    if (!rc && (o->bad || fflush(o->f) || fsync(fileno(o->f))))
        rc = rs_fail(e, RS_E_IO, "the model cannot be written: %s", strerror(errno));
    free(values);
    free(coded);
    return rc;
}

int rs_gguf_write(const struct rs_model *m, const char *path, enum rs_type type,
                  void (*progress)(void *user, uint64_t done, uint64_t total), void *user, struct rs_err *e)
{
    char part[1100];
    struct out o = {.m = m, .type = type, .progress = progress, .user = user};
    if (m->config.arch != RS_ARCH_FASTCONFORMER)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is no speech model: only Parakeet models can be imported", m->path);
    snprintf(part, sizeof part, "%s.%ld.part", path, (long)getpid());
    const int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    o.f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!o.f) {
        const int rc = rs_fail(e, RS_E_IO, "%s cannot be written: %s", part, strerror(errno));
        if (fd >= 0) {
            close(fd);
            unlink(part);
        }
        return rc;
    }
    const unsigned lost = rs_guard_hits();
    int rc = write_all(&o, e);
    if (!rc && rs_guard_hits() != lost)           /* what could not be read was zeros */
        rc = rs_fail(e, RS_E_MODEL_BAD, "%s shrank or could not be read while it was imported: nothing was kept", m->path);
    if (fclose(o.f) && !rc)
        rc = rs_fail(e, RS_E_IO, "%s cannot be written: %s", part, strerror(errno));
    if (!rc && rename(part, path))
        rc = rs_fail(e, RS_E_IO, "%s cannot be named %s: %s", part, path, strerror(errno));
    if (rc)
        unlink(part);
    return rc;
}
