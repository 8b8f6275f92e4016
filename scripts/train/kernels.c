/* The first convolutions of the subsampling, forward and backward, for training in bfloat16 on a CPU.
 *
 * PyTorch's grouped strided convolutions spend most of a small model's step here; these loops keep all
 * channels of a pixel in vector registers.  Layout: [batch][row][column][channel], 3x3 windows, stride
 * 2, padding 1.  Compiled by kernels.py; channel counts are multiples of 32.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bf16.h"

/* Convolution 1 -> C with ReLU; output rows at or beyond valid[b] are zero. */
void first_forward(const float *x, const float *w, const float *bias, const int64_t *valid, bf16 *y,
                   int B, int H, int W, int C)
{
    int h = (H - 1) / 2 + 1, v = (W - 1) / 2 + 1;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < B * h; n++) {
        int b = n / h, i = n % h;
        bf16 *out = y + (size_t)n * v * C;
        if (i >= valid[b]) {
            memset(out, 0, (size_t)v * C * sizeof *out);
            continue;
        }
        for (int j = 0; j < v; j++, out += C) {
            float in[9];
            for (int k = 0; k < 9; k++) {
                int r = 2 * i - 1 + k / 3, c = 2 * j - 1 + k % 3;
                in[k] = r >= 0 && r < H && c >= 0 && c < W ? x[((size_t)b * H + r) * W + c] : 0;
            }
            for (int s = 0; s < C; s += 32) {
                float acc[32];
                for (int c = 0; c < 32; c++)
                    acc[c] = bias[s + c];
                for (int k = 0; k < 9; k++)
                    for (int c = 0; c < 32; c++)
                        acc[c] += in[k] * w[k * C + s + c];
                for (int c = 0; c < 32; c++)
                    out[s + c] = down(acc[c] > 0 ? acc[c] : 0);
            }
        }
    }
}

/* grad: [threads-agnostic] sums over everything; gw [9][C], gb [C] must be zero on entry. */
void first_backward(const float *x, const bf16 *y, const bf16 *gy, float *gw, float *gb,
                    int B, int H, int W, int C)
{
    int h = (H - 1) / 2 + 1, v = (W - 1) / 2 + 1;
#pragma omp parallel
    {
        float *sum = calloc((size_t)10 * C, sizeof *sum);
#pragma omp for schedule(static)
        for (int n = 0; n < B * h; n++) {
            int b = n / h, i = n % h;
            for (int j = 0; j < v; j++) {
                size_t at = ((size_t)n * v + j) * C;
                float in[9];
                for (int k = 0; k < 9; k++) {
                    int r = 2 * i - 1 + k / 3, c = 2 * j - 1 + k % 3;
                    in[k] = r >= 0 && r < H && c >= 0 && c < W ? x[((size_t)b * H + r) * W + c] : 0;
                }
                for (int s = 0; s < C; s += 32) {
                    float g[32];
                    for (int c = 0; c < 32; c++)
                        g[c] = y[at + s + c] ? up(gy[at + s + c]) : 0;
                    for (int k = 0; k < 9; k++)
                        for (int c = 0; c < 32; c++)
                            sum[k * C + s + c] += in[k] * g[c];
                    for (int c = 0; c < 32; c++)
                        sum[9 * C + s + c] += g[c];
                }
            }
        }
#pragma omp critical
        {
            for (int k = 0; k < 9 * C; k++)
                gw[k] += sum[k];
            for (int c = 0; c < C; c++)
                gb[c] += sum[9 * C + c];
        }
        free(sum);
    }
}

/* Depthwise convolution. */
void depthwise_forward(const bf16 *x, const float *w, const float *bias, bf16 *y, int B, int H, int W, int C)
{
    int h = (H - 1) / 2 + 1, v = (W - 1) / 2 + 1;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < B * h; n++) {
        int b = n / h, i = n % h;
        for (int j = 0; j < v; j++) {
            bf16 *out = y + ((size_t)n * v + j) * C;
            for (int s = 0; s < C; s += 32) {
                float acc[32];
                for (int c = 0; c < 32; c++)
                    acc[c] = bias[s + c];
                for (int k = 0; k < 9; k++) {
                    int r = 2 * i - 1 + k / 3, q = 2 * j - 1 + k % 3;
                    if (r < 0 || r >= H || q < 0 || q >= W)
                        continue;
                    const bf16 *in = x + (((size_t)b * H + r) * W + q) * C + s;
                    for (int c = 0; c < 32; c++)
                        acc[c] += up(in[c]) * w[k * C + s + c];
                }
                for (int c = 0; c < 32; c++)
                    out[s + c] = down(acc[c]);
            }
        }
    }
}

