/* Where delimiters, line feeds and quotes are, 64 bytes at a time, for each instruction set. */

#ifndef MOCKEXPORT_CSV_MASKS_H
#define MOCKEXPORT_CSV_MASKS_H

#include "instructions.h"

#ifdef FAST_PATH

typedef struct {
    uint64_t delimiter, line_feed, quote;
} Masks;

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

#if defined(__aarch64__)

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

#elif defined(__x86_64__)

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
#endif
#endif

#endif
