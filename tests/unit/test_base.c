#include "test.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/opt.h"

static void first_error_wins(void)
{
    struct rs_err e = {0};
    CHECK_INT(rs_fail(&e, RS_E_IO, "first %d", 1), -RS_E_IO);
    rs_fail(&e, RS_E_NOMEM, "second");
    CHECK_STR(e.msg, "first 1");
    CHECK_STR(rs_code_word(e.code), "io");
    CHECK_INT(rs_exit_status(RS_E_DEVICE_GONE), 4);
    CHECK_INT(rs_exit_status(12345), 1);
}

static void every_code_has_a_word(void)
{
    for (int i = 0; i < RS_E_COUNT; i++)
        CHECK(rs_code_word(i) != NULL);
}

static void arena_merges_on_reset(void)
{
    struct rs_arena a = {0};
    char *p = rs_arena_alloc(&a, 3, 100);
    char *q = rs_arena_alloc(&a, 2 << 20, 1);
    CHECK(p && q && ((size_t)q & 63) == 0);
    rs_arena_reset(&a);
    const size_t peak = a.peak;
    CHECK(rs_arena_alloc(&a, 2 << 20, 1) && rs_arena_alloc(&a, 300, 1));
    CHECK_INT(a.peak, peak);
    CHECK(rs_arena_alloc(&a, (size_t)-1, 2) == NULL);
    rs_arena_free(&a);
}

static int opt(int argc, const char **argv, double *real, int *whole, bool *flag, const char **word, struct rs_err *e)
{
    static const struct rs_cmd cmd = {.name = "x", .synopsis = "", .summary = "x", .max_args = 1};
    const struct rs_opt table[] = {
        {.name = "real", .kind = RS_OPT_REAL, .value = real, .min = 0, .max = 10, .arg = "S", .help = "r"},
        {.name = "whole", .letter = 'w', .kind = RS_OPT_INT, .value = whole, .min = 1, .max = 9, .arg = "N", .help = "w"},
        {.name = "flag", .kind = RS_OPT_FLAG, .value = flag, .help = "f"},
        {.name = "word", .kind = RS_OPT_CHOICE, .value = word, .choices = "json|text", .arg = "F", .help = "c"},
        {0},
    };
    int n = 0;
    return rs_opt_parse(&cmd, table, argc, (char **)argv, &n, e);
}

static void options(void)
{
    double real = 1;
    int whole = 2;
    bool flag = false;
    const char *word = "json";
    struct rs_err e = {0};
    CHECK_INT(opt(7, (const char *[]){"x", "--real=2.5", "-w", "3", "--flag", "--word", "text"}, &real, &whole, &flag, &word, &e), 0);
    CHECK(real == 2.5 && whole == 3 && flag && strcmp(word, "text") == 0);
    const char *bad[][2] = {{"--real", "nan"}, {"--real", "1e999"}, {"--real", "11"}, {"--whole", "2.5"}, {"--whole", ""},
                            {"--whole", "99999999999999999999"}, {"--word", "jso"}, {"--wor", "json"}, {"--flag=1", "a"}, {"-x", "a"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        e = (struct rs_err){0};
        CHECK_INT(opt(3, (const char *[]){"x", bad[i][0], bad[i][1]}, &real, &whole, &flag, &word, &e), -RS_E_USAGE);
        CHECK(e.msg[0]);
    }
    e = (struct rs_err){0};
    CHECK_INT(opt(2, (const char *[]){"x", "--real"}, &real, &whole, &flag, &word, &e), -RS_E_USAGE);
    e = (struct rs_err){0};
    CHECK_INT(opt(4, (const char *[]){"x", "--", "--flag", "b"}, &real, &whole, &flag, &word, &e), -RS_E_USAGE);
}

int main(void)
{
    RUN(first_error_wins);
    RUN(every_code_has_a_word);
    RUN(arena_merges_on_reset);
    RUN(options);
    return REPORT();
}
