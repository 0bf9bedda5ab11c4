/* The native generator, free of Python. The specification is specs.py and reference.py; the numbers are drawn as
   CPython's `random` draws them (Lib/random.py, Modules/_randommodule.c).

   Rows are made in blocks. `draw_block` takes the numbers from the Mersenne Twister in the order that the
   specification gives, and `shape_times` and `shape_values` turn them into times and values, many at a time. write.h
   writes them, as CSV or by templates. */

#ifndef GENERATE_H
#define GENERATE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 512 /* rows; even, because two rows share the two draws of a normal pair */
#define MAX_NAME 32
#define MAX_CHOICES 4096
#define MAX_MEAN 1e6
#define MAX_DEVIATION 1e3 /* what the approximation is good enough for */
#define DAY_MICROSECONDS 86400000000LL
#define YEAR_10000 (2932897 * DAY_MICROSECONDS) /* since 1970 */
#define TWISTER 624
#define TEMPLATE_PARTS 5

typedef struct {
    char text[MAX_NAME]; /* the name as it stands in a row, with the separators around it */
    uint32_t length;
} Name;

typedef struct {
    char *text;
    size_t length;
} Part;

typedef struct {
    Part parts[TEMPLATE_PARTS]; /* what stands around a row's number, patient, time and value */
} Template;

typedef struct {
    Name name; /* for CSV */
    Template template;
    double mean, deviation;
    int low, high;
} EventType;

typedef struct {
    uint32_t state[TWISTER], words[TWISTER];
    unsigned used; /* of the words */

    uint32_t patient_count, type_count, patient_bits, type_bits;
    const Name *patients;
    const EventType *types;
    int64_t rows_left, next_time, step; /* microseconds; times since 1970 */
    double step_seconds;

    int by_template;
    uint64_t number; /* of the next row; for templates alone */

    unsigned block_rows, block_used;
    uint16_t patient[BLOCK], type[BLOCK];
    double uniform[BLOCK];                /* [0, 1) */
    double angle[BLOCK / 2], radius[BLOCK / 2]; /* [0, 1): the two draws of a normal pair */
    double normal[BLOCK];
    int64_t time[BLOCK];
    int32_t value[BLOCK];

    int64_t day;   /* whose date `date` holds */
    char date[11]; /* 2025-08-26T */
} Generator;

/* target_clones needs ifunc, which musl lacks */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define MANY_AT_A_TIME __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define MANY_AT_A_TIME
#endif

/* ---- Drawing ---- */

static inline uint32_t twist(uint32_t upper, uint32_t lower, uint32_t far)
{
    uint32_t y = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return far ^ (y >> 1) ^ (-(y & 1u) & 0x9908b0dfu);
}

MANY_AT_A_TIME static void refill(Generator *g)
{
    uint32_t *s = g->state;
    for (int i = 0; i < 227; i++)
        s[i] = twist(s[i], s[i + 1], s[i + 397]);
    for (int i = 227; i < 454; i++)
        s[i] = twist(s[i], s[i + 1], s[i - 227]);
    for (int i = 454; i < TWISTER - 1; i++)
        s[i] = twist(s[i], s[i + 1], s[i - 227]);
    s[TWISTER - 1] = twist(s[TWISTER - 1], s[0], s[396]);
    for (int i = 0; i < TWISTER; i++) {
        uint32_t y = s[i];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680u;
        y ^= (y << 15) & 0xefc60000u;
        g->words[i] = y ^ (y >> 18);
    }
    g->used = 0;
}

static inline uint32_t next_word(Generator *g)
{
    if (g->used == TWISTER)
        refill(g);
    return g->words[g->used++];
}

static inline double next_double(Generator *g)
{
    uint32_t a = next_word(g) >> 5, b = next_word(g) >> 6;
    return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0);
}

/* Random._randbelow: as many bits as `count` has, again while they are too large. */
static inline uint32_t next_below(Generator *g, uint32_t count, uint32_t bits)
{
    uint32_t drawn;
    do
        drawn = next_word(g) >> (32 - bits);
    while (drawn >= count);
    return drawn;
}

static void draw_block(Generator *g)
{
    unsigned rows = g->rows_left < BLOCK ? (unsigned)g->rows_left : BLOCK;
    for (unsigned i = 0; i < rows; i++) {
        g->patient[i] = (uint16_t)next_below(g, g->patient_count, g->patient_bits);
        g->uniform[i] = next_double(g);
        g->type[i] = (uint16_t)next_below(g, g->type_count, g->type_bits);
        if (i % 2 == 0) {
            g->angle[i / 2] = next_double(g);
            g->radius[i / 2] = next_double(g);
        }
    }
    g->rows_left -= rows;
    g->block_rows = rows;
    g->block_used = 0;
}

/* ---- Shaping ---- */

