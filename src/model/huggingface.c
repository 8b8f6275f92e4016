/* A folder as transformers saves it: config.json, tokenizer.json, perhaps processor_config.json, and model.safetensors
 * in one file or several with an index. The weights are mapped and used in place.
 * Sources: transformers models/parakeet/{configuration,modeling,feature_extraction}_parakeet.py,
 * convert_nemo_to_hf.py; tokenizers' tokenizer.json.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/container.h"
#include "model/json.h"

enum { MOST_SHARDS = 64, MOST_PIECES = 1 << 20 };

struct folder { struct rs_model *m; const char *path; struct rs_err *e; };

static int damaged(const struct folder *f, const char *file, const char *what)
{
    return rs_fail(f->e, RS_E_MODEL_BAD, "%s in %s %s: fetch the model again", file, f->path, what);
}

static bool join(const struct folder *f, const char *file, char *to, size_t size)
{
    return snprintf(to, size, "%s/%s", f->path, file) < (int)size;
}

/* What else the folder holds, as the rest of a sentence. */
static const char *instead(const struct folder *f, char *to, size_t size)
{
    static const struct { const char *end, *before, *after; } ends[] = {
        {"model_config.yaml", "; an unpacked .nemo with ", ": give the .nemo file itself"},
        {".nemo", "; there is ", " in it: give that file"}, {".gguf", "; there is ", " in it: give that file"},
        {".onnx", "; there is ", " in it: this program does not read ONNX"},
        {".pt", "; there is ", " in it: this program does not read PyTorch's checkpoints"},
        {"pytorch_model.bin", "; there is ", " in it: this program does not read PyTorch's checkpoints"},
    };
    DIR *d = opendir(f->path);
    size_t best = sizeof ends / sizeof *ends;
    *to = '\0';
    for (const struct dirent *in; d && (in = readdir(d));)
        for (size_t i = 0; i < best; i++) {
            const size_t n = strlen(in->d_name), k = strlen(ends[i].end);
            if (n < k || strcmp(in->d_name + n - k, ends[i].end) != 0)
                continue;
            best = i;
            snprintf(to, size, "%s%.80s%s", ends[i].before, in->d_name, ends[i].after);
        }
    if (d)
        closedir(d);
    return to;
}

/* The file's JSON; NULL with no error when it is not there and need not be. */
static json_t *load(const struct folder *f, const char *file, bool needed)
{
    char path[1200];
    struct stat st;
    char found[400];
    if (!join(f, file, path, sizeof path) || stat(path, &st) < 0) {
        if (needed)
            rs_fail(f->e, RS_E_MODEL_BAD, "the folder %s has no %s: a Parakeet model of Hugging Face has config.json, tokenizer.json and model.safetensors%s",
                    f->path, file, instead(f, found, sizeof found));
        return NULL;
    }
    FILE *in = S_ISREG(st.st_mode) && st.st_size <= RS_JSON_MOST ? fopen(path, "rbe") : NULL;
    const size_t size = in ? (size_t)st.st_size : 0;
    char *text = malloc(size + 1);
    json_t *value = in && text && fread(text, 1, size, in) == size ? rs_json_object(text, size) : NULL;
    if (in)
        fclose(in);
    free(text);
    if (!value)
        damaged(f, file, "cannot be read");
    return value;
}

static double number(const json_t *object, const char *key, double otherwise)
{
    const json_t *v = json_object_get(object, key);
    const double d = json_is_number(v) ? json_number_value(v) : otherwise;
    return d > -1e9 && d < 1e9 ? d : otherwise;
}

/* ---- config.json, processor_config.json ---- */

static int read_config(const struct folder *f, const json_t *config)
{
    struct rs_model_config *c = &f->m->config;
    const char *kind = json_string_value(json_object_get(config, "model_type"));
    const json_t *encoder = json_object_get(config, "encoder_config"), *durations = json_object_get(config, "durations");
    if (!kind || (strcmp(kind, "parakeet_tdt") != 0 && strcmp(kind, "parakeet_ctc") != 0 && strcmp(kind, "parakeet_rnnt") != 0))
        return rs_fail(f->e, RS_E_MODEL_UNSUPPORTED, "%s holds a model of type \"%.60s\"%s; this program runs Parakeet (FastConformer) models", f->path,
                       kind ? kind : "(none)", kind && strcmp(kind, "whisper") == 0 ? " (a Whisper model)" : "");
    c->heads = (int)number(encoder, "num_attention_heads", 8);
    const json_t *scale = json_object_get(encoder, "scale_input");
    c->xscaling = !scale || json_is_true(scale);      /* true is the class's default */
    c->max_symbols = (int)number(config, "max_symbols_per_step", 10);
    const char *activation = json_string_value(json_object_get(config, "hidden_act"));
    if (activation)
        snprintf(c->activation, sizeof c->activation, "%s", activation);
    for (size_t i = 0; i < json_array_size(durations) && i < 16; i++) {
        const json_t *d = json_array_get(durations, i);
        c->durations[i] = json_is_integer(d) && json_integer_value(d) >= 0 && json_integer_value(d) < 1000 ? (int)json_integer_value(d) : -1;
        c->n_durations = (int)i + 1;
    }
    return 0;
}

/* The feature extractor's values, wherever this version of transformers keeps them. */
static int read_processor(const struct folder *f)
{
    static const char *const files[] = {"processor_config.json", "preprocessor_config.json"};
    struct rs_model_config *c = &f->m->config;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        json_t *all = load(f, files[i], false);
        if (!all && f->e && f->e->code)
            return -f->e->code;
        const json_t *inner = json_object_get(all, "feature_extractor"), *v = inner ? inner : all;
        c->sample_rate = (int)number(v, "sampling_rate", c->sample_rate);
        c->n_fft = (int)number(v, "n_fft", c->n_fft);
        c->win_length = (int)number(v, "win_length", c->win_length);
        c->hop_length = (int)number(v, "hop_length", c->hop_length);
        c->preemphasis = (float)number(v, "preemphasis", c->preemphasis);
        json_decref(all);
    }
    return 0;
}

