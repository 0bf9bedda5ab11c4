/* One sort; sort.h includes this with its NAME and its WIDTH, a constant or `width`. */

#define JOINED(one, other) one##other
#define NAMED(one, other) JOINED(one, other)
#define FEW_NAME NAMED(NAME, _few)

/* Sort few records that have their first `depth` bytes in common. */
static void FEW_NAME(uint8_t *records, size_t count, unsigned width, unsigned depth)
{
    (void)width;
    Short order[FEW];
    for (size_t i = 0; i < count; i++) {
        const uint8_t *record = records + i * WIDTH;
        const uint64_t bytes = next_bytes(record + depth, WIDTH - depth);
        size_t at = i;
        for (; at && (order[at - 1].bytes > bytes ||
                      (order[at - 1].bytes == bytes && memcmp(order[at - 1].record, record, WIDTH) > 0));
             at--)
            order[at] = order[at - 1];
        order[at] = (Short){bytes, record};
    }
    uint8_t sorted[FEW * MAX_WIDTH];
    for (size_t i = 0; i < count; i++)
        memcpy(sorted + i * WIDTH, order[i].record, WIDTH);
    memcpy(records, sorted, count * WIDTH);
}

/* Sort records that have their first `depth` bytes in common. It calls itself once for each byte, at the most. */
static void NAME(uint8_t *records, size_t count, unsigned width, unsigned depth)
{
    size_t places[256], ends[256];
    for (;; depth++) { /* past bytes that all have in common */
        if (count < 2 || depth == WIDTH)
            return;
        if (count <= FEW) {
            FEW_NAME(records, count, width, depth);
            return;
        }
        memset(ends, 0, sizeof ends);
        for (size_t i = 0; i < count; i++)
            ends[records[i * WIDTH + depth]]++;
        if (ends[records[depth]] < count)
            break;
    }
    size_t end = 0;
    for (int byte = 0; byte < 256; byte++) {
        places[byte] = end;
        ends[byte] = end += ends[byte];
    }
    for (int byte = 0; byte < 256; byte++) {
        while (places[byte] < ends[byte]) {
            uint8_t held[MAX_WIDTH], other[MAX_WIDTH];
            uint8_t *hole = records + places[byte] * WIDTH;
            memcpy(held, hole, WIDTH);
            while (held[depth] != byte) { /* put it where it belongs, and take what is there */
                uint8_t *place = records + places[held[depth]]++ * WIDTH;
                memcpy(other, place, WIDTH);
                memcpy(place, held, WIDTH);
                memcpy(held, other, WIDTH);
            }
            memcpy(hole, held, WIDTH);
            places[byte]++;
        }
    }
    size_t begin = 0;
    for (int byte = 0; byte < 256; byte++) {
        NAME(records + begin * WIDTH, ends[byte] - begin, width, depth + 1);
        begin = ends[byte];
    }
}

#undef JOINED
#undef NAMED
#undef FEW_NAME
#undef NAME
#undef WIDTH
