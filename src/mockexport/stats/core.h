/* The native statistics of a CSV body, free of Python: rows become records of pairs. The contract is contract.py. */

#ifndef MOCKEXPORT_STATS_CORE_H
#define MOCKEXPORT_STATS_CORE_H

#include "../tally/csv_rows.h"
#include "table.h"

typedef struct {
    CsvRows rows;
    PairTable table;
    LatestDate latest;
} CsvStats;

/* ---- Pairs ---- */

static int no_memory(CsvStats *s, uint64_t line)
{
    return refuse(&s->rows, NO_MEMORY, line);
}

static inline Key key_of(const Seed *seed, const CsvRow *row)
{
    const Field *patient = &row->fields[PATIENT_COLUMN], *type = &row->fields[TYPE_COLUMN];
#ifdef FAST_PATH
    if (patient->length <= SHORT_FIELD && type->length <= SHORT_FIELD) {
        Key key = {
            {load_8(patient->bytes) & LOW_BYTES_OF_16[patient->length],
             load_8(patient->bytes + 8) & HIGH_BYTES_OF_16[patient->length]},
            {load_8(type->bytes) & LOW_BYTES_OF_16[type->length],
             load_8(type->bytes + 8) & HIGH_BYTES_OF_16[type->length]},
            field_lengths(patient->length, type->length),
            0,
        };
        key.hash = hash_short(seed, &key);
        return key;
    }
#endif
    return make_key(seed, patient->bytes, patient->length, type->bytes, type->length);
}

/* What is wrong with the encoding of a row's key. */
static enum problem wrong_key(const CsvRow *row)
{
    const Field *patient = &row->fields[PATIENT_COLUMN], *type = &row->fields[TYPE_COLUMN];
    if (!is_utf8(patient->bytes, patient->length))
        return PATIENT_NOT_UTF8;
    return is_utf8(type->bytes, type->length) ? NO_PROBLEM : TYPE_NOT_UTF8;
}

/* The number of a row's key, which is added where it is a new one; 0 for a row that is left out. -1 on a problem. */
RARE static int find_number(CsvStats *s, const CsvRow *row, uint32_t *number)
{
    const Field *patient = &row->fields[PATIENT_COLUMN], *type = &row->fields[TYPE_COLUMN];
    const Key key = make_key(&s->table.keys.seed, patient->bytes, patient->length, type->bytes, type->length); /* by the seed now */
    *number = (uint32_t)s->table.keys.slots[find_slot(&s->table.keys, &key, patient->bytes, type->bytes)];
    if (*number)
        return 0;
    const enum problem wrong = wrong_key(row);
    if (wrong != NO_PROBLEM)
        return refuse_row(&s->rows, wrong, row->line);
    const enum room room = room_for(&s->table.keys, key.lengths, s->table.max_pairs);
    if (room != ROOM)
        return refuse(&s->rows, room == TOO_MANY ? TOO_MANY_PAIRS : PAIRS_TOO_LARGE, row->line);
    *number = add_pair(&s->table, key, patient->bytes, type->bytes);
    return *number ? 0 : no_memory(s, row->line);
}

/* ---- Rows, a batch at a time: what one step needs is on its way from memory while the other rows take the step before ---- */

static unsigned take_rows(void *taker, const CsvRow *rows, unsigned count)
{
    CsvStats *s = taker;
    Record records[ROWS_AT_A_TIME];
    for (unsigned i = 0; i < count; i++) {
        records[i].key = key_of(&s->table.keys.seed, &rows[i]);
        PREFETCH(&s->table.keys.slots[records[i].key.hash & s->table.keys.mask]);
    }
    for (unsigned i = 0; i < count; i++) {
        records[i].number = likely_number(&s->table.keys, records[i].key.hash);
        PREFETCH(&s->table.keys.entries[records[i].number]);
        PREFETCH(&s->table.pairs[records[i].number]);
        PREFETCH((const uint8_t *)&s->table.pairs[records[i].number] + 64);
    }
    for (unsigned i = 0; i < count; i++) {
        const Field *value = &rows[i].fields[VALUE_COLUMN], *time = &rows[i].fields[TIME_COLUMN];
        records[i].has_value = parse_number(value->bytes, value->length, &records[i].value);
        records[i].value_hash = records[i].has_value ? value_hash(s->table.rules.seed, &records[i].value) : 0;
        records[i].has_time = parse_time(time->bytes, time->length, &s->latest, &records[i].time);
    }
    for (unsigned i = 0; i < count; i++) {
        Record *record = &records[i];
        const int is_likely = is_short(record->key.lengths) && same_short(&s->table.keys.entries[record->number].key, &record->key);
        if (!is_likely && find_number(s, &rows[i], &record->number))
            return i;
        const Pair *pair = &s->table.pairs[record->number];
        if (pair->values.slots)
            PREFETCH(&pair->values.slots[record->value_hash & pair->values.mask]);
    }
    for (unsigned i = 0; i < count; i++) {
        if (records[i].number && add_record(&s->table, &records[i])) {
            no_memory(s, rows[i].line);
            return i;
        }
    }
    return count;
}

/* ---- The whole ---- */

/* -1 without memory; `seed` has random bytes. */
static int stats_init(CsvStats *s, int skip, uint64_t max_row_bytes, uint8_t delimiter, enum instructions set,
                      const uint8_t *seed)
{
    rows_init(&s->rows, take_rows, s, skip, max_row_bytes, delimiter, set);
    return table_init(&s->table, seed);
}

static void stats_free(CsvStats *s)
{
    table_free(&s->table);
    rows_free(&s->rows);
}

#endif
