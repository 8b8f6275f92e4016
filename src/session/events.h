/* One event, one JSON object, one line.
 *
 * Built field by field in the order in which it will be read. Whatever a caller puts in, the line is valid
 * JSON: broken UTF-8 is repaired, numbers that are not finite become null, and the two line separators of
 * Unicode, at which JavaScript would break a line, are escaped.
 */
#ifndef RS_EVENTS_H
#define RS_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RS_EVENTS_SCHEMA 1

/* Memory that ends while an event is built is remembered in it: rs_event_line then says so once. */
struct rs_event { json_t *object; bool failed; };

struct rs_event rs_event(const char *type);                 /* type NULL: an object inside another */
void rs_event_text(struct rs_event *ev, const char *key, const char *text);         /* NULL becomes null */
void rs_event_int(struct rs_event *ev, const char *key, int64_t value);
void rs_event_flag(struct rs_event *ev, const char *key, bool value);

/* Rounded to `decimals` (0…6). */
void rs_event_number(struct rs_event *ev, const char *key, double value, int decimals);

/* Puts a list under `key`, to which objects are added one by one. The list belongs to the event. */
json_t *rs_event_list(struct rs_event *ev, const char *key);
void rs_event_add(struct rs_event *ev, json_t *list, struct rs_event *item);        /* consumes item */

/* The line with its newline, to be freed; NULL when memory ended. Consumes the event. */
char *rs_event_line(struct rs_event *ev, size_t *len);

/* The text with every byte that is not part of valid UTF-8 replaced by U+FFFD; NULL when memory ends. */
char *rs_utf8_repair(const char *text, size_t len, size_t *out_len);

#endif
