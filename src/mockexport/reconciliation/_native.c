/* The native keys of CSV as a Python type; the contract is contract.py, the reference reference.py. */

#include "../tally/python.h"

#include "../tally/csv_python.h"
#include "core.h"
#include "facts_python.h"

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the accumulator is in use; taken or refused, never waited for */
    int finished;
    CsvKeys keys;
} NativeCsvKeys;

static PyObject *raise_problem(const CsvKeys *k)
{
    const CsvRows *rows = &k->rows;
    return raise_csv_problem(rows->problem, rows->problem_line, &rows->header, rows->max_row_bytes, 0);
}

static PyObject *native_feed(PyObject *object, PyObject *chunk)
{
    NativeCsvKeys *self = (NativeCsvKeys *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE))
        return NULL;
    PyObject *result = NULL;
    if (!enter_tally(self->lock, self->finished)) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        const uint8_t *bytes = view.buf;
        failed = view.len ? read_bytes(&self->keys.rows, bytes, bytes + view.len) : 0;
        Py_END_ALLOW_THREADS
        self->finished = failed;
        result = failed ? raise_problem(&self->keys) : Py_NewRef(Py_None);
        PyThread_release_lock(self->lock);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *native_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeCsvKeys *self = (NativeCsvKeys *)object;
    if (enter_tally(self->lock, self->finished))
        return NULL;
    self->finished = 1;
    const CsvRows *rows = &self->keys.rows;
    PyObject *result = read_end(&self->keys.rows)
                           ? raise_problem(&self->keys)
                           : python_facts(&self->keys.facts, import_contract(), rows->left_out, rows->first_left_out,
                                          REASON_COUNT);
    PyThread_release_lock(self->lock);
    return result;
}

static PyObject *native_take_records(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeCsvKeys *self = (NativeCsvKeys *)object;
    if (enter_tally(self->lock, 0))
        return NULL;
    PyObject *records = PyBytes_FromStringAndSize((const char *)self->keys.records, (Py_ssize_t)self->keys.length);
    self->keys.length = records ? 0 : self->keys.length;
    PyThread_release_lock(self->lock);
    return records;
}

static PyObject *native_take_ids(PyObject *object, PyObject *unused)
{
    (void)object;
    (void)unused;
    return PyBytes_FromStringAndSize("", 0);
}

static PyObject *native_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((NativeCsvKeys *)object)->keys.rows.rows);
}

static PyObject *native_between_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(is_between_rows(&((NativeCsvKeys *)object)->keys.rows));
}

static void native_dealloc(PyObject *object)
{
    NativeCsvKeys *self = (NativeCsvKeys *)object;
    PyTypeObject *type = Py_TYPE(object);
    keys_free(&self->keys);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", "download", "begin", "end", "columns", "delimiter", "max_row_bytes", "instructions", NULL};
    const char *key = NULL, *instructions = NULL;
    Py_ssize_t key_length = 0, max_row_bytes = 1 << 20;
    unsigned int download = 0;
    PyObject *begin = NULL, *end = NULL, *columns = NULL;
    char delimiter = ',';
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$y#IOOO!cnz", names, &key, &key_length, &download, &begin, &end,
                                     &PyTuple_Type, &columns, &delimiter, &max_row_bytes, &instructions))
        return NULL;
    if (key_length != KEY_BYTES) {
        PyErr_Format(PyExc_ValueError, "key must be %d bytes", KEY_BYTES);
        return NULL;
    }
    enum instructions set;
    if (check_csv(columns, delimiter, instructions, &set) || check_limits(max_row_bytes, 1))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeCsvKeys *self = (NativeCsvKeys *)allocate(type, 0);
    if (!self)
        return NULL;
    CsvKeys *k = &self->keys;
    rows_init(&k->rows, take_rows, k, 1, (uint64_t)max_row_bytes, (uint8_t)delimiter, set);
    k->key = sip_key_of((const unsigned char *)key);
    k->download = download;
    self->lock = PyThread_allocate_lock();
    if (!self->lock)
        PyErr_NoMemory();
    if (!self->lock || name_columns(&k->rows.header, columns) || take_window(&k->facts, begin, end))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *native_record_key(PyObject *module, PyObject *args)
{
    (void)module;
    const char *key, *data;
    Py_ssize_t key_length, length;
    unsigned char hash[KEY_BYTES];
    if (!PyArg_ParseTuple(args, "y#y#", &key, &key_length, &data, &length))
        return NULL;
    if (key_length != KEY_BYTES) {
        PyErr_Format(PyExc_ValueError, "key must be %d bytes", KEY_BYTES);
        return NULL;
    }
    sip_hash(sip_key_of((const unsigned char *)key), (const unsigned char *)data, (size_t)length, hash);
    return PyBytes_FromStringAndSize((const char *)hash, KEY_BYTES);
}

static PyMethodDef native_methods[] = {
    {"feed", native_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},
    {"finish", native_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended, and return its facts.")},
    {"take_records", native_take_records, METH_NOARGS, PyDoc_STR("Return the records since the last call.")},
    {"take_ids", native_take_ids, METH_NOARGS, PyDoc_STR("Return nothing: rows have no ids.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef native_attributes[] = {
    {"rows", native_rows, NULL, PyDoc_STR("Rows read so far, malformed ones included, the header not."), NULL},
    {"between_rows", native_between_rows, NULL, PyDoc_STR("Whether the bytes so far end where a row ends."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The keys of one CSV body; the contract is mockexport.reconciliation.contract.CsvRecordKeys.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)native_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, native_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.reconciliation._native.NativeCsvKeys",
    .basicsize = sizeof(NativeCsvKeys),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static PyMethodDef module_functions[] = {
    {"record_key", native_record_key, METH_VARARGS, PyDoc_STR("Hash some bytes with the key of the run.")},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    return fill_module(module, &native_spec, "NativeCsvKeys");
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
    .m_name = "mockexport.reconciliation._native",
    .m_doc = PyDoc_STR("The native keys of CSV. INSTRUCTION_SETS names those that this processor has, the best one first."),
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
