/* Each denial is tried from inside, each in a child of its own; so is what must go on working. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session/sandbox.h"

static char inside[] = "/tmp/rec-stt-sandbox-XXXXXX", outside[] = "/tmp/rec-stt-outside-XXXXXX";
static struct rs_sandbox offered;

enum { BEGUN = 0, SEALED = 1 };

/* Runs fn confined in a child; true when it returned 0. */
static bool confined(int (*fn)(void), int stage)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        struct rs_sandbox s;
        rs_sandbox_begin(&s, (const char *const[]){inside, "/nonexistent", NULL});
        if (stage == SEALED)
            rs_sandbox_seal(&s);
        _exit(s.syscalls != offered.syscalls || s.landlock != offered.landlock || (stage == SEALED && !s.sealed) ? 99 : fn());
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int refused(long result, int error)
{
    return result < 0 && errno == error ? 0 : 1;
}

static int exec_program(void) { return refused(execl("/bin/true", "true", NULL), EPERM); }
static int new_process(void) { const pid_t p = fork(); if (p == 0) _exit(0); return refused(p, EPERM); }
static int inet_socket(void) { return refused(socket(AF_INET, SOCK_STREAM, 0), EPERM); }
static int inet6_socket(void) { return refused(socket(AF_INET6, SOCK_DGRAM, 0), EPERM); }
static int packet_socket(void) { return refused(socket(AF_PACKET, SOCK_RAW, 0), EPERM); }
static int trace_parent(void) { return refused(ptrace(PTRACE_ATTACH, getppid(), 0, 0), EPERM); }
static int signal_parent(void) { return refused(kill(getppid(), 0), EPERM); }
static int change_owner(void) { return refused(chown(inside, 1, 1), EPERM); }
static int read_a_file(void) { return refused(open("/etc/passwd", O_RDONLY), EACCES); }
static int listing(void) { return refused(open("/tmp", O_RDONLY | O_DIRECTORY), EACCES); }

static int executable_memory(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || refused(mprotect(p, 4096, PROT_READ | PROT_EXEC), EPERM))
        return 1;
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

static int path_in(char *buf, size_t size, const char *folder)
{
    return snprintf(buf, size, "%s/file", folder);
}

static int write_outside(void)
{
    char path[64];
    path_in(path, sizeof path, outside);
    return refused(open(path, O_WRONLY | O_CREAT, 0600), EACCES);
}

static int change_outside(void)
{
    return refused(rename(outside, "/tmp/rec-stt-renamed"), EACCES) || refused(mkdir("/tmp/rec-stt-new-folder", 0700), EACCES);
}

static int write_inside(void)
{
    char path[64];
    path_in(path, sizeof path, inside);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    return fd < 0 || write(fd, "x", 1) != 1 || unlink(path) != 0;
}

static int reading_before_the_seal(void)
{
    return open("/etc/passwd", O_RDONLY) < 0;
}

static void *thread_body(void *arg)
{
    *(int *)arg = 7;
    return arg;
}

static int daily_work(void)
{
    int value = 0, fds[2];
    pthread_t t;
    if (pthread_create(&t, NULL, thread_body, &value) != 0 || pthread_join(t, NULL) != 0 || value != 7)
        return 1;
    char *big = malloc(64 << 20);
    if (!big)
        return 2;
    memset(big, 1, 64 << 20);
    free(big);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0 || write(fds[0], "a", 1) != 1)
        return 3;
    if (poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 1000) != 1)
        return 4;
    return eventfd(0, 0) < 0 || socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? 5 : 0;
}

static int no_core(void)
{
    struct rlimit r;
    return getrlimit(RLIMIT_CORE, &r) != 0 || r.rlim_max != 0;
}

static int go[2];

static void *older_thread(void *arg)
{
    char c;
    const ssize_t got = read(go[0], &c, 1);
    *(int *)arg = got == 1 ? refused(socket(AF_INET, SOCK_STREAM, 0), EPERM) || refused(open("/etc/passwd", O_RDONLY), EACCES) : 2;
    return NULL;
}

static void threads_that_run_already_are_confined(void)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        int result = 9;
        pthread_t t;
        struct rs_sandbox s;
        if (pipe(go) != 0 || pthread_create(&t, NULL, older_thread, &result) != 0)
            _exit(8);
        rs_sandbox_begin(&s, (const char *const[]){NULL});
        rs_sandbox_seal(&s);
        _exit(write(go[1], "g", 1) != 1 || pthread_join(t, NULL) != 0 ? 7 : result);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void nothing_leaves(void)
{
    CHECK(confined(exec_program, BEGUN));
    CHECK(confined(new_process, BEGUN));
    CHECK(confined(inet_socket, BEGUN));
    CHECK(confined(inet6_socket, BEGUN));
    CHECK(confined(packet_socket, BEGUN));
    CHECK(confined(trace_parent, BEGUN));
    CHECK(confined(signal_parent, BEGUN));
    CHECK(confined(change_owner, BEGUN));
    CHECK(confined(executable_memory, BEGUN));
    CHECK(confined(no_core, BEGUN));
}

static void nothing_is_written_outside(void)
{
    CHECK(confined(write_outside, BEGUN));
    CHECK(confined(change_outside, BEGUN));
    CHECK(confined(write_inside, BEGUN));
}

static void nothing_is_opened_after_the_seal(void)
{
    CHECK(confined(reading_before_the_seal, BEGUN));
    CHECK(confined(read_a_file, SEALED));
    CHECK(confined(listing, SEALED));
    CHECK(confined(write_outside, SEALED));
}

static void work_goes_on(void)
{
    CHECK(confined(daily_work, SEALED));
}

static void the_text_says_what_is_in_force(void)
{
    char buf[80];
    CHECK_STR(rs_sandbox_text(&(struct rs_sandbox){.syscalls = true, .sealed = true, .landlock = 4}, buf, sizeof buf),
              "seccomp (sealed), landlock 4");
    CHECK_STR(rs_sandbox_text(&(struct rs_sandbox){.landlock = 1}, buf, sizeof buf), "landlock 1");
    CHECK_STR(rs_sandbox_text(&(struct rs_sandbox){.landlock = 0}, buf, sizeof buf), "off");
}

int main(void)
{
    rs_sandbox_probe(&offered);
    if (!mkdtemp(inside) || !mkdtemp(outside))
        return 1;
    if (offered.syscalls) {
        RUN(nothing_leaves);
        RUN(nothing_is_opened_after_the_seal);
        RUN(threads_that_run_already_are_confined);
        RUN(work_goes_on);
    }
    if (offered.syscalls && offered.landlock)
        RUN(nothing_is_written_outside);
    RUN(the_text_says_what_is_in_force);
    rmdir(inside);
    rmdir(outside);
    return REPORT();
}
