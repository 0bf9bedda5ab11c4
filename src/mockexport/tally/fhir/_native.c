/* The native tally of FHIR resources as a Python type; the contract is contract.py, the reference reference.py. */

#include "../python.h"

#include "tally.h"

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the tally is in use */
    int finished;
    ResourceTally tally;
} NativeResourceTally;

static PyObject *import_fhir_contract(void)
{
    return PyImport_ImportModule("mockexport.tally.fhir.contract");
}

static PyObject *raise_problem(const ResourceTally *t)
{
    if (t->problem == NO_MEMORY)
        return PyErr_NoMemory();
    const int is_limit = t->problem == TOO_MANY_PAIRS || t->problem == PAIRS_TOO_LARGE;
    PyObject *contract = is_limit ? import_contract() : import_fhir_contract();
    PyObject *text = NULL;
    if (contract && is_limit) {
        text = limit_text(contract, t->problem == TOO_MANY_PAIRS, t->max_pairs);
    } else if (contract) {
        PyObject *reasons = PyObject_GetAttrString(contract, "REASONS");
        text = reasons ? PySequence_GetItem(reasons, (Py_ssize_t)t->problem) : NULL;
        Py_XDECREF(reasons);
    }
    raise_malformed(contract, is_limit ? "TooManyPairs" : "BadResource", t->problem_line, text);
    Py_XDECREF(contract);
    return NULL;
}

static PyObject *native_feed(PyObject *object, PyObject *chunk)
{
    NativeResourceTally *self = (NativeResourceTally *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE))
        return NULL;
    PyObject *result = NULL;
    if (!enter_tally(self->lock, self->finished)) {
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

/* The numbers by patient and label, and those without a patient by label and reason; -1 on failure. */
static int fill_counts(const Pairs *pairs, PyObject *reasons, PyObject *patients, PyObject *unassigned)
{
    PyObject *names = PyDict_New();
    int failed = !names;
    for (uint64_t i = 1; i < pairs->used && !failed; i++) {
        const Entry *entry = &pairs->entries[i];
        const uint8_t *patient = entry_patient(pairs, entry);
        const Py_ssize_t length = (Py_ssize_t)(uint32_t)entry->key.lengths;
        const int has_patient = patient[0] != UNASSIGNED_BYTE;
        PyObject *label = type_name(names, pairs, entry);
        PyObject *who = !label         ? NULL
                        : has_patient ? PyUnicode_DecodeUTF8((const char *)patient, length, NULL)
                                      : PySequence_GetItem(reasons, patient[1]);
        failed = has_patient ? set_number(patients, who, label, entry->count)
                             : set_number(unassigned, label, who, entry->count);
    }
    Py_XDECREF(names);
    return failed;
}

static PyObject *make_counts(const ResourceTally *t)
{
    PyObject *contract = import_fhir_contract();
    PyObject *model = contract ? PyImport_ImportModule("mockexport.model") : NULL;
    PyObject *reasons = model ? PyObject_GetAttrString(contract, "UNASSIGNED") : NULL;
    PyObject *left_out = reasons ? left_out_dict(contract, t->left_out, REASON_COUNT) : NULL;
    PyObject *patients = PyDict_New(), *unassigned = PyDict_New(), *counts = NULL;
    if (left_out && patients && unassigned && !fill_counts(&t->pairs, reasons, patients, unassigned))
        counts = PyObject_CallMethod(model, "Counts", "OOO", patients, left_out, unassigned);
    Py_XDECREF(contract);
    Py_XDECREF(model);
    Py_XDECREF(reasons);
    Py_XDECREF(left_out);
    Py_XDECREF(patients);
    Py_XDECREF(unassigned);
    return counts;
}

static PyObject *native_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeResourceTally *self = (NativeResourceTally *)object;
    if (enter_tally(self->lock, self->finished))
        return NULL;
    self->finished = 1;
    PyObject *result = take_end(&self->tally) ? raise_problem(&self->tally) : make_counts(&self->tally);
    tally_free(&self->tally);
    PyThread_release_lock(self->lock);
    return result;
}

