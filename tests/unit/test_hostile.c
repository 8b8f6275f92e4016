/* Hostile .nemo files and Hugging Face folders, made here part by part: cuts at the edge of every structure, lengths
 * that lie, bombs, and names that would lead elsewhere. Each is a sentence, within memory near the file's own size.
 * And what is odd but good (zip64, names without "./") is read. */
#include "containers.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 512, EXTRA = 64 << 10 };    /* KiB that reading may take beyond the file's size */

struct bytes { uint8_t *p; size_t n, cap; };

static void put(struct bytes *b, const void *p, size_t n)
{
    if (b->n + n >= b->cap) {
        b->cap = 2 * b->cap + n + 1;
        b->p = realloc(b->p, b->cap);
        if (!b->p)
            abort();
    }
    if (p)
        memcpy(b->p + b->n, p, n);
    else
        memset(b->p + b->n, 0, n);
    b->n += n;
}

static void put_text(struct bytes *b, const char *s) { put(b, s, strlen(s)); }

static void put_uint(struct bytes *b, uint64_t v, int n)
{
    for (int i = 0; i < n; i++, v >>= 8)
        put(b, &(uint8_t){(uint8_t)v}, 1);
}

/* ---- a .nemo in parts ---- */

struct parts { struct bytes yaml, tokenizer, weights; };

static void sign(uint8_t *h)
{
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
}

static void put_member(struct bytes *tar, const char *name, char kind, struct bytes data, uint64_t said)
{
    uint8_t h[BLOCK] = {0};
    snprintf((char *)h, 100, "%s", name);
    snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)said);
    h[156] = (uint8_t)kind;
    memcpy(h + 257, "ustar", 6);
    sign(h);
    put(tar, h, BLOCK);
    put(tar, data.p, data.n);
    put(tar, NULL, (BLOCK - tar->n % BLOCK) % BLOCK);
}

static struct bytes tar_of(const struct parts *p)
{
    struct bytes t = {0};
    put_member(&t, "model_config.yaml", '0', p->yaml, p->yaml.n);
    put_member(&t, "./0123_tokenizer.model", '0', p->tokenizer, p->tokenizer.n);
    put_member(&t, "./model_weights.ckpt", '0', p->weights, p->weights.n);
    put(&t, NULL, 2 * BLOCK);
    return t;
}

static struct bytes copy_of(const uint8_t *p, size_t n)
{
    struct bytes b = {0};
    put(&b, p, n);
    return b;
}

/* The committed fixture taken apart; every test changes one part. */
static struct parts good(void)
{
    struct parts parts = {0};
    size_t size;
    uint8_t *d = slurp("tests/fixtures/containers/tiny-ctc.nemo", &size);
    CHECK(d != NULL);
    for (size_t at = 0; d && at + BLOCK <= size && d[at];) {
        const size_t n = strtoul((char *)d + at + 124, NULL, 8);
        const char *name = (char *)d + at;
        struct bytes *to = strstr(name, "yaml") ? &parts.yaml : strstr(name, "weights") ? &parts.weights : &parts.tokenizer;
        *to = copy_of(d + at + BLOCK, n);
        at += BLOCK + (n + BLOCK - 1) / BLOCK * BLOCK;
    }
    free(d);
    return parts;
}

static void drop(struct parts *p)
{
    free(p->yaml.p);
    free(p->tokenizer.p);
    free(p->weights.p);
}

/* 0 when it opens, else the code; in a child whose memory is looked at. The file need not be touched again. */
static int open_in_child(const uint8_t *data, size_t size, long *kib)
{
    struct rusage use;
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        struct rs_model *m;
        struct rs_err e = {0};
        alarm(60);                                    /* a hang is a death by signal */
        const int rc = size ? rs_model_open_memory(&m, data, size, "test.nemo", &e) : 0;
        if (rc && !e.msg[0])
            _exit(99);
        if (!rc && size)
            rs_model_close(m);
        _exit(rc ? -rc & 0x7f : 0);
    }
    if (child < 0 || wait4(child, &status, 0, &use) != child || !WIFEXITED(status))
        return -1;
    *kib = use.ru_maxrss;
    return WEXITSTATUS(status);
}

