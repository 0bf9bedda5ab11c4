/* The fast path, written once and compiled once for each instruction set: see each_set.h for the names that it finds.

   A row is taken when it holds no quotes and as many delimiters as the header; anything else is left to the careful path,
   a row at a time. Rows are gathered into batches, so that looking them up in the table overlaps with reading the next ones. */

/* A row that doesn't end within 64 bytes, or with a key field of more than 16. Returns where the next one begins, or NULL
   to leave it to the careful path. */
TARGET static const uint8_t *NAME(long_row)(const Tally *t, Batch *batch, const uint8_t *row, const uint8_t *end)
{
    const uint64_t columns[2] = {t->patient_column, t->type_column};
    const uint8_t *starts[2] = {row, row}, *stops[2] = {row, row};
    const uint8_t delimiter = t->delimiter;
    uint64_t cuts_seen = 0;
    for (const uint8_t *p = row; end - p >= 64; p += 64) {
        Masks masks = MASKS(p, delimiter);
        uint64_t row_end = masks.line_feed & -masks.line_feed;
        uint64_t within = row_end - 1; /* all bits, when the row doesn't end here */
        if (masks.quote & within)
            return NULL;
        uint64_t cuts = (masks.delimiter & within) | row_end;
        uint64_t seen = COUNT(cuts);
        for (int f = 0; f < 2; f++) {
            uint64_t stop = columns[f] - cuts_seen; /* the cut that ends the field; the one before it begins it */
            if (stop - 1 < seen)
                starts[f] = p + LOWEST(SELECT(cuts, stop - 1)) + 1;
            if (stop < seen)
                stops[f] = p + LOWEST(SELECT(cuts, stop));
        }
        cuts_seen += seen;
        if (!row_end)
            continue;
        const uint8_t *line_feed = p + LOWEST(row_end);
        if (cuts_seen != t->columns || (uint64_t)(line_feed - row) > t->max_row_bytes)
            return NULL;
        for (int f = 0; f < 2; f++)
            if (stops[f] == line_feed && line_feed[-1] == '\r')
                stops[f]--;
        if (starts[0] == stops[0] || starts[1] == stops[1])
            return NULL;
        batch->patients[batch->used] = starts[0];
        batch->types[batch->used] = starts[1];
        batch->keys[batch->used++] =
            make_key(&t->pairs.seed, starts[0], (uint64_t)(stops[0] - starts[0]), starts[1], (uint64_t)(stops[1] - starts[1]));
        return line_feed + 1;
    }
    return NULL;
}

/* Count rows from `p`, where one begins; return where the first one begins that is left to the careful path. */
TARGET static const uint8_t *NAME(rows)(Tally *t, const uint8_t *p, const uint8_t *end)
{
    Batch batches[2]; /* one is being filled while the entries of the other are on their way */
    Batch *filling = &batches[0], *waiting = &batches[1];
    filling->used = waiting->used = 0;
    const uint64_t patient_column = t->patient_column, type_column = t->type_column, columns = t->columns;
    const uint8_t delimiter = t->delimiter;
    const int key_is_last = patient_column == columns - 1 || type_column == columns - 1;
    const uint64_t *slots = t->pairs.slots;
    uint64_t mask = t->pairs.mask;
    Seed seed = t->pairs.seed;
    filling->seeds = t->pairs.seeds;

    while (end - p >= 64 + SHORT_FIELD) { /* a field may be loaded from the row's last byte on */
        Masks masks = MASKS(p, delimiter);
        uint64_t row_end = masks.line_feed & -masks.line_feed;
        uint64_t within = row_end - 1;
        uint64_t cuts = (masks.delimiter & within) | row_end;
        if (row_end && !(masks.quote & within) && COUNT(cuts) == columns) {
            uint64_t begins = cuts << 1 | 1;
            uint64_t patient = LOWEST(SELECT(begins, patient_column)), patient_end = LOWEST(SELECT(cuts, patient_column));
            uint64_t type = LOWEST(SELECT(begins, type_column)), type_end = LOWEST(SELECT(cuts, type_column));
            uint64_t length = LOWEST(row_end);
            if (key_is_last && p[length - 1] == '\r') {
                patient_end -= patient_end == length;
                type_end -= type_end == length;
            }
            uint64_t patient_length = patient_end - patient, type_length = type_end - type;
            if (((patient_length - 1) | (type_length - 1)) < SHORT_FIELD) {
                Key *key = &filling->keys[filling->used++];
                key->patient[0] = load_8(p + patient) & LOW_BYTES_OF_16[patient_length];
                key->patient[1] = load_8(p + patient + 8) & HIGH_BYTES_OF_16[patient_length];
                key->type[0] = load_8(p + type) & LOW_BYTES_OF_16[type_length];
                key->type[1] = load_8(p + type + 8) & HIGH_BYTES_OF_16[type_length];
                key->lengths = field_lengths(patient_length, type_length);
                key->hash = hash_short(&seed, key);
                PREFETCH(&slots[key->hash & mask]);
                p += length + 1;
            } else {
                const uint8_t *next = NAME(long_row)(t, filling, p, end);
                if (!next)
                    break;
                p = next;
            }
        } else {
            const uint8_t *next = row_end ? NULL : NAME(long_row)(t, filling, p, end);
            if (!next)
                break;
            p = next;
        }
        if (filling->used == BATCH) {
            look_up(&t->pairs, filling);
            if (count_batch(t, waiting))
                return p;
            Batch *empty = waiting;
            waiting = filling;
            filling = empty;
            slots = t->pairs.slots;
            mask = t->pairs.mask;
            seed = t->pairs.seed;
            filling->seeds = t->pairs.seeds;
        }
    }
    look_up(&t->pairs, filling);
    if (!count_batch(t, waiting))
        count_batch(t, filling);
    return p;
}
