/* The native statistics of FHIR Observations, free of Python: resources become records of pairs, or records of the times
   of chosen ones. The contract is contract.py. */

#include "../tally/fhir/rows.h"
#include "chosen.h"
#include "table.h"

/* The keys of an Observation that are read beyond those of the tally, as places among the heads. */
enum observation_head { QUANTITY, COMPONENT, DATE_TIME, INSTANT, PERIOD, OBSERVATION_HEADS };
static const char *const HEAD_NAMES[OBSERVATION_HEADS] = {"valueQuantity", "component", "effectiveDateTime",
                                                          "effectiveInstant", "effectivePeriod"};

static const Span VALUE_QUANTITY = {(const uint8_t *)"valueQuantity", 13};
static const Span VALUE = {(const uint8_t *)"value", 5}, START = {(const uint8_t *)"start", 5};

typedef struct {
    PairTable table;
    Chosen *chosen; /* what records are added to in place of the table, or NULL */
    LatestDate latest;
    const Type *observation;
    int heads[OBSERVATION_HEADS];
    Known quantities;    /* what stands behind the number, where that comes first */
    Text component_text; /* the label of a component */
} ResourceStats;

/* ---- What is read ---- */

/* Where the number of a Quantity ends, if that comes first; NULL where it does not. */
static const uint8_t *end_of_first_number(const uint8_t *quantity, const uint8_t *end, const uint8_t **number)
{
    static const char FIRST[] = "{\"value\":";
    const uint64_t length = sizeof FIRST - 1;
    *number = quantity + length;
    if ((uint64_t)(end - quantity) <= length || memcmp(quantity, FIRST, length) || (**number != '-' && !is_digit(**number)))
        return NULL;
    return check_scalar(*number, end);
}

/* Read the number of a Quantity; of anything else, none. */
static enum problem read_number(const uint8_t *quantity, const uint8_t *end, Record *record)
{
    const uint8_t *found = NULL;
    record->has_value = 0;
    if (!quantity || *quantity != '{')
        return NO_PROBLEM;
    if (find_member(quantity, VALUE, &found))
        return TWICE;
    if (found && (*found == '-' || is_digit(*found)))
        record->has_value = parse_number(found, (uint64_t)(check_scalar(found, end) - found), &record->value);
    return NO_PROBLEM;
}

/* Read the Quantity of an Observation. */
static enum problem read_quantity(Reader *r, const Resource *resource, const uint8_t **quantity, Record *record)
{
    static const Span NOTHING = {NULL, 0};
    ResourceStats *s = r->owner;
    const uint32_t at = resource->found->at[s->heads[QUANTITY]];
    const uint8_t *value = resource->row + at, *end = resource->end, *number = NULL;
    const uint8_t *behind = at && at != STANDS_TWICE ? end_of_first_number(value, end, &number) : NULL;
    if (behind && find_known(&s->quantities, behind, end)) {
        *quantity = value;
        record->has_value = parse_number(number, (uint64_t)(behind - number), &record->value);
        return NO_PROBLEM;
    }
    enum problem problem = value_of_head(resource, s->heads[QUANTITY], quantity);
    if (problem == NO_PROBLEM)
        problem = read_number(*quantity, end, record);
    if (problem == NO_PROBLEM && behind)
        add_known(&s->quantities, behind, (uint64_t)(skip_value(value) - behind), NOTHING);
    return problem;
}

/* Read the first of the times that is there. */
static enum problem read_time(Reader *r, const Resource *resource, Record *record)
{
    ResourceStats *s = r->owner;
    const uint8_t *value;
    Span text = {NULL, 0};
    enum problem problem;
    for (int head = DATE_TIME; head <= PERIOD && !text.length; head++) {
        if ((problem = value_of_head(resource, s->heads[head], &value)) != NO_PROBLEM)
            return problem;
        if (head == PERIOD && (!value || *value != '{'))
            break;
        if (head == PERIOD && find_member(value, START, &value))
            return TWICE;
        if ((problem = read_text(value, &r->other_text, &text)) != NO_PROBLEM)
            return problem;
    }
    record->has_time = text.length && parse_time(text.bytes, text.length, &s->latest, &record->time);
    return NO_PROBLEM;
}

