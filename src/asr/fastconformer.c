/* See fastconformer.h. Formulas: NeMo modules/conformer_encoder.py and parts/submodules/conformer_modules.py;
 * arXiv 2005.08100 (Conformer), 2305.05084 (FastConformer). forward() at the end is the paper in ten lines.
 *
 * Memory: `chunk` holds the activations of one run, `step` what one operator needs; both are reset, not
 * freed, so that a steady state allocates nothing. The position projections depend on the length only and
 * are kept for lengths up to POSITIONS_KEPT; those of a usual chunk lie in the pack, ready for every spawn.
 */
#include "asr/fastconformer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asr/subsample.h"
#include "asr/weights.h"
#include "tensor/backend.h"
#include "tensor/ops.h"
#include "tensor/pack.h"

#define POSITIONS_KEPT 512        /* frames (41 s); longer sounds compute a layer's positions as they need them */
#define POSITIONS_PACKED 192      /* frames whose positions lie in the pack (15.4 s) */
#define NORM_EPS 1e-5f

struct norm { const float *gamma, *beta; };             /* [width] */

struct feed_forward {
    struct norm norm;
    struct rs_linear up, down;                          /* [ff][width], [width][ff] */
};

struct layer {
    struct feed_forward ff1, ff2;
    struct norm norm_attention, norm_conv, norm_out;
    struct rs_linear q, k, v, o, pos;                   /* [width][width] */
    const float *bias_u, *bias_v;                       /* [heads][head_dim] */
    struct rs_linear point1, point2;                    /* [2·width][width], [width][width] */
    const float *taps, *taps_bias;                      /* [kernel][width], [width]; batch norm folded in */
};

struct scratch {
    float *x, *y, *z;                                   /* [rows][width], [rows][apart(width)], [rows][apart(max(ff, 3·width))] */
    const float *positions;                             /* this run's row of position 0, in the layer at work */
};

struct rs_fc {
    struct rs_fc_config c;
    const struct rs_backend *backend;
    struct rs_pool *pool;
    struct rs_subsample sub;
    struct layer *layers;
    struct rs_arena own, chunk, step;
    const void *positions;                              /* [layers][positions of `kept` frames][width] of position_type */
    void *own_positions;                                /* NULL while they lie in the pack */
    enum rs_type position_type;                         /* RS_F32; RS_BF16 where weights have 4 bits, for memory */
    int kept;
    bool failed;                                        /* memory ended somewhere in this run */
    rs_fc_watcher *watcher;
    void *watcher_arg;
};

/* ---- Loading ---- */

static void load_norm(struct rs_weights *w, struct norm *n, const char *prefix, const char *name, int width)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    n->gamma = rs_weights_vector(w, prefix, full, width);
    snprintf(full, sizeof full, "%s.bias", name);
    n->beta = rs_weights_vector(w, prefix, full, width);
}

static void load_ff(struct rs_weights *w, struct feed_forward *f, const char *prefix, int which, const struct rs_fc_config *c)
{
    char name[40];
    snprintf(name, sizeof name, "norm_feed_forward%d", which);
    load_norm(w, &f->norm, prefix, name, c->width);
    snprintf(name, sizeof name, "feed_forward%d.linear1", which);
    rs_weights_linear(w, &f->up, prefix, name, c->ff, c->width);
    snprintf(name, sizeof name, "feed_forward%d.linear2", which);
    rs_weights_linear(w, &f->down, prefix, name, c->width, c->ff);
}

