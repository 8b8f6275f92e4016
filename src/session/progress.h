/* From a growing recording to text, chunk by chunk: where to cut, what to decode, what to keep.
 *
 * One thread feeds audio, another asks for chunks; between them stands the session's audio, of which
 * only what a later chunk can still need is kept. Pure of devices, signals and output.
 */
#ifndef RS_PROGRESS_H
#define RS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "asr/asr.h"
#include "base/err.h"
#include "session/merge.h"
#include "vad/vad.h"

struct rs_progress;

struct rs_progress_options {
    double chunk_s, overlap_s;     /* 15 and 2; 0 <= overlap <= chunk/2 */
    bool single_pass;              /* everything in one chunk (transcribe of short files, tests) */
    bool no_ahead;                 /* no look-ahead: the text must not depend on when samples come (files) */
    size_t max_backlog_s;          /* audio kept at most while the engine is behind, in seconds */
};

struct rs_gap { double start, end; };    /* seconds in the session: audible speech that gave no tokens */

struct rs_chunk {                  /* owned by the caller, reused; rs_chunk_free at the end */
    int index;
    bool final;
    char *text;                    /* only what is new; joined with single spaces they give the whole text */
    double start, end;             /* seconds in the session that the new words cover */
    double confidence;             /* mean over the new tokens; 0 when there are none */
    double audio_ms;               /* audio decoded for it, overlap included */
    struct rs_token *tokens;       /* the new tokens, times in the session */
    size_t n_tokens, cap_tokens;
    struct rs_word *words;         /* the new words, times in the session */
    size_t n_words;
    struct rs_gap *gaps;
    size_t n_gaps;
    int64_t elapsed_ns;            /* everything it cost */
    struct rs_stage_times times;   /* summed over its decodes */
    bool ahead;                    /* the result had been computed ahead (speculative finish) */
};
void rs_chunk_free(struct rs_chunk *c);

/* asr may be NULL at first (recording starts before the model is open) and given by rs_progress_attach.
 * vad must outlive it. */
int rs_progress_new(struct rs_progress **out, struct rs_vad *vad, const struct rs_progress_options *o, struct rs_err *e);
void rs_progress_free(struct rs_progress *p);
void rs_progress_attach(struct rs_progress *p, struct rs_asr *asr);
void rs_progress_attach_recogniser(struct rs_progress *p, const struct rs_recogniser *r);   /* tests */

/* Appends samples and runs the detector over them. RS_E_BACKPRESSURE when the backlog is full: nothing
 * of this call was taken. Feeder's thread. */
int rs_progress_feed(struct rs_progress *p, const float *pcm, size_t n, struct rs_err *e);
void rs_progress_end(struct rs_progress *p);               /* no more audio will come */
void rs_progress_stopping(struct rs_progress *p);          /* not much more will come */
void rs_progress_cut(struct rs_progress *p);               /* SIGUSR1: the open chunk is due now */

/* What the detector has heard so far. Any thread. */
struct rs_speech_state { double audio_s; bool any; double first_s, last_s; bool speaking; };
void rs_progress_speech(struct rs_progress *p, struct rs_speech_state *s);

/* True when a chunk can be transcribed now: enough audio, a cut, or the end. Any thread. */
bool rs_progress_due(struct rs_progress *p);
bool rs_progress_finished(struct rs_progress *p);          /* ended, and the final chunk was given */

/* Transcribes the next due chunk and merges it. After the end the final chunk holds the rest. An error
 * leaves earlier text valid and the chunk skipped (its span is reported as a gap). Worker's thread. */
int rs_progress_chunk(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e);

/* Transcribes the open chunk ahead of time: its text so far goes to `out` (for `partial` events). If only
 * silence follows, the final chunk is answered from it at once. Worker's thread. */
int rs_progress_ahead(struct rs_progress *p, struct rs_chunk *out, struct rs_err *e);
bool rs_progress_wants_ahead(struct rs_progress *p);       /* a pause after speech that was not decoded yet */

/* All text given out so far: the chunk texts joined by single spaces. */
const char *rs_progress_text(const struct rs_progress *p);

#endif
