/* From 16 columns of int32 sums to results: scales, bias, activation, residual. On vector types of WIDTH
 * bytes (vec.h), for the int8 family's files. */
#include "tensor/backend.h"
#include "tensor/vec.h"

/* sums: rows × 16, in sequence; they belong to rows first… and columns col… of the job. */
static inline void finish_tile(const struct rs_int8_job *j, const int32_t *sums, int first, int rows, int col)
{
    const int cols = j->n - col < 16 ? j->n - col : 16;
    for (int r = 0; r < rows; r++) {
        float *y = j->y + (first + r) * j->stride + col;
        const float xs = j->x_scale[first + r];
        for (int c = 0; c < cols; c += LANES) {
            const int left = cols - c;
            vi s;
            memcpy(&s, sums + 16 * r + c, sizeof s);
            vf v = __builtin_convertvector(s, vf) * (load(j->w_scale + col + c) * xs);
            if (j->bias)
                v += load(j->bias + col + c);
            v = act_v(v, j->act) * j->alpha;
            store_n(y + c, j->add ? load_n(y + c, left) + v : v, left);
        }
    }
}
