/* The native tally, free of Python: the careful path.

   Most rows are taken by the fast path (fast.h), 64 bytes at a time. Whatever that leaves (quotes, mistakes, rows cut by
   the end of a chunk) goes through the state machine here, which can stop behind any byte and go on with the next chunk.
   The rules are those of contract.py. */

#include "fast.h"

static int keep(Tally *t, const uint8_t *bytes, uint64_t length)
{
    Text *text;
    if (!t->columns || t->column == t->patient_column)
        text = &t->patient;
    else if (t->column == t->type_column)
        text = &t->type;
    else
        return 0;
    if (text->length + length > text->room) {
        uint64_t room = 2 * (text->length + length) + 64;
        uint8_t *larger = realloc(text->bytes, room);
        if (!larger)
            return fail(t, NO_MEMORY, t->row_line);
        text->bytes = larger;
        text->room = room;
    }
    if (length)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return 0;
}

static void end_field(Tally *t)
{
    if (!t->columns) {
        for (int i = 0; i < HEADER_COLUMNS; i++) {
            if (!is_named(&t->header.names[i], t->patient.bytes, t->patient.length))
                continue;
            t->header.seen[i]++;
            if (i == PATIENT_COLUMN)
                t->patient_column = t->column;
            else if (i == TYPE_COLUMN)
                t->type_column = t->column;
        }
        t->patient.length = 0;
    }
    t->column++;
    t->cr = 0;
    t->state = FIELD_START;
}

static int take_row(Tally *t, int bad_quote)
{
    if (!t->columns) {
        if (bad_quote)
            return fail(t, NOT_QUOTED_RIGHT, t->row_line);
        if (!is_whole(&t->header))
            return fail(t, WRONG_HEADER, t->row_line);
        t->columns = t->column;
        return 0;
    }
    t->rows++;
    if (bad_quote)
        return malformed(t, NOT_QUOTED_RIGHT, t->row_line);
    if (t->column != t->columns)
        return malformed(t, t->column < t->columns ? TOO_FEW_FIELDS : TOO_MANY_FIELDS, t->row_line);
    if (!t->patient.length)
        return malformed(t, EMPTY_PATIENT, t->row_line);
    if (!t->type.length)
        return malformed(t, EMPTY_TYPE, t->row_line);
    Key key = make_key(&t->pairs.seed, t->patient.bytes, t->patient.length, t->type.bytes, t->type.length);
    return count_key(t, &key, t->patient.bytes, t->type.bytes, t->row_line);
}

/* A line feed outside quotes, or the end of the body. */
static int end_row(Tally *t)
{
    if (t->row_bytes > t->max_row_bytes)
        return fail(t, TOO_LONG, t->row_line);
    const int empty_line = t->row_bytes == 0 || (t->row_bytes == 1 && t->cr);
    if (!empty_line) {
        const int bad_quote = t->state == BAD_QUOTE || t->state == QUOTED;
        Text *text = !t->columns || t->column == t->patient_column ? &t->patient : &t->type;
        if (t->cr && (!t->columns || t->column == t->patient_column || t->column == t->type_column))
            text->length--;
        end_field(t);
        if (take_row(t, bad_quote))
            return -1;
    }
    t->patient.length = t->type.length = 0;
    t->column = t->row_bytes = 0;
    t->cr = 0;
    t->state = FIELD_START;
    t->row_line = ++t->line;
    return 0;
}

