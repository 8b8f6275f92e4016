/* From int32 sums to results: scales, bias, activation, residual. On vector types of WIDTH bytes (vec.h),
 * for the int8 family's files. */
#include "tensor/backend.h"
#include "tensor/vec.h"

#define ACROSS (16 / LANES)

/* Constant act and full give one loop for each case, with the columns' factors in registers. */
static inline __attribute__((always_inline)) void finish_rows(const struct rs_int8_job *j, const int32_t *sums, int shift, int first,
                                                              int rows, int col, enum rs_act act, bool full)
{
    const float before = act == RS_ACT_NONE ? j->alpha : 1, after = act == RS_ACT_NONE ? 1 : j->alpha;
    const int cols = j->n - col;
    vf scale[ACROSS], bias[ACROSS];
    UNROLL
    for (int c = 0; c < ACROSS; c++) {
        scale[c] = load(j->w_scale + col + c * LANES) * before;
        bias[c] = j->bias ? load(j->bias + col + c * LANES) * before : (vf){0};
    }
    float *y = j->y + first * j->stride + col;
    for (int r = 0; r < rows; r++, sums += 16, y += j->stride) {
        const float xs = j->x_scale[first + r];
        /* A halved weight (shift 1) is rounded up: by half of one on average. */
        const int32_t excess = RS_INT8_BIAS * j->x_sum[first + r] + (shift ? j->x_sum[first + r] >> 1 : 0);
        UNROLL
        for (int c = 0; c < ACROSS; c++) {
            vi s;
            memcpy(&s, sums + c * LANES, sizeof s);
            vf v = __builtin_convertvector((s << shift) - excess, vf) * (scale[c] * xs) + bias[c];
            if (act != RS_ACT_NONE)
                v = act_v(v, act) * after;
            const int left = full ? LANES : cols - c * LANES;
            if (left > 0)
                store_n(y + c * LANES, j->add ? load_n(y + c * LANES, left) + v : v, left);
        }
    }
}

/* sums: rows × 16, in sequence, 2^-shift of what they should be; they belong to rows first… and columns col… of the job.
 * What lies beyond the last column is not stored. */
static inline void finish_shifted(const struct rs_int8_job *j, const int32_t *sums, int shift, int first, int rows, int col)
{
    const bool full = j->n - col >= 16;
    if (j->act == RS_ACT_NONE && full)
        finish_rows(j, sums, shift, first, rows, col, RS_ACT_NONE, true);
    else if (j->act == RS_ACT_NONE)
        finish_rows(j, sums, shift, first, rows, col, RS_ACT_NONE, false);
    else if (j->act == RS_ACT_RELU)
        finish_rows(j, sums, shift, first, rows, col, RS_ACT_RELU, false);
    else if (full)
        finish_rows(j, sums, shift, first, rows, col, RS_ACT_SILU, true);
    else
        finish_rows(j, sums, shift, first, rows, col, RS_ACT_SILU, false);
}

static void finish_tile(const struct rs_int8_job *j, const int32_t *sums, int first, int rows, int col)
{
    finish_shifted(j, sums, 0, first, rows, col);
}
