#include "session/timing.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

void rs_timing_init(struct rs_timing *t, int64_t origin_ns, bool wanted)
{
    *t = (struct rs_timing){.origin_ns = origin_ns, .wanted = wanted};
    pthread_mutex_init(&t->lock, NULL);
}

void rs_timing_free(struct rs_timing *t)
{
    free(t->spans);
    pthread_mutex_destroy(&t->lock);
}

void rs_timing_add(struct rs_timing *t, const char *stage, const char *backend, int chunk, int64_t start_ns, int64_t end_ns)
{
    if (!t->wanted)
        return;
    pthread_mutex_lock(&t->lock);
    if (rs_grow((void **)&t->spans, &t->cap, t->count + 1, sizeof *t->spans))
        t->spans[t->count++] = (struct rs_span){stage, backend, chunk, start_ns, end_ns > start_ns ? end_ns : start_ns};
    pthread_mutex_unlock(&t->lock);
}

static int by_start(const void *a, const void *b)
{
    const struct rs_span *x = a, *y = b;
    const int64_t order = x->start_ns != y->start_ns ? x->start_ns - y->start_ns : y->end_ns - x->end_ns;
    return (order > 0) - (order < 0);
}

struct rs_event rs_timing_event(struct rs_timing *t, const char *model, const char *backend)
{
    struct rs_event ev = rs_event("timing");
    rs_event_text(&ev, "backend", backend);
    rs_event_text(&ev, "model", model);
    json_t *list = rs_event_list(&ev, "entries");
    pthread_mutex_lock(&t->lock);
    if (t->count)
        qsort(t->spans, t->count, sizeof *t->spans, by_start);
    for (size_t i = 0; i < t->count; i++) {
        const struct rs_span *s = &t->spans[i];
        struct rs_event item = rs_event(NULL);
        rs_event_text(&item, "stage", s->stage);
        if (s->chunk >= 0)
            rs_event_int(&item, "chunk", s->chunk);
        rs_event_number(&item, "start_ms", rs_ms(s->start_ns - t->origin_ns), 3);
        rs_event_number(&item, "ms", rs_ms(s->end_ns - s->start_ns), 3);
        rs_event_text(&item, "backend", s->backend);
        rs_event_add(&ev, list, &item);
    }
    pthread_mutex_unlock(&t->lock);
    return ev;
}
