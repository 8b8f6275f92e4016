/* rec-stt devices: what can be recorded from, one device a line. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audio/source.h"
#include "cmd/cmd.h"

static int print_json(const struct rs_device *d, size_t count, struct rs_err *e)
{
    for (size_t i = 0; i < count; i++) {
        json_t *o = json_pack("{s:s, s:s, s:b, s:b}", "name", d[i].name, "description", d[i].description,
                              "default", d[i].is_default, "monitor", d[i].is_monitor);
        char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
        json_decref(o);
        if (!line)
            return rs_fail(e, RS_E_INTERNAL, "The device '%.200s' has a name that is not valid text.", d[i].name);
        puts(line);
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
