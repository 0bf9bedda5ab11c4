/* Event times as they stand in a body, free of Python, in microseconds since 1970: the rules are those of times.py. */

#ifndef MOCKEXPORT_EVENT_TIME_H
#define MOCKEXPORT_EVENT_TIME_H

#include "number.h"

#define SECOND 1000000
#define DAY ((int64_t)86400 * SECOND)
#define EARLIEST (-719162 * DAY)           /* the year 1 begins */
#define LATEST ((int64_t)2932897 * DAY - 1) /* the year 9999 ends */

/* The days from 1970 to a date of the Gregorian calendar, by counting years from March on; as the months then are in
   groups of five with 153 days. */
static inline int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
    const int64_t years = year - (month <= 2), months = (month + 9) % 12;
    return years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1 - 719468;
}

static inline int64_t days_of_month(int64_t year, int64_t month)
{
    static const int DAYS[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return DAYS[month - 1] + (month == 2 && is_leap);
}

/* Take a number of exactly so many digits; 0 where there are none. */
static inline int take_number(const uint8_t **at, const uint8_t *end, int digits, int64_t *number)
{
    const uint8_t *p = *at;
    *number = 0;
    if (end - p < digits)
        return 0;
    for (const uint8_t *stop = p + digits; p < stop; p++) {
        if (!is_digit(*p))
            return 0;
        *number = *number * 10 + (*p - '0');
    }
    *at = p;
    return 1;
}

static inline int take_byte(const uint8_t **at, const uint8_t *end, uint8_t byte)
{
    const int found = *at < end && **at == byte;
    *at += found;
    return found;
}

/* A year, a month or a date; `parts` tells how many of the three are there. */
RARE static int take_date(const uint8_t **at, const uint8_t *end, int64_t *time, int *parts)
{
    int64_t year, month = 1, day = 1;
    *parts = 1;
    if (!take_number(at, end, 4, &year))
        return 0;
    if (take_byte(at, end, '-')) {
        *parts = 2;
        if (!take_number(at, end, 2, &month))
            return 0;
        if (take_byte(at, end, '-')) {
            *parts = 3;
            if (!take_number(at, end, 2, &day))
                return 0;
        }
    }
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month))
        return 0;
    *time = days_since_1970(year, month, day) * DAY;
    return 1;
}

static int take_clock(const uint8_t **at, const uint8_t *end, int64_t *time)
{
    int64_t hour, minute, second;
    if (!take_number(at, end, 2, &hour) || !take_byte(at, end, ':') || !take_number(at, end, 2, &minute) ||
        !take_byte(at, end, ':') || !take_number(at, end, 2, &second) || hour > 23 || minute > 59 || second > 59)
        return 0;
    *time += (hour * 3600 + minute * 60 + second) * SECOND;
    if (take_byte(at, end, '.')) {
        const uint8_t *from = *at;
        for (int64_t unit = SECOND / 10; *at < end && is_digit(**at); unit /= 10)
            *time += (*(*at)++ - '0') * unit;
        return *at > from;
    }
    return 1;
}

/* How much a time is ahead of UTC. */
static int take_offset(const uint8_t **at, const uint8_t *end, int64_t *offset)
{
    *offset = 0;
    if (*at == end || take_byte(at, end, 'Z') || take_byte(at, end, 'z'))
        return 1;
    const int is_behind = take_byte(at, end, '-');
    int64_t hours, minutes = 0;
    if (!is_behind && !take_byte(at, end, '+'))
        return 0;
    if (!take_number(at, end, 2, &hours))
        return 0;
    if (*at < end) {
        take_byte(at, end, ':');
        if (!take_number(at, end, 2, &minutes))
            return 0;
    }
    *offset = (hours * 3600 + minutes * 60) * SECOND;
    *offset = is_behind ? -*offset : *offset;
    return hours <= 23 && minutes <= 59;
}

RARE static int parse_any_time(const uint8_t *p, const uint8_t *end, int64_t *time)
{
    int parts;
    int64_t offset;
    if (!take_date(&p, end, time, &parts))
        return 0;
    if (p == end)
        return 1;
    if (parts < 3 || !(take_byte(&p, end, 'T') || take_byte(&p, end, 't') || take_byte(&p, end, ' ')))
        return 0;
    if (!take_clock(&p, end, time) || !take_offset(&p, end, &offset) || p != end)
        return 0;
    *time -= offset;
    return *time >= EARLIEST && *time <= LATEST;
}

/* The date and the T of the time read last: the next one mostly has the same. */
typedef struct {
    uint64_t low, high; /* bytes 0 to 7 and 3 to 10; no date is all zeros */
    int64_t time;
} LatestDate;

#ifdef FAST_PATH
/* YYYY-MM-DDThh:mm:ssZ, or with six digits of a fraction; 27 bytes from `p` on may be read. */
static inline int parse_usual_time(const uint8_t *p, uint64_t length, LatestDate *latest, int64_t *time)
{
    if ((length != 27 && length != 20) || p[length - 1] != 'Z')
        return 0;
    if (load_8(p) != latest->low || load_8(p + 3) != latest->high) {
        int64_t day;
        int parts;
        const uint8_t *at = p;
        if (!take_date(&at, p + 10, &day, &parts) || at != p + 10 || p[10] != 'T')
            return 0;
        latest->low = load_8(p);
        latest->high = load_8(p + 3);
        latest->time = day;
    }
    uint64_t clock = load_8(p + 11) ^ 0x30303a30303a3030u; /* 00:00:00 */
    if (((clock + 0x76767f76767f7676u) | clock) & EACH_BYTE(0x80))
        return 0;
    clock = clock * 10 + (clock >> 8); /* each number in the byte of its first digit */
    const int64_t hour = clock & 0xff, minute = clock >> 24 & 0xff, second = clock >> 48 & 0xff;
    if (hour > 23 || minute > 59 || second > 59)
        return 0;
    *time = latest->time + (hour * 3600 + minute * 60 + second) * SECOND;
    if (length == 20)
        return 1;
    const uint64_t fraction = load_8(p + 19) ^ 0x5a3030303030302eu; /* .000000Z */
    if (!are_digits(fraction) || (fraction & 0xff))
        return 0;
    *time += (int64_t)number_of_digits(fraction << 8);
    return 1;
}
#endif

/* Read a time; 27 bytes from `p` on may be read, whatever the length. Returns 0 for anything else. */
static inline int parse_time(const uint8_t *p, uint64_t length, LatestDate *latest, int64_t *time)
{
#ifdef FAST_PATH
    if (parse_usual_time(p, length, latest, time))
        return 1;
#endif
    (void)latest;
    return parse_any_time(p, p + length, time);
}

#endif
