/* The type Decoder: one model's tensors in, detections out, without the GIL. */
#include "module.h"

static PyObject *decoder_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    DecoderObject *self = (DecoderObject *)type->tp_alloc(type, 0); /* all zero */
    if (!self)
        return NULL;
    if (npud_parse_arguments(self, args, keywords) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->lock = PyThread_allocate_lock();
    if (!self->lock || npud_decoder_init(&self->decoder) < 0) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void decoder_dealloc(DecoderObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    npud_decoder_free(&self->decoder);
    if (self->lock)
        PyThread_free_lock(self->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Buffers of all outputs, checked against the shapes; the number got, or -1. */
static int get_tensors(DecoderObject *self, PyObject *sequence, Py_buffer *views)
{
    PyObject *fast = PySequence_Fast(sequence, "tensors must be a sequence of arrays");
    if (!fast)
        return -1;
    int count = 0;
    if (PySequence_Fast_GET_SIZE(fast) != self->outputs) {
        PyErr_Format(PyExc_ValueError, "expected %d tensors, got %zd", self->outputs,
                     PySequence_Fast_GET_SIZE(fast));
        goto fail;
    }
    for (; count < self->outputs; count++)
        if (npud_get_tensor(PySequence_Fast_GET_ITEM(fast, count), &views[count],
                            &self->forms[count], count) < 0)
            goto fail;
    Py_DECREF(fast);
    return count;
fail:
    npud_release(views, count);
    Py_DECREF(fast);
    return -1;
}

/* One frame at a time: others wait here, without the GIL. */
static size_t decode_locked(DecoderObject *self, const Py_buffer *tensors, const npud_detections *out)
{
    npud_decoder *d = &self->decoder;
    size_t count;
    unsigned long long nonfinite, contradictions;
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    for (int i = 0; i < self->outputs; i++)
        d->tensors[i].data = tensors[i].buf;
    count = npud_decode(d, out);
    nonfinite = d->selector.nonfinite;
    contradictions = d->contradictions;
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS
    if (nonfinite > self->nonfinite)
        self->nonfinite = nonfinite;
    if (contradictions > self->contradictions)
        self->contradictions = contradictions;
    return count;
}

static PyObject *decoder_decode(DecoderObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer tensors[NPUD_MAX_OUTPUTS], results[3];
    if (nargs != 4) {
        PyErr_SetString(PyExc_TypeError, "decode(tensors, boxes, scores, class_ids)");
        return NULL;
    }
    int held = get_tensors(self, args[0], tensors);
    if (held < 0)
        return NULL;
    Py_ssize_t rows = (Py_ssize_t)self->decoder.selector.max_detections;
    if (npud_get_results(args + 1, rows, results) < 0) {
        npud_release(tensors, held);
        return NULL;
    }
    npud_detections out = {results[0].buf, results[1].buf, results[2].buf};
    size_t count = decode_locked(self, tensors, &out);
    npud_release(results, 3);
    npud_release(tensors, held);
    return PyLong_FromSize_t(count);
}

static PyObject *decoder_kernels(DecoderObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(self->decoder.kernels->name);
}

static PyObject *decoder_nonfinite(DecoderObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->nonfinite);
}

static PyObject *decoder_contradictions(DecoderObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->contradictions);
}

static PyMethodDef decoder_methods[] = {
    {"decode", (PyCFunction)(void (*)(void))decoder_decode, METH_FASTCALL,
     "decode(tensors, boxes, scores, class_ids, /) -> number of detections"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef decoder_getset[] = {
    {"kernels", (getter)decoder_kernels, NULL, "Name of the kernel variant in use.", NULL},
    {"nonfinite", (getter)decoder_nonfinite, NULL, "Candidates dropped so far.", NULL},
    {"contradictions", (getter)decoder_contradictions, NULL,
     "Frames so far with a probability that cannot be one.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot decoder_slots[] = {
    {Py_tp_new, decoder_new},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_methods, decoder_methods},
    {Py_tp_getset, decoder_getset},
    {Py_tp_doc, "Decodes the outputs of one model; see postprocess/_native.pyi."},
    {0, NULL},
};

PyType_Spec npud_decoder_spec = {
    .name = "postprocess._native.Decoder",
    .basicsize = sizeof(DecoderObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = decoder_slots,
};
