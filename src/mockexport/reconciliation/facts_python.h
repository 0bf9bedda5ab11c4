/* The facts of a download as Python objects, those of contract.py. Include python.h first. */

#include "facts.h"

static PyObject *python_lines(PyObject *contract, uint64_t rows, const uint64_t *first)
{
    const Py_ssize_t kept = rows < FIRST_PLACES ? (Py_ssize_t)rows : FIRST_PLACES;
    PyObject *lines = PyTuple_New(kept);
    for (Py_ssize_t i = 0; i < kept && lines; i++) {
        PyObject *line = PyLong_FromUnsignedLongLong(first[i]);
        if (!line || PyTuple_SetItem(lines, i, line))
            Py_CLEAR(lines);
    }
    PyObject *made = lines ? PyObject_CallMethod(contract, "Lines", "KO", (unsigned long long)rows, lines) : NULL;
    Py_XDECREF(lines);
    return made;
}

/* The rows that were left out, by the reasons that the contract of their tally names. */
static PyObject *python_malformed(PyObject *contract, PyObject *tally, const uint64_t *left_out,
                                  const uint64_t (*first)[FIRST_PLACES], int reason_count)
{
    PyObject *reasons = tally ? PyObject_GetAttrString(tally, "REASONS") : NULL;
    PyObject *malformed = reasons ? PyDict_New() : NULL;
    for (int i = 0; i < reason_count && malformed; i++) {
        if (!left_out[i])
            continue;
        PyObject *reason = PySequence_GetItem(reasons, i);
        PyObject *lines = python_lines(contract, left_out[i], first[i]);
        if (!reason || !lines || PyDict_SetItem(malformed, reason, lines))
            Py_CLEAR(malformed);
        Py_XDECREF(reason);
        Py_XDECREF(lines);
    }
    Py_XDECREF(reasons);
    return malformed;
}

/* All facts; the reference of the tally's contract is taken, and may be NULL after an error. */
static PyObject *python_facts(const Facts *facts, PyObject *tally, const uint64_t *left_out,
                              const uint64_t (*first_left_out)[FIRST_PLACES], int reason_count)
{
    PyObject *made = NULL, *contract = tally ? PyImport_ImportModule("mockexport.reconciliation.contract") : NULL;
    if (contract) {
        PyObject *first = facts->has_time ? PyLong_FromLongLong(facts->first) : Py_NewRef(Py_None);
        PyObject *last = facts->has_time ? PyLong_FromLongLong(facts->last) : Py_NewRef(Py_None);
        PyObject *before = python_lines(contract, facts->before.rows, facts->before.first);
        PyObject *after = python_lines(contract, facts->after.rows, facts->after.first);
        PyObject *subsetted = python_lines(contract, facts->subsetted.rows, facts->subsetted.first);
        PyObject *malformed = python_malformed(contract, tally, left_out, first_left_out, reason_count);
        if (first && last && before && after && subsetted && malformed)
            made = PyObject_CallMethod(contract, "RecordFacts", "OOKOOOO", first, last,
                                       (unsigned long long)facts->no_time, before, after, subsetted, malformed);
        Py_XDECREF(first);
        Py_XDECREF(last);
        Py_XDECREF(before);
        Py_XDECREF(after);
        Py_XDECREF(subsetted);
        Py_XDECREF(malformed);
        Py_DECREF(contract);
    }
    Py_XDECREF(tally);
    return made;
}

/* Take a limit of the window, which may be None. */
static int take_limit(PyObject *given, int *has, int64_t *limit)
{
    *has = given && given != Py_None;
    *limit = *has ? PyLong_AsLongLong(given) : 0;
    return *has && *limit == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Read the window: times before its begin and after its end are outside. */
static int take_window(Facts *facts, PyObject *begin, PyObject *end)
{
    return take_limit(begin, &facts->has_begin, &facts->begin) || take_limit(end, &facts->has_end, &facts->end) ? -1 : 0;
}