/* Refused in words, in time, and with no more memory than a child that does nothing has, the file's size, and 64 MB. */
static void refuse_bytes(const char *what, struct bytes b)
{
    long idle = 0, used = 0;
    CHECK_INT(open_in_child(NULL, 0, &idle), 0);
    const int code = open_in_child(b.p, b.n, &used);
    if (code <= 0 || code == 99)
        printf("  %s: status %d\n", what, code);
    CHECK(code > 0 && code != 99);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    if (used > idle + (long)(b.n / 1024) + EXTRA)
        printf("  %s: %ld KiB\n", what, used - idle);
    CHECK(used <= idle + (long)(b.n / 1024) + EXTRA);
#endif
    free(b.p);
}

static void refuse(const char *what, struct parts *p)
{
    refuse_bytes(what, tar_of(p));
    drop(p);
}

/* A weights zip that holds this pickle only. */
static void put_record(struct bytes *zip, struct bytes *dir, const char *name, struct bytes data, unsigned method, uint32_t full)
{
    const uint32_t at = (uint32_t)zip->n;
    put_text(zip, "PK\3\4");
    put_uint(zip, 0, 4);
    put_uint(zip, method, 2);
    put(zip, NULL, 8);
    put_uint(zip, data.n, 4);
    put_uint(zip, full, 4);
    put_uint(zip, strlen(name), 2);
    put_uint(zip, 0, 2);
    put_text(zip, name);
    put(zip, data.p, data.n);
    put_text(dir, "PK\1\2");
    put(dir, NULL, 6);
    put_uint(dir, method, 2);
    put(dir, NULL, 8);
    put_uint(dir, data.n, 4);
    put_uint(dir, full, 4);
    put_uint(dir, strlen(name), 2);
    put(dir, NULL, 12);
    put_uint(dir, at, 4);
    put_text(dir, name);
}

static struct bytes finish_zip(struct bytes zip, struct bytes dir, unsigned records)
{
    const size_t start = zip.n;
    put(&zip, dir.p, dir.n);
    put_text(&zip, "PK\5\6");
    put_uint(&zip, 0, 4);
    put_uint(&zip, records, 2);
    put_uint(&zip, records, 2);
    put_uint(&zip, dir.n, 4);
    put_uint(&zip, start, 4);
    put_uint(&zip, 0, 2);
    free(dir.p);
    return zip;
}

static struct parts with_pickle(struct bytes pickle)
{
    struct parts p = good();
    struct bytes zip = {0}, dir = {0}, one = copy_of((const uint8_t *)"\0\0\200\77\0\0\200\77", 8);
    put_record(&zip, &dir, "a/data.pkl", pickle, 0, (uint32_t)pickle.n);
    put_record(&zip, &dir, "a/data/0", one, 0, (uint32_t)one.n);
    free(p.weights.p);
    free(pickle.p);
    free(one.p);
    p.weights = finish_zip(zip, dir, 2);
    return p;
}

/* ---- tests ---- */

static void a_good_one_is_read(void)
{
    struct parts p = good();
    struct bytes t = tar_of(&p);
    long kib;
    CHECK_INT(open_in_child(t.p, t.n, &kib), 0);
    free(t.p);
    drop(&p);
}

/* Where headers, members, records and the table of contents begin and end, and one byte to each side. */
static void cuts_at_every_edge(void)
{
    struct parts p = good();
    struct bytes t = tar_of(&p);
    size_t last = t.n, edges = 0;
    int accepted = 0;
    while (last && !t.p[last - 1])
        last--;
    for (size_t at = 0; at < last; at++) {
        const bool record = at + 4 <= last && t.p[at] == 'P' && t.p[at + 1] == 'K' && t.p[at + 2] < 8 && t.p[at + 3] < 9;
        if (at % BLOCK && !record)
            continue;
        edges++;
        for (size_t n = at ? at - 1 : 0; n <= at + 47 && n < last; n += n < at + 1 ? 1 : 15)
            accepted += !refused(t.p, n);
    }
    CHECK(edges > 500);
    CHECK_INT(accepted, 0);
    free(t.p);
    drop(&p);
}

