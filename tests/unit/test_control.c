/* The lock of the one recorder: who holds it is what the kernel says, not what a file says. */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session/control.h"

static char folder[64];

static void write_file(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/rec-stt", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/rec-stt/recorder.pid", folder);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0);
    if (f)
        fclose(f);
}

/* A child that claims, says whether it could, and waits for a signal. */
static pid_t child(char *answer)
{
    int p[2];
    if (pipe(p))
        return -1;
    const pid_t pid = fork();
    if (pid == 0) {
        struct rs_control c;
        const char a = rs_control_claim(&c, NULL) == 0 ? 'y' : 'n';
        if (write(p[1], &a, 1) == 1 && a == 'y')
            pause();
        _exit(0);
    }
    close(p[1]);
    if (read(p[0], answer, 1) != 1)
        *answer = '?';
    close(p[0]);
    return pid;
}

static void nobody(void)
{
    struct rs_err e = {0};
    pid_t pid;
    int64_t begun;
    CHECK_INT(rs_control_find(&pid, &begun, &e), -RS_E_NOT_RUNNING);
    e = (struct rs_err){0};
    CHECK_INT(rs_control_signal(SIGTERM, 0, &pid, &e), -RS_E_NOT_RUNNING);
}

static void stale_file_hits_no_stranger(void)
{
    struct rs_err e = {0};
    char text[64];
    pid_t pid, stranger = fork();
    int status;
    if (stranger == 0) {
        pause();
        _exit(0);
    }
    snprintf(text, sizeof text, "%ld 1\n", (long)stranger);
    write_file(text);
    CHECK_INT(rs_control_signal(SIGKILL, 0, &pid, &e), -RS_E_NOT_RUNNING);
    CHECK_INT(waitpid(stranger, &status, WNOHANG), 0);
    kill(stranger, SIGKILL);
    waitpid(stranger, &status, 0);
}

static void one_at_a_time(void)
{
    struct rs_err e = {0};
    struct rs_control c;
    char first = 0, second = 0;
    pid_t found;
    int64_t begun = 0;
    int status;
    const pid_t a = child(&first), b = child(&second);
    CHECK_INT(first, 'y');
    CHECK_INT(second, 'n');
    waitpid(b, &status, 0);
    CHECK_INT(rs_control_find(&found, &begun, &e), 0);
    CHECK_INT(found, a);
    CHECK(begun > 0);
    CHECK_INT(rs_control_claim(&c, &e), -RS_E_ALREADY_RUNNING);
    CHECK(strstr(e.msg, "already running (process ") != NULL);
    e = (struct rs_err){0};
    CHECK_INT(rs_control_signal(SIGKILL, 5, &found, &e), 0);      /* nobody has reaped it, yet it has ended */
    waitpid(a, &status, 0);
    CHECK(WIFSIGNALED(status));
    e = (struct rs_err){0};
    CHECK_INT(rs_control_claim(&c, &e), 0);                        /* the killed one's place is free */
    rs_control_release(&c);
}

static void hostile_places(void)
{
    struct rs_err e = {0};
    struct rs_control c;
    char path[128];
    snprintf(path, sizeof path, "%s/rec-stt/recorder.pid", folder);
    unlink(path);
    CHECK_INT(symlink("/etc/hostname", path), 0);
    CHECK(rs_control_claim(&c, &e) < 0);
    unlink(path);
    e = (struct rs_err){0};
    setenv("XDG_RUNTIME_DIR", "/proc/self", 1);
    CHECK_INT(rs_control_claim(&c, &e), -RS_E_IO);
    CHECK(strstr(e.msg, "XDG_RUNTIME_DIR") != NULL || strstr(e.msg, "Cannot create") != NULL);
    setenv("XDG_RUNTIME_DIR", folder, 1);
}

int main(void)
{
    strcpy(folder, "/tmp/rec-stt-test-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    setenv("XDG_RUNTIME_DIR", folder, 1);
    RUN(nobody);
    RUN(stale_file_hits_no_stranger);
    RUN(one_at_a_time);
    RUN(hostile_places);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return REPORT() | (system(command) != 0);
}
