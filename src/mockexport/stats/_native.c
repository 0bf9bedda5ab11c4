/* The native statistics of CSV as a Python type; the contract is contract.py, the reference reference.py. */

#include "python.h"

#include "../tally/csv_python.h"
#include "core.h"

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the statistics are in use; taken or refused, never waited for */
    int finished;
    CsvStats stats;
} NativeStats;

static PyObject *raise_problem(const CsvStats *s)
{
    const CsvRows *rows = &s->rows;
    return raise_csv_problem(rows->problem, rows->problem_line, &rows->header, rows->max_row_bytes, s->table.max_pairs);
}

static int enter(NativeStats *self)
{
    return enter_tally(self->lock, self->finished);
}

static PyObject *native_feed(PyObject *object, PyObject *chunk)
{
    NativeStats *self = (NativeStats *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE))
        return NULL;
    PyObject *result = NULL;
    if (!enter(self)) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        const uint8_t *bytes = view.buf;
        failed = view.len ? read_bytes(&self->stats.rows, bytes, bytes + view.len) : 0;
        Py_END_ALLOW_THREADS
        self->finished = failed;
        result = failed ? raise_problem(&self->stats) : Py_NewRef(Py_None);
        PyThread_release_lock(self->lock);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *python_stats(CsvStats *s)
{
    PyObject *made = NULL, *pairs = NULL, *left_out = NULL;
    PyObject *contract = import_contract();
    PyObject *result = contract ? PyImport_ImportModule("mockexport.stats.result") : NULL;
    if (result && (pairs = PyDict_New()) && !add_pairs(pairs, result, &s->table) &&
        (left_out = left_out_dict(contract, s->rows.left_out, REASON_COUNT)))
        made = PyObject_CallMethod(result, "Stats", "OO", pairs, left_out);
    Py_XDECREF(contract);
    Py_XDECREF(result);
    Py_XDECREF(pairs);
    Py_XDECREF(left_out);
    return made;
}

static PyObject *native_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeStats *self = (NativeStats *)object;
    if (enter(self))
        return NULL;
    self->finished = 1;
    PyObject *result = read_end(&self->stats.rows) ? raise_problem(&self->stats) : python_stats(&self->stats);
    stats_free(&self->stats);
    PyThread_release_lock(self->lock);
    return result;
}

static PyObject *native_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((NativeStats *)object)->stats.rows.rows);
}

static PyObject *native_between_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(is_between_rows(&((NativeStats *)object)->stats.rows));
}

static void native_dealloc(PyObject *object)
{
    NativeStats *self = (NativeStats *)object;
    PyTypeObject *type = Py_TYPE(object);
    stats_free(&self->stats);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"columns",   "ranges",    "now",          "skip", "max_row_bytes",
                            "max_pairs", "delimiter", "instructions", "seed", NULL};
    int skip = 0;
    Py_ssize_t max_row_bytes = 1 << 20, max_pairs = 1000000;
    const char *instructions = NULL;
    PyObject *columns = NULL, *ranges = NULL, *now = NULL, *given = NULL;
    char delimiter = ',';
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O!OO!pnnczS", names, &PyTuple_Type, &columns, &ranges,
                                     &PyLong_Type, &now, &skip, &max_row_bytes, &max_pairs, &delimiter, &instructions, &given))
        return NULL;
    if (!columns || !ranges || !now) { /* the parser has no keywords that are needed */
        PyErr_SetString(PyExc_TypeError, "columns, ranges and now must be given");
        return NULL;
    }
    const long long microseconds = PyLong_AsLongLong(now);
    if (microseconds == -1 && PyErr_Occurred())
        return NULL;
    enum instructions set;
    if (check_csv(columns, delimiter, instructions, &set) || check_limits(max_row_bytes, max_pairs))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeStats *self = (NativeStats *)allocate(type, 0);
    if (!self)
        return NULL;
    PyObject *seed = seed_bytes(given);
    if (!seed) {
        Py_DECREF(self);
        return NULL;
    }
    CsvStats *s = &self->stats;
    self->lock = PyThread_allocate_lock();
    const int failed = stats_init(s, skip, (uint64_t)max_row_bytes, (uint8_t)delimiter, set,
                                  (const uint8_t *)PyBytes_AsString(seed));
    s->table.max_pairs = (uint64_t)max_pairs;
    s->table.rules.now = microseconds;
    Py_DECREF(seed);
    if (failed || !self->lock)
        PyErr_NoMemory();
    if (failed || !self->lock || name_columns(&s->rows.header, columns) || take_ranges(&s->table, ranges) || take_max_distinct(&s->table))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef native_methods[] = {
    {"feed", native_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},
    {"finish", native_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended, and return its statistics.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef native_attributes[] = {
    {"rows", native_rows, NULL, PyDoc_STR("Rows read so far, malformed ones included, the header not."), NULL},
    {"between_rows", native_between_rows, NULL, PyDoc_STR("Whether the bytes so far end where a row ends."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot native_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Makes the statistics of one CSV body; the contract is mockexport.stats.contract.StatsAccumulator.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)native_dealloc},
    {Py_tp_methods, native_methods},
    {Py_tp_getset, native_attributes},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.stats._native.NativeStats",
    .basicsize = sizeof(NativeStats),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static int module_exec(PyObject *module)
{
    return fill_module(module, &native_spec, "NativeStats");
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
    .m_name = "mockexport.stats._native",
    .m_doc = PyDoc_STR("The native statistics. INSTRUCTION_SETS names those that this processor has, the best one first."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