/* Depthwise taps by tap, with the batch norm in them: w·g and (b - mean)·g + beta, g = gamma/sqrt(var + eps). */
static void load_taps(struct rs_weights *w, struct layer *l, const char *prefix, const struct rs_fc_config *c)
{
    const int d = c->width;
    const float *taps = rs_weights_values(w, prefix, "conv.depthwise_conv.weight", 3, (const int64_t[]){d, 1, c->kernel});
    const float *bias = rs_weights_optional(w, prefix, "conv.depthwise_conv.bias", d);
    const float *gamma = rs_weights_vector(w, prefix, "conv.batch_norm.weight", d);
    const float *beta = rs_weights_vector(w, prefix, "conv.batch_norm.bias", d);
    const float *mean = rs_weights_vector(w, prefix, "conv.batch_norm.running_mean", d);
    const float *var = rs_weights_vector(w, prefix, "conv.batch_norm.running_var", d);
    float *to = rs_weights_room(w, (size_t)d * (size_t)(c->kernel + 1));
    if (w->rc)
        return;
    float *to_bias = to + (size_t)d * c->kernel;
    for (int i = 0; i < d; i++) {
        const double g = gamma[i] / sqrt((double)var[i] + NORM_EPS);
        for (int j = 0; j < c->kernel; j++)
            to[(size_t)j * d + i] = (float)(taps[(size_t)i * c->kernel + j] * g);
        to_bias[i] = (float)(((bias ? bias[i] : 0) - (double)mean[i]) * g + beta[i]);
    }
    l->taps = to;
    l->taps_bias = to_bias;
}

static void load_layer(struct rs_weights *w, struct layer *l, int i, const struct rs_fc_config *c)
{
    const int d = c->width;
    const int64_t heads[] = {c->heads, c->head_dim};
    char prefix[40];
    snprintf(prefix, sizeof prefix, "encoder.layers.%d.", i);
    load_ff(w, &l->ff1, prefix, 1, c);
    load_norm(w, &l->norm_attention, prefix, "norm_self_att", d);
    rs_weights_linear(w, &l->q, prefix, "self_attn.linear_q", d, d);
    rs_weights_linear(w, &l->k, prefix, "self_attn.linear_k", d, d);
    rs_weights_linear(w, &l->v, prefix, "self_attn.linear_v", d, d);
    rs_weights_linear(w, &l->o, prefix, "self_attn.linear_out", d, d);
    rs_weights_linear(w, &l->pos, prefix, "self_attn.linear_pos", d, d);
    l->bias_u = rs_weights_values(w, prefix, "self_attn.pos_bias_u", 2, heads);
    l->bias_v = rs_weights_values(w, prefix, "self_attn.pos_bias_v", 2, heads);
    load_norm(w, &l->norm_conv, prefix, "norm_conv", d);
    rs_weights_linear(w, &l->point1, prefix, "conv.pointwise_conv1", 2 * d, d);
    load_taps(w, l, prefix, c);
    rs_weights_linear(w, &l->point2, prefix, "conv.pointwise_conv2", d, d);
    load_ff(w, &l->ff2, prefix, 2, c);
    load_norm(w, &l->norm_out, prefix, "norm_out", d);
}

static int count_layers(const struct rs_model *m)
{
    char name[64];
    for (int n = 0;; n++) {
        snprintf(name, sizeof name, "encoder.layers.%d.norm_out.weight", n);
        if (n == 1000 || !rs_model_find(m, name))
            return n;
    }
}

