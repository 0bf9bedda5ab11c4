/* How a row is written: as CSV, or by the template of its event type. The draws are those of generate.h. */

#include <stddef.h>

#include "generate.h"

#define MAX_CSV_ROW 128 /* two names, a time and a value */
#define MAX_TEMPLATE 4096
#define MAX_TEMPLATE_ROW (MAX_TEMPLATE + 128) /* and a number of 20 digits, a name, a time and a value */

static const char TWO_DIGITS[201] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                    "8081828384858687888990919293949596979899";

static inline void write_two(char *at, uint32_t n)
{
    memcpy(at, TWO_DIGITS + 2 * n, 2);
}

/* Days since 1970 to a date, in the proleptic Gregorian calendar, counted in eras of 400 years from 1 March 0000. */
static void write_date(char *at, int64_t day)
{
    int64_t shifted = day + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    uint32_t day_of_era = (uint32_t)(shifted - era * 146097);
    uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t month_from_march = (5 * day_of_year + 2) / 153;
    uint32_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    uint32_t year = (uint32_t)(year_of_era + era * 400) + (month <= 2);
    write_two(at, year / 100);
    write_two(at + 2, year % 100);
    at[4] = at[7] = '-';
    write_two(at + 5, month);
    write_two(at + 8, day_of_year - (153 * month_from_march + 2) / 5 + 1);
    at[10] = 'T';
}

/* Write a time, without the `Z`, into at least 29 bytes; return where it ends. */
static inline char *write_time(Generator *g, int64_t time, char *at)
{
    int64_t of_day = time - g->day * DAY_MICROSECONDS;
    if ((uint64_t)of_day >= (uint64_t)DAY_MICROSECONDS) {
        g->day = time / DAY_MICROSECONDS;
        of_day = time - g->day * DAY_MICROSECONDS;
        write_date(g->date, g->day);
    }
    memcpy(at, g->date, 11);
    uint32_t second = (uint32_t)((uint64_t)of_day / 1000000), microsecond = (uint32_t)((uint64_t)of_day % 1000000);
    uint32_t minute = second / 60;
    write_two(at + 11, minute / 60);
    at[13] = ':';
    write_two(at + 14, minute % 60);
    at[16] = ':';
    write_two(at + 17, second % 60);
    at += 19;
    if (microsecond) {
        at[0] = '.';
        write_two(at + 1, microsecond / 10000);
        write_two(at + 3, microsecond / 100 % 100);
        write_two(at + 5, microsecond % 100);
        at += 7;
    }
    return at;
}

/* Write a value from 0 to 999; return where it ends. */
static inline char *write_value(uint32_t value, char *at)
{
    if (value >= 100) {
        *at++ = (char)('0' + value / 100);
        value %= 100;
        write_two(at, value);
        at += 2;
    } else if (value >= 10) {
        write_two(at, value);
        at += 2;
    } else {
        *at++ = (char)('0' + value);
    }
    return at;
}

static inline char *write_name(const Name *name, char *at)
{
    memcpy(at, name->text, MAX_NAME); /* all of it: a copy of a known length is faster */
    return at + name->length;
}

/* Write one row into at least MAX_CSV_ROW bytes; return where it ends. */
static inline char *write_csv(Generator *g, unsigned row, char *at)
{
    at = write_name(&g->patients[g->patient[row]], at);
    at = write_time(g, g->time[row], at);
    at = write_name(&g->types[g->type[row]].name, at);
    at = write_value((uint32_t)g->value[row], at);
    *at++ = '\n';
    return at;
}

static inline char *write_number(uint64_t number, char *at)
{
    char digits[20], *first = digits + sizeof digits;
    do
        *--first = (char)('0' + number % 10);
    while (number /= 10);
    const size_t length = (size_t)(digits + sizeof digits - first);
    memcpy(at, first, length);
    return at + length;
}

static inline char *write_part(const Part *part, char *at)
{
    memcpy(at, part->text, part->length);
    return at + part->length;
}

/* Write one row into at least MAX_TEMPLATE_ROW bytes; return where it ends. */
static inline char *write_by_template(Generator *g, unsigned row, char *at)
{
    const EventType *type = &g->types[g->type[row]];
    const Part *parts = type->template.parts;
    at = write_part(&parts[0], at);
    at = write_number(g->number++, at);
    at = write_part(&parts[1], at);
    at = write_name(&g->patients[g->patient[row]], at);
    at = write_part(&parts[2], at);
    at = write_time(g, g->time[row], at);
    at = write_part(&parts[3], at);
    at = write_value((uint32_t)g->value[row], at);
    return write_part(&parts[4], at);
}

static inline ptrdiff_t longest_row(const Generator *g)
{
    return g->by_template ? MAX_TEMPLATE_ROW : MAX_CSV_ROW;
}

/* Write whole rows into `size` bytes; return how many bytes were written, 0 at the end. `by_template` is a constant. */
static inline size_t write_rows(Generator *g, char *out, size_t size, const int by_template)
{
    const ptrdiff_t longest = longest_row(g);
    char *at = out, *end = out + size;
    while (end - at >= longest) {
        if (g->block_used == g->block_rows) {
            if (g->rows_left <= 0)
                break;
            next_block(g);
        }
        at = by_template ? write_by_template(g, g->block_used++, at) : write_csv(g, g->block_used++, at);
    }
    return (size_t)(at - out);
}

static size_t generate(Generator *g, char *out, size_t size)
{
    return g->by_template ? write_rows(g, out, size, 1) : write_rows(g, out, size, 0);
}
