/* Lines: valid JSON whatever goes in. */
#include "test.h"

#include <stdlib.h>

#include "session/events.h"

static char *line_of(struct rs_event *ev)
{
    size_t len = 0;
    char *line = rs_event_line(ev, &len);
    CHECK(line && strlen(line) == len);
    return line;
}

#define LINE(ev, expected) do { char *l_ = line_of(ev); CHECK_STR(l_ ? l_ : "", expected); free(l_); } while (0)

static void contract_shape(void)
{
    struct rs_event ev = rs_event("chunk");
    rs_event_int(&ev, "index", 0);
    rs_event_text(&ev, "text", "fix the login bug");
    rs_event_number(&ev, "confidence", 0.94, 3);
    rs_event_number(&ev, "elapsed_ms", 52.0001, 2);
    LINE(&ev, "{\"type\":\"chunk\",\"index\":0,\"text\":\"fix the login bug\",\"confidence\":0.94,\"elapsed_ms\":52}\n");
}

static void numbers_that_are_none(void)
{
    struct rs_event ev = rs_event(NULL);
    rs_event_number(&ev, "a", NAN, 2);
    rs_event_number(&ev, "b", INFINITY, 2);
    rs_event_number(&ev, "c", -0.0004, 3);
    rs_event_number(&ev, "d", 1e300, 2);
    rs_event_number(&ev, "e", 15012.1234, 3);
    char *line = line_of(&ev);
    CHECK(line && strstr(line, "\"a\":null,\"b\":null") != NULL);
    CHECK(line && strstr(line, "\"e\":15012.123}") != NULL);
    free(line);
}

static void broken_text(void)
{
    struct rs_event ev = rs_event(NULL);
    rs_event_text(&ev, "t", "a\xff\xc0\xafz\xed\xa0\x80\xe2\x82 \xf4\x90\x80\x80");
    rs_event_text(&ev, "none", NULL);
    LINE(&ev, "{\"t\":\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"none\":null}\n");
}

static void separators_are_escaped(void)
{
    struct rs_event ev = rs_event(NULL);
    rs_event_text(&ev, "t", "a\xe2\x80\xa8" "b\xe2\x80\xa9\xe2\x80\xa6\n\"\\");
    LINE(&ev, "{\"t\":\"a\\u2028b\\u2029\xe2\x80\xa6\\n\\\"\\\\\"}\n");
}

static void lists(void)
{
    struct rs_event ev = rs_event("chunk"), item = rs_event(NULL);
    json_t *list = rs_event_list(&ev, "words");
    rs_event_text(&item, "text", "fix");
    rs_event_add(&ev, list, &item);
    LINE(&ev, "{\"type\":\"chunk\",\"words\":[{\"text\":\"fix\"}]}\n");
}

static void valid_text_stays(void)
{
    const char *texts[] = {"", "plain", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t len;
        char *out = rs_utf8_repair(texts[i], strlen(texts[i]), &len);
        CHECK_STR(out ? out : "?", texts[i]);
        free(out);
    }
}

int main(void)
{
    RUN(contract_shape);
    RUN(numbers_that_are_none);
    RUN(broken_text);
    RUN(separators_are_escaped);
    RUN(lists);
    RUN(valid_text_stays);
    return REPORT();
}
