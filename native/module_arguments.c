/* The arguments of Decoder(): everything that could lead outside of a buffer is checked here. */
#include <math.h>

#include "module.h"

static const size_t MAX_SPAN = (size_t)1 << 40;

static int refuse(const char *message)
{
    PyErr_SetString(PyExc_ValueError, message);
    return -1;
}

/* A tuple of integers ≥ low; the number of them, or -1. */
static int parse_sizes(PyObject *tuple, Py_ssize_t low, Py_ssize_t *sizes)
{
    if (PyTuple_GET_SIZE(tuple) > MAX_DIMENSIONS)
        return refuse("an output has at most 8 dimensions");
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tuple); k++) {
        sizes[k] = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, k));
        if (PyErr_Occurred())
            return -1;
        if (sizes[k] < low || (size_t)sizes[k] > MAX_SPAN)
            return refuse("a shape or stride is out of range");
    }
    return (int)PyTuple_GET_SIZE(tuple);
}

static int set_span(output_form *form)
{
    size_t last = 0;
    for (int i = 0; i < form->dimensions; i++) {
        size_t steps = (size_t)form->shape[i] - 1, stride = (size_t)form->strides[i];
        if (steps && stride > (MAX_SPAN - last) / steps)
            return refuse("an output is too large");
        last += steps * stride;
    }
    form->span = last + 1;
    return 0;
}

static int copy_quantization(npud_tensor *tensor, PyObject *scales, PyObject *zero_points)
{
    Py_buffer views[2];
    if (npud_get_buffer(scales, &views[0], 0, NPUD_FLOAT32) < 0)
        return -1;
    if (npud_get_buffer(zero_points, &views[1], 0, NPUD_INT32) < 0) {
        npud_release(views, 1);
        return -1;
    }
    size_t size = (size_t)views[0].len, count = size / sizeof(float);
    int failed = count == 0 || views[1].len != views[0].len;
    for (size_t i = 0; i < count; i++)
        failed |= !(isfinite(((const float *)views[0].buf)[i]) && ((const float *)views[0].buf)[i] > 0);
    if (failed) {
        refuse("expected as many zero points as scales, scales > 0");
    } else {
        tensor->scales = malloc(size);
        tensor->zero_points = malloc(size);
        failed = !tensor->scales || !tensor->zero_points;
        if (failed) {
            PyErr_NoMemory();
        } else {
            memcpy(tensor->scales, views[0].buf, size);
            memcpy(tensor->zero_points, views[1].buf, size);
            tensor->channels = count;
            tensor->quant =
                (npud_quant){tensor->scales, tensor->zero_points, count > 1 ? 1 : 0, NULL};
        }
    }
    npud_release(views, 2);
    return failed ? -1 : 0;
}

static int parse_output(npud_tensor *tensor, output_form *form, PyObject *output)
{
    const char *code;
    PyObject *shape, *strides, *scales, *zero_points;
    if (!PyArg_Parse(output, "(sO!O!OO)", &code, &PyTuple_Type, &shape, &PyTuple_Type, &strides,
                     &scales, &zero_points))
        return -1;
    static const Py_ssize_t sizes[] = {4, 2, 1, 1, 2, 4};
    int dtype = -1;
    for (int i = 0; i < NPUD_DTYPES && dtype < 0; i++)
        dtype = npud_format_dtype(code, sizes[i]);
    if (dtype < 0)
        return refuse("an output's type must be one of f, e, b, B, h, i");
    form->dtype = tensor->dtype = (npud_dtype)dtype;
    form->dimensions = parse_sizes(shape, 1, form->shape);
    if (form->dimensions < 0)
        return -1;
    int dimensions = parse_sizes(strides, 0, form->strides);
    if (dimensions < 0)
        return -1;
    if (dimensions != form->dimensions)
        return refuse("an output needs a stride for each dimension");
    if (set_span(form) < 0)
        return -1;
    return dtype <= NPUD_FLOAT16 ? 0 : copy_quantization(tensor, scales, zero_points);
}

