/* What the binding's files share. */
#ifndef NPUD_MODULE_H
#define NPUD_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "decoder.h"

enum { MAX_DIMENSIONS = 8 };

/* Shape and strides (in elements) of one output; a stride of a dimension of 1 does not matter. */
typedef struct {
    npud_dtype dtype;
    int dimensions;
    Py_ssize_t shape[MAX_DIMENSIONS], strides[MAX_DIMENSIONS];
    size_t span; /* elements from the first to the last, both included */
} output_form;

typedef struct {
    PyObject_HEAD
    npud_decoder decoder;
    int outputs;
    output_form forms[NPUD_MAX_OUTPUTS];
    unsigned long long nonfinite, contradictions;
    PyThread_type_lock lock;
} DecoderObject;

extern PyType_Spec npud_decoder_spec;

/* module_buffers.c */

/* The element type of a buffer of `format`, or -1. */
int npud_format_dtype(const char *format, Py_ssize_t itemsize);
/* A C-contiguous, aligned buffer of `dtype`; -1 with an exception. */
int npud_get_buffer(PyObject *object, Py_buffer *view, int flags, npud_dtype dtype);
/* A buffer of that form; -1 with an exception. */
int npud_get_tensor(PyObject *object, Py_buffer *view, const output_form *form, int index);
void npud_release(Py_buffer *views, int count);
/* Room for boxes (M, 4), scores (M,), class_ids (M,) with M ≥ rows; -1 with an exception. */
int npud_get_results(PyObject *const *objects, Py_ssize_t rows, Py_buffer views[3]);

/* module_arguments.c: the constructor's arguments; -1 with an exception. */
int npud_parse_arguments(DecoderObject *self, PyObject *args, PyObject *keywords);

/* module_functions.c */
extern PyMethodDef npud_functions[];

/* The kernels of that name, or NULL with a ValueError. */
const npud_kernels *npud_kernels_of(const char *name);

#endif
