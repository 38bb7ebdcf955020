/* The Python binding: checks what comes in, releases the GIL, calls the kernels.
 * Signatures and meaning: postprocess/_native.pyi. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "decoder.h"

enum { MAX_DIMENSIONS = 8 };

typedef struct {
    int dimensions;
    Py_ssize_t shape[MAX_DIMENSIONS];
} output_shape;

typedef struct {
    PyObject_HEAD
    npud_decoder decoder;
    int outputs;
    output_shape shapes[NPUD_MAX_OUTPUTS];
    unsigned long long nonfinite;
    PyThread_type_lock lock;
} DecoderObject;

/* ---- buffers ---- */

/* A C-contiguous, aligned buffer of `type` ('f' or 'i'), 4 bytes each; -1 with an exception. */
static int get_buffer(PyObject *object, Py_buffer *view, int flags, char type)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_ND | PyBUF_FORMAT) < 0)
        return -1;
    const char *format = view->format ? view->format : "B";
    if (format[0] == '@' || format[0] == '=' || (format[0] == '<' && PY_LITTLE_ENDIAN))
        format++;
    int same = format[0] == type || (type == 'i' && format[0] == 'l' && view->itemsize == 4);
    if (same && format[1] == '\0' && view->itemsize == 4 && (uintptr_t)view->buf % 4 == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "expected an aligned array of %s, got format \"%s\"",
                 type == 'f' ? "float32" : "int32", view->format ? view->format : "B");
    PyBuffer_Release(view);
    return -1;
}

static void release_all(Py_buffer *views, int count)
{
    for (int i = 0; i < count; i++)
        PyBuffer_Release(&views[i]);
}

static int has_shape(const Py_buffer *view, const output_shape *shape)
{
    if (view->ndim != shape->dimensions)
        return 0;
    for (int i = 0; i < view->ndim; i++)
        if (view->shape[i] != shape->shape[i])
            return 0;
    return 1;
}

/* Room for boxes (M, 4), scores (M,), class_ids (M,) with M ≥ rows. */
static int get_results(PyObject *const *objects, Py_ssize_t rows, Py_buffer views[3])
{
    static const char types[] = "ffi";
    for (int i = 0; i < 3; i++) {
        if (get_buffer(objects[i], &views[i], PyBUF_WRITABLE, types[i]) < 0) {
            release_all(views, i);
            return -1;
        }
        int dimensions = i == 0 ? 2 : 1;
        if (views[i].ndim != dimensions || views[i].shape[0] < rows ||
            (i == 0 && views[i].shape[1] != 4)) {
            PyErr_Format(PyExc_ValueError, "result %d needs room for %zd rows", i, rows);
            release_all(views, i + 1);
            return -1;
        }
    }
    return 0;
}

/* ---- Decoder ---- */

static int parse_shapes(DecoderObject *self, PyObject *outputs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(outputs);
    if (count < 1 || count > NPUD_MAX_OUTPUTS) {
        PyErr_Format(PyExc_ValueError, "expected 1 to %d outputs, got %zd", NPUD_MAX_OUTPUTS, count);
        return -1;
    }
    self->outputs = (int)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *shape = PyTuple_GET_ITEM(outputs, i);
        if (!PyTuple_Check(shape) || PyTuple_GET_SIZE(shape) > MAX_DIMENSIONS) {
            PyErr_SetString(PyExc_ValueError, "an output's shape must be a tuple of up to 8 sizes");
            return -1;
        }
        self->shapes[i].dimensions = (int)PyTuple_GET_SIZE(shape);
        for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(shape); k++) {
            self->shapes[i].shape[k] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, k));
            if (PyErr_Occurred())
                return -1;
        }
    }
    return 0;
}

static size_t elements(const output_shape *shape)
{
    size_t count = 1;
    for (int i = 0; i < shape->dimensions; i++)
        count *= shape->shape[i] > 0 ? (size_t)shape->shape[i] : 0;
    return count;
}

/* Whether `channels` channels of `cells` cells lie inside the output. */
static int view_fits(const DecoderObject *self, const npud_view *view, size_t cells, size_t channels)
{
    if (view->tensor < 0 || view->tensor >= self->outputs || cells == 0 || channels == 0)
        return 0;
    size_t size = elements(&self->shapes[view->tensor]);
    if (view->offset >= size || view->cell_stride > size || view->channel_stride > size)
        return 0;
    size_t last = view->offset + (cells - 1) * view->cell_stride +
                  (channels - 1) * view->channel_stride;
    return last < size;
}