void depthwise_backward(const bf16 *x, const float *w, const bf16 *gy, bf16 *gx, float *gw, float *gb,
                        int B, int H, int W, int C)
{
    int h = (H - 1) / 2 + 1, v = (W - 1) / 2 + 1;
#pragma omp parallel
    {
        float *sum = calloc((size_t)10 * C, sizeof *sum);
#pragma omp for schedule(static)
        for (int n = 0; n < B * H; n++) {           /* gradient of the input, gathered */
            int b = n / H, r = n % H;
            for (int q = 0; q < W; q++) {
                bf16 *out = gx + ((size_t)n * W + q) * C;
                for (int s = 0; s < C; s += 32) {
                    float acc[32] = {0};
                    for (int k = 0; k < 9; k++) {
                        int i2 = r + 1 - k / 3, j2 = q + 1 - k % 3;
                        if ((i2 | j2) & 1 || i2 < 0 || j2 < 0 || i2 / 2 >= h || j2 / 2 >= v)
                            continue;
                        const bf16 *g = gy + (((size_t)b * h + i2 / 2) * v + j2 / 2) * C + s;
                        for (int c = 0; c < 32; c++)
                            acc[c] += up(g[c]) * w[k * C + s + c];
                    }
                    for (int c = 0; c < 32; c++)
                        out[s + c] = down(acc[c]);
                }
            }
        }
#pragma omp for schedule(static)
        for (int n = 0; n < B * h; n++) {           /* gradients of weights and bias */
            int b = n / h, i = n % h;
            for (int j = 0; j < v; j++) {
                const bf16 *gp = gy + ((size_t)n * v + j) * C;
                for (int s = 0; s < C; s += 32) {
                    float g[32];
                    for (int c = 0; c < 32; c++)
                        g[c] = up(gp[s + c]);
                    for (int k = 0; k < 9; k++) {
                        int r = 2 * i - 1 + k / 3, q = 2 * j - 1 + k % 3;
                        if (r < 0 || r >= H || q < 0 || q >= W)
                            continue;
                        const bf16 *in = x + (((size_t)b * H + r) * W + q) * C + s;
                        for (int c = 0; c < 32; c++)
                            sum[k * C + s + c] += up(in[c]) * g[c];
                    }
                    for (int c = 0; c < 32; c++)
                        sum[9 * C + s + c] += g[c];
                }
            }
        }
#pragma omp critical
        {
            for (int k = 0; k < 9 * C; k++)
                gw[k] += sum[k];
            for (int c = 0; c < C; c++)
                gb[c] += sum[9 * C + c];
        }
        free(sum);
    }
}

static inline float add_log(float a, float b)
{
    float high = a > b ? a : b, low = a > b ? b : a;
    return low <= -1e29f ? high : high + log1pf(expf(low - high));
}

/* Token-and-duration transducer loss (Xu et al. 2023) with durations 0..4.
 *
 * logits: for every utterance the rows (t, u), t < T[b], u <= U[b], of K + 5 values (K tokens with the
 * blank last, then the durations); overwritten by the gradient of the summed loss.  sigma under-normalises
 * the token probabilities as the paper does, which favours longer durations. */
