/* The values of a pair, free of Python: each number with how often it is there, or a sketch of them where too many are
   distinct. What they are is told by result.py. */

#ifndef MOCKEXPORT_VALUES_H
#define MOCKEXPORT_VALUES_H

#include "number.h"

/* A number, and how often it is there: its exponent in the lowest 16 bits of `rest`, the times above them. */
typedef struct {
    int64_t mantissa;
    uint64_t rest; /* 0 where a slot is empty */
} Value;

/* An open-addressing table, of which half is empty at least. Its hash is keyed, so nobody can choose numbers that share a slot. */
typedef struct {
    Value *slots;
    uint32_t mask; /* slots - 1 */
    uint32_t used;
} Values;

#define LEAST_VALUE_SLOTS 8

static inline int64_t value_exponent(const Value *value)
{
    return (int16_t)(uint16_t)value->rest;
}

static inline uint64_t value_times(const Value *value)
{
    return value->rest >> 16;
}

static inline uint32_t value_hash(const uint64_t *seed, const Number *number)
{
    return (uint32_t)fold((uint64_t)number->mantissa ^ seed[0], (uint64_t)number->exponent ^ seed[1]);
}

/* The slot of a number with this hash, or the empty one where it belongs. */
static inline Value *find_value(const Values *values, uint32_t hash, const Number *number)
{
    for (;; hash++) {
        Value *value = &values->slots[hash & values->mask];
        if (!value->rest || (value->mantissa == number->mantissa && (uint16_t)value->rest == (uint16_t)number->exponent))
            return value;
    }
}

static inline Number number_of(const Value *value)
{
    const Number number = {value->mantissa, value_exponent(value)};
    return number;
}

RARE static int values_grow(Values *values, const uint64_t *seed)
{
    const uint32_t old_slots = values->slots ? values->mask + 1 : 0;
    const uint32_t slots = old_slots ? 2 * old_slots : LEAST_VALUE_SLOTS;
    Values larger = {calloc(slots, sizeof(Value)), slots - 1, values->used};
    if (!larger.slots)
        return -1;
    for (uint32_t i = 0; i < old_slots; i++) {
        if (!values->slots[i].rest)
            continue;
        const Number number = number_of(&values->slots[i]);
        *find_value(&larger, value_hash(seed, &number), &number) = values->slots[i];
    }
    free(values->slots);
    *values = larger;
    return 0;
}

/* Add a number with this hash so many times; -1 without memory. */
static inline int values_add(Values *values, const uint64_t *seed, uint32_t hash, const Number *number, uint64_t times)
{
    if (!values->slots && values_grow(values, seed))
        return -1;
    Value *value = find_value(values, hash, number);
    if (value->rest) {
        value->rest += times << 16;
        return 0;
    }
    value->mantissa = number->mantissa;
    value->rest = (uint16_t)number->exponent | times << 16;
    values->used++;
    return values->used > (values->mask + 1) / 2 ? values_grow(values, seed) : 0;
}

/* ---- The sketch ---- */

#define EXPONENTS (GREATEST_EXPONENT - LEAST_EXPONENT + 1)

/* A sum of 192 bits, in two's complement, the lowest word first: of squares below 2^120, 2^48 times. */
typedef struct {
    uint64_t words[3];
} Sum;

typedef struct {
    int64_t exponent;
    Sum one, square; /* of the mantissas, and of their squares */
} Sums;

typedef struct {
    uint16_t places[EXPONENTS]; /* where in `sums` an exponent is, from 1 */
    Sums *sums;
    unsigned sums_used;
    Number low, high;
    Values buckets; /* mantissas in place of buckets */
} Sketch;

/* Add low + high * 2^64 to a sum, or take it away. */
static inline void sum_add(Sum *sum, uint64_t low, uint64_t middle, uint64_t high, int is_negative)
{
    const uint64_t words[3] = {low, middle, high};
    uint64_t carry = (uint64_t)is_negative;
    for (int i = 0; i < 3; i++) {
        const uint64_t word = is_negative ? ~words[i] : words[i];
        const uint64_t partial = sum->words[i] + word;
        const uint64_t total = partial + carry;
        carry = (uint64_t)(partial < word) | (uint64_t)(total < partial);
        sum->words[i] = total;
    }
}

RARE static int sketch_add(Sketch *sketch, const uint64_t *seed, const Number *number, uint64_t times)
{
    uint16_t *place = &sketch->places[number->exponent - LEAST_EXPONENT];
    if (!*place) {
        Sums *larger = realloc(sketch->sums, (sketch->sums_used + 1) * sizeof *larger);
        if (!larger)
            return -1;
        const Sums none = {number->exponent, {{0, 0, 0}}, {{0, 0, 0}}};
        sketch->sums = larger;
        larger[sketch->sums_used] = none;
        *place = (uint16_t)++sketch->sums_used;
    }
    Sums *sums = &sketch->sums[*place - 1];
    const uint64_t mantissa = magnitude(number->mantissa);
    const Product one = multiply(mantissa, times), square = multiply(mantissa, mantissa);
    const Product low = multiply(square.low, times), high = multiply(square.high, times);
    const uint64_t middle = low.high + high.low;
    sum_add(&sums->one, one.low, one.high, 0, number->mantissa < 0);
    sum_add(&sums->square, low.low, middle, high.high + (middle < low.high), 0);
    const int is_first = !sketch->buckets.used;
    if (is_first || compare_numbers(number, &sketch->low) < 0)
        sketch->low = *number;
    if (is_first || compare_numbers(number, &sketch->high) > 0)
        sketch->high = *number;
    const Number bucket = {bucket_of(number), 0};
    return values_add(&sketch->buckets, seed, value_hash(seed, &bucket), &bucket, times);
}

static void sketch_free(Sketch *sketch)
{
    if (!sketch)
        return;
    free(sketch->sums);
    free(sketch->buckets.slots);
    free(sketch);
}

static Sketch *sketch_of(const Values *values, const uint64_t *seed)
{
    Sketch *sketch = calloc(1, sizeof *sketch);
    for (uint32_t i = 0; sketch && i <= values->mask; i++) {
        const Value *value = &values->slots[i];
        const Number number = number_of(value);
        if (value->rest && sketch_add(sketch, seed, &number, value_times(value))) {
            sketch_free(sketch);
            return NULL;
        }
    }
    return sketch;
}

#endif
