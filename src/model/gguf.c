/* GGUF files (ggml's container, versions 2 and 3) of the five converters that write Parakeet: NVIDIA's
 * NeMo-Speech.cpp, parakeet.cpp, CrispASR, transcribe.cpp and qvac-fabric-speech.cpp. They differ in their keys and
 * in tensor names (names.c); everywhere here a list of keys means: the first that is there.
 * Layout: ggml-org/ggml include/gguf.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/container.h"
#include "model/cursor.h"
#include "model/names.h"

enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64, T_COUNT };

static const uint8_t value_bytes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct text { const char *s; size_t len; };
struct value { struct text key; uint32_t type, element; uint64_t count; const uint8_t *at; };
struct file {
    struct rs_model *m;
    struct rs_cursor c;
    struct value *values;
    size_t n_values, cap;
    uint64_t alignment;
    enum rs_naming naming;
    struct rs_err *e;
};

static struct text read_text(struct rs_cursor *c)
{
    const uint64_t len = rs_cursor_u64(c);
    const char *s = (const char *)rs_cursor_bytes(c, len);
    return (struct text){s ? s : "", s ? (size_t)len : 0};
}

static int damaged(struct file *f, const char *what)
{
    return rs_fail(f->e, RS_E_MODEL_BAD, "%s is damaged: %s; fetch the model again", f->m->path, what);
}

/* ---- Keys and values ---- */

static void skip_value(struct rs_cursor *c, struct value *v)
{
    v->at = c->at;
    if (v->type == T_STRING) {
        read_text(c);
    } else if (v->type == T_ARRAY) {
        v->element = rs_cursor_u32(c);
        v->count = rs_cursor_u64(c);
        v->at = c->at;
        c->bad |= v->element >= T_COUNT || v->element == T_ARRAY;
        for (uint64_t i = 0; !c->bad && v->element == T_STRING && i < v->count; i++)
            read_text(c);
        if (!c->bad && v->element != T_STRING) {
            c->bad |= v->count > UINT32_MAX;
            rs_cursor_bytes(c, v->count * value_bytes[v->element]);
        }
    } else if (v->type < T_COUNT) {
        rs_cursor_bytes(c, value_bytes[v->type]);
    } else {
        c->bad = true;
    }
}

static int read_values(struct file *f, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct value v = {.key = read_text(&f->c)};
        v.type = rs_cursor_u32(&f->c);
        skip_value(&f->c, &v);
        if (f->c.bad)
            return damaged(f, "its settings run past the end of the file");
        if (!rs_grow((void **)&f->values, &f->cap, f->n_values + 1, sizeof *f->values))
            return rs_fail(f->e, RS_E_NOMEM, "no memory for the settings of %s", f->m->path);
        f->values[f->n_values++] = v;
    }
    return 0;
}

/* The value under the first key of the list (separated by spaces) that is there. */
static const struct value *find(const struct file *f, const char *keys)
{
    while (*keys) {
        const size_t len = strcspn(keys, " ");
        for (size_t i = 0; i < f->n_values; i++)
            if (f->values[i].key.len == len && memcmp(f->values[i].key.s, keys, len) == 0)
                return &f->values[i];
        keys += len + (keys[len] == ' ');
    }
    return NULL;
}

static double number_at(const uint8_t *at, uint32_t type)
{
    struct rs_cursor c = {at, at + value_bytes[type], false};
    const uint64_t u = rs_cursor_uint(&c, value_bytes[type]);
    union { uint32_t u; float f; } single = {.u = (uint32_t)u};
    union { uint64_t u; double d; } wide = {.u = u};
    switch (type) {
    case T_I8: return (int8_t)u;
    case T_I16: return (int16_t)u;
    case T_I32: return (int32_t)u;
    case T_I64: return (double)(int64_t)u;
    case T_F32: return single.f;
    case T_F64: return wide.d;
    default: return (double)u;
    }
}