static void tars_that_lie(void)
{
    static const char *const sizes[] = {"77777777777", "00001000000", "0000000000z"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct parts p = good();
        struct bytes t = tar_of(&p);
        memcpy(t.p + 124, sizes[i], 11);
        sign(t.p);
        refuse_bytes(sizes[i], t);
        drop(&p);
    }
    for (int width = 0; width < 2; width++) {         /* base 256: 2^95, 2^63 */
        struct parts p = good();
        struct bytes t = tar_of(&p);
        memset(t.p + 124, 0, 12);
        t.p[124] = 0x80;
        t.p[width ? 128 : 125] = 0x80;
        sign(t.p);
        refuse_bytes("base 256", t);
        drop(&p);
    }
    struct parts p = good();
    struct bytes twice = {0}, link = {0}, none = {0}, checksum = tar_of(&p);
    put_member(&twice, "model_config.yaml", '0', p.yaml, p.yaml.n);
    put_member(&twice, "../../etc/model_config.yaml", '0', p.yaml, p.yaml.n);
    refuse_bytes("a part twice, by a path to elsewhere", twice);
    put_member(&link, "model_config.yaml", '2', (struct bytes){0}, 0);
    put_member(&link, "/model_weights.ckpt", '1', (struct bytes){0}, 0);
    refuse_bytes("links", link);
    put_member(&none, "readme", '0', p.yaml, p.yaml.n);
    put(&none, NULL, 2 * BLOCK);
    refuse_bytes("no model_config.yaml", none);
    checksum.p[3 * BLOCK] ^= 1;
    checksum.p[0] ^= 1;
    refuse_bytes("a wrong checksum", checksum);
    drop(&p);
}

static void zips_that_lie(void)
{
    static const struct { const char *what; int back; uint32_t value; int bytes; } lies[] = {
        {"directory behind the end", 6, 0xfffffff0, 4}, {"directory in the middle", 6, 7, 4}, {"many records", 12, 0xfffe, 2},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct parts p = good();
        memcpy(p.weights.p + p.weights.n - lies[i].back, &lies[i].value, (size_t)lies[i].bytes);
        refuse(lies[i].what, &p);
    }
    for (int field = 0; field < 3; field++) {         /* packed size, full size, offset */
        struct parts p = good();
        uint32_t start;
        memcpy(&start, p.weights.p + p.weights.n - 6, 4);
        memset(p.weights.p + start + (field == 0 ? 20 : field == 1 ? 24 : 42), 0xee, 4);
        refuse("a record's numbers", &p);
    }
    struct parts p = good();                          /* PyTorch always writes the wide end; here it is looked at */
    memset(p.weights.p + p.weights.n - 6, 0xff, 4);
    memset(p.weights.p + p.weights.n - 34, 0xfe, 8);
    refuse("a wide end that is elsewhere", &p);
    p = good();
    struct bytes zip = {0}, dir = {0}, small = copy_of((const uint8_t *)"\x63\0", 2);
    put_record(&zip, &dir, "a/data.pkl", small, 8, 0xf0000000);
    free(p.weights.p);
    p.weights = finish_zip(zip, dir, 1);
    refuse("a bomb", &p);
    p = good();
    zip = dir = (struct bytes){0};
    for (int i = 0; i < 60000; i++)
        put_record(&zip, &dir, "a/data/0", small, 0, (uint32_t)small.n);
    free(p.weights.p);
    p.weights = finish_zip(zip, dir, 60000);
    refuse("one name many times, and no pickle", &p);
    free(small.p);
}

