/* For the tests of model containers: files as bytes, and whether two models are the same. */
#ifndef RS_TEST_CONTAINERS_H
#define RS_TEST_CONTAINERS_H

#include <stdint.h>
#include <stdlib.h>

#include "model/model.h"
#include "test.h"

static inline uint8_t *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    *size = 0;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        *size = (size_t)ftell(f);
        rewind(f);
        data = malloc(*size + 1);
        if (data && fread(data, 1, *size, f) != *size) {
            free(data);
            data = NULL;
        }
    }
    if (f)
        fclose(f);
    return data;
}

/* Opens a copy of exactly that size, so that sanitizers see a read beyond it. True when it was refused in words. */
static inline int refused(const uint8_t *data, size_t size)
{
    struct rs_model *m;
    struct rs_err e = {0};
    uint8_t *own = malloc(size ? size : 1);
    if (!own)
        return 0;
    memcpy(own, data, size);
    const int rc = rs_model_open_memory(&m, own, size, "test.model", &e);
    if (!rc)
        rs_model_close(m);
    free(own);
    return rc && e.msg[0];
}

static inline void same_config(const struct rs_model *a, const struct rs_model *b)
{
    CHECK_INT(a->n_pieces, b->n_pieces);
    for (int i = 0; i < a->n_pieces && i < b->n_pieces; i++)
        CHECK_STR(a->pieces[i].text, b->pieces[i].text);
    CHECK_INT(a->config.heads, b->config.heads);
    CHECK_INT(a->config.xscaling, b->config.xscaling);
    CHECK_INT(a->config.att_left, b->config.att_left);
    CHECK_INT(a->config.n_fft, b->config.n_fft);
    CHECK_INT(a->config.win_length, b->config.win_length);
    CHECK_INT(a->config.hop_length, b->config.hop_length);
    CHECK_INT(a->config.n_durations, b->config.n_durations);
    CHECK(memcmp(a->config.durations, b->config.durations, sizeof a->config.durations) == 0);
    CHECK_NEAR(a->config.preemphasis, b->config.preemphasis, 0);
}

#endif
