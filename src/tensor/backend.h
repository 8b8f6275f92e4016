/* Inside the linear contract: what a backend is, and the memory order that the int8 backends share.
 *
 * One order serves every int8 instruction set, so that one packed file serves every CPU:
 *   weights: panels of 16 outputs; in a panel, for each 4 values of k the 16 outputs' 4 bytes (64 bytes).
 *            16 such lines are exactly one AMX B tile; one line is one AVX-512 register for vpdpbusd.
 *   rows:    tiles of 16 rows by 64 values, RS_TILE bytes each and in sequence along k: exactly one AMX A tile.
 * k is padded to 64, outputs and rows to 16.
 *
 * On x86 a weight is stored as its value + 128: every dot product there wants one factor unsigned. A sum is
 * then too large by 128·Σx, which is known for each row and taken away when it is finished.
 */
#ifndef RS_BACKEND_H
#define RS_BACKEND_H

#include "tensor/attention.h"
#include "tensor/linear.h"

#define RS_TILE 1024
#ifdef __x86_64__
#define RS_INT8_BIAS 128
typedef uint8_t rs_int8_weight;
#else
#define RS_INT8_BIAS 0
typedef int8_t rs_int8_weight;
#endif

struct rs_kernels;

/* Computes row i; each part of the pool asks for rows in sequence. */
typedef void rs_row_maker(void *arg, int part, int i, float *row);

struct rs_backend {
    const char *name;
    bool (*usable)(void);
    const struct rs_kernels *(*kernels)(void);      /* the small loops that go with it */
    int (*init)(struct rs_linear *l, const struct rs_backend *b, struct rs_pack *pack, const struct rs_tensor *weight,
                const struct rs_tensor *bias, struct rs_err *e);
    bool (*prepare)(struct rs_rows *r, struct rs_pool *pool, struct rs_arena *a);
    void (*apply)(const struct rs_linear *l, const struct rs_rows *r, struct rs_pool *pool, enum rs_act act, float alpha,
                  bool add, float *y, ptrdiff_t stride);
    bool (*vectors)(const struct rs_linear *const *l, const float *const *x, float *const *y, int count, struct rs_pool *pool,
                    struct rs_arena *a);
    /* Several linears on the same rows as one job: y[i] = W[i]·x + bias[i]; NULL: one by one. */
    void (*apply_all)(const struct rs_linear *const *l, int count, const struct rs_rows *r, struct rs_pool *pool, float *const *y,
                      ptrdiff_t stride);
    /* Rows that something computes one at a time, without an f32 copy of all in memory; NULL: the plain way. */
    bool (*make_rows)(struct rs_rows *r, struct rs_pool *pool, struct rs_arena *a, rs_row_maker *make, void *arg);
    enum rs_attention_kind attention;
    const char *order;                              /* its packed order and version (pack.h); NULL: none */
    int bits;                                       /* int8: 4 where large matrices are kept in 4 bits */
    int levels;                                     /* int8: activations are quantised to ±levels */
    int (*crowd)(const int8_t *row, int kpad);      /* the largest sum of one sign that meets in 16 bits there; NULL: none does */
    void (*product)(void);                          /* the instruction set's own part; cast by its family */
};

struct rs_int8_job;
typedef void rs_int8_columns(const struct rs_int8_job *j, int from, int to);

/* One GEMM of the int8 family. Columns [from, to) of a job are computed by one call; both are multiples of
 * 16 except that `to` may be n. scale and bias are padded to 16; bias may be NULL. */
struct rs_int8_job {
    const int8_t *q;          /* rows in tiles */
    const float *x_scale;
    const int32_t *x_sum;
    int m, n, kpad;
    const int8_t *panel;
    const float *w_scale;
    const float *bias;
    enum rs_act act;
    float alpha;
    bool add;
    float *y;
    ptrdiff_t stride;
    rs_int8_columns *inner;   /* 4-bit weights: what takes over once a panel is unpacked (int4.c) */
};

/* The first byte of row `row`, which continues RS_TILE bytes further for every 64 values. */
static inline const int8_t *rs_int8_row(const struct rs_int8_job *j, int row)
{
    return j->q + (ptrdiff_t)(row / 16) * 16 * j->kpad + row % 16 * 64;
}

rs_int8_columns rs_int8_columns_portable, rs_int8_columns_amx, rs_int8_columns_vnni, rs_int8_columns_avxvnni,
    rs_int8_columns_avx2, rs_int8_columns_dotprod, rs_int8_columns_i8mm;

enum { RS_INT8_CROWD = 255,              /* the most that a row may have */
       RS_INT8_ROOMY = 15 };             /* levels of which sixteen always fit; what is no number fits in none */
int rs_int8_crowd_avx2(const int8_t *row, int kpad);

/* The f32 family: y = (add ? y : 0) + alpha·x·Wᵀ for m rows and n outputs. */
typedef void rs_f32_product(const float *x, ptrdiff_t xs, int m, const float *w, int n, int k, float alpha, bool add,
                            float *y, ptrdiff_t ys);

/* 4-bit storage (int4.c): whether a row of k is kept so, bytes for n16 rows, and one row into its panel; the
 * scale of the row's int8 values is returned. */
bool rs_int4_fits(int k);
size_t rs_int4_bytes(size_t n16, size_t kpad);
float rs_int4_pack_row(const float *w, int k, int row, size_t kpad, char *panels);
rs_int8_columns rs_int4_columns;

/* Shared by the family's backends. */
int rs_int8_init(struct rs_linear *, const struct rs_backend *, struct rs_pack *, const struct rs_tensor *,
                 const struct rs_tensor *, struct rs_err *);
bool rs_int8_prepare(struct rs_rows *, struct rs_pool *, struct rs_arena *);
bool rs_int8_make_rows(struct rs_rows *, struct rs_pool *, struct rs_arena *, rs_row_maker *, void *);
void rs_int8_apply_all(const struct rs_linear *const *, int, const struct rs_rows *, struct rs_pool *, float *const *, ptrdiff_t);
void rs_int8_apply(const struct rs_linear *, const struct rs_rows *, struct rs_pool *, enum rs_act, float, bool, float *,
                   ptrdiff_t);
bool rs_int8_vectors(const struct rs_linear *const *, const float *const *, float *const *, int, struct rs_pool *, struct rs_arena *);

extern const struct rs_backend rs_f32_openblas, rs_f32_portable, rs_int8_portable, rs_int8_amx, rs_int8_vnni, rs_int8_avxvnni, rs_int8_avx2, rs_int8_dotprod, rs_int8_i8mm,
    rs_int4_amx, rs_int4_vnni, rs_int4_avxvnni, rs_int4_avx2, rs_int4_dotprod, rs_int4_i8mm, rs_bf16_amx;

/* Decodes row `row` of a checked 2-D tensor to f32. */
void rs_tensor_row(const struct rs_tensor *t, int64_t row, float *out);

#endif
