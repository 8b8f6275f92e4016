/* Everybody's containers hold the same model (tests/fixtures/containers, written by scripts/containers/dialects with
 * the others' own tools): the same tensors and tokens bit for bit where nothing was rounded or folded, the same
 * tokens out of the same sound where something was. And every damage is a sentence. */
#include "containers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asr/asr.h"
#include "tensor/tensor.h"

#define FROM "tests/fixtures/containers/"
#define PARITY "tests/fixtures/parity/"

static const struct { const char *path, *gguf; bool same_bits, half; } all[] = {
    {FROM "tiny-tdt-hf", PARITY "tiny-tdt.gguf", true, false},
    {FROM "tiny-tdt-hf/model-00001-of-00003.safetensors", PARITY "tiny-tdt.gguf", true, false},
    {FROM "tiny-ctc-hf/", PARITY "tiny-ctc.gguf", true, false},
    {FROM "tiny-rnnt-hf", PARITY "tiny-rnnt.gguf", true, false},
    {FROM "tiny-tdt-transcribe.gguf", PARITY "tiny-tdt.gguf", false, false},
    {FROM "tiny-rnnt-transcribe.gguf", PARITY "tiny-rnnt.gguf", false, false},
    {FROM "tiny-tdt-qvac.gguf", PARITY "tiny-tdt.gguf", false, false},
    {FROM "tiny-ctc-qvac.gguf", PARITY "tiny-ctc.gguf", false, false},
    {FROM "tiny-tdt-whisper.bin", PARITY "tiny-tdt.gguf", false, false},
    {FROM "tiny-tdt-crispasr.gguf", PARITY "tiny-tdt.gguf", false, true},
};
enum { COUNT = sizeof all / sizeof *all, SAMPLES = 80000 };

/* Every tensor of b in a, with the same values but for rounding to half precision. */
static int differing(const struct rs_model *a, const struct rs_model *b, bool half)
{
    int differ = 0;
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct rs_tensor *t = &b->tensors[i], *o = rs_model_find(a, t->name);
        const int64_t n = rs_tensor_count(t);
        float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
        int off = !o || rs_tensor_count(o) != n || !x || !y;
        if (!off) {
            rs_dequantize(t->type, t->data, x, n);
            rs_dequantize(o->type, o->data, y, n);
            for (int64_t k = 0; k < n && !off; k++)
                off = y[k] != x[k] && !(half && y[k] == rs_f16_to_f32(rs_f32_to_f16(x[k])));
        }
        if (off && differ++ < 3)
            printf("  %s of %s\n", t->name, a->path);
        free(x);
        free(y);
    }
    return differ;
}

static void the_same_weights(void)
{
    for (int i = 0; i < COUNT; i++) {
        struct rs_model *a = NULL, *b = NULL;
        struct rs_err e = {0};
        CHECK_INT(rs_model_open(&a, all[i].path, &e), 0);
        CHECK_INT(rs_model_open(&b, all[i].gguf, &e), 0);
        if (!a || !b) {
            printf("  %s: %s\n", all[i].path, e.msg);
        } else {
            same_config(a, b);
            if (all[i].same_bits || all[i].half)
                CHECK_INT(differing(a, b, all[i].half), 0);
        }
        rs_model_close(a);
        rs_model_close(b);
    }
}

static int hear(const char *path, struct rs_transcript *t)
{
    struct rs_asr *a;
    struct rs_err e = {0};
    static float sound[SAMPLES];
    const struct rs_asr_options o = {.model = path, .backend = "f32-openblas", .threads = 1};
    uint32_t x = 7;
    for (int i = 0; i < SAMPLES; i++) {
        x = x * 1664525 + 1013904223;
        sound[i] = 0.3f * sinf((float)i * (0.02f + 0.00001f * (float)(i / 1280))) + (float)(x >> 8) / 16777216.0f * 0.05f;
    }
    int rc = rs_asr_open(&a, &o, &e);
    if (!rc) {
        rc = rs_asr_run(a, sound, SAMPLES, t, &e);
        rs_asr_close(a);
    }
    if (rc)
        printf("  %s: %s\n", path, e.msg);
    return rc;
}

