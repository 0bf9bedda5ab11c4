/* A key of the counts, the pair of patient and event type, and its hash.

   The hash is keyed: a seed of random words goes into every multiplication, so nobody who doesn't know the seed can make
   keys that share a hash. A seed belongs to one tally, and nothing that a tally tells depends on it. */

#ifndef MOCKEXPORT_KEYS_H
#define MOCKEXPORT_KEYS_H

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SHORT_FIELD 16
#define SEED_WORDS 5

typedef struct {
    uint64_t patient[2]; /* the field itself, or the place of both fields in `text` (pairs.h) */
    uint64_t type[2];    /* the field itself, or zeros */
    uint64_t lengths;    /* of the patient, and of the type << 32 */
    uint64_t hash;
} Key;

typedef struct {
    uint64_t words[SEED_WORDS];
} Seed;

typedef struct {
    uint64_t low, high;
} Product;

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

static inline Product multiply(uint64_t a, uint64_t b)
{
#if defined(__SIZEOF_INT128__) && !defined(NO_INT128)
    __extension__ typedef unsigned __int128 Wide;
    const Wide product = (Wide)a * b;
    const Product result = {(uint64_t)product, (uint64_t)(product >> 64)};
#else
    const uint64_t low_a = (uint32_t)a, high_a = a >> 32, low_b = (uint32_t)b, high_b = b >> 32;
    const uint64_t low = low_a * low_b, one = high_a * low_b + (low >> 32), other = low_a * high_b + (uint32_t)one;
    const Product result = {other << 32 | (uint32_t)low, high_a * high_b + (one >> 32) + (other >> 32)};
#endif
    return result;
}

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    const Product product = multiply(a, b);
    return product.low ^ product.high;
}

/* Two products, not one after the other: this is half of what a row takes. The lengths tell fields apart that differ in
   zeros at their ends alone. */
static inline uint64_t hash_short(const Seed *seed, const Key *key)
{
    const uint64_t *s = seed->words;
    return fold(key->patient[0] ^ s[0], key->type[0] ^ s[1]) ^
           fold(key->patient[1] ^ s[2], (key->type[1] ^ s[3]) + key->lengths * s[4]);
}

static inline uint64_t hash_field(const Seed *seed, uint64_t hash, const uint8_t *p, uint64_t length)
{
    for (; length > 16; p += 16, length -= 16)
        hash = fold(load_8(p) ^ seed->words[0], (load_8(p + 8) ^ seed->words[1]) + hash);
    uint64_t rest[2] = {0, 0};
    memcpy(rest, p, length);
    return fold(rest[0] ^ seed->words[2], (rest[1] ^ seed->words[3]) + hash);
}

static inline uint64_t hash_long(const Seed *seed, uint64_t lengths, const uint8_t *patient, const uint8_t *type)
{
    uint64_t hash = lengths * seed->words[4];
    hash = hash_field(seed, hash, patient, (uint32_t)lengths);
    return hash_field(seed, hash, type, lengths >> 32);
}

/* Another seed, made of this one. */
static inline void change_seed(Seed *seed)
{
    for (int i = 0; i < SEED_WORDS; i++) {
        const uint64_t word = seed->words[i] + 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        seed->words[i] = fold(word ^ 0xbf58476d1ce4e5b9u, 0x94d049bb133111ebu) ^ word;
    }
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
static inline Key make_key(const Seed *seed, const uint8_t *patient, uint64_t patient_length, const uint8_t *type,
                           uint64_t type_length)
{
    Key key = {{0, 0}, {0, 0}, field_lengths(patient_length, type_length), 0};
    if (is_short(key.lengths)) {
        memcpy(key.patient, patient, patient_length);
        memcpy(key.type, type, type_length);
        key.hash = hash_short(seed, &key);
    } else {
        key.hash = hash_long(seed, key.lengths, patient, type);
    }
    return key;
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

#endif
