/* Waterfalls out of files of events: in the terminal, as SVG, and a table that compares backends. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "session/timing.h"

/* ---- Reading ---- */

static const char *text_of(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static bool add_entry(struct rs_timing_run *run, json_t *o)
{
    if (!rs_grow((void **)&run->entries, &run->cap, run->count + 1, sizeof *run->entries))
        return false;
    struct rs_timing_entry *n = &run->entries[run->count++];
    json_t *chunk = json_object_get(o, "chunk");
    snprintf(n->stage, sizeof n->stage, "%.31s", text_of(o, "stage"));
    snprintf(n->backend, sizeof n->backend, "%.31s", text_of(o, "backend"));
    n->chunk = chunk ? (int)json_integer_value(chunk) : -1;
    n->start_ms = json_number_value(json_object_get(o, "start_ms"));
    n->ms = fmax(0, json_number_value(json_object_get(o, "ms")));
    return true;
}

static int add_run(struct rs_timing_runs *runs, const char *path, json_t *o, struct rs_err *e)
{
    size_t i;
    json_t *item;
    if (!rs_grow((void **)&runs->run, &runs->cap, runs->count + 1, sizeof *runs->run))
        return rs_fail(e, RS_E_NOMEM, "There is no memory for the recordings in %.200s.", path);
    struct rs_timing_run *run = &runs->run[runs->count++];
    const char *leaf = strrchr(path, '/');
    *run = (struct rs_timing_run){.audio_ms = 0};
    snprintf(run->name, sizeof run->name, "%.159s", leaf ? leaf + 1 : path);
    snprintf(run->model, sizeof run->model, "%.95s", text_of(o, "model"));
    snprintf(run->backend, sizeof run->backend, "%.31s", text_of(o, "backend"));
    json_array_foreach(json_object_get(o, "entries"), i, item)
        if (!add_entry(run, item))
            return rs_fail(e, RS_E_NOMEM, "There is no memory for the recordings in %.200s.", path);
    return 0;
}

int rs_timing_read(struct rs_timing_runs *runs, const char *path, struct rs_err *e)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "r");
    const size_t before = runs->count;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    if (!f)
        return rs_fail(e, RS_E_IO, "The file %.300s cannot be read: %s.", path, strerror(errno));
    while (!rc && (n = getline(&line, &cap, f)) > 0) {
        json_t *o = json_loadb(line, (size_t)n, 0, NULL);
        if (strcmp(text_of(o, "type"), "timing") == 0)
            rc = add_run(runs, path, o, e);
        else if (strcmp(text_of(o, "type"), "done") == 0 && runs->count > before)
            runs->run[runs->count - 1].audio_ms = json_number_value(json_object_get(o, "audio_ms"));
        json_decref(o);
    }
    if (!rc && ferror(f))
        rc = rs_fail(e, RS_E_IO, "The file %.300s cannot be read: %s.", path, strerror(errno));
    if (!rc && runs->count == before)
        rc = rs_fail(e, RS_E_USAGE, "There is no timing event in %.300s; record with --timing.", standard ? "standard input" : path);
    free(line);
    if (!standard)
        fclose(f);
    return rc;
}

void rs_timing_runs_free(struct rs_timing_runs *runs)
{
    for (size_t i = 0; i < runs->count; i++)
        free(runs->run[i].entries);
    free(runs->run);
    *runs = (struct rs_timing_runs){0};
}

/* ---- One recording ---- */

static void label(const struct rs_timing_entry *n, char *buf, size_t size)
{
    if (n->chunk >= 0)
        snprintf(buf, size, "%s %d", n->stage, n->chunk);
    else
        snprintf(buf, size, "%s", n->stage);
}

static double end_of(const struct rs_timing_run *run)
{
    double end = 1;
    for (size_t i = 0; i < run->count; i++)
        end = fmax(end, run->entries[i].start_ms + run->entries[i].ms);
    return end;
}

void rs_timing_draw(const struct rs_timing_run *run, int columns, FILE *to)
{
    const int width = columns < 70 ? 20 : columns - 50;
    const double end = end_of(run);
    fprintf(to, "%s: %s, %s, %.0f ms\n", run->name, *run->model ? run->model : "no model", run->backend, end);
    for (size_t i = 0; i < run->count; i++) {
        const struct rs_timing_entry *n = &run->entries[i];
        char name[48];
        int from = (int)(n->start_ms / end * width), bar = (int)lround(n->ms / end * width);
        from = from < 0 ? 0 : from >= width ? width - 1 : from;
        bar = bar < 1 ? 1 : bar > width - from ? width - from : bar;
        label(n, name, sizeof name);
        fprintf(to, "  %-18.18s%*s", name, from, "");
        for (int k = 0; k < bar; k++)
            fputc(n->ms / end * width < 0.5 ? '.' : '#', to);
        fprintf(to, "%*s %10.1f ms  %s\n", width - from - bar, "", n->ms, n->backend);
    }
}

