/* Memory: checked sizes, aligned blocks, and an arena that is reset after each chunk.
 *
 * Three lifetimes only: the model's (mapped, read-only), the session's (allocated at start) and the
 * chunk's (an arena that only grows on its first chunks). Every function returns NULL when memory
 * ends; callers turn that into RS_E_NOMEM.
 */
#ifndef RS_MEM_H
#define RS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* a*b and a+b without wrapping; false on overflow. */
static inline bool rs_mul_ok(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool rs_add_ok(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

/* 64-byte aligned, uninitialised; count*size is checked. Freed with free(). */
void *rs_aligned(size_t count, size_t size);

/* Zeroed; count*size is checked. Freed with free(). */
void *rs_zeroed(size_t count, size_t size);

/* Grows *ptr (malloc'ed, `*cap` elements of `size` bytes) so that it holds `need` elements; false when
 * memory ends (the old block stays valid). */
bool rs_grow(void **ptr, size_t *cap, size_t need, size_t size);

/* An arena: bump allocation in 64-byte steps, freed as a whole by rs_arena_reset. When a block is too
 * small a further block is chained; reset merges them into one of the summed size, so that a steady
 * state does no allocation at all. */
struct rs_arena_block;
struct rs_arena { struct rs_arena_block *head; size_t peak; };

void *rs_arena_alloc(struct rs_arena *a, size_t count, size_t size);
void rs_arena_reset(struct rs_arena *a);
void rs_arena_free(struct rs_arena *a);

#endif
