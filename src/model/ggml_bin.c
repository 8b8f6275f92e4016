/* whisper.cpp's own container for Parakeet (magic "ggml", not GGUF): fifteen numbers, the mel filters, the window,
 * the durations, the tokens, then tensors until the end of the file. Names are NeMo's; tensors lie where they lie, on
 * no boundary. The LSTM's gates come in the order i f o g with both biases summed and are put back in PyTorch's.
 * Layout: whisper.cpp models/convert-parakeet-to-ggml.py and src/parakeet.cpp.
 */
#include <stdio.h>
#include <string.h>

#include "model/container.h"
#include "model/cursor.h"

enum { MOST_TOKENS = 1 << 20, MOST_TENSORS = 20000 };

struct header {
    int32_t tokens, context, width, heads, layers, mels, type, n_fft, factor, channels, kernel, predictor, lstm_layers, durations, max_symbols;
};

struct file { struct rs_model *m; struct rs_cursor c; struct header h; struct rs_err *e; };

static int damaged(const struct file *f, const char *what)
{
    return rs_fail(f->e, RS_E_MODEL_BAD, "%s is damaged: %s; fetch the model again", f->m->path, what);
}

static int32_t whole(struct file *f) { return (int32_t)rs_cursor_u32(&f->c); }

static int read_header(struct file *f)
{
    rs_cursor_u32(&f->c);
    int32_t *to = (int32_t *)&f->h;
    for (size_t i = 0; i < sizeof f->h / sizeof *to; i++)
        to[i] = whole(f);
    const struct header *h = &f->h;
    if (f->c.bad)
        return damaged(f, "it ends within its first 64 bytes");
    /* Whisper's files have eleven numbers here, of which the second is 1500 and the sixth 448. */
    if (h->context == 1500 && h->mels == 448)
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s is a Whisper model; this program runs Parakeet (FastConformer) models", f->m->path);
    if (h->tokens < 1 || h->tokens > MOST_TOKENS || h->width < 1 || h->heads < 1 || h->heads > 1024 || h->mels < 1 || h->mels > 1024 ||
        h->n_fft < 16 || h->n_fft > 8192 || h->durations < 1 || h->durations > 16 || h->lstm_layers < 1 || h->lstm_layers > 8)
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s is a ggml file, but none of a Parakeet model", f->m->path);
    struct rs_model_config *c = &f->m->config;
    *c = rs_model_defaults();
    c->heads = h->heads;
    c->n_fft = h->n_fft;
    c->max_symbols = h->max_symbols > 0 ? h->max_symbols : 10;
    return 0;
}

/* The filterbank becomes the tensor that every other container calls so; of the window only the length counts. */
static int read_front_end(struct file *f)
{
    const int32_t mels = whole(f), bins = whole(f);
    struct rs_tensor bank = {.type = RS_F32, .ndim = 2, .shape = {mels, bins}};
    if (f->c.bad || mels != f->h.mels || bins != f->h.n_fft / 2 + 1)
        return damaged(f, "its mel filters are of another size");
    bank.bytes = (size_t)mels * (size_t)bins * sizeof(float);
    bank.data = rs_cursor_bytes(&f->c, bank.bytes);
    const int32_t window = whole(f);
    if (f->c.bad || window < 1 || window > f->h.n_fft || !rs_cursor_bytes(&f->c, (uint64_t)window * sizeof(float)))
        return damaged(f, "its window makes no sense");
    f->m->config.win_length = window;
    for (int i = 0; i < f->h.durations; i++) {
        const uint32_t d = rs_cursor_u32(&f->c);
        f->m->config.durations[i] = d < 1000 ? (int)d : -1;
    }
    f->m->config.n_durations = f->h.durations;
    return rs_model_add(f->m, &bank, "preprocessor.featurizer.fb", 26, f->e);
}

static int read_tokens(struct file *f)
{
    struct rs_model *m = f->m;
    const int32_t count = whole(f);
    if (f->c.bad || count != f->h.tokens || (uint64_t)count * 4 > (uint64_t)(f->c.end - f->c.at))
        return damaged(f, "its list of tokens is of another length");
    m->pieces = rs_arena_alloc(&((struct rs_model_impl *)m->impl)->strings, (size_t)count + 1, sizeof *m->pieces);
    if (!m->pieces)
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", m->path);
    for (int32_t i = 0; i < count; i++) {
        const uint32_t len = rs_cursor_u32(&f->c);
        const char *s = (const char *)rs_cursor_bytes(&f->c, len);
        if (!s || len > UINT16_MAX)
            return damaged(f, "a token is longer than any word");
        const char *own = rs_model_string(m, s, len);
        if (!own)
            return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", m->path);
        m->pieces[i] = (struct rs_piece){own, (uint16_t)len, 1};
    }
    m->n_pieces = count;
    return 0;
}

