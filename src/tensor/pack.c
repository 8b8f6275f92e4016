/* See pack.h. The file: a header, the weights (each at a multiple of 4096), the table of entries at the end.
 * Numbers are in the CPU's own order: another CPU's file fails the magic number's comparison.
 *
 * A new pack is written through shared mappings of an unnamed file (O_TMPFILE), so that packing costs page
 * cache instead of private memory and a crash leaves nothing behind. Blocks are reserved before they are
 * mapped: a full disk is an error here and not a SIGBUS later.
 */
#include "tensor/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/mem.h"
#include "base/paths.h"

#define MAGIC 0x314b434150534352u         /* "RCSPACK1" */
#define PAGE 4096u
#define MAX_ENTRIES 65536u

struct entry {
    char name[104];
    uint64_t offset, bytes, checksum;
};

struct header {
    uint64_t magic, identity, size, entries, table;    /* table: where it begins */
    char order[48];
    uint64_t hash;                        /* of this header (with 0 here) and the table */
};

struct rs_pack {
    char path[1024], folder[1024];
    uint64_t identity;
    char order[48];
    const char *map;                      /* a finished pack, or NULL */
    size_t size;
    struct entry *entries;                /* a new pack's own; a finished one's point into the map */
    void **rooms;
    size_t count, entries_cap, rooms_cap, next;
    int fd;                               /* of the new pack; -1 when finished or given up */
};

