/* What the native parts that read CSV need of Python: their arguments, and their errors. Include python.h first. */

#include "csv.h"

/* Take the names of the columns that a header must have: a tuple of bytes and None, or NULL for those of contract.py. */
static int name_columns(Header *header, PyObject *columns)
{
    PyObject *contract = columns ? NULL : import_contract();
    PyObject *wanted = columns ? Py_NewRef(columns) : contract ? PyObject_GetAttrString(contract, "COLUMNS") : NULL;
    Py_XDECREF(contract);
    int failed = !wanted;
    for (int i = 0; i < HEADER_COLUMNS && !failed; i++) {
        PyObject *name = PyTuple_GetItem(wanted, i);
        char *bytes;
        Py_ssize_t length;
        if (name == Py_None)
            continue;
        failed = !name || PyBytes_AsStringAndSize(name, &bytes, &length);
        if (!failed && name_column(header, i, (const uint8_t *)bytes, (uint64_t)length)) {
            PyErr_NoMemory();
            failed = 1;
        }
    }
    Py_XDECREF(wanted);
    return failed;
}

/* Check what a reader of CSV is given, and choose its instruction set. */
static int check_csv(PyObject *columns, char delimiter, const char *instructions, enum instructions *set)
{
    if (columns && PyTuple_Size(columns) != HEADER_COLUMNS) {
        PyErr_Format(PyExc_ValueError, "columns must be %d names", HEADER_COLUMNS);
        return -1;
    }
    if (delimiter == '"' || delimiter == '\r' || delimiter == '\n') {
        PyErr_SetString(PyExc_ValueError, "delimiter must not be a quote or a line end");
        return -1;
    }
    *set = choose_set(instructions);
    if (*set == NO_SET) {
        PyErr_Format(PyExc_ValueError, "no instruction set '%s' on this machine", instructions);
        return -1;
    }
    return 0;
}

static PyObject *header_text(PyObject *contract, const Header *header)
{
    PyObject *times = PyDict_New();
    for (int i = 0; i < HEADER_COLUMNS && times; i++) {
        const Text *wanted = &header->names[i];
        if (!wanted->bytes)
            continue;
        PyObject *name = PyBytes_FromStringAndSize((const char *)wanted->bytes, (Py_ssize_t)wanted->length);
        PyObject *n = PyLong_FromUnsignedLongLong(header->seen[i]);
        const int wrong = !name || !n || PyDict_SetItem(times, name, n);
        Py_XDECREF(name);
        Py_XDECREF(n);
        if (wrong)
            Py_CLEAR(times);
    }
    PyObject *text = times ? PyObject_CallMethod(contract, "header_problem", "O", times) : NULL;
    Py_XDECREF(times);
    return text;
}

static PyObject *problem_text(PyObject *contract, enum problem problem, const Header *header, uint64_t max_row_bytes,
                              uint64_t max_pairs)
{
    if (problem < REASON_COUNT) {
        PyObject *reasons = PyObject_GetAttrString(contract, "REASONS");
        PyObject *reason = reasons ? PySequence_GetItem(reasons, (Py_ssize_t)problem) : NULL;
        Py_XDECREF(reasons);
        return reason;
    }
    if (problem == TOO_LONG)
        return PyObject_CallMethod(contract, "too_long", "K", (unsigned long long)max_row_bytes);
    if (problem == TOO_MANY_PAIRS || problem == PAIRS_TOO_LARGE)
        return limit_text(contract, problem == TOO_MANY_PAIRS, max_pairs);
    if (problem == NO_HEADER)
        return PyUnicode_FromString("empty body");
    return header_text(contract, header);
}

/* Raise what a problem on a line is; the limits are those that it may name. */
static PyObject *raise_csv_problem(enum problem problem, uint64_t line, const Header *header, uint64_t max_row_bytes,
                                   uint64_t max_pairs)
{
    if (problem == NO_MEMORY)
        return PyErr_NoMemory();
    PyObject *contract = import_contract();
    const char *kind = problem == TOO_MANY_PAIRS || problem == PAIRS_TOO_LARGE ? "TooManyPairs" : "Malformed";
    if (contract)
        raise_malformed(contract, kind, line, problem_text(contract, problem, header, max_row_bytes, max_pairs));
    Py_XDECREF(contract);
    return NULL;
}
