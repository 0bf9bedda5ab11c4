/* The native generator as a Python type; the contract is `Generator` of reference.py. */

#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded builds have no limited API before 3.15 */
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>

#include "write.h"

#define HEADER "patient_id,event_time,event_type,value\n"

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while rows are made; taken or refused, never waited for */
    int head_done;
    Name *patients;
    EventType *types;
    char *buffer; /* rows on their way into a bytes object of the right length */
    size_t room;
    Generator generator; /* with the templates' texts, which are of this object, too */
} NativeGenerator;

static uint32_t bit_length(uint32_t n)
{
    uint32_t bits = 0;
    for (; n; n >>= 1)
        bits++;
    return bits;
}

/* Set `name` to before + text + after. */
static int read_name(PyObject *text, const char *before, const char *after, Name *name)
{
    Py_ssize_t length;
    const char *bytes = text ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
    if (!bytes)
        return -1;
    const size_t lead = strlen(before), tail = strlen(after);
    if (lead + (size_t)length + tail > MAX_NAME) {
        PyErr_Format(PyExc_ValueError, "the name %R is too long for the native generator", text);
        return -1;
    }
    memcpy(name->text, before, lead);
    memcpy(name->text + lead, bytes, (size_t)length);
    memcpy(name->text + lead + (size_t)length, after, tail);
    name->length = (uint32_t)(lead + (size_t)length + tail);
    return 0;
}

static int read_number(PyObject *object, const char *attribute, double *number)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    *number = value ? PyFloat_AsDouble(value) : -1;
    Py_XDECREF(value);
    return PyErr_Occurred() ? -1 : 0;
}

static int read_integer(PyObject *object, const char *attribute, int64_t *number)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    *number = value ? PyLong_AsLongLong(value) : -1;
    Py_XDECREF(value);
    return PyErr_Occurred() ? -1 : 0;
}

static int read_event_type(PyObject *object, EventType *type)
{
    int64_t low, high;
    if (read_number(object, "mean", &type->mean) || read_number(object, "deviation", &type->deviation) ||
        read_integer(object, "low", &low) || read_integer(object, "high", &high))
        return -1;
    if (!(fabs(type->mean) <= MAX_MEAN && fabs(type->deviation) <= MAX_DEVIATION)) { /* not a number is wrong, too */
        PyErr_SetString(PyExc_ValueError, "a mean must be at most 1,000,000 and a deviation at most 1,000");
        return -1;
    }
    if (low < 0 || high > 999 || low > high) {
        PyErr_SetString(PyExc_ValueError, "the native generator makes values from 0 to 999");
        return -1;
    }
    type->low = (int)low;
    type->high = (int)high;
    PyObject *name = PyObject_GetAttrString(object, "name");
    const int failed = read_name(name, "Z,", ",", &type->name);
    Py_XDECREF(name);
    return failed;
}

/* Copy the parts of a template into one block, which the first part begins; type->template was filled with zeros. */
static int read_template(PyObject *object, Template *template)
{
    const char *texts[TEMPLATE_PARTS];
    Py_ssize_t lengths[TEMPLATE_PARTS], length = 0;
    if (!PyTuple_Check(object) || PyTuple_Size(object) != TEMPLATE_PARTS) {
        PyErr_Format(PyExc_ValueError, "a template must be a tuple of %d parts", TEMPLATE_PARTS);
        return -1;
    }
    for (int i = 0; i < TEMPLATE_PARTS; i++) {
        char *text;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(object, i), &text, &lengths[i]))
            return -1;
        if (lengths[i] > MAX_TEMPLATE - length) {
            PyErr_Format(PyExc_ValueError, "a template must have at most %d bytes", MAX_TEMPLATE);
            return -1;
        }
        texts[i] = text;
        length += lengths[i];
    }
    char *block = malloc((size_t)length + 1);
    if (!block)
        return -1;
    for (int i = 0; i < TEMPLATE_PARTS; i++) {
        memcpy(block, texts[i], (size_t)lengths[i]);
        template->parts[i] = (Part){block, (size_t)lengths[i]};
        block += lengths[i];
    }
    return 0;
}