static uint64_t mix_bits(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* Four independent sums of 8 bytes each, so that memory is the limit. */
static uint64_t hash_of(const void *data, size_t bytes, uint64_t seed)
{
    const char *p = data;
    uint64_t h[4] = {seed, seed + 1, seed + 2, seed + 3}, v;
    for (; bytes >= 32; bytes -= 32)
        for (int i = 0; i < 4; i++, p += 8) {
            memcpy(&v, p, 8);
            h[i] = mix_bits(h[i], v);
        }
    for (; bytes; bytes--)
        h[0] = mix_bits(h[0], (unsigned char)*p++);
    return mix_bits(mix_bits(mix_bits(h[0], h[1]), h[2]), h[3]);
}

static uint64_t hash_header(const struct header *h, const struct entry *table)
{
    struct header copy = *h;
    copy.hash = 0;
    return hash_of(table, (size_t)h->entries * sizeof *table, hash_of(&copy, sizeof copy, 1));
}

/* Everything that later code relies on. */
static bool sound(const struct rs_pack *p, const char *map, size_t size)
{
    struct header h;
    if (size < sizeof h)
        return false;
    memcpy(&h, map, sizeof h);
    if (h.magic != MAGIC || h.identity != p->identity || h.size != size || strncmp(h.order, p->order, sizeof h.order) ||
        h.entries > MAX_ENTRIES || h.table % PAGE || h.table > size || (size - h.table) / sizeof(struct entry) < h.entries)
        return false;
    const struct entry *table = (const struct entry *)(map + h.table);
    if (hash_header(&h, table) != h.hash)
        return false;
    for (size_t i = 0; i < h.entries; i++)
        if (table[i].offset % 64 || table[i].offset < PAGE || table[i].offset > h.table || table[i].bytes > h.table - table[i].offset ||
            !memchr(table[i].name, 0, sizeof table[i].name))
            return false;
    return true;
}

static bool map_finished(struct rs_pack *p)
{
    struct stat st;
    const int fd = open(p->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_size > 0;
    const char *map = regular ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    close(fd);
    if (map == MAP_FAILED)
        return false;
    rs_guard_add(map, (size_t)st.st_size);
    if (!sound(p, map, (size_t)st.st_size)) {
        rs_guard_remove(map);
        munmap((void *)(uintptr_t)map, (size_t)st.st_size);
        return false;
    }
    struct header h;
    memcpy(&h, map, sizeof h);
    p->map = map;
    p->size = (size_t)st.st_size;
    p->entries = (struct entry *)(uintptr_t)(map + h.table);
    p->count = (size_t)h.entries;
#ifdef MADV_POPULATE_READ
    madvise((void *)(uintptr_t)map, p->size, MADV_POPULATE_READ);    /* page tables in one go; advice only */
#endif
    return true;
}

int rs_pack_open(struct rs_pack **out, uint64_t identity, const char *order, struct rs_err *e)
{
    *out = NULL;
    char leaf[100];
    struct rs_pack *p = rs_zeroed(1, sizeof *p);
    if (!p)
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the packed weights.");
    p->fd = -1;
    p->identity = identity;
    snprintf(p->order, sizeof p->order, "%s", order);
    snprintf(leaf, sizeof leaf, "%016llx-%s.pack", (unsigned long long)identity, p->order);
    if (rs_path_cache(p->folder, sizeof p->folder, "", NULL) || rs_path_cache(p->path, sizeof p->path, leaf, NULL)) {
        free(p);
        return 0;
    }
    if (map_finished(p)) {
        *out = p;
        return 0;
    }
    const size_t length = strlen(p->folder);
    if (length && p->folder[length - 1] == '/')
        p->folder[length - 1] = 0;
    if (rs_make_parents(p->path, NULL) == 0)
        p->fd = open(p->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    p->size = PAGE;
    if (p->fd < 0) {
        free(p);
        return 0;
    }
    *out = p;
    return 0;
}

void rs_pack_close(struct rs_pack *p)
{
    if (!p)
        return;
    if (p->map) {
        rs_guard_remove(p->map);
        munmap((void *)(uintptr_t)p->map, p->size);
    } else {
        for (size_t i = 0; i < p->count; i++)
            munmap(p->rooms[i], (size_t)p->entries[i].bytes);
        free(p->entries);
        free(p->rooms);
    }
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

/* Weights are asked for in the sequence in which they were packed: the search goes on where it stopped. */
const void *rs_pack_find(struct rs_pack *p, const char *name, size_t bytes)
{
    if (!p || !p->map || !name)
        return NULL;
    for (size_t i = 0; i < p->count; i++) {
        const struct entry *n = &p->entries[(p->next + i) % p->count];
        if (n->bytes == bytes && !strcmp(n->name, name)) {
            p->next = (size_t)(n - p->entries) + 1;
            return p->map + n->offset;
        }
    }
    return NULL;
}

static void give_up(struct rs_pack *p)
{
    close(p->fd);
    p->fd = -1;
}

void *rs_pack_room(struct rs_pack *p, const char *name, size_t bytes)
{
    if (!p || p->fd < 0 || !name || !bytes || strlen(name) >= sizeof p->entries->name || p->count == MAX_ENTRIES)
        return NULL;
    const size_t step = (bytes + PAGE - 1) / PAGE * PAGE;
    void *entries = p->entries, *rooms = p->rooms;
    const bool grown = rs_grow(&entries, &p->entries_cap, p->count + 1, sizeof *p->entries);
    p->entries = entries;
    if (!grown || !rs_grow(&rooms, &p->rooms_cap, p->count + 1, sizeof *p->rooms))
        return NULL;
    p->rooms = rooms;
    if (posix_fallocate(p->fd, (off_t)p->size, (off_t)step) != 0) {
        give_up(p);
        return NULL;
    }
    void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, (off_t)p->size);
    if (room == MAP_FAILED) {
        give_up(p);
        return NULL;
    }
    struct entry *n = &p->entries[p->count];
    *n = (struct entry){.offset = p->size, .bytes = bytes};
    snprintf(n->name, sizeof n->name, "%s", name);
    p->rooms[p->count++] = room;
    p->size += step;
    return room;
}

bool rs_pack_unpublished(const struct rs_pack *p)
{
    return p && p->fd >= 0 && p->count > 0;
}

static bool write_all(int fd, const void *data, size_t bytes, off_t at)
{
    const char *from = data;
    while (bytes) {
        const ssize_t n = pwrite(fd, from, bytes, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* linkat cannot replace a file: the new one gets a name of its own first. */
static bool name_file(const struct rs_pack *p)
{
    char from[40], temporary[1100];
    snprintf(from, sizeof from, "/proc/self/fd/%d", p->fd);
    snprintf(temporary, sizeof temporary, "%s.%ld", p->path, (long)getpid());
    unlink(temporary);
    if (linkat(AT_FDCWD, from, AT_FDCWD, temporary, AT_SYMLINK_FOLLOW) != 0)
        return false;
    if (rename(temporary, p->path) == 0)
        return true;
    unlink(temporary);
    return false;
}

/* Packs that nobody used for so long are of models that are gone or have changed. A confined recorder cannot look; the
 * next process that keeps one can. */
static void sweep(const char *folder)
{
    enum { DAY = 24 * 3600, KEPT = 60 * DAY };
    const time_t now = time(NULL);
    DIR *d = opendir(folder);
    for (struct dirent *n; d && (n = readdir(d));) {
        struct stat st;
        if (!strstr(n->d_name, ".pack") || fstatat(dirfd(d), n->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        const time_t used = st.st_atime > st.st_mtime ? st.st_atime : st.st_mtime;
        if (now - used > KEPT)
            unlinkat(dirfd(d), n->d_name, 0);
    }
    if (d)
        closedir(d);
}

int rs_pack_publish(struct rs_pack *p, struct rs_err *e)
{
    if (!rs_pack_unpublished(p))
        return 0;
    for (size_t i = 0; i < p->count; i++)
        p->entries[i].checksum = hash_of(p->rooms[i], (size_t)p->entries[i].bytes, 2);
    const size_t table = p->count * sizeof *p->entries;
    struct header h = {.magic = MAGIC, .identity = p->identity, .entries = p->count, .table = p->size, .size = p->size + table};
    memcpy(h.order, p->order, sizeof h.order);
    h.hash = hash_header(&h, p->entries);
    const bool ok = write_all(p->fd, p->entries, table, (off_t)p->size) && write_all(p->fd, &h, sizeof h, 0) &&
                    fsync(p->fd) == 0 && name_file(p);
    const int why = errno;
    give_up(p);
    if (ok)
        sweep(p->folder);
    return ok ? 0 : rs_fail(e, RS_E_IO, "The packed weights could not be kept in %s: %s.", p->path, strerror(why));
}

int rs_pack_verify(const struct rs_pack *p, struct rs_err *e)
{
    if (!p || !p->map)
        return 0;
    for (size_t i = 0; i < p->count; i++)
        if (hash_of(p->map + p->entries[i].offset, (size_t)p->entries[i].bytes, 2) != p->entries[i].checksum) {
            unlink(p->path);
            return rs_fail(e, RS_E_IO, "The packed weights in %s were damaged and are removed; they are made again on the next use.",
                           p->path);
        }
    return 0;
}

const char *rs_pack_path(const struct rs_pack *p)
{
    return p ? p->path : "";
}
