/* Sorting and folds for Python; the contract is contract.py, the reference reference.py. */

#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded builds have no limited API before 3.15 */
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "folds.h"
#include "sort.h"

static int check_whole(const Py_buffer *block, Py_ssize_t width)
{
    if (block->len % width) {
        PyErr_Format(PyExc_ValueError, "a block must be a whole number of records of %zd bytes", width);
        return -1;
    }
    return 0;
}

static PyObject *native_sort(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer block;
    Py_ssize_t width;
    if (!PyArg_ParseTuple(args, "w*n", &block, &width))
        return NULL;
    if (width < 1 || width > MAX_WIDTH) {
        PyErr_Format(PyExc_ValueError, "width must be 1 to %d", MAX_WIDTH);
    } else if (!check_whole(&block, width)) {
        Py_BEGIN_ALLOW_THREADS
        sort_records(block.buf, (size_t)(block.len / width), (unsigned)width);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&block);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* ---- What both folds have in common ---- */

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the fold is in use; taken or refused, never waited for */
    int ended;
    union {
        Gaps gaps;
        Distinct distinct;
    } fold;
} NativeFold;

static PyObject *fold_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", names))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeFold *self = (NativeFold *)allocate(type, 0); /* filled with zeros */
    if (!self)
        return NULL;
    self->lock = PyThread_allocate_lock();
    if (!self->lock) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void release_object(PyObject *object)
{
    NativeFold *self = (NativeFold *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static int enter(NativeFold *self)
{
    if (!PyThread_acquire_lock(self->lock, NOWAIT_LOCK)) {
        PyErr_SetString(PyExc_RuntimeError, "this fold is in use by another thread");
        return -1;
    }
    if (self->ended) {
        PyThread_release_lock(self->lock);
        PyErr_SetString(PyExc_ValueError, "this fold has ended");
        return -1;
    }
    return 0;
}

static PyObject *told(Folded folded)
{
    if (folded == NO_MEMORY)
        return PyErr_NoMemory();
    if (folded == NOT_IN_ORDER) {
        PyErr_SetString(PyExc_ValueError, "the records are not in order");
        return NULL;
    }
    return Py_NewRef(Py_None);
}

static PyObject *import_contract(void)
{
    return PyImport_ImportModule("mockexport.sorting.contract");
}

/* ---- The times of pairs ---- */

static PyObject *native_gaps_feed(PyObject *object, PyObject *argument)
{
    NativeFold *self = (NativeFold *)object;
    PyObject *answer = NULL;
    Py_buffer block;
    if (enter(self))
        return NULL;
    if (!PyObject_GetBuffer(argument, &block, PyBUF_SIMPLE)) {
        if (!check_whole(&block, GAPS_WIDTH)) {
            Folded folded;
            Py_BEGIN_ALLOW_THREADS
            folded = gaps_feed(&self->fold.gaps, block.buf, (size_t)block.len / GAPS_WIDTH);
            Py_END_ALLOW_THREADS
            answer = told(folded);
        }
        PyBuffer_Release(&block);
    }
    PyThread_release_lock(self->lock);
    return answer;
}

/* Set pairs[number] = PairTimes(...). */
static int set_times(PyObject *pairs, PyObject *new_times, const PairTimes *pair)
{
    const long long start = (long long)(int64_t)(pair->start ^ (uint64_t)1 << 63);
    PyObject *number = PyLong_FromUnsignedLong(pair->number);
    PyObject *times = PyObject_CallFunction(new_times, "KKKL", (unsigned long long)pair->records,
                                            (unsigned long long)pair->duplicates, (unsigned long long)pair->longest, start);
    const int failed = !number || !times || PyDict_SetItem(pairs, number, times);
    Py_XDECREF(number);
    Py_XDECREF(times);
    return failed;
}

static PyObject *native_gaps_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeFold *self = (NativeFold *)object;
    if (enter(self))
        return NULL;
    self->ended = 1;
    PyThread_release_lock(self->lock); /* from here on nothing else uses it */
    const Gaps *gaps = &self->fold.gaps;
    PyObject *contract = import_contract();
    PyObject *new_times = contract ? PyObject_GetAttrString(contract, "PairTimes") : NULL;
    PyObject *pairs = new_times ? PyDict_New() : NULL;
    for (size_t i = 0; pairs && i < gaps->count; i++)
        if (set_times(pairs, new_times, &gaps->pairs[i]))
            Py_CLEAR(pairs);
    Py_XDECREF(new_times);
    Py_XDECREF(contract);
    gaps_free(&self->fold.gaps);
    return pairs;
}

static void native_gaps_dealloc(PyObject *object)
{
    gaps_free(&((NativeFold *)object)->fold.gaps);
    release_object(object);
}

/* ---- Distinct keys ---- */

static PyObject *native_distinct_feed(PyObject *object, PyObject *argument)
{
    NativeFold *self = (NativeFold *)object;
    PyObject *answer = NULL;
    Py_buffer block;
    if (enter(self))
        return NULL;
    if (!PyObject_GetBuffer(argument, &block, PyBUF_SIMPLE)) {
        if (!check_whole(&block, DISTINCT_WIDTH)) {
            Folded folded;
            Py_BEGIN_ALLOW_THREADS
            folded = distinct_feed(&self->fold.distinct, block.buf, (size_t)block.len / DISTINCT_WIDTH);
            Py_END_ALLOW_THREADS
            answer = told(folded);
        }
        PyBuffer_Release(&block);
    }
    PyThread_release_lock(self->lock);
    return answer;
}

/* The numbers of repeats by download, those that are not 0. */
static PyObject *counts_dict(const Repeats *repeats)
{
    PyObject *counts = PyDict_New();
    for (size_t i = 0; counts && i < repeats->room; i++) {
        if (!repeats->counts[i])
            continue;
        PyObject *download = PyLong_FromSize_t(i), *count = PyLong_FromUnsignedLongLong(repeats->counts[i]);
        if (!download || !count || PyDict_SetItem(counts, download, count))
            Py_CLEAR(counts);
        Py_XDECREF(download);
        Py_XDECREF(count);
    }
    return counts;
}

static PyObject *first_tuple(const Repeats *repeats, PyObject *new_repeat)
{
    PyObject *first = PyTuple_New(repeats->kept);
    for (int i = 0; first && i < repeats->kept; i++) {
        const Repeat *repeat = &repeats->first[i];
        PyObject *made = PyObject_CallFunction(
            new_repeat, "IKIK", (unsigned)repeat->place.download, (unsigned long long)repeat->place.line,
            (unsigned)repeat->first.download, (unsigned long long)repeat->first.line);
        if (!made || PyTuple_SetItem(first, i, made)) /* which takes the reference */
            Py_CLEAR(first);
    }
    return first;
}

static PyObject *native_distinct_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    NativeFold *self = (NativeFold *)object;
    if (enter(self))
        return NULL;
    self->ended = 1;
    PyThread_release_lock(self->lock); /* from here on nothing else uses it */
    const Distinct *d = &self->fold.distinct;
    PyObject *contract = import_contract();
    PyObject *new_repeat = contract ? PyObject_GetAttrString(contract, "Repeat") : NULL;
    PyObject *within = new_repeat ? counts_dict(&d->within) : NULL;
    PyObject *across = within ? counts_dict(&d->across) : NULL;
    PyObject *first_within = across ? first_tuple(&d->within, new_repeat) : NULL;
    PyObject *first_across = first_within ? first_tuple(&d->across, new_repeat) : NULL;
    PyObject *keys = !first_across ? NULL
                                   : PyObject_CallMethod(contract, "DistinctKeys", "KOOOO", (unsigned long long)d->keys,
                                                         within, across, first_within, first_across);
    Py_XDECREF(first_across);
    Py_XDECREF(first_within);
    Py_XDECREF(across);
    Py_XDECREF(within);
    Py_XDECREF(new_repeat);
    Py_XDECREF(contract);
    distinct_free(&self->fold.distinct);
    return keys;
}

