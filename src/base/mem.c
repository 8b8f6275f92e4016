#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 64u

struct rs_arena_block {
    struct rs_arena_block *next;
    size_t size, used;              /* bytes of payload, which begins ALIGN after the block's start */
};

static bool padded(size_t count, size_t size, size_t *bytes)
{
    if (!rs_mul_ok(count, size, bytes) || !rs_add_ok(*bytes, ALIGN - 1, bytes))
        return false;
    *bytes -= *bytes % ALIGN;
    if (*bytes == 0)
        *bytes = ALIGN;
    return true;
}

void *rs_aligned(size_t count, size_t size)
{
    size_t bytes;
    return padded(count, size, &bytes) ? aligned_alloc(ALIGN, bytes) : NULL;
}

void *rs_zeroed(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

bool rs_grow(void **ptr, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return true;
    size_t want = *cap ? *cap : 16, bytes;
    while (want < need)
        if (!rs_mul_ok(want, 2, &want))
            return false;
    if (!rs_mul_ok(want, size, &bytes))
        return false;
    void *p = realloc(*ptr, bytes);
    if (!p)
        return false;
    *ptr = p;
    *cap = want;
    return true;
}

static struct rs_arena_block *block_new(size_t bytes)
{
    size_t whole;
    if (!rs_add_ok(bytes, ALIGN, &whole))
        return NULL;
    struct rs_arena_block *b = aligned_alloc(ALIGN, whole);
    if (b)
        *b = (struct rs_arena_block){.size = bytes};
    return b;
}

void *rs_arena_alloc(struct rs_arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (!padded(count, size, &bytes))
        return NULL;
    struct rs_arena_block *b = a->head;
    if (!b || b->size - b->used < bytes) {
        const size_t least = (size_t)1 << 20;
        b = block_new(bytes > least ? bytes : least);
        if (!b)
            return NULL;
        b->next = a->head;
        a->head = b;
        a->peak += b->size;
    }
    void *p = (char *)b + ALIGN + b->used;
    b->used += bytes;
    return p;
}

void rs_arena_reset(struct rs_arena *a)
{
    if (!a->head)
        return;
    if (a->head->next) {
        const size_t peak = a->peak;
        rs_arena_free(a);
        a->head = block_new(peak);      /* NULL is fine: the next allocation tries again */
        a->peak = a->head ? peak : 0;
        return;
    }
    a->head->used = 0;
}

void rs_arena_free(struct rs_arena *a)
{
    while (a->head) {
        struct rs_arena_block *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    a->peak = 0;
}
