/* A lock-free ring for one writer thread and one reader thread, in whole frames of device audio.
 *
 * The writer asks for the free span behind its last frame, lets the device fill it in place and commits
 * what came; the reader does the same from the other end. Positions only grow, so that "frames since
 * the start" is the clock of the recording and an overrun can be pinned to an exact frame.
 */
#ifndef RS_RING_H
#define RS_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rs_ring {
    uint8_t *data;
    size_t frame_bytes, capacity;          /* capacity in frames */
    _Atomic uint64_t written, taken;       /* frames since the start */
};

bool rs_ring_init(struct rs_ring *r, size_t frame_bytes, size_t capacity);
void rs_ring_free(struct rs_ring *r);

/* The writer's side: a contiguous free span (NULL and 0 when full), then how much of it was filled. */
void *rs_ring_space(struct rs_ring *r, size_t *frames);
void rs_ring_commit(struct rs_ring *r, size_t frames);

/* The reader's side: a contiguous filled span (NULL and 0 when empty), then how much of it was used. */
const void *rs_ring_peek(struct rs_ring *r, size_t *frames);
void rs_ring_take(struct rs_ring *r, size_t frames);

#endif
