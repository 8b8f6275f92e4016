/* See pickle.h. A pickle is a program for a stack machine. This machine knows only the steps that a state dict
 * needs, and of Python's objects only the names below: REDUCE does not call them, it notes what they would make.
 * Anything else ends the reading. Opcodes: CPython Lib/pickletools.py; arguments: torch/_utils.py.
 */
#include "model/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/cursor.h"

enum kind { NONE, INT, TEXT, TUPLE, DICT, ORDERED, REBUILD, STORAGE_TYPE, STORAGE, TENSOR, MARK, BLANK };
enum { MOST = 1 << 18, MOST_TENSORS = 1 << 15 };     /* values on the stack, in the memo and in tuples: a model of 1.1 G needs some thousands */

struct value {
    enum kind kind;
    enum rs_type type;          /* STORAGE_TYPE, STORAGE */
    int64_t n;                  /* INT; TUPLE: first item; TENSOR: index */
    size_t len;                 /* TEXT, STORAGE (the key); TUPLE: items */
    const char *s;
};
struct list { struct value *v; size_t n, cap; };
struct machine {
    struct rs_cursor c;
    struct list stack, memo, items;
    struct rs_pickled *tensors, *named;
    size_t n_tensors, tensor_cap, n_named, named_cap;
    const char *path;
    struct rs_err *e;
};

static int bad(struct machine *m, const char *what)
{
    return rs_fail(m->e, RS_E_MODEL_BAD, "the weights' table in %s is damaged: %s", m->path, what);
}

static int append(struct machine *m, struct list *l, struct value v)
{
    if (l->n >= MOST)
        return bad(m, "it is far larger than any model's");
    if (!rs_grow((void **)&l->v, &l->cap, l->n + 1, sizeof *l->v))
        return rs_fail(m->e, RS_E_NOMEM, "no memory for the weights' table of %s", m->path);
    l->v[l->n++] = v;
    return 0;
}

static int push(struct machine *m, struct value v) { return append(m, &m->stack, v); }

static struct value pop(struct machine *m)
{
    if (m->stack.n)
        return m->stack.v[--m->stack.n];
    m->c.bad = true;
    return (struct value){.kind = BLANK};
}

/* Index above the topmost mark; the mark stays. */
static size_t above_mark(struct machine *m)
{
    for (size_t i = m->stack.n; i-- > 0;)
        if (m->stack.v[i].kind == MARK)
            return i + 1;
    m->c.bad = true;
    return m->stack.n;
}

static int put_memo(struct machine *m, uint32_t at)
{
    if (!m->stack.n || at >= MOST)
        return bad(m, "a reference makes no sense");
    while (m->memo.n <= at)
        if (append(m, &m->memo, (struct value){.kind = BLANK}))
            return -RS_E_NOMEM;
    m->memo.v[at] = m->stack.v[m->stack.n - 1];
    return 0;
}

static int get_memo(struct machine *m, uint32_t at)
{
    return at < m->memo.n ? push(m, m->memo.v[at]) : bad(m, "a reference makes no sense");
}

static int push_text(struct machine *m, uint64_t len)
{
    const char *s = (const char *)rs_cursor_bytes(&m->c, len);
    return push(m, (struct value){.kind = TEXT, .s = s ? s : "", .len = s ? (size_t)len : 0});
}

static const char *line(struct machine *m, size_t *len)
{
    const uint8_t *from = m->c.at, *end = memchr(from, '\n', (size_t)(m->c.end - from));
    *len = end ? (size_t)(end - from) : 0;
    m->c.bad |= !end;
    m->c.at = end ? end + 1 : m->c.end;
    return (const char *)from;
}

static int push_global(struct machine *m)
{
    static const struct { const char *module, *name; enum kind kind; enum rs_type type; } known[] = {
        {"collections", "OrderedDict", ORDERED, RS_F32}, {"torch._utils", "_rebuild_tensor_v2", REBUILD, RS_F32},
        {"torch", "FloatStorage", STORAGE_TYPE, RS_F32}, {"torch", "LongStorage", STORAGE_TYPE, RS_I64},
        {"torch", "HalfStorage", STORAGE_TYPE, RS_F16}, {"torch", "BFloat16Storage", STORAGE_TYPE, RS_BF16},
    };
    size_t a, b;
    const char *module = line(m, &a), *name = line(m, &b);
    for (size_t i = 0; i < sizeof known / sizeof *known && !m->c.bad; i++)
        if (strlen(known[i].module) == a && memcmp(known[i].module, module, a) == 0 && strlen(known[i].name) == b &&
            memcmp(known[i].name, name, b) == 0)
            return push(m, (struct value){.kind = known[i].kind, .type = known[i].type});
    if (m->c.bad)
        return 0;
    return rs_fail(m->e, RS_E_UNSAFE_PICKLE, "%s asks for the Python object %.*s.%.*s, which no model's weights need: do not trust this file",
                   m->path, (int)(a < 60 ? a : 60), module, (int)(b < 60 ? b : 60), name);
}

