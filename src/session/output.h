/* A finished transcript in the forms that people read and players show: text, JSON, SubRip, WebVTT. */
#ifndef RS_OUTPUT_H
#define RS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "session/progress.h"

struct rs_script_word { char *text; double start, end, confidence; };

struct rs_script {                  /* everything that a file said */
    struct rs_script_word *words;
    size_t n_words, cap_words;
    struct rs_gap *gaps;
    size_t n_gaps, cap_gaps;
    double duration_s, confidence_sum;
    size_t n_tokens;
    int chunks;
    struct rs_stage_times times;
};
void rs_script_free(struct rs_script *s);

/* Appends a chunk's words, gaps and figures; false when memory ends. */
bool rs_script_add(struct rs_script *s, const struct rs_chunk *c);

/* A subtitle: words [first, last) on the screen from start to end seconds. */
struct rs_cue { size_t first, last; double start, end; };

/* The next cue from word `first` on: at most two lines of 42 characters and 7 seconds, broken at ends of
 * sentences and at pauses of 0.8 s; shown for at least 1 s where the next leaves room. */
struct rs_cue rs_script_cue(const struct rs_script *s, size_t first);

/* "01:02:03,456"; `mark` is ',' for SubRip and '.' for WebVTT. */
void rs_cue_time(char *buf, size_t size, double seconds, char mark);

int rs_script_subtitles(const struct rs_script *s, FILE *to, bool vtt, struct rs_err *e);

#endif
