/* The native tally, free of Python: what it knows between two chunks, and how a record is counted. The fast path (fast.h)
   and the careful path (tally.h) share it. The counts are kept by pairs.h. */

#include "csv.h"
#include "pairs.h"

typedef struct Tally Tally;
typedef const uint8_t *(*TakeRows)(Tally *, const uint8_t *, const uint8_t *);

struct Tally {
    TakeRows take_rows;      /* the fast path for this processor, or NULL */
    int skip;
    uint64_t max_row_bytes, max_pairs;
    uint8_t delimiter;
    Header header;

    uint64_t columns; /* 0 until the header has come */
    uint64_t patient_column, type_column;

    enum state state;
    unsigned mark_bytes; /* of the byte order mark seen so far; 3 once the start is past */
    uint64_t line, row_line, row_bytes, column;
    int cr; /* the last byte of a plain field was a CR */
    Text patient, type; /* the key fields of the current row; while in the header, `patient` takes every name */

    Pairs pairs;
    uint64_t rows, left_out[REASON_COUNT];
    enum problem problem;
    uint64_t problem_line;
};

static int fail(Tally *t, enum problem problem, uint64_t line)
{
    t->problem = problem;
    t->problem_line = line;
    return -1;
}

/* A row that can't be counted: left out or the end, as the caller of the tally chose. */
static int malformed(Tally *t, enum problem reason, uint64_t line)
{
    if (!t->skip)
        return fail(t, reason, line);
    t->left_out[reason]++;
    return 0;
}

/* Count a record by its key; the key fields are sound but for their encoding. */
static int count_key(Tally *t, const Key *key, const uint8_t *patient, const uint8_t *type, uint64_t line)
{
    uint64_t slot = find_slot(&t->pairs, key, patient, type);
    const uint32_t number = (uint32_t)t->pairs.slots[slot];
    if (number) {
        t->pairs.entries[number].count++;
        return 0;
    }
    if (!is_utf8(patient, (uint32_t)key->lengths))
        return malformed(t, PATIENT_NOT_UTF8, line);
    if (!is_utf8(type, key->lengths >> 32))
        return malformed(t, TYPE_NOT_UTF8, line);
    const enum room room = room_for(&t->pairs, key->lengths, t->max_pairs);
    if (room != ROOM)
        return fail(t, room == TOO_MANY ? TOO_MANY_PAIRS : PAIRS_TOO_LARGE, line);
    return pairs_add(&t->pairs, *key, patient, type, 1) ? fail(t, NO_MEMORY, line) : 0;
}
