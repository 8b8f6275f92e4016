#include "session/control.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/paths.h"

#define LEAF "recorder.pid"

/* In /tmp the folder could have been made by somebody else to lead us astray. */
static int check_folder(const char *path, struct rs_err *e)
{
    char folder[PATH_MAX];
    struct stat st;
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (lstat(folder, &st) < 0)
        return rs_fail(e, RS_E_IO, "The runtime folder %.300s cannot be used: %s; set XDG_RUNTIME_DIR to a folder of yours.", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != getuid())
        return rs_fail(e, RS_E_IO, "The runtime folder %.300s is not yours; set XDG_RUNTIME_DIR to a folder of yours.", folder);
    return 0;
}

static int open_lock_file(int *fd, int flags, struct rs_err *e)
{
    char path[PATH_MAX];
    int rc = rs_path_runtime(path, sizeof path, LEAF, e);
    if (!rc && (flags & O_CREAT))
        rc = rs_make_parents(path, e);
    if (rc)
        return rc;
    *fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (*fd < 0 && errno == ENOENT && !(flags & O_CREAT))
        return rs_fail(e, RS_E_NOT_RUNNING, "No recorder is running.");
    rc = check_folder(path, e);
    if (rc && *fd >= 0)
        close(*fd);
    if (rc)
        return rc;
    if (*fd < 0)
        return rs_fail(e, RS_E_IO, "The file %.300s cannot be opened: %s; set XDG_RUNTIME_DIR to a folder that can be written.", path, strerror(errno));
    return 0;
}

int rs_control_claim(struct rs_control *c, struct rs_err *e)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[64];
    c->fd = -1;
    int fd;
    const int rc = open_lock_file(&fd, O_RDWR | O_CREAT, e);
    if (rc)
        return rc;
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        const int error = errno;
        struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        const bool named = fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK && holder.l_pid > 0;
        close(fd);
        if (error != EAGAIN && error != EACCES)
            return rs_fail(e, RS_E_IO, "The runtime folder does not support locks: %s.", strerror(error));
        text[0] = '\0';
        if (named)
            snprintf(text, sizeof text, " (process %ld)", (long)holder.l_pid);
        return rs_fail(e, RS_E_ALREADY_RUNNING, "A recorder is already running%s; end it with 'rec-stt stop', or use 'rec-stt toggle'.", text);
    }
    const int n = snprintf(text, sizeof text, "%ld %lld\n", (long)getpid(), (long long)rs_now_ns());
    if (ftruncate(fd, 0) < 0 || write(fd, text, (size_t)n) != n) {
        const int error = errno;
        close(fd);
        return rs_fail(e, RS_E_IO, "The runtime folder cannot be written: %s.", strerror(error));
    }
    c->fd = fd;
    return 0;
}

void rs_control_release(struct rs_control *c)
{
    if (c->fd >= 0)
        close(c->fd);                     /* the lock goes with it; the file stays, or its removal would race */
    c->fd = -1;
}

/* The holder as the kernel says; 0 when nobody holds the lock. */
static pid_t holder_of(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0 ? lock.l_pid : 0;
}

static int find(int *fd, pid_t *pid, struct rs_err *e)
{
    const int rc = open_lock_file(fd, O_RDONLY, e);
    if (rc)
        return rc;
    *pid = holder_of(*fd);
    if (*pid)
        return 0;
    close(*fd);
    return rs_fail(e, RS_E_NOT_RUNNING, "No recorder is running.");
}

int rs_control_find(pid_t *pid, int64_t *begun_ns, struct rs_err *e)
{
    char text[64] = "";
    long written_by;
    long long begun;
    int fd;
    const int rc = find(&fd, pid, e);
    if (rc)
        return rc;
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);
    *begun_ns = n > 0 && sscanf(text, "%ld %lld", &written_by, &begun) == 2 && written_by == *pid ? begun : 0;
    close(fd);
    return 0;
}

/* Through a descriptor of the process, and only if it still holds the lock once that is open: between the
 * question and the signal it cannot have become another. */
static int send(int fd, pid_t pid, int sig, int *process, struct rs_err *e)
{
    siginfo_t info = {.si_signo = sig, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = RS_CONTROL_COMMAND;
    *process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (*process < 0 && errno != ESRCH)
        return rs_fail(e, RS_E_IO, "The recorder (process %ld) cannot be reached: %s.", (long)pid, strerror(errno));
    if (*process < 0 || holder_of(fd) != pid || syscall(SYS_pidfd_send_signal, *process, sig, &info, 0) < 0) {
        if (*process >= 0)
            close(*process);
        return rs_fail(e, RS_E_NOT_RUNNING, "The recorder ended just now.");
    }
    return 0;
}

int rs_control_signal(int sig, double wait_s, pid_t *pid, struct rs_err *e)
{
    int fd, process;
    int rc = find(&fd, pid, e);
    if (rc)
        return rc;
    rc = send(fd, *pid, sig, &process, e);
    close(fd);
    if (rc)
        return rc;
    struct pollfd p = {.fd = process, .events = POLLIN};
    if (wait_s > 0 && poll(&p, 1, (int)(wait_s * 1000)) <= 0)
        rc = rs_fail(e, RS_E_IO, "The recorder (process %ld) is still at work after %g s.", (long)*pid, wait_s);
    close(process);
    return rc;
}
