/* NumPy's arrays through the buffer protocol. */
#include "module.h"

static const char *const NAMES[NPUD_DTYPES] = {"float32", "float16", "int8",
                                               "uint8",   "int16",   "int32"};

int npud_format_dtype(const char *format, Py_ssize_t itemsize)
{
    static const char codes[] = "febBhi";
    format = format ? format : "B";
    if (format[0] == '@' || format[0] == '=' || (format[0] == '<' && PY_LITTLE_ENDIAN))
        format++;
    if (format[0] == '\0' || format[1] != '\0')
        return -1;
    char code = format[0] == 'l' && itemsize == 4 ? 'i' : format[0];
    const char *found = strchr(codes, code);
    int dtype = found ? (int)(found - codes) : -1;
    return dtype >= 0 && (size_t)itemsize == npud_itemsize((npud_dtype)dtype) ? dtype : -1;
}

/* Whether the buffer holds aligned elements of `dtype`; releases it and sets an exception if not. */
static int check_type(Py_buffer *view, npud_dtype dtype)
{
    if (npud_format_dtype(view->format, view->itemsize) == (int)dtype &&
        (uintptr_t)view->buf % npud_itemsize(dtype) == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "expected an aligned array of %s, got format \"%s\"",
                 NAMES[dtype], view->format ? view->format : "B");
    PyBuffer_Release(view);
    return -1;
}

int npud_get_buffer(PyObject *object, Py_buffer *view, int flags, npud_dtype dtype)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_ND | PyBUF_FORMAT) < 0)
        return -1;
    return check_type(view, dtype);
}

static int has_form(const Py_buffer *view, const output_form *form)
{
    if (view->ndim != form->dimensions)
        return 0;
    for (int i = 0; i < view->ndim; i++)
        if (view->shape[i] != form->shape[i] ||
            (view->shape[i] > 1 && view->strides[i] != form->strides[i] * view->itemsize))
            return 0;
    return 1;
}

int npud_get_tensor(PyObject *object, Py_buffer *view, const output_form *form, int index)
{
    if (PyObject_GetBuffer(object, view, PyBUF_STRIDES | PyBUF_FORMAT) < 0)
        return -1;
    if (check_type(view, form->dtype) < 0)
        return -1;
    if (has_form(view, form))
        return 0;
    PyErr_Format(PyExc_ValueError, "tensor %d does not have its shape and strides", index);
    PyBuffer_Release(view);
    return -1;
}

void npud_release(Py_buffer *views, int count)
{
    for (int i = 0; i < count; i++)
        PyBuffer_Release(&views[i]);
}

int npud_get_results(PyObject *const *objects, Py_ssize_t rows, Py_buffer views[3])
{
    static const npud_dtype dtypes[] = {NPUD_FLOAT32, NPUD_FLOAT32, NPUD_INT32};
    for (int i = 0; i < 3; i++) {
        if (npud_get_buffer(objects[i], &views[i], PyBUF_WRITABLE, dtypes[i]) < 0) {
            npud_release(views, i);
            return -1;
        }
        int dimensions = i == 0 ? 2 : 1;
        if (views[i].ndim != dimensions || views[i].shape[0] < rows ||
            (i == 0 && views[i].shape[1] != 4)) {
            PyErr_Format(PyExc_ValueError, "result %d needs room for %zd rows", i, rows);
            npud_release(views, i + 1);
            return -1;
        }
    }
    return 0;
}
