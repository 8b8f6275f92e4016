/* Filters are plain classic BPF programs as seccomp(2) takes them: a list of the system calls that a
 * running recorder needs, everything else answers EPERM (not death: a libc that tries something newer
 * first can fall back). Landlock is reached by its system calls; libc has no wrappers. */
#include "session/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

static const int needed[] = {
    /* bytes in and out of what is open */
    __NR_read, __NR_write, __NR_readv, __NR_writev, __NR_pread64, __NR_pwrite64, __NR_lseek, __NR_close, __NR_dup, __NR_dup3,
    __NR_fcntl, __NR_fstat, __NR_statx, __NR_newfstatat, __NR_faccessat, __NR_faccessat2, __NR_readlinkat, __NR_getcwd,
    __NR_getdents64, __NR_fsync, __NR_fdatasync, __NR_ftruncate, __NR_fallocate, __NR_flock, __NR_fstatfs, __NR_statfs,
    __NR_unlinkat, __NR_renameat, __NR_renameat2, __NR_linkat, __NR_mkdirat, __NR_fchmod,
    /* memory (mmap and mprotect are looked at below) */
    __NR_munmap, __NR_mremap, __NR_madvise, __NR_mlock, __NR_mlock2, __NR_munlock, __NR_mincore, __NR_msync, __NR_brk, __NR_memfd_create,
    __NR_membarrier,
    /* time, waiting, threads */
    __NR_futex, __NR_nanosleep, __NR_clock_nanosleep, __NR_clock_gettime, __NR_clock_getres, __NR_gettimeofday, __NR_ppoll,
    __NR_pselect6, __NR_epoll_create1, __NR_epoll_ctl, __NR_epoll_pwait, __NR_eventfd2, __NR_timerfd_create,
    __NR_timerfd_settime, __NR_timerfd_gettime, __NR_pipe2, __NR_set_robust_list, __NR_get_robust_list, __NR_rseq,
    __NR_set_tid_address, __NR_sched_yield, __NR_sched_getaffinity, __NR_sched_setaffinity, __NR_sched_getparam,
    __NR_sched_getscheduler, __NR_sched_setscheduler, __NR_sched_get_priority_max, __NR_sched_get_priority_min,
    __NR_getpriority, __NR_setpriority, __NR_exit, __NR_exit_group, __NR_getcpu,
    /* signals to itself, facts about itself */
    __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_rt_sigtimedwait, __NR_rt_sigpending, __NR_sigaltstack,
    __NR_signalfd4, __NR_tgkill, __NR_restart_syscall, __NR_getpid, __NR_getppid, __NR_gettid, __NR_getuid, __NR_geteuid, __NR_getgid,
    __NR_getegid, __NR_getpgid, __NR_getsid, __NR_uname, __NR_sysinfo, __NR_times, __NR_getrusage, __NR_getrlimit, __NR_prlimit64, __NR_prctl,
    __NR_getrandom,
    /* the sound server's local socket */
    __NR_connect, __NR_getsockname, __NR_getpeername, __NR_getsockopt, __NR_setsockopt, __NR_sendto, __NR_sendmsg,
    __NR_recvfrom, __NR_recvmsg, __NR_shutdown, __NR_socketpair,
    /* the semaphores and the memory that programs share through ALSA's dsnoop, the `default` where no sound server is:
     * it takes them to start a suspended or broken stream again, and to let go of it */
    __NR_semop, __NR_semtimedop, __NR_semctl, __NR_shmdt, __NR_shmctl,
    /* the second filter and Landlock */
    __NR_seccomp, __NR_landlock_create_ruleset, __NR_landlock_add_rule, __NR_landlock_restrict_self,
#ifdef __x86_64__
    __NR_arch_prctl, __NR_poll, __NR_select, __NR_epoll_wait, __NR_epoll_create, __NR_eventfd, __NR_pipe, __NR_dup2, __NR_stat,
    __NR_lstat, __NR_access, __NR_readlink, __NR_unlink, __NR_rename, __NR_mkdir, __NR_getpgrp, __NR_time, __NR_alarm,
#endif
};

static const int opening[] = {
    __NR_openat, __NR_openat2,
#ifdef __x86_64__
    __NR_open, __NR_creat,
#endif
};

enum { MOST = 512, N_NEEDED = sizeof needed / sizeof needed[0], N_OPENING = sizeof opening / sizeof opening[0] };

struct program { struct sock_filter code[MOST]; unsigned short len; };

static void emit(struct program *p, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
    if (p->len < MOST)
        p->code[p->len++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, size_t offset)
{
    emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void answer(struct program *p, uint32_t what)
{
    emit(p, BPF_RET | BPF_K, 0, 0, what);
}

#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))
/* The low half of an argument; both architectures are little-endian. */
#define ARGUMENT(i) (offsetof(struct seccomp_data, args) + 8 * (size_t)(i))

/* if (nr == which) return what; */
static void when(struct program *p, int which, uint32_t what)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)which);
    answer(p, what);
}