/* Random.gauss: two independent normal values from an angle and a radius. */
static inline double exact_normal(const Generator *g, unsigned row)
{
    const double turn = 6.283185307179586 * g->angle[row / 2];
    const double radius = sqrt(-2.0 * log(1.0 - g->radius[row / 2]));
    return (row % 2 ? sin(turn) : cos(turn)) * radius;
}

/* The same to within 1e-10, by polynomials that the compiler can work out for several pairs at a time. */
MANY_AT_A_TIME static void approximate_normals(Generator *g)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        /* log(x) = exponent * log 2 + log m, m within [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)) */
        double x = 1.0 - g->radius[i];
        int64_t bits;
        memcpy(&bits, &x, 8);
        int64_t above = bits - 0x3fe6a09e667f3bcd; /* sqrt(1/2) */
        int64_t mantissa_bits = bits - (above & (int64_t)0xfff0000000000000);
        double m;
        memcpy(&m, &mantissa_bits, 8);
        /* the exponent, as a double, without a conversion that vectors lack: its bits below those of 2^52 * 1.5 */
        int64_t exponent_bits = (int64_t)(((uint64_t)above >> 52) ^ 0x800) + 0x4338000000000000;
        double exponent;
        memcpy(&exponent, &exponent_bits, 8);
        exponent -= 6755399441055744.0 + 2048.0;
        double s = (m - 1.0) / (m + 1.0), s2 = s * s;
        double series = 1.0 / 13 + s2 * (1.0 / 15);
        series = 1.0 / 11 + s2 * series;
        series = 1.0 / 9 + s2 * series;
        series = 1.0 / 7 + s2 * series;
        series = 1.0 / 5 + s2 * series;
        series = 1.0 / 3 + s2 * series;
        double logarithm = exponent * 0.6931471805599453 + 2.0 * s * (1.0 + s2 * series);
        double radius = sqrt(-2.0 * logarithm);

        /* the angle as quarters of a turn, the nearest whole one and a rest within an eighth of a turn */
        double quarters = 4.0 * g->angle[i];
        double shifted = quarters + 6755399441055744.0;
        int64_t quarter;
        memcpy(&quarter, &shifted, 8);
        double a = (quarters - (shifted - 6755399441055744.0)) * 1.5707963267948966, a2 = a * a;
        double sine = 1.0 / 362880 - a2 * (1.0 / 39916800);
        sine = 1.0 / 5040 - a2 * sine;
        sine = 1.0 / 120 - a2 * sine;
        sine = 1.0 / 6 - a2 * sine;
        sine = a * (1.0 - a2 * sine);
        double cosine = 1.0 / 3628800 - a2 * (1.0 / 479001600);
        cosine = 1.0 / 40320 - a2 * cosine;
        cosine = 1.0 / 720 - a2 * cosine;
        cosine = 1.0 / 24 - a2 * cosine;
        cosine = 0.5 - a2 * cosine;
        cosine = 1.0 - a2 * cosine;
        double along = quarter & 1 ? sine : cosine, across = quarter & 1 ? cosine : sine;
        along = (quarter + 1) & 2 ? -along : along;
        across = quarter & 2 ? -across : across;
        g->normal[2 * i] = along * radius;
        g->normal[2 * i + 1] = across * radius;
    }
}

/* timedelta(seconds=uniform(0, step)): microseconds, the fraction of a second rounded half to even. */
MANY_AT_A_TIME static void shape_times(Generator *g)
{
    for (int i = 0; i < BLOCK; i++) {
        double seconds = g->step_seconds * g->uniform[i];
        double whole = (double)(int32_t)seconds;
        double fraction = (seconds - whole) * 1e6;
        double rounded = (fraction + 6755399441055744.0) - 6755399441055744.0; /* 1.5 * 2^52: rounds half to even */
        g->time[i] = g->next_time + g->step * i + (int64_t)(int32_t)whole * 1000000 + (int32_t)rounded;
    }
    g->next_time += g->step * BLOCK;
}

static void shape_values(Generator *g)
{
    for (unsigned i = 0; i < g->block_rows; i++) {
        const EventType *type = &g->types[g->type[i]];
        double value = type->mean + g->normal[i] * type->deviation;
        /* int() cuts at whole numbers: where the approximation can't tell the side, ask the exact one. It is off by less
           than 1e-10 * MAX_DEVIATION. A radius of 0 gives the normal value -0.0 or 0.0 in both. */
        double nearest = (value + 6755399441055744.0) - 6755399441055744.0;
        if (fabs(value - nearest) < 1e-6)
            value = type->mean + exact_normal(g, i) * type->deviation;
        int32_t whole = (int32_t)value;
        g->value[i] = whole < type->low ? type->low : whole > type->high ? type->high : whole;
    }
}

static void next_block(Generator *g)
{
    draw_block(g);
    approximate_normals(g);
    shape_times(g);
    shape_values(g);
}

#endif