/* The number there, or `otherwise`; numbers beyond ±2^30 and NaN count as absent. */
static double number(const struct file *f, const char *keys, double otherwise)
{
    const struct value *v = find(f, keys);
    if (!v || v->type >= T_COUNT || !value_bytes[v->type])
        return otherwise;
    const double d = number_at(v->at, v->type);
    return fabs(d) < 0x1p30 ? d : otherwise;
}

static struct text string(const struct file *f, const char *keys)
{
    const struct value *v = find(f, keys);
    if (!v || v->type != T_STRING)
        return (struct text){"", 0};
    struct rs_cursor c = {v->at, f->c.end, false};
    return read_text(&c);
}

static bool is(struct text t, const char *word)
{
    return t.len == strlen(word) && memcmp(t.s, word, t.len) == 0;
}

static void copy(char *to, size_t size, struct text t)
{
    const size_t n = t.len < size ? t.len : size - 1;
    memcpy(to, t.s, n);
    to[n] = '\0';
}

/* ---- Configuration ---- */

static void read_durations(struct file *f)
{
    const struct value *v = find(f, "asr.tdt.durations parakeet.tdt.durations stt.parakeet.tdt.durations parakeet.tdt_durations");
    if (!v || v->type != T_ARRAY || v->count > 16 || v->element == T_STRING)
        return;
    struct rs_model_config *c = &f->m->config;
    for (uint64_t i = 0; i < v->count; i++) {
        const double d = number_at(v->at + i * value_bytes[v->element], v->element);
        c->durations[i] = d >= 0 && d < 1000 ? (int)d : -1;
    }
    c->n_durations = (int)v->count;
}

/* Whose file it is, by what only they write. */
static int read_dialect(struct file *f)
{
    static const struct { const char *key; enum rs_naming naming; const char *who; } dialects[] = {
        {"parakeet.arch", RS_NAMES_NEMO, "parakeet.cpp"},
        {"stt.parakeet.head_kind", RS_NAMES_TRANSCRIBE, "transcribe.cpp"},
        {"parakeet.model.type", RS_NAMES_QVAC, "qvac-fabric"},
        {"parakeet.d_model", RS_NAMES_CRISPASR, "CrispASR"},
    };
    struct rs_model *m = f->m;
    const struct text arch = string(f, "general.architecture");
    const char *who = NULL;
    if (is(arch, "silero-vad")) {
        m->config.arch = RS_ARCH_SILERO_VAD;
        who = "silero";
    } else if (is(arch, "asr")) {
        f->naming = RS_NAMES_NEMO_SPEECH;
        who = "nemo-speech";
    }
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects && !who; i++)
        if (find(f, dialects[i].key)) {
            f->naming = dialects[i].naming;
            who = dialects[i].who;
        }
    if (!who)
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s holds a model of architecture \"%.*s\"%s; this program runs Parakeet (FastConformer) models",
                       m->path, (int)(arch.len < 60 ? arch.len : 60), arch.s, is(arch, "whisper") ? " (a Whisper model)" : "");
    snprintf(m->container, sizeof m->container, "gguf (%.16s)", who);
    return 0;
}

/* Seconds as samples; what makes no sense becomes -1 and is refused by the front end. */
static double samples(const struct file *f, const char *key, double otherwise)
{
    const double n = number(f, key, otherwise) * f->m->config.sample_rate;
    return n > 0 && n < 1e6 ? (double)lround(n) : -1;
}

