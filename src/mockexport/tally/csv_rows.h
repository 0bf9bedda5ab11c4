/* The rows of a CSV body, read from chunks that are cut anywhere, free of Python: sound rows are handed on by the batch,
   malformed ones left out or refused as the tally does. The rules are those of contract.py.

   Most rows are read by the fast path (csv_fast.h), 64 bytes at a time. A row that it leaves is looked through byte by
   byte until its end has come; then it stands in one piece, in the chunk or in `carry`, and is taken apart. */

#ifndef MOCKEXPORT_CSV_ROWS_H
#define MOCKEXPORT_CSV_ROWS_H

#include "csv.h"
#include "csv_masks.h"

#define READABLE 32 /* bytes that may be read from the start of each field on, whatever its length */
#define ROWS_AT_A_TIME 32
#define LINES_KEPT 10 /* of the rows that are left out, by reason */

typedef struct {
    const uint8_t *bytes;
    uint64_t length;
} Field;

/* A sound row, but for the encoding of its keys. It may be looked at until it was taken. */
typedef struct {
    Field fields[HEADER_COLUMNS]; /* without their quotes */
    Field whole;                  /* as it is written, without its line end */
    int has_quotes;
    uint64_t line;
} CsvRow;

/* Takes rows, and returns how many: where they are fewer, the next one was refused, by `refuse`. */
typedef unsigned (*TakeCsvRows)(void *taker, const CsvRow *rows, unsigned count);

typedef struct CsvRows CsvRows;
typedef const uint8_t *(*ReadCsvRows)(CsvRows *, const uint8_t *, const uint8_t *);

struct CsvRows {
    TakeCsvRows take;
    void *taker;
    ReadCsvRows read_fast; /* the fast path for this processor, or NULL */
    int skip;
    uint64_t max_row_bytes;
    uint8_t delimiter;
    Header header;

    uint64_t columns; /* 0 until the header has come */
    uint64_t places[HEADER_COLUMNS];

    unsigned mark_bytes; /* of the byte order mark seen so far; 3 once the start is past */
    uint64_t line;       /* on which the row begins that is read next */
    Text carry;          /* a row that was cut by the end of a chunk, so far */
    Text unquoted;       /* the fields of a row whose quotes were doubled */

    enum state state; /* of the row that is being looked through, as are the next three */
    uint64_t column, line_feeds;
    int has_quotes;

    CsvRow batch[ROWS_AT_A_TIME];
    uint64_t rows, left_out[REASON_COUNT], first_left_out[REASON_COUNT][LINES_KEPT];
    enum problem problem;
    uint64_t problem_line;
};

/* Name the problem that ends the body. */
static int refuse(CsvRows *r, enum problem problem, uint64_t line)
{
    r->problem = problem;
    r->problem_line = line;
    return -1;
}

/* A malformed row: left out or the end, as the caller of the reader chose. */
static int refuse_row(CsvRows *r, enum problem reason, uint64_t line)
{
    if (!r->skip)
        return refuse(r, reason, line);
    if (r->left_out[reason] < LINES_KEPT)
        r->first_left_out[reason][r->left_out[reason]] = line;
    r->left_out[reason]++;
    return 0;
}

/* Hand on the first rows of the batch. */
static int hand_on(CsvRows *r, unsigned count)
{
    const unsigned taken = r->take(r->taker, r->batch, count);
    r->rows += taken < count ? taken + 1 : count;
    return taken < count ? -1 : 0;
}

#ifdef FAST_PATH
#define FAST_PATH_FILE "csv_fast.h"
#include "each_set.h"
#endif

static const ReadCsvRows READ_CSV_ROWS[NO_SET] = OF_EACH_SET(read_rows);

/* ---- Where a row ends ---- */

/* Go through bytes of a row; return the line feed that ends it, or NULL when they are used up before. */
static const uint8_t *find_row_end(CsvRows *r, const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        switch (r->state) {
        case FIELD_START:
            r->state = PLAIN;
            if (*p == '"') {
                r->state = QUOTED;
                r->has_quotes = 1;
                p++;
                break;
            }
            /* fall through */
        case PLAIN:
            while (p < end && *p != r->delimiter && *p != '\n' && *p != '"')
                p++;
            if (p == end)
                break;
            if (*p == '\n')
                return p;
            r->column += *p == r->delimiter;
            r->state = *p == '"' ? BAD_QUOTE : FIELD_START;
            p++;
            break;
        case QUOTED:
            for (; p < end && *p != '"'; p++)
                r->line_feeds += *p == '\n';
            if (p < end) {
                r->state = QUOTE_IN_QUOTED;
                p++;
            }
            break;
        case QUOTE_IN_QUOTED:
            if (*p == '\n')
                return p;
            r->column += *p == r->delimiter;
            r->state = *p == '"' ? QUOTED : *p == r->delimiter ? FIELD_START : *p == '\r' ? CR_BEHIND_QUOTE : BAD_QUOTE;
            p++;
            break;
        case CR_BEHIND_QUOTE:
            if (*p == '\n')
                return p;
            r->state = BAD_QUOTE;
            break;
        case BAD_QUOTE:
            while (p < end && *p != '\n')
                p++;
            if (p < end)
                return p;
            break;
        }
    }
    return NULL;
}