static PyObject *native_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((NativeResourceTally *)object)->tally.rows);
}

static PyObject *native_between_rows(PyObject *object, void *unused)
{
    (void)unused;
    const ResourceTally *t = &((NativeResourceTally *)object)->tally;
    return PyBool_FromLong(!t->carry.length && !t->dropping);
}

static void native_dealloc(PyObject *object)
{
    NativeResourceTally *self = (NativeResourceTally *)object;
    PyTypeObject *type = Py_TYPE(object);
    tally_free(&self->tally);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* The paths of paths.py as text. */
static PyObject *paths_text(void)
{
    PyObject *paths = PyImport_ImportModule("mockexport.tally.fhir.paths");
    PyObject *text = paths ? PyObject_GetAttrString(paths, "PATHS_TEXT") : NULL;
    PyObject *bytes = text ? PyUnicode_AsUTF8String(text) : NULL;
    Py_XDECREF(paths);
    Py_XDECREF(text);
    return bytes;
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"skip", "max_row_bytes", "max_pairs", "by", "strict", "base", "instructions", "seed", NULL};
    int skip = 0, strict = 0;
    Py_ssize_t max_row_bytes = 16 << 20, max_pairs = 10000000;
    const char *by = "type", *base = NULL, *instructions = NULL;
    PyObject *given = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pnnspzzS", names, &skip, &max_row_bytes, &max_pairs, &by, &strict,
                                     &base, &instructions, &given))
        return NULL;
    if (check_limits(max_row_bytes, max_pairs))
        return NULL;
    const char *label = !strcmp(by, "code") ? "code" : !strcmp(by, "category") ? "category" : NULL;
    if (!label && strcmp(by, "type"))
        return PyErr_Format(PyExc_ValueError, "by is '%s', not type, category or code", by);
    const Scan scan = choose_scan(instructions);
    if (instructions && !scan)
        return PyErr_Format(PyExc_ValueError, "no instruction set '%s' on this machine", instructions);
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeResourceTally *self = (NativeResourceTally *)allocate(type, 0);
    if (!self)
        return NULL;
    PyObject *seed = seed_bytes(given), *paths = seed ? paths_text() : NULL;
    if (!paths) {
        Py_XDECREF(seed);
        Py_DECREF(self);
        return NULL;
    }
    self->lock = PyThread_allocate_lock();
    self->tally.skip = skip;
    self->tally.max_row_bytes = (uint64_t)max_row_bytes;
    self->tally.max_pairs = (uint64_t)max_pairs;
    self->tally.scan = strict ? NULL : scan;
    const int failed = tally_init(&self->tally, PyBytes_AsString(paths), label, base, (const uint8_t *)PyBytes_AsString(seed));
    Py_DECREF(seed);
    Py_DECREF(paths);
    if (failed || !self->lock) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyMethodDef native_methods[] = {
    {"feed", native_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},
    {"finish", native_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended, and return what was counted.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef native_attributes[] = {
    {"rows", native_rows, NULL, PyDoc_STR("Rows read so far, malformed ones included."), NULL},
    {"between_rows", native_between_rows, NULL, PyDoc_STR("Whether the bytes so far end where a row ends."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Counts the FHIR resources of one NDJSON body; the contract is "
                                  "mockexport.tally.fhir.contract.ResourceTally.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)native_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, native_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.tally.fhir._native.NativeResourceTally",
    .basicsize = sizeof(NativeResourceTally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static int has_instructions(const char *name)
{
    return choose_scan(name) != NULL;
}

static int module_exec(PyObject *module)
{
    return fill_module(module, &native_spec, "NativeResourceTally", INSTRUCTION_SETS,
                       sizeof INSTRUCTION_SETS / sizeof *INSTRUCTION_SETS, has_instructions);
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
    .m_name = "mockexport.tally.fhir._native",
    .m_doc = PyDoc_STR("The native tally of FHIR resources. INSTRUCTION_SETS names those of this processor, the best first."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
