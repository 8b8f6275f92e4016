/* Which microphones there are, by names that survive a reboot.
 *
 * ALSA's own list (its "hints") also holds converters, surround views and the like; what is left are the
 * default, cards as plughw:CARD=…,DEV=… (by name, not by number), and PCMs of the person's own. Sources of
 * a sound server come from pulse.c and are opened as pulse:SOURCE.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audio/pcm.h"
#include "audio/pulse.h"
#include "base/mem.h"

struct list { struct rs_device *d; size_t count, cap; bool failed; };

static bool add(struct list *l, const char *name, const char *description, bool is_default, bool is_monitor)
{
    struct rs_device d = {strdup(name), strdup(description), is_default, is_monitor};
    if (!d.name || !d.description || !rs_grow((void **)&l->d, &l->cap, l->count + 1, sizeof *l->d)) {
        free(d.name);
        free(d.description);
        l->failed = true;
        return false;
    }
    for (char *c = d.description; *c; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    l->d[l->count++] = d;
    return true;
}

static bool known(const struct list *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->d[i].name, name) == 0)
            return true;
    return false;
}

/* Views of a card that plughw gives better, converters, and things that are no microphone. */
static bool is_noise(const char *name)
{
    static const char *const skip[] = {
        "null", "hw", "dmix", "dsnoop", "dshare", "sysdefault", "front", "rear", "center_lfe", "side", "iec958", "spdif", "hdmi",
        "modem", "phoneline", "surround21", "surround40", "surround41", "surround50", "surround51", "surround71", "samplerate",
        "samplerate_best", "samplerate_linear", "samplerate_medium", "samplerate_order", "speexrate", "speexrate_best",
        "speexrate_medium", "lavrate", "lavrate_fast", "lavrate_faster", "lavrate_high", "lavrate_higher", "jack", "oss", "upmix",
        "vdownmix", "speex", "usbstream", "a52", "arcam_av", "tee", "file", "usb_stream", "plug", "cards",
    };
    const size_t n = strcspn(name, ":");
    for (size_t i = 0; i < sizeof skip / sizeof *skip; i++)
        if (strlen(skip[i]) == n && strncmp(skip[i], name, n) == 0)
            return true;
    return false;
}

/* server: a sound server answers; without one its PCMs lead nowhere */
static void list_alsa(struct list *l, bool server)
{
    void **hints = NULL;
    if (snd_device_name_hint(-1, "pcm", &hints) < 0)
        return;
    for (void **h = hints; *h && !l->failed; h++) {
        char *name = snd_device_name_get_hint(*h, "NAME"), *text = snd_device_name_get_hint(*h, "DESC");
        char *direction = snd_device_name_get_hint(*h, "IOID");
        if (name && (!direction || strcmp(direction, "Input") == 0) && !is_noise(name) && !known(l, name) &&
            (server || strcmp(name, "pulse") != 0))
            add(l, name, text ? text : name, strcmp(name, "default") == 0, false);
        free(name);
        free(text);
        free(direction);
    }
    snd_device_name_free_hint(hints);
}

static bool on_pulse(void *arg, const struct rs_pulse_source *s)
{
    char name[600], text[600];
    snprintf(name, sizeof name, "pulse:%s", s->name);
    snprintf(text, sizeof text, "%s%s", s->description, s->is_default ? " (the sound server's default)" : "");
    return add(arg, name, text, false, s->is_monitor);
}

static bool defined(const char *name);

int rs_devices_list(struct rs_device **out, size_t *count, struct rs_err *e)
{
    struct list l = {0};
    rs_pcm_quiet();
    snd_config_update();
    if (defined("default"))
        add(&l, "default", "What programs use when nothing else is said", true, false);
    const size_t before = l.count;
    if (defined("pulse"))
        rs_pulse_sources(on_pulse, &l);
    list_alsa(&l, l.count > before);
    *out = l.d;
    *count = l.count;
    if (l.failed) {
        rs_devices_free(l.d, l.count);
        *out = NULL;
        *count = 0;
        return rs_fail(e, RS_E_NOMEM, "Not enough memory to list the microphones.");
    }
    return 0;
}

void rs_devices_free(struct rs_device *d, size_t count)
{
    for (size_t i = 0; d && i < count; i++) {
        free(d[i].name);
        free(d[i].description);
    }
    free(d);
}

void rs_device_names(char *buf, size_t size, const char *failed)
{
    struct rs_device *d;
    size_t count, used = 0;
    snprintf(buf, size, "no microphone at all");
    if (rs_devices_list(&d, &count, NULL))
        return;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(d[i].name, failed) == 0)
            continue;
        const int n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", d[i].name);
        if (n < 0 || (size_t)n >= size - used) {
            snprintf(buf + (used < size - 4 ? used : size - 4), 4, "...");
            break;
        }
        used += (size_t)n;
    }
    rs_devices_free(d, count);
}

/* Is there a PCM of that name (its part before the colon) in ALSA's configuration? */
static bool defined(const char *name)
{
    char key[300];
    snd_config_t *found = NULL;
    snprintf(key, sizeof key, "pcm.%.*s", (int)strcspn(name, ":"), name);
    if (!snd_config || snd_config_search_definition(snd_config, NULL, key, &found) < 0)
        return false;
    snd_config_delete(found);
    return true;
}

static bool holds(const char *text, const char *part)
{
    const size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

static int several(const char *wanted, const struct rs_device *d, size_t count, struct rs_err *e)
{
    char names[300] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof names - 1; i++)
        if (holds(d[i].name, wanted) || holds(d[i].description, wanted)) {
            const int n = snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", d[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
    return rs_fail(e, RS_E_DEVICE_NOT_FOUND, "More than one microphone is meant by '%.60s': %s. Say more of the name.", wanted, names);
}

int rs_device_resolve(const char *wanted, char *name, size_t size, struct rs_err *e)
{
    struct rs_device *d;
    size_t count, matches = 0, match = 0;
    int rc = 0;
    if (name != wanted)
        snprintf(name, size, "%s", wanted);
    if (strcmp(wanted, "default") == 0)
        return 0;
    snd_config_update();
    if (defined(wanted))
        return 0;
    if ((rc = rs_devices_list(&d, &count, e)))
        return rc;
    for (size_t i = 0; i < count; i++)
        if (*wanted && (holds(d[i].name, wanted) || holds(d[i].description, wanted))) {
            matches++;
            match = i;
        }
    if (matches == 1) {
        snprintf(name, size, "%s", d[match].name);
    } else if (matches > 1) {
        rc = several(wanted, d, count, e);
    } else {
        char there[300];
        rs_device_names(there, sizeof there, wanted);
        rc = rs_fail(e, RS_E_DEVICE_NOT_FOUND, "There is no microphone '%.60s'. There is: %s. Choose with --device NAME; "
                     "'rec-stt devices' tells more.", wanted, there);
    }
    rs_devices_free(d, count);
    return rc;
}