/* Read the type and the number of a component. */
static enum problem read_component(Reader *r, const uint8_t *component, const uint8_t *end, Span *label, Record *record)
{
    ResourceStats *s = r->owner;
    const uint8_t *found;
    if (find_member(component, CODE, &found))
        return TWICE;
    label->length = 0;
    const enum problem problem = found ? read_label(r, found, &s->component_text, label) : NO_PROBLEM;
    if (problem != NO_PROBLEM)
        return problem;
    if (!label->length)
        *label = (Span){r->latest_name.bytes, r->latest_name.length};
    return find_member(component, VALUE_QUANTITY, &found) ? TWICE : read_number(found, end, record);
}

/* ---- What comes of it ---- */

/* Add the time of a record of this type, if its pair was chosen. One without a patient never was. */
static int add_chosen(Reader *r, Chosen *chosen, Span patient, Span label, const Record *record)
{
    const Key key = make_key(&chosen->keys.seed, patient.bytes, patient.length, label.bytes, label.length);
    const uint32_t entry = (uint32_t)chosen->keys.slots[find_slot(&chosen->keys, &key, patient.bytes, label.bytes)];
    return entry && add_time_record(chosen, entry, record->time) ? fail(r, NO_MEMORY) : 0;
}

/* Add a record of this type; one without a patient is counted alone. */
static int add_measurement(Reader *r, Span patient, Span label, Record *record)
{
    ResourceStats *s = r->owner;
    if (s->chosen)
        return record->has_time ? add_chosen(r, s->chosen, patient, label, record) : 0;
    PairTable *table = &s->table;
    const Key key = make_key(&table->keys.seed, patient.bytes, patient.length, label.bytes, label.length);
    record->number = (uint32_t)table->keys.slots[find_slot(&table->keys, &key, patient.bytes, label.bytes)];
    if (!record->number) {
        const enum room room = room_for(&table->keys, key.lengths, table->max_pairs);
        if (room != ROOM)
            return fail(r, room == TOO_MANY ? TOO_MANY_PAIRS : PAIRS_TOO_LARGE);
        if (!(record->number = add_pair(table, key, patient.bytes, label.bytes)))
            return fail(r, NO_MEMORY);
    }
    if (patient.bytes[0] == UNASSIGNED_BYTE) {
        table->keys.entries[record->number].count++;
        return 0;
    }
    record->value_hash = record->has_value ? value_hash(table->rules.seed, &record->value) : 0;
    return add_record(table, record) ? fail(r, NO_MEMORY) : 0;
}

/* All of an Observation is read before a record of it is added: it may be malformed in its last component. */
static int use_resource(Reader *r, const Resource *resource)
{
    const ResourceStats *s = r->owner;
    if (resource->type != s->observation)
        return 0;
    Record record = {.has_time = 0}, component_record;
    const uint8_t *quantity, *components, *component = NULL;
    Span label;
    enum problem problem = read_time(r, resource, &record);
    if (problem == NO_PROBLEM)
        problem = read_quantity(r, resource, &quantity, &record);
    if (problem == NO_PROBLEM)
        problem = value_of_head(resource, s->heads[COMPONENT], &components);
    int has_components = 0;
    while (problem == NO_PROBLEM && components && (component = next_object(components, component))) {
        problem = read_component(r, component, resource->end, &label, &component_record);
        has_components = 1;
    }
    if (problem != NO_PROBLEM)
        return wrong_resource(r, problem, resource->is_checked);

    const int has_quantity = quantity && *quantity == '{';
    if ((has_quantity || !has_components) && add_measurement(r, resource->patient, resource->label, &record))
        return -1;
    while (components && (component = next_object(components, component))) {
        if (read_component(r, component, resource->end, &label, &record) != NO_PROBLEM)
            return fail(r, NO_MEMORY); /* it was read before */
        if (add_measurement(r, resource->patient, label, &record))
            return -1;
    }
    return 0;
}

/* -1 without memory; `seed` has random bytes. The reader is ready. */
static int resource_stats_init(ResourceStats *s, Reader *r, const uint8_t *seed)
{
    const Span observation = {(const uint8_t *)"Observation", 11};
    s->observation = find_type(r, observation);
    for (int i = 0; i < OBSERVATION_HEADS; i++) {
        const Span name = {(const uint8_t *)HEAD_NAMES[i], strlen(HEAD_NAMES[i])};
        if ((s->heads[i] = add_head(r, name)) < 0)
            return -1;
    }
    r->owner = s;
    s->table.max_pairs = r->max_pairs;
    return table_init(&s->table, seed);
}

static void resource_stats_free(ResourceStats *s)
{
    table_free(&s->table);
    text_free(&s->component_text);
}
