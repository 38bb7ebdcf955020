/* The Python binding: checks what comes in, releases the GIL, calls the kernels.
 * Signatures and meaning: postprocess/_native.pyi. */
#include "module.h"

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&npud_decoder_spec);
    if (!type)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "C kernels of npud's post-processing; see postprocess/_native.pyi.",
    .m_slots = module_slots,
    .m_methods = npud_functions,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
