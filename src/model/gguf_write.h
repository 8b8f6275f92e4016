/* Writes an opened model as GGUF in NeMo-Speech.cpp's convention (keys asr.*, NeMo's tensor names), which
 * gguf.c reads and which is mapped in place by every spawn. */
#ifndef RS_GGUF_WRITE_H
#define RS_GGUF_WRITE_H

#include "model/model.h"

/* `type`: RS_F16, RS_Q8_0 or RS_Q4_0 for the matrices, RS_TYPE_COUNT to keep what they are. The file gets its
 * name only when it is whole and on the disk. `progress` (may be NULL) hears the bytes written so far. */
int rs_gguf_write(const struct rs_model *m, const char *path, enum rs_type type,
                  void (*progress)(void *user, uint64_t done, uint64_t total), void *user, struct rs_err *e);

#endif
