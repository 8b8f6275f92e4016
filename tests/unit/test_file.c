/* Files and pipes: every header that the world writes, the same samples from a file and from a pipe, pacing,
 * and no crash on any damaged header. */
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sndfile.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "audio/source.h"
#include "base/clock.h"

static char path[64];
static uint8_t wav[1 << 20];
static size_t wav_size;
static float out[2000000];
static struct rs_note notes[64];
static int n_notes;
static size_t first_piece = 5000;
static struct rs_err err;

static void put(uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        wav[wav_size++] = (uint8_t)(v >> (8 * i));
}

static void word(const char *four)
{
    memcpy(wav + wav_size, four, 4);
    wav_size += 4;
}

/* A WAV file of `frames` 16-bit frames, frame i holding i; the header speaks of `said` bytes of samples. */
static void make_wav(unsigned rate, unsigned channels, unsigned frames, uint32_t said, bool list_first)
{
    wav_size = 0;
    word("RIFF"), put(36 + said, 4), word("WAVE"), word("fmt "), put(16, 4), put(1, 2), put(channels, 2), put(rate, 4);
    put((uint64_t)rate * channels * 2, 4), put(channels * 2, 2), put(16, 2);
    if (list_first) {
        word("LIST"), put(3000, 4);
        memset(wav + wav_size, 'x', 3000);
        wav_size += 3000;
    }
    word("data"), put(said, 4);
    for (unsigned i = 0; i < frames * channels; i++)
        put(i / channels & 0x7fff, 2);
}

static void *writer(void *arg)
{
    const int fd = *(int *)arg;
    for (size_t done = 0; done < wav_size;) {
        const size_t piece = done ? 5000 : first_piece, n = wav_size - done < piece ? wav_size - done : piece;
        const ssize_t w = write(fd, wav + done, n);
        if (w <= 0)
            break;
        if (piece < 4)
            usleep(100000);
        done += (size_t)w;
    }
    close(fd);
    return NULL;
}

/* Reads a source to its end; the samples, or the (negative) error. */
static long drain(struct rs_source *s)
{
    size_t got, all = 0;
    int state = RS_SOURCE_MORE;
    n_notes = 0;
    while (state == RS_SOURCE_MORE) {
        struct pollfd p = {.fd = rs_source_fd(s), .events = POLLIN};
        if (poll(&p, 1, 5000) != 1)
            return -1000;
        state = rs_source_read(s, out + all, sizeof out / sizeof *out - all, &got, &err);
        all += got;
        while (n_notes < 64 && rs_source_note(s, &notes[n_notes]))
            n_notes++;
    }
    rs_source_close(s);
    return state < 0 ? state : (long)all;
}

static long read_file(const struct rs_raw_format *raw)
{
    struct rs_source *s;
    err = (struct rs_err){0};
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || write(fd, wav, wav_size) != (ssize_t)wav_size)
        return -2000;
    close(fd);
    const int rc = rs_source_file(&s, path, raw, false, &err);
    return rc ? rc : drain(s);
}

static long read_pipe(const struct rs_raw_format *raw)
{
    struct rs_source *s;
    int p[2];
    char name[32];
    pthread_t t;
    err = (struct rs_err){0};
    if (pipe(p))
        return -2000;
    snprintf(name, sizeof name, "/dev/fd/%d", p[0]);
    const int rc = rs_source_file(&s, name, raw, false, &err);
    if (rc)
        return rc;
    close(p[0]);
    pthread_create(&t, NULL, writer, &p[1]);
    const long got = drain(s);
    pthread_join(t, NULL);
    return got;
}

static bool noted(enum rs_note_kind kind)
{
    for (int i = 0; i < n_notes; i++)
        if (notes[i].kind == kind)
            return true;
    return false;
}

static bool counts(long n)
{
    for (long i = 0; i < n; i++)
        if (out[i] != (float)(i & 0x7fff) / 32768.0f)
            return false;
    return true;
}

