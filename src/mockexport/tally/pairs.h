/* The counts of a tally: an open-addressing table from (patient, event type) to a number.

   Entries stand one behind the other in the order in which they came, numbered from 1; `slots` holds, at the places that
   their hashes choose, the upper half of each hash and the number. Number 0 is an empty slot and an entry like no key. A
   field of up to 16 bytes is kept in the entry, padded with zeros; where one of the two is longer, both are kept in
   `text`, and the entry holds where. */

#ifndef MOCKEXPORT_PAIRS_H /* python.h includes it, too */
#define MOCKEXPORT_PAIRS_H

#include <stdlib.h>

#include "keys.h"

/* The furthest that an entry may be from the slot that its hash chooses. By chance it comes to
   about 30 among 100,000 entries, and to 45 among four million. Where one would be further away, all get other hashes, by
   another seed: so no key takes more than so many looks, whatever the keys are. */
#define LONGEST_PROBE 256
#define LEAST_SLOTS 2048 /* so that of some hundred entries nearly all are in the slot that their hash chooses */
#define MAX_PAIRS 1000000000 /* an entry's number has 32 bits, and there are twice as many slots */

#define UNASSIGNED_BYTE 0xff /* begins what stands in place of a patient, where there is none: it is not UTF-8 */

typedef struct {
    Key key;
    uint64_t count;
    uint64_t padding; /* an entry fills a cache line */
} Entry;

typedef struct {
    uint64_t *slots;
    uint64_t mask; /* slots - 1; there are always at least twice as many slots as entries */
    Entry *entries;
    uint64_t used, room; /* entries, number 0 included */
    uint8_t *text;
    uint64_t text_used, text_room;
    uint64_t key_bytes; /* of the fields of all entries */
    Seed seed;
    uint64_t seeds; /* how many there were before this one */
} Pairs;

static inline const uint8_t *entry_patient(const Pairs *pairs, const Entry *entry)
{
    return is_short(entry->key.lengths) ? (const uint8_t *)entry->key.patient : pairs->text + entry->key.patient[0];
}

static inline const uint8_t *entry_type(const Pairs *pairs, const Entry *entry)
{
    return is_short(entry->key.lengths) ? (const uint8_t *)entry->key.type
                                        : pairs->text + entry->key.patient[0] + (uint32_t)entry->key.lengths;
}

static inline int has_upper_half(uint64_t slot, uint64_t hash)
{
    return (slot ^ hash) >> 32 == 0;
}

/* The number of the entry that a key with this hash is likely to have: in its own slot or the next one. It may be any
   other. Without a branch, which would often be guessed wrong. */
static inline uint32_t likely_number(const Pairs *pairs, uint64_t hash)
{
    const uint64_t first = pairs->slots[hash & pairs->mask], second = pairs->slots[(hash + 1) & pairs->mask];
    const uint32_t is_second = -(uint32_t)!has_upper_half(first, hash);
    return ((uint32_t)first & ~is_second) | ((uint32_t)second & is_second);
}

/* The slot that holds the key, or the empty one where it belongs. The fields are looked at for long keys alone. */
static inline uint64_t find_slot(const Pairs *pairs, const Key *key, const uint8_t *patient, const uint8_t *type)
{
    uint64_t slot = key->hash & pairs->mask;
    for (;; slot = (slot + 1) & pairs->mask) {
        if (!(uint32_t)pairs->slots[slot])
            return slot;
        if (!has_upper_half(pairs->slots[slot], key->hash))
            continue;
        const Entry *entry = &pairs->entries[(uint32_t)pairs->slots[slot]];
        if (entry->key.hash != key->hash || entry->key.lengths != key->lengths)
            continue;
        if (is_short(key->lengths)) {
            if (same_short(&entry->key, key))
                return slot;
        } else if (!memcmp(entry_patient(pairs, entry), patient, (uint32_t)key->lengths) &&
                   !memcmp(entry_type(pairs, entry), type, key->lengths >> 32)) {
            return slot;
        }
    }
}

static inline uint64_t slot_of(uint64_t hash, uint64_t number)
{
    return (hash >> 32 << 32) | number;
}

static inline uint64_t probe_length(const Pairs *pairs, uint64_t hash, uint64_t slot)
{
    return (slot - hash) & pairs->mask;
}

/* Put all entries into slots; -1 when one would be too far away. */
static int fill_slots(Pairs *pairs)
{
    memset(pairs->slots, 0, (pairs->mask + 1) * sizeof *pairs->slots);
    for (uint64_t i = 1; i < pairs->used; i++) {
        const uint64_t hash = pairs->entries[i].key.hash;
        uint64_t slot = hash & pairs->mask;
        while (pairs->slots[slot])
            slot = (slot + 1) & pairs->mask;
        if (probe_length(pairs, hash, slot) > LONGEST_PROBE)
            return -1;
        pairs->slots[slot] = slot_of(hash, i);
    }
    return 0;
}

