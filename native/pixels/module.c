/* The Python binding: checks what comes in, releases the GIL.  Meaning: runtime/_pixels.pyi. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "letterbox.h"

typedef struct {
    PyObject_HEAD
    npud_letterbox box;
    PyThread_type_lock lock;
} PlanObject;

static void plan_dealloc(PyObject *object)
{
    PlanObject *self = (PlanObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    npud_letterbox_free(&self->box);
    if (self->lock)
        PyThread_free_lock(self->lock);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Copies a contiguous buffer of exactly `size` bytes. */
static int copy_bytes(PyObject *object, void *to, Py_ssize_t size, const char *name)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
        return -1;
    int fits = view.len == size;
    if (fits)
        memcpy(to, view.buf, (size_t)size);
    else
        PyErr_Format(PyExc_ValueError, "%s: expected %zd bytes, got %zd", name, size, view.len);
    PyBuffer_Release(&view);
    return fits ? 0 : -1;
}

/* Natural numbers, as of a tuple. */
static int parse_sizes(const int numbers[8], npud_form *form)
{
    size_t *const to[8] = {&form->source_height, &form->source_width, &form->height,
                           &form->width,         &form->inner_height, &form->inner_width,
                           &form->top,           &form->left};
    for (int i = 0; i < 8; i++) {
        if (numbers[i] < 0) {
            PyErr_SetString(PyExc_ValueError, "expected sizes and offsets ≥ 0");
            return -1;
        }
        *to[i] = (size_t)numbers[i];
    }
    return 0;
}

static int parse(PyObject *args, PyObject *keywords, npud_form *form,
                 const npud_pixel_kernels **kernels)
{
    static char *names[] = {"source", "layout", "element", "rgb",    "source_size", "size",  "inner",
                            "corner", "pad",    "matrix",  "floats", "table",       "kernels", NULL};
    PyObject *pad, *matrix, *floats, *table;
    int n[8], source, layout, element;
    const char *name;
    float pairs[6];
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "$iiip(ii)(ii)(ii)(ii)OOOOs:Plan", names,
                                     &source, &layout, &element, &form->rgb, &n[0], &n[1], &n[2],
                                     &n[3], &n[4], &n[5], &n[6], &n[7], &pad, &matrix, &floats,
                                     &table, &name))
        return -1;
    if (source < 0 || layout < 0 || element < 0) {
        PyErr_SetString(PyExc_ValueError, "expected a known source, layout and element");
        return -1;
    }
    form->source = (npud_source)source;
    form->layout = (npud_layout)layout;
    form->element = (npud_element)element;
    if (parse_sizes(n, form) < 0 || copy_bytes(pad, form->pad, sizeof form->pad, "pad") < 0 ||
        copy_bytes(matrix, form->matrix, sizeof form->matrix, "matrix") < 0 ||
        copy_bytes(floats, pairs, sizeof pairs, "floats") < 0 ||
        copy_bytes(table, form->table, sizeof form->table, "table") < 0)
        return -1;
    memcpy(form->gain, pairs, sizeof form->gain);
    memcpy(form->offset, pairs + 3, sizeof form->offset);
    *kernels = npud_pixel_kernels_named(name);
    if (!*kernels)
        PyErr_Format(PyExc_ValueError, "kernels: this CPU has no \"%s\"", name);
    return *kernels ? 0 : -1;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    npud_form form = {0};
    const npud_pixel_kernels *kernels;
    if (parse(args, keywords, &form, &kernels) < 0)
        return NULL;
    PlanObject *self = (PlanObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->lock = PyThread_allocate_lock();
    int failed = self->lock ? npud_letterbox_init(&self->box, &form, kernels) : -1;
    if (failed == -1)
        PyErr_NoMemory();
    else if (failed)
        PyErr_SetString(PyExc_ValueError, "expected sizes that fit into each other, even for NV12, and a finite matrix");
    if (!failed)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

/* A C-contiguous buffer of `size` bytes, aligned to `itemsize`; -1 with an exception. */
static int get_bytes(PyObject *object, Py_buffer *view, int flags, const char *name, size_t size,
                     size_t itemsize)
{
    if (PyObject_GetBuffer(object, view, PyBUF_STRIDES | flags) < 0)
        return -1;
    if (!PyBuffer_IsContiguous(view, 'C'))
        PyErr_Format(PyExc_ValueError, "%s: expected C-contiguous memory, got strided rows", name);
    else if ((size_t)view->len != size)
        PyErr_Format(PyExc_ValueError, "%s: expected %zu bytes, got %zd", name, size, view->len);
    else if ((uintptr_t)view->buf % itemsize)
        PyErr_Format(PyExc_ValueError, "%s: expected memory aligned to %zu bytes", name, itemsize);
    else
        return 0;
    PyBuffer_Release(view);
    return -1;
}

static PyObject *plan_run(PyObject *object, PyObject *args)
{
    PlanObject *self = (PlanObject *)object;
    PyObject *source, *target;
    Py_buffer from, to;
    if (!PyArg_ParseTuple(args, "OO:run", &source, &target) ||
        get_bytes(source, &from, 0, "source", self->box.source_size, 1) < 0)
        return NULL;
    if (get_bytes(target, &to, PyBUF_WRITABLE, "target", self->box.target_size,
                  self->box.itemsize) < 0) {
        PyBuffer_Release(&from);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    npud_letterbox_run(&self->box, from.buf, to.buf);
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&from);
    PyBuffer_Release(&to);
    Py_RETURN_NONE;
}

static PyObject *plan_kernels(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((PlanObject *)object)->box.kernels->name);
}

static PyMethodDef plan_methods[] = {
    {"run", plan_run, METH_VARARGS, "run(source, target, /) -> None"},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef plan_attributes[] = {
    {"kernels", plan_kernels, NULL, "Name of the kernel variant in use.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "One geometry and one pair of formats; see runtime/_pixels.pyi."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {Py_tp_getset, plan_attributes},
    {0, NULL},
};
static PyType_Spec plan_spec = {
    .name = "runtime._pixels.Plan",
    .basicsize = sizeof(PlanObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = plan_slots,
};

static PyObject *variants(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *names = PyList_New(0);
    for (size_t i = 0; names && npud_pixel_kernels_at(i); i++) {
        PyObject *name = PyUnicode_FromString(npud_pixel_kernels_at(i)->name);
        if (!name || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *result = names ? PyList_AsTuple(names) : NULL;
    Py_XDECREF(names);
    return result;
}

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&plan_spec);
    if (!type)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static PyMethodDef functions[] = {
    {"variants", variants, METH_NOARGS, "variants() -> names, the fastest first"},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_pixels",
    .m_doc = "Letterbox, colour conversion and layout; see runtime/_pixels.pyi.",
    .m_slots = module_slots,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__pixels(void) { return PyModuleDef_Init(&module); }
