/* The native keys and facts of FHIR resources, free of Python. The contract is contract.py. */

#include "../tally/fhir/rows.h"
#include "facts.h"
#include "siphash.h"

static const Span ID = {(const uint8_t *)"id", 2}, TAG = {(const uint8_t *)"tag", 3};
static const Span VERSION_ID = {(const uint8_t *)"versionId", 9}, UPDATED = {(const uint8_t *)"lastUpdated", 11};

typedef struct {
    sip_key key;
    uint32_t download;
    int with_ids, meta_head;
    Facts facts;
    Text records, ids; /* not taken yet */
    Text name;
} ResourceKeys;

/* Add the record of some bytes to others; -1 without memory. */
static int add_record(ResourceKeys *k, Text *records, const void *bytes, uint64_t length, uint64_t line)
{
    uint8_t record[RECORD_BYTES];
    sip_hash(k->key, bytes, length, record);
    store_place(record, k->download, line);
    return text_append(records, record, sizeof record);
}

/* A value that may be looked at, or NULL: one that stands once. */
static const uint8_t *once(const uint8_t *object, Span name)
{
    const uint8_t *found;
    return find_member(object, name, &found) ? NULL : found;
}

/* The text of a value; of no length where it is none, or no Unicode. -1 without memory. */
static int text_of(Reader *r, const uint8_t *value, Span *text)
{
    const enum problem problem = read_text(value, &r->other_text, text);
    if (problem != NO_PROBLEM)
        text->length = 0;
    return problem == NO_MEMORY ? -1 : 0;
}

/* Whether one of the tags in a list, or in place of one, is SUBSETTED; -1 without memory. */
static int is_subsetted(Reader *r, const uint8_t *tags)
{
    const uint8_t *tag = NULL;
    Span code;
    while (tags && (tag = next_object(tags, tag))) {
        if (text_of(r, once(tag, CODE), &code))
            return -1;
        if (span_is(code, "SUBSETTED", 9))
            return 1;
    }
    return 0;
}

/* Add the facts of `meta`, and its version to the name; -1 without memory. */
static int add_meta(Reader *r, const uint8_t *meta)
{
    ResourceKeys *k = r->owner;
    Span version = {NULL, 0}, updated = {NULL, 0};
    if (text_of(r, meta ? once(meta, VERSION_ID) : NULL, &version))
        return -1;
    if (version.length && k->name.length &&
        (text_append(&k->name, "/_history/", 10) || text_append(&k->name, version.bytes, version.length)))
        return -1;
    if (text_of(r, meta ? once(meta, UPDATED) : NULL, &updated))
        return -1;
    add_time(&k->facts, updated.bytes, updated.length, r->line);
    const int subsetted = is_subsetted(r, meta ? once(meta, TAG) : NULL);
    if (subsetted > 0)
        add_line(&k->facts.subsetted, r->line);
    return subsetted < 0 ? -1 : 0;
}

static int use_resource(Reader *r, const Resource *resource)
{
    ResourceKeys *k = r->owner;
    const uint8_t *id, *meta;
    Span text;
    const enum problem of_id = value_of_head(resource, r->id_head, &id), of_meta = value_of_head(resource, k->meta_head, &meta);
    if (of_id == NOT_VALID || of_meta == NOT_VALID)
        return UNUSUAL;
    if (text_of(r, id, &text))
        return fail(r, NO_MEMORY);
    k->name.length = 0;
    if (text.length) {
        const Span type = {r->latest_name.bytes, r->latest_name.length};
        if (text_append(&k->name, type.bytes, type.length) || text_append(&k->name, "/", 1) ||
            text_append(&k->name, text.bytes, text.length) ||
            (k->with_ids && add_record(k, &k->ids, k->name.bytes, k->name.length, r->line)))
            return fail(r, NO_MEMORY);
    }
    if (add_meta(r, meta && *meta == '{' ? meta : NULL))
        return fail(r, NO_MEMORY);
    Span whole = {k->name.bytes, k->name.length};
    if (!whole.length) {
        whole.bytes = skip_space(resource->row, resource->end);
        whole.length = (uint64_t)(resource->end - whole.bytes);
        while (whole.length && memchr(" \t\r", whole.bytes[whole.length - 1], 3))
            whole.length--;
    }
    return add_record(k, &k->records, whole.bytes, whole.length, r->line) ? fail(r, NO_MEMORY) : 0;
}

/* -1 without memory. The reader is ready. */
static int resource_keys_init(ResourceKeys *k, Reader *r)
{
    const Span meta = {(const uint8_t *)"meta", 4};
    r->owner = k;
    k->meta_head = add_head(r, meta);
    return k->meta_head < 0 || text_append(&k->records, "", 0) || text_append(&k->ids, "", 0) ? -1 : 0;
}
