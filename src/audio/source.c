/* The interface of source.h: dispatch to the microphone or the file, and the queue of notes. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audio/source_impl.h"

void rs_source_tell(struct rs_source *s, enum rs_note_kind kind, int64_t frame, double ms, int64_t at_ns, const char *fmt, ...)
{
    struct rs_note *n;
    if (s->note_count == RS_NOTES) {
        n = &s->notes[(s->note_first + RS_NOTES - 1) % RS_NOTES];
        if (n->kind == kind)
            n->ms += ms;
        return;
    }
    n = &s->notes[(s->note_first + s->note_count++) % RS_NOTES];
    *n = (struct rs_note){.kind = kind, .at = s->info.rate ? (double)frame / s->info.rate : 0, .ms = ms, .at_ns = at_ns};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n->text, sizeof n->text, fmt, ap);
    va_end(ap);
}

void rs_source_observe(struct rs_source *s, int64_t at_ns)
{
    const struct rs_mix_facts *f = rs_mix_facts(s->mix);
    if (!s->sound_seen && f->first_sound >= 0) {
        s->sound_seen = true;
        rs_source_tell(s, RS_NOTE_FIRST_SOUND, f->first_sound, 0, at_ns, "The first sound arrived.");
    }
    if (f->zero_run == 0)
        s->silence_told = false;
    else if (!s->silence_told && f->zero_run > s->info.rate) {
        s->silence_told = true;
        rs_source_tell(s, RS_NOTE_SILENT, f->frames - f->zero_run, rs_source_ms(s, f->zero_run), at_ns,
                       "'%.100s' gives exact zeros: it is muted, or a headset that still wakes up.", s->info.device);
    }
    if (f->bad_samples > s->bad_told) {
        const int64_t fresh = f->bad_samples - s->bad_told;
        s->bad_told = f->bad_samples;
        rs_source_tell(s, RS_NOTE_BAD_SAMPLES, f->frames, rs_source_ms(s, fresh) / s->info.channels, at_ns,
                       "%lld samples were not numbers or infinite and count as silence.", (long long)fresh);
    }
}

void rs_source_close(struct rs_source *s)
{
    if (s)
        s->ops->close(s);
}

const struct rs_source_info *rs_source_facts(const struct rs_source *s) { return &s->info; }
int rs_source_fd(const struct rs_source *s) { return s->fd; }

void rs_source_relax(struct rs_source *s, bool relaxed)
{
    if (s->ops->relax)
        s->ops->relax(s, relaxed);
}

void rs_source_stop(struct rs_source *s, int tail_ms) { s->ops->stop(s, tail_ms < 0 ? 0 : tail_ms); }
void rs_source_account(const struct rs_source *s, struct rs_loss *loss) { s->ops->account(s, loss); }

int rs_source_read(struct rs_source *s, float *out, size_t max, size_t *got, struct rs_err *e)
{
    *got = 0;
    return s->ops->read(s, out, max, got, e);
}

bool rs_source_note(struct rs_source *s, struct rs_note *note)
{
    if (!s->note_count)
        return false;
    *note = s->notes[s->note_first];
    s->note_first = (s->note_first + 1) % RS_NOTES;
    s->note_count--;
    return true;
}