static bool type_of(int32_t ggml, enum rs_type *type)
{
    static const struct { int32_t ggml; enum rs_type type; } known[] = {
        {0, RS_F32}, {1, RS_F16}, {2, RS_Q4_0}, {6, RS_Q5_0}, {8, RS_Q8_0}, {12, RS_Q4_K}, {13, RS_Q5_K}, {14, RS_Q6_K}, {30, RS_BF16}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].ggml == ggml) {
            *type = known[i].type;
            return true;
        }
    return false;
}

/* i f o g -> i f g o: the last two quarters change places. */
static int reorder_gates(struct file *f, struct rs_tensor *t)
{
    const size_t quarter = t->bytes / 4;
    if (t->shape[0] % 4)
        return damaged(f, "its LSTM has no four gates");
    uint8_t *to = rs_arena_alloc(&((struct rs_model_impl *)f->m->impl)->strings, t->bytes, 1);
    if (!to)
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tensors of %s", f->m->path);
    const uint8_t *from = t->data;
    memcpy(to, from, 2 * quarter);
    memcpy(to + 2 * quarter, from + 3 * quarter, quarter);
    memcpy(to + 3 * quarter, from + 2 * quarter, quarter);
    t->data = to;
    return 0;
}

/* What the converter squeezed or stretched, back to NeMo's shape. */
static void settle_shape(struct rs_tensor *t, const char *name, size_t len)
{
    static const char depthwise[] = ".conv.depthwise_conv.weight", bias[] = ".bias";
    if (len > sizeof depthwise && memcmp(name + len - sizeof depthwise + 1, depthwise, sizeof depthwise - 1) == 0 && t->ndim == 2) {
        t->ndim = 3;
        t->shape[2] = t->shape[1];
        t->shape[1] = 1;
    } else if (len > sizeof bias && memcmp(name + len - sizeof bias + 1, bias, sizeof bias - 1) == 0 && t->ndim > 1) {
        t->shape[0] = rs_tensor_count(t);
        t->ndim = 1;
    }
}

static int read_tensor(struct file *f)
{
    static const char lstm[] = "decoder.prediction.dec_rnn.lstm.";
    struct rs_tensor t = {0};
    char full[160];
    const int32_t dims = whole(f), len = whole(f), type = whole(f);
    int64_t values = 1;
    if (f->c.bad || dims < 0 || dims > 4 || len < 1 || len > 120)
        return damaged(f, "a tensor's description makes no sense");
    t.ndim = dims ? dims : 1;                         /* a counter is a tensor without dimensions */
    t.shape[0] = 1;
    for (int i = dims; i-- > 0;) {
        t.shape[i] = whole(f);
        if (t.shape[i] < 1 || __builtin_mul_overflow(values, t.shape[i], &values))
            return damaged(f, "a tensor has an impossible size");
    }
    const char *name = (const char *)rs_cursor_bytes(&f->c, (uint64_t)len);
    if (!name || memchr(name, '\0', (size_t)len))
        return damaged(f, "a tensor's description makes no sense");
    if (!type_of(type, &t.type))
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "the tensor %.*s of %s is stored as ggml type %d, which this program does not read", len, name,
                       f->m->path, (int)type);
    const int64_t columns = t.shape[t.ndim - 1];
    if (columns % rs_type_block(t.type) || !rs_mul_ok(rs_row_bytes(t.type, columns), (size_t)(values / columns), &t.bytes))
        return damaged(f, "a tensor has an impossible size");
    t.data = rs_cursor_bytes(&f->c, t.bytes);
    if (!t.data)
        return rs_fail(f->e, RS_E_MODEL_BAD, "%s ends before its tensor %.*s does: it was not fetched whole", f->m->path, len, name);
    snprintf(full, sizeof full, "%.*s", len, name);
    char *sum = strstr(full, ".bias_h_l");
    if (strncmp(full, lstm, sizeof lstm - 1) == 0) {
        const int rc = reorder_gates(f, &t);
        if (rc)
            return rc;
        if (sum) {                                    /* bias_h_l0 -> bias_ih_l0; the other becomes zero */
            char layer[32];
            snprintf(layer, sizeof layer, "%.20s", sum + 9);
            snprintf(sum, sizeof full - (size_t)(sum - full), ".bias_ih_l%s", layer);
        }
    } else if (strstr(full, "num_batches_tracked")) {
        return 0;
    }
    settle_shape(&t, full, strlen(full));
    return rs_model_add(f->m, &t, full, strlen(full), f->e);
}

int rs_ggml_bin_read(struct rs_model *m, struct rs_err *e)
{
    const struct rs_model_impl *impl = m->impl;
    struct file f = {.m = m, .c = {impl->data, impl->data + impl->size, false}, .e = e};
    snprintf(m->container, sizeof m->container, "ggml bin");
    int rc = read_header(&f);
    rc = rc ? rc : read_front_end(&f);
    rc = rc ? rc : read_tokens(&f);
    for (int n = 0; !rc && f.c.at < f.c.end; n++)
        rc = n < MOST_TENSORS ? read_tensor(&f) : damaged(&f, "it has more tensors than any model");
    return rc;
}