static void find_geometry(struct rs_fc *f, struct rs_weights *w)
{
    struct rs_fc_config *c = &f->c;
    const struct rs_model *m = w->model;
    rs_subsample_load(&f->sub, w);
    const struct rs_tensor *u = rs_weights_find(w, "encoder.layers.0.", "self_attn.pos_bias_u");
    const struct rs_tensor *up = rs_weights_find(w, "encoder.layers.0.", "feed_forward1.linear1.weight");
    const struct rs_tensor *taps = rs_weights_find(w, "encoder.layers.0.", "conv.depthwise_conv.weight");
    if (w->rc)
        return;
    *c = (struct rs_fc_config){
        .mels = f->sub.mels, .channels = f->sub.channels, .bands = f->sub.bands, .stages = f->sub.stages,
        .factor = 2 << f->sub.stages, .width = f->sub.width, .layers = count_layers(m), .left = m->config.att_left,
        .right = m->config.att_right, .heads = (int)u->shape[0], .ff = (int)up->shape[0], .kernel = (int)taps->shape[taps->ndim - 1],
        .input_scale = m->config.xscaling ? sqrtf((float)f->sub.width) : 1};
    c->head_dim = c->heads > 0 ? c->width / c->heads : 0;
    if (c->heads < 1 || c->heads * c->head_dim != c->width || c->width % 2 || c->ff < 1 || c->ff > 65536 || c->kernel < 1 ||
        c->kernel > 63 || c->kernel % 2 == 0 || (m->config.heads && m->config.heads != c->heads))
        w->rc = rs_fail(w->e, RS_E_MODEL_BAD, "the encoder of %s has impossible shapes (width %d, %d heads, kernel %d): "
                        "fetch the model again", m->path, c->width, c->heads, c->kernel);
    else if (!rs_model_find(m, "encoder.layers.0.conv.batch_norm.running_mean"))
        w->rc = rs_fail(w->e, RS_E_MODEL_UNSUPPORTED, "%s is a cache-aware streaming model (its convolutions have layer norms), "
                        "which this program does not run yet: use an offline Parakeet model", m->path);
}

