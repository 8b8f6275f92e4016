/* Preloaded beside ALSA's file plugin over its null device, which has all its frames at once: gives them PACE times as
 * fast as a clock would, and nothing to poll for. The plugin takes a short read of its file for a whole one, so reads
 * of a pipe are made whole here. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct snd_pcm snd_pcm_t;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

long snd_pcm_readi(snd_pcm_t *pcm, void *to, unsigned long frames)
{
    static long (*real)(snd_pcm_t *, void *, unsigned long);
    static double begun, speed;
    static unsigned long given;
    if (!real) {
        real = (long (*)(snd_pcm_t *, void *, unsigned long))dlsym(RTLD_NEXT, "snd_pcm_readi");
        speed = getenv("PACE") ? atof(getenv("PACE")) : 1;
        begun = now();
    }
    const unsigned long due = (unsigned long)((now() - begun) * speed * 48000);
    if (due <= given)
        return -EAGAIN;
    const long n = real(pcm, to, due - given < frames ? due - given : frames);
    given += n > 0 ? (unsigned long)n : 0;
    return n;
}

int snd_pcm_poll_descriptors_count(snd_pcm_t *pcm)
{
    (void)pcm;
    return 0;
}

int snd_pcm_poll_descriptors(snd_pcm_t *pcm, void *descriptors, unsigned space)
{
    (void)pcm;
    (void)descriptors;
    (void)space;
    return 0;
}

ssize_t read(int fd, void *to, size_t n)
{
    size_t done = 0;
    struct stat st;
    const int whole = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
    while (done < n) {
        const ssize_t got = syscall(SYS_read, fd, (char *)to + done, n - done);
        if (got <= 0)
            return done ? (ssize_t)done : got;
        done += (size_t)got;
        if (!whole)                   /* a descriptor of the recorder's own */
            break;
    }
    return (ssize_t)done;
}
