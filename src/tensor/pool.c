/* Threads that sleep on a futex until a job's number changes.
 *
 * A job is published in `ticket` (its number, and the next part that nobody has claimed) and by raising `job`,
 * on which idle workers sleep. Everybody claims parts until none is left; `left` counts those unfinished. So
 * the caller never waits for a worker that has not begun: where other programs hold the other cores, it does
 * the work itself. Inside a run of jobs (rs_pool_busy) both sides spin for some microseconds before they
 * sleep: a wake-up through the kernel costs more than many of the jobs.
 */
#include "tensor/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "tensor/cpu.h"

#define MAX_THREADS 64
#define SPINS 4000            /* pauses: roughly 50 to 150 microseconds */

struct worker { pthread_t id; struct rs_pool *pool; };

struct rs_pool {
    int threads, started;
    void (*fn)(void *, int, int);
    void *arg;
    _Alignas(64) _Atomic uint32_t job;
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t left;
    atomic_bool waiting;          /* the caller sleeps on `left` */
    _Alignas(64) atomic_int sleepers;
    atomic_bool busy, stop;
    struct worker workers[MAX_THREADS];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static inline void pause_cpu(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb");
#endif
}

static uint32_t next_job(struct rs_pool *p, uint32_t seen)
{
    for (int i = 0; i < SPINS && atomic_load_explicit(&p->busy, memory_order_relaxed); i++) {
        if (atomic_load_explicit(&p->job, memory_order_acquire) != seen)
            break;
        pause_cpu();
    }
    while (atomic_load(&p->job) == seen) {
        atomic_fetch_add(&p->sleepers, 1);
        futex_wait(&p->job, seen);
        atomic_fetch_sub(&p->sleepers, 1);
    }
    return atomic_load(&p->job);
}

/* Does parts of job `job` as long as there are unclaimed ones. A claimed part keeps the job from ending, so fn
 * and arg cannot change in between. */
static void do_parts(struct rs_pool *p, uint32_t job)
{
    uint64_t t = atomic_load(&p->ticket);
    while (t >> 32 == job && (uint32_t)t < (uint32_t)p->threads) {
        if (!atomic_compare_exchange_weak(&p->ticket, &t, t + 1))
            continue;
        p->fn(p->arg, (int)(uint32_t)t, p->threads);
        if (atomic_fetch_sub(&p->left, 1) == 1 && atomic_load(&p->waiting))
            futex_wake(&p->left);
        t = atomic_load(&p->ticket);
    }
}

static void *worker_main(void *arg)
{
    struct rs_pool *p = ((struct worker *)arg)->pool;
    uint32_t seen = 0;
    for (;;) {
        seen = next_job(p, seen);
        if (atomic_load(&p->stop))
            return NULL;
        do_parts(p, seen);
    }
}

int rs_pool_new(struct rs_pool **out, int threads, struct rs_err *e)
{
    *out = NULL;
    if (threads <= 0)
        threads = rs_cpu_cores();
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    struct rs_pool *p = rs_aligned(1, sizeof *p);
    if (!p)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the thread pool.");
    *p = (struct rs_pool){.threads = threads};
    for (int i = 1; i < threads; i++) {
        struct worker *w = &p->workers[i];
        *w = (struct worker){.pool = p};
        if (pthread_create(&w->id, NULL, worker_main, w) != 0) {
            rs_pool_free(p);
            return rs_fail(e, RS_E_THREAD, "The system refused to start thread %d of %d; try --threads 1.", i + 1, threads);
        }
        p->started = i;
    }
    *out = p;
    return 0;
}

void rs_pool_free(struct rs_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->job, 1);
    futex_wake(&p->job);
    for (int i = 1; i <= p->started; i++)
        pthread_join(p->workers[i].id, NULL);
    free(p);
}

int rs_pool_threads(const struct rs_pool *p)
{
    return p ? p->threads : 1;
}

void rs_pool_run(struct rs_pool *p, void (*fn)(void *arg, int part, int parts), void *arg)
{
    if (!p || p->threads == 1) {
        fn(arg, 0, 1);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    atomic_store(&p->left, (uint32_t)p->threads);
    const uint32_t job = atomic_load(&p->job) + 1;
    atomic_store(&p->ticket, (uint64_t)job << 32);
    atomic_store(&p->job, job);
    if (atomic_load(&p->sleepers) > 0)
        futex_wake(&p->job);
    do_parts(p, job);
    for (int i = 0; i < SPINS && atomic_load_explicit(&p->left, memory_order_acquire); i++)
        pause_cpu();
    if (atomic_load(&p->left) == 0)
        return;
    atomic_store(&p->waiting, true);
    for (uint32_t left; (left = atomic_load(&p->left)) != 0;)
        futex_wait(&p->left, left);
    atomic_store(&p->waiting, false);
}

void rs_pool_share(int count, int step, int part, int parts, int *from, int *to)
{
    const int64_t units = (count + (int64_t)step - 1) / step;
    const int64_t a = units * part / parts * step, b = units * (part + 1) / parts * step;
    *from = (int)(a < count ? a : count);
    *to = (int)(b < count ? b : count);
}

void rs_pool_busy(struct rs_pool *p)
{
    if (p)
        atomic_store(&p->busy, true);
}

void rs_pool_idle(struct rs_pool *p)
{
    if (p)
        atomic_store(&p->busy, false);
}
