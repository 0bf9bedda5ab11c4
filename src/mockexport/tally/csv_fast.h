/* The fast path of the reader of rows, written once and compiled once for each instruction set: see each_set.h for the
   names that it finds.

   A row is read when it holds no quotes and as many delimiters as the header, and its keys are not empty; anything else is
   left to csv_rows.h, a row at a time. */

/* A row that doesn't end within 64 bytes. Returns where the next one begins, or NULL to leave it. */
TARGET static const uint8_t *NAME(read_long_row)(const CsvRows *r, CsvRow *row, const uint8_t *begin, const uint8_t *end)
{
    const uint8_t *starts[HEADER_COLUMNS] = {begin, begin, begin, begin};
    const uint8_t *stops[HEADER_COLUMNS] = {begin, begin, begin, begin};
    uint64_t cuts_seen = 0;
    for (const uint8_t *p = begin; end - p >= 64 + READABLE; p += 64) {
        Masks masks = MASKS(p, r->delimiter);
        uint64_t row_end = masks.line_feed & -masks.line_feed;
        uint64_t within = row_end - 1; /* all bits, when the row doesn't end here */
        if (masks.quote & within)
            return NULL;
        uint64_t cuts = (masks.delimiter & within) | row_end;
        uint64_t seen = COUNT(cuts);
        for (int i = 0; i < HEADER_COLUMNS; i++) {
            uint64_t stop = r->places[i] - cuts_seen; /* the cut that ends the field; the one before it begins it */
            if (stop - 1 < seen)
                starts[i] = p + LOWEST(SELECT(cuts, stop - 1)) + 1;
            if (stop < seen)
                stops[i] = p + LOWEST(SELECT(cuts, stop));
        }
        cuts_seen += seen;
        if (!row_end)
            continue;
        const uint8_t *line_feed = p + LOWEST(row_end);
        if (cuts_seen != r->columns || (uint64_t)(line_feed - begin) > r->max_row_bytes)
            return NULL;
        const uint8_t *row_stop = line_feed - (line_feed[-1] == '\r');
        for (int i = 0; i < HEADER_COLUMNS; i++) {
            row->fields[i].bytes = starts[i];
            row->fields[i].length = (uint64_t)((stops[i] < row_stop ? stops[i] : row_stop) - starts[i]);
        }
        row->whole.bytes = begin;
        row->whole.length = (uint64_t)(row_stop - begin);
        return row->fields[PATIENT_COLUMN].length && row->fields[TYPE_COLUMN].length ? line_feed + 1 : NULL;
    }
    return NULL;
}

/* Read rows from `p`, where one begins; return where the first one begins that is left. */
TARGET static const uint8_t *NAME(read_rows)(CsvRows *r, const uint8_t *p, const uint8_t *end)
{
    const uint64_t columns = r->columns;
    const uint64_t places[HEADER_COLUMNS] = {r->places[0], r->places[1], r->places[2], r->places[3]};
    const uint8_t delimiter = r->delimiter;
    unsigned used = 0;

    while (end - p >= 64 + READABLE) { /* a field may begin with the row's last byte */
        CsvRow *row = &r->batch[used];
        Masks masks = MASKS(p, delimiter);
        uint64_t row_end = masks.line_feed & -masks.line_feed;
        uint64_t within = row_end - 1;
        uint64_t cuts = (masks.delimiter & within) | row_end;
        const uint8_t *next;
        if (row_end > 1 && !(masks.quote & within) && COUNT(cuts) == columns) {
            const uint64_t begins = cuts << 1 | 1, length = LOWEST(row_end);
            const uint64_t row_stop = length - (p[length - 1] == '\r');
            for (int i = 0; i < HEADER_COLUMNS; i++) {
                const uint64_t start = LOWEST(SELECT(begins, places[i])), stop = LOWEST(SELECT(cuts, places[i]));
                row->fields[i].bytes = p + start;
                row->fields[i].length = (stop < row_stop ? stop : row_stop) - start;
            }
            row->whole.bytes = p;
            row->whole.length = row_stop;
            if (!row->fields[PATIENT_COLUMN].length || !row->fields[TYPE_COLUMN].length)
                break;
            next = p + length + 1;
        } else {
            next = row_end ? NULL : NAME(read_long_row)(r, row, p, end);
            if (!next)
                break;
        }
        row->has_quotes = 0;
        row->line = r->line + used;
        p = next;
        if (++used == ROWS_AT_A_TIME) {
            if (hand_on(r, used))
                return p;
            r->line += used;
            used = 0;
        }
    }
    if (used && !hand_on(r, used))
        r->line += used;
    return p;
}