/* Give all entries other hashes, until none is too far away: by chance, one in 10^12 seeds or fewer leaves one so. */
static void pairs_change_seed(Pairs *pairs)
{
    do {
        change_seed(&pairs->seed);
        pairs->seeds++;
        for (uint64_t i = 1; i < pairs->used; i++) {
            Entry *entry = &pairs->entries[i];
            entry->key.hash = is_short(entry->key.lengths)
                                  ? hash_short(&pairs->seed, &entry->key)
                                  : hash_long(&pairs->seed, entry->key.lengths, entry_patient(pairs, entry),
                                              entry_type(pairs, entry));
        }
    } while (fill_slots(pairs));
}

static int pairs_grow(Pairs *pairs)
{
    uint64_t room = pairs->room ? pairs->room * 2 : 64;
    if (room > UINT32_MAX / 2)
        return -1;
    Entry *entries = realloc(pairs->entries, room * sizeof *entries);
    if (!entries)
        return -1;
    pairs->entries = entries;
    const uint64_t wanted = room * 2 < LEAST_SLOTS ? LEAST_SLOTS : room * 2;
    uint64_t *slots = malloc(wanted * sizeof *slots);
    if (!slots)
        return -1;
    free(pairs->slots);
    pairs->slots = slots;
    pairs->mask = wanted - 1;
    pairs->room = room;
    if (!pairs->used)
        memset(&entries[pairs->used++], 0, sizeof *entries);
    if (fill_slots(pairs))
        pairs_change_seed(pairs);
    return 0;
}

static inline int pairs_init(Pairs *pairs, const uint8_t *seed)
{
    memcpy(&pairs->seed, seed, sizeof pairs->seed);
    return pairs_grow(pairs);
}

/* The furthest that an entry is from the slot that its hash chooses. */
static inline uint64_t longest_probe(const Pairs *pairs)
{
    uint64_t longest = 0;
    for (uint64_t slot = 0; pairs->slots && slot <= pairs->mask; slot++) {
        const uint32_t number = (uint32_t)pairs->slots[slot];
        const uint64_t length = number ? probe_length(pairs, pairs->entries[number].key.hash, slot) : 0;
        longest = length > longest ? length : longest;
    }
    return longest;
}

/* Add a key that is not there yet, with its hash by the present seed; 0, or -1 without memory. There is always room for
   one more: what makes room may change the seed, and with it the hash that a key should have. */
static inline int pairs_add(Pairs *pairs, Key key, const uint8_t *patient, const uint8_t *type, uint64_t count)
{
    pairs->key_bytes += (uint32_t)key.lengths + (key.lengths >> 32);
    if (!is_short(key.lengths)) {
        uint64_t patient_length = (uint32_t)key.lengths, type_length = key.lengths >> 32;
        uint64_t needed = pairs->text_used + patient_length + type_length;
        if (needed > pairs->text_room) {
            uint8_t *text = realloc(pairs->text, needed * 2);
            if (!text)
                return -1;
            pairs->text = text;
            pairs->text_room = needed * 2;
        }
        memcpy(pairs->text + pairs->text_used, patient, patient_length);
        memcpy(pairs->text + pairs->text_used + patient_length, type, type_length);
        key.patient[0] = pairs->text_used;
        pairs->text_used = needed;
    }
    uint64_t slot = key.hash & pairs->mask;
    while (pairs->slots[slot])
        slot = (slot + 1) & pairs->mask;
    Entry entry = {key, count, 0};
    pairs->slots[slot] = slot_of(key.hash, pairs->used);
    pairs->entries[pairs->used++] = entry;
    if (probe_length(pairs, key.hash, slot) > LONGEST_PROBE)
        pairs_change_seed(pairs);
    return pairs->used == pairs->room ? pairs_grow(pairs) : 0;
}

static inline void pairs_free(Pairs *pairs)
{
    free(pairs->slots);
    free(pairs->entries);
    free(pairs->text);
    memset(pairs, 0, sizeof *pairs);
}

#define PAIR_BYTES 256 /* as in contract.py */
enum room { ROOM, TOO_MANY, TOO_LARGE };

/* Whether one more pair, with fields of these lengths, is within a limit of so many. */
static inline enum room room_for(const Pairs *pairs, uint64_t lengths, uint64_t max_pairs)
{
    if (pairs->used > max_pairs) /* number 0 is in use, too */
        return TOO_MANY;
    return pairs->key_bytes + (uint32_t)lengths + (lengths >> 32) > max_pairs * PAIR_BYTES ? TOO_LARGE : ROOM;
}

/* Valid UTF-8 as CPython decodes it: no overlong forms, no surrogates, nothing past U+10FFFF (RFC 3629). */
static int is_utf8(const uint8_t *p, uint64_t length)
{
    const uint8_t *end = p + length;
    while (p < end) {
        if (end - p >= 8 && !(load_8(p) & 0x8080808080808080u)) {
            p += 8;
            continue;
        }
        uint8_t lead = *p++;
        if (lead < 0x80)
            continue;
        int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || end - p < more)
            return 0;
        uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (*p < low || *p > high)
            return 0;
        for (p++; more > 1; more--, p++)
            if (*p < 0x80 || *p > 0xbf)
                return 0;
    }
    return 1;
}

#endif
