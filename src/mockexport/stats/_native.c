/* The native statistics of CSV, and the times of chosen pairs, as Python types; the contract is contract.py, the
   references reference.py and chosen.py. */

#include "python.h"

#include "../tally/csv_python.h"
#include "csv_times.h"

#include "chosen_python.h"

/* ---- What both types are: a body of rows that is fed, and then finished ---- */

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the rows are in use; taken or refused, never waited for */
    int finished;
    CsvRows *rows; /* of the type that this is the base of */
    uint64_t max_pairs;
} RowsObject;

static PyObject *raise_problem(const RowsObject *self)
{
    const CsvRows *rows = self->rows;
    return raise_csv_problem(rows->problem, rows->problem_line, &rows->header, rows->max_row_bytes, self->max_pairs);
}

static int enter(RowsObject *self)
{
    return enter_tally(self->lock, self->finished);
}

static PyObject *rows_feed(PyObject *object, PyObject *chunk)
{
    RowsObject *self = (RowsObject *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE))
        return NULL;
    PyObject *result = NULL;
    if (!enter(self)) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        const uint8_t *bytes = view.buf;
        failed = view.len ? read_bytes(self->rows, bytes, bytes + view.len) : 0;
        Py_END_ALLOW_THREADS
        self->finished = failed;
        result = failed ? raise_problem(self) : Py_NewRef(Py_None);
        PyThread_release_lock(self->lock);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *rows_read(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((RowsObject *)object)->rows->rows);
}

static PyObject *rows_are_between(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(is_between_rows(((RowsObject *)object)->rows));
}

static PyGetSetDef rows_attributes[] = {
    {"rows", rows_read, NULL, PyDoc_STR("Rows read so far, malformed ones included, the header not."), NULL},
    {"between_rows", rows_are_between, NULL, PyDoc_STR("Whether the bytes so far end where a row ends."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* Make an object, all of it zero but for its lock. */
static PyObject *new_rows(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *object = allocate(type, 0);
    RowsObject *self = (RowsObject *)object;
    if (object && !(self->lock = PyThread_allocate_lock())) {
        Py_CLEAR(object);
        PyErr_NoMemory();
    }
    return object;
}

static void rows_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (((RowsObject *)object)->lock)
        PyThread_free_lock(((RowsObject *)object)->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- The statistics ---- */

typedef struct {
    RowsObject base;
    CsvStats stats;
} NativeStats;

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

static PyObject *stats_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeStats *self = (NativeStats *)object;
    if (enter(&self->base))
        return NULL;
    self->base.finished = 1;
    PyObject *result = read_end(&self->stats.rows) ? raise_problem(&self->base) : python_stats(&self->stats);
    stats_free(&self->stats);
    PyThread_release_lock(self->base.lock);
    return result;
}

static void stats_dealloc(PyObject *object)
{
    stats_free(&((NativeStats *)object)->stats);
    rows_dealloc(object);
}

static PyObject *stats_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
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
    NativeStats *self = (NativeStats *)new_rows(type);
    PyObject *seed = self ? seed_bytes(given) : NULL;
    if (!seed) {
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    CsvStats *s = &self->stats;
    self->base.rows = &s->rows;
    self->base.max_pairs = (uint64_t)max_pairs;
    const int failed = stats_init(s, skip, (uint64_t)max_row_bytes, (uint8_t)delimiter, set,
                                  (const uint8_t *)PyBytes_AsString(seed));
    s->table.max_pairs = (uint64_t)max_pairs;
    s->table.rules.now = microseconds;
    Py_DECREF(seed);
    if (failed)
        PyErr_NoMemory();
    if (failed || name_columns(&s->rows.header, columns) || take_ranges(&s->table, ranges) || take_max_distinct(&s->table))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef stats_methods[] = {
    {"feed", rows_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},
    {"finish", stats_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended, and return its statistics.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stats_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Makes the statistics of one CSV body; the contract is mockexport.stats.contract.StatsAccumulator.")},
    {Py_tp_new, (void *)stats_new},
    {Py_tp_dealloc, (void *)stats_dealloc},
    {Py_tp_methods, stats_methods},
    {Py_tp_getset, rows_attributes},
    {0, NULL},
};

static PyType_Spec stats_spec = {
    .name = "mockexport.stats._native.NativeStats",
    .basicsize = sizeof(NativeStats),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = stats_slots,
};

/* ---- The times of chosen pairs ---- */

typedef struct {
    RowsObject base;
    CsvTimes times;
} NativeTimes;

static PyObject *times_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeTimes *self = (NativeTimes *)object;
    if (enter(&self->base))
        return NULL;
    self->base.finished = 1;
    PyObject *result = read_end(&self->times.rows) ? raise_problem(&self->base) : Py_NewRef(Py_None);
    PyThread_release_lock(self->base.lock);
    return result;
}

static PyObject *times_take_records(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeTimes *self = (NativeTimes *)object;
    return take_records(self->base.lock, &self->times.chosen, &self->times.rows.problem);
}

static void times_dealloc(PyObject *object)
{
    NativeTimes *self = (NativeTimes *)object;
    chosen_free(&self->times.chosen);
    rows_free(&self->times.rows);
    rows_dealloc(object);
}

static PyObject *times_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"columns", "numbers", "skip", "max_row_bytes", "delimiter", "instructions", "seed", NULL};
    int skip = 0;
    Py_ssize_t max_row_bytes = 1 << 20;
    const char *instructions = NULL;
    PyObject *columns = NULL, *numbers = NULL, *given = NULL;
    char delimiter = ',';
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O!OpnczS", names, &PyTuple_Type, &columns, &numbers, &skip,
                                     &max_row_bytes, &delimiter, &instructions, &given))
        return NULL;
    if (!columns || !numbers) { /* the parser has no keywords that are needed */
        PyErr_SetString(PyExc_TypeError, "columns and numbers must be given");
        return NULL;
    }
    enum instructions set;
    if (check_csv(columns, delimiter, instructions, &set) || check_limits(max_row_bytes, 1))
        return NULL;
    NativeTimes *self = (NativeTimes *)new_rows(type);
    PyObject *seed = self ? seed_bytes(given) : NULL;
    if (!seed) {
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    CsvTimes *t = &self->times;
    self->base.rows = &t->rows;
    rows_init(&t->rows, take_times, t, skip, (uint64_t)max_row_bytes, (uint8_t)delimiter, set);
    if (name_columns(&t->rows.header, columns) || take_numbers(&t->chosen, numbers, (const uint8_t *)PyBytes_AsString(seed)))
        Py_CLEAR(self);
    Py_DECREF(seed);
    return (PyObject *)self;
}

static PyMethodDef times_methods[] = {
    {"feed", rows_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},
    {"finish", times_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended.")},
    {"take_records", times_take_records, METH_NOARGS, PyDoc_STR("Return the records since the last call.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot times_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Reads the times of chosen pairs in one CSV body; the contract is mockexport.stats.contract.Times.")},
    {Py_tp_new, (void *)times_new},
    {Py_tp_dealloc, (void *)times_dealloc},
    {Py_tp_methods, times_methods},
    {Py_tp_getset, rows_attributes},
    {0, NULL},
};

static PyType_Spec times_spec = {
    .name = "mockexport.stats._native.NativeTimes",
    .basicsize = sizeof(NativeTimes),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = times_slots,
};

/* ---- The module ---- */

static int module_exec(PyObject *module)
{
    return add_type(module, &times_spec, "NativeTimes") || fill_module(module, &stats_spec, "NativeStats") ? -1 : 0;
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
