/* The encoder where parity does not look: the position table, lengths, what does not depend on threads or on
 * earlier runs, and model files that are damaged on purpose. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "asr/ctc.h"
#include "asr/fastconformer.h"
#include "asr/tokenizer.h"
#include "asr/transducer.h"

static unsigned char *file;
static size_t file_size;

static void read_file(void)
{
    FILE *f = fopen("tests/fixtures/parity/tiny-hybrid.gguf", "rb");
    CHECK(f != NULL);
    if (!f)
        return;
    fseek(f, 0, SEEK_END);
    file_size = (size_t)ftell(f);
    rewind(f);
    file = malloc(file_size);
    CHECK(file && fread(file, 1, file_size, f) == file_size);
    fclose(f);
}

static void position_vectors(void)
{
    float pe[7 * 512];
    const float first[] = {0.1411200f, -0.9899925f, 0.2450854f, -0.9695015f};
    rs_fc_positions(pe, 3, 7, 512);
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(pe[i], first[i], 1e-6);
    CHECK_NEAR(pe[510], 0.00031098987, 1e-9);
    for (int i = 0; i < 512; i++)
        CHECK_NEAR(pe[3 * 512 + i], i % 2, 0);                  /* position 0 */
    CHECK_NEAR(pe[6 * 512], -pe[0], 0);
}

struct net { struct rs_model *model; struct rs_pool *pool; struct rs_fc *encoder; struct rs_transducer *transducer; struct rs_ctc *ctc;
             struct rs_tokenizer *tokenizer; };

static void close_net(struct net *n)
{
    rs_tokenizer_free(n->tokenizer);
    rs_transducer_close(n->transducer);
    rs_ctc_close(n->ctc);
    rs_fc_close(n->encoder);
    rs_pool_free(n->pool);
    rs_model_close(n->model);
}

static int open_net(struct net *n, const void *data, size_t size, int threads, struct rs_err *e)
{
    const struct rs_backend *b;
    int rc = rs_backend_choose(&b, "f32-portable", e);
    *n = (struct net){0};
    rc = rc ? rc : rs_pool_new(&n->pool, threads, e);
    rc = rc ? rc : rs_model_open_memory(&n->model, data, size, "test", e);
    rc = rc ? rc : rs_fc_open(&n->encoder, n->model, b, NULL, n->pool, e);
    rc = rc ? rc : rs_transducer_open(&n->transducer, n->model, b, NULL, n->pool, rs_fc_shape(n->encoder)->width, e);
    rc = rc ? rc : rs_ctc_open(&n->ctc, n->model, b, NULL, n->pool, rs_fc_shape(n->encoder)->width, e);
    return rc ? rc : rs_tokenizer_new(&n->tokenizer, n->model, e);
}

static float *noise(size_t count)
{
    float *x = malloc(count * sizeof *x);
    uint32_t s = 1;
    for (size_t i = 0; i < count; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(s >> 8) / 8388608.f - 1;
    }
    return x;
}

static void lengths(void)
{
    struct net n;
    struct rs_err e = {0};
    CHECK_INT(open_net(&n, file, file_size, 1, &e), 0);
    for (int v = 0; v < 100; v++)
        CHECK_INT(rs_fc_frames(n.encoder, v), (v + 7) / 8);
    const float *out = (const float *)&e;
    CHECK_INT(rs_fc_run(n.encoder, NULL, 0, &out, &e), 0);
    CHECK(out == NULL);
    close_net(&n);
}

/* Long, short and long again, in one thread and in three: every run gives what the first gave. */
static void nothing_is_left_behind(void)
{
    struct net n[2];
    struct rs_err e = {0};
    const int frames[] = {200, 9, 1, 200, 4500, 200};
    float *mel = noise(4500 * 80), *first = malloc(25 * 24 * sizeof *first);
    for (int k = 0; k < 2; k++)
        CHECK_INT(open_net(&n[k], file, file_size, k ? 3 : 1, &e), 0);
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 2; k++) {
            const float *out = NULL;
            CHECK_INT(rs_fc_run(n[k].encoder, mel, frames[i], &out, &e), 0);
            if (i + k == 0)
                memcpy(first, out, 25 * 24 * sizeof *first);
            else if (frames[i] == 200)
                CHECK(memcmp(first, out, 25 * 24 * sizeof *first) == 0);
        }
    close_net(&n[0]);
    close_net(&n[1]);
    free(mel);
    free(first);
}

