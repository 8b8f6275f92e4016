/* libpulse is loaded when a list is asked for, and only then: ALSA's pulse plugin needs it, so it is there
 * where it is of use, and the recorder is neither linked to it nor slowed down by it. The few types below
 * are the leading members of libpulse's public structures (its ABI since version 0.9.7). */
#include "audio/pulse.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { PA_NOAUTOSPAWN = 1, PA_READY = 4, PA_RUNNING = 0, PA_NO_MONITOR = -1 };

struct pa_spec { int format; uint32_t rate; uint8_t channels; };
struct pa_map { uint8_t channels; int map[32]; };
struct pa_volume { uint8_t channels; uint32_t values[32]; };
struct pa_source {
    const char *name;
    uint32_t index;
    const char *description;
    struct pa_spec spec;
    struct pa_map map;
    uint32_t owner_module;
    struct pa_volume volume;
    int mute;
    uint32_t monitor_of_sink;
};
struct pa_server {
    const char *user, *host, *version, *name;
    struct pa_spec spec;
    const char *default_sink, *default_source;
};

static struct {
    void *(*mainloop_new)(void);
    void *(*get_api)(void *);
    int (*prepare)(void *, int);
    int (*poll)(void *);
    int (*dispatch)(void *);
    void (*mainloop_free)(void *);
    void *(*context_new)(void *, const char *);
    int (*connect)(void *, const char *, int, const void *);
    int (*state)(void *);
    void (*disconnect)(void *);
    void (*context_unref)(void *);
    void *(*list)(void *, void (*)(void *, const struct pa_source *, int, void *), void *);
    void *(*server)(void *, void (*)(void *, const struct pa_server *, void *), void *);
    int (*op_state)(void *);
    void (*op_unref)(void *);
} pa;

struct listing {
    bool (*found)(void *arg, const struct rs_pulse_source *s);
    void *arg;
    char default_source[512];
    bool ended;
};

static bool load(void *lib)
{
    const struct { const char *name; void *to; } all[] = {
        {"pa_mainloop_new", &pa.mainloop_new}, {"pa_mainloop_get_api", &pa.get_api}, {"pa_mainloop_prepare", &pa.prepare},
        {"pa_mainloop_poll", &pa.poll}, {"pa_mainloop_dispatch", &pa.dispatch}, {"pa_mainloop_free", &pa.mainloop_free},
        {"pa_context_new", &pa.context_new}, {"pa_context_connect", &pa.connect}, {"pa_context_get_state", &pa.state},
        {"pa_context_disconnect", &pa.disconnect}, {"pa_context_unref", &pa.context_unref},
        {"pa_context_get_source_info_list", &pa.list}, {"pa_context_get_server_info", &pa.server},
        {"pa_operation_get_state", &pa.op_state}, {"pa_operation_unref", &pa.op_unref},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        void *symbol = dlsym(lib, all[i].name);
        if (!symbol)
            return false;
        *(void **)all[i].to = symbol;
    }
    return true;
}

static void on_server(void *context, const struct pa_server *s, void *arg)
{
    (void)context;
    struct listing *l = arg;
    if (s && s->default_source)
        snprintf(l->default_source, sizeof l->default_source, "%s", s->default_source);
}

static void on_source(void *context, const struct pa_source *s, int end, void *arg)
{
    (void)context;
    struct listing *l = arg;
    if (end || !s || !s->name || l->ended)
        return;
    const struct rs_pulse_source found = {s->name, s->description ? s->description : s->name,
                                          strcmp(l->default_source, s->name) == 0, s->monitor_of_sink != (uint32_t)PA_NO_MONITOR};
    l->ended = !l->found(l->arg, &found);
}

/* One turn of the loop; false when the second is over or the loop broke. */
static bool turn(void *loop, int64_t until)
{
    const int64_t left = until - rs_now_ns();
    return left > 0 && pa.prepare(loop, (int)(left / 1000)) >= 0 && pa.poll(loop) >= 0 && pa.dispatch(loop) >= 0;
}

static void finish(void *loop, void *op, int64_t until)
{
    if (!op)
        return;
    while (pa.op_state(op) == PA_RUNNING && turn(loop, until))
        ;
    pa.op_unref(op);
}

void rs_pulse_sources(bool (*found)(void *arg, const struct rs_pulse_source *s), void *arg)
{
    struct listing l = {.found = found, .arg = arg};
    const int64_t until = rs_now_ns() + 1000000000;
    void *lib = dlopen("libpulse.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib || !load(lib))
        return;
    void *loop = pa.mainloop_new();
    void *context = loop ? pa.context_new(pa.get_api(loop), "rec-stt") : NULL;
    if (context && pa.connect(context, NULL, PA_NOAUTOSPAWN, NULL) >= 0) {
        while (pa.state(context) < PA_READY && turn(loop, until))
            ;
        if (pa.state(context) == PA_READY) {
            finish(loop, pa.server(context, on_server, &l), until);
            finish(loop, pa.list(context, on_source, &l), until);
        }
        pa.disconnect(context);
    }
    if (context)
        pa.context_unref(context);
    if (loop)
        pa.mainloop_free(loop);
    /* the library stays loaded: it leaves thread-specific keys behind that outlive a dlclose */
}