static void free_layer(struct layer *l)
{
    struct rs_linear *all[] = {&l->ff1.up, &l->ff1.down, &l->ff2.up, &l->ff2.down, &l->q, &l->k, &l->v, &l->o, &l->pos,
                               &l->point1, &l->point2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        rs_linear_free(all[i]);
}

void rs_fc_close(struct rs_fc *f)
{
    if (!f)
        return;
    for (int i = 0; f->layers && i < f->c.layers; i++)
        free_layer(&f->layers[i]);
    rs_subsample_free(&f->sub);
    rs_arena_free(&f->own);
    rs_arena_free(&f->chunk);
    rs_arena_free(&f->step);
    free(f->layers);
    free(f->own_positions);
    free(f);
}

const struct rs_fc_config *rs_fc_shape(const struct rs_fc *f)
{
    return &f->c;
}

int rs_fc_frames(const struct rs_fc *f, int mel_frames)
{
    return rs_subsample_rows(&f->sub, mel_frames);
}

void rs_fc_watch(struct rs_fc *f, rs_fc_watcher *watcher, void *arg)
{
    f->watcher = watcher;
    f->watcher_arg = arg;
}

/* ---- Operators ---- */

/* How far apart rows of n values lie: at distances of a power of two all of them would share a few cache sets. */
static ptrdiff_t apart(int n)
{
    return n + 16;
}

static void *room(struct rs_fc *f, struct rs_arena *a, size_t count, size_t size)
{
    void *p = rs_arena_alloc(a, count, size);
    f->failed |= p == NULL;
    return p;
}

/* Rows as the linears want them. Each of these ends the life of the rows before: `step` holds one set. */
static void rows_of(struct rs_fc *f, struct rs_rows *r, const float *x, ptrdiff_t stride, int m, int k)
{
    rs_arena_reset(&f->step);
    f->failed |= f->failed || !rs_rows_prepare(r, f->backend, f->pool, &f->step, x, stride, m, k);
}

static void normed_rows(struct rs_fc *f, struct rs_rows *r, const struct norm *n, const float *x, int m)
{
    const int d = f->c.width;
    rs_arena_reset(&f->step);
    f->failed |= f->failed || !rs_layer_norm_rows(r, f->backend, f->pool, &f->step, x, d, m, d, n->gamma, n->beta, NORM_EPS);
}

/* y = act(x·Wᵀ + b), rows `stride` apart. */
static void linear(struct rs_fc *f, const struct rs_linear *l, const struct rs_rows *r, enum rs_act act, float *y, ptrdiff_t stride)
{
    if (!f->failed)
        rs_linear_apply(l, r, f->pool, act, 1, false, y, stride);
}

/* x += alpha·(r·Wᵀ + b) */
static void add_linear(struct rs_fc *f, const struct rs_linear *l, const struct rs_rows *r, float alpha, float *x)
{
    if (!f->failed)
        rs_linear_apply(l, r, f->pool, RS_ACT_NONE, alpha, true, x, f->c.width);
}

/* ---- Positions ---- */

void rs_fc_positions(float *pe, int first, int rows, int width)
{
    for (int i = 0; i < width / 2; i++) {
        const double omega = exp(-2.0 * i * log(10000.0) / width);
        for (int r = 0; r < rows; r++) {
            const double angle = (first - r) * omega;
            pe[(size_t)r * width + 2 * i] = (float)sin(angle);
            pe[(size_t)r * width + 2 * i + 1] = (float)cos(angle);
        }
    }
}

static int rows_before(const struct rs_fc *f, int rows) { return rs_attention_reach(f->c.left, rows); }

/* How many positions the frames of `rows` are apart by. */
static int position_count(const struct rs_fc *f, int rows) { return rows_before(f, rows) + 1 + rs_attention_reach(f->c.right, rows); }

/* Projects the positions of `rows` frames by one layer into p. */
static void project_positions(struct rs_fc *f, const struct layer *l, const float *pe, int rows, float *p)
{
    const int d = f->c.width;
    struct rs_rows r;
    rows_of(f, &r, pe, d, position_count(f, rows), d);
    linear(f, &l->pos, &r, RS_ACT_NONE, p, d);
}

static const float *table_for(struct rs_fc *f, int rows)
{
    const int count = position_count(f, rows);
    float *pe = room(f, &f->chunk, (size_t)count * (size_t)f->c.width, sizeof *pe);
    if (pe)
        rs_fc_positions(pe, rows_before(f, rows), count, f->c.width);
    return pe;
}

static size_t positions_size(const struct rs_fc *f, int rows)
{
    return (size_t)position_count(f, rows) * (size_t)f->c.width;
}

static size_t positions_bytes(const struct rs_fc *f, int rows)
{
    return positions_size(f, rows) * rs_type_bytes(f->position_type) * (size_t)f->c.layers;
}

static void project_all(struct rs_fc *f, int rows, void *to)
{
    const size_t size = positions_size(f, rows), each = size * rs_type_bytes(f->position_type);
    const float *pe = table_for(f, rows);
    float *p = room(f, &f->chunk, size, sizeof *p);
    for (int i = 0; i < f->c.layers && !f->failed; i++) {
        project_positions(f, &f->layers[i], pe, rows, p);
        if (f->position_type == RS_F32)
            memcpy((char *)to + (size_t)i * each, p, each);
        else
            rs_quantize(f->position_type, p, (char *)to + (size_t)i * each, (int64_t)size);
    }
    f->kept = f->failed ? 0 : rows;
    f->positions = to;
}

/* Makes sure that the kept projections cover `rows` frames. */
static void keep_positions(struct rs_fc *f, int rows)
{
    if (rows <= f->kept)
        return;
    rows = (rows + 63) & ~63;
    free(f->own_positions);
    f->kept = 0;
    f->own_positions = rs_aligned(positions_bytes(f, rows), 1);
    f->failed |= !f->own_positions;
    if (!f->failed)
        project_all(f, rows, f->own_positions);
}

/* The projections for a chunk of 15 s come from the pack, or go into it. */
static void packed_positions(struct rs_fc *f, struct rs_pack *pack)
{
    const size_t bytes = positions_bytes(f, POSITIONS_PACKED);
    f->positions = rs_pack_find(pack, "encoder.positions", bytes);
    if (f->positions) {
        f->kept = POSITIONS_PACKED;
        return;
    }
    void *place = rs_pack_room(pack, "encoder.positions", bytes);
    if (place)
        project_all(f, POSITIONS_PACKED, place);
}

/* The row of position 0 for layer i: of the kept projections, or computed or decoded into `p`. */
static const float *positions_of(struct rs_fc *f, int i, const float *pe, int rows, float *p)
{
    const size_t d = (size_t)f->c.width;
    if (pe) {
        project_positions(f, &f->layers[i], pe, rows, p);
        return p + (size_t)rows_before(f, rows) * d;
    }
    const size_t size = positions_size(f, f->kept);
    const char *from = (const char *)f->positions + (size_t)i * size * rs_type_bytes(f->position_type);
    if (f->position_type != RS_F32)
        rs_dequantize(f->position_type, from, p, (int64_t)size);
    return (f->position_type == RS_F32 ? (const float *)from : p) + (size_t)rows_before(f, f->kept) * d;
}

/* ---- Blocks ---- */

static void feed_forward(struct rs_fc *f, const struct feed_forward *ff, struct scratch *s, int n)
{
    const ptrdiff_t zs = apart(f->c.ff);
    struct rs_rows r;
    normed_rows(f, &r, &ff->norm, s->x, n);
    linear(f, &ff->up, &r, RS_ACT_SILU, s->z, zs);
    rows_of(f, &r, s->z, zs, n, f->c.ff);
    add_linear(f, &ff->down, &r, 0.5f, s->x);
}

static void self_attention(struct rs_fc *f, const struct layer *l, struct scratch *s, int n)
{
    const int d = f->c.width;
    const ptrdiff_t ys = apart(d), zs = apart(3 * d);
    float *const q = s->z, *const k = s->z + d, *const v = s->z + 2 * d;
    struct rs_rows r;
    normed_rows(f, &r, &l->norm_attention, s->x, n);
    if (!f->failed)
        rs_linear_apply_all((const struct rs_linear *const[]){&l->q, &l->k, &l->v}, 3, &r, f->pool, (float *const[]){q, k, v}, zs);
    const struct rs_attention a = {
        .n = n, .heads = f->c.heads, .dk = f->c.head_dim, .left = f->c.left, .right = f->c.right, .q = q, .k = k, .value = v,
        .p = s->positions, .u = l->bias_u, .v = l->bias_v, .qs = zs, .ks = zs, .vs = zs,
        .ps = d, .ys = ys, .out = s->y};
    rs_arena_reset(&f->step);
    f->failed |= f->failed || !rs_attention(&a, f->pool, &f->step);
    rows_of(f, &r, s->y, ys, n, d);
    add_linear(f, &l->o, &r, 1, s->x);
}

static void convolution(struct rs_fc *f, const struct layer *l, struct scratch *s, int n)
{
    const int d = f->c.width, taps = f->c.kernel;
    const ptrdiff_t ys = apart(d), zs = apart(2 * d);
    struct rs_rows r;
    normed_rows(f, &r, &l->norm_conv, s->x, n);
    linear(f, &l->point1, &r, RS_ACT_NONE, s->z, zs);
    if (!f->failed)
        rs_glu(f->pool, s->z, zs, n, d, s->y, ys);
    if (!f->failed)
        rs_conv_time(f->pool, s->y, ys, n, d, l->taps, l->taps_bias, taps, taps / 2, RS_ACT_SILU, s->z, ys);
    rows_of(f, &r, s->z, ys, n, d);
    add_linear(f, &l->point2, &r, 1, s->x);
}

static void final_norm(struct rs_fc *f, const struct norm *norm, float *x, int n)
{
    const int d = f->c.width;
    if (!f->failed)
        rs_layer_norm(f->pool, x, d, n, d, norm->gamma, norm->beta, NORM_EPS, x, d);
}

static void watch(struct rs_fc *f, int stage, const float *x, int rows)
{
    if (f->watcher && !f->failed)
        f->watcher(f->watcher_arg, stage, x, rows, f->c.width);
}

static void get_scratch(struct rs_fc *f, struct scratch *s, int rows)
{
    const size_t n = (size_t)rows;
    const int d = f->c.width, wide = f->c.ff > 3 * d ? f->c.ff : 3 * d;
    s->x = room(f, &f->chunk, n * (size_t)d, sizeof(float));
    s->y = room(f, &f->chunk, n * (size_t)apart(d), sizeof(float));
    s->z = room(f, &f->chunk, n * (size_t)apart(wide), sizeof(float));
}

static const float *forward(struct rs_fc *f, const float *mel, int mel_frames, int rows)
{
    struct scratch s = {0};
    const float *pe = NULL;
    float *p = NULL;
    get_scratch(f, &s, rows);
    if (rows <= POSITIONS_KEPT)
        keep_positions(f, rows);
    else
        pe = table_for(f, rows);
    if (pe || f->position_type != RS_F32)
        p = room(f, &f->chunk, positions_size(f, pe ? rows : f->kept), sizeof *p);
    if (f->failed || !rs_subsample_run(&f->sub, f->pool, &f->chunk, &f->step, mel, mel_frames, s.x))
        return NULL;
    watch(f, 0, s.x, rows);
    for (size_t i = 0; f->c.input_scale != 1 && i < (size_t)rows * (size_t)f->c.width; i++)
        s.x[i] *= f->c.input_scale;
    for (int i = 0; i < f->c.layers && !f->failed; i++) {
        const struct layer *l = &f->layers[i];
        s.positions = positions_of(f, i, pe, rows, p);
        feed_forward(f, &l->ff1, &s, rows);
        self_attention(f, l, &s, rows);
        convolution(f, l, &s, rows);
        feed_forward(f, &l->ff2, &s, rows);
        final_norm(f, &l->norm_out, s.x, rows);
        watch(f, i + 1, s.x, rows);
    }
    return f->failed ? NULL : s.x;
}

int rs_fc_open(struct rs_fc **out, const struct rs_model *m, const struct rs_backend *b, struct rs_pack *pack,
               struct rs_pool *pool, struct rs_err *e)
{
    *out = NULL;
    struct rs_fc *f = rs_zeroed(1, sizeof *f);
    if (!f)
        return rs_fail(e, RS_E_NOMEM, "no memory for the model %s", m->name);
    struct rs_weights w = {.model = m, .backend = b, .pack = pack, .own = &f->own, .e = e};
    f->backend = b;
    f->pool = pool;
    f->position_type = b->bits == 4 ? RS_BF16 : RS_F32;
    find_geometry(f, &w);
    if (!w.rc && !(f->layers = rs_zeroed((size_t)f->c.layers, sizeof *f->layers)))
        w.rc = rs_fail(e, RS_E_NOMEM, "no memory for the model %s", m->name);
    for (int i = 0; i < f->c.layers && !w.rc; i++)
        load_layer(&w, &f->layers[i], i, &f->c);
    if (!w.rc && pack) {
        packed_positions(f, pack);
        if (f->failed)
            w.rc = rs_fail(e, RS_E_NOMEM, "no memory for the model %s", m->name);
    }
    if (w.rc) {
        rs_fc_close(f);
        return w.rc;
    }
    *out = f;
    return 0;
}

int rs_fc_run(struct rs_fc *f, const float *mel, int mel_frames, const float **out, struct rs_err *e)
{
    *out = NULL;
    if (mel_frames == 0)
        return 0;
    rs_arena_reset(&f->chunk);
    f->failed = false;
    rs_pool_busy(f->pool);
    *out = forward(f, mel, mel_frames, rs_fc_frames(f, mel_frames));
    rs_pool_idle(f->pool);
    return *out ? 0 : rs_fail(e, RS_E_NOMEM, "no memory to transcribe %d audio frames at once: use shorter chunks", mel_frames);
}
