/* Models that the build linked in (the Makefile's EMBED_MODEL and EMBED_VAD), as GGUF images in memory. */
#ifndef RS_EMBEDDED_H
#define RS_EMBEDDED_H

#include <stddef.h>
#include <stdint.h>

struct rs_embedded { const void *data; size_t size; const char *name; uint64_t identity; };   /* size 0: none was linked in */

struct rs_embedded rs_embedded_model(void);
struct rs_embedded rs_embedded_vad(void);

#endif