/* The same weights with every number of the directory in its wide place. */
static void zip64_is_read(void)
{
    struct parts p = good();
    uint8_t *z = p.weights.p;
    uint32_t start;
    uint16_t count;
    long kib;
    memcpy(&start, z + p.weights.n - 6, 4);
    memcpy(&count, z + p.weights.n - 12, 2);
    CHECK(memcmp(z + p.weights.n - 22, "PK\5\6", 4) == 0 && count > 10);
    struct bytes wide = copy_of(z, start);
    size_t at = start;
    for (int i = 0; i < count; i++) {
        uint32_t packed, full, offset;
        uint16_t name, extra, comment;
        memcpy(&packed, z + at + 20, 4);
        memcpy(&full, z + at + 24, 4);
        memcpy(&name, z + at + 28, 2);
        memcpy(&extra, z + at + 30, 2);
        memcpy(&comment, z + at + 32, 2);
        memcpy(&offset, z + at + 42, 4);
        put(&wide, z + at, 20);
        put_uint(&wide, UINT64_MAX, 8);
        put_uint(&wide, name, 2);
        put_uint(&wide, 28, 2);
        put(&wide, NULL, 10);
        put_uint(&wide, UINT32_MAX, 4);
        put(&wide, z + at + 46, name);
        put_uint(&wide, 1 | 24 << 16, 4);
        put_uint(&wide, full, 8);
        put_uint(&wide, packed, 8);
        put_uint(&wide, offset, 8);
        at += 46u + name + extra + comment;
    }
    const size_t end = wide.n;
    put_text(&wide, "PK\6\6");
    put_uint(&wide, 44, 8);
    put(&wide, NULL, 12);
    put_uint(&wide, count, 8);
    put_uint(&wide, count, 8);
    put_uint(&wide, end - start, 8);
    put_uint(&wide, start, 8);
    put_text(&wide, "PK\6\7");
    put_uint(&wide, 0, 4);
    put_uint(&wide, end, 8);
    put_uint(&wide, 1, 4);
    put_text(&wide, "PK\5\6");
    put_uint(&wide, 0, 4);
    put_uint(&wide, UINT64_MAX, 8);
    put_uint(&wide, UINT64_MAX, 4);
    put_uint(&wide, 0, 2);
    free(z);
    p.weights = wide;
    struct bytes t = tar_of(&p);
    CHECK_INT(open_in_child(t.p, t.n, &kib), 0);
    struct rs_model *a = NULL, *b = NULL;
    struct rs_err e = {0};
    CHECK_INT(rs_model_open_memory(&a, t.p, t.n, "wide", &e), 0);
    CHECK_INT(rs_model_open(&b, "tests/fixtures/parity/tiny-ctc.gguf", &e), 0);
    for (size_t i = 0; a && b && i < b->n_tensors; i++) {
        const struct rs_tensor *x = rs_model_find(a, b->tensors[i].name);
        CHECK(x && x->bytes == b->tensors[i].bytes && memcmp(x->data, b->tensors[i].data, x->bytes) == 0);
    }
    rs_model_close(a);
    rs_model_close(b);
    free(t.p);
    for (size_t back = 1; back <= 98; back++) {       /* cuts within the wide end */
        struct parts cut = {copy_of(p.yaml.p, p.yaml.n), copy_of(p.tokenizer.p, p.tokenizer.n), copy_of(wide.p, wide.n - back)};
        struct bytes c = tar_of(&cut);
        CHECK(refused(c.p, c.n));
        free(c.p);
        drop(&cut);
    }
    drop(&p);
}

#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define STORAGE "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" "0X\3\0\0\0cpuK\2tQ"

static void put_tensor(struct bytes *b, const char *name, uint32_t rows, uint32_t offset)
{
    put_text(b, "X");
    put_uint(b, strlen(name), 4);
    put_text(b, name);
    put_text(b, REBUILD);
    put(b, STORAGE, sizeof STORAGE - 1);
    put_text(b, "J");
    put_uint(b, offset, 4);
    put_text(b, "J");
    put_uint(b, rows, 4);
    put(b, "\x85K\1\x85\x89}tR", 8);
}

static void pickles_that_lie(void)
{
    static const struct { uint32_t rows, offset; const char *name; } bad[] = {
        {3, 0, "a"}, {2, 1, "a"}, {0x7fffffff, 0, "a"}, {0xffffffff, 0, "a"}, {0, 0, "a"}, {2, 0xffffffff, "a"}, {2, 0x7fffffff, "a"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes b = {0};
        put(&b, "\x80\2}(", 4);
        put_tensor(&b, bad[i].name, bad[i].rows, bad[i].offset);
        put_text(&b, "u.");
        struct parts p = with_pickle(b);
        refuse("a tensor beyond its storage", &p);
    }
    struct bytes b = {0};
    put(&b, "\x80\2}(", 4);
    put_tensor(&b, "a", 2, 0);
    put_tensor(&b, "a", 2, 0);
    put_text(&b, "u.");
    struct parts p = with_pickle(b);
    refuse("a name twice", &p);
    b = (struct bytes){0};
    put(&b, "\x80\2}(", 4);
    for (int i = 0; i < 40000; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        put_tensor(&b, name, 2, 0);
    }
    put_text(&b, "u.");
    p = with_pickle(b);
    refuse("40000 tensors on one value", &p);
}

static void pickles_without_end(void)
{
    static const struct { const char *what, *start, *again; int start_len, len; } loops[] = {
        {"a dictionary in itself", "\x80\2}q\0", "h\0h\0s", 5, 5}, {"a list in itself", "\x80\2]q\0", "h\0a", 5, 3},
        {"a tuple in a tuple", "\x80\2)", "\x85q\0", 3, 3}, {"marks", "\x80\2", "(", 2, 1}, {"references", "\x80\2}q\0", "h\0", 5, 2},
        {"tuples of references", "\x80\2}q\0", "h\0h\0h\0\x87", 5, 7}, {"a large memo", "\x80\2}", "r\xff\xff\3\0", 3, 5},
    };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        struct bytes b = {0};
        put(&b, loops[i].start, (size_t)loops[i].start_len);
        for (int k = 0; k < 1000000; k++)
            put(&b, loops[i].again, (size_t)loops[i].len);
        put_text(&b, ".");
        struct parts p = with_pickle(b);
        refuse(loops[i].what, &p);
    }
}

