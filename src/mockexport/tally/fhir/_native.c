/* The native tally of FHIR resources as a Python type; the contract is contract.py, the reference reference.py. */

#include "../python.h"

#include "tally.h"

#include "reader_python.h"

typedef struct {
    ReaderObject base;
    Pairs pairs;
} NativeResourceTally;

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

static PyObject *make_result(PyObject *object)
{
    const NativeResourceTally *self = (NativeResourceTally *)object;
    PyObject *contract = import_fhir_contract();
    PyObject *model = contract ? PyImport_ImportModule("mockexport.model") : NULL;
    PyObject *reasons = model ? PyObject_GetAttrString(contract, "UNASSIGNED") : NULL;
    PyObject *left_out = reasons ? left_out_dict(contract, self->base.reader.left_out, REASON_COUNT) : NULL;
    PyObject *patients = PyDict_New(), *unassigned = PyDict_New(), *counts = NULL;
    if (left_out && patients && unassigned && !fill_counts(&self->pairs, reasons, patients, unassigned))
        counts = PyObject_CallMethod(model, "Counts", "OOO", patients, left_out, unassigned);
    Py_XDECREF(contract);
    Py_XDECREF(model);
    Py_XDECREF(reasons);
    Py_XDECREF(left_out);
    Py_XDECREF(patients);
    Py_XDECREF(unassigned);
    return counts;
}

static void free_owner(PyObject *object)
{
    pairs_free(&((NativeResourceTally *)object)->pairs);
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"skip", "max_row_bytes", "max_pairs", "by", "strict", "base", "instructions", "seed", NULL};
    ReaderOptions options = {.max_row_bytes = 16 << 20, .max_pairs = 10000000};
    const char *by = "type";
    PyObject *given = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pnnspzzS", names, &options.skip, &options.max_row_bytes,
                                     &options.max_pairs, &by, &options.strict, &options.base, &options.instructions,
                                     &given))
        return NULL;
    const char *label = !strcmp(by, "code") ? "code" : !strcmp(by, "category") ? "category" : NULL;
    if (!label && strcmp(by, "type"))
        return PyErr_Format(PyExc_ValueError, "by is '%s', not type, category or code", by);
    PyObject *object = new_reader(type, &options, label), *seed = object ? seed_bytes(given) : NULL;
    NativeResourceTally *self = (NativeResourceTally *)object;
    if (!seed) {
        Py_CLEAR(object);
    } else if (pairs_init(&self->pairs, (const uint8_t *)PyBytes_AsString(seed))) {
        Py_CLEAR(object);
        PyErr_NoMemory();
    } else {
        self->base.reader.owner = &self->pairs;
    }
    Py_XDECREF(seed);
    return object;
}

static PyMethodDef native_methods[] = {READER_METHODS, {NULL, NULL, 0, NULL}};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Counts the FHIR resources of one NDJSON body; the contract is "
                                  "mockexport.tally.fhir.contract.ResourceTally.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, reader_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.tally.fhir._native.NativeResourceTally",
    .basicsize = sizeof(NativeResourceTally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static int module_exec(PyObject *module)
{
    return fill_module(module, &native_spec, "NativeResourceTally");
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
