/* The records of one patient and type, free of Python: what PairStats of result.py has of them. */

#ifndef MOCKEXPORT_PAIR_H
#define MOCKEXPORT_PAIR_H

#include "event_time.h"
#include "values.h"

/* The range of a type: numbers outside of it are anomalies. */
typedef struct {
    uint8_t *type;
    uint64_t length;
    int has_low, has_high;
    Number low, high;
} Range;

/* What the statistics of all pairs of a body share. */
typedef struct {
    int64_t now;
    uint64_t max_distinct;
    uint64_t seed[2]; /* of the hash of values */
} Rules;

/* What each record with a time in order needs comes first, in one cache line. */
typedef struct {
    int64_t last, low, high, gap;
    uint64_t times, out_of_order;
    Values values; /* none where there is a sketch */
    Sketch *sketch;
    const Range *range; /* or NULL */
    int64_t first, gap_start;
    uint64_t duplicates, future, not_a_number, anomalies; /* anomalies: in the sketch alone, until the end */
} Pair;

static inline int is_anomaly(const Range *range, const Number *number)
{
    return range && ((range->has_low && compare_numbers(number, &range->low) < 0) ||
                     (range->has_high && compare_numbers(number, &range->high) > 0));
}

/* How many numbers that are kept one by one are anomalies. */
static uint64_t anomalies_among(const Values *values, const Range *range)
{
    uint64_t found = 0;
    for (uint32_t i = 0; values->slots && i <= values->mask; i++) {
        const Number number = number_of(&values->slots[i]);
        found += values->slots[i].rest && is_anomaly(range, &number) ? value_times(&values->slots[i]) : 0;
    }
    return found;
}

/* There are more distinct values than are kept one by one. */
RARE static int become_sketch(Pair *pair, const Rules *rules)
{
    pair->sketch = sketch_of(&pair->values, rules->seed);
    if (!pair->sketch)
        return -1;
    pair->anomalies = anomalies_among(&pair->values, pair->range);
    free(pair->values.slots);
    memset(&pair->values, 0, sizeof pair->values);
    return 0;
}

/* Add a record's number, whose hash is known; -1 without memory. */
static inline int pair_add_number(Pair *pair, const Number *number, uint32_t hash, const Rules *rules)
{
    if (pair->sketch) {
        pair->anomalies += (uint64_t)is_anomaly(pair->range, number);
        return sketch_add(pair->sketch, rules->seed, number, 1);
    }
    if (values_add(&pair->values, rules->seed, hash, number, 1))
        return -1;
    return pair->values.used > rules->max_distinct ? become_sketch(pair, rules) : 0;
}

/* Add a record's time. */
static inline void pair_add_time(Pair *pair, int64_t time, const Rules *rules)
{
    pair->future += time > rules->now;
    if (!pair->times++) {
        pair->first = pair->last = pair->low = pair->high = time;
        return;
    }
    if (time < pair->last)
        pair->out_of_order++;
    if (pair->out_of_order) {
        pair->duplicates = 0;
        pair->gap = pair->gap_start = 0;
    } else if (time == pair->last) {
        pair->duplicates++;
    } else if (time - pair->last > pair->gap) {
        pair->gap = time - pair->last;
        pair->gap_start = pair->last;
    }
    pair->low = time < pair->low ? time : pair->low;
    pair->high = time > pair->high ? time : pair->high;
    pair->last = time;
}

static void pair_free(Pair *pair)
{
    free(pair->values.slots);
    sketch_free(pair->sketch);
    pair->values.slots = NULL;
    pair->sketch = NULL;
}

#endif
