#include "base/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int compose(char *buf, size_t size, struct rs_err *e, const char *base, const char *mid, const char *leaf)
{
    const int n = snprintf(buf, size, "%s%s/rec-stt%s%s", base, mid, *leaf ? "/" : "", leaf);
    if (n < 0 || (size_t)n >= size)
        return rs_fail(e, RS_E_IO, "The path %.200s… is too long.", base);
    return 0;
}

static int xdg(char *buf, size_t size, struct rs_err *e, const char *variable, const char *fallback, const char *leaf)
{
    const char *v = getenv(variable);
    if (v && v[0] == '/')
        return compose(buf, size, e, v, "", leaf);
    const char *home = getenv("HOME");
    if (!home || home[0] != '/')
        return rs_fail(e, RS_E_IO, "Neither %s nor HOME names a folder: set one of them.", variable);
    return compose(buf, size, e, home, fallback, leaf);
}

int rs_path_data(char *buf, size_t size, const char *leaf, struct rs_err *e)
{
    return xdg(buf, size, e, "XDG_DATA_HOME", "/.local/share", leaf);
}

int rs_path_cache(char *buf, size_t size, const char *leaf, struct rs_err *e)
{
    return xdg(buf, size, e, "XDG_CACHE_HOME", "/.cache", leaf);
}

int rs_path_runtime(char *buf, size_t size, const char *leaf, struct rs_err *e)
{
    const char *v = getenv("XDG_RUNTIME_DIR");
    if (v && v[0] == '/')
        return compose(buf, size, e, v, "", leaf);
    const int n = snprintf(buf, size, "/tmp/rec-stt-%lu%s%s", (unsigned long)getuid(), *leaf ? "/" : "", leaf);
    if (n < 0 || (size_t)n >= size)
        return rs_fail(e, RS_E_IO, "The runtime path is too long.");
    return 0;
}

int rs_make_parents(const char *path, struct rs_err *e)
{
    char buf[PATH_MAX];
    if (strlen(path) >= sizeof buf)
        return rs_fail(e, RS_E_IO, "The path %.200s… is too long.", path);
    strcpy(buf, path);
    for (char *p = buf + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(buf, 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return rs_fail(e, RS_E_IO, "Cannot create the folder %.300s: %s.", buf, strerror(errno));
        *p = '/';
    }
    return 0;
}
