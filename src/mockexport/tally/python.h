/* What both native tallies need of Python, the limited API of 3.11; _native.c and fhir/_native.c include it. */

#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded builds have no limited API before 3.15 */
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "instructions.h"
#include "pairs.h"

/* Looked up where it is needed, once a body, and never kept: each interpreter has one of its own. */
static PyObject *import_contract(void)
{
    return PyImport_ImportModule("mockexport.tally.contract");
}

/* A tally is taken or refused, never waited for. */
static int enter_tally(PyThread_type_lock lock, int finished)
{
    if (!PyThread_acquire_lock(lock, NOWAIT_LOCK)) {
        PyErr_SetString(PyExc_RuntimeError, "this tally is in use by another thread");
        return -1;
    }
    if (finished) {
        PyThread_release_lock(lock);
        PyErr_SetString(PyExc_ValueError, "this tally has ended");
        return -1;
    }
    return 0;
}

/* Raise what a class of a module makes of a line and a text, whose reference is taken. */
static PyObject *raise_malformed(PyObject *module, const char *name, uint64_t line, PyObject *text)
{
    PyObject *error = text ? PyObject_CallMethod(module, name, "KO", (unsigned long long)line, text) : NULL;
    Py_XDECREF(text);
    if (error) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

/* The text of too many pairs, or of pairs that are too large. */
static PyObject *limit_text(PyObject *contract, int too_many, uint64_t max_pairs)
{
    return PyObject_CallMethod(contract, too_many ? "too_many_pairs" : "pairs_too_large", "K",
                               (unsigned long long)max_pairs);
}

#define NAMES_SHARED 1024 /* types, of which most bodies have a few */

/* A type's name; `names` has those made so far, so that a million pairs share one. */
static inline PyObject *type_name(PyObject *names, const Pairs *pairs, const Entry *entry)
{
    PyObject *name =
        PyUnicode_DecodeUTF8((const char *)entry_type(pairs, entry), (Py_ssize_t)(entry->key.lengths >> 32), NULL);
    PyObject *known = name ? PyDict_GetItemWithError(names, name) : NULL;
    if (known) {
        Py_DECREF(name);
        return Py_NewRef(known);
    }
    if (name && (PyErr_Occurred() || (PyDict_Size(names) < NAMES_SHARED && PyDict_SetItem(names, name, name))))
        Py_CLEAR(name);
    return name;
}

/* Set numbers[one][other] = n, and take the references of the keys. */
static inline int set_number(PyObject *numbers, PyObject *one, PyObject *other, uint64_t n)
{
    PyObject *number = PyLong_FromUnsignedLongLong(n);
    PyObject *inner = one && other && number ? PyDict_GetItemWithError(numbers, one) : NULL;
    int failed = !one || !other || !number || PyErr_Occurred();
    if (!failed && inner) {
        failed = PyDict_SetItem(inner, other, number);
    } else if (!failed) {
        inner = PyDict_New();
        failed = !inner || PyDict_SetItem(inner, other, number) || PyDict_SetItem(numbers, one, inner);
        Py_XDECREF(inner);
    }
    Py_XDECREF(one);
    Py_XDECREF(other);
    Py_XDECREF(number);
    return failed;
}

/* The numbers of rows left out, by the reasons that `module` names. */
static inline PyObject *left_out_dict(PyObject *module, const uint64_t *numbers, int reason_count)
{
    PyObject *left_out = PyDict_New();
    PyObject *reasons = PyObject_GetAttrString(module, "REASONS");
    int failed = !left_out || !reasons;
    for (int i = 0; i < reason_count && !failed; i++) {
        if (!numbers[i])
            continue;
        PyObject *reason = PySequence_GetItem(reasons, i);
        PyObject *n = PyLong_FromUnsignedLongLong(numbers[i]);
        failed = !reason || !n || PyDict_SetItem(left_out, reason, n);
        Py_XDECREF(reason);
        Py_XDECREF(n);
    }
    Py_XDECREF(reasons);
    if (failed)
        Py_CLEAR(left_out);
    return left_out;
}

/* A seed for the keys: what was given, or random bytes from the operating system. */
static inline PyObject *seed_bytes(PyObject *given)
{
    if (given && PyBytes_Size(given) != (Py_ssize_t)sizeof(Seed)) {
        PyErr_Format(PyExc_ValueError, "seed must be %d bytes", (int)sizeof(Seed));
        return NULL;
    }
    if (given)
        return Py_NewRef(given);
    PyObject *os = PyImport_ImportModule("os");
    PyObject *seed = os ? PyObject_CallMethod(os, "urandom", "i", (int)sizeof(Seed)) : NULL;
    Py_XDECREF(os);
    return seed;
}

/* Whether the limits of a tally can be kept by its table. */
static int check_limits(Py_ssize_t max_row_bytes, Py_ssize_t max_pairs)
{
    if (max_row_bytes < 0 || max_row_bytes > INT32_MAX) { /* a key keeps the lengths of its fields in 32 bits each */
        PyErr_Format(PyExc_ValueError, "max_row_bytes must be 0 to %d", INT32_MAX);
        return -1;
    }
    if (max_pairs < 0 || max_pairs > MAX_PAIRS) {
        PyErr_Format(PyExc_ValueError, "max_pairs must be 0 to %d", MAX_PAIRS);
        return -1;
    }
    return 0;
}

/* Add a type to its module. */
static int add_type(PyObject *module, PyType_Spec *spec, const char *type_name)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    const int failed = !type || PyModule_AddObjectRef(module, type_name, type);
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

/* Add a type to its module, and a tuple INSTRUCTION_SETS with the names of those that this processor has. */
static int fill_module(PyObject *module, PyType_Spec *spec, const char *type_name)
{
    if (add_type(module, spec, type_name))
        return -1;
    PyObject *names = PyList_New(0);
    for (size_t i = 0; names && i < SETS_COMPILED; i++) {
        if (!has_set(BEST_FIRST[i]))
            continue;
        PyObject *name = PyUnicode_FromString(SET_NAMES[BEST_FIRST[i]]);
        if (!name || PyList_Append(names, name))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *tuple = names ? PyList_AsTuple(names) : NULL;
    const int failed = !tuple || PyModule_AddObjectRef(module, "INSTRUCTION_SETS", tuple);
    Py_XDECREF(names);
    Py_XDECREF(tuple);
    return failed ? -1 : 0;
}
