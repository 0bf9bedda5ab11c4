/* Decimal numbers as they stand in a body, free of Python: the rules are those of numbers.py. */

#ifndef MOCKEXPORT_NUMBER_H
#define MOCKEXPORT_NUMBER_H

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tally/instructions.h"

/* mantissa * 10^exponent; the mantissa has at most 18 digits, the last one not 0, and zero is 0 * 10^0. */
typedef struct {
    int64_t mantissa;
    int64_t exponent;
} Number;

#define DIGITS 18
#define LARGEST_DIGITS 179769313486231570u /* of 1.7976931348623157e308, the largest double */
#define LARGEST_POWER 308
#define SMALLEST_DIGITS 500000000000000000u /* of 5e-324 */
#define SMALLEST_POWER -324
#define LEAST_EXPONENT (SMALLEST_POWER - DIGITS + 1) /* that a number can have, and the greatest: */
#define GREATEST_EXPONENT LARGEST_POWER
#define EXPONENT_DIGITS 9 /* more of them are out of range, whatever the mantissa of a row is */

static const uint64_t POWERS_OF_10[DIGITS + 1] = {
    1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u, 10000000000u, 100000000000u,
    1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u, 100000000000000000u,
    1000000000000000000u,
};

static inline uint64_t magnitude(int64_t mantissa)
{
    return mantissa < 0 ? (uint64_t)-mantissa : (uint64_t)mantissa;
}

/* A number other than zero as digits, 18 of them, and the power of ten of the first one. */
typedef struct {
    uint64_t digits;
    int64_t power;
} Scaled;

static inline Scaled scaled(uint64_t mantissa, int64_t exponent)
{
    int count = 1;
    while (mantissa >= POWERS_OF_10[count])
        count++;
    const Scaled result = {mantissa * POWERS_OF_10[DIGITS - count], exponent + count - 1};
    return result;
}

/* Which of two numbers is larger, exactly: below 0, 0 or above 0, as with memcmp. */
static inline int compare_numbers(const Number *one, const Number *other)
{
    if (one->exponent == other->exponent)
        return (one->mantissa > other->mantissa) - (one->mantissa < other->mantissa);
    const int sign = (one->mantissa > 0) - (one->mantissa < 0);
    const int other_sign = (other->mantissa > 0) - (other->mantissa < 0);
    if (sign != other_sign || !sign)
        return sign - other_sign;
    const Scaled a = scaled(magnitude(one->mantissa), one->exponent);
    const Scaled b = scaled(magnitude(other->mantissa), other->exponent);
    return sign * (a.power != b.power ? (a.power > b.power) - (a.power < b.power)
                                      : (a.digits > b.digits) - (a.digits < b.digits));
}

static inline Number without_zeros(uint64_t mantissa, int64_t exponent, int is_negative)
{
    for (; mantissa % 10 == 0 && mantissa; exponent++)
        mantissa /= 10;
    const Number number = {is_negative ? -(int64_t)mantissa : (int64_t)mantissa, mantissa ? exponent : 0};
    return number;
}

static inline int is_digit(uint8_t byte)
{
    return (uint8_t)(byte - '0') < 10;
}

/* Digits as they come: the first 18 but for zeros in front, and how the others round. */
typedef struct {
    uint64_t mantissa, count;
    int first_dropped, more_dropped;
} Digits;

static inline const uint8_t *take_digits(Digits *digits, const uint8_t *p, const uint8_t *end)
{
    for (; p < end && is_digit(*p); p++) {
        const int digit = *p - '0';
        if (!digit && !digits->count)
            continue;
        if (digits->count < DIGITS)
            digits->mantissa = digits->mantissa * 10 + (uint64_t)digit;
        else if (digits->count == DIGITS)
            digits->first_dropped = digit;
        else
            digits->more_dropped |= digit;
        digits->count++;
    }
    return p;
}

/* Half to even. */
static inline int rounds_up(const Digits *digits)
{
    return digits->first_dropped > 5 ||
           (digits->first_dropped == 5 && (digits->more_dropped || digits->mantissa % 2));
}

