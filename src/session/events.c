#include "session/events.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- Text ---- */

/* Bytes of the valid sequence at p, 0 if there is none (RFC 3629: no overlong forms, no surrogates). */
static size_t sequence(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    const size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (!n || n > left)
        return 0;
    const unsigned low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

char *rs_utf8_repair(const char *text, size_t len, size_t *out_len)
{
    size_t room, used = 0;
    if (!rs_mul_ok(len, 3, &room) || !rs_add_ok(room, 1, &room))
        return NULL;
    char *out = malloc(room);
    if (!out)
        return NULL;
    for (size_t i = 0; i < len;) {
        const size_t n = sequence((const unsigned char *)text + i, len - i);
        memcpy(out + used, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
        used += n ? n : 3;
        i += n ? n : 1;
    }
    out[used] = 0;
    *out_len = used;
    return out;
}

/* ---- Memory ---- */

/* Jansson leaves out what it has no memory for when it writes an object, and says nothing: it is watched. */
static _Thread_local bool starved;

static void *watched_malloc(size_t n)
{
    void *p = malloc(n);
    starved |= !p;
    return p;
}

static void watch_memory(void) { json_set_alloc_funcs(watched_malloc, free); }

/* ---- Fields ---- */

static void set(struct rs_event *ev, const char *key, json_t *value)
{
    if (json_object_set_new(ev->object, key, value))
        ev->failed = true;
}

struct rs_event rs_event(const char *type)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_memory);
    struct rs_event ev = {.object = json_object()};
    ev.failed = !ev.object;
    if (type)
        set(&ev, "type", json_string(type));
    return ev;
}

void rs_event_text(struct rs_event *ev, const char *key, const char *text)
{
    size_t len;
    if (!text) {
        set(ev, key, json_null());
        return;
    }
    char *clean = rs_utf8_repair(text, strlen(text), &len);
    set(ev, key, clean ? json_stringn(clean, len) : NULL);
    free(clean);
}

void rs_event_int(struct rs_event *ev, const char *key, int64_t value) { set(ev, key, json_integer(value)); }
void rs_event_flag(struct rs_event *ev, const char *key, bool value) { set(ev, key, json_boolean(value)); }

void rs_event_number(struct rs_event *ev, const char *key, double value, int decimals)
{
    static const double power[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6};
    const double unit = power[decimals < 0 ? 0 : decimals > 6 ? 6 : decimals];
    const double rounded = round(value * unit) / unit;
    if (!isfinite(rounded))
        set(ev, key, json_null());
    else if (rounded == floor(rounded) && fabs(rounded) < 1e15)
        set(ev, key, json_integer((json_int_t)rounded));
    else
        set(ev, key, json_real(rounded));
}

json_t *rs_event_list(struct rs_event *ev, const char *key)
{
    json_t *list = json_array();
    set(ev, key, list);
    return ev->failed ? NULL : list;
}

void rs_event_add(struct rs_event *ev, json_t *list, struct rs_event *item)
{
    if (item->failed) {
        json_decref(item->object);
        ev->failed = true;
    } else if (json_array_append_new(list, item->object)) {
        ev->failed = true;
    }
    item->object = NULL;
}

/* ---- The line ---- */

/* E2 80 A8 and E2 80 A9 (U+2028, U+2029) as \u2028 and \u2029, and the newline at the end. */
static char *finish_line(const char *json, size_t *len)
{
    const size_t n = strlen(json);
    size_t room, used = 0;
    char *out = rs_mul_ok(n, 2, &room) && rs_add_ok(room, 2, &room) ? malloc(room) : NULL;
    if (!out)
        return NULL;
    for (size_t i = 0; i < n;) {
        const bool separator = n - i >= 3 && memcmp(json + i, "\xe2\x80", 2) == 0 && ((unsigned char)json[i + 2] & 0xfe) == 0xa8;
        if (separator) {
            memcpy(out + used, (unsigned char)json[i + 2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
            used += 6;
            i += 3;
        } else {
            out[used++] = json[i++];
        }
    }
    out[used++] = '\n';
    out[used] = 0;
    *len = used;
    return out;
}

char *rs_event_line(struct rs_event *ev, size_t *len)
{
    /* 12 digits show every rounded number as a person would write it */
    starved = false;
    char *json = ev->failed ? NULL : json_dumps(ev->object, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(ev->object);
    ev->object = NULL;
    char *line = json && !starved ? finish_line(json, len) : NULL;
    free(json);
    return line;
}