/* ---- tokenizer.json ---- */

static int put_piece(const struct folder *f, int64_t id, const char *text, uint8_t kind)
{
    struct rs_model *m = f->m;
    if (id < 0 || id >= m->n_pieces)
        return 0;                                     /* the blank, and tokens added behind it */
    const size_t len = strlen(text);
    if (len > UINT16_MAX)
        return damaged(f, "tokenizer.json", "has a token longer than any word");
    const char *own = rs_model_string(m, text, len);
    if (!own)
        return rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", f->path);
    m->pieces[id] = (struct rs_piece){own, (uint16_t)len, kind};
    return 0;
}

static int read_tokenizer(const struct folder *f, const json_t *config)
{
    struct rs_model *m = f->m;
    struct rs_model_impl *impl = m->impl;
    /* The blank is the last of vocab_size. */
    const double size = number(config, "vocab_size", 0);
    if (size < 2 || size > MOST_PIECES)
        return damaged(f, "config.json", "has no vocab_size that makes sense");
    json_t *all = load(f, "tokenizer.json", true);
    if (!all)
        return f->e && f->e->code ? -f->e->code : -RS_E_MODEL_BAD;
    m->n_pieces = (int)size - 1;
    m->pieces = impl->pieces = rs_zeroed((size_t)m->n_pieces + 1, sizeof *m->pieces);
    int rc = m->pieces ? 0 : rs_fail(f->e, RS_E_NOMEM, "no memory for the tokens of %s", f->path);
    for (int i = 0; i < m->n_pieces && !rc; i++)
        m->pieces[i] = (struct rs_piece){"", 0, 1};
    json_t *vocab = json_object_get(json_object_get(all, "model"), "vocab"), *v;
    const json_t *added = json_object_get(all, "added_tokens");
    const char *text;
    if (!rc && json_object_size(vocab) == 0)
        rc = damaged(f, "tokenizer.json", "has no list of tokens (model.vocab)");
    json_object_foreach(vocab, text, v)
        if (!rc && json_is_integer(v))
            rc = put_piece(f, json_integer_value(v), text, 1);
    for (size_t i = 0; i < json_array_size(added) && !rc; i++) {
        const json_t *t = json_array_get(added, i), *id = json_object_get(t, "id");
        text = json_string_value(json_object_get(t, "content"));
        if (text && json_is_integer(id))
            rc = put_piece(f, json_integer_value(id), text, json_is_true(json_object_get(t, "special")) ? 3 : 1);
    }
    json_decref(all);
    return rc;
}

/* ---- weights ---- */

static int read_shard(const struct folder *f, const char *file)
{
    char path[1200];
    const uint8_t *data;
    size_t size;
    if (strchr(file, '/') || file[0] == '.' || !join(f, file, path, sizeof path))
        return damaged(f, "model.safetensors.index.json", "names a file outside the folder");
    const int rc = rs_model_map(f->m, path, &data, &size, f->e);
    if (!rc && !rs_safetensors_is(data, size) && (size < 9 || data[8] != '{'))
        return rs_model_unlike(path, data, size, f->e);
    return rc ? rc : rs_safetensors_tensors(f->m, path, data, size, RS_NAMES_HUGGINGFACE, f->e);
}

static int need_weights(const struct folder *f)
{
    char path[1200], found[400];
    if (join(f, "model.safetensors", path, sizeof path) && access(path, F_OK) == 0)
        return 0;
    return rs_fail(f->e, RS_E_MODEL_BAD, "the folder %s has no model.safetensors%s", f->path, instead(f, found, sizeof found));
}

static int read_weights(const struct folder *f)
{
    json_t *index = load(f, "model.safetensors.index.json", false);
    const char *name, *done[MOST_SHARDS];
    json_t *v;
    int n = 0, rc = 0;
    if (!index && f->e->code)
        return -f->e->code;
    if (!index)
        return need_weights(f) ? -f->e->code : read_shard(f, "model.safetensors");
    json_t *map = json_object_get(index, "weight_map");
    json_object_foreach(map, name, v) {
        const char *file = json_string_value(v);
        bool known = !file;
        for (int i = 0; i < n && !known; i++)
            known = strcmp(done[i], file) == 0;
        if (known || rc)
            continue;
        if (n == MOST_SHARDS)
            rc = damaged(f, "model.safetensors.index.json", "names more files than any model has");
        else
            rc = read_shard(f, done[n++] = file);
    }
    if (!n && !rc)
        rc = damaged(f, "model.safetensors.index.json", "names no files");
    json_decref(index);
    return rc;
}

int rs_huggingface_read(struct rs_model *m, const char *path, struct rs_err *e)
{
    struct rs_err own = {0};
    struct folder f = {m, path, e ? e : &own};
    m->config = rs_model_defaults();
    snprintf(m->container, sizeof m->container, "safetensors folder");
    json_t *config = load(&f, "config.json", true);
    if (!config)
        return -(f.e->code ? f.e->code : RS_E_MODEL_BAD);
    int rc = read_config(&f, config);
    rc = rc ? rc : read_processor(&f);
    rc = rc ? rc : read_tokenizer(&f, config);
    rc = rc ? rc : read_weights(&f);
    json_decref(config);
    return rc;
}
