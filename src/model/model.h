/* A model file, whatever its container: a table of tensors under NeMo's names, the few configuration
 * values that tensors cannot tell, and the tokenizer's pieces. Weights are mapped and used in place.
 *
 * Containers live in one file each (gguf.c, huggingface.c with safetensors.c, nemo.c, ggml_bin.c); every one fills the same
 * struct. Files are untrusted: every length is checked before use, nothing is executed.
 */
#ifndef RS_MODEL_H
#define RS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tensor/tensor.h"

enum rs_arch { RS_ARCH_FASTCONFORMER, RS_ARCH_SILERO_VAD };

struct rs_model_config {
    enum rs_arch arch;
    bool xscaling;
    int heads;                          /* 0: take from pos_bias_u */
    int att_left, att_right;            /* -1: unlimited */
    int durations[16], n_durations;     /* TDT; 0 for RNNT and CTC */
    int max_symbols;                    /* 10 unless the file says otherwise */
    int sample_rate, n_fft, win_length, hop_length;   /* 16000, 512, 400, 160 */
    float preemphasis, log_guard;       /* 0.97, 2^-24 */
    bool normalize;                     /* per_feature; false for "NA" */
    char activation[12];                /* joint: "relu" */
    float lm_weight, lm_prior, lm_bonus, lm_ctc, lm_unknown, lm_neural, lm_end;     /* for the tensors lm.*: asr/beam.h */
};

#define RS_SPACE "\xe2\x96\x81"      /* ▁: with it begins a piece that begins a word */

struct rs_piece { const char *text; uint16_t len; uint8_t kind; };   /* kind: SentencePiece's enum, 1 normal … 6 byte */

struct rs_model {
    char path[1024];                    /* the file or folder; "embedded" for the linked-in model */
    char name[128];                     /* for people and events: "parakeet-tdt-0.6b-v3" */
    char container[24];                 /* "gguf (nemo-speech)", "nemo", "safetensors", "ggml bin" … */
    char licence[64], language[128];    /* as the file says, or empty */
    struct rs_model_config config;
    struct rs_tensor *tensors;          /* sorted by name */
    size_t n_tensors;
    struct rs_piece *pieces;            /* index = token id; NUL-terminated UTF-8 with ▁ kept */
    int n_pieces;
    uint64_t identity;                  /* hash of size, mtime, inode and header: the key of derived caches */
    void *impl;                         /* mappings and memory, freed by rs_model_close */
};

/* Opens a path (file or folder), a name looked up in the models folders, or NULL: what REC_STT_MODEL names, else
 * "default": the model of that name (`rec-stt model default` links it), else the embedded one. */
int rs_model_open(struct rs_model **out, const char *name_or_path, struct rs_err *e);

/* Where that name lies: a path, or "embedded". A name without a slash is a model of the folders, or the embedded one, before
 * it is a file in the current folder: /etc/default is not the default model. */
int rs_model_locate(const char *name_or_path, char *path, size_t size, struct rs_err *e);
extern const char *const rs_model_shared[2];     /* the folders searched after the person's own */

/* Opens a GGUF image in memory (the embedded model, tests and fuzzers). The memory must outlive it. */
int rs_model_open_memory(struct rs_model **out, const void *data, size_t size, const char *name, struct rs_err *e);
void rs_model_close(struct rs_model *m);

/* The tensor of that name, or NULL. */
const struct rs_tensor *rs_model_find(const struct rs_model *m, const char *name);

/* As rs_model_find, but missing or of another shape is RS_E_MODEL_BAD with the name and both shapes.
 * A dimension of -1 accepts any size; trailing dimensions of 1 are ignored in the comparison. */
int rs_model_need(const struct rs_model *m, const struct rs_tensor **out, const char *name, int ndim,
                  const int64_t *shape, struct rs_err *e);

#endif
