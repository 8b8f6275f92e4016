/* safetensors headers, honest and hostile: each bad one is refused with a sentence. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "model/model.h"

static unsigned char image[4096];

/* Opens a file made of this header and `data` zero bytes after it. */
static int open_header(struct rs_model **m, const char *header, size_t data, struct rs_err *e)
{
    const size_t n = strlen(header);
    memset(image, 0, sizeof image);
    image[0] = (unsigned char)n;
    image[1] = (unsigned char)(n >> 8);
    memcpy(image + 8, header, n);
    *e = (struct rs_err){0};
    return rs_model_open_memory(m, image, 8 + n + data, "test.safetensors", e);
}

#define W "\"lstm_cell.weight_ih\":"

static void an_honest_file_is_read(void)
{
    struct rs_model *m;
    struct rs_err e;
    CHECK_INT(open_header(&m, "{" W "{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                          "\"b\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[24,26]},\"__metadata__\":{\"a\":\"b\"}}", 26, &e), 0);
    CHECK_INT(m->config.arch, RS_ARCH_SILERO_VAD);
    CHECK_INT(m->n_tensors, 2);
    const struct rs_tensor *t = rs_model_find(m, "lstm_cell.weight_ih");
    CHECK(t && t->ndim == 2 && t->shape[1] == 3 && (uintptr_t)t->data % 4 == 0);
    rs_model_close(m);
}

static void hostile_files_are_refused(void)
{
    static const struct { const char *header; size_t data; int code; } bad[] = {
        {"{", 0, RS_E_MODEL_UNSUPPORTED},
        {"{}", 0, RS_E_MODEL_UNSUPPORTED},
        {"{" W "7}", 8, RS_E_MODEL_UNSUPPORTED},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}," W "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 8, RS_E_MODEL_BAD},
        {"{" W "{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, RS_E_MODEL_UNSUPPORTED},
        {"{" W "{\"shape\":[1],\"data_offsets\":[0,4]}}", 8, RS_E_MODEL_UNSUPPORTED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, RS_E_MODEL_UNSUPPORTED},
        {"{" W "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e400]}}", 8, RS_E_MODEL_BAD},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rs_model *m;
        struct rs_err e;
        const int rc = open_header(&m, bad[i].header, bad[i].data, &e);
        if (rc != -bad[i].code)
            printf("  header %zu: %s\n", i, bad[i].header);
        CHECK_INT(rc, -bad[i].code);
        CHECK(m == NULL && e.msg[0]);
    }
}

static void lengths_that_lie_are_refused(void)
{
    struct rs_model *m;
    struct rs_err e = {0};
    memset(image, 0xff, 8);
    image[8] = '{';
    CHECK(rs_model_open_memory(&m, image, 64, "test", &e) < 0);
    e = (struct rs_err){0};
    for (size_t n = 0; n < 9; n++)
        CHECK(rs_model_open_memory(&m, image, n, "test", &e) < 0);
}

int main(void)
{
    RUN(an_honest_file_is_read);
    RUN(hostile_files_are_refused);
    RUN(lengths_that_lie_are_refused);
    return REPORT();
}
