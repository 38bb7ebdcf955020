/* nms() and the sigmoids on arrays, for tests, benchmarks and tools. */
#include "module.h"

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
    static const npud_dtype types[] = {NPUD_FLOAT32, NPUD_FLOAT32, NPUD_INT32, NPUD_INT32};
    int held = 0;
    for (; held < 4; held++)
        if (npud_get_buffer(objects[held], &views[held], held == 3 ? PyBUF_WRITABLE : 0, types[held]) < 0)
            goto fail;
    Py_ssize_t count = views[1].ndim == 1 ? views[1].shape[0] : -1;
    Py_ssize_t room = max_detections < count ? max_detections : count;
    if (count >= 0 && count <= NPUD_MAX_CELLS && views[0].ndim == 2 && views[0].shape[0] == count &&
        views[0].shape[1] == 4 && views[2].ndim == 1 && views[2].shape[0] == count &&
        views[3].ndim == 1 && views[3].shape[0] >= room)
        return 0;
    PyErr_SetString(PyExc_ValueError, "expected boxes (N, 4), scores (N,), class_ids (N,), kept");
fail:
    npud_release(views, held);
    return -1;
}

const npud_kernels *npud_kernels_of(const char *name)
{
    const npud_kernels *kernels = npud_kernels_named(name);
    if (!kernels)
        PyErr_Format(PyExc_ValueError, "no kernels \"%s\" on this CPU; see variants()", name);
    return kernels;
}

static PyObject *native_variants(PyObject *module, PyObject *unused)
{
    Py_ssize_t count = 0;
    (void)module;
    (void)unused;
    while (npud_kernels_at((size_t)count))
        count++;
    PyObject *names = PyTuple_New(count);
    for (Py_ssize_t i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_FromString(npud_kernels_at((size_t)i)->name);
        if (!name)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, i, name);
    }
    return names;
}

static PyObject *native_nms(PyObject *module, PyObject *args)
{
    PyObject *objects[4];
    Py_ssize_t max_detections, kept;
    npud_selector selector = {0};
    Py_buffer views[4];
    const char *kernels = "auto";
    int mode;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOfni|s:nms", &objects[0], &objects[1], &objects[2], &objects[3],
                          &selector.iou_threshold, &max_detections, &mode, &kernels))
        return NULL;
    selector.kernels = npud_kernels_of(kernels);
    if (!selector.kernels)
        return NULL;
    if (mode < 0 || mode >= NPUD_NMS_MODES || max_detections < 1) {
        PyErr_SetString(PyExc_ValueError, "expected a known mode and max_detections ≥ 1");
        return NULL;
    }
    if (nms_views(objects, max_detections, views) < 0)
        return NULL;
    selector.mode = selector.iou_threshold >= 1.0f ? NPUD_NMS_NONE : (npud_nms_mode)mode;
    selector.max_detections = (size_t)max_detections;
    Py_BEGIN_ALLOW_THREADS
    kept = nms_run(&selector, views);
    npud_selector_free(&selector);
    Py_END_ALLOW_THREADS
    npud_release(views, 4);
    if (kept == -1)
        return PyErr_NoMemory();
    if (kept == -2)
        return PyErr_Format(PyExc_ValueError, "expected class ids from 0 to %d", NPUD_MAX_CLASSES - 1);
    return PyLong_FromSsize_t(kept);
}

/* Two buffers of equal length. */
static int sigmoid_views(PyObject *values, PyObject *out, Py_buffer views[2])
{
    if (npud_get_buffer(values, &views[0], 0, NPUD_FLOAT32) < 0)
        return -1;
    if (npud_get_buffer(out, &views[1], PyBUF_WRITABLE, NPUD_FLOAT32) < 0) {
        npud_release(views, 1);
        return -1;
    }
    if (views[0].len == views[1].len)
        return 0;
    PyErr_SetString(PyExc_ValueError, "values and out differ in length");
    npud_release(views, 2);
    return -1;
}

static PyObject *native_sigmoid(PyObject *module, PyObject *args)
{
    PyObject *values, *out;
    int mode;
    Py_buffer views[2];
    npud_sigmoid sigmoid;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOiif:sigmoid", &values, &out, &mode, &sigmoid.steps,
                          &sigmoid.range))
        return NULL;
    if (mode < 0 || mode >= NPUD_SIGMOIDS || sigmoid.steps < 1 || sigmoid.steps > 1 << 20 ||
        !(sigmoid.range >= 1.0f && sigmoid.range <= 100.0f))
        return PyErr_Format(PyExc_ValueError, "mode, table_size or table_range is out of range");
    if (sigmoid_views(values, out, views) < 0)
        return NULL;
    sigmoid.mode = (npud_sigmoid_mode)mode;
    if (npud_sigmoid_init(&sigmoid) < 0)
        PyErr_NoMemory();
    else
        for (Py_ssize_t i = 0; i < views[0].len / 4; i++)
            ((float *)views[1].buf)[i] = npud_sigmoid_at(&sigmoid, ((float *)views[0].buf)[i]);
    npud_sigmoid_free(&sigmoid);
    npud_release(views, 2);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *native_sigmoid_table(PyObject *module, PyObject *args)
{
    static const Py_ssize_t sizes[] = {4, 2, 1, 1, 2, 4};
    const char *code;
    float scale;
    int zero_point, dtype = -1;
    PyObject *out;
    Py_buffer view;
    (void)module;
    if (!PyArg_ParseTuple(args, "sfiO:sigmoid_table", &code, &scale, &zero_point, &out))
        return NULL;
    for (int i = 0; i < NPUD_DTYPES && dtype < 0; i++)
        dtype = npud_format_dtype(code, sizes[i]);
    if (dtype < 0 || !npud_sigmoid_entries((npud_dtype)dtype))
        return PyErr_Format(PyExc_ValueError, "expected a type of e, b, B or h, got %s", code);
    if (npud_get_buffer(out, &view, PyBUF_WRITABLE, NPUD_FLOAT32) < 0)
        return NULL;
    npud_quant quant = {&scale, &(int32_t){zero_point}, 0, NULL};
    int fits = (size_t)view.len == npud_sigmoid_entries((npud_dtype)dtype) * sizeof(float);
    if (fits)
        npud_sigmoid_fill((npud_dtype)dtype, &quant, view.buf);
    else
        PyErr_SetString(PyExc_ValueError, "out does not have an entry per value");
    npud_release(&view, 1);
    return fits ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef npud_functions[] = {
    {"nms", native_nms, METH_VARARGS,
     "nms(boxes, scores, class_ids, kept, iou_threshold, max_detections, mode, kernels=\"auto\", /)"
     " -> number kept"},
    {"variants", native_variants, METH_NOARGS,
     "variants() -> names of the kernels this CPU can run, the fastest first"},
    {"sigmoid", native_sigmoid, METH_VARARGS,
     "sigmoid(values, out, mode, table_size, table_range, /) -> None"},
    {"sigmoid_table", native_sigmoid_table, METH_VARARGS,
     "sigmoid_table(code, scale, zero_point, out, /) -> None"},
    {NULL, NULL, 0, NULL},
};
