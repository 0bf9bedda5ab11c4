/* Which instruction sets there are, and which of them this machine has.

   A fast path is a file that is written once and compiled once for each instruction set: define FAST_PATH_FILE, and
   include each_set.h. Where a compiler or a machine has none of this, there is no fast path, and FAST_PATH is not
   defined. */

#ifndef MOCKEXPORT_INSTRUCTIONS_H
#define MOCKEXPORT_INSTRUCTIONS_H

#include <stdint.h>
#include <string.h>

#include "keys.h"

enum instructions { PLAIN_SET, NEON_SET, SSE2_SET, AVX2_SET, AVX512_SET, NO_SET };
static const char *const SET_NAMES[NO_SET] = {"plain", "neon", "sse2", "avx2", "avx512"};

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && (defined(__GNUC__) || defined(__clang__))
#define FAST_PATH 1

#define COUNT(mask) ((uint64_t)__builtin_popcountll(mask))
#define LOWEST(mask) ((uint64_t)__builtin_ctzll(mask))
#define HIGHEST(mask) (63 - (uint64_t)__builtin_clzll(mask))
#define PREFETCH(p) __builtin_prefetch(p)
#define RARE __attribute__((noinline)) /* a function that leaves the registers to the loop that seldom calls it */

#if defined(__aarch64__)
#include <arm_neon.h>

#define OF_EACH_SET(name) {[PLAIN_SET] = name##_plain, [NEON_SET] = name##_neon}
static const enum instructions BEST_FIRST[] = {NEON_SET, PLAIN_SET};

static int has_set(enum instructions set)
{
    return set == NEON_SET || set == PLAIN_SET;
}

#elif !defined(__x86_64__)

#define OF_EACH_SET(name) {[PLAIN_SET] = name##_plain}
static const enum instructions BEST_FIRST[] = {PLAIN_SET};

static int has_set(enum instructions set)
{
    return set == PLAIN_SET;
}

#else
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,pclmul,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,lzcnt,pclmul,popcnt")))

#define OF_EACH_SET(name)                                                                                         \
    {[PLAIN_SET] = name##_plain, [SSE2_SET] = name##_sse2, [AVX2_SET] = name##_avx2, [AVX512_SET] = name##_avx512}

/* AVX-512 is behind AVX2 wherever it was measured, if by little. */
static const enum instructions BEST_FIRST[] = {AVX2_SET, AVX512_SET, SSE2_SET, PLAIN_SET};

static int has_set(enum instructions set)
{
    __builtin_cpu_init();
    const int bits = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                     __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("pclmul") &&
                     __builtin_cpu_supports("popcnt");
    const int avx2 = bits && __builtin_cpu_supports("avx2");
    const int avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return set == AVX512_SET ? avx512 : set == AVX2_SET ? avx2 : set == SSE2_SET || set == PLAIN_SET;
}
#endif

#else /* another compiler, or big-endian */
#define PREFETCH(p) ((void)(p))
#define RARE
#define OF_EACH_SET(name) {NULL}
static const enum instructions BEST_FIRST[] = {PLAIN_SET};

static int has_set(enum instructions set)
{
    return set == PLAIN_SET;
}
#endif

#define SETS_COMPILED (sizeof BEST_FIRST / sizeof *BEST_FIRST)

/* The set of this name, or the best one for NULL; NO_SET where this machine has none of this name. */
static enum instructions choose_set(const char *name)
{
    for (size_t i = 0; i < SETS_COMPILED; i++)
        if (has_set(BEST_FIRST[i]) && (!name || !strcmp(name, SET_NAMES[BEST_FIRST[i]])))
            return BEST_FIRST[i];
    return NO_SET;
}

#endif
