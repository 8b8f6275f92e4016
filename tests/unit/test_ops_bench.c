/* Word errors as bench counts them, and the shapes it measures. */
#include "cmd/bench_wer.h"
#include "model/synthetic.h"

#include "test.h"

static long errors(const char *meant, const char *said, long want_words)
{
    long words = -1;
    const long n = rs_word_errors(meant, said, &words);
    CHECK_INT(words, want_words);
    return n;
}

static void word_errors(void)
{
    CHECK_INT(errors("Hello, world.", "hello world", 2), 0);
    CHECK_INT(errors("a b c d", "a x c", 4), 2);
    CHECK_INT(errors("a b", "a b c d", 2), 2);
    CHECK_INT(errors("", "a", 0), 1);
    CHECK_INT(errors("don't stop", "", 2), 2);
    CHECK_INT(errors("one two three", "two three one", 3), 2);
    CHECK_INT(errors("...", "!?", 0), 0);
    CHECK_INT(errors("gr\xc3\xbc\xc3\x9f gott", "gr\xc3\xbc\xc3\x9f  gott", 2), 0);
}

static void shapes(void)
{
    struct rs_model *m;
    struct rs_err e = {0};
    CHECK_INT(rs_synthetic_model(&m, "nothing", &e), -RS_E_USAGE);
    CHECK_INT(rs_synthetic_model(&m, "110m", NULL), 0);
    int64_t count = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (!strstr(m->tensors[i].name, "running_"))
            count += rs_tensor_count(&m->tensors[i]);
        CHECK(i == 0 || strcmp(m->tensors[i - 1].name, m->tensors[i].name) < 0);
    }
    CHECK_INT(count, 114624647);                  /* the published checkpoint's parameters */
    rs_synthetic_free(m);
    CHECK_INT(rs_synthetic_model(&m, "0.6b-v3", NULL), 0);
    count = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strstr(m->tensors[i].name, "running_"))
            count += rs_tensor_count(&m->tensors[i]);
    CHECK_INT(count, 627008134);
    rs_synthetic_free(m);
}

int main(void)
{
    RUN(word_errors);
    RUN(shapes);
    return REPORT();
}