/* if (nr == which) return (argument & mask) == value ? yes : no; */
static void when_masked(struct program *p, int which, int arg, uint32_t mask, uint32_t value, uint32_t yes, uint32_t no)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 5, (uint32_t)which);
    load(p, ARGUMENT(arg));
    emit(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
    answer(p, yes);
    answer(p, no);
}

static void check_architecture(struct program *p)
{
    load(p, offsetof(struct seccomp_data, arch));
#ifdef OUR_ARCH
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, OUR_ARCH);
#endif
    answer(p, REFUSE(EPERM));
    load(p, offsetof(struct seccomp_data, nr));
}

static void first_filter(struct program *p)
{
    check_architecture(p);
    for (size_t i = 0; i < N_NEEDED; i++)
        when(p, needed[i], SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < N_OPENING; i++)
        when(p, opening[i], SECCOMP_RET_ALLOW);
    when_masked(p, __NR_mmap, 2, PROT_EXEC, 0, SECCOMP_RET_ALLOW, REFUSE(EPERM));
    when_masked(p, __NR_mprotect, 2, PROT_EXEC, 0, SECCOMP_RET_ALLOW, REFUSE(EPERM));
    when_masked(p, __NR_socket, 0, ~0u, AF_UNIX, SECCOMP_RET_ALLOW, REFUSE(EPERM));
    when_masked(p, __NR_clone, 0, CLONE_THREAD, CLONE_THREAD, SECCOMP_RET_ALLOW, REFUSE(EPERM));
    when(p, __NR_clone3, REFUSE(ENOSYS));       /* its flags are in memory; libc falls back to clone */
    when_masked(p, __NR_ioctl, 1, ~0u, TIOCSTI, REFUSE(EPERM), SECCOMP_RET_ALLOW);   /* typing into the terminal */
    answer(p, REFUSE(EPERM));
}

/* Lies over the first: the stricter answer wins. */
static void second_filter(struct program *p)
{
    check_architecture(p);
    for (size_t i = 0; i < N_OPENING; i++)
        when(p, opening[i], REFUSE(EACCES));
    answer(p, SECCOMP_RET_ALLOW);
}

static bool apply(struct program *p)
{
#ifdef OUR_ARCH
    struct sock_fprog f = {.len = p->len, .filter = p->code};
    return p->len < MOST && syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &f) == 0;
#else
    (void)p;
    return false;
#endif
}

static int landlock_version(void)
{
    const long v = syscall(__NR_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    return v > 0 ? (int)v : 0;
}

/* Every right that changes the file system, in the order in which the kernel learned them. */
static uint64_t writing_rights(int version)
{
    const uint64_t truncate = 1u << 14;         /* ABI 3; newer than some headers */
    uint64_t rights = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                      LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                      LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                      LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_EXECUTE;
    if (version >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights |= truncate;
    return rights;
}

static bool restrict_writing(int version, const char *const *writable)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = writing_rights(version)};
    const int rules = (int)syscall(__NR_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return false;
    bool ok = true;
    for (; ok && *writable; writable++) {
        struct landlock_path_beneath_attr beneath = {.allowed_access = attr.handled_access_fs & ~LANDLOCK_ACCESS_FS_EXECUTE};
        beneath.parent_fd = open(*writable, O_PATH | O_CLOEXEC | O_DIRECTORY);
        if (beneath.parent_fd < 0)
            continue;
        ok = syscall(__NR_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0;
        close(beneath.parent_fd);
    }
    ok = ok && syscall(__NR_landlock_restrict_self, rules, 0) == 0;
    close(rules);
    return ok;
}

void rs_no_core_dumps(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void rs_sandbox_begin(struct rs_sandbox *s, const char *const *writable)
{
    struct program p = {.len = 0};
    *s = (struct rs_sandbox){.landlock = landlock_version()};
    rs_no_core_dumps();
#ifdef RS_COVERAGE                    /* the counters are written at the end, into files (make cov) */
    return;
#endif
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return;
    if (s->landlock && !restrict_writing(s->landlock, writable))
        s->landlock = 0;
    first_filter(&p);
    s->syscalls = apply(&p);
}

void rs_sandbox_seal(struct rs_sandbox *s)
{
    struct program p = {.len = 0};
    second_filter(&p);
    s->sealed = s->syscalls && apply(&p);
}

void rs_sandbox_probe(struct rs_sandbox *s)
{
    const uint32_t action = SECCOMP_RET_ERRNO;
    *s = (struct rs_sandbox){.landlock = landlock_version()};
#ifdef OUR_ARCH
    s->syscalls = syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
#else
    (void)action;
#endif
}

const char *rs_sandbox_text(const struct rs_sandbox *s, char *buf, size_t size)
{
    char landlock[32] = "";
    if (s->landlock)
        snprintf(landlock, sizeof landlock, "%slandlock %d", s->syscalls ? ", " : "", s->landlock);
    snprintf(buf, size, "%s%s%s%s", s->syscalls ? "seccomp" : "", s->sealed ? " (sealed)" : "", landlock,
             s->syscalls || s->landlock ? "" : "off");
    return buf;
}
