/* .nemo: a tar of model_config.yaml, model_weights.ckpt (a PyTorch zip of stored records and one pickle) and the
 * SentencePiece tokenizer. Weights are used where they lie in the file. Sources: POSIX pax, PKWARE APPNOTE 6.3,
 * NeMo core/connectors/save_restore_connector.py, sentencepiece_model.proto.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "model/container.h"
#include "model/cursor.h"
#include "model/pickle.h"

enum { BLOCK = 512, MOST_YAML = 8 << 20, MOST_PICKLE = 32 << 20, MOST_RECORDS = 100000, DEPTH = 24 };

struct part { const uint8_t *at; uint64_t size; };
struct record { const char *name; size_t len; struct part data; };
struct file { struct rs_model *m; struct part yaml, weights, tokenizer; struct record *records; size_t n, cap; struct rs_err *e; };

static int damaged(const struct file *f, const char *what)
{
    return rs_fail(f->e, RS_E_MODEL_BAD, "%s is damaged: %s; fetch the model again", f->m->path, what);
}

/* ---- tar ---- */

static bool octal(const uint8_t *p, int n, uint64_t *v)
{
    *v = 0;
    if (p[0] & 0x80) {                                /* base 256 */
        *v = p[0] & 0x7f;
        for (int i = 1; i < n; i++) {
            if (*v >> 56)
                return false;
            *v = *v << 8 | p[i];
        }
        return true;
    }
    for (int i = 0; i < n && p[i] && !(p[i] == ' ' && *v); i++)
        if (p[i] >= '0' && p[i] <= '7')
            *v = *v << 3 | (uint64_t)(p[i] - '0');
        else if (p[i] != ' ')
            return false;
    return true;
}

static bool header_good(const uint8_t *h)
{
    uint64_t said, sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    return octal(h + 148, 8, &said) && said == sum;
}

bool rs_nemo_is(const uint8_t *data, size_t size) { return size >= 2 * BLOCK && data[0] && header_good(data); }

static bool ends_with(const char *s, const char *end)
{
    const size_t a = strlen(s), b = strlen(end);
    return a >= b && strcmp(s + a - b, end) == 0;
}

static int read_tar(struct file *f)
{
    const struct rs_model_impl *impl = f->m->impl;
    struct rs_cursor c = {impl->data, impl->data + impl->size, false};
    while ((size_t)(c.end - c.at) >= BLOCK) {
        const uint8_t *h = rs_cursor_bytes(&c, BLOCK);
        char name[101];
        uint64_t size;
        if (!h[0])
            break;
        if (!header_good(h) || !octal(h + 124, 12, &size))
            return damaged(f, "its archive has a bad header");
        memcpy(name, h, 100);
        name[100] = '\0';
        const struct part p = {c.at, size};
        if (!rs_cursor_bytes(&c, size))
            return damaged(f, "it ends within one of its parts: it was not fetched whole");
        const uint64_t rest = size % BLOCK ? BLOCK - size % BLOCK : 0;
        rs_cursor_bytes(&c, rest < (uint64_t)(c.end - c.at) ? rest : (uint64_t)(c.end - c.at));
        struct part *to = ends_with(name, "model_config.yaml") ? &f->yaml : ends_with(name, "model_weights.ckpt") ? &f->weights
                        : ends_with(name, "tokenizer.model") ? &f->tokenizer : NULL;
        if (!to || (h[156] != '0' && h[156] != '\0'))
            continue;
        if (to->at)
            return damaged(f, "it holds the same part twice");
        *to = p;
    }
    return f->yaml.at && f->weights.at ? 0
         : rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s is an archive, but no .nemo: it lacks model_config.yaml or model_weights.ckpt", f->m->path);
}

/* ---- zip ---- */

