/* The native tally of FHIR resources, free of Python: rows out of chunks, and each row by the fast or the careful path.

   A row that stands whole in a chunk is read where it stands; one that is cut is gathered first. */

#include "masks.h"

static void note_keys(const ResourceTally *t, const uint8_t *row, const uint8_t *object, Found *found)
{
    const uint8_t *value, *key, *after = object + 1;
    memset(found, 0, sizeof *found);
    for (; (key = next_key(after, &value)); after = skip_value(value))
        for (int i = 0; i < t->heads.count; i++)
            if (string_is(key, t->heads.names[i]))
                found->at[i] = found->at[i] ? STANDS_TWICE : (uint32_t)(value - row);
}

/* Count a row by the rules of JSON, byte by byte, or say what is wrong with it. */
static int careful_row(ResourceTally *t, const uint8_t *row, uint64_t length)
{
    const uint8_t *end = row + length, *object = skip_space(row, end);
    enum problem problem;
    Found found;
    if (!is_utf8(row, length))
        return malformed(t, NOT_UTF8);
    if (object == end || *object != '{')
        return malformed(t, NOT_OBJECT);
    const uint8_t *after = check_container(object, end, &problem);
    if (!after)
        return malformed(t, problem);
    if (skip_space(after, end) < end)
        return malformed(t, MORE_VALUES);
    note_keys(t, row, object, &found);
    return count_resource(t, row, end, &found, 1);
}

/* Take a row without its LF; `readable` is how many bytes from its start on may be read. */
static int take_row(ResourceTally *t, const uint8_t *row, uint64_t length, uint64_t readable)
{
    const int is_long = t->dropping || length > t->max_row_bytes;
    t->dropping = 0;
    if (!is_long && skip_space(row, row + length) == row + length)
        return 0;
    if (is_long && !t->skip) /* may have been seen before its end */
        return fail(t, TOO_LONG);
    t->rows++;
    if (is_long)
        return malformed(t, TOO_LONG);
    length -= row[length - 1] == '\r';
    if (readable < length + PADDING) {
        if (text_append(&t->carry, row, length))
            return fail(t, NO_MEMORY);
        row = t->carry.bytes;
    }
    if (t->scan) {
        Found found = {{0}};
        if (t->scan(row, length, &t->heads, &found)) {
            const int result = count_resource(t, row, row + length, &found, 0);
            if (result != UNUSUAL)
                return result;
        }
    }
    return careful_row(t, row, length);
}

static const uint8_t BYTE_ORDER_MARK[3] = {0xef, 0xbb, 0xbf};

/* How many bytes of the carry are a byte order mark; all of them, while they begin like one. */
static uint64_t mark_bytes(const ResourceTally *t)
{
    const uint64_t compared = t->carry.length < 3 ? t->carry.length : 3;
    return t->at_start && compared && !memcmp(t->carry.bytes, BYTE_ORDER_MARK, compared) ? compared : 0;
}

/* Keep a part of a row whose end has not come yet. */
static int keep(ResourceTally *t, const uint8_t *p, uint64_t length)
{
    if (t->dropping)
        return 0;
    if (text_append(&t->carry, p, length))
        return fail(t, NO_MEMORY);
    if (t->carry.length - mark_bytes(t) <= t->max_row_bytes)
        return 0;
    if (!t->skip)
        return fail(t, TOO_LONG);
    t->dropping = 1;
    t->carry.length = 0;
    return 0;
}

/* The row in the carry has ended. */
static int take_carry(ResourceTally *t)
{
    const uint64_t seen = mark_bytes(t), mark = seen == 3 ? seen : 0;
    t->at_start = 0;
    const uint64_t length = t->carry.length - mark;
    const int result = take_row(t, t->carry.bytes + mark, length, length + PADDING);
    t->carry.length = 0;
    return result;
}

static int take_bytes(ResourceTally *t, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *row_end;
    for (; (row_end = memchr(p, '\n', (size_t)(end - p))); p = row_end + 1, t->line++) {
        const uint64_t length = (uint64_t)(row_end - p);
        if (t->carry.length || t->dropping || t->at_start) {
            if (keep(t, p, length) || take_carry(t))
                return -1;
            continue;
        }
        const int failed = take_row(t, p, length, (uint64_t)(end - p));
        t->carry.length = 0; /* a row too near to the end was copied there */
        if (failed)
            return -1;
    }
    return p < end ? keep(t, p, (uint64_t)(end - p)) : 0;
}

static int take_end(ResourceTally *t)
{
    return take_carry(t);
}

/* -1 without memory, or with paths that there is no room for. */
static int tally_init(ResourceTally *t, const char *paths, const char *label_head, const char *base, const uint8_t *seed)
{
    const Span label = {(const uint8_t *)(label_head ? label_head : ""), label_head ? strlen(label_head) : 0};
    t->line = 1;
    t->at_start = 1;
    t->has_label = label_head != NULL;
    t->problem = NO_PROBLEM;
    if (base && *base && (text_append(&t->base, base, strlen(base)) || text_append(&t->base, "/", 1)))
        return -1;
    return text_append(&t->paths, paths, strlen(paths)) || text_append(&t->carry, "", 0) || read_paths(t, label) ||
                   pairs_init(&t->pairs, seed)
               ? -1
               : 0;
}

static void tally_free(ResourceTally *t)
{
    Text *texts[] = {&t->base, &t->paths, &t->latest_name, &t->carry, &t->patient_text, &t->label_text, &t->other_text};
    pairs_free(&t->pairs);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(texts[i]->bytes);
        texts[i]->bytes = NULL;
        texts[i]->length = texts[i]->room = 0;
    }
}
