/* The bounded road to stdout. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "session/writer.h"

static char *copy(const char *s) { return strdup(s); }

static void order_and_close(void)
{
    int p[2];
    char text[64] = "";
    struct rs_writer *w;
    CHECK_INT(pipe(p), 0);
    CHECK_INT(rs_writer_open(&w, p[1], 1024, NULL, NULL, NULL), 0);
    CHECK(rs_writer_push(w, copy("one\n"), 4, RS_PUSH_WAIT, -1));
    CHECK(rs_writer_push(w, copy("two\n"), 4, RS_PUSH_ALWAYS, -1));
    CHECK(rs_writer_push(w, copy("three\n"), 6, RS_PUSH_DROP, -1));
    CHECK(rs_writer_flush(w, 5000, -1));
    rs_writer_close(w);
    CHECK_INT(read(p[0], text, sizeof text), 14);
    CHECK_STR(text, "one\ntwo\nthree\n");
    close(p[0]);
    close(p[1]);
}

struct pusher { struct rs_writer *w; bool pushed; };

static void *push_big(void *arg)
{
    struct pusher *x = arg;
    char *line = malloc(200001);
    memset(line, 'x', 200000);
    line[200000] = 0;
    x->pushed = rs_writer_push(x->w, line, 200000, RS_PUSH_WAIT, -1);
    return NULL;
}

/* A reader that sleeps: the pipe is full, the queue is full, the engine's push waits, the main loop's do not. */
static void slow_reader(void)
{
    int p[2];
    struct rs_writer *w;
    pthread_t t;
    static char sink[65536];
    CHECK_INT(pipe(p), 0);
    CHECK_INT(rs_writer_open(&w, p[1], 100000, NULL, NULL, NULL), 0);
    struct pusher a = {w, false}, b = {w, false};
    push_big(&a);                                 /* an empty queue takes a line of any length */
    CHECK(a.pushed);
    pthread_create(&t, NULL, push_big, &b);
    usleep(50000);
    CHECK(rs_writer_push(w, copy("warning\n"), 8, RS_PUSH_ALWAYS, -1));
    CHECK(!rs_writer_push(w, copy("level\n"), 6, RS_PUSH_DROP, -1));
    CHECK(!rs_writer_flush(w, 20, -1));
    size_t total = 0;
    while (total < 400008) {
        const ssize_t n = read(p[0], sink, sizeof sink);
        if (n <= 0)
            break;
        total += (size_t)n;
    }
    pthread_join(t, NULL);
    CHECK(b.pushed);
    CHECK_INT(total, 400008);
    CHECK(rs_writer_flush(w, 5000, -1));
    rs_writer_close(w);
    close(p[0]);
    close(p[1]);
}

static void release_lets_go(void)
{
    int p[2];
    struct rs_writer *w;
    pthread_t t;
    CHECK_INT(pipe(p), 0);
    CHECK_INT(rs_writer_open(&w, p[1], 1000, NULL, NULL, NULL), 0);
    struct pusher a = {w, false}, b = {w, false};
    push_big(&a);
    pthread_create(&t, NULL, push_big, &b);
    usleep(20000);
    rs_writer_release(w);
    pthread_join(t, NULL);
    CHECK(!b.pushed);
    close(p[0]);                                  /* and the reader goes away: the writer ends too */
    CHECK(rs_writer_flush(w, 5000, -1));
    CHECK_INT(rs_writer_state(w, NULL), RS_WRITER_CLOSED);
    rs_writer_close(w);
    close(p[1]);
}

static void full_disk(void)
{
    struct rs_writer *w;
    int error = 0;
    const int fd = open("/dev/full", O_WRONLY);
    if (fd < 0)
        return;
    CHECK_INT(rs_writer_open(&w, fd, 1000, NULL, NULL, NULL), 0);
    CHECK(rs_writer_push(w, copy("line\n"), 5, RS_PUSH_WAIT, -1));
    CHECK(rs_writer_flush(w, 5000, -1));
    CHECK_INT(rs_writer_state(w, &error), RS_WRITER_BROKEN);
    CHECK(error != 0);
    CHECK(!rs_writer_push(w, copy("line\n"), 5, RS_PUSH_ALWAYS, -1));
    rs_writer_close(w);
    close(fd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    RUN(order_and_close);
    RUN(slow_reader);
    RUN(release_lets_go);
    RUN(full_disk);
    return REPORT();
}