static void native_distinct_dealloc(PyObject *object)
{
    distinct_free(&((NativeFold *)object)->fold.distinct);
    release_object(object);
}

/* ---- The module ---- */

#define FEED_DOC PyDoc_STR("Take in the next block.")

static PyMethodDef gaps_methods[] = {
    {"feed", native_gaps_feed, METH_O, FEED_DOC},
    {"finish", native_gaps_finish, METH_NOARGS, PyDoc_STR("Return the times by the number of the pair.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot gaps_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Folds the times of pairs; the contract is mockexport.sorting.contract.Gaps.")},
    {Py_tp_new, (void *)fold_new},
    {Py_tp_dealloc, (void *)native_gaps_dealloc},
    {Py_tp_methods, gaps_methods},
    {0, NULL},
};

static PyType_Spec gaps_spec = {
    .name = "mockexport.sorting._native.NativeGaps",
    .basicsize = sizeof(NativeFold),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = gaps_slots,
};

static PyMethodDef distinct_methods[] = {
    {"feed", native_distinct_feed, METH_O, FEED_DOC},
    {"finish", native_distinct_finish, METH_NOARGS, PyDoc_STR("Return what was found.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot distinct_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Folds keys and places; the contract is mockexport.sorting.contract.Distinct.")},
    {Py_tp_new, (void *)fold_new},
    {Py_tp_dealloc, (void *)native_distinct_dealloc},
    {Py_tp_methods, distinct_methods},
    {0, NULL},
};

static PyType_Spec distinct_spec = {
    .name = "mockexport.sorting._native.NativeDistinct",
    .basicsize = sizeof(NativeFold),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = distinct_slots,
};

static int add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    const int failed = !type || PyModule_AddObjectRef(module, name, type);
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static int module_exec(PyObject *module)
{
    return add_type(module, "NativeGaps", &gaps_spec) || add_type(module, "NativeDistinct", &distinct_spec) ? -1 : 0;
}

static PyMethodDef module_methods[] = {
    {"sort_records", native_sort, METH_VARARGS,
     PyDoc_STR("Sort records of this width in place; the contract is mockexport.sorting.contract.Sort.")},
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
    .m_name = "mockexport.sorting._native",
    .m_doc = PyDoc_STR("Sorting and folds of records of one width, natively."),
    .m_methods = module_methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
