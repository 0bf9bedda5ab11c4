/* The native keys of the records of a CSV body, free of Python. The contract is contract.py. */

#include "../stats/event_time.h"
#include "../tally/csv_canonical.h"
#include "siphash.h"

#define FIRST_PLACES 10
#define KEY_BYTES 16
#define RECORD_BYTES 24

/* How many rows, and the lines of the first ones. */
typedef struct {
    uint64_t rows, first[FIRST_PLACES];
} Lines;

typedef struct {
    CsvRows rows;
    sip_key key;
    uint32_t download;
    int has_begin, has_end, has_time; /* `has_time`: whether any row has one */
    int64_t begin, end, first, last;
    uint64_t no_time;
    Lines before, after;
    LatestDate latest;
    Text canonical;
    uint8_t *records; /* those that were not taken yet */
    uint64_t length, room;
} CsvKeys;

static void add_line(Lines *lines, uint64_t line)
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

static int room_for_records(CsvKeys *k, unsigned count)
{
    if (k->length + (uint64_t)count * RECORD_BYTES <= k->room)
        return 0;
    const uint64_t room = 2 * k->room + (uint64_t)ROWS_AT_A_TIME * RECORD_BYTES;
    uint8_t *larger = realloc(k->records, room);
    if (!larger)
        return -1;
    k->records = larger;
    k->room = room;
    return 0;
}

static void add_time(CsvKeys *k, const CsvRow *row)
{
    const Field *field = &row->fields[TIME_COLUMN];
    int64_t time;
    if (!k->rows.header.names[TIME_COLUMN].bytes || !parse_time(field->bytes, field->length, &k->latest, &time)) {
        k->no_time++;
        return;
    }
    if (!k->has_time || time < k->first)
        k->first = time;
    if (!k->has_time || time > k->last)
        k->last = time;
    k->has_time = 1;
    if (k->has_begin && time < k->begin)
        add_line(&k->before, row->line);
    if (k->has_end && time > k->end)
        add_line(&k->after, row->line);
}

static unsigned take_rows(void *taker, const CsvRow *rows, unsigned count)
{
    CsvKeys *k = taker;
    if (room_for_records(k, count)) {
        refuse(&k->rows, NO_MEMORY, rows[0].line);
        return 0;
    }
    for (unsigned i = 0; i < count; i++) {
        const CsvRow *row = &rows[i];
        const Field *patient = &row->fields[PATIENT_COLUMN], *type = &row->fields[TYPE_COLUMN];
        const int sound_patient = is_utf8(patient->bytes, patient->length);
        if (!sound_patient || !is_utf8(type->bytes, type->length)) {
            refuse_row(&k->rows, sound_patient ? TYPE_NOT_UTF8 : PATIENT_NOT_UTF8, row->line);
            continue;
        }
        const Field text = canonical_row(&k->rows, row, &k->canonical);
        if (!text.bytes) {
            refuse(&k->rows, NO_MEMORY, row->line);
            return i;
        }
        uint8_t *record = k->records + k->length;
        sip_hash(k->key, text.bytes, text.length, record);
        store_big_endian(record + KEY_BYTES, k->download, 3);
        store_big_endian(record + KEY_BYTES + 3, row->line, 5);
        k->length += RECORD_BYTES;
        add_time(k, row);
    }
    return count;
}

static void keys_free(CsvKeys *k)
{
    free(k->canonical.bytes);
    memset(&k->canonical, 0, sizeof k->canonical);
    free(k->records);
    k->records = NULL;
    k->length = k->room = 0;
    rows_free(&k->rows);
}
