/* See subsample.h. Formulas: NeMo parts/submodules/subsampling.py (ConvSubsampling, dw_striding). */
#include "asr/subsample.h"

#include <stdio.h>
#include <string.h>

#include "tensor/kernels.h"

#define BLOCK 8           /* output rows in one go */
#define FLAT 64           /* output rows that meet the last, large matrix at once */
#define FIRST_ROWS 4      /* rows of the first image that are kept: three are read at once */

static int halved(int n)
{
    return (n - 1) / 2 + 1;
}

/* [channels][1][3][3] → [9][channels], for loops over channels. */
static float *by_tap(struct rs_weights *w, const char *name, int channels, int rows)
{
    const float *from = rs_weights_values(w, "encoder.pre_encode.", name, 4, (const int64_t[]){channels, 1, 3, 3});
    float *to = rs_weights_room(w, (size_t)rows * (size_t)channels);
    if (!from || !to)
        return NULL;
    for (int c = 0; c < channels; c++)
        for (int j = 0; j < 9; j++)
            to[j * channels + c] = from[c * 9 + j];
    return to;
}

static void load_stage(struct rs_subsample *s, struct rs_weights *w, int i)
{
    char name[32];
    snprintf(name, sizeof name, "conv.%d.weight", 2 + 3 * i);
    s->stage[i].taps = by_tap(w, name, s->channels, 9);
    snprintf(name, sizeof name, "conv.%d.bias", 2 + 3 * i);
    s->stage[i].bias = rs_weights_vector(w, "encoder.pre_encode.", name, s->channels);
    snprintf(name, sizeof name, "conv.%d", 3 + 3 * i);
    rs_weights_linear(w, &s->stage[i].point, "encoder.pre_encode.", name, s->channels, s->channels);
}

static int count_stages(const struct rs_model *m)
{
    char name[64];
    int n = 0;
    for (; n < RS_SUBSAMPLE_STAGES; n++) {
        snprintf(name, sizeof name, "encoder.pre_encode.conv.%d.weight", 2 + 3 * n);
        if (!rs_model_find(m, name))
            break;
    }
    return n;
}

static void find_geometry(struct rs_subsample *s, struct rs_weights *w)
{
    const struct rs_tensor *conv = rs_weights_find(w, "encoder.pre_encode.", "conv.0.weight");
    const struct rs_tensor *out = rs_weights_find(w, "encoder.pre_encode.", "out.weight");
    if (w->rc)
        return;
    const int64_t c = conv->shape[0], d = out->shape[0], flat = out->ndim > 1 ? out->shape[1] : 0;
    if (c < 1 || c > 4096 || d < 1 || d > 8192 || flat < 1 || flat % c || flat / c > 512) {
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the subsampling of %s has impossible shapes: fetch the model again", w->model->path);
        return;
    }
    s->channels = (int)c;
    s->width = (int)d;
    s->bands = (int)(flat / c);
    s->stages = count_stages(w->model);
    const struct rs_tensor *bank = rs_model_find(w->model, "preprocessor.featurizer.fb");
    s->mels = s->bands << (s->stages + 1);
    if (bank && bank->ndim >= 2)
        s->mels = (int)bank->shape[bank->ndim - 2];
    int bands = s->mels;
    for (int i = 0; i <= s->stages; i++)
        bands = halved(bands);
    if (s->stages == 0 || bands != s->bands)
        w->rc = rs_fail(w->e, RS_E_MODEL_UNSUPPORTED, "%s subsamples %d bands to %d in %d steps, which this program does not know "
                        "(cache-aware streaming models are not supported yet)", w->model->path, s->mels, s->bands, s->stages);
}

void rs_subsample_load(struct rs_subsample *s, struct rs_weights *w)
{
    find_geometry(s, w);
    float *first = w->rc ? NULL : by_tap(w, "conv.0.weight", s->channels, 10);
    const float *bias = rs_weights_vector(w, "encoder.pre_encode.", "conv.0.bias", s->channels);
    if (w->rc)
        return;
    memcpy(first + 9 * s->channels, bias, sizeof *bias * (size_t)s->channels);
    s->first = first;
    for (int i = 0; i < s->stages; i++)
        load_stage(s, w, i);
    rs_weights_linear(w, &s->out, "encoder.pre_encode.", "out", s->width, s->channels * s->bands);
}

void rs_subsample_free(struct rs_subsample *s)
{
    for (int i = 0; i < s->stages; i++)
        rs_linear_free(&s->stage[i].point);
    rs_linear_free(&s->out);
}

