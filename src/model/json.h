/* The JSON of models' files (safetensors headers, config.json, tokenizer.json). */
#ifndef RS_JSON_H
#define RS_JSON_H

#include <jansson.h>
#include <stddef.h>

enum { RS_JSON_MOST = 8 << 20 };      /* bytes of text: published ones have some hundred thousand */

/* The object that the text holds, freed by json_decref; NULL when it is none, has a key twice, or would take far more
 * memory than any model's needs. */
json_t *rs_json_object(const void *text, size_t size);

#endif
