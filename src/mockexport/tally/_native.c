/* The native tally as a Python type; the contract is contract.py, the reference reference.py. */

#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded builds have no limited API before 3.15 */
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "tally.h"

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the tally is in use; taken or refused, never waited for */
    int finished;
    Tally tally;
} NativeTally;

/* Looked up where it is needed, once a body, and never kept: each interpreter has one of its own. */
static PyObject *import_contract(void)
{
    return PyImport_ImportModule("mockexport.tally.contract");
}

static PyObject *problem_text(PyObject *contract, const Tally *t)
{
    if (t->problem < REASON_COUNT) {
        PyObject *reasons = PyObject_GetAttrString(contract, "REASONS");
        PyObject *reason = reasons ? PySequence_GetItem(reasons, (Py_ssize_t)t->problem) : NULL;
        Py_XDECREF(reasons);
        return reason;
    }
    if (t->problem == TOO_LONG)
        return PyObject_CallMethod(contract, "too_long", "K", (unsigned long long)t->max_row_bytes);
    if (t->problem == TOO_MANY_PAIRS || t->problem == PAIRS_TOO_LARGE)
        return PyObject_CallMethod(contract, t->problem == TOO_MANY_PAIRS ? "too_many_pairs" : "pairs_too_large", "K",
                                   (unsigned long long)t->max_pairs);
    if (t->problem == NO_HEADER)
        return PyUnicode_FromString("empty body");
    PyObject *times = PyDict_New();
    for (int i = 0; i < HEADER_COLUMNS && times; i++) {
        const Text *wanted = &t->names[i];
        if (!wanted->bytes)
            continue;
        PyObject *name = PyBytes_FromStringAndSize((const char *)wanted->bytes, (Py_ssize_t)wanted->length);
        PyObject *n = PyLong_FromUnsignedLongLong(t->names_seen[i]);
        const int wrong = !name || !n || PyDict_SetItem(times, name, n);
        Py_XDECREF(name);
        Py_XDECREF(n);
        if (wrong)
            Py_CLEAR(times);
    }
    PyObject *text = times ? PyObject_CallMethod(contract, "header_problem", "O", times) : NULL;
    Py_XDECREF(times);
    return text;
}

static PyObject *raise_problem(const Tally *t)
{
    if (t->problem == NO_MEMORY)
        return PyErr_NoMemory();
    PyObject *contract = import_contract();
    PyObject *text = contract ? problem_text(contract, t) : NULL;
    const char *kind = t->problem == TOO_MANY_PAIRS || t->problem == PAIRS_TOO_LARGE ? "TooManyPairs" : "Malformed";
    PyObject *error = text ? PyObject_CallMethod(contract, kind, "KO", (unsigned long long)t->problem_line, text) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(contract);
    if (error) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

static int enter(NativeTally *self)
{
    if (!PyThread_acquire_lock(self->lock, NOWAIT_LOCK)) {
        PyErr_SetString(PyExc_RuntimeError, "this tally is in use by another thread");
        return -1;
    }
    if (self->finished) {
        PyThread_release_lock(self->lock);
        PyErr_SetString(PyExc_ValueError, "this tally has ended");
        return -1;
    }
    return 0;
}

static PyObject *native_feed(PyObject *object, PyObject *chunk)
{
    NativeTally *self = (NativeTally *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE))
        return NULL;
    PyObject *result = NULL;
    if (!enter(self)) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        const uint8_t *bytes = view.buf;
        failed = view.len ? take_bytes(&self->tally, bytes, bytes + view.len) : 0;
        Py_END_ALLOW_THREADS
        self->finished = failed;
        result = failed ? raise_problem(&self->tally) : Py_NewRef(Py_None);
        PyThread_release_lock(self->lock);
    }
    PyBuffer_Release(&view);
    return result;
}

#define NAMES_SHARED 1024 /* types, of which most bodies have a few */

/* A type's name; `names` has those made so far, so that a million pairs share one. */
static PyObject *type_name(PyObject *names, const Tally *t, const Entry *entry)
{
    PyObject *name = PyUnicode_DecodeUTF8((const char *)entry_type(&t->pairs, entry),
                                          (Py_ssize_t)(entry->key.lengths >> 32), NULL);
    PyObject *known = name ? PyDict_GetItemWithError(names, name) : NULL;
    if (known) {
        Py_DECREF(name);
        return Py_NewRef(known);
    }
    if (name && (PyErr_Occurred() || (PyDict_Size(names) < NAMES_SHARED && PyDict_SetItem(names, name, name))))
        Py_CLEAR(name);
    return name;
}

