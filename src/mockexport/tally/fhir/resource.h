/* A resource that was found to be one: its type, its patient and its label, and their count.

   All functions here return NO_PROBLEM, or why the row is malformed. They read values whose grammar was checked. */

#include "json.h"

#define UNUSUAL 1 /* what the fast path has found is left to the careful path */

static const Span REFERENCE = {(const uint8_t *)"reference", 9}, IDENTIFIER = {(const uint8_t *)"identifier", 10};
static const Span CODING = {(const uint8_t *)"coding", 6}, SYSTEM = {(const uint8_t *)"system", 6};
static const Span CODE = {(const uint8_t *)"code", 4}, TEXT = {(const uint8_t *)"text", 4};

/* A string's text: as it stands, or with its escapes resolved in `room`. Nothing for any other value, and for NULL. */
static enum problem read_text(const uint8_t *value, Text *room, Span *text)
{
    text->length = 0;
    text->bytes = value;
    if (!value || *value != '"')
        return NO_PROBLEM;
    text->bytes = ++value;
    while (*value != '"' && *value != '\\')
        value++;
    text->length = (uint64_t)(value - text->bytes);
    if (*value == '"')
        return NO_PROBLEM;
    room->length = 0;
    const enum problem problem = append_string(room, text->bytes - 1);
    text->bytes = room->bytes;
    text->length = room->length;
    return problem;
}

static int is_type_name(Span name)
{
    if (!name.length || name.length > 255 || name.bytes[0] < 'A' || name.bytes[0] > 'Z')
        return 0;
    for (uint64_t i = 0; i < name.length; i++) {
        const uint8_t c = name.bytes[i], letter = c | 0x20;
        if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return 0;
    }
    return 1;
}

/* Whether the string at `value` is the name of the latest type, as it stands. */
static inline int is_latest_type(const ResourceTally *t, const uint8_t *value, const uint8_t *end)
{
    const uint64_t length = t->latest_name.length;
    return t->latest && (uint64_t)(end - value) > length + 1 && value[0] == '"' && value[length + 1] == '"' &&
           !memcmp(value + 1, t->latest_name.bytes, length);
}

static enum problem read_type(ResourceTally *t, const uint8_t *value, const uint8_t *end)
{
    Span name;
    if (is_latest_type(t, value, end))
        return NO_PROBLEM;
    const enum problem problem = read_text(value, &t->other_text, &name);
    if (problem != NO_PROBLEM)
        return problem;
    if (!is_type_name(name))
        return NOT_A_NAME;
    t->latest = find_type(t, name);
    t->latest_name.length = 0;
    return text_append(&t->latest_name, name.bytes, name.length) ? NO_MEMORY : NO_PROBLEM;
}

static int starts_with(Span text, const char *start)
{
    const size_t length = strlen(start);
    return text.length >= length && !memcmp(text.bytes, start, length);
}

static int ends_with(Span text, const char *rest)
{
    const size_t length = strlen(rest);
    return text.length >= length && !memcmp(text.bytes + text.length - length, rest, length);
}

/* Where a text stands within another, first; its length where it does not. */
static uint64_t find_text(Span text, const char *wanted)
{
    const size_t length = strlen(wanted);
    for (uint64_t i = 0; i + length <= text.length; i++)
        if (!memcmp(text.bytes + i, wanted, length))
            return i;
    return text.length;
}

