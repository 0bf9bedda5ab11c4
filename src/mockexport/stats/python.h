/* The result of statistics as Python objects, those of result.py. */

#include "../tally/python.h"

#include "table.h"

/* The classes of result.py, while a result is made. */
typedef struct {
    PyObject *sketch, *segment, *pair;
} Classes;

static int import_classes(PyObject *result, Classes *classes)
{
    classes->sketch = PyObject_GetAttrString(result, "Sketch");
    classes->segment = PyObject_GetAttrString(result, "Segment");
    classes->pair = PyObject_GetAttrString(result, "PairStats");
    return classes->sketch && classes->segment && classes->pair ? 0 : -1;
}

static void release_classes(Classes *classes)
{
    Py_XDECREF(classes->sketch);
    Py_XDECREF(classes->segment);
    Py_XDECREF(classes->pair);
}

/* Set d[key] = value, and take the references of both; -1 where either is NULL, as after an error. */
static int set_item(PyObject *d, PyObject *key, PyObject *value)
{
    const int failed = !key || !value || PyDict_SetItem(d, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

static PyObject *python_number(const Number *number)
{
    return Py_BuildValue("LL", (long long)number->mantissa, (long long)number->exponent);
}

/* A dict of how often each number is there; of `buckets`, the mantissa alone is the key. */
static PyObject *python_values(const Values *values, int are_buckets)
{
    PyObject *times = PyDict_New();
    for (uint32_t i = 0; times && values->slots && i <= values->mask; i++) {
        const Number number = number_of(&values->slots[i]);
        if (!values->slots[i].rest)
            continue;
        PyObject *key = are_buckets ? PyLong_FromLongLong(number.mantissa) : python_number(&number);
        if (set_item(times, key, PyLong_FromUnsignedLongLong(value_times(&values->slots[i]))))
            Py_CLEAR(times);
    }
    return times;
}

static PyObject *python_sum(const Sum *sum)
{
    uint8_t bytes[24];
    for (int i = 0; i < 24; i++)
        bytes[i] = (uint8_t)(sum->words[i / 8] >> (8 * (i % 8)));
    PyObject *number = NULL, *text = PyBytes_FromStringAndSize((const char *)bytes, sizeof bytes);
    PyObject *from_bytes = text ? PyObject_GetAttrString((PyObject *)&PyLong_Type, "from_bytes") : NULL;
    PyObject *arguments = from_bytes ? Py_BuildValue("(Os)", text, "little") : NULL;
    PyObject *names = arguments ? Py_BuildValue("{s:O}", "signed", Py_True) : NULL;
    if (names)
        number = PyObject_Call(from_bytes, arguments, names);
    Py_XDECREF(text);
    Py_XDECREF(from_bytes);
    Py_XDECREF(arguments);
    Py_XDECREF(names);
    return number;
}

static PyObject *python_sums(const Sketch *sketch)
{
    PyObject *sums = PyDict_New();
    for (unsigned i = 0; sums && i < sketch->sums_used; i++) {
        const Sums *of_exponent = &sketch->sums[i];
        PyObject *one = python_sum(&of_exponent->one), *square = one ? python_sum(&of_exponent->square) : NULL;
        PyObject *both = square ? PyTuple_Pack(2, one, square) : NULL;
        Py_XDECREF(one);
        Py_XDECREF(square);
        if (set_item(sums, PyLong_FromLongLong(of_exponent->exponent), both))
            Py_CLEAR(sums);
    }
    return sums;
}

static PyObject *python_sketch(const Classes *classes, const Sketch *sketch)
{
    PyObject *found = NULL, *sums = python_sums(sketch);
    PyObject *low = sums ? python_number(&sketch->low) : NULL, *high = low ? python_number(&sketch->high) : NULL;
    PyObject *buckets = high ? python_values(&sketch->buckets, 1) : NULL;
    if (buckets)
        found = PyObject_CallFunctionObjArgs(classes->sketch, sums, low, high, buckets, NULL);
    Py_XDECREF(sums);
    Py_XDECREF(low);
    Py_XDECREF(high);
    Py_XDECREF(buckets);
    return found;
}

/* A tuple of the one segment, or of none; its part of the export is named by who knows it. */
static PyObject *python_segments(const Classes *classes, const Pair *pair)
{
    if (!pair->times)
        return PyTuple_New(0);
    PyObject *segment = PyObject_CallFunction(
        classes->segment, "iiLLLLKKLL", 0, 0, (long long)pair->first, (long long)pair->last, (long long)pair->low,
        (long long)pair->high, (unsigned long long)pair->out_of_order, (unsigned long long)pair->duplicates,
        (long long)pair->gap, (long long)pair->gap_start);
    PyObject *segments = segment ? PyTuple_Pack(1, segment) : NULL;
    Py_XDECREF(segment);
    return segments;
}

static PyObject *python_pair(const Classes *classes, const Pair *pair, uint64_t records)
{
    PyObject *found = NULL;
    PyObject *values = pair->sketch ? python_sketch(classes, pair->sketch) : python_values(&pair->values, 0);
    PyObject *segments = values ? python_segments(classes, pair) : NULL;
    if (segments)
        found = PyObject_CallFunction(classes->pair, "KKKKKOO", (unsigned long long)records,
                                      (unsigned long long)pair->not_a_number, (unsigned long long)(records - pair->times),
                                      (unsigned long long)(pair->anomalies + anomalies_among(&pair->values, pair->range)),
                                      (unsigned long long)pair->future, values, segments);
    Py_XDECREF(values);
    Py_XDECREF(segments);
    return found;
}

/* Add what is known of all pairs that have a patient to a dict; their memory goes as they are done. */
static int add_pairs(PyObject *pairs, PyObject *result, PairTable *table)
{
    Classes classes;
    PyObject *names = PyDict_New();
    int failed = import_classes(result, &classes) || !names;
    for (uint64_t i = 1; !failed && i < table->keys.used; i++) {
        const Entry *entry = &table->keys.entries[i];
        if (*entry_patient(&table->keys, entry) == UNASSIGNED_BYTE)
            continue;
        PyObject *type = type_name(names, &table->keys, entry);
        PyObject *patient = PyUnicode_DecodeUTF8((const char *)entry_patient(&table->keys, entry),
                                                 (Py_ssize_t)(uint32_t)entry->key.lengths, NULL);
        PyObject *key = patient && type ? PyTuple_Pack(2, patient, type) : NULL;
        Py_XDECREF(patient);
        Py_XDECREF(type);
        failed = set_item(pairs, key, key ? python_pair(&classes, &table->pairs[i], entry->count) : NULL);
        pair_free(&table->pairs[i]);
    }
    Py_XDECREF(names);
    release_classes(&classes);
    return failed;
}

/* ---- Arguments ---- */

/* Read one end of a range: a number of numbers.py, or None. */
static int take_end_of_range(PyObject *given, int *has, Number *number)
{
    *has = given != Py_None;
    if (!*has)
        return 0;
    long long mantissa, exponent;
    if (!PyArg_ParseTuple(given, "LL", &mantissa, &exponent))
        return -1;
    const long long limit = (long long)POWERS_OF_10[DIGITS];
    if (mantissa <= -limit || mantissa >= limit || exponent < -INT32_MAX || exponent > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "the end of a range has more than 18 digits, or is out of range");
        return -1;
    }
    *number = without_zeros(magnitude(mantissa), exponent, mantissa < 0);
    return 0;
}

/* Read the range of one type; `range` owns what it gets, also on an error. */
static int take_range(PyObject *type, PyObject *ends, Range *range)
{
    PyObject *low, *high;
    char *bytes;
    Py_ssize_t length;
    PyObject *text = PyUnicode_AsEncodedString(type, "utf-8", "surrogatepass");
    int failed = !text || PyBytes_AsStringAndSize(text, &bytes, &length);
    if (!failed) {
        range->length = (uint64_t)length;
        range->type = malloc(range->length + 1);
        if (range->type)
            memcpy(range->type, bytes, range->length);
        else
            PyErr_NoMemory();
        failed = !range->type || !PyArg_ParseTuple(ends, "OO", &low, &high) ||
                 take_end_of_range(low, &range->has_low, &range->low) ||
                 take_end_of_range(high, &range->has_high, &range->high);
    }
    Py_XDECREF(text);
    return failed ? -1 : 0;
}

/* Read the ranges, in the order in which they are searched. */
static int take_ranges(PairTable *table, PyObject *given)
{
    PyObject *items = PyMapping_Items(given);
    const Py_ssize_t count = items ? PyList_Size(items) : -1;
    int failed = count < 0;
    if (!failed && !(table->ranges = calloc((size_t)count + 1, sizeof *table->ranges))) {
        PyErr_NoMemory();
        failed = 1;
    }
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *type, *ends;
        failed = !PyArg_ParseTuple(PyList_GetItem(items, i), "UO!", &type, &PyTuple_Type, &ends) ||
                 take_range(type, ends, &table->ranges[table->ranges_used++]);
    }
    Py_XDECREF(items);
    if (!failed)
        qsort(table->ranges, table->ranges_used, sizeof *table->ranges, compare_ranges);
    return failed;
}

/* How many distinct values are kept one by one: that is told by result.py alone. */
static int take_max_distinct(PairTable *table)
{
    PyObject *result = PyImport_ImportModule("mockexport.stats.result");
    PyObject *limit = result ? PyObject_GetAttrString(result, "MAX_DISTINCT") : NULL;
    table->rules.max_distinct = limit ? PyLong_AsUnsignedLongLong(limit) : 0;
    Py_XDECREF(result);
    Py_XDECREF(limit);
    return PyErr_Occurred() != NULL;
}
