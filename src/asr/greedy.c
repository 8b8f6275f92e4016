/* See greedy.h. Source: NeMo parts/submodules/rnnt_greedy_decoding.py; arXiv 2304.06795 (TDT). */
#include "asr/greedy.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/kernels.h"

struct rs_token *rs_transcript_push(struct rs_transcript *out)
{
    if (!rs_grow((void **)&out->tokens, &out->cap, out->count + 1, sizeof *out->tokens))
        return NULL;
    return &out->tokens[out->count++];
}

void rs_transcript_free(struct rs_transcript *t)
{
    free(t->tokens);
    *t = (struct rs_transcript){0};
}

int rs_transducer_search(const struct rs_transducer_net *net, int frames, int blank, int max_symbols,
                         struct rs_transcript *out, struct rs_err *e)
{
    int at_frame = 0;                         /* tokens since the frame was entered */
    for (int t = 0; t < frames;) {
        struct rs_step step;
        if (!net->best(net->net, t, &step))
            return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
        if (step.token != blank) {
            struct rs_token *token = rs_transcript_push(out);
            if (!token || !net->take(net->net, step.token))
                return rs_fail(e, RS_E_NOMEM, "no memory to decode %d frames", frames);
            *token = (struct rs_token){.id = step.token, .frame = t, .duration = step.duration, .confidence = step.confidence};
            at_frame++;
        }
        int advance = step.duration;
        if (advance == 0 && (step.token == blank || at_frame >= max_symbols))
            advance = 1;
        if (advance > 0)
            at_frame = 0;
        t += advance;
    }
    return 0;
}

int rs_argmax(const float *x, int n)
{
    return rs_kernels()->argmax(x, n);
}

float rs_log_sum_exp(const float *x, int n, float top)
{
    return top + logf(rs_kernels()->sum_exp(x, n, top));
}