static int push_tuple(struct machine *m, size_t from)
{
    struct value t = {.kind = TUPLE, .n = (int64_t)m->items.n, .len = m->stack.n - from};
    for (size_t i = from; i < m->stack.n; i++)
        if (append(m, &m->items, m->stack.v[i]))
            return -RS_E_NOMEM;
    m->stack.n = from;
    return push(m, t);
}

static int push_short_tuple(struct machine *m, size_t len)
{
    if (m->stack.n < len)
        return bad(m, "it takes from an empty stack");
    return push_tuple(m, m->stack.n - len);
}

static int marked_tuple(struct machine *m)
{
    const size_t from = above_mark(m);
    if (m->c.bad)
        return 0;
    const int rc = push_tuple(m, from);
    if (!rc) {
        m->stack.v[from - 1] = m->stack.v[from];
        m->stack.n = from;
    }
    return rc;
}

/* An item of a tuple, BLANK when there is none. */
static struct value item(const struct machine *m, const struct value *t, size_t i)
{
    return t->kind == TUPLE && i < t->len ? m->items.v[(size_t)t->n + i] : (struct value){.kind = BLANK};
}

static int push_storage(struct machine *m)
{
    const struct value id = pop(m), word = item(m, &id, 0), type = item(m, &id, 1), key = item(m, &id, 2);
    if (word.kind != TEXT || word.len != 7 || memcmp(word.s, "storage", 7) != 0 || type.kind != STORAGE_TYPE || key.kind != TEXT)
        return bad(m, "a storage makes no sense");
    return push(m, (struct value){.kind = STORAGE, .type = type.type, .s = key.s, .len = key.len});
}

static int push_tensor(struct machine *m, const struct value *args)
{
    const struct value storage = item(m, args, 0), offset = item(m, args, 1), size = item(m, args, 2), stride = item(m, args, 3);
    struct rs_pickled p = {.key = storage.s, .key_len = storage.len, .t = {.type = storage.type, .ndim = (int)size.len}};
    if (storage.kind != STORAGE || offset.kind != INT || offset.n < 0 || size.kind != TUPLE || stride.kind != TUPLE || size.len > 4 ||
        stride.len != size.len)
        return bad(m, "a tensor makes no sense");
    int64_t step = 1;
    for (size_t i = size.len; i-- > 0;) {
        const struct value n = item(m, &size, i), s = item(m, &stride, i);
        if (n.kind != INT || s.kind != INT || n.n < 1 || n.n > INT32_MAX)
            return bad(m, "a tensor's shape makes no sense");
        if (n.n > 1 && s.n != step)
            return rs_fail(m->e, RS_E_MODEL_UNSUPPORTED, "%s keeps a tensor in an order that is not its shape's; save the model again", m->path);
        if (__builtin_mul_overflow(step, n.n, &step))
            return bad(m, "a tensor has an impossible size");
        p.t.shape[i] = n.n;
    }
    p.offset = (uint64_t)offset.n;
    if (m->n_tensors >= MOST_TENSORS)
        return bad(m, "it has far more tensors than any model");
    if (!rs_grow((void **)&m->tensors, &m->tensor_cap, m->n_tensors + 1, sizeof p))
        return rs_fail(m->e, RS_E_NOMEM, "no memory for the tensors of %s", m->path);
    m->tensors[m->n_tensors] = p;
    return push(m, (struct value){.kind = TENSOR, .n = (int64_t)m->n_tensors++});
}

static int reduce(struct machine *m)
{
    const struct value args = pop(m), what = pop(m);
    if (what.kind == ORDERED)
        return push(m, (struct value){.kind = DICT});
    if (what.kind == REBUILD)
        return push_tensor(m, &args);
    return bad(m, "it calls what is no function");
}

