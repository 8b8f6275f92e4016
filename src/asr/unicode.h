/* The little Unicode that tokens need: decoding UTF-8, punctuation, lower case. Knows no locale. */
#ifndef RS_UNICODE_H
#define RS_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The next code point of [*p, end) and its length moved over; -1 for a byte that begins no valid sequence
 * (*p then moves by one). */
int32_t rs_utf8_next(const char **p, const char *end);

bool rs_is_punctuation(int32_t c);            /* general category P* */
bool rs_is_closing_punctuation(int32_t c);    /* what never has a space before it in running text: . , ? ! … ) */
int32_t rs_lower(int32_t c);                  /* Latin, Greek, Cyrillic, Armenian */

#endif
