/* Preloaded: a disk whose fsync takes SLOW_SYNC seconds. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fsync(int fd)
{
    const char *seconds = getenv("SLOW_SYNC");
    nanosleep(&(struct timespec){.tv_sec = seconds ? atoi(seconds) : 0}, NULL);
    return (int)syscall(SYS_fsync, fd);
}
