/* libFuzzer's driver: CPython with the extensions built in, so that coverage of all of native/,
 * module.c included, guides what ENTRY(data) of tests/fuzz/fuzz_native.py is given. */
#include <Python.h>

PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__pixels(void);

static PyObject *entry;

static void die(void)
{
    PyErr_Print();
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *name = getenv("NPUD_FUZZ_ENTRY");
    /* as `_native`: tests/fuzz/fuzz_native.py makes it known as postprocess._native; so `_pixels` */
    if (PyImport_AppendInittab("_native", PyInit__native) < 0 ||
        PyImport_AppendInittab("_pixels", PyInit__pixels) < 0)
        abort();
    Py_InitializeEx(0);
    PyObject *module = PyImport_ImportModule("tests.fuzz.fuzz_native");
    if (!module || !name)
        die();
    entry = PyObject_GetAttrString(module, name);
    if (!entry)
        die();
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *result = bytes ? PyObject_CallOneArg(entry, bytes) : NULL;
    if (!result)
        die();
    Py_DECREF(result);
    Py_DECREF(bytes);
    return 0;
}
