/* The door to voice activity: cuts whatever arrives into hops and asks the chosen detector. */
#include "vad/vad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/embedded.h"
#include "model/model.h"
#include "vad/detector.h"
#include "vad/silero.h"

struct rs_vad {
    const struct rs_detector *detector;
    void *self;
    size_t fill;                       /* samples waiting in `pending` */
    float pending[RS_VAD_GROUP * RS_VAD_HOP];
};

static int open_model(struct rs_vad *v, struct rs_model *m, struct rs_err *e)
{
    int r = 0;
    if (m->config.arch != RS_ARCH_SILERO_VAD)
        r = rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is not a voice detector: give a file with Silero's tensors, or 'energy'.", m->path);
    if (r == 0)
        r = rs_silero_new(&v->self, m, e);
    if (r == 0)
        v->detector = &rs_silero_detector;
    rs_model_close(m);
    return r;
}

static int open_energy(struct rs_vad *v, struct rs_err *e)
{
    v->self = rs_energy_new();
    if (!v->self)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the voice detector.");
    v->detector = &rs_energy_detector;
    return 0;
}

static int choose(struct rs_vad *v, const char *model, struct rs_err *e)
{
    const struct rs_embedded own = rs_embedded_vad();
    struct rs_model *m;
    if (model ? strcmp(model, "energy") == 0 : own.size == 0)
        return open_energy(v, e);
    char path[1024];
    if (model && rs_model_locate(model, path, sizeof path, NULL))
        return rs_fail(e, RS_E_MODEL_MISSING, "There is no voice detector \"%.120s\": give --vad a file with Silero's tensors, or 'energy'.", model);
    const int r = model ? rs_model_open(&m, model, e) : rs_model_open_memory(&m, own.data, own.size, own.name, e);
    return r < 0 ? r : open_model(v, m, e);
}

int rs_vad_open(struct rs_vad **out, const char *model, struct rs_err *e)
{
    *out = NULL;
    struct rs_vad *v = rs_zeroed(1, sizeof *v);
    if (!v)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the voice detector.");
    const int r = choose(v, model, e);
    if (r < 0)
        rs_vad_close(v);
    else
        *out = v;
    return r;
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

/* The whole hops that wait are answered together: a detector reads its weights once for all of them. */
static size_t answer(struct rs_vad *v, float *prob)
{
    const size_t hops = v->fill / RS_VAD_HOP, used = hops * RS_VAD_HOP;
    if (hops)
        v->detector->hops(v->self, v->pending, (int)hops, prob);
    v->fill -= used;
    memmove(v->pending, v->pending + used, v->fill * sizeof *v->pending);
    return hops;
}

size_t rs_vad_feed(struct rs_vad *v, const float *pcm, size_t n, float *prob)
{
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        v->pending[v->fill++] = isfinite(pcm[i]) ? pcm[i] : 0;
        if (v->fill == RS_VAD_GROUP * RS_VAD_HOP)
            made += answer(v, prob + made);
    }
    return made + answer(v, prob + made);
}
