/* The native tally as a Python type; the contract is contract.py, the reference reference.py. */

#include "python.h"

#include "csv_python.h"
#include "tally.h"

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the tally is in use; taken or refused, never waited for */
    int finished;
    Tally tally;
} NativeTally;

static PyObject *raise_problem(const Tally *t)
{
    return raise_csv_problem(t->problem, t->problem_line, &t->header, t->max_row_bytes, t->max_pairs);
}

static int enter(NativeTally *self)
{
    return enter_tally(self->lock, self->finished);
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

static PyObject *patients_dict(const Pairs *pairs)
{
    PyObject *names = PyDict_New();
    PyObject *patients = names ? PyDict_New() : NULL;
    for (uint64_t i = 1; patients && i < pairs->used; i++) {
        const Entry *entry = &pairs->entries[i];
        PyObject *patient = PyUnicode_DecodeUTF8((const char *)entry_patient(pairs, entry),
                                                 (Py_ssize_t)(uint32_t)entry->key.lengths, NULL);
        PyObject *type = patient ? type_name(names, pairs, entry) : NULL;
        if (set_number(patients, patient, type, entry->count))
            Py_CLEAR(patients);
    }
    Py_XDECREF(names);
    return patients;
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
        PyObject *patients = model ? patients_dict(&self->tally.pairs) : NULL;
        PyObject *left_out = patients ? left_out_dict(contract, self->tally.left_out, REASON_COUNT) : NULL;
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
    enum instructions set;
    if (check_csv(columns, delimiter, instructions, &set) || check_limits(max_row_bytes, max_pairs))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeTally *self = (NativeTally *)allocate(type, 0);
    if (!self)
        return NULL;
    PyObject *seed = seed_bytes(given);
    if (!seed) {
        Py_DECREF(self);
        return NULL;
    }
    self->lock = PyThread_allocate_lock();
    const int failed = tally_init(&self->tally, skip, (uint64_t)max_row_bytes, (uint64_t)max_pairs, (uint8_t)delimiter,
                                  (const uint8_t *)PyBytes_AsString(seed), TAKE_ROWS[set]);
    Py_DECREF(seed);
    if (failed || !self->lock)
        PyErr_NoMemory();
    if (failed || !self->lock || name_columns(&self->tally.header, columns))
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
    return fill_module(module, &native_spec, "NativeTally");
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
