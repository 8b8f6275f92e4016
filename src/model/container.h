/* Between model.c and the containers: how a container fills a struct rs_model. */
#ifndef RS_CONTAINER_H
#define RS_CONTAINER_H

#include "base/mem.h"
#include "model/model.h"
#include "model/names.h"

/* A file in memory. stamp: which file it was, and when it was written last; 0 for an image. */
struct rs_mapping { const uint8_t *data; size_t size; uint64_t stamp; };

struct rs_model_impl {
    const uint8_t *data;      /* the whole file */
    size_t size;
    uint64_t stamp;           /* of it, as in rs_mapping */
    bool mapped;              /* data is ours to unmap */
    struct rs_mapping *more;  /* a folder's files */
    size_t n_more, more_cap;
    struct rs_arena strings;
    size_t tensor_cap;
    struct rs_piece *pieces;  /* where they are not in the arena: freed with the model */
};

/* Appends a tensor; its data must lie in the file. The name is copied. */
int rs_model_add(struct rs_model *m, const struct rs_tensor *t, const char *name, size_t name_len, struct rs_err *e);

int rs_model_add_constant(struct rs_model *m, const char *name, int64_t n, float value, struct rs_err *e);

/* A NUL-terminated copy that lives as long as the model; NULL when memory ends. */
char *rs_model_string(struct rs_model *m, const char *s, size_t len);

/* m->impl holds the file; fills the rest. */
int rs_gguf_read(struct rs_model *m, struct rs_err *e);
int rs_safetensors_read(struct rs_model *m, struct rs_err *e);
int rs_nemo_read(struct rs_model *m, struct rs_err *e);
int rs_ggml_bin_read(struct rs_model *m, struct rs_err *e);

/* A folder of Hugging Face's transformers; m->impl is empty. */
int rs_huggingface_read(struct rs_model *m, const char *path, struct rs_err *e);

/* Maps a further file of the model, unmapped with it. */
int rs_model_map(struct rs_model *m, const char *path, const uint8_t **data, size_t *size, struct rs_err *e);

/* Unpacks a gzip file (a mapping) into a nameless file and maps that; the caller unmaps it. */
int rs_model_gunzip(const char *path, struct rs_mapping in, struct rs_mapping *out, struct rs_err *e);

/* Adds the tensors of one safetensors file under their canonical names; whole numbers are left out. */
int rs_safetensors_tensors(struct rs_model *m, const char *path, const uint8_t *data, size_t size, enum rs_naming naming, struct rs_err *e);

/* Parakeet's values where a file does not say otherwise. */
struct rs_model_config rs_model_defaults(void);

bool rs_safetensors_is(const uint8_t *data, size_t size);   /* does it look like one? It has no magic number */

/* Fails with a sentence that names what the file is instead of a model. */
int rs_model_unlike(const char *path, const uint8_t *data, size_t size, struct rs_err *e);

bool rs_nemo_is(const uint8_t *data, size_t size);          /* a tar */

#endif
