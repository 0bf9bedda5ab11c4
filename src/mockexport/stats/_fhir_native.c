/* The native statistics of FHIR, and the times of chosen pairs, as Python types; the contract is contract.py, the
   references fhir_reference.py and chosen.py. */

#include "python.h"

#include "fhir_core.h"

#include "../tally/fhir/reader_python.h"
#include "chosen_python.h"

/* Both types: that of times has what it collects in `chosen`. */
typedef struct {
    ReaderObject base;
    ResourceStats stats;
    Chosen chosen; /* records are taken after the end, too */
} NativeResourceStats;

static void free_owner(PyObject *object)
{
    resource_stats_free(&((NativeResourceStats *)object)->stats);
}

/* A dict of the records without a patient, by type and reason; NULL on failure. */
static PyObject *python_unassigned(const Pairs *keys, PyObject *contract)
{
    PyObject *unassigned = PyDict_New(), *reasons = PyObject_GetAttrString(contract, "UNASSIGNED");
    PyObject *names = PyDict_New();
    int failed = !unassigned || !reasons || !names;
    for (uint64_t i = 1; !failed && i < keys->used; i++) {
        const Entry *entry = &keys->entries[i];
        const uint8_t *patient = entry_patient(keys, entry);
        if (*patient != UNASSIGNED_BYTE)
            continue;
        PyObject *type = type_name(names, keys, entry), *reason = type ? PySequence_GetItem(reasons, patient[1]) : NULL;
        PyObject *key = reason ? PyTuple_Pack(2, type, reason) : NULL;
        Py_XDECREF(type);
        Py_XDECREF(reason);
        failed = set_item(unassigned, key, key ? PyLong_FromUnsignedLongLong(entry->count) : NULL);
    }
    Py_XDECREF(reasons);
    Py_XDECREF(names);
    if (failed)
        Py_CLEAR(unassigned);
    return unassigned;
}

static PyObject *make_result(PyObject *object)
{
    NativeResourceStats *self = (NativeResourceStats *)object;
    if (self->stats.chosen)
        return Py_NewRef(Py_None);
    PyObject *contract = import_fhir_contract();
    PyObject *result = contract ? PyImport_ImportModule("mockexport.stats.result") : NULL;
    PyObject *unassigned = result ? python_unassigned(&self->stats.table.keys, contract) : NULL;
    PyObject *left_out = unassigned ? left_out_dict(contract, self->base.reader.left_out, REASON_COUNT) : NULL;
    PyObject *pairs = left_out ? PyDict_New() : NULL, *made = NULL;
    if (pairs && !add_pairs(pairs, result, &self->stats.table))
        made = PyObject_CallMethod(result, "Stats", "OOO", pairs, left_out, unassigned);
    Py_XDECREF(contract);
    Py_XDECREF(result);
    Py_XDECREF(unassigned);
    Py_XDECREF(left_out);
    Py_XDECREF(pairs);
    return made;
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ranges", "now",  "skip",         "max_row_bytes", "max_pairs",
                            "strict", "base", "instructions", "seed",          NULL};
    ReaderOptions options = {.max_row_bytes = 16 << 20, .max_pairs = 1000000};
    PyObject *ranges = NULL, *now = NULL, *given = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO!pnnpzzS", names, &ranges, &PyLong_Type, &now, &options.skip,
                                     &options.max_row_bytes, &options.max_pairs, &options.strict, &options.base,
                                     &options.instructions, &given))
        return NULL;
    if (!ranges || !now) { /* the parser has no keywords that are needed */
        PyErr_SetString(PyExc_TypeError, "ranges and now must be given");
        return NULL;
    }
    const long long microseconds = PyLong_AsLongLong(now);
    if (microseconds == -1 && PyErr_Occurred())
        return NULL;
    PyObject *object = new_reader(type, &options, "code"), *seed = object ? seed_bytes(given) : NULL;
    NativeResourceStats *self = (NativeResourceStats *)object;
    if (seed) {
        PairTable *table = &self->stats.table;
        table->rules.now = microseconds;
        if (resource_stats_init(&self->stats, &self->base.reader, (const uint8_t *)PyBytes_AsString(seed)))
            PyErr_NoMemory();
        else if (!take_ranges(table, ranges) && !take_max_distinct(table)) {
            Py_DECREF(seed);
            return object;
        }
    }
    Py_XDECREF(seed);
    Py_XDECREF(object);
    return NULL;
}

static PyMethodDef native_methods[] = {READER_METHODS, {NULL, NULL, 0, NULL}};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Makes the statistics of the Observations of one NDJSON body; the contract is "
                                  "mockexport.stats.contract.ResourceStatsAccumulator.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, reader_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.stats._fhir_native.NativeResourceStats",
    .basicsize = sizeof(NativeResourceStats),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

/* ---- The times of chosen pairs ---- */

static PyObject *times_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"numbers", "skip", "max_row_bytes", "strict", "base", "instructions", "seed", NULL};
    ReaderOptions options = {.max_row_bytes = 16 << 20};
    PyObject *numbers = NULL, *given = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OpnpzzS", names, &numbers, &options.skip, &options.max_row_bytes,
                                     &options.strict, &options.base, &options.instructions, &given))
        return NULL;
    if (!numbers) { /* the parser has no keywords that are needed */
        PyErr_SetString(PyExc_TypeError, "numbers must be given");
        return NULL;
    }
    PyObject *object = new_reader(type, &options, "code"), *seed = object ? seed_bytes(given) : NULL;
    NativeResourceStats *self = (NativeResourceStats *)object;
    if (seed) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AsString(seed);
        self->stats.chosen = &self->chosen;
        if (resource_stats_init(&self->stats, &self->base.reader, bytes))
            PyErr_NoMemory();
        else if (!take_numbers(&self->chosen, numbers, bytes)) {
            Py_DECREF(seed);
            return object;
        }
    }
    Py_XDECREF(seed);
    Py_XDECREF(object);
    return NULL;
}

static PyObject *times_take_records(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeResourceStats *self = (NativeResourceStats *)object;
    return take_records(self->base.lock, &self->chosen, &self->base.reader.problem);
}

static void times_dealloc(PyObject *object)
{
    chosen_free(&((NativeResourceStats *)object)->chosen);
    reader_dealloc(object);
}

static PyMethodDef times_methods[] = {
    READER_METHODS,
    {"take_records", times_take_records, METH_NOARGS, PyDoc_STR("Return the records since the last call.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot times_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Reads the times of chosen pairs in one NDJSON body; the contract is "
                                  "mockexport.stats.contract.ResourceTimes.")},
    {Py_tp_new, (void *)times_new},
    {Py_tp_dealloc, (void *)times_dealloc},
    {Py_tp_methods, times_methods},
    {Py_tp_getset, reader_attributes},
    {0, NULL},
};

static PyType_Spec times_spec = {
    .name = "mockexport.stats._fhir_native.NativeResourceTimes",
    .basicsize = sizeof(NativeResourceStats),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = times_slots,
};

/* ---- The module ---- */

static int module_exec(PyObject *module)
{
    return add_type(module, &times_spec, "NativeResourceTimes") ||
                   fill_module(module, &native_spec, "NativeResourceStats")
               ? -1
               : 0;
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
    .m_name = "mockexport.stats._fhir_native",
    .m_doc = PyDoc_STR("The native statistics of FHIR. INSTRUCTION_SETS names those of this processor, the best first."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__fhir_native(void)
{
    return PyModuleDef_Init(&module_definition);
}