static int read_config(struct file *f)
{
    struct rs_model *m = f->m;
    struct rs_model_config *c = &m->config;
    const int rc = read_dialect(f);
    if (rc)
        return rc;
    const struct text style = string(f, "asr.encoder.att_context_style parakeet.encoder.att_context_style stt.parakeet.encoder.att_context_style");
    copy(m->licence, sizeof m->licence, string(f, "general.license"));
    copy(m->language, sizeof m->language, string(f, "general.language rec-stt.language"));
    if (style.len && !is(style, "regular"))
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s is a streaming model (attention \"%.*s\"); use an offline Parakeet model", m->path,
                       (int)(style.len < 60 ? style.len : 60), style.s);
    if (find(f, "asr.encoder.q8_layout") && !is(string(f, "asr.encoder.q8_layout"), "block_q8_0"))
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s keeps its int8 weights in an order made for another device; use the plain q8_0 file", m->path);
    c->xscaling = number(f, "asr.encoder.xscaling parakeet.encoder.xscaling stt.parakeet.encoder.xscaling parakeet.xscaling", 0) != 0;
    c->heads = (int)number(f, "asr.encoder.n_heads parakeet.encoder.n_heads stt.parakeet.encoder.n_heads parakeet.n_heads", 0);
    c->att_left = (int)number(f, "asr.encoder.offline_left_ctx parakeet.encoder.att_context_left stt.parakeet.encoder.att_context_left "
                                 "parakeet.encoder.att_context_size_left parakeet.att_context_left", -1);
    c->att_right = (int)number(f, "asr.encoder.offline_right_ctx parakeet.encoder.att_context_right stt.parakeet.encoder.att_context_right "
                                  "parakeet.encoder.att_context_size_right parakeet.att_context_right", -1);
    c->max_symbols = (int)number(f, "asr.rnnt.max_symbols_per_step parakeet.decoding.max_symbols stt.parakeet.tdt.max_symbols", 10);
    c->sample_rate = (int)number(f, "asr.preprocessor.sample_rate parakeet.preprocessor.sample_rate stt.frontend.sample_rate "
                                    "parakeet.preproc.sample_rate parakeet.sample_rate", 16000);
    c->n_fft = (int)number(f, "asr.preprocessor.n_fft parakeet.preprocessor.n_fft stt.frontend.n_fft parakeet.preproc.n_fft parakeet.n_fft", 512);
    c->win_length = (int)number(f, "parakeet.preprocessor.win_length stt.frontend.win_length parakeet.preproc.win_length parakeet.win_length",
                                samples(f, "asr.preprocessor.window_size", 0.025));
    c->hop_length = (int)number(f, "parakeet.preprocessor.hop_length stt.frontend.hop_length parakeet.preproc.hop_length parakeet.hop_length",
                                samples(f, "asr.preprocessor.window_stride", 0.01));
    c->preemphasis = (float)number(f, "asr.preprocessor.preemph parakeet.preprocessor.preemph stt.frontend.pre_emphasis parakeet.preproc.preemph", 0.97);
    c->log_guard = (float)number(f, "parakeet.preprocessor.log_zero_guard parakeet.preproc.log_zero_guard_value", 0x1p-24);
    const struct text normalize = string(f, "asr.preprocessor.normalize parakeet.preprocessor.normalize stt.frontend.normalize parakeet.preproc.normalize");
    c->normalize = normalize.len == 0 || is(normalize, "per_feature");
    c->lm_weight = (float)number(f, "rec-stt.lm.weight", 0);
    c->lm_prior = (float)number(f, "rec-stt.lm.prior", 0);
    c->lm_bonus = (float)number(f, "rec-stt.lm.bonus", 0);
    c->lm_ctc = (float)number(f, "rec-stt.lm.ctc", 0);
    c->lm_unknown = (float)number(f, "rec-stt.lm.unknown", 0);
    c->lm_neural = (float)number(f, "rec-stt.lm.neural", 0);
    c->lm_end = (float)number(f, "rec-stt.lm.end", 0);
    const struct text activation = string(f, "parakeet.joint.activation stt.parakeet.joint.activation");
    copy(c->activation, sizeof c->activation, activation.len ? activation : (struct text){"relu", 4});
    read_durations(f);
    return 0;
}

/* SentencePiece's kind of token i, where the file tells. */
static uint8_t kind_of(const struct value *kinds, uint64_t i)
{
    if (!kinds || kinds->type != T_ARRAY || kinds->element == T_STRING || i >= kinds->count)
        return 1;
    const double d = number_at(kinds->at + i * value_bytes[kinds->element], kinds->element);
    return d >= 1 && d <= 6 ? (uint8_t)d : 1;
}