/* ---- A whole row ---- */

/* Make room for a text of so many bytes, and for READABLE more. */
static int text_room(Text *text, uint64_t length)
{
    if (length + READABLE <= text->room)
        return 0;
    const uint64_t room = 2 * (length + READABLE);
    uint8_t *larger = realloc(text->bytes, room);
    if (!larger)
        return -1;
    memset(larger + text->room, 0, room - text->room);
    text->bytes = larger;
    text->room = room;
    return 0;
}

static int carry_on(CsvRows *r, const uint8_t *p, uint64_t length)
{
    if (text_room(&r->carry, r->carry.length + length))
        return refuse(r, NO_MEMORY, r->line);
    memcpy(r->carry.bytes + r->carry.length, p, length);
    r->carry.length += length;
    return 0;
}

/* The next field of a sound row without its line end; `*at` moves to the next one, and behind the last one to NULL. Where
   quotes are doubled, it is written to `unquoted`, which has room for the whole row. */
static Field next_field(CsvRows *r, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *p = *at;
    Field field = {p, 0};
    if (p < end && *p == '"') {
        uint8_t *copy = NULL; /* from the first doubled quote on */
        field.bytes = ++p;
        for (;; p++) {
            if (*p == '"' && (p + 1 == end || p[1] != '"'))
                break;
            if (*p == '"') {
                if (!copy) {
                    const uint64_t before = (uint64_t)(p - field.bytes);
                    copy = r->unquoted.bytes + r->unquoted.length;
                    memcpy(copy, field.bytes, before);
                    field.bytes = copy;
                    copy += before;
                }
                p++;
            }
            if (copy)
                *copy++ = *p;
        }
        field.length = (uint64_t)((copy ? copy : p) - field.bytes);
        r->unquoted.length += copy ? field.length : 0;
        p++;
    } else {
        while (p < end && *p != r->delimiter)
            p++;
        field.length = (uint64_t)(p - field.bytes);
    }
    *at = p < end ? p + 1 : NULL;
    return field;
}

static int read_header(CsvRows *r, const uint8_t *row, const uint8_t *end, uint64_t columns)
{
    const uint8_t *at = row;
    for (uint64_t column = 0; at; column++) {
        r->unquoted.length = 0;
        const Field name = next_field(r, &at, end);
        for (int i = 0; i < HEADER_COLUMNS; i++) {
            if (!is_named(&r->header.names[i], name.bytes, name.length))
                continue;
            r->header.seen[i]++;
            r->places[i] = column;
        }
    }
    if (!is_whole(&r->header))
        return refuse(r, WRONG_HEADER, r->line);
    r->columns = columns;
    return 0;
}

static int read_sound_row(CsvRows *r, const uint8_t *row, const uint8_t *end)
{
    CsvRow *found = &r->batch[0];
    const uint8_t *at = row;
    r->unquoted.length = 0;
    for (uint64_t column = 0; at; column++) {
        const Field field = next_field(r, &at, end);
        for (int i = 0; i < HEADER_COLUMNS; i++)
            if (r->places[i] == column)
                found->fields[i] = field;
    }
    if (!found->fields[PATIENT_COLUMN].length || !found->fields[TYPE_COLUMN].length) {
        r->rows++;
        return refuse_row(r, found->fields[PATIENT_COLUMN].length ? EMPTY_TYPE : EMPTY_PATIENT, r->line);
    }
    found->whole.bytes = row;
    found->whole.length = (uint64_t)(end - row);
    found->has_quotes = r->has_quotes;
    found->line = r->line;
    return hand_on(r, 1);
}