/* Pairs from `from` to the top: those of a name and a tensor are the table. */
static int set_items(struct machine *m, size_t from)
{
    if (m->c.bad || (m->stack.n - from) % 2)
        return bad(m, "a dictionary makes no sense");
    for (size_t i = from; i < m->stack.n; i += 2) {
        const struct value *k = &m->stack.v[i], *v = k + 1;
        if (k->kind != TEXT || v->kind != TENSOR)
            continue;
        if (m->n_named >= MOST_TENSORS)
            return bad(m, "it has far more tensors than any model");
        if (!rs_grow((void **)&m->named, &m->named_cap, m->n_named + 1, sizeof *m->named))
            return rs_fail(m->e, RS_E_NOMEM, "no memory for the tensors of %s", m->path);
        m->named[m->n_named] = m->tensors[v->n];
        m->named[m->n_named].name = k->s;
        m->named[m->n_named++].name_len = k->len;
    }
    m->stack.n = from;
    return 0;
}

static int drop_to_mark(struct machine *m, bool pairs)
{
    const size_t from = above_mark(m);
    if (m->c.bad)
        return 0;
    const int rc = pairs ? set_items(m, from) : 0;
    m->stack.n = from - 1;
    return rc;
}

static int push_long(struct machine *m)
{
    const int n = (int)rs_cursor_uint(&m->c, 1);
    if (n > 8)
        return bad(m, "a number is too long");
    uint64_t v = rs_cursor_uint(&m->c, n);
    if (n && n < 8 && v >> (8 * n - 1))
        v |= ~0ull << (8 * n);
    return push(m, (struct value){.kind = INT, .n = (int64_t)v});
}

static int push_int(struct machine *m, int64_t n) { return push(m, (struct value){.kind = INT, .n = n}); }

static int step(struct machine *m, int op)
{
    switch (op) {
    case 0x80: return rs_cursor_uint(&m->c, 1) == 2 ? 0 : bad(m, "its protocol is not 2");
    case '}': case ']': return push(m, (struct value){.kind = DICT});
    case ')': return push_tuple(m, m->stack.n);
    case '(': return push(m, (struct value){.kind = MARK});
    case 'q': return put_memo(m, (uint32_t)rs_cursor_uint(&m->c, 1));
    case 'r': return put_memo(m, rs_cursor_u32(&m->c));
    case 'h': return get_memo(m, (uint32_t)rs_cursor_uint(&m->c, 1));
    case 'j': return get_memo(m, rs_cursor_u32(&m->c));
    case 'c': return push_global(m);
    case 'X': return push_text(m, rs_cursor_u32(&m->c));
    case 0x8c: return push_text(m, rs_cursor_uint(&m->c, 1));
    case 'J': return push_int(m, (int32_t)rs_cursor_u32(&m->c));
    case 'K': return push_int(m, (int64_t)rs_cursor_uint(&m->c, 1));
    case 'M': return push_int(m, (int64_t)rs_cursor_uint(&m->c, 2));
    case 0x8a: return push_long(m);
    case 0x88: case 0x89: return push_int(m, op == 0x88);
    case 'N': return push(m, (struct value){.kind = NONE});
    case 't': return marked_tuple(m);
    case 0x85: case 0x86: case 0x87: return push_short_tuple(m, (size_t)op - 0x84);
    case 'Q': return push_storage(m);
    case 'R': return reduce(m);
    case 'b': case 'a': pop(m); return 0;
    case 's': return m->stack.n < 2 ? bad(m, "it takes from an empty stack") : set_items(m, m->stack.n - 2);
    case 'u': return drop_to_mark(m, true);
    case 'e': return drop_to_mark(m, false);
    default:
        return rs_fail(m->e, RS_E_UNSAFE_PICKLE, "%s holds a pickle step (0x%02x) that no model's weights need: do not trust this file", m->path, op);
    }
}

int rs_pickle_read(struct rs_pickled **out, size_t *count, const uint8_t *data, size_t size, const char *path, struct rs_err *e)
{
    struct machine m = {.c = {data, data + size, false}, .path = path, .e = e};
    int rc = 0, op;
    while (!rc && (op = (int)rs_cursor_uint(&m.c, 1)) != '.') {
        rc = m.c.bad ? bad(&m, "it ends too early") : step(&m, op);
        if (!rc && m.c.bad)
            rc = bad(&m, "it ends too early");
    }
    free(m.stack.v);
    free(m.memo.v);
    free(m.items.v);
    free(m.tensors);
    *out = rc ? NULL : m.named;
    *count = rc ? 0 : m.n_named;
    if (rc)
        free(m.named);
    return rc;
}