static int read_pieces(struct file *f)
{
    const struct value *v = find(f, "asr.tokenizer.vocab parakeet.tokenizer.pieces tokenizer.ggml.tokens");
    const struct value *kinds = find(f, "tokenizer.ggml.token_type");
    struct rs_model *m = f->m;
    if (!v)
        return m->config.arch == RS_ARCH_FASTCONFORMER ? damaged(f, "it has no list of tokens") : 0;
    if (v->type != T_ARRAY || v->element != T_STRING || v->count > 1 << 20)
        return damaged(f, "its list of tokens is no list of words");
    struct rs_cursor c = {v->at, f->c.end, false};
    m->pieces = rs_arena_alloc(&((struct rs_model_impl *)m->impl)->strings, (size_t)v->count + 1, sizeof *m->pieces);
    if (!m->pieces)
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", m->path);
    for (uint64_t i = 0; i < v->count; i++) {
        const struct text t = read_text(&c);
        if (t.len > UINT16_MAX)
            return damaged(f, "a token is longer than any word");
        const char *s = rs_model_string(m, t.s, t.len);
        if (!s)
            return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", m->path);
        m->pieces[i] = (struct rs_piece){s, (uint16_t)t.len, kind_of(kinds, i)};
    }
    m->n_pieces = (int)v->count;
    const double blank = number(f, "tokenizer.ggml.blank_token_id", -1);      /* listed as a token by some */
    if (blank >= 0 && blank == m->n_pieces - 1)
        m->n_pieces--;
    return 0;
}

/* ---- Tensors ---- */

static bool type_of(uint32_t ggml, enum rs_type *type)
{
    static const struct { uint32_t ggml; enum rs_type type; } known[] = {
        {0, RS_F32}, {1, RS_F16}, {2, RS_Q4_0}, {6, RS_Q5_0}, {8, RS_Q8_0}, {12, RS_Q4_K}, {13, RS_Q5_K}, {14, RS_Q6_K},
        {24, RS_I8}, {27, RS_I64}, {30, RS_BF16}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].ggml == ggml) {
            *type = known[i].type;
            return true;
        }
    return false;
}

static int read_tensor(struct file *f, struct rs_tensor *t, struct text *name, uint64_t *offset)
{
    *name = read_text(&f->c);
    const uint32_t dims = rs_cursor_u32(&f->c);
    int64_t values = 1;
    *t = (struct rs_tensor){.ndim = (int)dims};
    if (f->c.bad || dims < 1 || dims > 4 || name->len == 0 || name->len > 120 || memchr(name->s, '\0', name->len))
        return damaged(f, "a tensor's description makes no sense");
    for (uint32_t i = dims; i-- > 0;) {
        const uint64_t n = rs_cursor_u64(&f->c);
        if (n < 1 || n > INT32_MAX || __builtin_mul_overflow(values, (int64_t)n, &values))
            return damaged(f, "a tensor has an impossible size");
        t->shape[i] = (int64_t)n;
    }
    const uint32_t type = rs_cursor_u32(&f->c);
    *offset = rs_cursor_u64(&f->c);
    if (f->c.bad)
        return damaged(f, "its list of tensors runs past the end of the file");
    if (!type_of(type, &t->type))
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "the tensor %.*s of %s is stored as ggml type %u, which this program does not read "
                       "(f32, f16, bf16, q8_0, q4_0, q5_0, q4_k, q5_k, q6_k are known)", (int)name->len, name->s, f->m->path, type);
    if (t->shape[dims - 1] % rs_type_block(t->type))
        return damaged(f, "a tensor's rows are no whole number of blocks");
    const size_t row = rs_row_bytes(t->type, t->shape[dims - 1]);
    if (!rs_mul_ok(row, (size_t)(values / t->shape[dims - 1]), &t->bytes))
        return damaged(f, "a tensor has an impossible size");
    return 0;
}

struct placed { struct rs_tensor t; struct text name; uint64_t offset; };

