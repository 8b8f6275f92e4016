#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct { const char *word; int status; } table[RS_E_COUNT] = {
    [RS_OK] = {"ok", 0},
    [RS_E_INTERNAL] = {"internal", 1},
    [RS_E_NOMEM] = {"out_of_memory", 1},
    [RS_E_IO] = {"io", 1},
    [RS_E_THREAD] = {"thread", 1},
    [RS_E_TRANSCRIBE] = {"transcribe", 1},
    [RS_E_USAGE] = {"usage", 2},
    [RS_E_MODEL_MISSING] = {"model_missing", 3},
    [RS_E_MODEL_BAD] = {"model_bad", 3},
    [RS_E_MODEL_UNSUPPORTED] = {"model_unsupported", 3},
    [RS_E_UNSAFE_PICKLE] = {"unsafe_pickle", 3},
    [RS_E_AUDIO_FILE] = {"audio_file", 1},
    [RS_E_DEVICE_NOT_FOUND] = {"device_not_found", 4},
    [RS_E_DEVICE_BUSY] = {"device_busy", 4},
    [RS_E_DEVICE_PERMISSION] = {"device_permission", 4},
    [RS_E_DEVICE_REFUSED] = {"device_refused", 4},
    [RS_E_DEVICE_GONE] = {"device_gone", 4},
    [RS_E_ALREADY_RUNNING] = {"already_running", 1},
    [RS_E_NOT_RUNNING] = {"not_running", 1},
    [RS_E_BACKPRESSURE] = {"backpressure", 1},
    [RS_E_STDOUT] = {"stdout", 1},
};

int rs_err_set(struct rs_err *e, int code, const char *fmt, ...)
{
    if (e && e->code == RS_OK) {
        va_list ap;
        e->code = code;
        va_start(ap, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

static int known(int code)
{
    return code >= 0 && code < RS_E_COUNT ? code : RS_E_INTERNAL;
}

const char *rs_code_word(int code) { return table[known(code)].word; }

int rs_exit_status(int code) { return table[known(code)].status; }
