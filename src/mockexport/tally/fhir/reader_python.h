/* What the native parts that read FHIR need of Python: a type around a Reader, that is fed and then finished. Include
   python.h and rows.h first. The file that includes this one says what comes of it: */

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* held while the reader is in use */
    int finished;
    Reader reader;
} ReaderObject;

/* The result of a body that has ended, or NULL with an error. */
static PyObject *make_result(PyObject *object);

/* Free what the reader's owner holds; this may be called twice. */
static void free_owner(PyObject *object);

static PyObject *import_fhir_contract(void)
{
    return PyImport_ImportModule("mockexport.tally.fhir.contract");
}

static PyObject *raise_problem(const Reader *r)
{
    if (r->problem == NO_MEMORY)
        return PyErr_NoMemory();
    const int is_limit = r->problem == TOO_MANY_PAIRS || r->problem == PAIRS_TOO_LARGE;
    PyObject *contract = is_limit ? import_contract() : import_fhir_contract();
    PyObject *text = NULL;
    if (contract && is_limit) {
        text = limit_text(contract, r->problem == TOO_MANY_PAIRS, r->max_pairs);
    } else if (contract) {
        PyObject *reasons = PyObject_GetAttrString(contract, "REASONS");
        text = reasons ? PySequence_GetItem(reasons, (Py_ssize_t)r->problem) : NULL;
        Py_XDECREF(reasons);
    }
    raise_malformed(contract, is_limit ? "TooManyPairs" : "BadResource", r->problem_line, text);
    Py_XDECREF(contract);
    return NULL;
}

static PyObject *reader_feed(PyObject *object, PyObject *chunk)
{
    ReaderObject *self = (ReaderObject *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE))
        return NULL;
    PyObject *result = NULL;
    if (!enter_tally(self->lock, self->finished)) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        const uint8_t *bytes = view.buf;
        failed = view.len ? take_bytes(&self->reader, bytes, bytes + view.len) : 0;
        Py_END_ALLOW_THREADS
        self->finished = failed;
        result = failed ? raise_problem(&self->reader) : Py_NewRef(Py_None);
        PyThread_release_lock(self->lock);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *reader_finish(PyObject *object, PyObject *unused)
{
    (void)unused;
    ReaderObject *self = (ReaderObject *)object;
    if (enter_tally(self->lock, self->finished))
        return NULL;
    self->finished = 1;
    PyObject *result = take_end(&self->reader) ? raise_problem(&self->reader) : make_result(object);
    reader_free(&self->reader);
    free_owner(object);
    PyThread_release_lock(self->lock);
    return result;
}

static PyObject *reader_rows(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((ReaderObject *)object)->reader.rows);
}

static PyObject *reader_between_rows(PyObject *object, void *unused)
{
    (void)unused;
    const Reader *r = &((ReaderObject *)object)->reader;
    return PyBool_FromLong(!r->carry.length && !r->dropping);
}

static void reader_dealloc(PyObject *object)
{
    ReaderObject *self = (ReaderObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    reader_free(&self->reader);
    free_owner(object);
    if (self->lock)
        PyThread_free_lock(self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

#define READER_METHODS                                                                                                 \
    {"feed", reader_feed, METH_O, PyDoc_STR("Take in the next bytes, cut anywhere.")},                                 \
    {"finish", reader_finish, METH_NOARGS, PyDoc_STR("Say that the body has ended, and return what came of it.")}

static PyGetSetDef reader_attributes[] = {
    {"rows", reader_rows, NULL, PyDoc_STR("Rows read so far, malformed ones included."), NULL},
    {"between_rows", reader_between_rows, NULL, PyDoc_STR("Whether the bytes so far end where a row ends."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

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

/* What every part that reads FHIR is called with. */
typedef struct {
    int skip, strict;
    Py_ssize_t max_row_bytes, max_pairs;
    const char *base, *instructions;
} ReaderOptions;

/* Make an object whose reader is ready; `label_head` is the key of the label, or NULL. What it owns is zero yet. */
static PyObject *new_reader(PyTypeObject *type, const ReaderOptions *options, const char *label_head)
{
    if (check_limits(options->max_row_bytes, options->max_pairs))
        return NULL;
    const enum instructions set = choose_set(options->instructions);
    if (set == NO_SET)
        return PyErr_Format(PyExc_ValueError, "no instruction set '%s' on this machine", options->instructions);
    PyObject *paths = paths_text();
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *object = paths ? allocate(type, 0) : NULL;
    if (object) {
        ReaderObject *self = (ReaderObject *)object;
        self->lock = PyThread_allocate_lock();
        self->reader.skip = options->skip;
        self->reader.max_row_bytes = (uint64_t)options->max_row_bytes;
        self->reader.max_pairs = (uint64_t)options->max_pairs;
        self->reader.scan = options->strict ? NULL : scan_of(set);
        if (!self->lock || reader_init(&self->reader, PyBytes_AsString(paths), label_head, options->base)) {
            Py_CLEAR(object);
            PyErr_NoMemory();
        }
    }
    Py_XDECREF(paths);
    return object;
}
