/* Records of one width, sorted in place: a radix sort from the first byte on ("American flag sort": McIlroy, Bostic and
   McIlroy, 1993). sort_width.h is compiled for the widths that are used most, and once for any. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MAX_WIDTH 32
#define FEW 48 /* records that are sorted by insertion */

/* The next 8 bytes of a record, or all that are left, as a number in the same order. */
static inline uint64_t next_bytes(const uint8_t *bytes, unsigned left)
{
    uint64_t number = 0;
    if (left >= 8)
        return (uint64_t)bytes[0] << 56 | (uint64_t)bytes[1] << 48 | (uint64_t)bytes[2] << 40 | (uint64_t)bytes[3] << 32 |
               (uint64_t)bytes[4] << 24 | (uint64_t)bytes[5] << 16 | (uint64_t)bytes[6] << 8 | (uint64_t)bytes[7];
    for (unsigned i = 0; i < left; i++)
        number |= (uint64_t)bytes[i] << (56 - 8 * i);
    return number;
}

typedef struct {
    uint64_t bytes; /* the first that can differ */
    const uint8_t *record;
} Short;

#define NAME sort_12
#define WIDTH 12
#include "sort_width.h"

#define NAME sort_24
#define WIDTH 24
#include "sort_width.h"

#define NAME sort_any
#define WIDTH width
#include "sort_width.h"

static void sort_records(uint8_t *records, size_t count, unsigned width)
{
    (width == 12 ? sort_12 : width == 24 ? sort_24 : sort_any)(records, count, width, 0);
}
