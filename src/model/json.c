/* JSON out of untrusted files. A parsed value takes many times its text's memory ("[]," is 3 bytes and becomes 128),
 * so the text's structure is counted before it is parsed. */
#include <stdbool.h>

#include "model/json.h"

enum { MOST_TREE = 40 << 20, OBJECT = 280, ARRAY = 140, ITEM = 200 };    /* bytes: jansson's structures with malloc's own */

static bool modest(const char *text, size_t size)
{
    size_t tree = 0;
    for (size_t i = 0; i < size; i++)
        tree += text[i] == '{' ? OBJECT : text[i] == '[' ? ARRAY : text[i] == ',' ? ITEM : 0;
    return tree <= MOST_TREE;
}

json_t *rs_json_object(const void *text, size_t size)
{
    json_error_t why;
    json_t *value = size <= RS_JSON_MOST && modest(text, size) ? json_loadb(text, size, JSON_REJECT_DUPLICATES, &why) : NULL;
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}
