/* Waking a thread that polls: an eventfd whose counter says "look again".
 *
 * Non-blocking on both sides. A wake-up must not get lost, whatever the kernel answers once (a waiter would wait
 * for ever); the one answer that needs no second try is EAGAIN: the counter is full, so the other side is awake. */
#ifndef RS_WAKE_H
#define RS_WAKE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static inline int rs_wake_open(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }    /* -1 and errno on failure */

static inline void rs_wake(int fd)
{
    const uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno != EAGAIN && errno != EBADF)
        ;
}

/* Clears the counter; false when nothing was signalled. A failed read leaves it set: the next poll comes here again. */
static inline bool rs_woken(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) > 0;
}

#endif
