/* A mapped file that shrinks under us (truncated, or its medium went away) makes reading it raise SIGBUS.
 * The guard turns that into an error instead of a death: the lost page reads as zeros from then on, and
 * whoever used the mapping asks rs_guard_hits() afterwards and reports the file as changed. Nothing that
 * was recorded or already said is lost.
 */
#ifndef RS_GUARD_H
#define RS_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Registers a read-only mapping; the handler is installed with the first. At most 64 at a time: false
 * beyond that (the mapping is then unguarded). Any thread. */
bool rs_guard_add(const void *start, size_t size);
void rs_guard_remove(const void *start);

/* How many pages were lost so far in this process. */
unsigned rs_guard_hits(void);

#endif
