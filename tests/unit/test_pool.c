/* The pool runs every part exactly once, shares cover everything, and idle threads sleep. */
#include "tensor/pool.h"

#include <stdatomic.h>
#include <time.h>

#include "test.h"

struct count { atomic_int parts[8]; atomic_int total; };

static void work(void *arg, int part, int parts)
{
    struct count *c = arg;
    atomic_fetch_add(&c->parts[part], 1);
    atomic_fetch_add(&c->total, parts);
}

static void every_part_once(void)
{
    for (int threads = 1; threads <= 4; threads++) {
        struct rs_pool *p;
        struct rs_err e = {0};
        struct count c = {0};
        CHECK_INT(rs_pool_new(&p, threads, &e), 0);
        CHECK_INT(rs_pool_threads(p), threads);
        for (int i = 0; i < 2000; i++) {
            if (i == 500)
                rs_pool_busy(p);
            if (i == 1500)
                rs_pool_idle(p);
            rs_pool_run(p, work, &c);
            CHECK_INT(atomic_load(&c.total), (i + 1) * threads * threads);
        }
        for (int i = 0; i < threads; i++)
            CHECK_INT(c.parts[i], 2000);
        rs_pool_free(p);
    }
}

static void shares_cover(void)
{
    for (int count = 0; count < 70; count++)
        for (int parts = 1; parts < 6; parts++) {
            int end = 0;
            for (int part = 0; part < parts; part++) {
                int from, to;
                rs_pool_share(count, 16, part, parts, &from, &to);
                CHECK_INT(from, end);
                CHECK(to >= from && (from % 16 == 0 || from == count));
                end = to;
            }
            CHECK_INT(end, count);
        }
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void idle_sleeps(void)
{
    struct rs_pool *p;
    struct count c = {0};
    CHECK_INT(rs_pool_new(&p, 4, NULL), 0);
    rs_pool_busy(p);
    rs_pool_run(p, work, &c);
    rs_pool_idle(p);
    const struct timespec settle = {.tv_nsec = 50000000}, rest = {.tv_nsec = 300000000};
    nanosleep(&settle, NULL);
    const double before = cpu_seconds();
    nanosleep(&rest, NULL);
    CHECK(cpu_seconds() - before < 0.03);
    rs_pool_free(p);
}

static void none_is_serial(void)
{
    struct count c = {0};
    rs_pool_run(NULL, work, &c);
    CHECK_INT(c.total, 1);
    CHECK_INT(rs_pool_threads(NULL), 1);
    rs_pool_busy(NULL);
    rs_pool_idle(NULL);
    rs_pool_free(NULL);
}

int main(void)
{
    RUN(every_part_once);
    RUN(shares_cover);
    RUN(idle_sleeps);
    RUN(none_is_serial);
    return REPORT();
}
