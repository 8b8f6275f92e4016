/* The cell of an LSTM for many histories at once, forwards and backwards: for training on a CPU (neural_lm.py, which makes the
 * products between the steps). Gates stand in PyTorch's order: input, forget, candidate, output.
 *
 * Compiled by kernels.py.
 */
#include <stdint.h>

#include "bf16.h"
#include "sigmoid.h"

enum { LARGEST = 2048 };

/* One step of n histories. recalled [n][4H]: W_hh·h; said [pieces][4H]: what each piece adds, of which pieces [n] are
 * heard. c [n][H] becomes next; gates [n][4H] as they open, h [n][H]. */
void lstm_forward(const bf16 *recalled, const float *said, const int64_t *pieces, const float *c, bf16 *gates, float *next, bf16 *h,
                  int n, int H)
{
#pragma omp parallel for schedule(static)
    for (int r = 0; r < n; r++) {
        float z[4 * LARGEST];
        const bf16 *from = recalled + (size_t)r * 4 * H;
        const float *add = said + (size_t)pieces[r] * 4 * H, *before = c + (size_t)r * H;
        bf16 *g = gates + (size_t)r * 4 * H;
        for (int i = 0; i < 4 * H; i++)
            z[i] = up(from[i]) + add[i];
        for (int i = 0; i < H; i++) {
            const float in = sigmoid(z[i]), keep = sigmoid(z[H + i]), candidate = 2 * sigmoid(2 * z[2 * H + i]) - 1, out = sigmoid(z[3 * H + i]);
            const float now = keep * before[i] + in * candidate;
            z[i] = in;
            z[H + i] = keep;
            z[2 * H + i] = candidate;
            z[3 * H + i] = out;
            next[(size_t)r * H + i] = now;
            h[(size_t)r * H + i] = down(out * (2 * sigmoid(2 * now) - 1));
        }
        for (int i = 0; i < 4 * H; i++)
            g[i] = down(z[i]);
    }
}

/* The same backwards: dh [n][H] from above and dr [n][H] from the step after; dc [n][H] is that of the cell after the step,
 * and then of the one before. dz [n][4H]: of the gates before they were squashed. */
void lstm_backward(const bf16 *dh, const bf16 *dr, const bf16 *gates, const float *c, const float *next, float *dc, bf16 *dz, int n, int H)
{
#pragma omp parallel for schedule(static)
    for (int r = 0; r < n; r++) {
        float g[4 * LARGEST];
        const size_t at = (size_t)r * H;
        for (int i = 0; i < 4 * H; i++)
            g[i] = up(gates[4 * at + i]);
        for (int i = 0; i < H; i++) {
            const float in = g[i], keep = g[H + i], candidate = g[2 * H + i], out = g[3 * H + i];
            const float squashed = 2 * sigmoid(2 * next[at + i]) - 1, d = up(dh[at + i]) + up(dr[at + i]);
            const float cell = dc[at + i] + d * out * (1 - squashed * squashed);
            dc[at + i] = cell * keep;
            g[i] = cell * candidate * in * (1 - in);
            g[H + i] = cell * c[at + i] * keep * (1 - keep);
            g[2 * H + i] = cell * in * (1 - candidate * candidate);
            g[3 * H + i] = d * squashed * out * (1 - out);
        }
        for (int i = 0; i < 4 * H; i++)
            dz[4 * at + i] = down(g[i]);
    }
}

/* sums [pieces][width] += rows [n][width], each to its piece. */
void add_by_piece(const bf16 *rows, const int64_t *pieces, float *sums, int n, int width)
{
    enum { PART = 256 };
#pragma omp parallel for schedule(static)
    for (int from = 0; from < width; from += PART)
        for (int r = 0; r < n; r++) {
            const bf16 *row = rows + (size_t)r * width;
            float *sum = sums + (size_t)pieces[r] * width;
            for (int i = from; i < from + PART && i < width; i++)
                sum[i] += up(row[i]);
        }
}