static PyObject *patients_dict(const Tally *t)
{
    PyObject *names = PyDict_New();
    PyObject *patients = names ? PyDict_New() : NULL;
    for (uint64_t i = 1; patients && i < t->pairs.used; i++) {
        const Entry *entry = &t->pairs.entries[i];
        PyObject *patient = PyUnicode_DecodeUTF8((const char *)entry_patient(&t->pairs, entry),
                                                 (Py_ssize_t)(uint32_t)entry->key.lengths, NULL);
        PyObject *type = patient ? type_name(names, t, entry) : NULL;
        PyObject *n = PyLong_FromUnsignedLongLong(entry->count);
        PyObject *types = patient && type ? PyDict_GetItemWithError(patients, patient) : NULL;
        int failed = !patient || !type || !n || PyErr_Occurred();
        if (!failed && types) {
            failed = PyDict_SetItem(types, type, n);
        } else if (!failed) {
            types = PyDict_New();
            failed = !types || PyDict_SetItem(types, type, n) || PyDict_SetItem(patients, patient, types);
            Py_XDECREF(types);
        }
        Py_XDECREF(patient);
        Py_XDECREF(type);
        Py_XDECREF(n);
        if (failed)
            Py_CLEAR(patients);
    }
    Py_XDECREF(names);
    return patients;
}

static PyObject *left_out_dict(PyObject *contract, const Tally *t)
{
    PyObject *left_out = PyDict_New();
    PyObject *reasons = PyObject_GetAttrString(contract, "REASONS");
    int failed = !left_out || !reasons;
    for (int i = 0; i < REASON_COUNT && !failed; i++) {
        if (!t->left_out[i])
            continue;
        PyObject *reason = PySequence_GetItem(reasons, i);
        PyObject *n = PyLong_FromUnsignedLongLong(t->left_out[i]);
        failed = !reason || !n || PyDict_SetItem(left_out, reason, n);
        Py_XDECREF(reason);
        Py_XDECREF(n);
    }
    Py_XDECREF(reasons);
    if (failed)
        Py_CLEAR(left_out);
    return left_out;
}

static PyObject *native_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeTally *self = (NativeTally *)object;
    if (enter(self))
        return NULL;
    self->finished = 1;
    PyObject *result = NULL;
    if (take_end(&self->tally)) {
        raise_problem(&self->tally);
    } else {
        PyObject *contract = import_contract();
        PyObject *model = contract ? PyImport_ImportModule("mockexport.model") : NULL;
        PyObject *patients = model ? patients_dict(&self->tally) : NULL;
        PyObject *left_out = patients ? left_out_dict(contract, &self->tally) : NULL;
        if (left_out)
            result = PyObject_CallMethod(model, "Counts", "OO", patients, left_out);
        Py_XDECREF(contract);
        Py_XDECREF(model);
        Py_XDECREF(patients);
        Py_XDECREF(left_out);
    }
    tally_free(&self->tally);
    PyThread_release_lock(self->lock);
    return result;
}

static PyObject *native_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((NativeTally *)object)->tally.rows);
}

static PyObject *native_between_rows(PyObject *object, void *unused)
{
    (void)unused;
    const Tally *t = &((NativeTally *)object)->tally;
    return PyBool_FromLong(t->columns && !t->row_bytes && !t->column && t->state == FIELD_START);
}

static PyObject *native_longest_probe(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeTally *self = (NativeTally *)object;
    if (enter(self))
        return NULL;
    PyObject *longest = PyLong_FromUnsignedLongLong(longest_probe(&self->tally.pairs));
    PyThread_release_lock(self->lock);
    return longest;
}

static void native_dealloc(PyObject *object)
{
    NativeTally *self = (NativeTally *)object;
    PyTypeObject *type = Py_TYPE(object);
    tally_free(&self->tally);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* Random bytes from the operating system. */
static PyObject *random_seed(void)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *seed = os ? PyObject_CallMethod(os, "urandom", "i", (int)sizeof(Seed)) : NULL;
    Py_XDECREF(os);
    return seed;
}

