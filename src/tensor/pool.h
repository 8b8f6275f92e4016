/* A thread pool for work inside one chunk: parts of one job run at once, then all wait. Threads sleep
 * (futex, after a short spin inside a run of jobs) whenever no job is there. */
#ifndef RS_POOL_H
#define RS_POOL_H

#include "base/err.h"

struct rs_pool;

/* threads >= 1 counts the caller; 0 means one per physical core. With 1 no thread is made. */
int rs_pool_new(struct rs_pool **out, int threads, struct rs_err *e);
void rs_pool_free(struct rs_pool *p);
int rs_pool_threads(const struct rs_pool *p);

/* Calls fn(arg, part, parts) for part = 0…parts-1 with parts = rs_pool_threads(); returns when all have
 * returned. Not re-entrant. Memory written by a part is visible to the caller afterwards. */
void rs_pool_run(struct rs_pool *p, void (*fn)(void *arg, int part, int parts), void *arg);

/* The share of `count` units (in steps of `step`) that belongs to `part`: [*from, *to). */
void rs_pool_share(int count, int step, int part, int parts, int *from, int *to);

/* Between these two, threads may spin for a little while for the next job instead of sleeping at once:
 * a chunk's forward pass is a run of a few hundred short jobs. */
void rs_pool_busy(struct rs_pool *p);
void rs_pool_idle(struct rs_pool *p);

#endif