int rs_subsample_rows(const struct rs_subsample *s, int frames)
{
    for (int i = 0; i <= s->stages && frames > 0; i++)
        frames = halved(frames);
    return frames;
}

/* Rows [from, to) of an image of `rows` rows in all, each [bands][channels]. */
struct image { float *data; int from, to, rows, bands; };

struct job {
    const struct rs_subsample *s;
    const float *mel;
    int frames, stage;
    const struct image *in;
    struct image *out;
    float *patches;           /* per part: [bands of the first image][10] */
    float *rows;              /* per part: the last FIRST_ROWS rows of the first image */
};

/* One row of the first convolution as patch × taps; the patches' tenth value is 1 for the bias. */
static void first_row(const struct job *j, int row, int bands, float *patches, float *y)
{
    const int channels = j->s->channels, mels = j->s->mels;
    float *p = patches;
    for (int b = 0; b < bands; b++) {
        for (int dt = 0; dt < 3; dt++) {
            const int t = 2 * row + dt - 1;
            for (int df = 0; df < 3; df++) {
                const int f = 2 * b + df - 1;
                *p++ = t >= 0 && t < j->frames && f >= 0 && f < mels ? j->mel[(size_t)t * mels + f] : 0;
            }
        }
        *p++ = 1;
    }
    rs_kernels()->mix(patches, 10, bands, j->s->first, channels, 10, channels, y, channels);
    rs_kernels()->relu(y, bands * channels, y);
}

/* One row of a depthwise convolution; above[i] are its three input rows, NULL outside the image. */
static void depthwise_row(const struct job *j, const float *const *above, int in_bands, float *y)
{
    const int bands = j->out->bands, channels = j->s->channels;
    for (int b = 0; b < bands; b++) {
        const float *rows[9];
        for (int i = 0; i < 9; i++) {
            const int f = 2 * b + i % 3 - 1;
            rows[i] = !above[i / 3] || f < 0 || f >= in_bands ? NULL : above[i / 3] + (size_t)f * channels;
        }
        rs_kernels()->depthwise(rows, 9, j->s->stage[j->stage].taps, j->s->stage[j->stage].bias, channels, RS_ACT_NONE,
                                y + (size_t)b * channels);
    }
}

/* The first two convolutions in one: only the rows of the first that the second is about to read exist. */
static void first_part(void *arg, int part, int parts)
{
    const struct job *j = arg;
    const int bands = j->in->bands, last = j->in->rows - 1;
    const size_t row = (size_t)bands * (size_t)j->s->channels;
    float *patches = j->patches + (size_t)part * (size_t)bands * 10, *ring = j->rows + (size_t)part * FIRST_ROWS * row;
    int from, to;
    rs_pool_share(j->out->to - j->out->from, 1, part, parts, &from, &to);
    int have = 2 * (j->out->from + from) - 2;            /* rows up to here are in the ring, or not needed */
    for (int r = from; r < to; r++) {
        const int centre = 2 * (j->out->from + r), end = centre + 1 < last ? centre + 1 : last;
        const float *above[3];
        for (have = have < -1 ? -1 : have; have < end; have++)
            first_row(j, have + 1, bands, patches, ring + (size_t)((have + 1) % FIRST_ROWS) * row);
        for (int i = 0; i < 3; i++)
            above[i] = centre + i - 1 < 0 || centre + i - 1 > last ? NULL : ring + (size_t)((centre + i - 1) % FIRST_ROWS) * row;
        depthwise_row(j, above, bands, j->out->data + (size_t)r * j->out->bands * j->s->channels);
    }
}

static void depthwise_part(void *arg, int part, int parts)
{
    const struct job *j = arg;
    const struct image *in = j->in;
    const size_t row = (size_t)in->bands * (size_t)j->s->channels;
    int from, to;
    rs_pool_share(j->out->to - j->out->from, 1, part, parts, &from, &to);
    for (int r = from; r < to; r++) {
        const float *above[3];
        for (int i = 0; i < 3; i++) {
            const int t = 2 * (j->out->from + r) + i - 1;
            above[i] = t < 0 || t >= in->rows ? NULL : in->data + (size_t)(t - in->from) * row;
        }
        depthwise_row(j, above, in->bands, j->out->data + (size_t)r * j->out->bands * j->s->channels);
    }
}

