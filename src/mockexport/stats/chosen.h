/* The times of chosen pairs as records to be sorted, free of Python. The contract is contract.py. */

#ifndef MOCKEXPORT_CHOSEN_H
#define MOCKEXPORT_CHOSEN_H

#include "../tally/pairs.h"
#include "event_time.h"

#define TIME_RECORD_BYTES 12 /* as in sorting/contract.py */

typedef struct {
    Pairs keys;       /* those that were chosen; the count of each is its number */
    uint8_t *records; /* not taken yet: as many as a chunk has, if they are taken after each one */
    uint64_t length, room;
} Chosen;

/* Choose a pair that was not chosen before; -1 without memory. */
static int choose_pair(Chosen *chosen, const uint8_t *patient, uint64_t patient_length, const uint8_t *type,
                       uint64_t type_length, uint32_t number)
{
    const Key key = make_key(&chosen->keys.seed, patient, patient_length, type, type_length);
    return pairs_add(&chosen->keys, key, patient, type, number);
}

RARE static int grow_records(Chosen *chosen)
{
    const uint64_t room = 2 * chosen->room + 1024 * TIME_RECORD_BYTES;
    uint8_t *larger = realloc(chosen->records, room);
    if (!larger)
        return -1;
    chosen->records = larger;
    chosen->room = room;
    return 0;
}

static inline void store_high_first(uint8_t *to, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
}

/* Add the record of a time of the pair that is this entry; -1 without memory. */
static inline int add_time_record(Chosen *chosen, uint32_t entry, int64_t time)
{
    if (chosen->room - chosen->length < TIME_RECORD_BYTES && grow_records(chosen))
        return -1;
    uint8_t *record = chosen->records + chosen->length;
    store_high_first(record, chosen->keys.entries[entry].count, 4);
    store_high_first(record + 4, (uint64_t)time + ((uint64_t)1 << 63), 8); /* so that those before 1970 come first */
    chosen->length += TIME_RECORD_BYTES;
    return 0;
}

static void chosen_free(Chosen *chosen)
{
    pairs_free(&chosen->keys);
    free(chosen->records);
    chosen->records = NULL;
    chosen->length = chosen->room = 0;
}

#endif
