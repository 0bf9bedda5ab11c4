/* What is known of the rows of a download, free of Python: RecordFacts of contract.py, but for the malformed ones. */

#ifndef MOCKEXPORT_FACTS_H
#define MOCKEXPORT_FACTS_H

#include "../stats/event_time.h"

#define FIRST_PLACES 10
#define KEY_BYTES 16
#define RECORD_BYTES 24 /* a key, a download's number of 3 bytes, a line of 5 */

/* How many rows, and the lines of the first ones. */
typedef struct {
    uint64_t rows, first[FIRST_PLACES];
} Lines;

typedef struct {
    int has_begin, has_end, has_time; /* `has_time`: whether any row has one */
    int64_t begin, end, first, last;
    uint64_t no_time;
    Lines before, after, subsetted;
    LatestDate latest;
} Facts;

static inline void add_line(Lines *lines, uint64_t line)
{
    if (lines->rows < FIRST_PLACES)
        lines->first[lines->rows] = line;
    lines->rows++;
}

static inline void store_big_endian(uint8_t *p, uint64_t number, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, number >>= 8)
        p[i] = (uint8_t)number;
}

/* Write the place of a record behind its key. */
static inline void store_place(uint8_t *record, uint32_t download, uint64_t line)
{
    store_big_endian(record + KEY_BYTES, download, 3);
    store_big_endian(record + KEY_BYTES + 3, line, 5);
}

/* Add the time of a row, as it is written; of no length where there is none. */
static void add_time(Facts *facts, const uint8_t *text, uint64_t length, uint64_t line)
{
    int64_t time;
    if (!length || !parse_time(text, length, &facts->latest, &time)) {
        facts->no_time++;
        return;
    }
    if (!facts->has_time || time < facts->first)
        facts->first = time;
    if (!facts->has_time || time > facts->last)
        facts->last = time;
    facts->has_time = 1;
    if (facts->has_begin && time < facts->begin)
        add_line(&facts->before, line);
    if (facts->has_end && time > facts->end)
        add_line(&facts->after, line);
}

#endif
