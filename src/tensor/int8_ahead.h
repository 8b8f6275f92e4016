/* The weights after a panel or two, fetched a share at a time while those are in use. */
struct ahead { const char *at, *end; };

static inline struct ahead ahead_of(const struct rs_int8_job *j, int col, int width)
{
    const ptrdiff_t whole = (ptrdiff_t)((j->n + 15) / 16) * 16 * j->kpad;
    const ptrdiff_t from = (ptrdiff_t)(col + width) * j->kpad, to = from + (ptrdiff_t)width * j->kpad;
    return (struct ahead){(const char *)j->panel + (from < whole ? from : whole),
                          (const char *)j->panel + (to < whole ? to : whole)};
}

static inline void fetch(struct ahead *p, ptrdiff_t lines)
{
    for (ptrdiff_t i = 0; i < lines && p->at < p->end; i++, p->at += 64)
        __builtin_prefetch(p->at, 0, 2);
}