static int parse_outputs(DecoderObject *self, PyObject *outputs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(outputs);
    if (count < 1 || count > NPUD_MAX_OUTPUTS) {
        PyErr_Format(PyExc_ValueError, "expected 1 to %d outputs, got %zd", NPUD_MAX_OUTPUTS, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        self->decoder.tensors_used = self->outputs = (int)i + 1;
        if (parse_output(&self->decoder.tensors[i], &self->forms[i],
                         PyTuple_GET_ITEM(outputs, i)) < 0)
            return -1;
    }
    return 0;
}

static int parse_view(PyObject *object, void *target)
{
    npud_view *view = target;
    Py_ssize_t n[7];
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a view must be a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(object, "innnnnnn", &view->tensor, &n[0], &n[1], &n[2], &n[3], &n[4],
                          &n[5], &n[6]))
        return 0;
    for (int i = 0; i < 7; i++)
        if (n[i] < 0 || (size_t)n[i] > MAX_SPAN) {
            refuse("a view's numbers must not be negative");
            return 0;
        }
    view->offset = (size_t)n[0];
    view->row_stride = (size_t)n[1];
    view->cell_stride = (size_t)n[2];
    view->channel_stride = (size_t)n[3];
    view->first = (size_t)n[4];
    view->block = (size_t)n[5];
    view->block_stride = (size_t)n[6];
    return 1;
}

/* *sum += steps * stride, unless that is beyond `limit`. */
static int advance(size_t *sum, size_t steps, size_t stride, size_t limit)
{
    if (*sum > limit || (steps && stride > (limit - *sum) / steps))
        return 0;
    *sum += steps * stride;
    return 1;
}

/* Whether all elements of the role lie inside its output, and its scans can read them. */
static int view_fits(const DecoderObject *self, const npud_level *level, const npud_view *view,
                     size_t channels)
{
    if (view->tensor < 0 || view->tensor >= self->outputs)
        return 0;
    const npud_tensor *tensor = &self->decoder.tensors[view->tensor];
    size_t limit = self->forms[view->tensor].span - 1, last = view->offset;
    size_t top = view->first + channels - 1, in_block = top, blocks = 0;
    if (view->block) {
        blocks = top / view->block;
        in_block = blocks || view->first >= view->block ? view->block - 1 : top;
    }
    int scannable = view->cell_stride == 1 || view->channel_stride == 1 || channels == 1;
    return scannable && (tensor->channels <= 1 || tensor->channels > top) &&
           advance(&last, (size_t)level->rows - 1, view->row_stride, limit) &&
           advance(&last, (size_t)level->columns - 1, view->cell_stride, limit) &&
           advance(&last, in_block, view->channel_stride, limit) &&
           advance(&last, blocks, view->block_stride, limit) && last <= limit;
}

static int level_fits(const DecoderObject *self, const npud_level *level)
{
    const npud_decoder *d = &self->decoder;
    size_t classes = d->head == NPUD_END2END ? 1 : (size_t)d->num_classes;
    size_t box_channels = d->head == NPUD_DFL ? 4 * (size_t)level->bins : 4;
    return view_fits(self, level, &level->box, box_channels) &&
           view_fits(self, level, &level->cls, classes) &&
           (d->head == NPUD_END2END || level->gate.tensor >= 0
                ? view_fits(self, level, &level->gate, 1)
                : 1);
}