/* Take a template for each event type; none of them means CSV. */
static int read_templates(PyObject *templates, Generator *g, EventType *types)
{
    g->by_template = templates != Py_None;
    if (!g->by_template)
        return 0;
    if (PySequence_Size(templates) != (Py_ssize_t)g->type_count) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "there must be a template for each event type");
        return -1;
    }
    for (uint32_t i = 0; i < g->type_count; i++) {
        PyObject *template = PySequence_GetItem(templates, (Py_ssize_t)i);
        const int failed = !template || read_template(template, &types[i].template);
        Py_XDECREF(template);
        if (failed)
            return -1;
    }
    return 0;
}

/* The length of plan.<attribute>, a sequence of 1 to MAX_CHOICES; the caller lets go of it. */
static Py_ssize_t read_choices(PyObject *plan, const char *attribute, PyObject **choices)
{
    *choices = PyObject_GetAttrString(plan, attribute);
    Py_ssize_t count = *choices ? PySequence_Size(*choices) : -1;
    if (count == 0 || count > MAX_CHOICES) {
        PyErr_Format(PyExc_ValueError, "%s must be 1 to %d", attribute, MAX_CHOICES);
        count = -1;
    }
    return count;
}

static int read_patients(PyObject *plan, const char *after, NativeGenerator *self)
{
    PyObject *choices;
    Py_ssize_t count = read_choices(plan, "patients", &choices);
    int failed = count < 0 || !(self->patients = calloc((size_t)count, sizeof *self->patients));
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *choice = PySequence_GetItem(choices, i);
        failed = !choice || read_name(choice, "", after, &self->patients[i]);
        Py_XDECREF(choice);
    }
    Py_XDECREF(choices);
    self->generator.patients = self->patients;
    self->generator.patient_count = failed ? 0 : (uint32_t)count;
    self->generator.patient_bits = bit_length(self->generator.patient_count);
    return failed ? -1 : 0;
}

static int read_event_types(PyObject *plan, NativeGenerator *self)
{
    PyObject *choices;
    Py_ssize_t count = read_choices(plan, "event_types", &choices);
    int failed = count < 0 || !(self->types = calloc((size_t)count, sizeof *self->types));
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *choice = PySequence_GetItem(choices, i);
        failed = !choice || read_event_type(choice, &self->types[i]);
        Py_XDECREF(choice);
    }
    Py_XDECREF(choices);
    self->generator.types = self->types;
    self->generator.type_count = failed ? 0 : (uint32_t)count;
    self->generator.type_bits = bit_length(self->generator.type_count);
    return failed ? -1 : 0;
}

/* Seed as random.Random(plan.seed) does, by asking it: its state is 624 words and how many of them are used. */
static int read_seed(PyObject *plan, Generator *g)
{
    PyObject *module = PyImport_ImportModule("random");
    PyObject *seed = PyObject_GetAttrString(plan, "seed");
    PyObject *random = module && seed ? PyObject_CallMethod(module, "Random", "O", seed) : NULL;
    PyObject *state = random ? PyObject_CallMethod(random, "getstate", NULL) : NULL;
    PyObject *words = state ? PySequence_GetItem(state, 1) : NULL;
    int failed = !words;
    for (Py_ssize_t i = 0; i <= TWISTER && !failed; i++) {
        PyObject *word = PySequence_GetItem(words, i);
        unsigned long n = word ? PyLong_AsUnsignedLong(word) : 0;
        Py_XDECREF(word);
        failed = PyErr_Occurred() != NULL;
        if (i < TWISTER)
            g->state[i] = (uint32_t)n;
        else if (!failed && n != TWISTER) {
            PyErr_SetString(PyExc_ValueError, "a fresh generator was expected");
            failed = 1;
        }
    }
    g->used = TWISTER;
    Py_XDECREF(words);
    Py_XDECREF(state);
    Py_XDECREF(random);
    Py_XDECREF(seed);
    Py_XDECREF(module);
    return failed ? -1 : 0;
}

