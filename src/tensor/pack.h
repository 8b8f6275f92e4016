/* Packed weights kept on disk: what a backend wants in its own order is made once and mapped by every later
 * spawn, where it is used in place.
 *
 * A pack is one file in XDG_CACHE_HOME/rec-stt, named after the model's identity and the order. It is
 * either complete, verified by its header's hash and sizes, or not there: while it is being made it has no
 * name. A damaged, foreign or older file counts as absent and is replaced. Its data are only numbers: bad
 * ones give bad text, never a bad access.
 */
#ifndef RS_PACK_H
#define RS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rs_pack;

/* Maps the pack of a model, or begins a new one. *out is NULL (and the return 0) where there is no place for
 * it: weights are then packed into private memory. `order` names the order and its version. */
int rs_pack_open(struct rs_pack **out, uint64_t identity, const char *order, struct rs_err *e);
void rs_pack_close(struct rs_pack *p);               /* what was not published is gone */

/* The packed weights of that name and size in a mapped pack, or NULL. */
const void *rs_pack_find(struct rs_pack *p, const char *name, size_t bytes);

/* Zeroed room for weights in a pack that is being made, 64-byte aligned and valid until rs_pack_close; NULL
 * when the pack is a finished one or the disk is full. */
void *rs_pack_room(struct rs_pack *p, const char *name, size_t bytes);

/* True when rs_pack_publish has something to write. */
bool rs_pack_unpublished(const struct rs_pack *p);

/* Gives a new pack its name: checksums, fsync, rename. May take seconds on a slow disk. The rooms stay
 * valid. Packs beside it that nobody used for two months are removed. Nothing happens to a finished pack. */
int rs_pack_publish(struct rs_pack *p, struct rs_err *e);

/* Reads everything and compares the checksums; a damaged pack is removed and reported. */
int rs_pack_verify(const struct rs_pack *p, struct rs_err *e);

const char *rs_pack_path(const struct rs_pack *p);

#endif
