/* A resource that was found to be one: its type, its patient and its label.

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
static inline int is_latest_type(const Reader *r, const uint8_t *value, const uint8_t *end)
{
    const uint64_t length = r->latest_name.length;
    return r->latest && (uint64_t)(end - value) > length + 1 && value[0] == '"' && value[length + 1] == '"' &&
           !memcmp(value + 1, r->latest_name.bytes, length);
}

static enum problem read_type(Reader *r, const uint8_t *value, const uint8_t *end)
{
    Span name;
    if (is_latest_type(r, value, end))
        return NO_PROBLEM;
    const enum problem problem = read_text(value, &r->other_text, &name);
    if (problem != NO_PROBLEM)
        return problem;
    if (!is_type_name(name))
        return NOT_A_NAME;
    r->latest = find_type(r, name);
    r->latest_name.length = 0;
    return text_append(&r->latest_name, name.bytes, name.length) ? NO_MEMORY : NO_PROBLEM;
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
static enum unassigned named_patient(const Reader *r, Span text, Span *patient)
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
    const uint64_t base = r->base.length;
    if (base && text.length >= base && !memcmp(text.bytes, r->base.bytes, base)) {
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

static enum problem read_reference(Reader *r, const uint8_t *object, Span *patient, enum unassigned *why)
{
    const uint8_t *found, *value, *key, *after = object + 1;
    Span text;
    if (find_member(object, REFERENCE, &found))
        return TWICE;
    const enum problem problem = read_text(found, &r->patient_text, &text);
    if (problem != NO_PROBLEM)
        return problem;
    enum unassigned reason = NO_REFERENCE;
    if (text.length)
        reason = named_patient(r, text, patient);
    else
        for (; (key = next_key(after, &value)); after = skip_value(value))
            if (string_is(key, IDENTIFIER))
                reason = IDENTIFIER_ONLY;
    if (*why == UNASSIGNED_COUNT)
        *why = reason;
    return NO_PROBLEM;
}

/* Follow the path of a type from the value of its head, or of a later step, to the first patient; or find why not. */
static enum problem find_patient(Reader *r, const uint8_t *value, int step, Span *patient, enum unassigned *why)
{
    if (*value == '{') {
        const uint8_t *found;
        if (step == r->latest->steps)
            return read_reference(r, value, patient, why);
        if (find_member(value, r->latest->step[step], &found))
            return TWICE;
        return found ? find_patient(r, found, step + 1, patient, why) : NO_PROBLEM;
    }
    if (*value != '[')
        return NO_PROBLEM;
    const uint8_t *item = next_item(value + 1);
    for (; item && !patient->length; item = next_item(skip_value(item))) {
        const enum problem problem = *item == '{' ? find_patient(r, item, step, patient, why) : NO_PROBLEM;
        if (problem != NO_PROBLEM)
            return problem;
    }
    return NO_PROBLEM;
}

