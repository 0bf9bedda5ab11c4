/* The times of chosen pairs in a CSV body, free of Python: rows become records to be sorted. The contract is contract.py. */

#include "chosen.h"
#include "core.h"

typedef struct {
    CsvRows rows;
    Chosen chosen;
    LatestDate latest;
} CsvTimes;

/* The entry of a row's key; 0 where it was not chosen, or where the row is left out. -1 on a problem. */
static int find_chosen(CsvTimes *t, const CsvRow *row, const Key *key, uint32_t *entry)
{
    const Pairs *keys = &t->chosen.keys;
    const uint64_t slot = find_slot(keys, key, row->fields[PATIENT_COLUMN].bytes, row->fields[TYPE_COLUMN].bytes);
    *entry = (uint32_t)keys->slots[slot];
    const enum problem wrong = *entry ? NO_PROBLEM : wrong_key(row); /* those that were chosen are UTF-8 */
    return wrong == NO_PROBLEM ? 0 : refuse_row(&t->rows, wrong, row->line);
}

/* Rows, a batch at a time, as those of core.h. */
static unsigned take_times(void *taker, const CsvRow *rows, unsigned count)
{
    CsvTimes *t = taker;
    const Pairs *pairs = &t->chosen.keys;
    Key keys[ROWS_AT_A_TIME];
    uint32_t entries[ROWS_AT_A_TIME];
    for (unsigned i = 0; i < count; i++) {
        keys[i] = key_of(&pairs->seed, &rows[i]);
        PREFETCH(&pairs->slots[keys[i].hash & pairs->mask]);
    }
    for (unsigned i = 0; i < count; i++) {
        entries[i] = likely_number(pairs, keys[i].hash);
        PREFETCH(&pairs->entries[entries[i]]);
    }
    for (unsigned i = 0; i < count; i++) {
        const int is_likely = is_short(keys[i].lengths) && same_short(&pairs->entries[entries[i]].key, &keys[i]);
        if (!is_likely && find_chosen(t, &rows[i], &keys[i], &entries[i]))
            return i;
        const Field *text = &rows[i].fields[TIME_COLUMN];
        int64_t time;
        if (!entries[i] || !parse_time(text->bytes, text->length, &t->latest, &time))
            continue;
        if (add_time_record(&t->chosen, entries[i], time)) {
            refuse(&t->rows, NO_MEMORY, rows[i].line);
            return i;
        }
    }
    return count;
}