/* ---- Many recordings ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The p-th quantile of the stage's total per recording, over recordings of that backend; NaN if there is none. */
static double stage_quantile(const struct rs_timing_runs *runs, const char *backend, const char *stage, double p, double *room)
{
    size_t count = 0;
    for (size_t i = 0; i < runs->count; i++) {
        const struct rs_timing_run *run = &runs->run[i];
        double sum = 0;
        bool any = false;
        for (size_t k = 0; strcmp(run->backend, backend) == 0 && k < run->count; k++)
            if (strcmp(run->entries[k].stage, stage) == 0) {
                sum += run->entries[k].ms;
                any = true;
            }
        if (any)
            room[count++] = sum;
    }
    if (!count)
        return NAN;
    qsort(room, count, sizeof *room, by_value);
    return room[(size_t)ceil(p * (double)count) - 1];
}

static bool first_of_backend(const struct rs_timing_runs *runs, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(runs->run[k].backend, runs->run[i].backend) == 0)
            return false;
    return true;
}

void rs_timing_compare(const struct rs_timing_runs *runs, FILE *to)
{
    static const char *const stages[] = {"audio_open", "first_sound", "model_open", "features", "encoder", "decoder", "after_stop"};
    double *room = rs_zeroed(runs->count, sizeof *room);
    if (!room)
        return;
    fprintf(to, "%-16s%6s%10s", "backend", "runs", "audio s");
    for (size_t s = 0; s < sizeof stages / sizeof *stages; s++)
        fprintf(to, "%13s", stages[s]);
    fprintf(to, "   (median ms of a recording)\n");
    for (size_t i = 0; i < runs->count; i++) {
        const char *backend = runs->run[i].backend;
        int count = 0;
        double audio = 0;
        if (!first_of_backend(runs, i))
            continue;
        for (size_t k = 0; k < runs->count; k++)
            if (strcmp(runs->run[k].backend, backend) == 0) {
                count++;
                audio += runs->run[k].audio_ms / 1000;
            }
        fprintf(to, "%-16.15s%6d%10.1f", backend, count, audio);
        for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
            const double v = stage_quantile(runs, backend, stages[s], 0.5, room);
            if (isnan(v))
                fprintf(to, "%13s", "-");
            else
                fprintf(to, "%13.1f", v);
        }
        fputc('\n', to);
    }
    free(room);
}

/* ---- SVG ---- */

static void svg_text(const char *s, FILE *to)
{
    for (; *s; s++)
        switch (*s) {
        case '&': fputs("&amp;", to); break;
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        default: if ((unsigned char)*s >= 0x20) fputc(*s, to);
        }
}

static const char *colour(const char *stage)
{
    static const struct { const char *stage, *colour; } table[] = {
        {"recording", "#9bb7d4"}, {"model_open", "#c9a36a"}, {"features", "#7fb285"}, {"encoder", "#4a8f6d"}, {"decoder", "#2f6b52"},
        {"ahead", "#b7a4cf"}, {"after_stop", "#c96a6a"}, {"delivery", "#666666"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(stage, table[i].stage) == 0)
            return table[i].colour;
    return "#8a8f98";
}

static void svg_row(const struct rs_timing_entry *n, double end, double y, FILE *to)
{
    enum { LEFT = 170, WIDTH = 620 };
    char name[48];
    label(n, name, sizeof name);
    fprintf(to, "<text x=\"8\" y=\"%.0f\">", y + 12);
    svg_text(name, to);
    fprintf(to, "</text><rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"14\" fill=\"%s\"/>", LEFT + n->start_ms / end * WIDTH, y,
            fmax(1, n->ms / end * WIDTH), colour(n->stage));
    fprintf(to, "<text x=\"%d\" y=\"%.0f\">%.1f ms, ", LEFT + WIDTH + 12, y + 12, n->ms);
    svg_text(n->backend, to);
    fputs("</text>\n", to);
}

void rs_timing_svg(const struct rs_timing_runs *runs, FILE *to)
{
    double y = 8, height = 16;
    for (size_t i = 0; i < runs->count; i++)
        height += 40 + 18 * (double)runs->run[i].count;
    fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", height);
    for (size_t i = 0; i < runs->count; i++) {
        const struct rs_timing_run *run = &runs->run[i];
        const double end = end_of(run);
        fprintf(to, "<text x=\"8\" y=\"%.0f\" font-weight=\"bold\">", y + 14);
        svg_text(run->name, to);
        fputs(": ", to);
        svg_text(run->model, to);
        fputs(", ", to);
        svg_text(run->backend, to);
        fprintf(to, ", %.0f ms</text>\n", end);
        y += 24;
        for (size_t k = 0; k < run->count; k++, y += 18)
            svg_row(&run->entries[k], end, y, to);
        y += 16;
    }
    fputs("</svg>\n", to);
}