/* Sizes beyond 32 bits stand in the extra field 1, in this order, only those that are needed. */
static void wide_sizes(const uint8_t *extra, size_t n, uint64_t *full, uint64_t *packed, uint64_t *offset)
{
    struct rs_cursor c = {extra, extra + n, false};
    while (!c.bad && c.end - c.at >= 4) {
        const unsigned id = (unsigned)rs_cursor_uint(&c, 2);
        const uint64_t len = rs_cursor_uint(&c, 2);
        const uint8_t *p = rs_cursor_bytes(&c, len);
        if (!p || id != 1)
            continue;
        struct rs_cursor v = {p, p + len, false};
        if (*full == UINT32_MAX)
            *full = rs_cursor_u64(&v);
        if (*packed == UINT32_MAX)
            *packed = rs_cursor_u64(&v);
        if (*offset == UINT32_MAX)
            *offset = rs_cursor_u64(&v);
        return;
    }
}

static int read_entry(struct file *f, struct rs_cursor *c)
{
    const uint8_t *h = rs_cursor_bytes(c, 46);
    if (!h || memcmp(h, "PK\1\2", 4) != 0)
        return damaged(f, "its weights' table of contents is broken");
    struct rs_cursor q = {h + 10, h + 46, false};
    const unsigned method = (unsigned)rs_cursor_uint(&q, 2);
    rs_cursor_bytes(&q, 8);
    uint64_t packed = rs_cursor_u32(&q), full = rs_cursor_u32(&q);
    const uint64_t name_len = rs_cursor_uint(&q, 2), extra_len = rs_cursor_uint(&q, 2), comment = rs_cursor_uint(&q, 2);
    rs_cursor_bytes(&q, 8);
    uint64_t offset = rs_cursor_u32(&q);
    const char *name = (const char *)rs_cursor_bytes(c, name_len);
    const uint8_t *extra = rs_cursor_bytes(c, extra_len);
    if (!name || !extra || (comment && !rs_cursor_bytes(c, comment)))
        return damaged(f, "its weights' table of contents is broken");
    wide_sizes(extra, (size_t)extra_len, &full, &packed, &offset);
    const struct part z = f->weights;
    if (offset > z.size || z.size - offset < 30 || memcmp(z.at + offset, "PK\3\4", 4) != 0)
        return damaged(f, "a record of its weights is not where it should be");
    struct rs_cursor local = {z.at + offset + 26, z.at + z.size, false};
    const uint64_t skip_name = rs_cursor_uint(&local, 2), skip = skip_name + rs_cursor_uint(&local, 2);
    rs_cursor_bytes(&local, skip);
    const struct part data = {local.at, full};
    if (method != 0 || packed != full)
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "the weights in %s are compressed, which PyTorch never does; save the model again", f->m->path);
    if (!rs_cursor_bytes(&local, full) && full)
        return damaged(f, "a record of its weights runs past the end");
    if (!rs_grow((void **)&f->records, &f->cap, f->n + 1, sizeof *f->records))
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the records of %s", f->m->path);
    f->records[f->n++] = (struct record){name, (size_t)name_len, data};
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    const int c = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

static int read_zip(struct file *f)
{
    const struct part z = f->weights;
    uint64_t at = z.size, count = 0, start = 0;
    if (z.size >= 2 && memcmp(z.at, "PK", 2) != 0)
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "the weights in %s are in PyTorch's format of before 2020; save the model again", f->m->path);
    for (uint64_t back = 22; back <= z.size && back < 22 + 65536 && at == z.size; back++)
        if (memcmp(z.at + z.size - back, "PK\5\6", 4) == 0)
            at = z.size - back;
    if (at == z.size)
        return damaged(f, "its weights have no table of contents");
    struct rs_cursor c = {z.at + at + 10, z.at + z.size, false};
    count = rs_cursor_uint(&c, 2);
    rs_cursor_bytes(&c, 4);
    start = rs_cursor_u32(&c);
    if ((count == UINT16_MAX || start == UINT32_MAX) && at >= 20 && memcmp(z.at + at - 20, "PK\6\7", 4) == 0) {
        struct rs_cursor l = {z.at + at - 12, z.at + at, false};
        const uint64_t wide = rs_cursor_u64(&l);
        if (wide > z.size || z.size - wide < 56 || memcmp(z.at + wide, "PK\6\6", 4) != 0)
            return damaged(f, "its weights' table of contents is broken");
        struct rs_cursor w = {z.at + wide + 32, z.at + z.size, false};
        count = rs_cursor_u64(&w);
        rs_cursor_bytes(&w, 8);
        start = rs_cursor_u64(&w);
    }
    if (start > z.size || count > MOST_RECORDS)
        return damaged(f, "its weights' table of contents is broken");
    struct rs_cursor dir = {z.at + start, z.at + z.size, false};
    int rc = 0;
    for (uint64_t i = 0; i < count && !rc; i++)
        rc = read_entry(f, &dir);
    if (f->n)
        qsort(f->records, f->n, sizeof *f->records, by_name);
    return rc;
}

