#include "test.h"

#include <stdlib.h>

#include "session/output.h"

static void times(void)
{
    char b[32];
    rs_cue_time(b, sizeof b, 3723.4567, ',');
    CHECK_STR(b, "01:02:03,457");
    rs_cue_time(b, sizeof b, 0.9996, '.');
    CHECK_STR(b, "00:00:01.000");
    rs_cue_time(b, sizeof b, -1, '.');
    CHECK_STR(b, "00:00:00.000");
    rs_cue_time(b, sizeof b, 360000, '.');
    CHECK_STR(b, "100:00:00.000");
}

static void script_of(struct rs_script *s, int n, double pause_after_ten, const char *word)
{
    struct rs_word *w = calloc((size_t)n, sizeof *w);
    for (int i = 0; i < n; i++)
        w[i] = (struct rs_word){.text = word, .start = (float)(i * 0.3 + (i >= 10 ? pause_after_ten : 0)),
                                .end = (float)(i * 0.3 + 0.25 + (i >= 10 ? pause_after_ten : 0)), .confidence = 1};
    const struct rs_chunk c = {.words = w, .n_words = (size_t)n};
    CHECK(rs_script_add(s, &c));
    free(w);
}

static void cues_break_at_pauses_lines_and_sentences(void)
{
    struct rs_script s = {0};
    script_of(&s, 20, 2, "word");
    struct rs_cue c = rs_script_cue(&s, 0);
    CHECK_INT(c.last, 10);
    CHECK(c.end <= s.words[10].start);
    rs_script_free(&s);

    script_of(&s, 40, 0, "somewhatlongword");              /* two of them fit into a line */
    for (size_t i = 0; i < s.n_words; i = c.last) {
        c = rs_script_cue(&s, i);
        CHECK(c.last > i && c.last - i <= 4 && c.end >= c.start);
    }
    rs_script_free(&s);

    script_of(&s, 4, 0, "end.");
    CHECK_INT(rs_script_cue(&s, 0).last, 1);
    rs_script_free(&s);

    script_of(&s, 1, 0, "a_single_word_that_is_longer_than_any_line_of_subtitles_may_be");
    c = rs_script_cue(&s, 0);
    CHECK(c.last == 1 && c.end - c.start >= 1);
    rs_script_free(&s);
}

static void empty_scripts(void)
{
    struct rs_script s = {0};
    struct rs_err e = {0};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    CHECK_INT(rs_script_subtitles(&s, f, true, &e), 0);
    fclose(f);
    CHECK_STR(text, "WEBVTT\n\n");
    free(text);
}

int main(void)
{
    RUN(times);
    RUN(cues_break_at_pauses_lines_and_sentences);
    RUN(empty_scripts);
    return REPORT();
}
