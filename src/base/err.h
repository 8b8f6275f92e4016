/* Errors: one enum, one table, one sentence.
 *
 * Functions that can fail return 0 or a negative code and fill `struct rs_err` with a sentence that
 * names the thing at fault and says what to do. Nothing below src/cmd prints or exits.
 */
#ifndef RS_ERR_H
#define RS_ERR_H

enum rs_code {
    RS_OK = 0,
    RS_E_INTERNAL,        /* a bug of ours */
    RS_E_NOMEM,
    RS_E_IO,              /* reading or writing failed */
    RS_E_THREAD,
    RS_E_TRANSCRIBE,      /* the engine failed on audio it should have handled */
    RS_E_USAGE,           /* wrong option or argument */
    RS_E_MODEL_MISSING,
    RS_E_MODEL_BAD,       /* damaged or hostile file */
    RS_E_MODEL_UNSUPPORTED,
    RS_E_UNSAFE_PICKLE,
    RS_E_AUDIO_FILE,      /* an audio file that cannot be read */
    RS_E_DEVICE_NOT_FOUND,
    RS_E_DEVICE_BUSY,
    RS_E_DEVICE_PERMISSION,
    RS_E_DEVICE_REFUSED,  /* no common format or rate */
    RS_E_DEVICE_GONE,
    RS_E_ALREADY_RUNNING,
    RS_E_NOT_RUNNING,
    RS_E_BACKPRESSURE,
    RS_E_STDOUT,          /* stdout is full or broken (not EPIPE) */
    RS_E_COUNT
};

struct rs_err {
    int code;             /* enum rs_code; 0 when nothing failed */
    char msg[480];        /* one sentence, no newline */
};

/* Records a failure and returns -code, so that callers write `return rs_fail(e, RS_E_IO, "…", …);`.
 * The first failure wins: an error already present is kept. `e` may be NULL. */
#define rs_fail(e, code, ...) rs_negative(code, rs_err_set(e, code, __VA_ARGS__))
int rs_err_set(struct rs_err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Inline, so that compilers and analysers see that a failure is negative. */
static inline int rs_negative(int code, int set)
{
    (void)set;
    return -code;
}

/* The stable code word used in events ("device_busy"). */
const char *rs_code_word(int code);

/* The process's exit status for a code: 1 failed while running, 2 usage, 3 model, 4 microphone. */
int rs_exit_status(int code);

#endif