/* Read a row that stands in one piece, without its line feed; READABLE more bytes may be read. */
static int read_whole_row(CsvRows *r, const uint8_t *row, uint64_t length)
{
    const int bad_quote = r->state == BAD_QUOTE || r->state == QUOTED;
    const uint64_t columns = r->column + 1;
    if (length == 0 || (length == 1 && *row == '\r'))
        return 0;
    const uint8_t *end = row + length - (row[length - 1] == '\r');
    if (text_room(&r->unquoted, 2 * length)) /* for its fields, and for them once more in csv_canonical.h */
        return refuse(r, NO_MEMORY, r->line);
    if (!r->columns)
        return bad_quote ? refuse(r, NOT_QUOTED_RIGHT, r->line) : read_header(r, row, end, columns);
    if (!bad_quote && columns == r->columns)
        return read_sound_row(r, row, end);
    r->rows++;
    return refuse_row(r, bad_quote ? NOT_QUOTED_RIGHT : columns < r->columns ? TOO_FEW_FIELDS : TOO_MANY_FIELDS, r->line);
}

/* A row has ended: `length` more bytes behind those carried so far; `readable` of them, and behind them, may be read. */
static int end_row(CsvRows *r, const uint8_t *p, uint64_t length, uint64_t readable)
{
    const uint64_t size = r->carry.length + length;
    if (size > r->max_row_bytes)
        return refuse(r, TOO_LONG, r->line);
    const int is_carried = r->carry.length || readable < length + READABLE;
    if (is_carried && carry_on(r, p, length))
        return -1;
    if (read_whole_row(r, is_carried ? r->carry.bytes : p, size))
        return -1;
    r->line += 1 + r->line_feeds;
    r->carry.length = r->column = r->line_feeds = 0;
    r->has_quotes = 0;
    r->state = FIELD_START;
    return 0;
}

/* ---- Chunks ---- */

static int read_from(CsvRows *r, const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        if (r->read_fast && r->columns && !r->carry.length)
            p = r->read_fast(r, p, end);
        if (r->problem != NO_PROBLEM)
            return -1;
        const uint8_t *row_end = find_row_end(r, p, end);
        if (!row_end && r->carry.length + (uint64_t)(end - p) > r->max_row_bytes)
            return refuse(r, TOO_LONG, r->line);
        if (!row_end)
            return carry_on(r, p, (uint64_t)(end - p));
        if (end_row(r, p, (uint64_t)(row_end - p), (uint64_t)(end - p)))
            return -1;
        p = row_end + 1;
    }
    return 0;
}

/* The bytes that began like a byte order mark are none: they are data. */
static int no_byte_order_mark(CsvRows *r)
{
    const unsigned seen = r->mark_bytes;
    r->mark_bytes = 3;
    return read_from(r, BYTE_ORDER_MARK, BYTE_ORDER_MARK + seen);
}

/* Read the next bytes; -1 on a problem, of which `problem` and `problem_line` tell. */
static int read_bytes(CsvRows *r, const uint8_t *p, const uint8_t *end)
{
    while (r->mark_bytes < 3 && p < end) {
        if (*p == BYTE_ORDER_MARK[r->mark_bytes]) {
            r->mark_bytes++;
            p++;
        } else if (no_byte_order_mark(r)) {
            return -1;
        }
    }
    return read_from(r, p, end);
}

/* The body has ended. */
static int read_end(CsvRows *r)
{
    if (r->mark_bytes < 3 && r->mark_bytes > 0 && no_byte_order_mark(r))
        return -1;
    if (r->carry.length && end_row(r, (const uint8_t *)"", 0, 0))
        return -1;
    return r->columns ? 0 : refuse(r, NO_HEADER, 1);
}

/* Whether the bytes so far end where a row ends. */
static inline int is_between_rows(const CsvRows *r)
{
    return r->columns && !r->carry.length;
}

/* The names of the columns are given to `header`, all four of them. */
static void rows_init(CsvRows *r, TakeCsvRows take, void *taker, int skip, uint64_t max_row_bytes, uint8_t delimiter,
                      enum instructions set)
{
    memset(r, 0, sizeof *r);
    r->take = take;
    r->taker = taker;
    r->skip = skip;
    r->max_row_bytes = max_row_bytes;
    r->delimiter = delimiter;
    r->read_fast = max_row_bytes < 64 ? NULL : READ_CSV_ROWS[set]; /* it doesn't measure rows of up to 64 bytes */
    r->line = 1;
    r->problem = NO_PROBLEM;
}

static void rows_free(CsvRows *r)
{
    free(r->carry.bytes);
    free(r->unquoted.bytes);
    memset(&r->carry, 0, sizeof r->carry);
    memset(&r->unquoted, 0, sizeof r->unquoted);
    header_free(&r->header);
}

#endif
