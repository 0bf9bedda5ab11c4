/* A row as it would be with as few quotes as can be: the same text for the same fields, however they are quoted. */

#include "csv_rows.h"

/* Whether a field means something else without quotes. A CR at the end does not: the text has no line end. */
static int needs_quotes(const Field *field, uint8_t delimiter)
{
    for (uint64_t i = 0; i < field->length; i++)
        if (field->bytes[i] == delimiter || field->bytes[i] == '"' || field->bytes[i] == '\n')
            return 1;
    return 0;
}

/* The canonical text of a row that is just being taken. It is in the row itself, or in `text`, and stays there until the
   next call; without bytes where there is no memory. */
static Field canonical_row(CsvRows *r, const CsvRow *row, Text *text)
{
    Field found = row->whole;
    const uint8_t *at = row->whole.bytes, *end = at + row->whole.length;
    if (!row->has_quotes)
        return found;
    if (text_room(text, 2 * row->whole.length + 2 * r->columns)) {
        found.bytes = NULL;
        return found;
    }
    const uint64_t fields_of_row = r->unquoted.length;
    uint8_t *out = text->bytes;
    while (at) {
        const Field field = next_field(r, &at, end);
        const int quoted = needs_quotes(&field, r->delimiter);
        if (quoted)
            *out++ = '"';
        for (uint64_t i = 0; i < field.length; i++) {
            *out++ = field.bytes[i];
            if (field.bytes[i] == '"')
                *out++ = '"';
        }
        if (quoted)
            *out++ = '"';
        if (at)
            *out++ = r->delimiter;
    }
    r->unquoted.length = fields_of_row;
    found.bytes = text->bytes;
    found.length = (uint64_t)(out - text->bytes);
    return found;
}
