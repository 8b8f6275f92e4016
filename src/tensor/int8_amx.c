/* int8 GEMM on AMX tiles: 32 rows by 32 outputs at once in four accumulator tiles, over the whole of k, so
 * that each tile loaded is used twice. One panel pair (32 outputs) meets all rows before the next; that
 * one is meanwhile prefetched, a share per block of rows, so that weights stream from memory once.
 *
 * Tiles 0-3 sums, 4-5 rows, 6-7 weights. Fewer rows than 16 need no tiles of their own height: rows are
 * padded in memory and never stored.
 */
#include <immintrin.h>

#define WIDTH 64
#include "tensor/int8_finish.h"

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

/* The sums of rows [row, row + 32) for panels w0 and w1. */
static void block_2x2(const int8_t *a0, const int8_t *a1, const int8_t *w0, const int8_t *w1, int tiles, struct ahead *p,
                      ptrdiff_t lines)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int t = 0; t < tiles; t++) {
        _tile_loadd(4, a0 + t * RS_TILE, 64);
        _tile_loadd(5, a1 + t * RS_TILE, 64);
        _tile_loadd(6, w0 + t * RS_TILE, 64);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 5, 6);
        _tile_loadd(7, w1 + t * RS_TILE, 64);
        _tile_dpbsud(2, 4, 7);
        _tile_dpbsud(3, 5, 7);
        fetch(p, lines);
    }
}

static void block_1x2(const int8_t *a0, const int8_t *w0, const int8_t *w1, int tiles)
{
    _tile_zero(0);
    _tile_zero(2);
    for (int t = 0; t < tiles; t++) {
        _tile_loadd(4, a0 + t * RS_TILE, 64);
        _tile_loadd(6, w0 + t * RS_TILE, 64);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(7, w1 + t * RS_TILE, 64);
        _tile_dpbsud(2, 4, 7);
    }
}

/* Columns col… of a pair of panels; an odd last panel is met twice and its second result not stored. */
static void panels(const struct rs_int8_job *j, int col)
{
    _Alignas(64) int32_t sums[4][256];
    const int tiles = j->kpad / 64;
    const bool two = col + 16 < j->n;
    const int8_t *w0 = j->panel + (ptrdiff_t)col * j->kpad, *w1 = two ? w0 + (ptrdiff_t)16 * j->kpad : w0;
    struct ahead p = ahead_of(j, col, 32);
    const ptrdiff_t blocks = (j->m + 31) / 32, lines = (32 + blocks - 1) / blocks;
    for (int row = 0; row < j->m; row += 32) {
        const int8_t *a0 = rs_int8_row(j, row);
        const int rows0 = j->m - row < 16 ? j->m - row : 16, rows1 = j->m - row - 16 < 16 ? j->m - row - 16 : 16;
        if (rows1 > 0)
            block_2x2(a0, a0 + (ptrdiff_t)16 * j->kpad, w0, w1, tiles, &p, lines);
        else
            block_1x2(a0, w0, w1, tiles);
        _tile_stored(0, sums[0], 64);
        _tile_stored(2, sums[2], 64);
        if (rows1 > 0) {
            _tile_stored(1, sums[1], 64);
            _tile_stored(3, sums[3], 64);
        }
        finish_tile(j, sums[0], row, rows0, col);
        if (rows1 > 0)
            finish_tile(j, sums[1], row + 16, rows1, col);
        if (two) {
            finish_tile(j, sums[2], row, rows0, col + 16);
            if (rows1 > 0)
                finish_tile(j, sums[3], row + 16, rows1, col + 16);
        }
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