/* Attention within limits, where the table of positions is shorter than for all: what a run gives does not depend on
 * how many frames an earlier one had, and limits that everything is within change nothing. */
static void limits(void)
{
    static const int sides[][2] = {{128, 128}, {16, -1}, {-1, 5}, {10, 10}};
    const int frames[] = {140 * 8, 213 * 8, 300 * 8, 213 * 8};
    float *mel = noise(300 * 8 * 80), *seen = malloc(2 * 300 * 24 * sizeof *seen);
    for (size_t k = 0; k < sizeof sides / sizeof *sides; k++) {
        struct net n;
        struct rs_err e = {0};
        CHECK_INT(open_net(&n, file, file_size, 2, &e), 0);
        rs_fc_close(n.encoder);
        n.encoder = NULL;
        n.model->config.att_left = sides[k][0];
        n.model->config.att_right = sides[k][1];
        const struct rs_backend *b;
        CHECK_INT(rs_backend_choose(&b, "f32-portable", &e), 0);
        CHECK_INT(rs_fc_open(&n.encoder, n.model, b, NULL, n.pool, &e), 0);
        for (int i = 0; i < 4; i++) {
            const float *out = NULL;
            CHECK_INT(rs_fc_run(n.encoder, mel, frames[i], &out, &e), 0);
            if (i == 1)
                memcpy(seen, out, 213 * 24 * sizeof *out);
            if (i == 3)
                CHECK(memcmp(seen, out, 213 * 24 * sizeof *out) == 0);
            for (int j = 0; j < frames[i] / 8 * 24; j++)
                CHECK(isfinite(out[j]));
        }
        close_net(&n);
    }
    free(mel);
    free(seen);
}

/* Opens and, where that goes well, uses a damaged file: an error with a sentence, or some text, never a crash. */
static int use(const unsigned char *data, size_t size, const float *mel)
{
    struct net n;
    struct rs_err e = {0};
    const int rc = open_net(&n, data, size, 1, &e);
    if (rc) {
        CHECK(rc < 0 && e.msg[0]);
    } else if (rs_fc_shape(n.encoder)->mels <= 1024) {
        struct rs_transcript t = {0};
        const float *out = NULL;
        char text[256];
        if (rs_fc_run(n.encoder, mel, 20, &out, &e) == 0) {
            rs_transducer_run(n.transducer, out, 3, NULL, &t, &e);
            rs_ctc_run(n.ctc, out, 3, &t, &e);
            rs_tokenizer_text(n.tokenizer, t.tokens, t.count, text, sizeof text);
        }
        rs_transcript_free(&t);
    }
    close_net(&n);
    return rc;
}

static void truncated_files(void)
{
    float *mel = noise(20 * 1024);
    for (size_t cut = 0; cut < file_size; cut += cut < 3000 ? 7 : 997)
        CHECK(use(file, cut, mel) < 0);
    CHECK_INT(use(file, file_size, mel), 0);
    free(mel);
}

static void damaged_files(void)
{
    unsigned char *copy = malloc(file_size);
    float *mel = noise(20 * 1024);
    uint32_t s = 12345;
    int refused = 0;
    for (int i = 0; i < 1500; i++) {
        memcpy(copy, file, file_size);
        for (int k = 0; k < 1 + i % 3; k++) {
            s = s * 1664525u + 1013904223u;
            const size_t at = (s >> 8) % 12000;                 /* settings and the list of tensors */
            s = s * 1664525u + 1013904223u;
            copy[at] = i % 2 ? (unsigned char)(s >> 24) : (unsigned char)(copy[at] ^ 1 << (s >> 29));
        }
        refused += use(copy, file_size, mel) < 0;
    }
    printf("  %d of 1500 damaged files were refused\n", refused);
    CHECK(refused > 300);
    free(copy);
    free(mel);
}

int main(void)
{
    RUN(read_file);
    RUN(position_vectors);
    RUN(lengths);
    RUN(nothing_is_left_behind);
    RUN(limits);
    RUN(truncated_files);
    RUN(damaged_files);
    free(file);
    return REPORT();
}
