/* The ring between the capture thread and the reader: order, wrap-around, and two real threads. */
#include "test.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "audio/ring.h"

static void fills_and_wraps(void)
{
    struct rs_ring r;
    size_t n;
    CHECK(rs_ring_init(&r, sizeof(int), 10));
    CHECK(rs_ring_peek(&r, &n) == NULL && n == 0);
    int *to = rs_ring_space(&r, &n);
    CHECK_INT(n, 10);
    for (int i = 0; i < 7; i++)
        to[i] = i;
    rs_ring_commit(&r, 7);
    rs_ring_space(&r, &n);
    CHECK_INT(n, 3);
    const int *from = rs_ring_peek(&r, &n);
    CHECK_INT(n, 7);
    CHECK_INT(from[6], 6);
    rs_ring_take(&r, 5);
    rs_ring_commit(&r, 3);
    rs_ring_space(&r, &n);
    CHECK_INT(n, 5);              /* the five that were taken, from the start again */
    rs_ring_commit(&r, 5);
    CHECK(rs_ring_space(&r, &n) == NULL);
    rs_ring_peek(&r, &n);
    CHECK_INT(n, 5);              /* up to the end, then the rest */
    rs_ring_take(&r, 5);
    rs_ring_peek(&r, &n);
    CHECK_INT(n, 5);
    rs_ring_free(&r);
}

enum { MANY = 2000000 };

static void *producer(void *arg)
{
    struct rs_ring *r = arg;
    unsigned seed = 1;
    for (int i = 0; i < MANY;) {
        size_t n;
        int *to = rs_ring_space(r, &n);
        const size_t want = (size_t)rand_r(&seed) % 97 + 1;
        n = n < want ? n : want;
        n = n < (size_t)(MANY - i) ? n : (size_t)(MANY - i);
        for (size_t k = 0; k < n; k++)
            to[k] = i++;
        rs_ring_commit(r, n);
    }
    return NULL;
}

static void two_threads_keep_order(void)
{
    struct rs_ring r;
    pthread_t t;
    CHECK(rs_ring_init(&r, sizeof(int), 997));
    CHECK_INT(pthread_create(&t, NULL, producer, &r), 0);
    int wrong = 0;
    unsigned seed = 2;
    for (int i = 0; i < MANY;) {
        size_t n;
        const int *from = rs_ring_peek(&r, &n);
        const size_t want = (size_t)rand_r(&seed) % 89 + 1;
        n = n < want ? n : want;
        for (size_t k = 0; k < n; k++)
            wrong += from[k] != i++;
        rs_ring_take(&r, n);
    }
    pthread_join(t, NULL);
    CHECK_INT(wrong, 0);
    rs_ring_free(&r);
}

/* What the mapping's own flags say: no dump, and no swap where the limit allows it; without it there is sound all the same. */
static bool flagged(const void *p, const char *flag)
{
    char line[512];
    bool here = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (unsigned long)p >= from && (unsigned long)p < to;
        found |= here && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, flag);
    }
    if (f)
        fclose(f);
    return found;
}

static void stays_in_memory(void)
{
    struct rs_ring r;
    struct rlimit limit;
    CHECK(rs_ring_init(&r, 4, 48000));
    CHECK(flagged(r.data, " dd"));
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur >= 1 << 20)
        CHECK(flagged(r.data, " lo"));
    rs_ring_free(&r);
    CHECK_INT(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max}), 0);
    CHECK(rs_ring_init(&r, 4, 48000));
    rs_ring_free(&r);
}

static void refuses_nonsense(void)
{
    struct rs_ring r;
    CHECK(!rs_ring_init(&r, 0, 10));
    CHECK(!rs_ring_init(&r, 4, 0));
    CHECK(!rs_ring_init(&r, (size_t)1 << 40, (size_t)1 << 40));
    rs_ring_free(&r);
}

int main(void)
{
    RUN(fills_and_wraps);
    RUN(two_threads_keep_order);
    RUN(stays_in_memory);
    RUN(refuses_nonsense);
    return REPORT();
}
