/* A pack gives back what was put in, and anything odd about its file makes it absent, never a crash. */
#include "tensor/pack.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tensor/backend.h"
#include "test.h"

static char folder[] = "/tmp/rec-stt-pack-XXXXXX";
static char path[1024];

static void fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 7 + n);
}

static bool usable(void)
{
    struct rs_pack *p;
    CHECK_INT(rs_pack_open(&p, 42, "test-1", NULL), 0);
    const unsigned char *b = rs_pack_find(p, "b", 5000);
    const bool there = b != NULL;
    if (b)
        CHECK(b[17] == (unsigned char)(17 * 7 + 5000));
    CHECK(!rs_pack_find(p, "b", 4999));
    CHECK(!rs_pack_find(p, "c", 5000));
    rs_pack_close(p);
    return there;
}

static void make(void)
{
    struct rs_pack *p;
    struct rs_err e = {0};
    if (*path && usable())
        unlink(path);                                             /* a bad one is replaced without that */
    CHECK_INT(rs_pack_open(&p, 42, "test-1", &e), 0);
    CHECK(p != NULL);
    CHECK(!rs_pack_find(p, "a", 1000));
    unsigned char *a = rs_pack_room(p, "a", 1000), *b = rs_pack_room(p, "b", 5000);
    CHECK(a && b && (uintptr_t)a % 64 == 0);
    fill(a, 1000);
    fill(b, 5000);
    CHECK(rs_pack_unpublished(p));
    CHECK_INT(rs_pack_publish(p, &e), 0);
    CHECK(!rs_pack_unpublished(p));
    CHECK_INT(rs_pack_publish(p, &e), 0);
    CHECK(a[999] == (unsigned char)(999 * 7 + 1000));          /* rooms outlive publishing */
    snprintf(path, sizeof path, "%s", rs_pack_path(p));
    rs_pack_close(p);
}

static bool old_one(const char *name, time_t days)
{
    char old[1200];
    snprintf(old, sizeof old, "%s/rec-stt/%s", folder, name);
    const struct timespec then[2] = {{time(NULL) - days * 24 * 3600, 0}, {time(NULL) - days * 24 * 3600, 0}};
    const int fd = open(old, O_CREAT | O_WRONLY, 0600);
    const bool ok = fd >= 0 && write(fd, "x", 1) == 1 && futimens(fd, then) == 0;
    close(fd);
    return ok;
}

static bool there(const char *name)
{
    char old[1200];
    snprintf(old, sizeof old, "%s/rec-stt/%s", folder, name);
    return access(old, F_OK) == 0 && unlink(old) == 0;
}

static void old_packs_go(void)
{
    make();
    unlink(path);
    CHECK(old_one("1-x.pack", 61) && old_one("2-x.pack", 59) && old_one("3-x.pack.77", 61) && old_one("notes.txt", 1000));
    make();
    CHECK(!there("1-x.pack") && there("2-x.pack") && !there("3-x.pack.77") && there("notes.txt"));
    CHECK(usable());
}

static void round_trip(void)
{
    struct stat st;
    make();
    CHECK(usable());
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0600);
    struct rs_pack *p;
    CHECK_INT(rs_pack_open(&p, 43, "test-1", NULL), 0);           /* another model */
    CHECK(!rs_pack_find(p, "b", 5000));
    rs_pack_close(p);
    CHECK_INT(rs_pack_open(&p, 42, "test-2", NULL), 0);           /* another order */
    CHECK(!rs_pack_find(p, "b", 5000));
    CHECK(rs_pack_room(p, "b", 5000) != NULL);
    rs_pack_close(p);                                             /* not published: leaves nothing */
    CHECK(usable());
}

