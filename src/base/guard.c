#include "base/guard.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_RANGES = 64 };

/* The handler reads these without a lock: `start` is published last and cleared first. */
static struct range { _Atomic uintptr_t start; _Atomic size_t size; } ranges[MAX_RANGES];
static atomic_uint hits;
static atomic_bool installed;
static uintptr_t page;

static bool guarded(uintptr_t at)
{
    for (int i = 0; i < MAX_RANGES; i++) {
        const uintptr_t start = atomic_load(&ranges[i].start);
        if (start && at >= start && at - start < atomic_load(&ranges[i].size))
            return true;
    }
    return false;
}

/* Puts a page of zeros where the file's page is gone. Only system calls in here. */
static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    (void)context;
    const uintptr_t at = (uintptr_t)info->si_addr;
    void *const where = (void *)(at & ~(page - 1));
    if (!guarded(at) || mmap(where, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != where) {
        signal(sig, SIG_DFL);       /* not ours: die as without the guard */
        return;
    }
    atomic_fetch_add(&hits, 1);
}

static void install(void)
{
    bool expected = false;
    if (!atomic_compare_exchange_strong(&installed, &expected, true))
        return;
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = on_bus_error;
    sa.sa_flags = SA_SIGINFO | SA_RESTART;
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigaction(SIGBUS, &sa, NULL);
}

bool rs_guard_add(const void *start, size_t size)
{
    install();
    for (int i = 0; i < MAX_RANGES; i++) {
        size_t free_size = 0;
        if (atomic_load(&ranges[i].start) == 0 &&
            atomic_compare_exchange_strong(&ranges[i].size, &free_size, size ? size : 1)) {
            atomic_store(&ranges[i].start, (uintptr_t)start);
            return true;
        }
    }
    return false;
}

void rs_guard_remove(const void *start)
{
    for (int i = 0; i < MAX_RANGES; i++)
        if (atomic_load(&ranges[i].start) == (uintptr_t)start) {
            atomic_store(&ranges[i].start, 0);
            atomic_store(&ranges[i].size, 0);
            return;
        }
}

unsigned rs_guard_hits(void) { return atomic_load(&hits); }
