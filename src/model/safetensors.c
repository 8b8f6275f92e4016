/* safetensors: a length, a JSON header {"name": {"dtype", "shape", "data_offsets"}}, then the data.
 *
 * As strict as the format's own rules (huggingface/safetensors, README "Format"): no duplicate names,
 * ranges that lie in the file, sizes that are the product of the shape. A tensor whose place does not
 * suit its type is copied, because the header's length need not be a multiple of anything. Alone, a file is Silero's
 * voice detector, known by its tensors; Parakeet comes as a folder (huggingface.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/container.h"
#include "model/cursor.h"
#include "model/json.h"

struct file { struct rs_model *m; const char *path; const uint8_t *data; uint64_t size; enum rs_naming naming; bool silero; struct rs_err *e; };

static int damaged(const struct file *f, const char *name, const char *what)
{
    return rs_fail(f->e, RS_E_MODEL_BAD, "the model %s is damaged: %s%s%.100s", f->path, what, name ? " at tensor " : "", name ? name : "");
}

static bool known_type(const char *word, enum rs_type *type)
{
    static const struct { const char *word; enum rs_type type; } types[] = {
        {"F32", RS_F32}, {"F16", RS_F16}, {"BF16", RS_BF16}, {"I64", RS_I64},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].word, word) == 0) {
            *type = types[i].type;
            return true;
        }
    return false;
}

/* A number of the header as a whole number that is not negative; -1 when it is none. */
static int64_t whole(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (int64_t)json_integer_value(v) : -1;
}

static int read_shape(const struct file *f, struct rs_tensor *t, const char *name, const json_t *shape, uint64_t *bytes)
{
    const size_t dims = json_array_size(shape);
    if (!json_is_array(shape) || dims > 4)
        return damaged(f, name, "a shape that is none");
    t->ndim = dims ? (int)dims : 1;
    t->shape[0] = 1;
    *bytes = rs_type_bytes(t->type);
    for (size_t i = 0; i < dims; i++) {
        t->shape[i] = whole(json_array_get(shape, i));
        if (t->shape[i] < 1 || __builtin_mul_overflow(*bytes, (uint64_t)t->shape[i], bytes))
            return damaged(f, name, "a shape that makes no sense");
    }
    return 0;
}

/* The tensor's bytes, copied where they do not lie as their type wants. */
static int place(const struct file *f, struct rs_tensor *t, const char *name, const uint8_t *at, uint64_t bytes)
{
    t->bytes = (size_t)bytes;
    t->data = at;
    if ((uintptr_t)at % rs_type_bytes(t->type) == 0)
        return 0;
    void *copy = rs_arena_alloc(&((struct rs_model_impl *)f->m->impl)->strings, (size_t)bytes, 1);
    if (!copy)
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tensor %.100s of %s", name, f->path);
    t->data = memcpy(copy, at, (size_t)bytes);
    return 0;
}

static int read_tensor(struct file *f, const char *name, const json_t *entry)
{
    struct rs_tensor t = {0};
    uint64_t bytes = 0;
    char canonical[300];
    const char *word = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const int64_t from = whole(json_array_get(offsets, 0)), to = whole(json_array_get(offsets, 1));
    if (!word || !known_type(word, &t.type))
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "the tensor %.100s of %s has the type %.20s, which this program does not read",
                       name, f->path, word ? word : "(none)");
    const int rc = read_shape(f, &t, name, json_object_get(entry, "shape"), &bytes);
    if (rc)
        return rc;
    if (json_array_size(offsets) != 2 || from < 0 || to < from || (uint64_t)to > f->size || (uint64_t)(to - from) != bytes)
        return damaged(f, name, "its place is not in the file or not of its size");
    const size_t len = rs_canonical_name(f->naming, name, strlen(name), canonical, sizeof canonical);
    if (!len)
        return damaged(f, name, "a name longer than any tensor's");
    if (f->naming != RS_NAMES_NEMO && t.type == RS_I64)
        return 0;                                     /* counters of training */
    if (place(f, &t, name, f->data + from, bytes))
        return -RS_E_NOMEM;
    f->silero = f->silero || strcmp(name, "lstm_cell.weight_ih") == 0;
    return rs_model_add(f->m, &t, canonical, len, f->e);
}

struct range { int64_t from, to; };

static int by_start(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

/* Tensors that share bytes: a file that makes little into much. Places that make no sense are refused with their tensor. */
static int no_overlaps(const struct file *f, json_t *header)
{
    const char *name;
    json_t *entry;
    size_t n = 0;
    int rc = 0;
    struct range *all = calloc(json_object_size(header) + 1, sizeof *all);
    if (!all)
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tensors of %s", f->path);
    json_object_foreach(header, name, entry) {
        const json_t *o = json_object_get(entry, "data_offsets");
        const struct range r = {whole(json_array_get(o, 0)), whole(json_array_get(o, 1))};
        if (r.from >= 0 && r.to >= r.from)
            all[n++] = r;
    }
    qsort(all, n, sizeof *all, by_start);
    for (size_t i = 1; i < n && !rc; i++)
        if (all[i].from < all[i - 1].to)
            rc = damaged(f, NULL, "two of its tensors lie in the same place");
    free(all);
    return rc;
}

static int read_file(struct file *f, const uint8_t *data, size_t size)
{
    struct rs_cursor c = {data, data + size, false};
    const uint64_t length = rs_cursor_u64(&c);
    const uint8_t *text = rs_cursor_bytes(&c, length);
    const char *name;
    json_t *entry;
    int rc = 0;
    if (!text || length > RS_JSON_MOST)
        return damaged(f, NULL, "its header runs past the end or is too long");
    f->data = c.at;
    f->size = (uint64_t)(c.end - c.at);
    json_t *header = rs_json_object(text, (size_t)length);
    rc = header ? no_overlaps(f, header) : damaged(f, NULL, "its header is no table of tensors");
    json_object_foreach(header, name, entry)
        if (!rc && strcmp(name, "__metadata__") != 0)
            rc = read_tensor(f, name, entry);
    json_decref(header);
    return rc;
}

int rs_safetensors_tensors(struct rs_model *m, const char *path, const uint8_t *data, size_t size, enum rs_naming naming, struct rs_err *e)
{
    struct file f = {.m = m, .path = path, .naming = naming, .e = e};
    return read_file(&f, data, size);
}

int rs_safetensors_read(struct rs_model *m, struct rs_err *e)
{
    const struct rs_model_impl *impl = m->impl;
    struct file f = {.m = m, .path = m->path, .naming = RS_NAMES_NEMO, .e = e};
    snprintf(m->container, sizeof m->container, "safetensors");
    const int rc = read_file(&f, impl->data, impl->size);
    if (rc)
        return rc;
    if (!f.silero)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s holds the tensors of another architecture than Silero's voice detector; of a Parakeet model give "
                       "the folder with its config.json and tokenizer.json", m->path);
    m->config.arch = RS_ARCH_SILERO_VAD;
    m->config.sample_rate = 16000;
    return 0;
}

bool rs_safetensors_is(const uint8_t *data, size_t size)
{
    struct rs_cursor c = {data, data + size, false};
    const uint64_t length = rs_cursor_u64(&c);
    const uint8_t *first = rs_cursor_bytes(&c, 1);
    return first && *first == '{' && length >= 2 && length <= size - 8;
}
