/* .nemo files: the same weights as in GGUF bit for bit (tests/fixtures/containers, written by PyTorch), and every
 * damage is a sentence: cuts, flipped bytes, pickles that want to call something. */
#include "containers.h"
#include "model/pickle.h"

static void same_as_gguf(const char *nemo, const char *gguf)
{
    struct rs_model *a = NULL, *b = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_model_open(&a, nemo, &e), 0);
    CHECK_INT(rs_model_open(&b, gguf, &e), 0);
    if (!a || !b) {
        printf("  %s\n", e.msg);
        rs_model_close(a);
        rs_model_close(b);
        return;
    }
    CHECK_INT(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct rs_tensor *t = rs_model_find(a, b->tensors[i].name);
        CHECK(t && t->type == RS_F32 && t->bytes == b->tensors[i].bytes && memcmp(t->data, b->tensors[i].data, t->bytes) == 0);
    }
    same_config(a, b);
    rs_model_close(a);
    rs_model_close(b);
}

static void contents_equal_gguf(void)
{
    same_as_gguf("tests/fixtures/containers/tiny-tdt.nemo", "tests/fixtures/parity/tiny-tdt.gguf");
    same_as_gguf("tests/fixtures/containers/tiny-ctc.nemo", "tests/fixtures/parity/tiny-ctc.gguf");
}

static void cuts_are_refused(void)
{
    size_t size;
    uint8_t *data = slurp("tests/fixtures/containers/tiny-ctc.nemo", &size);
    CHECK(data != NULL);
    if (!data)
        return;
    while (size && !data[size - 1])      /* the archive's padding */
        size--;
    for (size_t n = 0; n < size; n += n < 12000 || n > size - 12000 ? 61 : 4096)
        CHECK(refused(data, n));
    free(data);
}

static void flipped_bytes_never_crash(void)
{
    size_t size;
    uint8_t *data = slurp("tests/fixtures/containers/tiny-ctc.nemo", &size);
    uint32_t x = 12345;
    int bad = 0;
    CHECK(data != NULL);
    for (int round = 0; data && round < 3000; round++) {
        size_t at[4];
        uint8_t was[4];
        for (int i = 0; i < 4; i++) {
            x = x * 1664525 + 1013904223;
            /* Mostly the structures: the archive's head with YAML and tokenizer, the zip's pickle, its directory. */
            const size_t reach = round % 3 == 0 ? size : 24000 < size ? 24000 : size;
            at[i] = round % 3 == 1 ? size - 1 - x % reach : x % reach;
            was[i] = data[at[i]];
            data[at[i]] = (uint8_t)(x >> 24);
        }
        bad += refused(data, size);
        for (int i = 4; i-- > 0;)
            data[at[i]] = was[i];
    }
    CHECK(bad > 100);
    free(data);
}

static int pickle(const char *bytes, size_t n)
{
    struct rs_pickled *list;
    size_t count;
    struct rs_err e = {0};
    const int rc = rs_pickle_read(&list, &count, (const uint8_t *)bytes, n, "test", &e);
    free(list);
    CHECK(!rc || e.msg[0]);
    return rc;
}
#define PICKLE(s) pickle(s, sizeof(s) - 1)

static void pickles_execute_nothing(void)
{
    CHECK_INT(PICKLE("\x80\x02}."), 0);
    CHECK_INT(PICKLE("\x80\x02" "cos\nsystem\nX\2\0\0\0id\x85R."), -RS_E_UNSAFE_PICKLE);
    CHECK_INT(PICKLE("\x80\x02" "cbuiltins\neval\n."), -RS_E_UNSAFE_PICKLE);
    CHECK_INT(PICKLE("\x80\x02i."), -RS_E_UNSAFE_PICKLE);
    CHECK_INT(PICKLE("\x80\x04."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02" "ccollections\nOrderedDict\n)R."), 0);
    CHECK_INT(PICKLE("\x80\x02)R."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02t."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02q\1."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02}r\xff\xff\xff\xff."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02h\7."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02X\xff\xff\xff\xff."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02\x8a\x09" "123456789."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02(((u."), 0);
    CHECK_INT(PICKLE("\x80\x02)Q."), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02"), -RS_E_MODEL_BAD);
    CHECK_INT(PICKLE("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n)R."), -RS_E_MODEL_BAD);
}

/* Doubling tuples by references: 2^60 values if it were built. */
static void nested_tuples_stay_small(void)
{
    char bomb[4 + 60 * 6] = "\x80\x02)";
    size_t n = 3;
    for (int i = 0; i < 60; i++) {
        const char step[] = {'q', (char)i, 'h', (char)i, (char)0x86, 0};
        memcpy(bomb + n, step, 5);
        n += 5;
    }
    bomb[n++] = '.';
    CHECK_INT(pickle(bomb, n), 0);
    static char many[600000];
    memset(many, '}', sizeof many);
    CHECK_INT(pickle(many, sizeof many), -RS_E_MODEL_BAD);
}

int main(void)
{
    RUN(contents_equal_gguf);
    RUN(cuts_are_refused);
    RUN(flipped_bytes_never_crash);
    RUN(pickles_execute_nothing);
    RUN(nested_tuples_stay_small);
    return REPORT();
}
