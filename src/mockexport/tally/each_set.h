/* FAST_PATH_FILE, compiled once for each instruction set. It finds

     NAME(x)      x with the instruction set's name behind it
     TARGET       the attribute that lets the compiler use it
     MASKS(p, d)  the 64 bytes at p as three bit masks: where the byte d, a line feed, a quote is (bit 0 is p[0])
     SELECT(m, k) a mask with the k-th set bit of m alone */

#ifdef FAST_PATH
#define NAME(x) x##_plain
#define TARGET
#define MASKS masks_plain
#define SELECT select_plain
#include FAST_PATH_FILE
#undef NAME
#undef TARGET
#undef MASKS
#undef SELECT

#if defined(__aarch64__)
#define NAME(x) x##_neon
#define TARGET
#define MASKS masks_neon
#define SELECT select_plain
#include FAST_PATH_FILE
#undef NAME
#undef TARGET
#undef MASKS
#undef SELECT
#elif defined(__x86_64__)
#define NAME(x) x##_sse2
#define TARGET
#define MASKS masks_sse2
#define SELECT select_plain
#include FAST_PATH_FILE
#undef NAME
#undef TARGET
#undef MASKS
#undef SELECT

#define NAME(x) x##_avx2
#define TARGET AVX2
#define MASKS masks_avx2
#define SELECT(mask, k) _pdep_u64(1ull << (k), mask)
#include FAST_PATH_FILE
#undef NAME
#undef TARGET
#undef MASKS
#undef SELECT

#define NAME(x) x##_avx512
#define TARGET AVX512
#define MASKS masks_avx512
#define SELECT(mask, k) _pdep_u64(1ull << (k), mask)
#include FAST_PATH_FILE
#undef NAME
#undef TARGET
#undef MASKS
#undef SELECT
#endif
#endif
#undef FAST_PATH_FILE