static void file_and_pipe_give_the_same(void)
{
    for (int list = 0; list < 2; list++) {
        make_wav(16000, 1, 100000, 200000, list);
        CHECK_INT(read_file(NULL), 100000);
        CHECK(counts(100000) && !noted(RS_NOTE_TRUNCATED));
        CHECK_INT(read_pipe(NULL), 100000);
        CHECK(counts(100000) && !noted(RS_NOTE_TRUNCATED));
    }
}

/* An MP3 behind a tag of 400 kB, out of a pipe that begins with a byte or two. */
static void a_pipe_that_begins_slowly(void)
{
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    const uint8_t tag[10] = {'I', 'D', '3', 3, 0, 0, 0, 24, 53, 0};
    if (!sf_format_check(&info)) {
        printf("skip libsndfile writes no MP3\n");
        return;
    }
    for (int i = 0; i < 32000; i++)
        out[i] = 0.3f * sinf(0.1f * (float)i);
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    CHECK(f && sf_writef_float(f, out, 32000) == 32000);
    sf_close(f);
    memset(wav, 0, sizeof wav);
    memcpy(wav, tag, sizeof tag);
    const int fd = open(path, O_RDONLY);
    const ssize_t n = read(fd, wav + 400010, sizeof wav - 400010);
    CHECK(fd >= 0 && n > 1000);
    close(fd);
    wav_size = 400010 + (size_t)(n > 0 ? n : 0);
    for (first_piece = 1; first_piece < 6; first_piece++)
        CHECK(read_pipe(NULL) >= 32000);
    first_piece = 5000;
}

static void streaming_headers(void)
{
    static const uint32_t sizes[] = {0xffffffff, 0x7fffffff, 0x7ffff000, 0x80000000};
    for (size_t i = 0; i < 4; i++) {
        make_wav(16000, 1, 50000, sizes[i], false);
        CHECK_INT(read_pipe(NULL), 50000);
        CHECK(counts(50000) && !noted(RS_NOTE_TRUNCATED));
        CHECK_INT(read_file(NULL), 50000);
        CHECK(counts(50000) && !noted(RS_NOTE_TRUNCATED));
    }
}

static void truncated_is_told(void)
{
    make_wav(16000, 1, 30000, 100000, false);
    CHECK_INT(read_file(NULL), 30000);
    CHECK(noted(RS_NOTE_TRUNCATED));
    CHECK_INT(read_pipe(NULL), 30000);
    CHECK(noted(RS_NOTE_TRUNCATED) && counts(30000));
}

static void short_ones(void)
{
    for (unsigned n = 0; n < 3; n++) {
        make_wav(16000, 1, n, n * 2, false);
        CHECK_INT(read_file(NULL), n);
        CHECK_INT(read_pipe(NULL), n);
        make_wav(48000, 2, n, n * 4, false);
        CHECK(read_file(NULL) <= 1);
    }
    wav_size = 0;
    CHECK_INT(read_file(NULL), -RS_E_AUDIO_FILE);
    CHECK_INT(read_pipe(NULL), -RS_E_AUDIO_FILE);
}

static void raw_samples(void)
{
    wav_size = 0;
    for (unsigned i = 0; i < 20000; i++)
        put(i & 0x7fff, 2);
    put(7, 1);                                /* half a sample */
    CHECK_INT(read_file(&(struct rs_raw_format){16000, 1, "s16le"}), 20000);
    CHECK(counts(20000));
    CHECK_INT(read_pipe(&(struct rs_raw_format){16000, 1, "s16le"}), 20000);
    CHECK(counts(20000));
    CHECK_INT(read_pipe(&(struct rs_raw_format){16000, 1, "s12le"}), -RS_E_USAGE);
    CHECK_INT(read_pipe(&(struct rs_raw_format){0, 1, "s16le"}), -RS_E_USAGE);
    wav_size = 0;
    const float odd[4] = {0.25f, NAN, INFINITY, -0.5f};
    memcpy(wav, odd, sizeof odd);
    wav_size = sizeof odd;
    CHECK_INT(read_pipe(&(struct rs_raw_format){16000, 1, "f32le"}), 4);
    CHECK(out[0] == 0.25f && out[1] == 0 && out[2] == 0 && out[3] == -0.5f && noted(RS_NOTE_BAD_SAMPLES));
}

