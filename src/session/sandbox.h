/* The recorder confines itself, in two steps, so that a hostile model or audio file that took it over
 * could neither send nor keep what the microphone hears.
 *
 * begin (microphone open, model not yet): no new programs or processes, no sockets but local ones, no
 * memory that is both writable and executable (seccomp, every thread); nothing written outside the
 * folders given (Landlock, this thread and those it starts). seal (model open): no file is opened any
 * more. What a kernel lacks is left out and said; core dumps are switched off in any case.
 */
#ifndef RS_SANDBOX_H
#define RS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

struct rs_sandbox {
    bool syscalls;            /* a seccomp filter is in force (probe: could be) */
    bool sealed;              /* … which also refuses to open files */
    int landlock;             /* Landlock's ABI version, 0 without it */
};

/* writable: folders, NULL-terminated; those that do not exist are passed over. */
void rs_sandbox_begin(struct rs_sandbox *s, const char *const *writable);
void rs_sandbox_seal(struct rs_sandbox *s);

/* What this kernel offers, without entering anything. */
void rs_sandbox_probe(struct rs_sandbox *s);

/* "seccomp (sealed), landlock 4"; "off" when nothing is in force. Returns buf. */
const char *rs_sandbox_text(const struct rs_sandbox *s, char *buf, size_t size);

/* No core dumps, no reading of this process's memory by others of the same user. */
void rs_no_core_dumps(void);

#endif
