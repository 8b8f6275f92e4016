/* A short, repeatable run of the fuzz targets (tests/fuzz): damaged copies of the fixtures, which must neither crash
 * nor hang. The long runs are scripts/lint/fuzz. */
#include "containers.h"

#include <sys/resource.h>

#include "../fuzz/open.h"

static uint32_t state = 2463534242u;

static uint32_t chance(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* One to four changes: a byte, an extreme number, a cut, a copied piece. Mostly near the front, where structure is. */
static size_t damage(uint8_t *p, size_t size)
{
    static const uint32_t extremes[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000, 0xff};
    for (uint32_t n = chance() % 4 + 1; n; n--) {
        const size_t reach = chance() % 3 ? (size < 6000 ? size : 6000) : size, at = chance() % reach;
        const uint32_t v = extremes[chance() % 7];
        switch (chance() % 5) {
        case 0: p[at] = (uint8_t)chance(); break;
        case 1: memcpy(p + at, &v, at + 4 <= size ? 4 : size - at); break;
        case 2: p[at] ^= (uint8_t)(1u << chance() % 8); break;
        case 3: memmove(p + at, p + chance() % reach, (size - reach > 64 ? 64 : 1)); break;
        default: if (chance() % 4 == 0) size = at + 1;
        }
    }
    return size;
}

static void target(const char *seed, const char *magic, const char *file, int rounds)
{
    size_t size;
    uint8_t *data = slurp(seed, &size), *copy = malloc(size + 1);
    CHECK(data && copy);
    for (int i = 0; data && copy && i < rounds; i++) {
        memcpy(copy, data, size);
        const size_t n = damage(copy, size);
        if (file)
            fuzz_folder(copy, n, file);
        else
            fuzz_open(copy, n, magic);
    }
    free(data);
    free(copy);
}

static void gguf(void)
{
    target("tests/fixtures/parity/tiny-tdt.gguf", "GGUF", NULL, 400);
    target("tests/fixtures/containers/tiny-ctc-qvac.gguf", "GGUF", NULL, 400);
    target("tests/fixtures/containers/tiny-tdt-transcribe.gguf", "GGUF", NULL, 400);
    target("tests/fixtures/containers/tiny-tdt-crispasr.gguf", "GGUF", NULL, 400);
}

static void ggml_bin(void) { target("tests/fixtures/containers/tiny-tdt-whisper.bin", "lmgg", NULL, 800); }
static void nemo(void) { target("tests/fixtures/containers/tiny-ctc.nemo", "", NULL, 800); }
static void safetensors(void) { target("tests/fixtures/containers/tiny-ctc-hf/model.safetensors", "", NULL, 400); }

static void folder(void)
{
    target("tests/fixtures/containers/tiny-tdt-hf/config.json", "", "config.json", 300);
    target("tests/fixtures/containers/tiny-tdt-hf/tokenizer.json", "", "tokenizer.json", 300);
    target("tests/fixtures/containers/tiny-ctc-hf/model.safetensors", "", "model.safetensors", 300);
}

/* Whatever a file says, memory stays near the file's own size. */
static void memory_stays_small(void)
{
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    struct rusage use;
    CHECK_INT(getrusage(RUSAGE_SELF, &use), 0);
    printf("  at most %ld MB\n", use.ru_maxrss / 1024);
    CHECK(use.ru_maxrss < 128 * 1024);                /* KiB: the program itself, a file below 1 MB, 64 MB */
#endif
}

int main(void)
{
    RUN(gguf);
    RUN(ggml_bin);
    RUN(nemo);
    RUN(safetensors);
    RUN(folder);
    RUN(memory_stays_small);
    return REPORT();
}