static bool apply(const struct rs_linear *l, struct rs_pool *pool, struct rs_arena *step, const float *x, int m, enum rs_act act, float *y)
{
    struct rs_rows rows;
    rs_arena_reset(step);
    if (!rs_rows_prepare(&rows, l->backend, pool, step, x, l->k, m, l->k))
        return false;
    rs_linear_apply(l, &rows, pool, act, 1, false, y, l->n);
    return true;
}

/* Rows [o0, o1) of the last image; image[i] is the i-th convolution's output. */
static bool run_block(const struct rs_subsample *s, struct rs_pool *pool, struct rs_arena *step, struct job *job,
                      struct image *image, float *point, int o0, int o1)
{
    const int last = s->stages;
    image[last].from = o0;
    image[last].to = o1;
    for (int i = last; i > 0; i--) {
        const int from = 2 * image[i].from - 1, to = 2 * image[i].to;
        image[i - 1].from = from > 0 ? from : 0;
        image[i - 1].to = to < image[i - 1].rows ? to : image[i - 1].rows;
    }
    for (int i = 0; i < s->stages; i++) {
        struct image before = {point, image[i + 1].from, image[i + 1].to, image[i + 1].rows, image[i + 1].bands};
        job->stage = i;
        job->in = &image[i];
        job->out = &before;
        rs_pool_run(pool, i == 0 ? first_part : depthwise_part, job);
        if (!apply(&s->stage[i].point, pool, step, point, (before.to - before.from) * before.bands, RS_ACT_RELU, image[i + 1].data))
            return false;
    }
    return true;
}

struct flatten { const float *from; float *to; int rows, bands, channels; };

/* Rows of the last image in the order that the matrix was trained on: channel by channel. */
static void flatten_part(void *arg, int part, int parts)
{
    const struct flatten *f = arg;
    const ptrdiff_t row = (ptrdiff_t)f->bands * f->channels;
    int from, to;
    rs_pool_share(f->rows, 1, part, parts, &from, &to);
    for (int r = from; r < to; r++)
        for (int c = 0; c < f->channels; c++)
            for (int b = 0; b < f->bands; b++)
                f->to[r * row + c * f->bands + b] = f->from[r * row + b * f->channels + c];
}

bool rs_subsample_run(const struct rs_subsample *s, struct rs_pool *pool, struct rs_arena *arena, struct rs_arena *step,
                      const float *mel, int frames, float *x)
{
    struct image image[RS_SUBSAMPLE_STAGES + 1];
    struct job job = {.s = s, .mel = mel, .frames = frames};
    size_t most = 0;
    int rows = frames, bands = s->mels;
    for (int i = 0; i <= s->stages; i++) {
        rows = halved(rows);
        bands = halved(bands);
        /* Rows kept, and what the next needs around them; the last image is collected. */
        const int room = i == s->stages ? FLAT : 2 * (BLOCK << (s->stages - i));
        const size_t size = (size_t)room * (size_t)bands * (size_t)s->channels;
        image[i] = (struct image){.rows = rows, .bands = bands};
        if (i > 0 && !(image[i].data = rs_arena_alloc(arena, size, sizeof(float))))
            return false;                     /* the first image never exists as a whole */
        if (i > 0 && size > most)
            most = size;
    }
    const int out_rows = rows;
    float *point = rs_arena_alloc(arena, most, sizeof *point);
    const size_t parts = (size_t)rs_pool_threads(pool), row = (size_t)image[0].bands * (size_t)s->channels;
    const size_t out_row = (size_t)s->bands * (size_t)s->channels;
    float *last = image[s->stages].data, *flat = rs_arena_alloc(arena, FLAT, out_row * sizeof *flat);
    job.rows = rs_arena_alloc(arena, parts * FIRST_ROWS, row * sizeof *job.rows);
    job.patches = rs_arena_alloc(arena, parts * (size_t)image[0].bands * 10, sizeof *job.patches);
    if (!point || !flat || !job.rows || !job.patches)
        return false;
    for (int first = 0; first < out_rows; first += FLAT) {
        const int end = first + FLAT < out_rows ? first + FLAT : out_rows;
        for (int o = first; o < end; o += BLOCK) {
            image[s->stages].data = last + (size_t)(o - first) * out_row;
            if (!run_block(s, pool, step, &job, image, point, o, o + BLOCK < end ? o + BLOCK : end))
                return false;
        }
        rs_pool_run(pool, flatten_part, &(struct flatten){last, flat, end - first, s->bands, s->channels});
        if (!apply(&s->out, pool, step, flat, end - first, RS_ACT_NONE, x + (size_t)first * s->width))
            return false;
    }
    return true;
}
