#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/guard.h"

static char *map_of(int *fd, size_t size)
{
    char path[] = "/tmp/rec-stt-guard-XXXXXX";
    *fd = mkstemp(path);
    unlink(path);
    if (*fd < 0 || ftruncate(*fd, (off_t)size) < 0 || pwrite(*fd, "x", 1, (off_t)size - 1) != 1)
        return NULL;
    char *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, *fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void a_truncated_mapping_reads_as_zeros(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 4 * page;
    int fd;
    const volatile char *p = map_of(&fd, size);
    CHECK(p != NULL);
    CHECK(rs_guard_add((const void *)p, size));
    CHECK_INT(p[size - 1], 'x');
    const unsigned before = rs_guard_hits();
    CHECK_INT(ftruncate(fd, (off_t)page), 0);
    CHECK_INT(p[size - 1], 0);
    CHECK_INT(p[2 * page], 0);
    CHECK_INT(p[2 * page + 1], 0);
    CHECK_INT(rs_guard_hits() - before, 2);
    rs_guard_remove((const void *)p);
    munmap((void *)p, size);
    close(fd);
}

/* A fault outside the registered mappings still ends the process: nothing else is papered over. */
static void an_unguarded_fault_still_kills(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd, status = 0;
    volatile char *p = map_of(&fd, 2 * page);
    CHECK(p != NULL && ftruncate(fd, 0) == 0);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(5);
        signal(SIGSEGV, SIG_DFL);
        _exit(p[0]);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(!(WIFEXITED(status) && WEXITSTATUS(status) == 0));
    munmap((void *)p, 2 * page);
    close(fd);
}

static void places_are_limited_and_reused(void)
{
    static char area[80];
    int taken = 0;
    while (taken < 80 && rs_guard_add(area + taken, 1))
        taken++;
    CHECK_INT(taken, 64);
    rs_guard_remove(area + 3);
    CHECK(rs_guard_add(area + 79, 1));
    for (int i = 0; i < 80; i++)
        rs_guard_remove(area + i);
    CHECK(rs_guard_add(area, 1));
    rs_guard_remove(area);
}

int main(void)
{
    RUN(a_truncated_mapping_reads_as_zeros);
    RUN(an_unguarded_fault_still_kills);
    RUN(places_are_limited_and_reused);
    return REPORT();
}
