/* The statistics of all pairs of a body, free of Python: a table from patient and type to what is known of their records. */

#ifndef MOCKEXPORT_TABLE_H
#define MOCKEXPORT_TABLE_H

#include "../tally/pairs.h"
#include "pair.h"

typedef struct {
    Pairs keys;  /* the count of each is that of its records */
    Pair *pairs; /* by the numbers of their keys */
    uint64_t room, max_pairs;
    Range *ranges; /* in the order of their types */
    size_t ranges_used;
    Rules rules;
} PairTable;

/* A record, as it becomes known step by step. */
typedef struct {
    Key key;
    uint32_t number; /* of the key: likely at first, then for certain; 0 where the row is left out */
    uint32_t value_hash;
    int has_value, has_time;
    Number value;
    int64_t time;
} Record;

static int compare_ranges(const void *one, const void *other)
{
    const Range *a = one, *b = other;
    const int order = memcmp(a->type, b->type, a->length < b->length ? a->length : b->length);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static const Range *range_of(const PairTable *table, const uint8_t *type, uint64_t length)
{
    const Range wanted = {(uint8_t *)(uintptr_t)type, length, 0, 0, {0, 0}, {0, 0}};
    return table->ranges_used ? bsearch(&wanted, table->ranges, table->ranges_used, sizeof wanted, compare_ranges)
                              : NULL;
}

/* Make room for the pairs of all keys that there is room for. */
static int make_room(PairTable *table)
{
    if (table->room >= table->keys.room)
        return 0;
    Pair *larger = realloc(table->pairs, table->keys.room * sizeof *larger);
    if (!larger)
        return -1;
    memset(larger + table->room, 0, (table->keys.room - table->room) * sizeof *larger);
    table->pairs = larger;
    table->room = table->keys.room;
    return 0;
}

/* Add a pair that is not there yet, without records, where `room_for` says that there is room. Returns its number; 0
   without memory. */
static uint32_t add_pair(PairTable *table, Key key, const uint8_t *patient, const uint8_t *type)
{
    const uint32_t number = (uint32_t)table->keys.used;
    if (pairs_add(&table->keys, key, patient, type, 0) || make_room(table))
        return 0;
    table->pairs[number].range = range_of(table, type, key.lengths >> 32);
    return number;
}

/* Add a record to the pair of its number; -1 without memory. */
static int add_record(PairTable *table, const Record *record)
{
    Pair *pair = &table->pairs[record->number];
    table->keys.entries[record->number].count++;
    if (record->has_time)
        pair_add_time(pair, record->time, &table->rules);
    pair->not_a_number += !record->has_value;
    return record->has_value ? pair_add_number(pair, &record->value, record->value_hash, &table->rules) : 0;
}

/* -1 without memory; `seed` has random bytes. */
static int table_init(PairTable *table, const uint8_t *seed)
{
    if (pairs_init(&table->keys, seed))
        return -1;
    Seed other = table->keys.seed;
    change_seed(&other);
    memcpy(table->rules.seed, other.words, sizeof table->rules.seed);
    return make_room(table);
}

static void table_free(PairTable *table)
{
    for (uint64_t i = 0; i < table->room; i++)
        pair_free(&table->pairs[i]);
    free(table->pairs);
    table->pairs = NULL;
    table->room = 0;
    for (size_t i = 0; i < table->ranges_used; i++)
        free(table->ranges[i].type);
    free(table->ranges);
    table->ranges = NULL;
    table->ranges_used = 0;
    pairs_free(&table->keys);
}

#endif
