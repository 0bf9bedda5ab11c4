/* The native reader of FHIR resources, free of Python: what it knows between two chunks, and the types and their paths to
   the patient. The contract is contract.py. What is done with a resource is up to the file that includes rows.h. */

#ifndef MOCKEXPORT_FHIR_CORE_H
#define MOCKEXPORT_FHIR_CORE_H

#include "../pairs.h"

/* The first ones are the REASONS of contract.py, in that order. */
enum problem {
    TOO_LONG,
    NOT_UTF8,
    NOT_OBJECT,
    NOT_VALID,
    TOO_DEEP,
    MORE_VALUES,
    NO_TYPE,
    NOT_A_NAME,
    TWICE,
    NOT_UNICODE,
    REASON_COUNT,
    TOO_MANY_PAIRS = REASON_COUNT,
    PAIRS_TOO_LARGE,
    NO_MEMORY,
    NO_PROBLEM,
};

/* UNASSIGNED of contract.py, in that order. */
enum unassigned { NO_PATH, NO_REFERENCE, NOT_A_PATIENT, CONTAINED, IDENTIFIER_ONLY, UNASSIGNED_COUNT };

#define MAX_DEPTH 1000 /* as in contract.py */
#define MAX_HEADS 16
#define MAX_TYPES 126
#define TYPE_SLOTS 256
#define MAX_STEPS 2
#define MAX_HEAD_BYTES 24
#define FIRST_LINES 10 /* that are kept of each reason */
#define PADDING 64 /* bytes that may be read behind a row */

typedef struct {
    const uint8_t *bytes;
    uint64_t length;
} Span;

typedef struct {
    uint8_t *bytes;
    uint64_t length, room;
} Text;

/* A resource type, and its path to the patient: first one of the heads, then more steps. */
typedef struct {
    Span name;
    int head, steps;
    Span step[MAX_STEPS];
} Type;

/* The keys of a resource that may be read. These two are always the first. */
enum head { TYPE_HEAD, LABEL_HEAD, FIRST_PATH_HEAD };

/* The names of the heads, to be found by their length: a list for each, of numbers from 1. */
typedef struct {
    Span names[MAX_HEADS];
    uint64_t words[MAX_HEADS][3]; /* the name, padded with zeros */
    uint8_t of_length[MAX_HEAD_BYTES + 1], next[MAX_HEADS + 1];
    int count;
} Heads;

/* Where the values of the heads stand in a row; 0 for none (there stands the bracket). */
typedef struct {
    uint32_t at[MAX_HEADS];
} Found;
#define STANDS_TWICE UINT32_MAX

/* Values that were read before, and what was read there: most labels of a body are a few. A value of brackets is the same
   where its bytes are, whatever stands behind it. */
#define KNOWN_VALUES 8
#define KNOWN_BYTES 512
typedef struct {
    uint64_t length, text_length;
    uint8_t bytes[KNOWN_BYTES], text[KNOWN_BYTES];
} KnownValue;

typedef struct {
    KnownValue values[KNOWN_VALUES];
    unsigned next;         /* whose place is taken next */
    uint64_t found, added; /* values are added while some are found again */
} Known;

typedef int (*Scan)(const uint8_t *row, uint64_t length, const Heads *heads, Found *found);

typedef struct {
    void *owner; /* what the resources are folded into */
    Scan scan;   /* the fast path for this processor, or NULL */
    int skip, has_label;
    uint64_t max_row_bytes, max_pairs;
    Text base; /* with a slash at its end; without bytes where there is none */

    Text paths; /* what the spans of heads and types point into */
    Heads heads;
    int type_count, id_head;
    Type types[MAX_TYPES + 1]; /* the last one is for any type without a path */
    uint8_t type_slots[TYPE_SLOTS];
    const Type *latest; /* the type of the row before, and its name */
    Text latest_name;

    Text carry; /* a row whose end has not come yet, or one that is too near to the end of its chunk */
    int at_start, dropping; /* dropping: the row is too long */
    uint64_t line;

    Known labels;
    Text patient_text, label_text, other_text; /* what was read, with its escapes resolved */
    uint64_t rows, left_out[REASON_COUNT], first_left_out[REASON_COUNT][FIRST_LINES]; /* the lines of the first of each */
    enum problem problem;
    uint64_t problem_line;
} Reader;

/* A resource that was found to be one, and what was read of it: `patient` is that or why there is none (see read_resource), and
   both spans hold until the next text is read. `is_checked` says that the grammar of the whole row was: otherwise a value
   must be checked before it is read. */
