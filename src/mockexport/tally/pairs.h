/* The counts of a tally: an open-addressing table from (patient, event type) to a number.

   Entries stand one behind the other in the order in which they came, numbered from 1; `slots` holds, at the places that
   their hashes choose, the upper half of each hash and the number. Number 0 is an empty slot and an entry like no key. A field of up to 16 bytes is kept in the entry, padded with zeros; where one of the
   two is longer, both are kept in `text`, and the entry holds where. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SHORT_FIELD 16

typedef struct {
    uint64_t patient[2]; /* the field itself, or the place of both fields in `text` */
    uint64_t type[2];    /* the field itself, or zeros */
    uint64_t lengths;    /* of the patient, and of the type << 32 */
    uint64_t hash;
} Key;

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
} Pairs;

/* Which bytes of the two halves of a 16-byte load belong to a field of so many bytes. */
#define ALL UINT64_MAX
static const uint64_t LOW_BYTES_OF_16[17] = {
    0, ALL >> 56, ALL >> 48, ALL >> 40, ALL >> 32, ALL >> 24, ALL >> 16, ALL >> 8, ALL,
    ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL,
};
static const uint64_t HIGH_BYTES_OF_16[17] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0,
    ALL >> 56, ALL >> 48, ALL >> 40, ALL >> 32, ALL >> 24, ALL >> 16, ALL >> 8, ALL,
};
#undef ALL

static inline uint64_t load_8(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

/* The low bits choose the slot, and a product's low bits don't depend on the factor's high bits: on the last characters
   of an id of 8, which differ the most. So those are folded onto the first ones; by 28, because digits differ in their
   low 4 bits alone. */
static inline uint64_t hash_short(const Key *key)
{
    uint64_t patient = key->patient[0] ^ (key->patient[0] >> 28);
    uint64_t a = (patient ^ (key->type[1] << 7)) * 0x9e3779b97f4a7c15u;
    uint64_t b = (key->type[0] ^ key->lengths) * 0xc2b2ae3d27d4eb4fu;
    uint64_t c = key->patient[1] * 0xff51afd7ed558ccdu;
    uint64_t hash = a ^ ((b >> 31) | (b << 33)) ^ ((c >> 17) | (c << 47));
    return hash ^ (hash >> 32);
}

static inline uint64_t field_lengths(uint64_t patient_length, uint64_t type_length)
{
    return patient_length | type_length << 32;
}

static inline int is_short(uint64_t lengths)
{
    return (uint32_t)lengths <= SHORT_FIELD && lengths >> 32 <= SHORT_FIELD;
}

/* A key as it stands in an entry, but for the place in `text` of a long one. */
static Key make_key(const uint8_t *patient, uint64_t patient_length, const uint8_t *type, uint64_t type_length)
{
    Key key = {{0, 0}, {0, 0}, field_lengths(patient_length, type_length), 0};
    if (is_short(key.lengths)) {
        memcpy(key.patient, patient, patient_length);
        memcpy(key.type, type, type_length);
        key.hash = hash_short(&key);
        return key;
    }
    const uint8_t *fields[2] = {patient, type};
    uint64_t left[2] = {patient_length, type_length};
    uint64_t hash = key.lengths;
    for (int f = 0; f < 2; f++) {
        const uint8_t *p = fields[f];
        for (; left[f] >= 8; p += 8, left[f] -= 8)
            hash = mix(hash, load_8(p));
        uint64_t rest = 0;
        memcpy(&rest, p, left[f]);
        hash = mix(hash, rest);
    }
    key.hash = hash ^ (hash >> 32);
    return key;
}

static inline const uint8_t *entry_patient(const Pairs *pairs, const Entry *entry)
{
    return is_short(entry->key.lengths) ? (const uint8_t *)entry->key.patient : pairs->text + entry->key.patient[0];
}

static inline const uint8_t *entry_type(const Pairs *pairs, const Entry *entry)
{
    return is_short(entry->key.lengths) ? (const uint8_t *)entry->key.type
                                        : pairs->text + entry->key.patient[0] + (uint32_t)entry->key.lengths;
}

#ifdef __SSE2__
static inline int same_short(const Key *a, const Key *b)
{
    const __m128i *x = (const __m128i *)(const void *)a, *y = (const __m128i *)(const void *)b; /* the fields are first */
    __m128i patients = _mm_cmpeq_epi8(_mm_loadu_si128(x), _mm_loadu_si128(y));
    __m128i types = _mm_cmpeq_epi8(_mm_loadu_si128(x + 1), _mm_loadu_si128(y + 1));
    return _mm_movemask_epi8(_mm_and_si128(patients, types)) == 0xffff && a->lengths == b->lengths;
}
#else
static inline int same_short(const Key *a, const Key *b)
{
    return ((a->patient[0] ^ b->patient[0]) | (a->patient[1] ^ b->patient[1]) | (a->type[0] ^ b->type[0]) |
            (a->type[1] ^ b->type[1]) | (a->lengths ^ b->lengths)) == 0;
}
#endif

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
static uint64_t find_slot(const Pairs *pairs, const Key *key, const uint8_t *patient, const uint8_t *type)
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

static int pairs_grow(Pairs *pairs)
{
    uint64_t room = pairs->room ? pairs->room * 2 : 64;
    if (room > UINT32_MAX / 2)
        return -1;
    Entry *entries = realloc(pairs->entries, room * sizeof *entries);
    if (!entries)
        return -1;
    pairs->entries = entries;
    uint64_t *slots = calloc(room * 2, sizeof *slots);
    if (!slots)
        return -1;
    free(pairs->slots);
    pairs->slots = slots;
    pairs->mask = room * 2 - 1;
    pairs->room = room;
    if (!pairs->used)
        memset(&entries[pairs->used++], 0, sizeof *entries);
    for (uint64_t i = 1; i < pairs->used; i++) {
        uint64_t slot = entries[i].key.hash & pairs->mask;
        while (slots[slot])
            slot = (slot + 1) & pairs->mask;
        slots[slot] = slot_of(entries[i].key.hash, i);
    }
    return 0;
}

/* Add a key that is not there yet; 0, or -1 without memory. */
static int pairs_add(Pairs *pairs, Key key, const uint8_t *patient, const uint8_t *type, uint64_t count)
{
    if (pairs->used == pairs->room && pairs_grow(pairs))
        return -1;
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
    uint64_t slot = find_slot(pairs, &key, patient, type);
    Entry entry = {key, count, 0};
    pairs->slots[slot] = slot_of(key.hash, pairs->used);
    pairs->entries[pairs->used++] = entry;
    return 0;
}

static void pairs_free(Pairs *pairs)
{
    free(pairs->slots);
    free(pairs->entries);
    free(pairs->text);
    memset(pairs, 0, sizeof *pairs);
}

/* Valid UTF-8 as CPython decodes it: no overlong forms, no surrogates, nothing past U+10FFFF (RFC 3629). */
static int is_utf8(const uint8_t *p, uint64_t length)
{
    const uint8_t *end = p + length;
    while (p < end) {
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
