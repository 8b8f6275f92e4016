#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t started;

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t rs_now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

/* Field 22 of /proc/self/stat: ticks since boot at which the process started. */
static int64_t start_from_proc(void)
{
    char buf[1024];
    FILE *f = fopen("/proc/self/stat", "re");
    if (!f)
        return -1;
    const size_t n = fread(buf, 1, sizeof buf - 1, f);
    fclose(f);
    buf[n] = 0;
    const char *p = strrchr(buf, ')');   /* the name may hold spaces */
    unsigned long long ticks = 0;
    if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1)
        return -1;
    const long hz = sysconf(_SC_CLK_TCK);
    return hz > 0 ? (int64_t)(ticks * (1000000000ull / (unsigned long long)hz)) : -1;
}

void rs_clock_init(void)
{
    const int64_t now = rs_now_ns();
    const int64_t boot = start_from_proc();
    started = now;
    if (boot >= 0) {
        const int64_t age = read_clock(CLOCK_BOOTTIME) - boot;
        if (age >= 0 && age < 10000000000)   /* a tick is coarse; an implausible age is not believed */
            started = now - age;
    }
}

int64_t rs_process_start_ns(void) { return started; }