typedef struct {
    const uint8_t *row, *end;
    const Found *found;
    const Type *type;
    Span patient, label;
    int is_checked;
} Resource;

static int fail(Reader *r, enum problem problem)
{
    r->problem = problem;
    r->problem_line = r->line;
    return -1;
}

/* A row that can't be counted: left out or the end, as the caller of the tally chose. */
static int malformed(Reader *r, enum problem reason)
{
    if (!r->skip)
        return fail(r, reason);
    if (r->left_out[reason] < FIRST_LINES)
        r->first_left_out[reason][r->left_out[reason]] = r->line;
    r->left_out[reason]++;
    return 0;
}

static int text_append(Text *text, const void *bytes, uint64_t length)
{
    if (text->length + length + PADDING > text->room) {
        const uint64_t room = 2 * (text->length + length) + PADDING;
        uint8_t *larger = realloc(text->bytes, room);
        if (!larger)
            return -1;
        text->bytes = larger;
        text->room = room;
    }
    if (length)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return 0;
}

static inline int span_is(Span span, const void *bytes, uint64_t length)
{
    return span.length == length && !memcmp(span.bytes, bytes, length);
}

static inline uint64_t type_slot(Span name)
{
    uint64_t hash = name.length;
    for (uint64_t i = 0; i < name.length; i++)
        hash = (hash ^ name.bytes[i]) * 0x9e3779b97f4a7c15u;
    return hash >> 56;
}

/* The type of that name; the one without a path when it is not listed. */
static const Type *find_type(const Reader *r, Span name)
{
    for (uint64_t slot = type_slot(name); r->type_slots[slot]; slot = (slot + 1) % TYPE_SLOTS) {
        const Type *type = &r->types[r->type_slots[slot] - 1];
        if (span_is(type->name, name.bytes, name.length))
            return type;
    }
    return &r->types[MAX_TYPES];
}

static int add_head(Reader *r, Span name)
{
    Heads *heads = &r->heads;
    for (int i = 0; i < heads->count; i++)
        if (span_is(heads->names[i], name.bytes, name.length))
            return i;
    if (heads->count == MAX_HEADS || name.length > MAX_HEAD_BYTES)
        return -1;
    const int head = heads->count++;
    heads->names[head] = name;
    memcpy(heads->words[head], name.bytes, name.length);
    if (name.length) { /* without one, where there is no label */
        heads->next[head + 1] = heads->of_length[name.length];
        heads->of_length[name.length] = (uint8_t)(head + 1);
    }
    return head;
}

static Span until(const uint8_t **p, uint8_t mark)
{
    const Span span = {*p, (uint64_t)((const uint8_t *)strchr((const char *)*p, mark) - *p)};
    *p += span.length + 1;
    return span;
}

/* Read the paths: lines of a type, a space, and keys with dots between. -1 if there are too many. */
static int read_paths(Reader *r, Span label_head)
{
    const Span type_head = {(const uint8_t *)"resourceType", 12};
    add_head(r, type_head);
    add_head(r, label_head);
    r->types[MAX_TYPES].head = -1;
    for (const uint8_t *p = r->paths.bytes, *end = p + r->paths.length; p < end;) {
        if (r->type_count == MAX_TYPES)
            return -1;
        Type *type = &r->types[r->type_count++];
        type->name = until(&p, ' ');
        const uint8_t *line_end = (const uint8_t *)strchr((const char *)p, '\n');
        for (Span key; p < line_end;) {
            const uint8_t *dot = memchr(p, '.', (size_t)(line_end - p));
            key.bytes = p;
            key.length = (uint64_t)((dot ? dot : line_end) - p);
            if (key.bytes > type->name.bytes + type->name.length + 1) {
                if (type->steps == MAX_STEPS)
                    return -1;
                type->step[type->steps++] = key;
            } else if ((type->head = add_head(r, key)) < 0) {
                return -1;
            }
            p += key.length + 1;
        }
        p = line_end + 1;
        uint64_t slot = type_slot(type->name);
        while (r->type_slots[slot])
            slot = (slot + 1) % TYPE_SLOTS;
        r->type_slots[slot] = (uint8_t)r->type_count;
    }
    const Span id = {(const uint8_t *)"id", 2};
    r->id_head = add_head(r, id);
    return r->id_head < 0 ? -1 : 0;
}

#endif
