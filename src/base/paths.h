/* The folders of the XDG base directory specification, for this program. */
#ifndef RS_PATHS_H
#define RS_PATHS_H

#include <stddef.h>

#include "base/err.h"

/* Each writes a path into buf (no trailing slash) and returns 0, or an error when it is too long or
 * neither the XDG variable nor HOME gives a place. Relative XDG variables are ignored, as the
 * specification says. Nothing is created. */
int rs_path_data(char *buf, size_t size, const char *leaf, struct rs_err *e);     /* XDG_DATA_HOME/rec-stt/leaf */
int rs_path_cache(char *buf, size_t size, const char *leaf, struct rs_err *e);    /* XDG_CACHE_HOME/rec-stt/leaf */
int rs_path_runtime(char *buf, size_t size, const char *leaf, struct rs_err *e);  /* XDG_RUNTIME_DIR/rec-stt/leaf, else /tmp/rec-stt-UID/leaf */

/* Creates every missing folder of the path's parent with mode 0700. */
int rs_make_parents(const char *path, struct rs_err *e);

#endif
