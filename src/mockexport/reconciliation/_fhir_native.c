/* The native keys and facts of FHIR resources as a Python type; the contract is contract.py, the reference
   fhir_reference.py. */

#include "../tally/python.h"

#include "fhir_keys.h"

#include "../tally/fhir/reader_python.h"
#include "facts_python.h"

#define DOWNLOADS (1 << 24)

typedef struct {
    ReaderObject base;
    ResourceKeys keys;
} NativeResourceKeys;

static void free_owner(PyObject *object)
{
    text_free(&((NativeResourceKeys *)object)->keys.name); /* records are taken after the end, too */
}

static void native_dealloc(PyObject *object)
{
    NativeResourceKeys *self = (NativeResourceKeys *)object;
    text_free(&self->keys.records);
    text_free(&self->keys.ids);
    reader_dealloc(object);
}

static PyObject *make_result(PyObject *object)
{
    const NativeResourceKeys *self = (NativeResourceKeys *)object;
    const Reader *r = &self->base.reader;
    return python_facts(&self->keys.facts, import_fhir_contract(), r->left_out, r->first_left_out, REASON_COUNT);
}

/* ---- Records ---- */

static PyObject *take(PyObject *object, Text *records)
{
    ReaderObject *self = (ReaderObject *)object;
    if (enter_tally(self->lock, 0))
        return NULL;
    PyObject *taken = PyBytes_FromStringAndSize((const char *)records->bytes, (Py_ssize_t)records->length);
    if (taken)
        records->length = 0;
    PyThread_release_lock(self->lock);
    return taken;
}

static PyObject *native_take_records(PyObject *object, PyObject *unused)
{
    (void)unused;
    return take(object, &((NativeResourceKeys *)object)->keys.records);
}

static PyObject *native_take_ids(PyObject *object, PyObject *unused)
{
    (void)unused;
    return take(object, &((NativeResourceKeys *)object)->keys.ids);
}

static PyObject *native_record_key(PyObject *module, PyObject *args)
{
    (void)module;
    const char *key, *data;
    Py_ssize_t key_length, length;
    uint8_t hash[KEY_BYTES];
    if (!PyArg_ParseTuple(args, "y#y#", &key, &key_length, &data, &length))
        return NULL;
    if (key_length != KEY_BYTES)
        return PyErr_Format(PyExc_ValueError, "key must be %d bytes", KEY_BYTES);
    sip_hash(sip_key_of((const uint8_t *)key), (const uint8_t *)data, (size_t)length, hash);
    return PyBytes_FromStringAndSize((const char *)hash, KEY_BYTES);
}

/* ---- The type ---- */

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", "download", "begin", "end", "ids", "max_row_bytes", "base", "instructions", NULL};
    ReaderOptions options = {.skip = 1, .strict = 1, .max_row_bytes = 16 << 20};
    const char *key = NULL;
    Py_ssize_t key_length = 0, download = 0;
    PyObject *begin = NULL, *end = NULL;
    int ids = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$y#nOOpnzz", names, &key, &key_length, &download, &begin, &end, &ids,
                                     &options.max_row_bytes, &options.base, &options.instructions))
        return NULL;
    if (!key || key_length != KEY_BYTES)
        return PyErr_Format(PyExc_ValueError, "key must be given, and be %d bytes", KEY_BYTES);
    if (download < 0 || download >= DOWNLOADS)
        return PyErr_Format(PyExc_OverflowError, "download must be 0 to %d", DOWNLOADS - 1);
    PyObject *object = new_reader(type, &options, NULL);
    if (!object)
        return NULL;
    NativeResourceKeys *self = (NativeResourceKeys *)object;
    ResourceKeys *k = &self->keys;
    k->key = sip_key_of((const uint8_t *)key);
    k->download = (uint32_t)download;
    k->with_ids = ids;
    const int out_of_memory = resource_keys_init(k, &self->base.reader);
    if (out_of_memory)
        PyErr_NoMemory();
    if (out_of_memory || take_window(&k->facts, begin, end))
        Py_CLEAR(object);
    return object;
}

static PyMethodDef native_methods[] = {
    READER_METHODS,
    {"take_records", native_take_records, METH_NOARGS, PyDoc_STR("Return the records since the last call.")},
    {"take_ids", native_take_ids, METH_NOARGS, PyDoc_STR("Return the records of ids since the last call.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Folds one NDJSON body into facts and keys; the contract is "
                                  "mockexport.reconciliation.contract.ResourceKeys.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)native_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, reader_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.reconciliation._fhir_native.NativeResourceKeys",
    .basicsize = sizeof(NativeResourceKeys),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static int module_exec(PyObject *module)
{
    return fill_module(module, &native_spec, "NativeResourceKeys");
}

static PyMethodDef module_functions[] = {
    {"record_key", native_record_key, METH_VARARGS,
     PyDoc_STR("Hash some bytes with the key of a run; the contract is mockexport.reconciliation.contract.RecordKey.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mockexport.reconciliation._fhir_native",
    .m_doc = PyDoc_STR("The native keys of FHIR. INSTRUCTION_SETS names those of this processor, the best first."),
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__fhir_native(void)
{
    return PyModuleDef_Init(&module_definition);
}
