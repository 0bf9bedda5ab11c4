/* Folds of sorted records: the times of pairs, and distinct keys. What they find is said in contract.py. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum { FOLDED, NOT_IN_ORDER, NO_MEMORY } Folded;

static uint64_t big_endian(const uint8_t *bytes, int length)
{
    uint64_t number = 0;
    for (int i = 0; i < length; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Make room for `needed` elements in an array of `room`; the new ones are 0. */
static void *grow(void *array, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room)
        return array;
    size_t larger = *room * 2 > needed ? *room * 2 : needed;
    if (larger < 64)
        larger = 64;
    uint8_t *grown = larger > SIZE_MAX / size ? NULL : realloc(array, larger * size);
    if (grown) {
        memset(grown + *room * size, 0, (larger - *room) * size);
        *room = larger;
    }
    return grown;
}

/* ---- The times of pairs ---- */

#define GAPS_WIDTH 12

typedef struct {
    uint32_t number;
    uint64_t records, duplicates, longest;
    uint64_t start, last; /* times, with 2^63 added */
} PairTimes;

typedef struct {
    PairTimes *pairs; /* in order; the last one may go on */
    size_t count, room;
} Gaps;

static Folded gaps_feed(Gaps *g, const uint8_t *records, size_t count)
{
    for (size_t i = 0; i < count; i++, records += GAPS_WIDTH) {
        const uint32_t number = (uint32_t)big_endian(records, 4);
        const uint64_t time = big_endian(records + 4, 8);
        PairTimes *pair = g->count ? &g->pairs[g->count - 1] : NULL;
        if (pair && (number < pair->number || (number == pair->number && time < pair->last)))
            return NOT_IN_ORDER;
        if (!pair || number != pair->number) {
            PairTimes *grown = grow(g->pairs, &g->room, g->count + 1, sizeof *grown);
            if (!grown)
                return NO_MEMORY;
            g->pairs = grown;
            g->pairs[g->count++] = (PairTimes){.number = number, .records = 1, .start = time, .last = time};
            continue;
        }
        pair->records++;
        pair->duplicates += time == pair->last;
        if (time - pair->last > pair->longest) {
            pair->longest = time - pair->last;
            pair->start = pair->last;
        }
        pair->last = time;
    }
    return FOLDED;
}

static void gaps_free(Gaps *g)
{
    free(g->pairs);
    memset(g, 0, sizeof *g);
}

/* ---- Distinct keys ---- */

#define DISTINCT_WIDTH 24
#define KEY_BYTES 16
#define FIRST_REPEATS 10

typedef struct {
    uint32_t download;
    uint64_t line;
} Place;

typedef struct {
    Place place, first;
} Repeat;

/* The repeats of one kind. */
typedef struct {
    uint64_t *counts; /* by download */
    size_t room;
    Repeat first[FIRST_REPEATS]; /* in order */
    int kept;
} Repeats;

typedef struct {
    uint64_t keys;
    uint8_t last[DISTINCT_WIDTH];
    Place first, first_here; /* of the key in all, and in its present download */
    Repeats within, across;
} Distinct;

static int compare_places(const Place *one, const Place *other)
{
    if (one->download != other->download)
        return one->download < other->download ? -1 : 1;
    return one->line < other->line ? -1 : one->line > other->line;
}

static int compare_repeats(const Repeat *one, const Repeat *other)
{
    const int order = compare_places(&one->place, &other->place);
    return order ? order : compare_places(&one->first, &other->first);
}

static Folded add_repeat(Repeats *repeats, Repeat repeat)
{
    uint64_t *counts = grow(repeats->counts, &repeats->room, (size_t)repeat.place.download + 1, sizeof *counts);
    if (!counts)
        return NO_MEMORY;
    repeats->counts = counts;
    counts[repeat.place.download]++;
    if (repeats->kept == FIRST_REPEATS && compare_repeats(&repeat, &repeats->first[FIRST_REPEATS - 1]) >= 0)
        return FOLDED;
    int at = repeats->kept < FIRST_REPEATS ? repeats->kept++ : FIRST_REPEATS - 1;
    for (; at && compare_repeats(&repeat, &repeats->first[at - 1]) < 0; at--)
        repeats->first[at] = repeats->first[at - 1];
    repeats->first[at] = repeat;
    return FOLDED;
}

static Folded distinct_feed(Distinct *d, const uint8_t *records, size_t count)
{
    for (size_t i = 0; i < count; i++, records += DISTINCT_WIDTH) {
        if (d->keys && memcmp(records, d->last, DISTINCT_WIDTH) < 0)
            return NOT_IN_ORDER;
        const Place place = {(uint32_t)big_endian(records + KEY_BYTES, 3), big_endian(records + KEY_BYTES + 3, 5)};
        Folded folded = FOLDED;
        if (!d->keys || memcmp(records, d->last, KEY_BYTES)) {
            d->keys++;
            d->first = d->first_here = place;
        } else if (place.download != d->first_here.download) {
            folded = add_repeat(&d->across, (Repeat){place, d->first});
            d->first_here = place;
        } else {
            folded = add_repeat(&d->within, (Repeat){place, d->first_here});
        }
        if (folded != FOLDED)
            return folded;
        memcpy(d->last, records, DISTINCT_WIDTH);
    }
    return FOLDED;
}

static void distinct_free(Distinct *d)
{
    free(d->within.counts);
    free(d->across.counts);
    memset(d, 0, sizeof *d);
}
