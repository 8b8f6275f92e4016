/* Older .nemo files are compressed as a whole: they are unpacked into a file that has no name, in the cache folder or
 * in /tmp, and mapped from there, so that memory does not grow with the model. It is gone with the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/guard.h"
#include "base/paths.h"
#include "model/container.h"

enum { PIECE = 1 << 18, MOST_RATIO = 20 };      /* weights hardly shrink: what grows more than twentyfold is no model */

static int nameless_file(void)
{
    char path[PATH_MAX];
    if (rs_path_cache(path, sizeof path, "unpacked-XXXXXX", NULL) == 0 && rs_make_parents(path, NULL) == 0) {
        const int fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
            return fd;
        }
    }
    strcpy(path, "/tmp/rec-stt-XXXXXX");
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static bool write_whole(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        const ssize_t k = write(fd, p, n);
        if (k < 0 && errno != EINTR)
            return false;
        p += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
    }
    return true;
}

static int unpack(z_stream *z, uint8_t *piece, const struct rs_mapping in, int fd, const char *path, struct rs_err *e)
{
    const uint64_t most = (uint64_t)in.size * MOST_RATIO + ((uint64_t)64 << 20);
    size_t given = 0;
    int rc = Z_OK;
    while (rc == Z_OK) {
        if (!z->avail_in && given < in.size) {
            const size_t n = in.size - given < PIECE ? in.size - given : PIECE;
            z->next_in = (Bytef *)(uintptr_t)(in.data + given);
            z->avail_in = (uInt)n;
            given += n;
        }
        z->next_out = piece;
        z->avail_out = PIECE;
        rc = inflate(z, Z_NO_FLUSH);
        if ((rc == Z_OK || rc == Z_STREAM_END) && !write_whole(fd, piece, PIECE - z->avail_out))
            return rs_fail(e, RS_E_IO, "%s cannot be unpacked: %s", path, strerror(errno));
        if (z->total_out > most)
            return rs_fail(e, RS_E_MODEL_BAD, "%s unpacks to more than any model has: do not trust it", path);
    }
    return rc == Z_STREAM_END ? 0 : rs_fail(e, RS_E_MODEL_BAD, "%s is damaged: it cannot be unpacked to its end; fetch the model again", path);
}

int rs_model_gunzip(const char *path, struct rs_mapping in, struct rs_mapping *out, struct rs_err *e)
{
    z_stream z = {0};
    uint8_t *piece = malloc(PIECE);
    const int fd = piece ? nameless_file() : -1;
    struct stat st;
    int rc = 0;
    if (!piece || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        rc = rs_fail(e, RS_E_NOMEM, "no memory to unpack %s", path);
    else if (fd < 0)
        rc = rs_fail(e, RS_E_IO, "%s is compressed, and there is no place to unpack it: %s", path, strerror(errno));
    rc = rc ? rc : unpack(&z, piece, in, fd, path, e);
    inflateEnd(&z);
    free(piece);
    if (!rc && (fstat(fd, &st) < 0 || st.st_size < 4))
        rc = rs_fail(e, RS_E_MODEL_BAD, "%s is no model file: there is nothing in it", path);
    void *at = rc ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (!rc && at == MAP_FAILED)
        rc = rs_fail(e, RS_E_IO, "%s cannot be mapped: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (rc)
        return rc;
    rs_guard_add(at, (size_t)st.st_size);
    *out = (struct rs_mapping){at, (size_t)st.st_size, in.stamp};
    return 0;
}
