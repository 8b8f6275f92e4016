/* See bench_wer.h. */
#include "cmd/bench_wer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/source.h"
#include "base/mem.h"

/* Lower case, ASCII punctuation but the apostrophe gone; words end at a space. Returns their number. */
static long normalize(char *text)
{
    char *to = text;
    long words = 0;
    bool inside = false;
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        const bool letter = c >= 128 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\'';
        if (letter) {
            words += !inside;
            *to++ = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        } else if (inside) {
            *to++ = 0;
        }
        inside = letter;
    }
    *to = 0;
    return words;
}

static const char **list(char *text, long *count)
{
    *count = normalize(text);
    const char **w = rs_zeroed((size_t)*count + 1, sizeof *w);
    for (long i = 0; w && i < *count; i++, text += strlen(text) + 1)
        w[i] = text;
    return w;
}

/* Levenshtein's distance over words, one row at a time. */
static long distance(const char **a, long n, const char **b, long m, long *row)
{
    for (long j = 0; j <= m; j++)
        row[j] = j;
    for (long i = 1; i <= n; i++) {
        long corner = row[0];
        row[0] = i;
        for (long j = 1; j <= m; j++) {
            const long same = corner + (strcmp(a[i - 1], b[j - 1]) != 0), less = row[j - 1] + 1, more = row[j] + 1;
            corner = row[j];
            row[j] = same < less ? same : less;
            row[j] = row[j] < more ? row[j] : more;
        }
    }
    return row[m];
}

long rs_word_errors(const char *meant, const char *said, long *words)
{
    char *a = strdup(meant), *b = strdup(said);
    long n = 0, m = 0, errors = -1;
    const char **x = a ? list(a, &n) : NULL, **y = b ? list(b, &m) : NULL;
    long *row = rs_zeroed((size_t)m + 1, sizeof *row);
    if (x && y && row)
        errors = distance(x, n, y, m, row);
    *words = n;
    free(row);
    free(x);
    free(y);
    free(a);
    free(b);
    return errors;
}

struct sound { float *pcm; size_t n, cap; };

static int load(struct sound *s, const char *path, struct rs_err *e)
{
    struct rs_source *source;
    enum { STEP = 16000 };
    size_t got = 0;
    int rc = rs_source_file(&source, path, NULL, false, e);
    s->n = 0;
    while (rc >= 0) {
        void *pcm = s->pcm;
        if (!rs_grow(&pcm, &s->cap, s->n + STEP, sizeof *s->pcm)) {
            rc = rs_fail(e, RS_E_NOMEM, "There is no memory for %s.", path);
            break;
        }
        s->pcm = pcm;
        rc = rs_source_read(source, s->pcm + s->n, STEP, &got, e);
        s->n += got;
        if (rc == RS_SOURCE_END)
            break;
        if (rc == RS_SOURCE_MORE && got == 0) {
            struct pollfd p = {.fd = rs_source_fd(source), .events = POLLIN};
            poll(&p, 1, 1000);
        }
    }
    rs_source_close(source);
    return rc < 0 ? rc : 0;
}

/* The next field of a line, ended by tab or newline. */
static char *field(char **at)
{
    char *begin = *at, *end = begin + strcspn(begin, "\t\r\n");
    *at = *end == '\t' ? end + 1 : end;
    *end = 0;
    return begin;
}

struct tally { struct rs_asr *asr; const char *folder; struct sound sound; struct rs_transcript heard; long errors, words; };

static int one(struct tally *t, char *line, struct rs_err *e)
{
    char path[4096], *at = line;
    const char *file = field(&at);
    field(&at);
    const char *meant = field(&at);
    snprintf(path, sizeof path, "%s/%s", t->folder, file);
    if (access(path, R_OK) != 0)
        snprintf(path, sizeof path, "%s/audio/%s", t->folder, file);
    int rc = load(&t->sound, path, e);
    rc = rc ? rc : rs_asr_run(t->asr, t->sound.pcm, t->sound.n, &t->heard, e);
    if (rc)
        return rc;
    const size_t size = rs_asr_text(t->asr, t->heard.tokens, t->heard.count, NULL, 0) + 1;
    char *said = rs_zeroed(size, 1);
    long words = 0, errors = -1;
    if (said) {
        rs_asr_text(t->asr, t->heard.tokens, t->heard.count, said, size);
        errors = rs_word_errors(meant, said, &words);
    }
    free(said);
    if (errors < 0)
        return rs_fail(e, RS_E_NOMEM, "There is no memory to compare the texts.");
    t->errors += errors;
    t->words += words;
    return 0;
}

int rs_bench_wer(struct rs_asr *a, const char *folder, double *wer, struct rs_err *e)
{
    char path[4096], *line = NULL;
    size_t cap = 0;
    struct tally t = {.asr = a, .folder = folder};
    int rc = 0;
    snprintf(path, sizeof path, "%s/data.tsv", folder);
    FILE *f = fopen(path, "re");
    if (!f)
        return rs_fail(e, RS_E_IO, "%s cannot be read: %s.", path, strerror(errno));
    for (long number = 0; !rc && getline(&line, &cap, f) > 0; number++)
        if (number > 0 || strncmp(line, "file\t", 5))           /* the heading */
            rc = one(&t, line, e);
    fclose(f);
    free(line);
    free(t.sound.pcm);
    rs_transcript_free(&t.heard);
    if (!rc && t.words == 0)
        rc = rs_fail(e, RS_E_USAGE, "%s names no recordings.", path);
    *wer = t.words ? (double)t.errors / (double)t.words : -1;
    return rc;
}
