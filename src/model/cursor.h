/* Reading untrusted bytes: every step is checked against the end; after the first failure everything read is
 * zero and `bad` stays set, so that a parser looks once at the end of each part. Little endian. */
#ifndef RS_CURSOR_H
#define RS_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rs_cursor { const uint8_t *at, *end; bool bad; };

/* The next n bytes, or NULL. */
static inline const uint8_t *rs_cursor_bytes(struct rs_cursor *c, uint64_t n)
{
    if (c->bad || n > (uint64_t)(c->end - c->at)) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += n;
    return p;
}

static inline uint64_t rs_cursor_uint(struct rs_cursor *c, int bytes)
{
    const uint8_t *p = rs_cursor_bytes(c, (uint64_t)bytes);
    uint64_t v = 0;
    for (int i = 0; p && i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static inline uint32_t rs_cursor_u32(struct rs_cursor *c) { return (uint32_t)rs_cursor_uint(c, 4); }
static inline uint64_t rs_cursor_u64(struct rs_cursor *c) { return rs_cursor_uint(c, 8); }

#endif
