/* See ring.h. Release on the index that a side owns pairs with acquire on the other side's load: whoever
 * sees the index sees the frames behind it. The memory is only touched as the recording goes on. */
#include "audio/ring.h"

#include <sys/mman.h>

#include "base/mem.h"

bool rs_ring_init(struct rs_ring *r, size_t frame_bytes, size_t capacity)
{
    size_t bytes;
    *r = (struct rs_ring){.frame_bytes = frame_bytes, .capacity = capacity};
    if (!frame_bytes || !capacity || !rs_mul_ok(frame_bytes, capacity, &bytes))
        return false;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    madvise(p, bytes, MADV_DONTDUMP);      /* sound never reaches a core file */
    mlock2(p, bytes, MLOCK_ONFAULT);       /* nor a swap file, where the limits allow it */
    r->data = p;
    return true;
}

void rs_ring_free(struct rs_ring *r)
{
    if (r->data) {
        madvise(r->data, r->frame_bytes * r->capacity, MADV_DONTNEED);
        munmap(r->data, r->frame_bytes * r->capacity);
    }
    r->data = NULL;
}

void *rs_ring_space(struct rs_ring *r, size_t *frames)
{
    const uint64_t w = atomic_load_explicit(&r->written, memory_order_relaxed);
    const uint64_t t = atomic_load_explicit(&r->taken, memory_order_acquire);
    const size_t at = (size_t)(w % r->capacity), free_frames = r->capacity - (size_t)(w - t);
    *frames = free_frames < r->capacity - at ? free_frames : r->capacity - at;
    return *frames ? r->data + at * r->frame_bytes : NULL;
}

void rs_ring_commit(struct rs_ring *r, size_t frames)
{
    const uint64_t w = atomic_load_explicit(&r->written, memory_order_relaxed);
    atomic_store_explicit(&r->written, w + frames, memory_order_release);
}

const void *rs_ring_peek(struct rs_ring *r, size_t *frames)
{
    const uint64_t t = atomic_load_explicit(&r->taken, memory_order_relaxed);
    const uint64_t w = atomic_load_explicit(&r->written, memory_order_acquire);
    const size_t at = (size_t)(t % r->capacity), filled = (size_t)(w - t);
    *frames = filled < r->capacity - at ? filled : r->capacity - at;
    return *frames ? r->data + at * r->frame_bytes : NULL;
}

void rs_ring_take(struct rs_ring *r, size_t frames)
{
    const uint64_t t = atomic_load_explicit(&r->taken, memory_order_relaxed);
    atomic_store_explicit(&r->taken, t + frames, memory_order_release);
}
