/* The greedy transducer search, without the network: it asks for the best token and duration at a frame and
 * says which token was taken. And the small pieces that decoders share.
 */
#ifndef RS_GREEDY_H
#define RS_GREEDY_H

#include <stdbool.h>

#include "asr/asr.h"
#include "base/err.h"

/* The best token at a frame; duration is what the network says (RNNT: 1 for blank, else 0). */
struct rs_step { int token, duration; float confidence; };

struct rs_transducer_net {
    bool (*best)(void *net, int frame, struct rs_step *step);       /* false: out of memory */
    bool (*take)(void *net, int token);
    void *net;
};

/* NeMo's greedy search: a blank of duration 0 counts as 1; a token of duration 0 leaves the frame open for
 * more, at most max_symbols of them. Tokens are appended to out with frame, duration and confidence. */
int rs_transducer_search(const struct rs_transducer_net *net, int frames, int blank, int max_symbols,
                         struct rs_transcript *out, struct rs_err *e);

/* Room for one more token at the end of out, or NULL. */
struct rs_token *rs_transcript_push(struct rs_transcript *out);

/* Index of the largest value; the first one wins ties. */
int rs_argmax(const float *x, int n);

/* log Σ e^x, which turns scores into log probabilities; `top` is the largest of them. */
float rs_log_sum_exp(const float *x, int n, float top);

#endif