RARE static int parse_any_number(const uint8_t *p, const uint8_t *end, Number *number)
{
    const int is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    Digits digits = {0, 0, 0, 0};
    const uint8_t *from = p;
    p = take_digits(&digits, p, end);
    if (p == from)
        return 0;
    int64_t exponent = 0;
    if (p < end && *p == '.') {
        from = ++p;
        p = take_digits(&digits, p, end);
        if (p == from)
            return 0;
        exponent = from - p;
    }
    Digits power = {0, 0, 0, 0};
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        const int is_below_one = p < end && *p == '-';
        p += p < end && (*p == '-' || *p == '+');
        from = p;
        p = take_digits(&power, p, end);
        if (p == from)
            return 0;
        if (power.count <= EXPONENT_DIGITS)
            exponent += is_below_one ? -(int64_t)power.mantissa : (int64_t)power.mantissa;
    }
    if (p != end || (digits.count && power.count > EXPONENT_DIGITS))
        return 0;
    if (digits.count > DIGITS) {
        exponent += (int64_t)(digits.count - DIGITS);
        digits.mantissa += (uint64_t)rounds_up(&digits);
    }
    *number = without_zeros(digits.mantissa, exponent, is_negative);
    if (!number->mantissa)
        return 1;
    const Scaled size = scaled(magnitude(number->mantissa), number->exponent);
    return !(size.power > LARGEST_POWER || (size.power == LARGEST_POWER && size.digits > LARGEST_DIGITS) ||
             size.power < SMALLEST_POWER || (size.power == SMALLEST_POWER && size.digits < SMALLEST_DIGITS));
}

#ifdef FAST_PATH
#define EACH_BYTE(byte) (0x0101010101010101u * (byte))

/* Whether bytes are digits: less than 10, once '0' was taken from each. */
static inline int are_digits(uint64_t word)
{
    return !(((word + EACH_BYTE(0x76)) | word) & EACH_BYTE(0x80));
}

/* The number of eight digits, the first one in the lowest byte: by pairs, then by fours. */
static inline uint64_t number_of_digits(uint64_t word)
{
    const uint64_t mask = 0x000000ff000000ffu;
    word = word * 10 + (word >> 8);
    return ((word & mask) * 0x000f424000000064u + ((word >> 16) & mask) * 0x0000271000000001u) >> 32;
}

/* Up to eight digits, of which some may stand behind a point; 16 bytes from `p` on may be read. */
static inline int parse_short_number(const uint8_t *p, uint64_t length, Number *number)
{
    const int is_negative = *p == '-';
    p += is_negative;
    length -= (uint64_t)is_negative;
    if (length - 1 >= 8)
        return 0;
    uint64_t word = load_8(p) << (64 - 8 * length); /* the last digit is in the highest byte */
    const uint64_t other = word ^ EACH_BYTE('.');
    const uint64_t points = (other - EACH_BYTE(0x01)) & ~other & EACH_BYTE(0x80); /* the lowest one is right */
    uint64_t behind = 0;
    if (points) {
        const uint64_t at = LOWEST(points) / 8;
        behind = 7 - at;
        if (!behind || at <= 8 - length)
            return 0;
        const uint64_t before = ((uint64_t)1 << 8 * at) - 1;
        word = (word & before) << 8 | (word & ~(before << 8 | 0xff));
        length--;
    }
    word ^= EACH_BYTE('0') << (64 - 8 * length);
    if (!are_digits(word))
        return 0;
    *number = without_zeros(number_of_digits(word), -(int64_t)behind, is_negative);
    return 1;
}
#endif

/* Read a number; 16 bytes from `p` on may be read, whatever the length. Returns 0 for anything else. */
static inline int parse_number(const uint8_t *p, uint64_t length, Number *number)
{
#ifdef FAST_PATH
    if (parse_short_number(p, length, number))
        return 1;
#endif
    return parse_any_number(p, p + length, number);
}

/* The nearest double of a number without its sign, half to even. Two doubles that are exact, and one operation, round
   once (Clinger, 1990); else the C library reads a text, which has no point, so that no locale matters. */
RARE static double nearest_double(const Number *number)
{
    const uint64_t mantissa = magnitude(number->mantissa);
#if FLT_EVAL_METHOD == 0
    static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const int64_t exponent = number->exponent;
    if (mantissa <= (uint64_t)1 << 53 && exponent >= -22 && exponent <= 22)
        return exponent < 0 ? (double)mantissa / POWERS[-exponent] : (double)mantissa * POWERS[exponent];
#endif
    char text[48];
    snprintf(text, sizeof text, "%llue%lld", (unsigned long long)mantissa, (long long)number->exponent);
    return strtod(text, NULL);
}

#define BUCKET_BITS 46 /* as in result.py */

/* The bucket of a number, as in result.py. */
static inline int64_t bucket_of(const Number *number)
{
    const double value = nearest_double(number);
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return number->mantissa < 0 ? ~(bits >> BUCKET_BITS) : bits >> BUCKET_BITS;
}

#endif