void tdt_loss(float *logits, const int64_t *T, const int64_t *U, const int64_t *labels, float sigma,
              float *loss, int B, int K)
{
    int D = 5, R = K + D;
    size_t *row = malloc((size_t)(B + 1) * sizeof *row), *label = malloc((size_t)(B + 1) * sizeof *label);
    row[0] = label[0] = 0;
    for (int b = 0; b < B; b++) {
        row[b + 1] = row[b] + (size_t)T[b] * (U[b] + 1);
        label[b + 1] = label[b] + (size_t)U[b];
    }
#pragma omp parallel for schedule(dynamic)
    for (int b = 0; b < B; b++) {
        int n = (int)T[b], m = (int)U[b] + 1;
        size_t cells = (size_t)n * m;
        float *x = logits + row[b] * R, *space = malloc(cells * 11 * sizeof(float));
        float *alpha = space, *beta = alpha + cells, *blank = beta + cells, *emit = blank + cells;
        float *wait = emit + cells, *total = wait + 5 * cells, *width = total + cells;
        const int64_t *y = labels + label[b];
        for (size_t i = 0; i < cells; i++) {
            const float *r = x + i * R;
            int u = (int)(i % m);
            float high = r[0], sum = 0;
            for (int k = 1; k < K; k++)
                high = r[k] > high ? r[k] : high;
            for (int k = 0; k < K; k++)
                sum += expf(r[k] - high);
            total[i] = high + logf(sum);
            blank[i] = r[K - 1] - total[i] - sigma;
            emit[i] = u < m - 1 ? r[y[u]] - total[i] - sigma : -1e30f;
            high = r[K];
            for (int d = 1; d < D; d++)
                high = r[K + d] > high ? r[K + d] : high;
            sum = 0;
            for (int d = 0; d < D; d++)
                sum += expf(r[K + d] - high);
            width[i] = high + logf(sum);
            for (int d = 0; d < D; d++)
                wait[i * 5 + d] = r[K + d] - width[i];
            alpha[i] = beta[i] = -1e30f;
        }
        float final = -1e30f;
        alpha[0] = 0;
        for (int t = 0; t < n; t++)
            for (int u = 0; u < m; u++) {
                size_t i = (size_t)t * m + u;
                if (alpha[i] <= -1e29f)
                    continue;
                for (int d = 0; d < D && t + d <= n; d++) {
                    size_t j = i + (size_t)d * m;
                    if (d && t + d < n)
                        alpha[j] = add_log(alpha[j], alpha[i] + blank[i] + wait[i * 5 + d]);
                    if (d && t + d == n && u == m - 1)
                        final = add_log(final, alpha[i] + blank[i] + wait[i * 5 + d]);
                    if (t + d < n && u < m - 1)
                        alpha[j + 1] = add_log(alpha[j + 1], alpha[i] + emit[i] + wait[i * 5 + d]);
                }
            }
        for (int t = n - 1; t >= 0; t--)
            for (int u = m - 1; u >= 0; u--) {
                size_t i = (size_t)t * m + u;
                for (int d = 0; d < D && t + d <= n; d++) {
                    size_t j = i + (size_t)d * m;
                    if (d && t + d < n)
                        beta[i] = add_log(beta[i], beta[j] + blank[i] + wait[i * 5 + d]);
                    if (d && t + d == n && u == m - 1)
                        beta[i] = add_log(beta[i], blank[i] + wait[i * 5 + d]);
                    if (t + d < n && u < m - 1)
                        beta[i] = add_log(beta[i], beta[j + 1] + emit[i] + wait[i * 5 + d]);
                }
            }
        int impossible = final <= -1e29f;
        loss[b] = impossible ? 0 : -final;
        for (size_t i = 0; i < cells; i++) {
            float *r = x + i * R, of_blank = 0, of_emit = 0, of_wait[5] = {0};
            int t = (int)(i / m), u = (int)(i % m);
            if (impossible || alpha[i] <= -1e29f) {
                memset(r, 0, (size_t)R * sizeof *r);
                continue;
            }
            for (int d = 0; d < D && t + d <= n; d++) {
                size_t j = i + (size_t)d * m;
                float base = alpha[i] + wait[i * 5 + d] - final, p = 0, q = 0;
                if (d && t + d < n)
                    p = expf(base + blank[i] + beta[j]);
                if (d && t + d == n && u == m - 1)
                    p = expf(base + blank[i]);
                if (t + d < n && u < m - 1)
                    q = expf(base + emit[i] + beta[j + 1]);
                of_blank += p;
                of_emit += q;
                of_wait[d] = p + q;
            }
            float both = of_blank + of_emit;
            for (int k = 0; k < K; k++)
                r[k] = both * expf(r[k] - total[i]);
            r[K - 1] -= of_blank;
            if (u < m - 1)
                r[y[u]] -= of_emit;
            for (int d = 0; d < D; d++)
                r[K + d] = both * expf(r[K + d] - width[i]) - of_wait[d];
        }
        free(space);
    }
    free(row);
    free(label);
}
