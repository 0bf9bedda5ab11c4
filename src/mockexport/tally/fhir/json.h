/* JSON (RFC 8259): a check of its grammar, and a walk through text that has passed it.

   PADDING bytes behind the text may be read. */

#include "core.h"

static const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

static inline int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* Whether one of eight bytes may be a quote, a backslash or a control character; if so, one of them surely is. */
static inline int has_special_8(const uint8_t *p)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7, word = load_8(p);
    const uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    return (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((word - ones * 0x20) & ~word)) & tops ? 1 : 0;
}

/* The end of a string whose quote is at `p`; NULL if it is not valid. */
static const uint8_t *check_string(const uint8_t *p, const uint8_t *end)
{
    for (p++; p < end; p++) {
        while (!has_special_8(p)) {
            p += 8;
            if (p >= end)
                return NULL;
        }
        while (*p != '"' && *p != '\\' && *p >= 0x20)
            p++;
        if (p >= end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if (*p < 0x20 || ++p == end || !memchr("\"\\/bfnrtu", *p, 9)) /* behind a backslash */
            return NULL;
        if (*p != 'u')
            continue;
        if (end - p < 5)
            return NULL;
        for (int i = 0; i < 4; i++)
            if (hex_digit(*++p) < 0)
                return NULL;
    }
    return NULL;
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* The end of a number, true, false or null at `p`; NULL if it is none of these. */
static const uint8_t *check_scalar(const uint8_t *p, const uint8_t *end)
{
    const char *literal = *p == 't' ? "true" : *p == 'f' ? "false" : *p == 'n' ? "null" : NULL;
    if (literal) {
        const size_t length = strlen(literal);
        return (size_t)(end - p) >= length && !memcmp(p, literal, length) ? p + length : NULL;
    }
    p += p < end && *p == '-';
    const uint8_t *digits = p;
    p = skip_digits(p, end);
    if (p == digits)
        return NULL;
    if (*digits == '0')
        p = digits + 1;
    if (end - p >= 2 && *p == '.' && p[1] >= '0' && p[1] <= '9')
        p = skip_digits(p + 1, end);
    if (end - p >= 2 && (*p | 0x20) == 'e') {
        const uint8_t *exponent = p + 1 + (p[1] == '+' || p[1] == '-');
        if (skip_digits(exponent, end) > exponent)
            p = skip_digits(exponent, end);
    }
    return p;
}

/* The end of an object or a list whose bracket is at `p`; NULL with the first problem from left to right. */
static const uint8_t *check_container(const uint8_t *p, const uint8_t *end, enum problem *problem)
{
    uint64_t is_object[MAX_DEPTH / 64 + 1];
    int depth = 0, in_object;
    *problem = NOT_VALID;
open:
    if (depth == MAX_DEPTH) {
        *problem = TOO_DEEP;
        return NULL;
    }
    in_object = *p == '{';
    is_object[depth / 64] = (is_object[depth / 64] & ~((uint64_t)1 << depth % 64)) | (uint64_t)in_object << depth % 64;
    depth++;
    p = skip_space(p + 1, end);
    if (p < end && *p == (in_object ? '}' : ']'))
        goto close;
item:
    p = skip_space(p, end);
    if (in_object) {
        if (p == end || *p != '"' || !(p = check_string(p, end)))
            return NULL;
        p = skip_space(p, end);
        if (p == end || *p != ':')
            return NULL;
        p = skip_space(p + 1, end);
    }
    if (p == end)
        return NULL;
    if (*p == '{' || *p == '[')
        goto open;
    p = *p == '"' ? check_string(p, end) : check_scalar(p, end);
    if (!p)
        return NULL;
after:
    p = skip_space(p, end);
    if (p == end)
        return NULL;
    if (*p == ',') {
        p++;
        goto item;
    }
    if (*p != (in_object ? '}' : ']'))
        return NULL;
close:
    p++;
    if (!--depth)
        return p;
    in_object = is_object[(depth - 1) / 64] >> (depth - 1) % 64 & 1;
    goto after;
}

/* From here on, the text has passed the check. */

static const uint8_t *skip_string(const uint8_t *p)
{
    for (p++;; p += 2) {
        while (!has_special_8(p))
            p += 8;
        while (*p != '"' && *p != '\\')
            p++;
        if (*p == '"')
            return p + 1;
    }
}

static const uint8_t *skip_value(const uint8_t *p)
{
    uint64_t depth = 0;
    do {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        else if (!depth)
            while (p[1] != ',' && p[1] != '}' && p[1] != ']')
                p++;
        p++;
    } while (depth);
    return p;
}

static const uint8_t *skip_space_inside(const uint8_t *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

static inline uint32_t code_unit(const uint8_t *p)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++)
        unit = unit << 4 | (uint32_t)hex_digit(p[i]);
    return unit;
}

/* What an escape stands for, a UTF-16 code unit; `p` is behind the backslash, and goes to behind the escape. */
static uint32_t read_escape(const uint8_t **p)
{
    static const char LETTERS[] = "bfnrt", CONTROLS[] = "\b\f\n\r\t";
    const uint8_t letter = *(*p)++;
    if (letter == 'u') {
        *p += 4;
        return code_unit(*p - 4);
    }
    const char *found = memchr(LETTERS, letter, 5);
    return found ? (uint32_t)CONTROLS[found - LETTERS] : letter;
}

/* Whether the string at `p` is this ASCII name. */
static int string_is(const uint8_t *p, Span name)
{
    uint64_t i = 0;
    if (p[1] != '\\' && p[1] != (name.length ? name.bytes[0] : '"')) /* as most are */
        return 0;
    for (p++; *p != '"'; i++) {
        uint32_t unit = *p++;
        if (unit == '\\')
            unit = read_escape(&p);
        if (i == name.length || unit != name.bytes[i])
            return 0;
    }
    return i == name.length;
}

/* Go through an object: `p` is behind its bracket, or behind a value of it. Returns the next key, or NULL at the end. */
static const uint8_t *next_key(const uint8_t *p, const uint8_t **value)
{
    p = skip_space_inside(p);
    if (*p == ',')
        p = skip_space_inside(p + 1);
    if (*p == '}')
        return NULL;
    *value = skip_space_inside(skip_space_inside(skip_string(p)) + 1);
    return p;
}

/* Go through a list in the same way. Returns the next item, or NULL at the end. */
static const uint8_t *next_item(const uint8_t *p)
{
    p = skip_space_inside(p);
    if (*p == ',')
        p = skip_space_inside(p + 1);
    return *p == ']' ? NULL : p;
}

/* Go through the objects of a list, or take the one that stands in place of it: `latest` is NULL at first, then what was
   returned. Returns NULL at the end. */
static inline const uint8_t *next_object(const uint8_t *value, const uint8_t *latest)
{
    if (*value == '{')
        return latest ? NULL : value;
    const uint8_t *item = *value == '[' ? next_item(latest ? skip_value(latest) : value + 1) : NULL;
    while (item && *item != '{')
        item = next_item(skip_value(item));
    return item;
}

/* Find a member of an object; NULL if there is none. -1 if there are two. */
static int find_member(const uint8_t *object, Span name, const uint8_t **found)
{
    const uint8_t *value = object, *key, *after = object + 1;
    for (*found = NULL; (key = next_key(after, &value)); after = skip_value(value)) {
        if (!string_is(key, name))
            continue;
        if (*found)
            return -1;
        *found = value;
    }
    return 0;
}

static int append_utf8(Text *text, uint32_t c)
{
    const uint8_t long_form[4] = {(uint8_t)(c < 0x800     ? 0xc0 | c >> 6
                                            : c < 0x10000 ? 0xe0 | c >> 12
                                                          : 0xf0 | c >> 18),
                                  0x80 | (c >> 12 & 0x3f), 0x80 | (c >> 6 & 0x3f), 0x80 | (c & 0x3f)};
    const uint8_t ascii = (uint8_t)c;
    if (c < 0x80)
        return text_append(text, &ascii, 1);
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    return text_append(text, long_form, 1) || text_append(text, long_form + 4 - more, (uint64_t)more) ? -1 : 0;
}

/* Append the string at `p` to a text, its escapes resolved; or the problem. */
static enum problem append_string(Text *text, const uint8_t *p)
{
    for (p++; *p != '"';) {
        const uint8_t *from = p;
        while (*p != '"' && *p != '\\')
            p++;
        if (text_append(text, from, (uint64_t)(p - from)))
            return NO_MEMORY;
        if (*p == '"')
            break;
        p++;
        uint32_t c = read_escape(&p);
        if (c >= 0xd800 && c < 0xdc00 && p[0] == '\\' && p[1] == 'u') {
            const uint32_t low = code_unit(p + 2);
            if (low >= 0xdc00 && low < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
            }
        }
        if (c >= 0xd800 && c < 0xe000)
            return NOT_UNICODE;
        if (append_utf8(text, c))
            return NO_MEMORY;
    }
    return NO_PROBLEM;
}