/* ---- weights ---- */

static int add_tensor(struct file *f, const struct rs_pickled *p, const char *prefix, size_t prefix_len)
{
    char name[300];
    struct rs_tensor t = p->t;
    if (t.type == RS_I64)
        return 0;                                     /* counters of training */
    const int n = snprintf(name, sizeof name, "%.*sdata/%.*s", (int)prefix_len, prefix, (int)(p->key_len < 40 ? p->key_len : 40), p->key);
    const struct record want = {.name = name, .len = (size_t)n};
    const struct record *r = f->n ? bsearch(&want, f->records, f->n, sizeof want, by_name) : NULL;
    if (!r || p->name_len > 120 || memchr(p->name, '\0', p->name_len))
        return damaged(f, "a tensor's values are missing");
    if (t.ndim == 0)
        t.shape[t.ndim++] = 1;
    const uint64_t each = rs_type_bytes(t.type), have = r->data.size / each;
    uint64_t need = each;
    for (int i = 0; i < t.ndim; i++)
        if (__builtin_mul_overflow(need, (uint64_t)t.shape[i], &need))
            return damaged(f, "a tensor has an impossible size");
    if (p->offset > have || need / each > have - p->offset)
        return damaged(f, "a tensor is larger than its values");
    t.data = r->data.at + p->offset * each;
    t.bytes = (size_t)need;
    if ((uintptr_t)t.data % each) {
        void *copy = rs_arena_alloc(&((struct rs_model_impl *)f->m->impl)->strings, t.bytes, 1);
        if (!copy)
            return rs_fail(f->e, RS_E_NOMEM, "no memory for the tensors of %s", f->m->path);
        t.data = memcpy(copy, t.data, t.bytes);
    }
    return rs_model_add(f->m, &t, p->name, p->name_len, f->e);
}

static int read_weights(struct file *f)
{
    const struct record *pickle = NULL;
    for (size_t i = 0; i < f->n && !pickle; i++)
        if (f->records[i].len >= 8 && f->records[i].len < 200 && memcmp(f->records[i].name + f->records[i].len - 8, "data.pkl", 8) == 0)
            pickle = &f->records[i];
    if (!pickle || pickle->data.size > MOST_PICKLE)
        return damaged(f, "its weights have no table of tensors");
    struct rs_pickled *list;
    size_t count;
    uint64_t total = 0;
    int rc = rs_pickle_read(&list, &count, pickle->data.at, (size_t)pickle->data.size, f->m->path, f->e);
    if (!rc && !count)
        rc = damaged(f, "its weights' table has no tensors");
    for (size_t i = 0; i < count && !rc; i++) {
        rc = add_tensor(f, &list[i], pickle->name, pickle->len - 8);
        total += !rc && f->m->n_tensors ? f->m->tensors[f->m->n_tensors - 1].bytes : 0;
        if (!rc && total > f->weights.size)           /* many tensors on the same few values */
            rc = damaged(f, "its tensors are larger than the file");
    }
    free(list);
    return rc;
}

/* ---- model_config.yaml ---- */

/* Seconds at 16 kHz; what makes no sense becomes -1 and is refused by the front end. */
static int samples(double seconds) { return seconds > 0 && seconds < 60 ? (int)(seconds * 16000 + 0.5) : -1; }