/* Each byte of header and table changed in turn, and every kind of length. */
static void damage(void)
{
    make();
    FILE *f = fopen(path, "r+b");
    CHECK(f != NULL);
    static unsigned char whole[65536];
    const size_t size = fread(whole, 1, sizeof whole, f);
    for (size_t at = 0; at < size; at += at < 200 || at > 12288 ? 1 : 512) {
        const unsigned char bad = whole[at] ^ 0x41;
        fseek(f, (long)at, SEEK_SET);
        fwrite(&bad, 1, 1, f);
        fflush(f);
        usable();
        fseek(f, (long)at, SEEK_SET);
        fwrite(&whole[at], 1, 1, f);
        fflush(f);
    }
    fseek(f, 8, SEEK_SET);
    fputc('x', f);
    fflush(f);
    CHECK(!usable());                                             /* the identity does not fit */
    fclose(f);
    make();
    CHECK(usable());                                              /* replaced */
    for (size_t n = 0; n < size; n += 97) {
        CHECK_INT(truncate(path, (off_t)n), 0);
        CHECK(!usable());
    }
    make();
}

static void verify(void)
{
    struct rs_pack *p;
    struct rs_err e = {0};
    make();
    CHECK_INT(rs_pack_open(&p, 42, "test-1", NULL), 0);
    CHECK_INT(rs_pack_verify(p, &e), 0);
    rs_pack_close(p);
    const int fd = open(path, O_WRONLY);
    CHECK(pwrite(fd, "!", 1, 4096 + 300) == 1);
    close(fd);
    CHECK_INT(rs_pack_open(&p, 42, "test-1", NULL), 0);
    CHECK(rs_pack_find(p, "a", 1000) != NULL);
    CHECK_INT(rs_pack_verify(p, &e), -RS_E_IO);
    rs_pack_close(p);
    CHECK(!usable());
}

static void linear_uses_it(void)
{
    float w[40 * 70], x[70], y1[40], y2[40];
    for (int i = 0; i < 40 * 70; i++)
        w[i] = (float)((i * 37) % 101 - 50);
    for (int i = 0; i < 70; i++)
        x[i] = (float)(i % 9 - 4);
    const struct rs_tensor t = {.name = "layer.weight", .type = RS_F32, .ndim = 2, .shape = {40, 70}, .data = w, .bytes = sizeof w};
    const struct rs_backend *b;
    struct rs_linear l;
    struct rs_arena a = {0};
    CHECK_INT(rs_backend_choose(&b, "int8-portable", NULL), 0);
    for (int round = 0; round < 2; round++) {
        struct rs_pack *p;
        CHECK_INT(rs_pack_open(&p, 7, rs_backend_order(b), NULL), 0);
        CHECK_INT(rs_linear_init(&l, b, p, &t, NULL, NULL), 0);
        CHECK(l.owned == NULL);
        CHECK_INT(rs_pack_unpublished(p), round == 0);
        CHECK(rs_linear_vector(&l, NULL, &a, x, round ? y2 : y1));
        CHECK_INT(rs_pack_publish(p, NULL), 0);
        rs_linear_free(&l);
        rs_pack_close(p);
    }
    CHECK(memcmp(y1, y2, sizeof y1) == 0);
    rs_arena_free(&a);
}

static void nowhere(void)
{
    struct rs_pack *p = (struct rs_pack *)path;
    setenv("XDG_CACHE_HOME", "/proc/nonsense", 1);
    CHECK_INT(rs_pack_open(&p, 1, "test-1", NULL), 0);
    CHECK(p == NULL);
    CHECK(!rs_pack_find(p, "a", 1) && !rs_pack_room(p, "a", 1) && !rs_pack_unpublished(p));
    CHECK_INT(rs_pack_publish(p, NULL), 0);
    rs_pack_close(p);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    setenv("XDG_CACHE_HOME", folder, 1);
    RUN(round_trip);
    RUN(old_packs_go);
    RUN(damage);
    RUN(verify);
    RUN(linear_uses_it);
    RUN(nowhere);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        printf("(could not remove %s)\n", folder);
    return REPORT();
}
