/* The native tally of FHIR resources, free of Python: a resource is counted by its patient and its label. */

#include "rows.h"

static int use_resource(Reader *r, const Resource *resource)
{
    Pairs *pairs = r->owner;
    const Span patient = resource->patient, label = resource->label;
    const Key key = make_key(&pairs->seed, patient.bytes, patient.length, label.bytes, label.length);
    const uint32_t number = (uint32_t)pairs->slots[find_slot(pairs, &key, patient.bytes, label.bytes)];
    if (number) {
        pairs->entries[number].count++;
        return 0;
    }
    const enum room room = room_for(pairs, key.lengths, r->max_pairs);
    if (room != ROOM)
        return fail(r, room == TOO_MANY ? TOO_MANY_PAIRS : PAIRS_TOO_LARGE);
    return pairs_add(pairs, key, patient.bytes, label.bytes, 1) ? fail(r, NO_MEMORY) : 0;
}