/* Read the patient in the text of a reference; without one, return why. */
static enum unassigned named_patient(const ResourceTally *t, Span text, Span *patient)
{
    if (text.bytes[0] == '#')
        return CONTAINED;
    if (starts_with(text, "Patient?"))
        return IDENTIFIER_ONLY;
    text.length = find_text(text, "/_history/");
    if (starts_with(text, "urn:")) {
        *patient = text;
        return UNASSIGNED_COUNT;
    }
    const uint64_t base = t->base.length;
    if (base && text.length >= base && !memcmp(text.bytes, t->base.bytes, base)) {
        text.bytes += base;
        text.length -= base;
    }
    uint64_t slash = text.length;
    while (slash && text.bytes[slash - 1] != '/')
        slash--;
    if (!slash || slash == text.length)
        return NOT_A_PATIENT;
    const Span home = {text.bytes, slash - 1}, identity = {text.bytes + slash, text.length - slash};
    const int is_relative = span_is(home, "Patient", 7);
    if (!is_relative && !(ends_with(home, "/Patient") && find_text(text, "://") < text.length))
        return NOT_A_PATIENT;
    *patient = is_relative ? identity : text;
    return UNASSIGNED_COUNT;
}

static enum problem read_reference(ResourceTally *t, const uint8_t *object, Span *patient, enum unassigned *why)
{
    const uint8_t *found, *value, *key, *after = object + 1;
    Span text;
    if (find_member(object, REFERENCE, &found))
        return TWICE;
    const enum problem problem = read_text(found, &t->patient_text, &text);
    if (problem != NO_PROBLEM)
        return problem;
    enum unassigned reason = NO_REFERENCE;
    if (text.length)
        reason = named_patient(t, text, patient);
    else
        for (; (key = next_key(after, &value)); after = skip_value(value))
            if (string_is(key, IDENTIFIER))
                reason = IDENTIFIER_ONLY;
    if (*why == UNASSIGNED_COUNT)
        *why = reason;
    return NO_PROBLEM;
}

/* Follow the path of a type from the value of its head, or of a later step, to the first patient; or find why not. */
static enum problem find_patient(ResourceTally *t, const uint8_t *value, int step, Span *patient, enum unassigned *why)
{
    if (*value == '{') {
        const uint8_t *found;
        if (step == t->latest->steps)
            return read_reference(t, value, patient, why);
        if (find_member(value, t->latest->step[step], &found))
            return TWICE;
        return found ? find_patient(t, found, step + 1, patient, why) : NO_PROBLEM;
    }
    if (*value != '[')
        return NO_PROBLEM;
    const uint8_t *item = next_item(value + 1);
    for (; item && !patient->length; item = next_item(skip_value(item))) {
        const enum problem problem = *item == '{' ? find_patient(t, item, step, patient, why) : NO_PROBLEM;
        if (problem != NO_PROBLEM)
            return problem;
    }
    return NO_PROBLEM;
}

/* The label of a CodeableConcept, or of a list of them; of no length if it says nothing. */
static enum problem read_label(ResourceTally *t, const uint8_t *value, Span *label)
{
    const uint8_t *found;
    Span text;
    enum problem problem;
    if (*value == '[' && !(value = next_item(value + 1)))
        return NO_PROBLEM;
    if (*value != '{')
        return read_text(value, &t->label_text, label);
    if (find_member(value, CODING, &found))
        return TWICE;
    const uint8_t *coding = found && *found == '[' ? next_item(found + 1) : NULL;
    t->label_text.length = 0;
    if (coding && *coding == '{') {
        if (find_member(coding, SYSTEM, &found))
            return TWICE;
        if ((problem = read_text(found, &t->other_text, &text)) != NO_PROBLEM)
            return problem;
        if (text.length && (text_append(&t->label_text, text.bytes, text.length) || text_append(&t->label_text, "|", 1)))
            return NO_MEMORY;
        if (find_member(coding, CODE, &found))
            return TWICE;
        if ((problem = read_text(found, &t->other_text, &text)) != NO_PROBLEM)
            return problem;
        if (text.length)
            goto append;
    }
    t->label_text.length = 0;
    if (find_member(value, TEXT, &found))
        return TWICE;
    if ((problem = read_text(found, &t->other_text, &text)) != NO_PROBLEM || !text.length)
        return problem;
    if (text_append(&t->label_text, "text:", 5))
        return NO_MEMORY;
append:
    if (text_append(&t->label_text, text.bytes, text.length))
        return NO_MEMORY;
    label->bytes = t->label_text.bytes;
    label->length = t->label_text.length;
    return NO_PROBLEM;
}

