/* See output.h. */
#include "session/output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { LINE = 42, LINES = 2 };
static const double LONGEST = 7, SHORTEST = 1, PAUSE = 0.8;

void rs_script_free(struct rs_script *s)
{
    for (size_t i = 0; i < s->n_words; i++)
        free(s->words[i].text);
    free(s->words);
    free(s->gaps);
    *s = (struct rs_script){0};
}

bool rs_script_add(struct rs_script *s, const struct rs_chunk *c)
{
    if (!rs_grow((void **)&s->words, &s->cap_words, s->n_words + c->n_words, sizeof *s->words) ||
        !rs_grow((void **)&s->gaps, &s->cap_gaps, s->n_gaps + c->n_gaps, sizeof *s->gaps))
        return false;
    for (size_t i = 0; i < c->n_words; i++) {
        const struct rs_word *w = &c->words[i];
        char *text = strdup(w->text);
        if (!text)
            return false;
        s->words[s->n_words++] = (struct rs_script_word){text, (double)w->start, (double)w->end, (double)w->confidence};
    }
    for (size_t i = 0; i < c->n_gaps; i++)
        s->gaps[s->n_gaps++] = c->gaps[i];
    s->confidence_sum += c->confidence * (double)c->n_tokens;
    s->n_tokens += c->n_tokens;
    s->chunks++;
    s->times.features_ns += c->times.features_ns;
    s->times.encoder_ns += c->times.encoder_ns;
    s->times.decoder_ns += c->times.decoder_ns;
    return true;
}

static size_t characters(const char *utf8)
{
    size_t n = 0;
    for (; *utf8; utf8++)
        n += ((unsigned char)*utf8 & 0xc0) != 0x80;
    return n;
}

static bool ends_sentence(const char *word)
{
    const size_t n = strlen(word);
    return n && strchr(".?!", word[n - 1]);
}

struct rs_cue rs_script_cue(const struct rs_script *s, size_t first)
{
    struct rs_cue c = {.first = first, .last = first, .start = s->words[first].start};
    size_t line = 0, lines = 1;
    for (size_t i = first; i < s->n_words; i++) {
        const size_t n = characters(s->words[i].text);
        if (line && line + 1 + n > LINE) {
            lines++;
            line = 0;
        }
        if (i > first && (lines > LINES || s->words[i].end - c.start > LONGEST ||
                          s->words[i].start - s->words[i - 1].end > PAUSE || ends_sentence(s->words[i - 1].text)))
            break;
        line += (line > 0) + n;
        c.last = i + 1;
    }
    c.end = fmax(s->words[c.last - 1].end, c.start + SHORTEST);
    if (c.last < s->n_words)
        c.end = fmin(c.end, fmax(s->words[c.last].start, s->words[c.last - 1].end));
    if (c.end < c.start)
        c.end = c.start;
    return c;
}

void rs_cue_time(char *buf, size_t size, double seconds, char mark)
{
    const long long ms = seconds > 0 ? llround(seconds * 1000) : 0;
    snprintf(buf, size, "%02lld:%02lld:%02lld%c%03lld", ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, mark, ms % 1000);
}

static void put_words(const struct rs_script *s, const struct rs_cue *c, FILE *to)
{
    size_t line = 0;
    for (size_t i = c->first; i < c->last; i++) {
        const size_t n = characters(s->words[i].text);
        if (line && line + 1 + n > LINE) {
            fputc('\n', to);
            line = 0;
        }
        fprintf(to, "%s%s", line ? " " : "", s->words[i].text);
        line += (line > 0) + n;
    }
}

int rs_script_subtitles(const struct rs_script *s, FILE *to, bool vtt, struct rs_err *e)
{
    const char mark = vtt ? '.' : ',';
    if (vtt)
        fputs("WEBVTT\n\n", to);
    size_t number = 1;
    for (size_t i = 0; i < s->n_words; number++) {
        const struct rs_cue c = rs_script_cue(s, i);
        char from[32], until[32];
        rs_cue_time(from, sizeof from, c.start, mark);
        rs_cue_time(until, sizeof until, c.end, mark);
        fprintf(to, "%zu\n%s --> %s\n", number, from, until);
        put_words(s, &c, to);
        fputs("\n\n", to);
        i = c.last;
    }
    return ferror(to) ? rs_fail(e, RS_E_STDOUT, "The subtitles could not be written: is the disk full?") : 0;
}