static int parse_level(const DecoderObject *self, PyObject *object, npud_level *level,
                       uint32_t first_cell)
{
    const npud_decoder *d = &self->decoder;
    if (!PyArg_Parse(object, "(iififfpO&O&O&)", &level->rows, &level->columns, &level->stride,
                     &level->bins, &level->anchor_width, &level->anchor_height,
                     &level->gate_is_sum, parse_view, &level->box, parse_view, &level->cls,
                     parse_view, &level->gate))
        return -1;
    if (level->rows < 1 || level->columns < 1 || level->bins < (d->head == NPUD_DFL) ||
        level->bins > NPUD_MAX_BINS || level->rows > NPUD_MAX_CELLS ||
        level->columns > NPUD_MAX_CELLS ||
        (size_t)level->rows * (size_t)level->columns > NPUD_MAX_CELLS - first_cell)
        return refuse("a level's rows, columns or bins are out of range");
    level->first_cell = first_cell;
    level->cells = (uint32_t)level->rows * (uint32_t)level->columns;
    /* a sum of what is not a probability, or beside an objectness, has no meaning */
    if (level->gate_is_sum && (d->logits || (d->head != NPUD_DFL && d->head != NPUD_LTRB)))
        return refuse("a score sum needs dfl or ltrb with probabilities");
    return level_fits(self, level) ? 0 : refuse("a level does not fit the outputs");
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
        if (parse_level(self, PyTuple_GET_ITEM(levels, i), &d->levels[i], first_cell) < 0)
            return -1;
        first_cell += d->levels[i].cells;
    }
    d->levels_used = (int)count;
    return 0;
}

static int parse_head(const char *name)
{
    static const char *const names[NPUD_HEADS] = {"dfl",  "ltrb",         "anchor", "yolox",
                                                  "flat", "boxes_scores", "end2end"};
    for (int i = 0; i < NPUD_HEADS; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

static int check_numbers(const npud_decoder *d, int head, int nms, Py_ssize_t max_detections,
                         int sigmoid)
{
    int classes_fit = d->num_classes <= NPUD_MAX_CLASSES &&
                      d->num_classes >= (head == NPUD_END2END ? 0 : 1);
    if (head >= 0 && nms >= 0 && nms < NPUD_NMS_MODES && max_detections > 0 && classes_fit &&
        sigmoid >= 0 && sigmoid < NPUD_SIGMOIDS && d->sigmoid.steps >= 1 &&
        d->sigmoid.steps <= 1 << 20 && d->sigmoid.range >= 1.0f && d->sigmoid.range <= 100.0f)
        return 0;
    return refuse("head, num_classes, nms, max_detections or sigmoid are out of range");
}

/* All labels of a cell are for heads without objectness, NMS and rows. */
static int check_labels(const npud_decoder *d)
{
    int has_gate = 0;
    for (int i = 0; i < d->levels_used; i++)
        has_gate |= d->levels[i].gate.tensor >= 0 && !d->levels[i].gate_is_sum;
    if (d->multi_label && (has_gate || d->selector.mode != NPUD_NMS_NONE))
        return refuse("multi_label takes a head without objectness, and no NMS");
    return 0;
}

int npud_parse_arguments(DecoderObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"head",           "num_classes",   "logits",  "threshold",
                            "score_floor",    "iou_threshold", "max_detections", "nms",
                            "multi_label",
                            "sigmoid",        "table_size",    "table_range", "kernels",
                            "outputs",        "levels",        NULL};
    npud_decoder *d = &self->decoder;
    const char *head_name, *kernels;
    PyObject *outputs, *levels;
    int nms, sigmoid;
    Py_ssize_t max_detections;
    if (!PyArg_ParseTupleAndKeywords(
            args, keywords, "$sipfffnipiifsO!O!:Decoder", names, &head_name, &d->num_classes,
            &d->logits, &d->threshold, &d->score_floor, &d->selector.iou_threshold, &max_detections,
            &nms, &d->multi_label, &sigmoid, &d->sigmoid.steps, &d->sigmoid.range, &kernels,
            &PyTuple_Type, &outputs, &PyTuple_Type, &levels))
        return -1;
    d->kernels = npud_kernels_of(kernels);
    if (!d->kernels)
        return -1;
    int head = parse_head(head_name);
    if (check_numbers(d, head, nms, max_detections, sigmoid) < 0)
        return -1;
    d->head = (npud_head)head;
    d->sigmoid.mode = (npud_sigmoid_mode)sigmoid;
    d->selector.mode = d->selector.iou_threshold >= 1.0f ? NPUD_NMS_NONE : (npud_nms_mode)nms;
    d->selector.max_detections = (size_t)max_detections;
    if (parse_outputs(self, outputs) < 0 || parse_levels(self, levels) < 0)
        return -1;
    return check_labels(d);
}
