/* From token ids to text and words (SentencePiece pieces, id → piece only).
 *
 * U+2581 (▁) stands for a space; byte pieces <0xHH> are put together again to UTF-8; special pieces
 * (<unk>, <|nospeech|>, <pad>, …) have no text. Whatever the pieces are, the text is valid UTF-8.
 */
#ifndef RS_TOKENIZER_H
#define RS_TOKENIZER_H

#include "asr/asr.h"
#include "model/model.h"

struct rs_tokenizer;

/* The model must outlive it. */
int rs_tokenizer_new(struct rs_tokenizer **out, const struct rs_model *m, struct rs_err *e);
void rs_tokenizer_free(struct rs_tokenizer *t);

/* These four are rs_asr_starts_word and so on; ids out of range have no text. */
bool rs_tokenizer_starts_word(const struct rs_tokenizer *t, int id);
bool rs_tokenizer_is_punctuation(const struct rs_tokenizer *t, int id);
bool rs_tokenizer_same_piece(const struct rs_tokenizer *t, int id1, int id2);
size_t rs_tokenizer_text(const struct rs_tokenizer *t, const struct rs_token *tokens, size_t count, char *buf, size_t size);

bool rs_tokenizer_is_special(const struct rs_tokenizer *t, int id);

/* NeMo's get_words_offsets, but that opening punctuation (a piece such as ▁¿ or ▁") begins a word rather than
 * joining the one before it. The words' texts joined by single spaces are rs_tokenizer_text's. */
int rs_tokenizer_words(const struct rs_tokenizer *t, const struct rs_token *tokens, size_t count, struct rs_word **words,
                       size_t *n_words, struct rs_err *e);

/* Punctuation takes no time: it begins and ends where the token before it ended (NeMo's refined times). */
void rs_tokenizer_refine_times(const struct rs_tokenizer *t, struct rs_token *tokens, size_t count);

#endif
