/* The fast path, written once and compiled once for each instruction set: see ../each_set.h for the names that it finds.
   Here MASKS(p) is what the 64 bytes at p hold (bit 0 is p[0]), and bit i of NAME(parity)(m) the parity of the bits of m
   up to i.

   A row is gone through from bracket to bracket, outside of strings, for what stands directly in its object. */

/* Note where the value of a key stands whose colon is at `colon`. 0 if this is left to the careful path. */
TARGET static inline int NAME(take_key)(const uint8_t *row, uint32_t opening, uint32_t colon, uint64_t has_escapes,
                                        const Heads *heads, Found *found)
{
    static const uint64_t KEPT[9] = {0, UINT64_MAX >> 56, UINT64_MAX >> 48, UINT64_MAX >> 40, UINT64_MAX >> 32,
                                     UINT64_MAX >> 24, UINT64_MAX >> 16, UINT64_MAX >> 8, UINT64_MAX};
    uint32_t quote = colon - 1;
    while (row[quote] == ' ')
        quote--;
    if (row[quote] != '"' || quote <= opening)
        return 0;
    const uint8_t *key = row + opening + 1;
    const uint64_t length = quote - opening - 1;
    if (has_escapes && memchr(key, '\\', length))
        return 0;
    if (length > MAX_HEAD_BYTES)
        return 1;
    for (uint64_t head = heads->of_length[length]; head; head = heads->next[head]) {
        const uint64_t *words = heads->words[head - 1];
        if ((load_8(key) & KEPT[length < 8 ? length : 8]) != words[0] ||
            (load_8(key + 8) & KEPT[length < 8 ? 0 : length < 16 ? length - 8 : 8]) != words[1] ||
            (length > 16 && (load_8(key + 16) & KEPT[length - 16]) != words[2]))
            continue;
        uint32_t value = colon + 1;
        while (row[value] == ' ')
            value++;
        found->at[head - 1] = found->at[head - 1] ? STANDS_TWICE : value;
        break;
    }
    return 1;
}

/* Whether a row is an object whose quotes and brackets match; `found` gets the places of its values. Otherwise, and
   where anything is out of the ordinary, 0 leaves it to the careful path. PADDING bytes behind the row may be read. */
TARGET static int NAME(scan)(const uint8_t *row, uint64_t length, const Heads *heads, Found *found)
{
    uint64_t in_string = 0, escape_carry = 0, special = 0, kinds = 0, has_escapes = 0, wrong = 0;
    uint32_t depth = 0, opening = 0, end = 0;
    if (row[0] != '{')
        return 0;
    for (uint64_t base = 0; base < length; base += 64) {
        const Masks masks = MASKS(row + base);
        const uint64_t valid = length - base < 64 ? ((uint64_t)1 << (length - base)) - 1 : UINT64_MAX;
        special |= masks.special & valid;
        uint64_t quotes = masks.quote & valid;
        if (masks.backslash | escape_carry) {
            quotes &= ~find_escaped(masks.backslash, &escape_carry);
            has_escapes = 1;
        }
        const uint64_t strings = NAME(parity)(quotes) ^ in_string; /* opening quotes, and what they quote */
        const uint64_t outside = valid & ~strings, openings = quotes & strings;
        in_string = (uint64_t)((int64_t)strings >> 63);
        uint64_t brackets = (masks.open | masks.close) & outside, colons = masks.colon & outside;
        for (;;) {
            const uint64_t bracket = brackets & -brackets, before = bracket - 1; /* all bits, when there is none */
            if (depth == 1) {
                for (uint64_t here = colons & before; here; here &= here - 1) {
                    const uint64_t earlier = openings & ((here & -here) - 1);
                    const uint32_t latest = earlier ? (uint32_t)base + (uint32_t)HIGHEST(earlier) : opening;
                    if (!NAME(take_key)(row, latest, (uint32_t)base + (uint32_t)LOWEST(here), has_escapes, heads, found))
                        return 0;
                }
            }
            if (!bracket)
                break;
            colons &= ~before;
            brackets ^= bracket;
            const uint32_t at = (uint32_t)base + (uint32_t)LOWEST(bracket);
            const uint64_t kind = row[at] >> 5 & 1; /* one for { and }, none for [ and ] */
            const uint64_t opens = (masks.open & bracket) != 0;
            wrong |= ~opens & (kinds ^ kind) & 1; /* closes what is of the other kind */
            kinds = opens ? kinds << 1 | kind : kinds >> 1;
            depth += opens ? 1 : UINT32_MAX; /* less than none is very deep */
            if (depth - 1 < 64)
                continue;
            if (depth || end)
                return 0;
            end = at;
        }
        if (openings)
            opening = (uint32_t)base + (uint32_t)HIGHEST(openings);
    }
    if (!end || depth || wrong)
        return 0;
    while (++end < length) /* a string that is still open would begin here */
        if (row[end] != ' ')
            return 0;
    if (!special)
        return 1;
    for (uint64_t i = 0; i < length; i++)
        if (row[i] < 0x20)
            return 0;
    return is_utf8(row, length);
}