static int read_tensors(struct file *f, uint64_t count)
{
    const size_t left = (size_t)(f->c.end - f->c.at);
    if (count > left / 24)                    /* what a description takes at least */
        return damaged(f, "its list of tensors runs past the end of the file");
    struct placed *list = rs_zeroed((size_t)count + 1, sizeof *list);
    int rc = list ? 0 : rs_fail(f->e, RS_E_NOMEM, "no memory for the tensors of %s", f->m->path);
    for (uint64_t i = 0; i < count && !rc; i++)
        rc = read_tensor(f, &list[i].t, &list[i].name, &list[i].offset);
    const struct rs_model_impl *impl = f->m->impl;
    const uint64_t head = (uint64_t)(f->c.at - impl->data), start = (head + f->alignment - 1) / f->alignment * f->alignment;
    uint64_t all = 0;
    for (uint64_t i = 0; i < count && !rc; i++) {
        struct placed *p = &list[i];
        char name[160];
        if (p->offset % f->alignment || start > impl->size || p->offset > impl->size - start || p->t.bytes > impl->size - start - p->offset) {
            rc = rs_fail(f->e, RS_E_MODEL_BAD, "%s ends before its tensor %.*s does: it was not fetched whole", f->m->path,
                         (int)p->name.len, p->name.s);
            break;
        }
        all += p->t.bytes;
        if (all > impl->size - start) {         /* a small file must not ask for endless packed weights */
            rc = damaged(f, "its tensors lie in each other");
            break;
        }
        p->t.data = impl->data + start + p->offset;
        const size_t len = rs_canonical_name(f->naming, p->name.s, p->name.len, name, sizeof name);
        rc = len ? rs_model_add(f->m, &p->t, name, len, f->e) : damaged(f, "a tensor's description makes no sense");
    }
    free(list);
    return rc;
}

/* A batch norm that was folded to x·scale + shift: mean 0, variance 1 (less what the formula adds to it). */
static int unfold_norms(struct file *f)
{
    static const char end[] = ".conv.batch_norm.weight";
    const size_t count = f->m->n_tensors;
    int rc = 0;
    for (size_t i = 0; i < count && !rc; i++) {
        const struct rs_tensor t = f->m->tensors[i];
        const size_t len = strlen(t.name);
        char name[180];
        if (len < sizeof end || strcmp(t.name + len - sizeof end + 1, end) != 0 || t.ndim != 1)
            continue;
        snprintf(name, sizeof name, "%.*s.running_mean", (int)len - 7, t.name);
        rc = rs_model_add_constant(f->m, name, t.shape[0], 0, f->e);
        snprintf(name, sizeof name, "%.*s.running_var", (int)len - 7, t.name);
        rc = rc ? rc : rs_model_add_constant(f->m, name, t.shape[0], 1 - 1e-5f, f->e);
    }
    return rc;
}

int rs_gguf_read(struct rs_model *m, struct rs_err *e)
{
    const struct rs_model_impl *impl = m->impl;
    struct file f = {.m = m, .c = {impl->data, impl->data + impl->size, false}, .e = e};
    rs_cursor_u32(&f.c);
    const uint32_t version = rs_cursor_u32(&f.c);
    const uint64_t tensors = rs_cursor_u64(&f.c), values = rs_cursor_u64(&f.c);
    if (f.c.bad)
        return damaged(&f, "it ends within its first 24 bytes");
    if (version != 2 && version != 3)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is GGUF version %u; versions 2 and 3 are known", m->path, version);
    int rc = read_values(&f, values);
    if (!rc) {
        f.alignment = (uint64_t)number(&f, "general.alignment", 32);
        const struct text name = string(&f, "general.name");
        if (name.len)
            copy(m->name, sizeof m->name, name);
        if (f.alignment < 1 || f.alignment > 65536)
            rc = damaged(&f, "its alignment makes no sense");
    }
    rc = rc ? rc : read_config(&f);
    rc = rc ? rc : read_pieces(&f);
    rc = rc ? rc : read_tensors(&f, tensors);
    rc = rc || f.naming != RS_NAMES_QVAC ? rc : unfold_norms(&f);
    free(f.values);
    return rc;
}
