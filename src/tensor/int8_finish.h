/* From int32 sums to results: scales, bias, activation, residual. On vector types of WIDTH bytes (vec.h),
 * for the int8 family's files. */
#include "tensor/backend.h"
#include "tensor/vec.h"

/* One vector of sums of row `row`, columns col…; what lies beyond the last column is not stored. */
static inline void finish_vector(const struct rs_int8_job *j, vi sums, int row, int col)
{
    const int left = j->n - col;
    if (left <= 0)
        return;
    float *y = j->y + row * j->stride + col;
    vf v = __builtin_convertvector(sums - RS_INT8_BIAS * j->x_sum[row], vf) * (load(j->w_scale + col) * j->x_scale[row]);
    if (j->bias)
        v += load(j->bias + col);
    v = act_v(v, j->act) * j->alpha;
    store_n(y, j->add ? load_n(y, left) + v : v, left);
}

/* sums: rows × 16, in sequence; they belong to rows first… and columns col… of the job. */
static inline void finish_tile(const struct rs_int8_job *j, const int32_t *sums, int first, int rows, int col)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 16; c += LANES) {
            vi s;
            memcpy(&s, sums + 16 * r + c, sizeof s);
            finish_vector(j, s, first + r, col + c);
        }
}

/* The weights after a panel or two, fetched a share at a time while those are in use. */
struct ahead { const char *at, *end; };

static inline struct ahead ahead_of(const struct rs_int8_job *j, int col, int width)
{
    const ptrdiff_t whole = (ptrdiff_t)((j->n + 15) / 16) * 16 * j->kpad;
    const ptrdiff_t from = (ptrdiff_t)(col + width) * j->kpad, to = from + (ptrdiff_t)width * j->kpad;
    return (struct ahead){(const char *)j->panel + (from < whole ? from : whole),
                          (const char *)j->panel + (to < whole ? to : whole)};
}

static inline void fetch(struct ahead *p, ptrdiff_t lines)
{
    for (ptrdiff_t i = 0; i < lines && p->at < p->end; i++, p->at += 64)
        __builtin_prefetch(p->at, 0, 2);
}