/* Tell a tally which columns the header must have: a tuple of bytes and None, or NULL for those of contract.py. */
static int name_columns(Tally *t, PyObject *columns)
{
    PyObject *contract = columns ? NULL : import_contract();
    PyObject *wanted = columns ? Py_NewRef(columns) : contract ? PyObject_GetAttrString(contract, "COLUMNS") : NULL;
    Py_XDECREF(contract);
    int failed = !wanted;
    for (int i = 0; i < HEADER_COLUMNS && !failed; i++) {
        PyObject *name = PyTuple_GetItem(wanted, i);
        char *bytes;
        Py_ssize_t length;
        if (name == Py_None)
            continue;
        failed = !name || PyBytes_AsStringAndSize(name, &bytes, &length);
        if (!failed && tally_name(t, i, (const uint8_t *)bytes, (uint64_t)length)) {
            PyErr_NoMemory();
            failed = 1;
        }
    }
    Py_XDECREF(wanted);
    return failed;
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"skip", "max_row_bytes", "max_pairs", "columns", "delimiter", "instructions", "seed", NULL};
    int skip = 0;
    Py_ssize_t max_row_bytes = 1 << 20, max_pairs = 10000000;
    const char *instructions = NULL;
    PyObject *columns = NULL, *given = NULL;
    char delimiter = ',';
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pnnO!czS", names, &skip, &max_row_bytes, &max_pairs, &PyTuple_Type,
                                     &columns, &delimiter, &instructions, &given))
        return NULL;
    if (columns && PyTuple_Size(columns) != HEADER_COLUMNS) {
        PyErr_Format(PyExc_ValueError, "columns must be %d names", HEADER_COLUMNS);
        return NULL;
    }
    if (delimiter == '"' || delimiter == '\r' || delimiter == '\n') {
        PyErr_SetString(PyExc_ValueError, "delimiter must not be a quote or a line end");
        return NULL;
    }
    if (max_row_bytes < 0 || max_row_bytes > INT32_MAX) { /* a key keeps the lengths of its fields in 32 bits each */
        PyErr_Format(PyExc_ValueError, "max_row_bytes must be 0 to %d", INT32_MAX);
        return NULL;
    }
    if (max_pairs < 0 || max_pairs > MAX_PAIRS) {
        PyErr_Format(PyExc_ValueError, "max_pairs must be 0 to %d", MAX_PAIRS);
        return NULL;
    }
    if (given && PyBytes_Size(given) != (Py_ssize_t)sizeof(Seed)) {
        PyErr_Format(PyExc_ValueError, "seed must be %d bytes", (int)sizeof(Seed));
        return NULL;
    }
    TakeRows rows = take_rows(instructions);
    if (instructions && !rows) {
        PyErr_Format(PyExc_ValueError, "no instruction set '%s' on this machine", instructions);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeTally *self = (NativeTally *)allocate(type, 0);
    if (!self)
        return NULL;
    PyObject *seed = given ? Py_NewRef(given) : random_seed();
    if (!seed) {
        Py_DECREF(self);
        return NULL;
    }
    self->lock = PyThread_allocate_lock();
    const int failed = tally_init(&self->tally, skip, (uint64_t)max_row_bytes, (uint64_t)max_pairs, (uint8_t)delimiter,
                                  (const uint8_t *)PyBytes_AsString(seed), rows);
    Py_DECREF(seed);
    if (failed || !self->lock)
        PyErr_NoMemory();
    if (failed || !self->lock || name_columns(&self->tally, columns))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef native_methods[] = {
    {"feed", native_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},
    {"finish", native_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended, and return what was counted.")},
    {"longest_probe", native_longest_probe, METH_NOARGS,
     PyDoc_STR("How far the table's entries are from the slots that their hashes choose, at the most.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef native_attributes[] = {
    {"rows", native_rows, NULL, PyDoc_STR("Rows read so far, malformed ones included, the header not."), NULL},
    {"between_rows", native_between_rows, NULL, PyDoc_STR("Whether the bytes so far end where a row ends."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Counts the records of one CSV body; the contract is mockexport.tally.contract.Tally.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)native_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, native_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.tally._native.NativeTally",
    .basicsize = sizeof(NativeTally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &native_spec, NULL);
    if (!type || PyModule_AddObjectRef(module, "NativeTally", type)) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
    PyObject *names = PyList_New(0);
    for (size_t i = 0; names && i < sizeof INSTRUCTION_SETS / sizeof *INSTRUCTION_SETS; i++) {
        if (!take_rows(INSTRUCTION_SETS[i]))
            continue;
        PyObject *name = PyUnicode_FromString(INSTRUCTION_SETS[i]);
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

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mockexport.tally._native",
    .m_doc = PyDoc_STR("The native tally. INSTRUCTION_SETS names those that this processor has, the best one first."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
