/* The sources of a PulseAudio server (or PipeWire's stand-in for one), which ALSA's own list leaves out. */
#ifndef RS_PULSE_H
#define RS_PULSE_H

#include <stdbool.h>

struct rs_pulse_source { const char *name, *description; bool is_default, is_monitor; };

/* Calls `found` for each source of the running server; nothing when there is no server, no libpulse or
 * no answer within a second. Never starts a server. `found` returns false to end the listing. */
void rs_pulse_sources(bool (*found)(void *arg, const struct rs_pulse_source *s), void *arg);

#endif