/* Go through the bytes until a row has ended or they are used up; return where that was, or NULL on a problem. */
static const uint8_t *careful(Tally *t, const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        const uint8_t *from = p;
        int row_ends = 0;
        switch (t->state) {
        case FIELD_START:
            if (*p == '"') {
                t->state = QUOTED;
                p++;
                break;
            }
            t->state = PLAIN;
            /* fall through */
        case PLAIN:
            while (p < end && *p != t->delimiter && *p != '\n' && *p != '"')
                p++;
            if (p > from)
                t->cr = p[-1] == '\r';
            if (keep(t, from, (uint64_t)(p - from)))
                return NULL;
            if (p == end)
                break;
            if (*p == t->delimiter)
                end_field(t);
            else if (*p == '"')
                t->state = BAD_QUOTE;
            else
                row_ends = 1;
            p++;
            break;
        case QUOTED:
            for (; p < end && *p != '"'; p++)
                t->line += *p == '\n';
            if (keep(t, from, (uint64_t)(p - from)))
                return NULL;
            if (p < end) {
                t->state = QUOTE_IN_QUOTED;
                p++;
            }
            break;
        case QUOTE_IN_QUOTED:
            if (*p == '"') {
                if (keep(t, p, 1))
                    return NULL;
                t->state = QUOTED;
            } else if (*p == t->delimiter) {
                end_field(t);
            } else if (*p == '\r') {
                t->state = CR_BEHIND_QUOTE;
            } else if (*p == '\n') {
                row_ends = 1;
            } else {
                t->state = BAD_QUOTE;
            }
            p++;
            break;
        case CR_BEHIND_QUOTE:
            if (*p == '\n') {
                row_ends = 1;
                p++;
            } else {
                t->state = BAD_QUOTE;
            }
            break;
        case BAD_QUOTE:
            while (p < end && *p != '\n')
                p++;
            if (p < end) {
                row_ends = 1;
                p++;
            }
            break;
        }
        t->row_bytes += (uint64_t)(p - from) - (uint64_t)row_ends;
        if (row_ends)
            return end_row(t) ? NULL : p;
        if (t->row_bytes > t->max_row_bytes) {
            fail(t, TOO_LONG, t->row_line);
            return NULL;
        }
    }
    return p;
}

/* The bytes that began like a byte order mark are none: they are data. */
static int no_byte_order_mark(Tally *t)
{
    const unsigned seen = t->mark_bytes;
    t->mark_bytes = 3;
    return careful(t, BYTE_ORDER_MARK, BYTE_ORDER_MARK + seen) ? 0 : -1;
}

static int take_bytes(Tally *t, const uint8_t *p, const uint8_t *end)
{
    while (t->mark_bytes < 3 && p < end) {
        if (*p == BYTE_ORDER_MARK[t->mark_bytes]) {
            t->mark_bytes++;
            p++;
        } else if (no_byte_order_mark(t)) {
            return -1;
        }
    }
    while (p < end) {
        if (t->take_rows && t->columns && t->row_bytes == 0 && t->state == FIELD_START)
            p = t->take_rows(t, p, end);
        if (t->problem != NO_PROBLEM)
            return -1;
        p = careful(t, p, end);
        if (!p)
            return -1;
    }
    return 0;
}

static int take_end(Tally *t)
{
    if (t->mark_bytes < 3 && t->mark_bytes > 0 && no_byte_order_mark(t))
        return -1;
    if (t->row_bytes && end_row(t))
        return -1;
    return t->columns ? 0 : fail(t, NO_HEADER, 1);
}

static int tally_init(Tally *t, int skip, uint64_t max_row_bytes, uint64_t max_pairs, uint8_t delimiter,
                      const uint8_t *seed, TakeRows rows)
{
    memset(t, 0, sizeof *t);
    t->skip = skip;
    t->max_row_bytes = max_row_bytes;
    t->max_pairs = max_pairs;
    t->delimiter = delimiter;
    t->take_rows = max_row_bytes < 64 ? NULL : rows; /* the fast path doesn't measure rows of up to 64 bytes */
    t->line = t->row_line = 1;
    t->problem = NO_PROBLEM;
    return pairs_init(&t->pairs, seed);
}

static void tally_free(Tally *t)
{
    pairs_free(&t->pairs);
    free(t->patient.bytes);
    free(t->type.bytes);
    t->patient.bytes = t->type.bytes = NULL;
    header_free(&t->header);
}
