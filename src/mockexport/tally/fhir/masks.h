/* The fast path: what 64 bytes hold, for each instruction set, and the one that this processor gets. */

#include "../instructions.h"
#include "resource.h"

#ifdef FAST_PATH

/* Bit i tells of byte i. `special` are control characters and bytes that are not ASCII. */
typedef struct {
    uint64_t quote, backslash, open, close, colon, special;
} Masks;

/* Which bytes are behind an odd number of backslashes. `carry` is whether the last block ended with such a number. */
static inline uint64_t find_escaped(uint64_t backslash, uint64_t *carry)
{
    uint64_t escaped = *carry;
    backslash &= ~escaped;
    *carry = 0;
    while (backslash) {
        const uint64_t first = backslash & -backslash;
        escaped |= first << 1;
        *carry |= first >> 63;
        backslash &= ~(first | first << 1);
    }
    return escaped;
}

/* Bit i of the result is the parity of the bits up to i: set from an opening quote to before the closing one. */
static inline uint64_t parity_plain(uint64_t mask)
{
    for (int shift = 1; shift < 64; shift *= 2)
        mask ^= mask << shift;
    return mask;
}

/* Eight bytes at a time, with plain arithmetic: bit i of the result tells whether the top bit of byte i is set. */
static inline uint64_t top_bits_8(uint64_t word)
{
    return (((word >> 7) & 0x0101010101010101u) * 0x0102040810204080u) >> 56;
}

static inline uint64_t equal_8(uint64_t word, uint8_t byte)
{
    const uint64_t low_bits = 0x7f7f7f7f7f7f7f7fu, x = word ^ (0x0101010101010101u * byte);
    return top_bits_8(~(((x & low_bits) + low_bits) | x));
}

static inline Masks masks_plain(const uint8_t *p)
{
    Masks masks = {0, 0, 0, 0, 0, 0};
    for (int i = 0; i < 8; i++) {
        const uint64_t word = load_8(p + 8 * i), lower = word | 0x2020202020202020u;
        masks.quote |= equal_8(word, '"') << (8 * i);
        masks.backslash |= equal_8(word, '\\') << (8 * i);
        masks.open |= equal_8(lower, '{') << (8 * i);
        masks.close |= equal_8(lower, '}') << (8 * i);
        masks.colon |= equal_8(word, ':') << (8 * i);
        masks.special |= (top_bits_8(word) | equal_8(word & 0xe0e0e0e0e0e0e0e0u, 0)) << (8 * i);
    }
    return masks;
}

#if defined(__aarch64__)

/* A compare gives bytes of all bits; each keeps one bit of its own, and neighbours are added up until 64 bits are left. */
static inline uint64_t bits_neon(const uint8x16_t *v)
{
    static const uint8_t BITS[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bits = vld1q_u8(BITS);
    const uint8x16_t low = vpaddq_u8(vandq_u8(v[0], bits), vandq_u8(v[1], bits));
    const uint8x16_t high = vpaddq_u8(vandq_u8(v[2], bits), vandq_u8(v[3], bits));
    const uint8x16_t sums = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

static inline uint64_t equal_neon(const uint8x16_t *v, uint8_t or, uint8_t byte)
{
    uint8x16_t equal[4];
    for (int i = 0; i < 4; i++)
        equal[i] = vceqq_u8(vorrq_u8(v[i], vdupq_n_u8(or)), vdupq_n_u8(byte));
    return bits_neon(equal);
}

static inline Masks masks_neon(const uint8_t *p)
{
    const uint8x16_t v[4] = {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
    uint8x16_t special[4];
    for (int i = 0; i < 4; i++)
        special[i] = vcltq_s8(vreinterpretq_s8_u8(v[i]), vdupq_n_s8(0x20));
    const Masks masks = {equal_neon(v, 0, '"'),    equal_neon(v, 0, '\\'), equal_neon(v, 0x20, '{'),
                         equal_neon(v, 0x20, '}'), equal_neon(v, 0, ':'),  bits_neon(special)};
    return masks;
}


#define parity_neon parity_plain

#elif defined(__x86_64__)
static inline uint64_t equal_sse2(const __m128i *v, char or, char byte)
{
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++)
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(
                    _mm_cmpeq_epi8(_mm_or_si128(v[i], _mm_set1_epi8(or)), _mm_set1_epi8(byte)))
                << (16 * i);
    return mask;
}

static inline Masks masks_sse2(const uint8_t *p)
{
    __m128i v[4];
    memcpy(v, p, sizeof v);
    Masks masks = {equal_sse2(v, 0, '"'),    equal_sse2(v, 0, '\\'), equal_sse2(v, 0x20, '{'),
                   equal_sse2(v, 0x20, '}'), equal_sse2(v, 0, ':'),  0};
    for (int i = 0; i < 4; i++)
        masks.special |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmplt_epi8(v[i], _mm_set1_epi8(0x20))) << (16 * i);
    return masks;
}

AVX2 static inline uint64_t bits_avx2(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

AVX2 static inline uint64_t equal_avx2(__m256i low, __m256i high, char byte)
{
    const __m256i wanted = _mm256_set1_epi8(byte);
    return bits_avx2(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted));
}

AVX2 static inline Masks masks_avx2(const uint8_t *p)
{
    const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)p);
    const __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    const __m256i case_bit = _mm256_set1_epi8(0x20); /* { and [ differ by it, and so do } and ] */
    const __m256i low_or = _mm256_or_si256(low, case_bit), high_or = _mm256_or_si256(high, case_bit);
    const Masks masks = {equal_avx2(low, high, '"'),       equal_avx2(low, high, '\\'),
                         equal_avx2(low_or, high_or, '{'), equal_avx2(low_or, high_or, '}'),
                         equal_avx2(low, high, ':'),
                         bits_avx2(_mm256_cmpgt_epi8(case_bit, low), _mm256_cmpgt_epi8(case_bit, high))};
    return masks;
}

AVX512 static inline Masks masks_avx512(const uint8_t *p)
{
    const __m512i v = _mm512_loadu_si512((const void *)p), lower = _mm512_or_si512(v, _mm512_set1_epi8(0x20));
    const Masks masks = {_mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"')),
                         _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\\')),
                         _mm512_cmpeq_epi8_mask(lower, _mm512_set1_epi8('{')),
                         _mm512_cmpeq_epi8_mask(lower, _mm512_set1_epi8('}')),
                         _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(':')),
                         _mm512_cmplt_epi8_mask(v, _mm512_set1_epi8(0x20))};
    return masks;
}

/* The product without carries by all ones. */
AVX2 static inline uint64_t parity_avx2(uint64_t mask)
{
    const __m128i product = _mm_clmulepi64_si128(_mm_set_epi64x(0, (int64_t)mask), _mm_set1_epi8((char)0xff), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

#define parity_sse2 parity_plain
#define parity_avx512 parity_avx2
#endif

#define FAST_PATH_FILE "fhir/scan.h"
#include "../each_set.h"

static Scan scan_of(enum instructions set)
{
    static const Scan SCANS[NO_SET] = OF_EACH_SET(scan);
    return SCANS[set];
}

#else
static Scan scan_of(enum instructions set) /* the careful path alone */
{
    (void)set;
    return NULL;
}
#endif