static int read_plan(PyObject *plan, PyObject *templates, NativeGenerator *self)
{
    Generator *g = &self->generator;
    if (read_integer(plan, "rows", &g->rows_left) || read_integer(plan, "start_microseconds", &g->next_time) ||
        read_integer(plan, "step_microseconds", &g->step) || read_number(plan, "step_seconds", &g->step_seconds))
        return -1;
    if (g->rows_left < 0 || g->next_time < 0 || g->step < 0 || g->step > DAY_MICROSECONDS) {
        PyErr_SetString(PyExc_ValueError, "rows, start (since 1970) and step (up to a day) must not be negative");
        return -1;
    }
    if (!(fabs(g->step_seconds * 1e6 - (double)g->step) < 1)) {
        PyErr_SetString(PyExc_ValueError, "step_seconds and step_microseconds must say the same");
        return -1;
    }
    if (g->next_time >= YEAR_10000 || (g->step && g->rows_left > (YEAR_10000 - 1 - g->next_time) / g->step)) {
        PyErr_SetString(PyExc_ValueError, "the last row must come before the year 10000");
        return -1;
    }
    g->day = -1;
    const char *after_patient = templates == Py_None ? "," : "";
    return read_patients(plan, after_patient, self) || read_event_types(plan, self) ||
                   read_templates(templates, g, self->types) || read_seed(plan, g)
               ? -1
               : 0;
}

static PyObject *native_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *plan, *templates = Py_None;
    static char *names[] = {"", "", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", names, &plan, &templates))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    NativeGenerator *self = (NativeGenerator *)allocate(type, 0); /* filled with zeros */
    if (!self)
        return NULL;
    self->lock = PyThread_allocate_lock();
    if (!self->lock || read_plan(plan, templates, self)) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void native_dealloc(PyObject *object)
{
    NativeGenerator *self = (NativeGenerator *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (uint32_t i = 0; i < self->generator.type_count; i++)
        free(self->types[i].template.parts[0].text);
    free(self->patients);
    free(self->types);
    free(self->buffer);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* Fill the buffer with the next rows; return their length, or -1 without memory. Runs without the GIL. */
static Py_ssize_t fill_buffer(NativeGenerator *self, size_t size)
{
    if (size > self->room) {
        char *larger = realloc(self->buffer, size);
        if (!larger)
            return -1;
        self->buffer = larger;
        self->room = size;
    }
    size_t length = 0;
    if (!self->head_done && !self->generator.by_template) {
        self->head_done = 1;
        length = strlen(HEADER);
        memcpy(self->buffer, HEADER, length);
    }
    return (Py_ssize_t)(length + generate(&self->generator, self->buffer + length, size - length));
}

static PyObject *native_read(PyObject *object, PyObject *argument)
{
    NativeGenerator *self = (NativeGenerator *)object;
    Py_ssize_t size = PyLong_AsSsize_t(argument);
    if (size == -1 && PyErr_Occurred())
        return NULL;
    const Py_ssize_t least = 2 * longest_row(&self->generator);
    if (!PyThread_acquire_lock(self->lock, NOWAIT_LOCK)) {
        PyErr_SetString(PyExc_RuntimeError, "this generator is in use by another thread");
        return NULL;
    }
    Py_ssize_t length;
    Py_BEGIN_ALLOW_THREADS
    length = fill_buffer(self, (size_t)(size < least ? least : size));
    Py_END_ALLOW_THREADS
    PyObject *chunk = length < 0 ? PyErr_NoMemory() : PyBytes_FromStringAndSize(NULL, length);
    char *out = chunk ? PyBytes_AsString(chunk) : NULL;
    if (out && length) {
        Py_BEGIN_ALLOW_THREADS
        memcpy(out, self->buffer, (size_t)length);
        Py_END_ALLOW_THREADS
    }
    PyThread_release_lock(self->lock);
    return chunk;
}

static PyMethodDef native_methods[] = {
    {"read", native_read, METH_O, PyDoc_STR("Return the next rows, whole ones, about so many bytes of them.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot native_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Makes the rows of one download; the contract is mockexport.sources.mock.reference.Generator.")},
    {Py_tp_new, (void *)native_new},
    {Py_tp_dealloc, (void *)native_dealloc},
    {Py_tp_methods, native_methods},
    {0, NULL},
};

static PyType_Spec native_spec = {
    .name = "mockexport.sources.mock._native.NativeGenerator",
    .basicsize = sizeof(NativeGenerator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_slots,
};

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &native_spec, NULL);
    const int failed = !type || PyModule_AddObjectRef(module, "NativeGenerator", type);
    Py_XDECREF(type);
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
    .m_name = "mockexport.sources.mock._native",
    .m_doc = PyDoc_STR("The native generator."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