/* The label of a CodeableConcept, or of a list of them, made in `room`; of no length if it says nothing. */
static enum problem read_label(Reader *r, const uint8_t *value, Text *room, Span *label)
{
    const uint8_t *found;
    Span text;
    enum problem problem;
    if (*value == '[' && !(value = next_item(value + 1)))
        return NO_PROBLEM;
    if (*value != '{')
        return read_text(value, room, label);
    if (find_member(value, CODING, &found))
        return TWICE;
    const uint8_t *coding = found && *found == '[' ? next_item(found + 1) : NULL;
    room->length = 0;
    if (coding && *coding == '{') {
        if (find_member(coding, SYSTEM, &found))
            return TWICE;
        if ((problem = read_text(found, &r->other_text, &text)) != NO_PROBLEM)
            return problem;
        if (text.length && (text_append(room, text.bytes, text.length) || text_append(room, "|", 1)))
            return NO_MEMORY;
        if (find_member(coding, CODE, &found))
            return TWICE;
        if ((problem = read_text(found, &r->other_text, &text)) != NO_PROBLEM)
            return problem;
        if (text.length)
            goto append;
    }
    room->length = 0;
    if (find_member(value, TEXT, &found))
        return TWICE;
    if ((problem = read_text(found, &r->other_text, &text)) != NO_PROBLEM || !text.length)
        return problem;
    if (text_append(room, "text:", 5))
        return NO_MEMORY;
append:
    if (text_append(room, text.bytes, text.length))
        return NO_MEMORY;
    label->bytes = room->bytes;
    label->length = room->length;
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

/* What a problem of a resource means: the row is malformed, or it is left to the careful path to say so. */
static int wrong_resource(Reader *r, enum problem problem, int is_checked)
{
    if (problem == NO_MEMORY)
        return fail(r, NO_MEMORY);
    return is_checked ? malformed(r, problem) : UNUSUAL;
}

/* Find a value of brackets among those that are known. */
static inline const KnownValue *find_known(Known *known, const uint8_t *value, const uint8_t *end)
{
    for (int i = 0; i < KNOWN_VALUES; i++) {
        const KnownValue *one = &known->values[i];
        if (one->length && (uint64_t)(end - value) >= one->length && !memcmp(value, one->bytes, one->length)) {
            known->found++;
            return one;
        }
    }
    return NULL;
}

/* Remember a value of brackets of so many bytes, and what was read there. */
static void add_known(Known *known, const uint8_t *value, uint64_t length, Span text)
{
    if (length > KNOWN_BYTES || text.length > KNOWN_BYTES || known->added > known->found + 8 * KNOWN_VALUES)
        return;
    KnownValue *one = &known->values[known->next++ % KNOWN_VALUES];
    known->added++;
    one->length = length;
    one->text_length = text.length;
    memcpy(one->bytes, value, length);
    if (text.length)
        memcpy(one->text, text.bytes, text.length);
}

/* The value of a head, NULL where there is none: one that may be read, or the problem. */
static inline enum problem value_of_head(const Resource *resource, int head, const uint8_t **value)
{
    const uint32_t at = resource->found->at[head];
    *value = NULL;
    if (at == STANDS_TWICE)
        return TWICE;
    if (at && !resource->is_checked && !is_sound(resource->row + at, resource->end))
        return NOT_VALID;
    *value = at ? resource->row + at : NULL;
    return NO_PROBLEM;
}

/* Do what the resources are read for: 0, UNUSUAL, or -1 after `fail`. The file that includes this one says how. */
static int use_resource(Reader *r, const Resource *resource);

/* Read a resource by what was found in its row, and use it. If it was not checked, anything out of the ordinary is
   UNUSUAL. */
static int read_resource(Reader *r, const uint8_t *row, const uint8_t *end, const Found *found, int is_checked)
{
    static const uint8_t NO_PATIENT[UNASSIGNED_COUNT][2] = {
        {UNASSIGNED_BYTE, 0}, {UNASSIGNED_BYTE, 1}, {UNASSIGNED_BYTE, 2}, {UNASSIGNED_BYTE, 3}, {UNASSIGNED_BYTE, 4}};
    enum problem problem = NO_PROBLEM;
    const uint32_t type_at = found->at[TYPE_HEAD];
    if (!type_at || type_at == STANDS_TWICE)
        problem = type_at ? TWICE : NO_TYPE;
    else if (is_checked || is_latest_type(r, row + type_at, end) || is_sound(row + type_at, end))
        problem = read_type(r, row + type_at, end);
    else
        return UNUSUAL;
    if (problem != NO_PROBLEM)
        goto wrong;

    Span patient = {NULL, 0}, label = {r->latest_name.bytes, r->latest_name.length};
    enum unassigned why = UNASSIGNED_COUNT;
    const int head = r->latest->head;
    const uint32_t at = head < 0 ? 0 : found->at[head];
    const uint8_t *value = row + at;
    if (head < 0)
        why = NO_PATH;
    else if (at == STANDS_TWICE)
        problem = TWICE;
    else if (at && !(head != r->id_head && !r->latest->steps && is_plain_reference(value, end, &patient))) {
        if (!is_checked && !is_sound(value, end))
            return UNUSUAL;
        patient.length = 0;
        problem = head == r->id_head ? read_text(value, &r->patient_text, &patient)
                                     : find_patient(r, value, 0, &patient, &why);
    }
    if (problem != NO_PROBLEM)
        goto wrong;
    if (!patient.length) {
        patient.bytes = NO_PATIENT[why == UNASSIGNED_COUNT ? NO_REFERENCE : why];
        patient.length = 2;
    }
    const uint32_t label_at = r->has_label ? found->at[LABEL_HEAD] : 0;
    if (label_at == STANDS_TWICE)
        problem = TWICE;
    else if (label_at) {
        Span read = {NULL, 0};
        value = row + label_at;
        const KnownValue *known = find_known(&r->labels, value, end);
        if (known) {
            read.bytes = known->text;
            read.length = known->text_length;
        } else if (!is_checked && !is_sound(value, end)) {
            return UNUSUAL;
        } else {
            problem = read_label(r, value, &r->label_text, &read);
            if (problem == NO_PROBLEM && (*value == '{' || *value == '['))
                add_known(&r->labels, value, (uint64_t)(skip_value(value) - value), read);
        }
        label = read.length ? read : label;
    }
    if (problem == NO_PROBLEM) {
        const Resource resource = {row, end, found, r->latest, patient, label, is_checked};
        return use_resource(r, &resource);
    }
wrong:
    return wrong_resource(r, problem, is_checked);
}
