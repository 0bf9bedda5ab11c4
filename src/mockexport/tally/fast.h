/* The fast path: rows gathered into batches, and the one for this processor. */

#include "core.h"
#include "csv_masks.h"

#ifdef FAST_PATH
#define BATCH 32

/* Rows whose keys are known and not yet counted. A long key has its fields beside it. */
typedef struct {
    unsigned used;
    uint64_t seeds; /* the table's, when the first key came */
    Key keys[BATCH];
    const uint8_t *patients[BATCH], *types[BATCH];
    uint32_t numbers[BATCH]; /* of the entries that the keys are likely to be in; 0 for none */
} Batch;

/* Find the entries, and have them brought near while the next rows are read. */
static inline void look_up(const Pairs *pairs, Batch *batch)
{
    for (unsigned i = 0; i < batch->used; i++) {
        batch->numbers[i] = likely_number(pairs, batch->keys[i].hash);
        PREFETCH(&pairs->entries[batch->numbers[i]]);
    }
}

__attribute__((noinline)) static int count_batch(Tally *t, Batch *batch)
{
    Pairs *pairs = &t->pairs;
    for (unsigned i = 0; i < batch->used; i++) {
        const Key *key = &batch->keys[i];
        Entry *entry = &pairs->entries[batch->numbers[i]];
        t->rows++;
        if (is_short(key->lengths) && same_short(&entry->key, key)) {
            entry->count++;
            continue;
        }
        const int is_inline = is_short(key->lengths);
        const uint8_t *patient = is_inline ? (const uint8_t *)key->patient : batch->patients[i];
        const uint8_t *type = is_inline ? (const uint8_t *)key->type : batch->types[i];
        if (batch->seeds != pairs->seeds)
            batch->keys[i].hash = is_inline ? hash_short(&pairs->seed, key)
                                            : hash_long(&pairs->seed, key->lengths, patient, type);
        if (count_key(t, key, patient, type, t->line + i))
            return -1;
    }
    t->line += batch->used;
    t->row_line = t->line;
    batch->used = 0;
    return 0;
}

#define FAST_PATH_FILE "rows.h"
#include "each_set.h"
#endif

/* The fast path by instruction set: NULL where there is none, and the careful path takes all. */
static const TakeRows TAKE_ROWS[NO_SET] = OF_EACH_SET(rows);
