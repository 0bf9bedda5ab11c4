/* What the tally and the reader of rows (csv_rows.h) share, free of Python: the states of a row, what can be wrong with
   a body, and the columns that a header must have. The rules are those of contract.py. */

#ifndef MOCKEXPORT_CSV_H
#define MOCKEXPORT_CSV_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum state { FIELD_START, PLAIN, QUOTED, QUOTE_IN_QUOTED, CR_BEHIND_QUOTE, BAD_QUOTE };

/* The first seven are the rows' REASONS of contract.py, in that order. */
enum problem {
    NOT_QUOTED_RIGHT,
    TOO_FEW_FIELDS,
    TOO_MANY_FIELDS,
    EMPTY_PATIENT,
    EMPTY_TYPE,
    PATIENT_NOT_UTF8,
    TYPE_NOT_UTF8,
    REASON_COUNT,
    TOO_LONG = REASON_COUNT,
    WRONG_HEADER,
    NO_HEADER,
    TOO_MANY_PAIRS,
    PAIRS_TOO_LARGE,
    NO_MEMORY,
    NO_PROBLEM,
};

#define HEADER_COLUMNS 4
enum header_column { PATIENT_COLUMN, TIME_COLUMN, TYPE_COLUMN, VALUE_COLUMN }; /* as in COLUMNS of contract.py */

typedef struct {
    uint8_t *bytes;
    uint64_t length, room;
} Text;

static const uint8_t BYTE_ORDER_MARK[3] = {0xef, 0xbb, 0xbf};

/* The columns that a header must have, and how often it has each. */
typedef struct {
    Text names[HEADER_COLUMNS]; /* without bytes where the header need not have it */
    uint64_t seen[HEADER_COLUMNS];
} Header;

static inline int is_named(const Text *name, const uint8_t *bytes, uint64_t length)
{
    return name->bytes && length == name->length && (!length || !memcmp(bytes, name->bytes, length));
}

/* Whether each column that must be there is there once. */
static inline int is_whole(const Header *header)
{
    for (int i = 0; i < HEADER_COLUMNS; i++)
        if (header->names[i].bytes && header->seen[i] != 1)
            return 0;
    return 1;
}

/* Name a column that the header must have. */
static int name_column(Header *header, int column, const uint8_t *bytes, uint64_t length)
{
    Text *name = &header->names[column];
    name->bytes = malloc(length + 1);
    name->length = length;
    if (name->bytes && length)
        memcpy(name->bytes, bytes, length);
    return name->bytes ? 0 : -1;
}

static void header_free(Header *header)
{
    for (int i = 0; i < HEADER_COLUMNS; i++) {
        free(header->names[i].bytes);
        header->names[i].bytes = NULL;
    }
}

#endif
