/* The door to voice activity: cuts whatever arrives into hops and asks the chosen detector. */
#include "vad/vad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "vad/detector.h"

struct rs_vad {
    const struct rs_detector *detector;
    void *self;
    size_t fill;                       /* samples waiting in `pending` */
    float pending[RS_VAD_HOP];
};

int rs_vad_open(struct rs_vad **out, const char *model, struct rs_err *e)
{
    *out = NULL;
    if (model && strcmp(model, "energy") != 0)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "The voice detector '%.200s' cannot be used: only 'energy' is built in.",
                       model);
    struct rs_vad *v = rs_zeroed(1, sizeof *v);
    if (v)
        v->self = rs_energy_new();
    if (!v || !v->self) {
        rs_vad_close(v);
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the voice detector.");
    }
    v->detector = &rs_energy_detector;
    *out = v;
    return 0;
}

void rs_vad_close(struct rs_vad *v)
{
    if (v && v->detector)
        v->detector->free(v->self);
    free(v);
}

void rs_vad_reset(struct rs_vad *v)
{
    v->fill = 0;
    v->detector->reset(v->self);
}

const char *rs_vad_name(const struct rs_vad *v)
{
    return v->detector->name;
}

size_t rs_vad_feed(struct rs_vad *v, const float *pcm, size_t n, float *prob)
{
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        v->pending[v->fill++] = isfinite(pcm[i]) ? pcm[i] : 0;
        if (v->fill == RS_VAD_HOP) {
            prob[made++] = v->detector->hop(v->self, v->pending);
            v->fill = 0;
        }
    }
    return made;
}
