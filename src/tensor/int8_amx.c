/* int8 GEMM on AMX tiles: 32 rows by 32 outputs at once in four accumulator tiles, so that each tile loaded is
 * used twice. k goes in chunks: a chunk of a pair of panels (32 outputs) stays in L1 while 192 rows meet it, whose
 * sums wait in memory for the next chunk. The next pair is meanwhile fetched, so that weights stream from memory
 * once.
 *
 * Tiles 0-3 sums, 4-5 rows, 6-7 weights. Fewer rows than 16 need no tiles of their own height: rows are
 * padded in memory and never stored.
 */
#include <immintrin.h>

#define WIDTH 64
#include "tensor/int8_finish.h"

#define CHUNK 512             /* of k: 16 kB of panels, beside as much of rows that pass through */
#define GROUP 6               /* blocks of 32 rows whose sums wait at once: 24 kB */
#define PAGE 4096

static void configure(void)
{
    _Alignas(64) uint8_t config[64] = {1};
    for (int t = 0; t < 8; t++) {
        config[16 + 2 * t] = 64;
        config[48 + t] = 16;
    }
    /* GCC 12 declares that ldtilecfg reads 8 bytes only and would drop the other stores. */
    __asm__ volatile("" : : "r"(config) : "memory");
    _tile_loadconfig(config);
}

/* The next pair of panels, fetched into L2 while this one is in use: one line of each of its pages in turn, which
 * a core has more of in flight than lines in sequence. */
struct ahead { const char *at; ptrdiff_t pages, page, line; };

static struct ahead ahead_of(const struct rs_int8_job *j, int col)
{
    const bool there = col + 64 <= j->n;
    return (struct ahead){(const char *)j->panel + (ptrdiff_t)(col + 32) * j->kpad, there ? (ptrdiff_t)32 * j->kpad / PAGE : 0, 0, 0};
}

static inline void fetch(struct ahead *p, int lines)
{
    for (int i = 0; i < lines && p->line < PAGE; i++) {
        if (p->page < p->pages)
            __builtin_prefetch(p->at + p->page * PAGE + p->line, 0, 2);
        if (++p->page >= p->pages) {
            p->page = 0;
            p->line += 64;
        }
    }
}

/* Adds `tiles` tiles along k to the sums of two tiles of rows by two panels. The rows come from L2 with a hint
 * not to keep them, so that the panels, which all rows meet, stay in L1. */
static inline __attribute__((always_inline)) void block_2x2(const int8_t *a0, const int8_t *a1, const int8_t *w0,
                                                            const int8_t *w1, int tiles, struct ahead *p, int lines)
{
    for (int t = 0; t < tiles; t++) {
        _tile_stream_loadd(4, a0 + t * RS_TILE, 64);
        _tile_stream_loadd(5, a1 + t * RS_TILE, 64);
        _tile_loadd(6, w0 + t * RS_TILE, 64);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 5, 6);
        _tile_loadd(7, w1 + t * RS_TILE, 64);
        _tile_dpbsud(2, 4, 7);
        _tile_dpbsud(3, 5, 7);
        fetch(p, lines);
    }
}

static inline __attribute__((always_inline)) void block_1x2(const int8_t *a0, const int8_t *w0, const int8_t *w1, int tiles)
{
    for (int t = 0; t < tiles; t++) {
        _tile_stream_loadd(4, a0 + t * RS_TILE, 64);
        _tile_loadd(6, w0 + t * RS_TILE, 64);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(7, w1 + t * RS_TILE, 64);
        _tile_dpbsud(2, 4, 7);
    }
}

typedef int32_t block_sums[4][256];       /* rows 0 and 1 of panel 0, then of panel 1 */

static void block(const struct rs_int8_job *j, int row, int chunk, const int8_t *w0, const int8_t *w1, struct ahead *p, int lines,
                  block_sums *sums)
{
    const bool two = row + 16 < j->m;
    const int left = (j->kpad - chunk) / 64, tiles = left < CHUNK / 64 ? left : CHUNK / 64;
    const ptrdiff_t at = (ptrdiff_t)chunk * 16;
    const int8_t *a0 = rs_int8_row(j, row) + at, *a1 = a0 + (ptrdiff_t)16 * j->kpad;
    if (chunk) {
        _tile_loadd(0, (*sums)[0], 64);
        _tile_loadd(1, (*sums)[1], 64);
        _tile_loadd(2, (*sums)[2], 64);
        _tile_loadd(3, (*sums)[3], 64);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (two)
        block_2x2(a0, a1, w0 + at, w1 + at, tiles, p, lines);
    else
        block_1x2(a0, w0 + at, w1 + at, tiles);
    _tile_stored(0, (*sums)[0], 64);
    _tile_stored(1, (*sums)[1], 64);
    _tile_stored(2, (*sums)[2], 64);
    _tile_stored(3, (*sums)[3], 64);
}

static void finish_block(const struct rs_int8_job *j, int row, int col, const block_sums *sums)
{
    for (int i = 0; i < 4; i++) {
        const int first = row + i % 2 * 16, at = col + i / 2 * 16, rows = j->m - first < 16 ? j->m - first : 16;
        if (rows > 0 && at < j->n)
            finish_tile(j, (*sums)[i], first, rows, at);
    }
}

/* Columns col… of a pair of panels; an odd last panel is met twice and its second result not stored. */
static void panels(const struct rs_int8_job *j, int col)
{
    _Alignas(64) block_sums sums[GROUP];
    const bool two = col + 16 < j->n;
    const int8_t *w0 = j->panel + (ptrdiff_t)col * j->kpad, *w1 = two ? w0 + (ptrdiff_t)16 * j->kpad : w0;
    struct ahead p = ahead_of(j, col);
    const int blocks = (j->m + 31) / 32, lines = (32 + blocks - 1) / blocks;
    for (int first = 0; first < j->m; first += 32 * GROUP) {
        const int end = first + 32 * GROUP < j->m ? first + 32 * GROUP : j->m;
        for (int chunk = 0; chunk < j->kpad; chunk += CHUNK)
            for (int row = first; row < end; row += 32)
                block(j, row, chunk, w0, w1, &p, lines, &sums[(row - first) / 32]);
        for (int row = first; row < end; row += 32)
            finish_block(j, row, col, (const block_sums *)&sums[(row - first) / 32]);
    }
}

void rs_int8_columns_amx(const struct rs_int8_job *j, int from, int to)
{
    if (j->m < 8) {           /* few rows leave most of a tile empty */
        rs_int8_columns_vnni(j, from, to);
        return;
    }
    configure();
    for (int col = from; col < to; col += 32)
        panels(j, col);
    _tile_release();
}
