/* The native statistics of a CSV body, free of Python: rows become records of pairs. The contract is contract.py. */

#include "../tally/csv_rows.h"
#include "../tally/pairs.h"
#include "pair.h"

typedef struct {
    CsvRows rows;
    Pairs keys;  /* the count of each is that of its records */
    Pair *pairs; /* by the numbers of their keys */
    uint64_t pairs_room, max_pairs;
    Range *ranges; /* in the order of their types */
    size_t ranges_used;
    Rules rules;
    LatestDate latest;
} CsvStats;

/* What is known of a row, step by step. */
typedef struct {
    Key key;
    uint32_t number; /* of the key: likely at first, then for certain; 0 where the row is left out */
    uint32_t value_hash;
    int has_value, has_time;
    Number value;
    int64_t time;
} Record;

/* ---- Pairs ---- */

static int compare_ranges(const void *one, const void *other)
{
    const Range *a = one, *b = other;
    const int order = memcmp(a->type, b->type, a->length < b->length ? a->length : b->length);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static const Range *range_of(const CsvStats *s, const Field *type)
{
    const Range wanted = {(uint8_t *)(uintptr_t)type->bytes, type->length, 0, 0, {0, 0}, {0, 0}};
    return s->ranges_used ? bsearch(&wanted, s->ranges, s->ranges_used, sizeof wanted, compare_ranges) : NULL;
}

static int no_memory(CsvStats *s, uint64_t line)
{
    return refuse(&s->rows, NO_MEMORY, line);
}

/* Make room for the pairs of all keys that there is room for. */
static int make_room(CsvStats *s)
{
    if (s->pairs_room >= s->keys.room)
        return 0;
    Pair *larger = realloc(s->pairs, s->keys.room * sizeof *larger);
    if (!larger)
        return -1;
    memset(larger + s->pairs_room, 0, (s->keys.room - s->pairs_room) * sizeof *larger);
    s->pairs = larger;
    s->pairs_room = s->keys.room;
    return 0;
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

/* The number of a row's key, which is added where it is a new one; 0 for a row that is left out. -1 on a problem. */
static int find_number(CsvStats *s, const CsvRow *row, uint32_t *number)
{
    const Field *patient = &row->fields[PATIENT_COLUMN], *type = &row->fields[TYPE_COLUMN];
    const Key key = make_key(&s->keys.seed, patient->bytes, patient->length, type->bytes, type->length); /* by the seed now */
    *number = (uint32_t)s->keys.slots[find_slot(&s->keys, &key, patient->bytes, type->bytes)];
    if (*number)
        return 0;
    if (!is_utf8(patient->bytes, patient->length))
        return refuse_row(&s->rows, PATIENT_NOT_UTF8, row->line);
    if (!is_utf8(type->bytes, type->length))
        return refuse_row(&s->rows, TYPE_NOT_UTF8, row->line);
    const enum room room = room_for(&s->keys, key.lengths, s->max_pairs);
    if (room != ROOM)
        return refuse(&s->rows, room == TOO_MANY ? TOO_MANY_PAIRS : PAIRS_TOO_LARGE, row->line);
    *number = (uint32_t)s->keys.used;
    if (pairs_add(&s->keys, key, patient->bytes, type->bytes, 0) || make_room(s))
        return no_memory(s, row->line);
    s->pairs[*number].range = range_of(s, type);
    return 0;
}

/* ---- Rows, a batch at a time: what one step needs is on its way from memory while the other rows take the step before ---- */

static int add_record(CsvStats *s, const Record *record)
{
    Pair *pair = &s->pairs[record->number];
    s->keys.entries[record->number].count++;
    if (record->has_time)
        pair_add_time(pair, record->time, &s->rules);
    pair->not_a_number += !record->has_value;
    return record->has_value ? pair_add_number(pair, &record->value, record->value_hash, &s->rules) : 0;
}

static unsigned take_rows(void *taker, const CsvRow *rows, unsigned count)
{
    CsvStats *s = taker;
    Record records[ROWS_AT_A_TIME];
    for (unsigned i = 0; i < count; i++) {
        records[i].key = key_of(&s->keys.seed, &rows[i]);
        PREFETCH(&s->keys.slots[records[i].key.hash & s->keys.mask]);
    }
    for (unsigned i = 0; i < count; i++) {
        records[i].number = likely_number(&s->keys, records[i].key.hash);
        PREFETCH(&s->keys.entries[records[i].number]);
        PREFETCH(&s->pairs[records[i].number]);
        PREFETCH((const uint8_t *)&s->pairs[records[i].number] + 64);
    }
    for (unsigned i = 0; i < count; i++) {
        const Field *value = &rows[i].fields[VALUE_COLUMN], *time = &rows[i].fields[TIME_COLUMN];
        records[i].has_value = parse_number(value->bytes, value->length, &records[i].value);
        records[i].value_hash = records[i].has_value ? value_hash(s->rules.seed, &records[i].value) : 0;
        records[i].has_time = parse_time(time->bytes, time->length, &s->latest, &records[i].time);
    }
    for (unsigned i = 0; i < count; i++) {
        Record *record = &records[i];
        const int is_likely = is_short(record->key.lengths) && same_short(&s->keys.entries[record->number].key, &record->key);
        if (!is_likely && find_number(s, &rows[i], &record->number))
            return i;
        const Pair *pair = &s->pairs[record->number];
        if (pair->values.slots)
            PREFETCH(&pair->values.slots[record->value_hash & pair->values.mask]);
    }
    for (unsigned i = 0; i < count; i++) {
        if (records[i].number && add_record(s, &records[i])) {
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
    if (pairs_init(&s->keys, seed))
        return -1;
    Seed other = s->keys.seed;
    change_seed(&other);
    memcpy(s->rules.seed, other.words, sizeof s->rules.seed);
    return make_room(s);
}

static void stats_free(CsvStats *s)
{
    for (uint64_t i = 0; i < s->pairs_room; i++)
        pair_free(&s->pairs[i]);
    free(s->pairs);
    s->pairs = NULL;
    s->pairs_room = 0;
    for (size_t i = 0; i < s->ranges_used; i++)
        free(s->ranges[i].type);
    free(s->ranges);
    s->ranges = NULL;
    s->ranges_used = 0;
    pairs_free(&s->keys);
    rows_free(&s->rows);
}
