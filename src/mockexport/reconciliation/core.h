/* The native keys of the records of a CSV body, free of Python. The contract is contract.py. */

#include "../tally/csv_canonical.h"
#include "facts.h"
#include "siphash.h"

typedef struct {
    CsvRows rows;
    sip_key key;
    uint32_t download;
    Facts facts;
    Text canonical;
    uint8_t *records; /* those that were not taken yet */
    uint64_t length, room;
} CsvKeys;

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
        store_place(record, k->download, row->line);
        k->length += RECORD_BYTES;
        const Field *time = &row->fields[TIME_COLUMN];
        add_time(&k->facts, time->bytes, k->rows.header.names[TIME_COLUMN].bytes ? time->length : 0, row->line);
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
