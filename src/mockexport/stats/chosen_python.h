/* What the native parts that read the times of chosen pairs need of Python. Include python.h and chosen.h first. */

/* Take the numbers of pairs: a mapping of (patient, type) to 0 to 2^32 - 1. `seed` has random bytes. */
static int take_numbers(Chosen *chosen, PyObject *numbers, const uint8_t *seed)
{
    if (pairs_init(&chosen->keys, seed)) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *items = PyMapping_Items(numbers);
    const Py_ssize_t count = items ? PyList_Size(items) : -1;
    int failed = count < 0;
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        const char *patient, *type;
        Py_ssize_t patient_length, type_length;
        PyObject *given;
        failed = !PyArg_ParseTuple(PyList_GetItem(items, i), "(s#s#)O!", &patient, &patient_length, &type, &type_length,
                                   &PyLong_Type, &given);
        const unsigned long long number = failed ? 0 : PyLong_AsUnsignedLongLong(given);
        if (!failed && !PyErr_Occurred() && number > UINT32_MAX)
            PyErr_SetString(PyExc_OverflowError, "the number of a pair must be below 2^32");
        failed = failed || PyErr_Occurred();
        if (!failed && choose_pair(chosen, (const uint8_t *)patient, (uint64_t)patient_length, (const uint8_t *)type,
                                   (uint64_t)type_length, (uint32_t)number)) {
            PyErr_NoMemory();
            failed = 1;
        }
    }
    Py_XDECREF(items);
    return failed ? -1 : 0;
}

/* The records since the last call, none after a problem. */
static PyObject *take_records(PyThread_type_lock lock, Chosen *chosen, const enum problem *problem)
{
    if (enter_tally(lock, 0))
        return NULL;
    if (*problem != NO_PROBLEM)
        chosen->length = 0;
    PyObject *records = PyBytes_FromStringAndSize((const char *)chosen->records, (Py_ssize_t)chosen->length);
    if (records)
        chosen->length = 0;
    PyThread_release_lock(lock);
    return records;
}
