/* Reads a source as the recorder does and writes its 16 kHz samples (f32) to stdout; facts and notes go
 * to stderr, one a line. Usage: samples [-d DEVICE | -f FILE [-r RATE,CHANNELS,ENCODING] [-p]] [-s SECONDS]
 * [-t TAIL_MS] [-w MS]. -s stops after so many seconds of the clock, -p paces a file, -w sleeps that long
 * between reads (a slow reader). Exit status 0, or the code's. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audio/source.h"
#include "base/clock.h"

static const char *const kinds[] = {"first_sound", "overrun", "suspended", "silent", "stalled", "truncated", "bad_samples"};

static void notes(struct rs_source *s)
{
    struct rs_note n;
    while (rs_source_note(s, &n))
        fprintf(stderr, "note %s at %.4f ms %.1f after %.1f: %s\n", kinds[n.kind], n.at, n.ms,
                rs_ms(n.at_ns - rs_process_start_ns()), n.text);
}

static int fail(const struct rs_err *e)
{
    fprintf(stderr, "error %s: %s\n", rs_code_word(e->code), e->msg);
    return rs_exit_status(e->code);
}

static int run(struct rs_source *s, int64_t begin, double seconds, int tail_ms, int sleep_ms)
{
    static float block[16000];
    struct rs_err e = {0};
    const int64_t end = begin + (int64_t)(seconds * 1e9);
    bool stopped = false, told = false;
    for (;;) {
        struct pollfd p = {.fd = rs_source_fd(s), .events = POLLIN};
        if (poll(&p, 1, 50) < 0 && errno != EINTR)
            return 1;
        if (seconds >= 0 && !stopped && rs_now_ns() >= end) {
            rs_source_stop(s, tail_ms);
            stopped = true;
        }
        if (!p.revents)
            continue;
        size_t got;
        const int state = rs_source_read(s, block, 16000, &got, &e);
        fwrite(block, sizeof *block, got, stdout);
        fflush(stdout);
        if (got && !told) {
            fprintf(stderr, "first_read after %.1f\n", rs_ms(rs_now_ns() - rs_process_start_ns()));
            told = true;
        }
        notes(s);
        if (state < 0)
            return fail(&e);
        if (state == RS_SOURCE_END)
            return 0;
        if (sleep_ms)
            usleep((useconds_t)sleep_ms * 1000);
    }
}

int main(int argc, char **argv)
{
    const char *device = NULL, *file = NULL;
    struct rs_raw_format raw = {0};
    char encoding[16];
    bool paced = false;
    double seconds = -1;
    int tail_ms = 0, sleep_ms = 0, o;
    rs_clock_init();
    while ((o = getopt(argc, argv, "d:f:r:ps:t:w:")) != -1)
        switch (o) {
        case 'd': device = optarg; break;
        case 'f': file = optarg; break;
        case 'r':
            if (sscanf(optarg, "%d,%d,%15s", &raw.rate, &raw.channels, encoding) == 3)
                raw.encoding = encoding;
            break;
        case 'p': paced = true; break;
        case 's': seconds = atof(optarg); break;
        case 't': tail_ms = atoi(optarg); break;
        case 'w': sleep_ms = atoi(optarg); break;
        default: return 2;
        }
    const int64_t begin = rs_now_ns();
    struct rs_source *s;
    struct rs_err e = {0};
    if (file ? rs_source_file(&s, file, raw.encoding ? &raw : NULL, paced, &e) : rs_source_microphone(&s, device, &e))
        return fail(&e);
    const struct rs_source_info *f = rs_source_facts(s);
    fprintf(stderr, "open '%s' %s rate %d channels %d period %.1f buffer %.1f frames %lld after %.1f\n", f->device, f->format, f->rate,
            f->channels, f->period_ms, f->buffer_ms, (long long)f->frames, rs_ms(rs_now_ns() - rs_process_start_ns()));
    const int status = run(s, begin, seconds, tail_ms, sleep_ms);
    struct rs_loss loss;
    struct rusage u;
    rs_source_account(s, &loss);
    getrusage(RUSAGE_SELF, &u);
    fprintf(stderr, "account frames %lld overruns %d lost_ms %.1f tail_ms %.1f rss_kb %ld cpu_ms %.0f\n", (long long)loss.captured_frames,
            loss.overruns, loss.lost_ms, loss.tail_ms, u.ru_maxrss, 1e3 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
            1e-3 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec));
    rs_source_close(s);
    return status;
}