static void the_same_tokens(void)
{
    for (int i = 0; i < COUNT; i++) {
        struct rs_transcript a = {0}, b = {0};
        CHECK_INT(hear(all[i].path, &a), 0);
        CHECK_INT(hear(all[i].gguf, &b), 0);
        CHECK(b.count > 5);
        if (!all[i].half)
            CHECK_INT(a.count, b.count);
        for (size_t k = 0; k < a.count && k < b.count && !all[i].half; k++) {
            CHECK_INT(a.tokens[k].id, b.tokens[k].id);
            CHECK_INT(a.tokens[k].frame, b.tokens[k].frame);
            CHECK_NEAR(a.tokens[k].confidence, b.tokens[k].confidence, all[i].same_bits ? 0 : 1e-4);
        }
        rs_transcript_free(&a);
        rs_transcript_free(&b);
    }
}

/* ---- Damage ---- */

static void cuts_are_refused(void)
{
    static const char *const files[] = {FROM "tiny-tdt-whisper.bin", FROM "tiny-tdt-transcribe.gguf", FROM "tiny-ctc-qvac.gguf",
                                        FROM "tiny-tdt-crispasr.gguf"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t size;
        uint8_t *data = slurp(files[i], &size);
        int accepted = 0;
        CHECK(data != NULL);
        for (size_t n = 0; data && n < size; n += n < 20000 ? 97 : 3001)
            accepted += !refused(data, n);
        CHECK_INT(accepted, 0);
        free(data);
    }
}

static void flipped_bytes_never_crash(void)
{
    static const char *const files[] = {FROM "tiny-tdt-whisper.bin", FROM "tiny-tdt-transcribe.gguf", FROM "tiny-ctc-qvac.gguf"};
    uint32_t x = 99;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        size_t size;
        int bad = 0;
        uint8_t *data = slurp(files[f], &size);
        CHECK(data != NULL);
        for (int round = 0; data && round < 2000; round++) {
            x = x * 1664525 + 1013904223;
            const size_t at = (x >> 4) % (round % 2 ? size : 12000);
            const uint8_t was = data[at];
            data[at] = (uint8_t)(x >> 24);
            bad += refused(data, size);
            data[at] = was;
        }
        CHECK(bad > 0);
        free(data);
    }
}

/* ---- Folders ---- */

static char folder[64];

static void put(const char *name, const void *data, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, size, f) == size);
    if (f)
        fclose(f);
}

static void put_text(const char *name, const char *text) { put(name, text, strlen(text)); }

static void put_copy(const char *name)
{
    char path[200];
    size_t size;
    snprintf(path, sizeof path, FROM "tiny-ctc-hf/%s", name);
    uint8_t *data = slurp(path, &size);
    CHECK(data != NULL);
    if (data)
        put(name, data, size);
    free(data);
}

