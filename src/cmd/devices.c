/* rec-stt devices: what can be recorded from, one device a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audio/source.h"
#include "cmd/cmd.h"
#include "session/events.h"

/* Names come from the driver or a file of settings: broken UTF-8 is repaired, and hides no other device. */
static int print_json(const struct rs_device *d, size_t count, struct rs_err *e)
{
    for (size_t i = 0; i < count; i++) {
        struct rs_event ev = rs_event(NULL);
        size_t len;
        rs_event_text(&ev, "name", d[i].name);
        rs_event_text(&ev, "description", d[i].description);
        rs_event_flag(&ev, "default", d[i].is_default);
        rs_event_flag(&ev, "monitor", d[i].is_monitor);
        char *line = rs_event_line(&ev, &len);
        if (!line)
            return rs_fail(e, RS_E_NOMEM, "There is no memory for the list.");
        fputs(line, stdout);
        free(line);
    }
    return 0;
}

static void print_table(const struct rs_device *d, size_t count)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++)
        width = strlen(d[i].name) > width ? strlen(d[i].name) : width;
    width = width > 48 ? 48 : width;
    for (size_t i = 0; i < count; i++)
        printf("%c %-*s  %s%s\n", d[i].is_default ? '*' : ' ', (int)width, d[i].name, d[i].description,
               d[i].is_monitor ? " [monitor: what is played, not a microphone]" : "");
}

static int run(int argc, char **argv)
{
    bool json = false;
    const struct rs_opt options[] = {
        {.name = "json", .kind = RS_OPT_FLAG, .value = &json, .help = "one JSON object a line: name, description, default, monitor"},
        {0},
    };
    struct rs_err e = {0};
    struct rs_device *d;
    size_t count;
    int nargs;
    int rc = rs_opt_parse(&rs_cmd_devices, options, argc, argv, &nargs, &e);
    if (rc)
        return rc == RS_OPT_DONE ? 0 : rs_report(&rs_cmd_devices, &e);
    if (rs_devices_list(&d, &count, &e))
        return rs_report(&rs_cmd_devices, &e);
    if (json)
        rc = print_json(d, count, &e);
    else
        print_table(d, count);
    rs_devices_free(d, count);
    if (!rc && (fflush(stdout) || ferror(stdout)))
        rc = rs_fail(&e, RS_E_STDOUT, "Writing the list failed.");
    if (!rc && count == 0)
        rc = rs_fail(&e, RS_E_DEVICE_NOT_FOUND, "There is no capture device; is a sound server running, is a microphone plugged in?");
    return rc ? rs_report(&rs_cmd_devices, &e) : 0;
}

const struct rs_cmd rs_cmd_devices = {
    .name = "devices",
    .synopsis = "[OPTION]...",
    .summary = "list the microphones by names that survive a reboot",
    .details = "The default is marked with '*'. Each name, or a part of a name or description that fits one device alone, is\n"
               "what --device of progressive-record takes. Monitors record what is played.\n",
    .run = run,
};
