/* Monotonic time in nanoseconds, and the process's start on the same clock. */
#ifndef RS_CLOCK_H
#define RS_CLOCK_H

#include <stdint.h>

int64_t rs_now_ns(void);                 /* CLOCK_MONOTONIC */
static inline double rs_ms(int64_t ns) { return (double)ns / 1e6; }

/* When the kernel started this process (from /proc/self/stat, 10 ms ticks refined by CLOCK_BOOTTIME);
 * where that cannot be read, the first call of rs_clock_init. */
void rs_clock_init(void);
int64_t rs_process_start_ns(void);

#endif
