/* Speech recognition: 16 kHz mono f32 in, tokens with times and confidences out.
 *
 * `struct rs_asr` is one opened recogniser with its scratch memory; it is used by one thread at a time
 * (inside, work is spread over a pool). The chunker and the merge know only this interface, so another
 * architecture is one file here and one row in the table of asr.c.
 */
#ifndef RS_ASR_H
#define RS_ASR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RS_SAMPLE_RATE 16000

struct rs_token {
    int id;
    int frame, duration;      /* encoder frames (80 ms); duration 0 is possible for TDT */
    float start, end;         /* seconds from the start of the audio given */
    float confidence;         /* probability of the token at its emission step */
};

struct rs_stage_times { int64_t features_ns, encoder_ns, decoder_ns; };

struct rs_transcript {        /* owned by the caller; grown by rs_asr_run, reused between calls */
    struct rs_token *tokens;
    size_t count, cap;
    int frames;               /* encoder frames */
    struct rs_stage_times times;
};
void rs_transcript_free(struct rs_transcript *t);

struct rs_asr_options {
    const char *model;        /* as rs_model_open */
    const char *backend;      /* as rs_backend_choose */
    const char *decoder;      /* NULL or "auto": TDT/RNNT if there, else CTC; "tdt", "rnnt", "ctc" */
    const char *language;     /* hint, NULL: auto */
    int threads;              /* 0: physical cores */
};

struct rs_asr;
int rs_asr_open(struct rs_asr **out, const struct rs_asr_options *o, struct rs_err *e);
/* The same for a model that the caller has opened or made and frees after rs_asr_close; o->model is not
 * looked at, and packed weights are not kept. */
struct rs_model;
int rs_asr_open_model(struct rs_asr **out, struct rs_model *m, const struct rs_asr_options *o, struct rs_err *e);
void rs_asr_close(struct rs_asr *a);

/* Keeps the weights that opening had to pack, so that the next opening maps them (tensor/pack.h). Nothing
 * happens where they were mapped already or cannot be kept. May take seconds: after the work is done, or
 * from `model prepare`. *path (may be NULL) becomes the file's path or "", and lives as long as `a`. */
int rs_asr_keep_packed(struct rs_asr *a, const char **path, struct rs_err *e);

/* Reads the kept weights whole and compares their checksums; damaged ones are removed and reported. */
int rs_asr_verify_packed(const struct rs_asr *a, struct rs_err *e);

/* Transcribes n samples (any n, also 0). NaN and infinite samples count as 0. */
int rs_asr_run(struct rs_asr *a, const float *pcm, size_t n, struct rs_transcript *out, struct rs_err *e);

/* Facts for events, doctor and bench. Strings live as long as `a`. */
struct rs_asr_info {
    const char *model, *container, *backend, *decoder, *language;
    const char *language_note;                /* for a person who asked for one that it does not take; NULL: nothing */
    int threads, layers, width, mels, pieces;
    int64_t parameters;
};
const struct rs_asr_info *rs_asr_facts(const struct rs_asr *a);

/* Tokens to text. starts_word: the piece carries ▁ (or is the first). is_punctuation: the piece's text
 * is supported punctuation only. same_piece: equal ids, or pieces that differ in case alone. */
bool rs_asr_starts_word(const struct rs_asr *a, int id);
bool rs_asr_is_punctuation(const struct rs_asr *a, int id);
bool rs_asr_same_piece(const struct rs_asr *a, int id1, int id2);

/* Detokenizes into buf as valid UTF-8 (bad bytes become U+FFFD, special pieces vanish), always
 * NUL-terminated; returns the length that the whole text needs, as snprintf does. */
size_t rs_asr_text(const struct rs_asr *a, const struct rs_token *tokens, size_t count, char *buf, size_t size);

/* Words out of tokens, NeMo's rules (spec: get_words_offsets): text, start, end, mean confidence, and the
 * range of tokens. Caller frees *words with free(); texts point into the same block. */
struct rs_word { const char *text; float start, end, confidence; size_t first_token, n_tokens; };
int rs_asr_words(const struct rs_asr *a, const struct rs_token *tokens, size_t count, struct rs_word **words,
                 size_t *n_words, struct rs_err *e);

#endif