/* Whether a value may be read: one that the fast path found was not checked. */
static int is_sound(const uint8_t *value, const uint8_t *end)
{
    enum problem problem;
    return *value == '"' ? check_string(value, end) != NULL
                         : (*value != '{' && *value != '[') || check_container(value, end, &problem) != NULL;
}

/* The patient in a value that is exactly `{"reference":"Patient/…"}`, as most are. */
static int is_plain_reference(const uint8_t *value, const uint8_t *end, Span *patient)
{
    static const char START[] = "{\"reference\":\"Patient/";
    const uint64_t start = sizeof START - 1;
    if ((uint64_t)(end - value) <= start || memcmp(value, START, start))
        return 0;
    const uint8_t *p = value + start;
    while (*p != '"' && *p != '\\' && *p != '/')
        p++;
    patient->bytes = value + start;
    patient->length = (uint64_t)(p - patient->bytes);
    return *p == '"' && p[1] == '}' && patient->length;
}

/* Count a resource by what was found in its row. `is_checked` says that the grammar of the whole row was: otherwise
   anything out of the ordinary is UNUSUAL. */
static int count_resource(ResourceTally *t, const uint8_t *row, const uint8_t *end, const Found *found, int is_checked)
{
    static const uint8_t NO_PATIENT[UNASSIGNED_COUNT][2] = {
        {UNASSIGNED_BYTE, 0}, {UNASSIGNED_BYTE, 1}, {UNASSIGNED_BYTE, 2}, {UNASSIGNED_BYTE, 3}, {UNASSIGNED_BYTE, 4}};
    enum problem problem = NO_PROBLEM;
    const uint32_t type_at = found->at[TYPE_HEAD];
    if (!type_at || type_at == STANDS_TWICE)
        problem = type_at ? TWICE : NO_TYPE;
    else if (is_checked || is_latest_type(t, row + type_at, end) || is_sound(row + type_at, end))
        problem = read_type(t, row + type_at, end);
    else
        return UNUSUAL;
    if (problem != NO_PROBLEM)
        goto wrong;

    Span patient = {NULL, 0}, label = {t->latest_name.bytes, t->latest_name.length};
    enum unassigned why = UNASSIGNED_COUNT;
    const int head = t->latest->head;
    const uint32_t at = head < 0 ? 0 : found->at[head];
    const uint8_t *value = row + at;
    if (head < 0)
        why = NO_PATH;
    else if (at == STANDS_TWICE)
        problem = TWICE;
    else if (at && !(head != t->id_head && !t->latest->steps && is_plain_reference(value, end, &patient))) {
        if (!is_checked && !is_sound(value, end))
            return UNUSUAL;
        patient.length = 0;
        problem = head == t->id_head ? read_text(value, &t->patient_text, &patient)
                                     : find_patient(t, value, 0, &patient, &why);
    }
    if (problem != NO_PROBLEM)
        goto wrong;
    if (!patient.length) {
        patient.bytes = NO_PATIENT[why == UNASSIGNED_COUNT ? NO_REFERENCE : why];
        patient.length = 2;
    }
    const uint32_t label_at = t->has_label ? found->at[LABEL_HEAD] : 0;
    if (label_at == STANDS_TWICE)
        problem = TWICE;
    else if (label_at) {
        if (!is_checked && !is_sound(row + label_at, end))
            return UNUSUAL;
        Span read = {NULL, 0};
        problem = read_label(t, row + label_at, &read);
        label = read.length ? read : label;
    }
    if (problem == NO_PROBLEM)
        return count_pair(t, patient, label);
wrong:
    if (problem == NO_MEMORY)
        return fail(t, NO_MEMORY);
    return is_checked ? malformed(t, problem) : UNUSUAL;
}