static int level_fits(const DecoderObject *self, const npud_level *level)
{
    const npud_decoder *d = &self->decoder;
    size_t box_channels = d->head == NPUD_DFL ? 4 * (size_t)level->bins : 4;
    size_t classes = d->head == NPUD_END2END ? 1 : (size_t)d->num_classes;
    int needs_obj = d->head == NPUD_END2END || level->obj.tensor >= 0;
    return level->rows > 0 && level->columns > 0 && level->bins >= 0 &&
           level->bins <= NPUD_MAX_BINS &&
           (size_t)level->rows * (size_t)level->columns <= NPUD_MAX_CELLS - level->first_cell &&
           view_fits(self, &level->box, level->cells, box_channels) &&
           view_fits(self, &level->cls, level->cells, classes) &&
           (!needs_obj || view_fits(self, &level->obj, level->cells, 1));
}

static int parse_view(PyObject *object, void *target)
{
    npud_view *view = target;
    Py_ssize_t offset, cell_stride, channel_stride;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a view must be a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(object, "innn", &view->tensor, &offset, &cell_stride, &channel_stride))
        return 0;
    view->offset = (size_t)offset;
    view->cell_stride = (size_t)cell_stride;
    view->channel_stride = (size_t)channel_stride;
    return 1;
}

static int parse_levels(DecoderObject *self, PyObject *levels)
{
    npud_decoder *d = &self->decoder;
    Py_ssize_t count = PyTuple_GET_SIZE(levels);
    uint32_t first_cell = 0;
    if (count < 1 || count > NPUD_MAX_LEVELS) {
        PyErr_Format(PyExc_ValueError, "expected 1 to %d levels, got %zd", NPUD_MAX_LEVELS, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        npud_level *level = &d->levels[i];
        int stride;
        if (!PyArg_Parse(PyTuple_GET_ITEM(levels, i), "(iiiiO&O&O&)", &level->rows, &level->columns,
                         &stride, &level->bins, parse_view, &level->box, parse_view, &level->cls,
                         parse_view, &level->obj))
            return -1;
        level->stride = (float)stride;
        level->first_cell = first_cell;
        level->cells = (uint32_t)level->rows * (uint32_t)level->columns;
        if (!level_fits(self, level)) {
            PyErr_Format(PyExc_ValueError, "level %zd does not fit the outputs", i);
            return -1;
        }
        first_cell += level->cells;
    }
    d->levels_used = (int)count;
    return 0;
}

/* Memory for all frames. */
static int allocate(DecoderObject *self, int table_size)
{
    npud_decoder *d = &self->decoder;
    const npud_level *last = &d->levels[d->levels_used - 1];
    size_t cells = last->first_cell + last->cells;
    size_t classes = d->head == NPUD_END2END ? 1 : (size_t)d->num_classes;
    d->kernels = d->selector.kernels = npud_kernels_best();
    self->lock = PyThread_allocate_lock();
    if (!self->lock || npud_selector_init(&d->selector, cells, classes) < 0 ||
        npud_sigmoid_init(&d->sigmoid, table_size) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int parse_head(const char *name)
{
    static const char *const names[NPUD_HEADS] = {"dfl", "ltrb", "flat", "end2end"};
    for (int i = 0; i < NPUD_HEADS; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

static int check_numbers(const npud_decoder *d, int head, int nms, Py_ssize_t max_detections,
                         int table_size)
{
    int classes_fit = d->num_classes <= NPUD_MAX_CLASSES &&
                      d->num_classes >= (head == NPUD_END2END ? 0 : 1);
    if (head >= 0 && nms >= 0 && nms < NPUD_NMS_MODES && max_detections > 0 && classes_fit &&
        table_size >= 0 && table_size <= 1 << 20)
        return 0;
    PyErr_SetString(PyExc_ValueError, "head, num_classes, nms, max_detections or table_size");
    return -1;
}

static int parse_arguments(DecoderObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"head",           "num_classes", "logits",     "threshold",
                            "score_floor",    "iou_threshold", "max_detections", "nms",
                            "table_size",     "outputs",     "levels",     NULL};
    npud_decoder *d = &self->decoder;
    const char *head_name;
    PyObject *outputs, *levels;
    int nms, table_size;
    Py_ssize_t max_detections;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "$sipfffniiO!O!:Decoder", names, &head_name,
                                     &d->num_classes, &d->logits, &d->threshold, &d->score_floor,
                                     &d->selector.iou_threshold, &max_detections, &nms, &table_size,
                                     &PyTuple_Type, &outputs, &PyTuple_Type, &levels))
        return -1;
    int head = parse_head(head_name);
    if (check_numbers(d, head, nms, max_detections, table_size) < 0)
        return -1;
    d->head = (npud_head)head;
    d->selector.mode = d->selector.iou_threshold >= 1.0f ? NPUD_NMS_NONE : (npud_nms_mode)nms;
    d->selector.max_detections = (size_t)max_detections;
    if (parse_shapes(self, outputs) < 0 || parse_levels(self, levels) < 0)
        return -1;
    return allocate(self, table_size);
}

static PyObject *decoder_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    DecoderObject *self = (DecoderObject *)type->tp_alloc(type, 0); /* all zero */
    if (self && parse_arguments(self, args, keywords) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void decoder_dealloc(DecoderObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    npud_selector_free(&self->decoder.selector);
    npud_sigmoid_free(&self->decoder.sigmoid);
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
    for (; count < self->outputs; count++) {
        if (get_buffer(PySequence_Fast_GET_ITEM(fast, count), &views[count], 0, 'f') < 0)
            goto fail;
        if (!has_shape(&views[count], &self->shapes[count])) {
            PyErr_Format(PyExc_ValueError, "tensor %d does not have its shape", count++);
            goto fail;
        }
    }
    Py_DECREF(fast);
    return count;
fail:
    release_all(views, count);
    Py_DECREF(fast);
    return -1;
}

/* One frame at a time: others wait here, without the GIL. */
static size_t decode_locked(DecoderObject *self, const Py_buffer *tensors, const npud_detections *out)
{
    npud_decoder *d = &self->decoder;
    size_t count;
    unsigned long long nonfinite;
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    for (int i = 0; i < self->outputs; i++)
        d->tensors[i].data = tensors[i].buf;
    count = npud_decode(d, out);
    nonfinite = d->selector.nonfinite;
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS
    if (nonfinite > self->nonfinite)
        self->nonfinite = nonfinite;
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
    if (get_results(args + 1, rows, results) < 0) {
        release_all(tensors, held);
        return NULL;
    }
    npud_detections out = {results[0].buf, results[1].buf, results[2].buf};
    size_t count = decode_locked(self, tensors, &out);
    release_all(results, 3);
    release_all(tensors, held);
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

static PyMethodDef decoder_methods[] = {
    {"decode", (PyCFunction)(void (*)(void))decoder_decode, METH_FASTCALL,
     "decode(tensors, boxes, scores, class_ids, /) -> number of detections"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef decoder_getset[] = {
    {"kernels", (getter)decoder_kernels, NULL, "Name of the kernel variant in use.", NULL},
    {"nonfinite", (getter)decoder_nonfinite, NULL, "Candidates dropped so far.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot decoder_slots[] = {
    {Py_tp_new, decoder_new},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_methods, decoder_methods},
    {Py_tp_getset, decoder_getset},
    {Py_tp_doc, "Decodes the float32 outputs of one model; see postprocess/_native.pyi."},
    {0, NULL},
};

static PyType_Spec decoder_spec = {
    .name = "postprocess._native.Decoder",
    .basicsize = sizeof(DecoderObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = decoder_slots,
};

/* ---- functions ---- */

typedef struct {
    const float *boxes;
    int32_t *kept;
} nms_frame;

static void nms_boxes(const void *context, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    const nms_frame *frame = context;
    for (size_t i = 0; i < count; i++) {
        const float *box = frame->boxes + 4 * (size_t)npud_key_cell(keys[i]);
        boxes->x1[i] = box[0];
        boxes->y1[i] = box[1];
        boxes->x2[i] = box[2];
        boxes->y2[i] = box[3];
    }
}

static void nms_keep(void *target, size_t index, uint64_t key, const npud_box *box)
{
    nms_frame *frame = target;
    (void)box;
    frame->kept[index] = (int32_t)npud_key_cell(key);
}

/* One more than the largest class id, 0 for an id out of range. */
static size_t classes_of(const int32_t *class_ids, size_t count)
{
    size_t classes = 1;
    for (size_t i = 0; i < count; i++) {
        if (class_ids[i] < 0 || class_ids[i] >= NPUD_MAX_CLASSES)
            return 0;
        classes = (size_t)class_ids[i] < classes ? classes : (size_t)class_ids[i] + 1;
    }
    return classes;
}

/* The number kept, -1 without memory, -2 for a class id out of range. */
static Py_ssize_t nms_run(npud_selector *s, const Py_buffer views[4])
{
    const float *scores = views[1].buf;
    const int32_t *class_ids = views[2].buf;
    size_t count = (size_t)views[1].shape[0], candidates = 0;
    size_t classes = classes_of(class_ids, count);
    nms_frame frame = {views[0].buf, views[3].buf};
    if (classes == 0)
        return -2;
    if (npud_selector_init(s, count, classes) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (scores[i] == scores[i]) /* not NaN */
            s->keys[candidates++] = npud_key(scores[i], (unsigned)class_ids[i], (uint32_t)i);
    return (Py_ssize_t)npud_select(s, candidates, nms_boxes, &frame, nms_keep, &frame);
}

static int nms_views(PyObject *const objects[4], Py_ssize_t max_detections, Py_buffer views[4])
{
    static const char types[] = "ffii";
    int held = 0;
    for (; held < 4; held++)
        if (get_buffer(objects[held], &views[held], held == 3 ? PyBUF_WRITABLE : 0, types[held]) < 0)
            goto fail;
    Py_ssize_t count = views[1].ndim == 1 ? views[1].shape[0] : -1;
    Py_ssize_t room = max_detections < count ? max_detections : count;
    if (count >= 0 && count <= NPUD_MAX_CELLS && views[0].ndim == 2 && views[0].shape[0] == count &&
        views[0].shape[1] == 4 && views[2].ndim == 1 && views[2].shape[0] == count &&
        views[3].ndim == 1 && views[3].shape[0] >= room)
        return 0;
    PyErr_SetString(PyExc_ValueError, "expected boxes (N, 4), scores (N,), class_ids (N,), kept");
fail:
    release_all(views, held);
    return -1;
}

static PyObject *native_nms(PyObject *module, PyObject *args)
{
    PyObject *objects[4];
    Py_ssize_t max_detections, kept;
    npud_selector selector = {0};
    Py_buffer views[4];
    int mode;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOfni:nms", &objects[0], &objects[1], &objects[2], &objects[3],
                          &selector.iou_threshold, &max_detections, &mode))
        return NULL;
    if (mode < 0 || mode >= NPUD_NMS_MODES || max_detections < 1) {
        PyErr_SetString(PyExc_ValueError, "expected a known mode and max_detections ≥ 1");
        return NULL;
    }
    if (nms_views(objects, max_detections, views) < 0)
        return NULL;
    selector.mode = selector.iou_threshold >= 1.0f ? NPUD_NMS_NONE : (npud_nms_mode)mode;
    selector.max_detections = (size_t)max_detections;
    selector.kernels = npud_kernels_best();
    Py_BEGIN_ALLOW_THREADS
    kept = nms_run(&selector, views);
    npud_selector_free(&selector);
    Py_END_ALLOW_THREADS
    release_all(views, 4);
    if (kept == -1)
        return PyErr_NoMemory();
    if (kept == -2)
        return PyErr_Format(PyExc_ValueError, "expected class ids from 0 to %d", NPUD_MAX_CLASSES - 1);
    return PyLong_FromSsize_t(kept);
}

static PyObject *native_sigmoid(PyObject *module, PyObject *args)
{
    PyObject *values, *out;
    int table_size;
    Py_buffer views[2];
    npud_sigmoid sigmoid;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOi:sigmoid", &values, &out, &table_size))
        return NULL;
    if (table_size < 0 || table_size > 1 << 20)
        return PyErr_Format(PyExc_ValueError, "expected a table_size from 0 to 1048576");
    if (get_buffer(values, &views[0], 0, 'f') < 0)
        return NULL;
    if (get_buffer(out, &views[1], PyBUF_WRITABLE, 'f') < 0) {
        release_all(views, 1);
        return NULL;
    }
    int fits = views[0].len == views[1].len;
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "values and out differ in length");
    else if (npud_sigmoid_init(&sigmoid, table_size) < 0)
        PyErr_NoMemory();
    else {
        for (Py_ssize_t i = 0; i < views[0].len / 4; i++)
            ((float *)views[1].buf)[i] = npud_sigmoid_at(&sigmoid, ((float *)views[0].buf)[i]);
        npud_sigmoid_free(&sigmoid);
    }
    release_all(views, 2);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef functions[] = {
    {"nms", native_nms, METH_VARARGS,
     "nms(boxes, scores, class_ids, kept, iou_threshold, max_detections, mode, /) -> number kept"},
    {"sigmoid", native_sigmoid, METH_VARARGS, "sigmoid(values, out, table_size, /) -> None"},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&decoder_spec);
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
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