static void on_value(struct file *f, const char *path, int index, const char *v)
{
    struct rs_model_config *c = &f->m->config;
    char *end;
    const double d = strtod(v, &end);
    const bool number = end != v && *end == '\0' && d > -1e9 && d < 1e9;
    const bool truth = strcmp(v, "true") == 0 || strcmp(v, "True") == 0;
    if (strcmp(path, "encoder.xscaling") == 0)
        c->xscaling = truth;
    else if (strcmp(path, "encoder.att_context_style") == 0 && strcmp(v, "regular") != 0)
        rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s is a streaming model (attention \"%.60s\"); use an offline Parakeet model", f->m->path, v);
    else if (strcmp(path, "preprocessor.normalize") == 0)
        c->normalize = strcmp(v, "per_feature") == 0;
    else if (strcmp(path, "joint.jointnet.activation") == 0)
        snprintf(c->activation, sizeof c->activation, "%s", v);
    else if (strcmp(path, "encoder.causal_downsampling") == 0 && truth)
        rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s is a streaming model (causal subsampling); use an offline Parakeet model", f->m->path);
    if (!number)
        return;
    if (strcmp(path, "encoder.n_heads") == 0)
        c->heads = (int)d;
    else if (strcmp(path, "encoder.att_context_size") == 0)
        *(index ? &c->att_right : &c->att_left) = (int)d;
    else if (strcmp(path, "preprocessor.sample_rate") == 0)
        c->sample_rate = (int)d;
    else if (strcmp(path, "preprocessor.n_fft") == 0)
        c->n_fft = (int)d;
    else if (strcmp(path, "preprocessor.window_size") == 0)
        c->win_length = samples(d);
    else if (strcmp(path, "preprocessor.window_stride") == 0)
        c->hop_length = samples(d);
    else if (strcmp(path, "preprocessor.preemph") == 0)
        c->preemphasis = (float)d;
    else if (strcmp(path, "decoding.greedy.max_symbols") == 0 && d >= 1)
        c->max_symbols = (int)d;
    else if (strcmp(path, "model_defaults.tdt_durations") == 0 && index < 16) {
        c->durations[index] = d >= 0 && d < 1000 ? (int)d : -1;
        c->n_durations = index + 1;
    }
}

/* Where the events are: the keys from the root, and for a list the index. */
struct place { char path[400]; size_t cut[DEPTH]; int index[DEPTH], depth; bool in_list[DEPTH], has_key[DEPTH]; };

static bool enter(struct place *p, bool list)
{
    if (p->depth + 1 >= DEPTH)
        return false;
    p->depth++;
    p->in_list[p->depth] = list;
    p->has_key[p->depth] = false;
    p->index[p->depth] = 0;
    p->cut[p->depth] = strlen(p->path);
    return true;
}

/* A value has ended: the next scalar of a mapping is a key, of a list the next item. */
static void value_done(struct place *p)
{
    if (p->in_list[p->depth])
        p->index[p->depth]++;
    p->has_key[p->depth] = false;
    p->path[p->cut[p->depth]] = '\0';
}

static void scalar(struct file *f, struct place *p, const char *v)
{
    if (p->in_list[p->depth] || p->has_key[p->depth]) {
        on_value(f, p->path, p->in_list[p->depth] ? p->index[p->depth] : 0, v);
        value_done(p);
        return;
    }
    const size_t at = p->cut[p->depth];
    snprintf(p->path + at, sizeof p->path - at, "%s%.60s", at ? "." : "", v);
    p->has_key[p->depth] = true;
}

static bool on_event(struct file *f, struct place *p, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_ALIAS_EVENT: return false;              /* they make bombs; NeMo writes none */
    case YAML_SCALAR_EVENT: scalar(f, p, (const char *)ev->data.scalar.value); return true;
    case YAML_MAPPING_START_EVENT: return enter(p, false);
    case YAML_SEQUENCE_START_EVENT: return enter(p, true);
    case YAML_MAPPING_END_EVENT: case YAML_SEQUENCE_END_EVENT:
        p->depth--;
        value_done(p);
        return true;
    default: return true;
    }
}