static void refused_with_a_sentence(void)
{
    struct rs_source *s;
    CHECK(rs_source_file(&s, "/nonexistent/a.wav", NULL, false, &err) < 0 && s == NULL);
    err = (struct rs_err){0};
    CHECK_INT(rs_source_file(&s, "/", NULL, false, &err), -RS_E_AUDIO_FILE);
    CHECK(strstr(err.msg, "folder") != NULL);
    memcpy(wav, "This is a text and no sound at all.", 36);
    wav_size = 36;
    CHECK_INT(read_file(NULL), -RS_E_AUDIO_FILE);
    CHECK(strstr(err.msg, "ffmpeg") != NULL);
    CHECK_INT(read_pipe(NULL), -RS_E_AUDIO_FILE);
    make_wav(0, 1, 100, 200, false);
    CHECK(read_file(NULL) < 0);
    make_wav(1000000000, 1, 100, 200, false);
    CHECK(read_file(NULL) < 0);
    make_wav(16000, 0, 100, 200, false);
    CHECK(read_file(NULL) < 0);
}

/* Flips, cuts and doubles bytes of headers; whatever comes, reading ends. */
static void damaged_headers(void)
{
    unsigned seed = 11;
    for (int round = 0; round < 400; round++) {
        make_wav(16000, 1 + (unsigned)round % 2, 300, 600, round % 3 == 0);
        for (int k = rand_r(&seed) % 6; k >= 0; k--)
            wav[(size_t)rand_r(&seed) % 60] = (uint8_t)rand_r(&seed);
        if (round % 4 == 0)
            wav_size = (size_t)rand_r(&seed) % wav_size;
        CHECK(read_file(NULL) != -1000);
        CHECK(read_pipe(NULL) != -1000);
    }
}

static void paced_by_the_clock(void)
{
    struct rs_source *s;
    size_t got;
    make_wav(16000, 1, 16000, 32000, false);
    CHECK_INT(read_file(NULL), 16000);
    CHECK_INT(rs_source_file(&s, path, NULL, true, &err), 0);
    CHECK_INT(rs_source_read(s, out, 16000, &got, &err), RS_SOURCE_MORE);
    CHECK(got < 15000);                       /* a second has not passed */
    rs_source_stop(s, 0);
    const long rest = drain(s);
    CHECK(rest >= 0 && got + (size_t)rest < 16000);
}

static void stop_ends_a_pipe_that_does_not(void)
{
    struct rs_source *s;
    int p[2];
    char name[32];
    CHECK_INT(pipe(p), 0);
    snprintf(name, sizeof name, "/dev/fd/%d", p[0]);
    CHECK_INT(rs_source_file(&s, name, &(struct rs_raw_format){16000, 1, "s16le"}, false, &err), 0);
    CHECK_INT(write(p[1], wav, 2000), 2000);
    rs_source_stop(s, 100);
    const int64_t begin = rs_now_ns();
    CHECK_INT(drain(s), 1000);
    CHECK(rs_ms(rs_now_ns() - begin) >= 99);
    close(p[0]);
    close(p[1]);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/rec-stt-test-%d.wav", getpid());
    RUN(file_and_pipe_give_the_same);
    RUN(a_pipe_that_begins_slowly);
    RUN(streaming_headers);
    RUN(truncated_is_told);
    RUN(short_ones);
    RUN(raw_samples);
    RUN(refused_with_a_sentence);
    RUN(damaged_headers);
    RUN(paced_by_the_clock);
    RUN(stop_ends_a_pipe_that_does_not);
    unlink(path);
    return REPORT();
}
