/* The fast path: which instruction sets there are, and the one that this processor gets. */

#include "core.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && (defined(__GNUC__) || defined(__clang__))
#define FAST_PATH 1

#define BATCH 32
#define COUNT(mask) ((uint64_t)__builtin_popcountll(mask))
#define LOWEST(mask) ((uint64_t)__builtin_ctzll(mask))
#define PREFETCH(p) __builtin_prefetch(p)

typedef struct {
    uint64_t delimiter, line_feed, quote;
} Masks;

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

/* Eight bytes at a time, with plain arithmetic: bit i of the result tells whether byte i is `byte`. */
static inline uint64_t bytes_equal_8(uint64_t word, uint8_t byte)
{
    const uint64_t low_bits = 0x7f7f7f7f7f7f7f7fu;
    uint64_t x = word ^ (0x0101010101010101u * byte);
    uint64_t zero = ~(((x & low_bits) + low_bits) | x | low_bits); /* 0x80 where x has a zero byte, exactly */
    return ((zero >> 7) * 0x0102040810204080u) >> 56;
}

static inline Masks masks_plain(const uint8_t *p, uint8_t delimiter)
{
    Masks masks = {0, 0, 0};
    for (int i = 0; i < 8; i++) {
        uint64_t word = load_8(p + 8 * i);
        masks.delimiter |= bytes_equal_8(word, delimiter) << (8 * i);
        masks.line_feed |= bytes_equal_8(word, '\n') << (8 * i);
        masks.quote |= bytes_equal_8(word, '"') << (8 * i);
    }
    return masks;
}

static inline uint64_t select_plain(uint64_t mask, uint64_t k)
{
    while (k--)
        mask &= mask - 1;
    return mask & -mask;
}

#define NAME(x) x##_plain
#define TARGET
#define MASKS masks_plain
#define SELECT select_plain
#include "rows.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* A compare gives bytes of all bits; each keeps one bit of its own, and neighbours are added up until 64 bits are left. */
static inline uint64_t equal_neon(const uint8x16_t *v, uint8_t byte)
{
    static const uint8_t BITS[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t wanted = vdupq_n_u8(byte), bits = vld1q_u8(BITS);
    uint8x16_t low = vpaddq_u8(vandq_u8(vceqq_u8(v[0], wanted), bits), vandq_u8(vceqq_u8(v[1], wanted), bits));
    uint8x16_t high = vpaddq_u8(vandq_u8(vceqq_u8(v[2], wanted), bits), vandq_u8(vceqq_u8(v[3], wanted), bits));
    uint8x16_t sums = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

static inline Masks masks_neon(const uint8_t *p, uint8_t delimiter)
{
    const uint8x16_t v[4] = {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
    Masks masks = {equal_neon(v, delimiter), equal_neon(v, '\n'), equal_neon(v, '"')};
    return masks;
}

#define NAME(x) x##_neon
#define TARGET
#define MASKS masks_neon
#define SELECT select_plain
#include "rows.h"

static TakeRows take_rows(const char *name)
{
    return !name || !strcmp(name, "neon") ? rows_neon : !strcmp(name, "plain") ? rows_plain : NULL;
}
static const char *const INSTRUCTION_SETS[] = {"neon", "plain"}; /* the best one first */

#elif !defined(__x86_64__)

static TakeRows take_rows(const char *name)
{
    return !name || !strcmp(name, "plain") ? rows_plain : NULL;
}
static const char *const INSTRUCTION_SETS[] = {"plain"};

#else
#include <immintrin.h>

static inline uint64_t equal_sse2(const __m128i *v, uint8_t byte)
{
    const __m128i wanted = _mm_set1_epi8((char)byte);
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++)
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v[i], wanted)) << (16 * i);
    return mask;
}

static inline Masks masks_sse2(const uint8_t *p, uint8_t delimiter)
{
    __m128i v[4];
    memcpy(v, p, sizeof v);
    Masks masks = {equal_sse2(v, delimiter), equal_sse2(v, '\n'), equal_sse2(v, '"')};
    return masks;
}

#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,lzcnt,popcnt")))

AVX2 static inline uint64_t equal_avx2(__m256i low, __m256i high, uint8_t byte)
{
    const __m256i wanted = _mm256_set1_epi8((char)byte);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted)) << 32;
}

AVX2 static inline Masks masks_avx2(const uint8_t *p, uint8_t delimiter)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    Masks masks = {equal_avx2(low, high, delimiter), equal_avx2(low, high, '\n'), equal_avx2(low, high, '"')};
    return masks;
}

AVX512 static inline uint64_t equal_avx512(__m256i low, __m256i high, uint8_t byte)
{
    const __m256i wanted = _mm256_set1_epi8((char)byte);
    return _mm256_cmpeq_epi8_mask(low, wanted) | (uint64_t)_mm256_cmpeq_epi8_mask(high, wanted) << 32;
}

/* In halves all the same: a load of 64 bytes nearly always touches two cache lines, and took a fifth longer on Zen 5. */
AVX512 static inline Masks masks_avx512(const uint8_t *p, uint8_t delimiter)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    Masks masks = {equal_avx512(low, high, delimiter), equal_avx512(low, high, '\n'), equal_avx512(low, high, '"')};
    return masks;
}

#define NAME(x) x##_sse2
#define TARGET
#define MASKS masks_sse2
#define SELECT select_plain
#include "rows.h"

#define NAME(x) x##_avx2
#define TARGET AVX2
#define MASKS masks_avx2
#define SELECT(mask, k) _pdep_u64(1ull << (k), mask)
#include "rows.h"

#define NAME(x) x##_avx512
#define TARGET AVX512
#define MASKS masks_avx512
#define SELECT(mask, k) _pdep_u64(1ull << (k), mask)
#include "rows.h"

static TakeRows take_rows(const char *name)
{
    __builtin_cpu_init();
    const int bmi = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    const int avx2 = bmi && __builtin_cpu_supports("avx2");
    const int avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (!name) /* AVX-512 is behind AVX2 wherever it was measured, if by little */
        return avx2 ? rows_avx2 : rows_sse2;
    if (!strcmp(name, "avx512"))
        return avx512 ? rows_avx512 : NULL;
    if (!strcmp(name, "avx2"))
        return avx2 ? rows_avx2 : NULL;
    return !strcmp(name, "sse2") ? rows_sse2 : !strcmp(name, "plain") ? rows_plain : NULL;
}
static const char *const INSTRUCTION_SETS[] = {"avx2", "avx512", "sse2", "plain"}; /* the best one first */
#endif

#else /* another compiler, or big-endian: the careful path alone */
static const uint8_t *rows_plain(Tally *t, const uint8_t *p, const uint8_t *end)
{
    (void)t;
    (void)end;
    return p;
}

static TakeRows take_rows(const char *name)
{
    return !name || !strcmp(name, "plain") ? rows_plain : NULL;
}
static const char *const INSTRUCTION_SETS[] = {"plain"};
#endif
