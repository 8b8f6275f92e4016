/* For the fuzz targets: any bytes as a model file, through the container to every tensor's first values and, for a
 * detector, its weights; or as one file of a Hugging Face folder. */
#ifndef RS_FUZZ_OPEN_H
#define RS_FUZZ_OPEN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/model.h"
#include "vad/silero.h"

static inline void fuzz_use(struct rs_model *m)
{
    struct rs_err e = {0};
    void *detector;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct rs_tensor *t = &m->tensors[i];
        float block[256];
        if (!rs_type_whole(t->type) && rs_tensor_count(t) >= rs_type_block(t->type) && rs_type_block(t->type) <= 256)
            rs_dequantize(t->type, t->data, block, rs_type_block(t->type));
    }
    if (m->config.arch == RS_ARCH_SILERO_VAD && rs_silero_new(&detector, m, &e) == 0)
        rs_silero_detector.free(detector);
    rs_model_close(m);
}

/* `magic` (may be empty) goes over the first bytes, so that no run is spent on guessing it. */
static inline int fuzz_open(const uint8_t *data, size_t size, const char *magic)
{
    struct rs_model *m;
    struct rs_err e = {0};
    uint8_t *own = malloc(size ? size : 1);      /* of exactly this size, so that a read beyond it is seen */
    if (!own)
        return 0;
    memcpy(own, data, size);
    if (size >= strlen(magic))
        memcpy(own, magic, strlen(magic));
    if (rs_model_open_memory(&m, own, size, "fuzz", &e) == 0)
        fuzz_use(m);
    free(own);
    return 0;
}

static inline void fuzz_put(const char *folder, const char *name, const void *data, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (f) {
        fwrite(data, 1, size, f);
        fclose(f);
    }
}

static char fuzz_folder_path[256], fuzz_folder_name[64];

static inline void fuzz_leave(void)
{
    char command[300];
    if (!*fuzz_folder_name)
        return;
    *fuzz_folder_name = 0;
    snprintf(command, sizeof command, "rm -r '%s'", fuzz_folder_path);
    if (system(command))
        return;
}

/* A folder in memory (where TMPDIR says, see scripts/lint/fuzz) with the fixture's files but for one. */
static inline int fuzz_enter(const char *name)
{
    static const char *const files[] = {"config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"};
    const char *base = getenv("TMPDIR");
    snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "%.200s/rec-stt-fuzz-%ld", base ? base : "/tmp", (long)getpid());
    if (mkdir(fuzz_folder_path, 0700))
        return -1;
    snprintf(fuzz_folder_name, sizeof fuzz_folder_name, "%s", name);
    atexit(fuzz_leave);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[300], here[4096], path[300];
        snprintf(from, sizeof from, "tests/fixtures/containers/tiny-ctc-hf/%s", files[i]);
        snprintf(path, sizeof path, "%s/%s", fuzz_folder_path, files[i]);
        if (strcmp(files[i], name) != 0 && realpath(from, here) && symlink(here, path) != 0)
            return -1;
    }
    return 0;
}

/* The folder with its files as they are but for one, which has these bytes. */
static inline int fuzz_folder(const uint8_t *data, size_t size, const char *name)
{
    struct rs_model *m;
    struct rs_err e = {0};
    if (strcmp(fuzz_folder_name, name) != 0) {
        fuzz_leave();
        if (fuzz_enter(name))
            abort();
    }
    fuzz_put(fuzz_folder_path, name, data, size);
    if (rs_model_open(&m, fuzz_folder_path, &e) == 0)
        fuzz_use(m);
    return 0;
}

#endif
