/* The native reader of FHIR resources, free of Python: rows out of chunks, and each row by the fast or the careful path.

   A row that stands whole in a chunk is read where it stands; one that is cut is gathered first. */

#include "masks.h"

static void note_keys(const Reader *r, const uint8_t *row, const uint8_t *object, Found *found)
{
    const uint8_t *value, *key, *after = object + 1;
    memset(found, 0, sizeof *found);
    for (; (key = next_key(after, &value)); after = skip_value(value))
        for (int i = 0; i < r->heads.count; i++)
            if (string_is(key, r->heads.names[i]))
                found->at[i] = found->at[i] ? STANDS_TWICE : (uint32_t)(value - row);
}

/* Read a row by the rules of JSON, byte by byte, or say what is wrong with it. */
static int careful_row(Reader *r, const uint8_t *row, uint64_t length)
{
    const uint8_t *end = row + length, *object = skip_space(row, end);
    enum problem problem;
    Found found;
    if (!is_utf8(row, length))
        return malformed(r, NOT_UTF8);
    if (object == end || *object != '{')
        return malformed(r, NOT_OBJECT);
    const uint8_t *after = check_container(object, end, &problem);
    if (!after)
        return malformed(r, problem);
    if (skip_space(after, end) < end)
        return malformed(r, MORE_VALUES);
    note_keys(r, row, object, &found);
    return read_resource(r, row, end, &found, 1);
}

/* Take a row without its LF; `readable` is how many bytes from its start on may be read. */
static int take_row(Reader *r, const uint8_t *row, uint64_t length, uint64_t readable)
{
    const int is_long = r->dropping || length > r->max_row_bytes;
    r->dropping = 0;
    if (!is_long && skip_space(row, row + length) == row + length)
        return 0;
    if (is_long && !r->skip) /* may have been seen before its end */
        return fail(r, TOO_LONG);
    r->rows++;
    if (is_long)
        return malformed(r, TOO_LONG);
    length -= row[length - 1] == '\r';
    if (readable < length + PADDING) {
        if (text_append(&r->carry, row, length))
            return fail(r, NO_MEMORY);
        row = r->carry.bytes;
    }
    if (r->scan) {
        Found found = {{0}};
        if (r->scan(row, length, &r->heads, &found)) {
            const int result = read_resource(r, row, row + length, &found, 0);
            if (result != UNUSUAL)
                return result;
        }
    }
    return careful_row(r, row, length);
}

static const uint8_t BYTE_ORDER_MARK[3] = {0xef, 0xbb, 0xbf};

/* How many bytes of the carry are a byte order mark; all of them, while they begin like one. */
static uint64_t mark_bytes(const Reader *r)
{
    const uint64_t compared = r->carry.length < 3 ? r->carry.length : 3;
    return r->at_start && compared && !memcmp(r->carry.bytes, BYTE_ORDER_MARK, compared) ? compared : 0;
}

/* Keep a part of a row whose end has not come yet. */
static int keep(Reader *r, const uint8_t *p, uint64_t length)
{
    if (r->dropping)
        return 0;
    if (text_append(&r->carry, p, length))
        return fail(r, NO_MEMORY);
    if (r->carry.length - mark_bytes(r) <= r->max_row_bytes)
        return 0;
    if (!r->skip)
        return fail(r, TOO_LONG);
    r->dropping = 1;
    r->carry.length = 0;
    return 0;
}

/* The row in the carry has ended. */
static int take_carry(Reader *r)
{
    const uint64_t seen = mark_bytes(r), mark = seen == 3 ? seen : 0;
    r->at_start = 0;
    const uint64_t length = r->carry.length - mark;
    const int result = take_row(r, r->carry.bytes + mark, length, length + PADDING);
    r->carry.length = 0;
    return result;
}

static int take_bytes(Reader *r, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *row_end;
    for (; (row_end = memchr(p, '\n', (size_t)(end - p))); p = row_end + 1, r->line++) {
        const uint64_t length = (uint64_t)(row_end - p);
        if (r->carry.length || r->dropping || r->at_start) {
            if (keep(r, p, length) || take_carry(r))
                return -1;
            continue;
        }
        const int failed = take_row(r, p, length, (uint64_t)(end - p));
        r->carry.length = 0; /* a row too near to the end was copied there */
        if (failed)
            return -1;
    }
    return p < end ? keep(r, p, (uint64_t)(end - p)) : 0;
}

static int take_end(Reader *r)
{
    return take_carry(r);
}

/* -1 without memory, or with paths that there is no room for. */
static int reader_init(Reader *r, const char *paths, const char *label_head, const char *base)
{
    const Span label = {(const uint8_t *)(label_head ? label_head : ""), label_head ? strlen(label_head) : 0};
    r->line = 1;
    r->at_start = 1;
    r->has_label = label_head != NULL;
    r->problem = NO_PROBLEM;
    if (base && *base && (text_append(&r->base, base, strlen(base)) || text_append(&r->base, "/", 1)))
        return -1;
    return text_append(&r->paths, paths, strlen(paths)) || text_append(&r->carry, "", 0) || read_paths(r, label) ? -1 : 0;
}

static void text_free(Text *text)
{
    free(text->bytes);
    memset(text, 0, sizeof *text);
}

static void reader_free(Reader *r)
{
    Text *texts[] = {&r->base, &r->paths, &r->latest_name, &r->carry, &r->patient_text, &r->label_text, &r->other_text};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        text_free(texts[i]);
}
