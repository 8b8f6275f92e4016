/* A preloaded library that makes the n-th call of one kind fail, as a machine at its limits would.
 *
 *   FAIL_CALL   malloc (malloc, calloc, realloc, aligned_alloc, memalign, which FFTW asks), read, open, mmap, thread, write
 *   FAIL_AT     which call fails, counted from 1 over the whole process; 0: none
 *   FAIL_COUNT  a file that receives the number of such calls when the process ends
 *
 * With FAIL_AT=0 it only counts; the test then walks n through all of them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { NONE, MALLOC, READ, OPEN, MMAP, THREAD, WRITE };

static enum kind kind;
static long fail_at;
static int count_fd = -1;
static atomic_long calls;

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

__attribute__((constructor)) static void begin(void)
{
    static const char *const names[] = {"", "malloc", "read", "open", "mmap", "thread", "write"};
    const char *name = getenv("FAIL_CALL"), *at = getenv("FAIL_AT");
    for (int i = 1; name && i < (int)(sizeof names / sizeof names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            kind = (enum kind)i;
    fail_at = at ? atol(at) : 0;
    const char *path = getenv("FAIL_COUNT");          /* opened now: the recorder's sandbox opens nothing later */
    if (path)
        count_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    atomic_store(&calls, 0);
}

__attribute__((destructor)) static void end(void)
{
    char text[32];
    const int n = snprintf(text, sizeof text, "%ld\n", atomic_load(&calls));
    if (count_fd >= 0 && syscall(SYS_write, count_fd, text, n) != n)
        _exit(99);
}

static int fails(enum kind k)
{
    return k == kind && atomic_fetch_add(&calls, 1) + 1 == fail_at;
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t n) { return fails(MALLOC) ? no_memory() : __libc_malloc(n); }
void *calloc(size_t a, size_t b) { return fails(MALLOC) ? no_memory() : __libc_calloc(a, b); }
void *realloc(void *p, size_t n) { return fails(MALLOC) ? no_memory() : __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { return fails(MALLOC) ? no_memory() : __libc_memalign(a, n); }

void *memalign(size_t a, size_t n) { return fails(MALLOC) ? no_memory() : __libc_memalign(a, n); }

int posix_memalign(void **p, size_t a, size_t n)
{
    if (fails(MALLOC))
        return ENOMEM;
    *p = __libc_memalign(a, n);
    return *p ? 0 : ENOMEM;
}

ssize_t read(int fd, void *buf, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        *(void **)&real = next("read");
    if (fails(READ)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buf, n);
}

ssize_t write(int fd, const void *buf, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        *(void **)&real = next("write");
    if (fails(WRITE)) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, buf, n);
}

static int open_or_fail(const char *path, int flags, mode_t mode)
{
    static int (*real)(const char *, int, ...);
    if (!real)
        *(void **)&real = next("open64");
    if (fails(OPEN)) {
        errno = EMFILE;
        return -1;
    }
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_or_fail(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_or_fail(path, flags, mode);
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real)
        *(void **)&real = next("mmap");
    if (fails(MMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return real(addr, length, prot, flags, fd, offset);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    return mmap(addr, length, prot, flags, fd, offset);
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        *(void **)&real = next("pthread_create");
    if (fails(THREAD))
        return EAGAIN;
    return real(t, a, fn, arg);
}
