/* What others call NeMo's tensors, and back: every container's names end up as the one canonical set. */
#ifndef RS_NAMES_H
#define RS_NAMES_H

#include <stddef.h>

enum rs_naming { RS_NAMES_NEMO, RS_NAMES_NEMO_SPEECH, RS_NAMES_CRISPASR, RS_NAMES_TRANSCRIBE, RS_NAMES_QVAC, RS_NAMES_HUGGINGFACE };

/* The canonical name of `name` in `to`, NUL-terminated; the name itself where no rule fits. Returns its length, or 0
 * when it is longer than `size` - 1. */
size_t rs_canonical_name(enum rs_naming naming, const char *name, size_t len, char *to, size_t size);

#endif