static int read_yaml(struct file *f)
{
    yaml_parser_t parser;
    struct place p = {.has_key = {true}};
    bool good = f->yaml.size <= MOST_YAML && yaml_parser_initialize(&parser), end = false;
    if (!good)
        return damaged(f, "its model_config.yaml is too long");
    yaml_parser_set_input_string(&parser, f->yaml.at, (size_t)f->yaml.size);
    while (good && !end && !(f->e && f->e->code)) {
        yaml_event_t ev;
        good = yaml_parser_parse(&parser, &ev);
        if (!good)
            break;
        end = ev.type == YAML_STREAM_END_EVENT;
        good = on_event(f, &p, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    if (f->e && f->e->code)
        return -f->e->code;
    return good ? 0 : damaged(f, "its model_config.yaml cannot be read");
}

/* ---- tokenizer ---- */

static uint64_t varint(struct rs_cursor *c)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const uint64_t b = rs_cursor_uint(c, 1);
        v |= (b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    c->bad = true;
    return 0;
}

/* The field's bytes when it has a length; other kinds are passed over (a varint's value in *number). */
static const uint8_t *field(struct rs_cursor *c, unsigned *id, uint64_t *len, uint64_t *number)
{
    const uint64_t tag = varint(c);
    *id = (unsigned)(tag >> 3);
    *len = *number = 0;
    switch (tag & 7) {
    case 0: *number = varint(c); return NULL;
    case 1: rs_cursor_bytes(c, 8); return NULL;
    case 2: *len = varint(c); return rs_cursor_bytes(c, *len);
    case 5: rs_cursor_bytes(c, 4); return NULL;
    default: c->bad = true; return NULL;
    }
}

static int add_piece(struct file *f, struct rs_cursor c, size_t *cap)
{
    struct rs_piece piece = {.text = "", .kind = 1};
    while (c.at < c.end && !c.bad) {
        unsigned id;
        uint64_t len, number;
        const uint8_t *p = field(&c, &id, &len, &number);
        if (id == 1 && p && len <= UINT16_MAX) {
            piece.text = rs_model_string(f->m, (const char *)p, (size_t)len);
            piece.len = (uint16_t)len;
        } else if (id == 3) {
            piece.kind = (uint8_t)(number < 7 ? number : 1);
        }
        if (!piece.text)
            return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", f->m->path);
    }
    struct rs_model_impl *impl = f->m->impl;
    if (c.bad || f->m->n_pieces >= 1 << 20)
        return damaged(f, "its tokenizer is broken");
    if (!rs_grow((void **)&impl->pieces, cap, (size_t)f->m->n_pieces + 1, sizeof piece))
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", f->m->path);
    impl->pieces[f->m->n_pieces++] = piece;
    return 0;
}

static int read_tokenizer(struct file *f)
{
    struct rs_cursor c = {f->tokenizer.at, f->tokenizer.at + f->tokenizer.size, false};
    size_t cap = 0;
    int rc = f->tokenizer.at ? 0 : rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s has no SentencePiece tokenizer", f->m->path);
    while (!rc && c.at < c.end) {
        unsigned id;
        uint64_t len, number;
        const uint8_t *p = field(&c, &id, &len, &number);
        if (c.bad)
            rc = damaged(f, "its tokenizer is broken");
        else if (id == 1 && p)
            rc = add_piece(f, (struct rs_cursor){p, p + len, false}, &cap);
    }
    f->m->pieces = ((struct rs_model_impl *)f->m->impl)->pieces;
    return rc;
}

int rs_nemo_read(struct rs_model *m, struct rs_err *e)
{
    struct file f = {.m = m, .e = e};
    m->config = rs_model_defaults();
    m->config.xscaling = true;                        /* NeMo's own default when the key is absent */
    snprintf(m->container, sizeof m->container, "nemo");
    int rc = read_tar(&f);
    rc = rc ? rc : read_yaml(&f);
    rc = rc ? rc : read_zip(&f);
    rc = rc ? rc : read_weights(&f);
    rc = rc ? rc : read_tokenizer(&f);
    free(f.records);
    return rc;
}