static void drop(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

/* The folder is refused, and the sentence has these words. */
static void says(const char *words)
{
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    CHECK(rs_model_open(&m, folder, &e) < 0);
    if (!strstr(e.msg, words))
        CHECK_STR(e.msg, words);
    rs_model_close(m);
}

static void fresh_folder(void)
{
    put_copy("config.json");
    put_copy("tokenizer.json");
    put_copy("model.safetensors");
    put_copy("preprocessor_config.json");
    drop("model.safetensors.index.json");
}

static void bad_folders_are_refused(void)
{
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    size_t size;
    snprintf(folder, sizeof folder, "/tmp/rs-containers-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    says("has no config.json");
    fresh_folder();
    CHECK_INT(rs_model_open(&m, folder, &e), 0);
    rs_model_close(m);
    put_text("config.json", "{\"model_type\":\"whisper\"}");
    says("a Whisper model");
    put_text("config.json", "[1]");
    says("config.json");
    put_text("config.json", "{\"model_type\":\"parakeet_ctc\",\"vocab_size\":99999999}");
    says("vocab_size");
    put_text("config.json", "{\"model_type\":\"parakeet_ctc\",\"vocab_size\":7,\"encoder_config\":7}");
    says("tokens");                                   /* the head has 41 rows, not 7 */
    fresh_folder();
    put_text("tokenizer.json", "{\"model\":{\"vocab\":{}}}");
    says("tokenizer.json");
    drop("tokenizer.json");
    says("has no tokenizer.json");
    fresh_folder();
    put_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../model.safetensors\"}}");
    says("outside the folder");
    put_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"none.safetensors\"}}");
    says("cannot be opened");
    put_text("model.safetensors.index.json", "{\"weight_map\":{}}");
    says("names no files");
    fresh_folder();
    uint8_t *data = slurp(FROM "tiny-ctc-hf/model.safetensors", &size);
    for (size_t n = 4; data && n < size; n += n < 9000 ? 311 : 20011) {
        put("model.safetensors", data, n);
        says("");
    }
    free(data);
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors", "preprocessor_config.json", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        drop(names[i]);
    CHECK_INT(rmdir(folder), 0);
}

/* Weights that are written again in place are another model, though the folder was not touched. */
static void new_weights_are_another_model(void)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors", "preprocessor_config.json"};
    char path[200];
    uint64_t seen[3] = {0};
    snprintf(folder, sizeof folder, "/tmp/rs-containers-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    fresh_folder();
    for (int i = 0; i < 3; i++) {
        struct rs_model *m = NULL;
        struct rs_err e = {0};
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        if (i == 2)
            CHECK_INT(utimensat(AT_FDCWD, path, (const struct timespec[2]){{7, 0}, {7, 0}}, 0), 0);
        CHECK_INT(rs_model_open(&m, folder, &e), 0);
        seen[i] = m ? m->identity : 0;
        rs_model_close(m);
    }
    CHECK(seen[0] == seen[1] && seen[1] != seen[2]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        drop(names[i]);
    CHECK_INT(rmdir(folder), 0);
}

/* A GGUF file whose tensors all lie at one place: a small file that asks for any amount of packed weights. */
static void tensors_in_each_other(void)
{
    struct rs_model *m = NULL;
    struct rs_err e = {0};
    size_t size, most = 0, moved = 0;
    uint8_t *image = slurp("tests/fixtures/parity/tiny-hybrid.gguf", &size);
    CHECK(image != NULL);
    CHECK_INT(image ? rs_model_open_memory(&m, image, size, "whole", &e) : -1, 0);
    if (!m)
        return;
    const uint8_t *first = image + size;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const uint8_t *at = m->tensors[i].data;
        first = at >= image && at < first ? at : first;
        most = m->tensors[i].bytes > most ? m->tensors[i].bytes : most;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        uint8_t place[12] = {0};                          /* its type, f32, and its offset */
        const uint64_t offset = (uint64_t)((const uint8_t *)m->tensors[i].data - first);
        memcpy(place + 4, &offset, 8);
        uint8_t *found = offset > 65536 ? memmem(image, (size_t)(first - image), place, sizeof place) : NULL;
        if (found)
            memset(found + 4, 0, 8);
        moved += found != NULL;
    }
    rs_model_close(m);
    CHECK(moved > 10);
    CHECK(rs_model_open_memory(&m, image, (size_t)(first - image) + (size_t)65536 + most, "small", &e) < 0);
    CHECK(strstr(e.msg, "lie in each other"));
    free(image);
}

int main(void)
{
    RUN(new_weights_are_another_model);
    RUN(tensors_in_each_other);
    RUN(the_same_weights);
    RUN(the_same_tokens);
    RUN(cuts_are_refused);
    RUN(flipped_bytes_never_crash);
    RUN(bad_folders_are_refused);
    return REPORT();
}