static void repeat(struct bytes *b, const char *s, size_t n)
{
    free(b->p);
    *b = (struct bytes){0};
    for (size_t i = 0; i < n; i++)
        put_text(b, s);
}

static void yaml_that_grows(void)
{
    static const struct { const char *piece; size_t n; } bad[] = {
        {"[", 1000000}, {"{a: ", 500000}, {"- ", 1000000}, {"? ", 500000}, {"\t", 100}, {"a: &a [*a]\n", 1}, {"\xff", 100}, {"a: b\n", 2000000},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct parts p = good();
        repeat(&p.yaml, bad[i].piece, bad[i].n);
        refuse(bad[i].piece, &p);
    }
    struct parts p = good();
    repeat(&p.yaml, "x", 0);
    put_text(&p.yaml, "encoder: {att_context_style: chunked_limited}\n");
    refuse("a streaming model", &p);
}

static void tokenizers_that_lie(void)
{
    static const struct { const char *piece; int len; size_t n; } bad[] = {
        {"\n\0", 2, 2000000}, {"\xff", 1, 100}, {"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11, 1}, {"\n\5\n\xff", 4, 1}, {"\x0b", 1, 10},
        {"\n\3\n\1a", 5, 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct parts p = good();
        repeat(&p.tokenizer, "", 0);
        for (size_t k = 0; k < bad[i].n; k++)
            put(&p.tokenizer, bad[i].piece, (size_t)bad[i].len);
        refuse("a tokenizer", &p);
    }
}

/* safetensors headers that would become far more than they are. */
static void headers_that_grow(void)
{
    static const struct { const char *head, *piece, *tail; size_t n; } bad[] = {
        {"{\"a\":[", "[],", "0]}", 2000000}, {"{\"a\":[", "{},", "0]}", 2000000}, {"{\"a\":", "[", "", 1000000},
        {"{\"a\":[", "1,", "0]}", 3000000}, {"{\"a\":\"", "xxxxxxxxxxxxxxxx", "\"}", 400000}, {"{", "\"a\":0,", "\"a\":1}", 1000000},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes text = {0}, b = {0};
        put_text(&text, bad[i].head);
        for (size_t k = 0; k < bad[i].n; k++)
            put_text(&text, bad[i].piece);
        put_text(&text, bad[i].tail);
        put_uint(&b, text.n, 8);
        put(&b, text.p, text.n);
        free(text.p);
        refuse_bytes(bad[i].piece, b);
    }
}

/* Many names for one place that does not suit its type: each would be copied. */
static void tensors_in_one_place(void)
{
    struct bytes text = {0}, b = {0};
    put_text(&text, "{\"lstm_cell.weight_ih\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}");
    for (int i = 0; i < 1000; i++) {
        char entry[120];
        snprintf(entry, sizeof entry, ",\"t%d\":{\"dtype\":\"F32\",\"shape\":[1000000],\"data_offsets\":[5,4000005]}", i);
        put_text(&text, entry);
    }
    put_text(&text, "}");
    put_uint(&b, text.n, 8);
    put(&b, text.p, text.n);
    put(&b, NULL, 4000005);
    free(text.p);
    refuse_bytes("a thousand tensors in one place", b);
}

int main(void)
{
    RUN(a_good_one_is_read);
    RUN(cuts_at_every_edge);
    RUN(tars_that_lie);
    RUN(zips_that_lie);
    RUN(zip64_is_read);
    RUN(pickles_that_lie);
    RUN(pickles_without_end);
    RUN(yaml_that_grows);
    RUN(tokenizers_that_lie);
    RUN(headers_that_grow);
    RUN(tensors_in_one_place);
    return REPORT();
}
