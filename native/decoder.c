/* What a decoder makes once: tables and thresholds. */
#include <stdlib.h>

#include "decoder.h"

enum { EXP_ENTRIES = 256 };

static int make_exp_table(npud_tensor *tensor)
{
    if ((tensor->dtype != NPUD_INT8 && tensor->dtype != NPUD_UINT8) || tensor->channels != 1 ||
        tensor->exp)
        return 0;
    tensor->exp = malloc(EXP_ENTRIES * sizeof *tensor->exp);
    if (!tensor->exp)
        return -1;
    for (int d = 0; d < EXP_ENTRIES; d++) {
        double x = (double)d * tensor->scales[0];
        tensor->exp[d] = (float)npud_exp_double(x < 104.0 ? -x : -104.0);
    }
    tensor->quant.exp = tensor->exp;
    return 0;
}

static int make_sigmoid_table(npud_decoder *d, npud_tensor *tensor)
{
    size_t entries = npud_sigmoid_entries(tensor->dtype);
    int integers = tensor->dtype != NPUD_FLOAT16;
    if (d->sigmoid.mode == NPUD_EXACT || !entries || tensor->sigmoid ||
        (integers && tensor->channels != 1))
        return 0;
    tensor->sigmoid = malloc(entries * sizeof *tensor->sigmoid);
    if (!tensor->sigmoid)
        return -1;
    npud_sigmoid_fill(tensor->dtype, &tensor->quant, tensor->sigmoid);
    return 0;
}

/* A sum of probabilities is at least the largest of them, but for one step of each quantization
 * (some tools truncate) and rounding; so a cell whose sum is below the threshold by more than that
 * has no candidate.  A saturated sum says nothing: it always passes. */
static void set_sum_threshold(npud_decoder *d, npud_level *level)
{
    const npud_tensor *sum = &d->tensors[level->gate.tensor];
    const npud_tensor *cls = &d->tensors[level->cls.tensor];
    int integers = sum->dtype > NPUD_FLOAT16;
    float threshold = d->threshold * (1.0f - 1.0f / 512.0f), step = 0.0f;
    for (size_t c = 0; cls->dtype > NPUD_FLOAT16 && c < cls->channels; c++)
        step = cls->scales[c] > step ? cls->scales[c] : step;
    threshold -= step;
    if (integers)
        threshold -= sum->scales[sum->channels == 1 ? 0 : level->gate.first];
    level->gate.least = threshold;
    level->gate.threshold = npud_stored_threshold(sum->dtype, &sum->quant, level->gate.first,
                                                  threshold, &level->gate.never);
    level->gate.never = 0; /* `integer` is the largest value then: the saturated ones */
}

static int set_thresholds(npud_decoder *d, npud_view *view, int channels)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    view->least = npud_least_real(tensor->dtype, d->threshold);
    view->threshold = npud_stored_threshold(tensor->dtype, &tensor->quant, view->first,
                                            view->least, &view->never);
    if (tensor->dtype <= NPUD_FLOAT16 || tensor->channels == 1)
        return 0;
    view->thresholds = malloc((size_t)channels * sizeof *view->thresholds);
    if (!view->thresholds)
        return -1;
    view->never = 1;
    for (int c = 0; c < channels; c++) {
        int never;
        npud_value value = npud_stored_threshold(tensor->dtype, &tensor->quant,
                                                 view->first + (size_t)c, view->least, &never);
        view->thresholds[c] = never ? INT32_MAX : value.integer;
        view->never &= never;
    }
    return 0;
}

/* Whether stored - zero point cannot overflow 32 bits. */
static int differences_fit(npud_dtype dtype, const npud_dfl_cell *cell)
{
    size_t channels = cell->quant.step ? 4 * (size_t)cell->bins : 1;
    for (size_t c = 0; dtype > NPUD_FLOAT16 && c < channels; c++) {
        int32_t zero_point = cell->quant.zero_point[c];
        if (dtype == NPUD_INT32 ? zero_point != 0 : zero_point < -(1 << 30) || zero_point > 1 << 30)
            return 0;
    }
    return 1;
}

static void init_dfl(const npud_decoder *d, npud_level *level)
{
    const npud_tensor *tensor = &d->tensors[level->box.tensor];
    int channels = 4 * level->bins;
    level->box_is_even = npud_even_channels(&level->box, 0, channels) == channels;
    level->box_first = npud_channel_offset(&level->box, 0);
    level->dfl = (npud_dfl_cell){
        .channel_stride = level->box_is_even ? level->box.channel_stride : 1,
        .bins = level->bins,
        .quant = tensor->quant,
    };
    if (tensor->quant.step) {
        level->dfl.quant.scale += level->box.first;
        level->dfl.quant.zero_point += level->box.first;
    }
    level->dfl.differences_fit = differences_fit(tensor->dtype, &level->dfl);
}

static int init_level(npud_decoder *d, npud_level *level)
{
    int classes = d->head == NPUD_END2END ? 1 : d->num_classes, failed = 0;
    if (set_thresholds(d, &level->cls, classes) < 0)
        return -1;
    if (level->gate.tensor >= 0 && level->gate_is_sum)
        set_sum_threshold(d, level);
    else if (level->gate.tensor >= 0)
        failed |= set_thresholds(d, &level->gate, 1);
    if (d->head == NPUD_DFL) {
        failed |= make_exp_table(&d->tensors[level->box.tensor]);
        init_dfl(d, level);
    }
    if (d->logits) {
        failed |= make_sigmoid_table(d, &d->tensors[level->cls.tensor]);
        if (level->gate.tensor >= 0)
            failed |= make_sigmoid_table(d, &d->tensors[level->gate.tensor]);
    }
    return failed;
}

int npud_decoder_init(npud_decoder *d)
{
    const npud_level *last = &d->levels[d->levels_used - 1];
    size_t classes = d->head == NPUD_END2END ? 1 : (size_t)d->num_classes;
    d->selector.kernels = d->kernels;
    if (npud_selector_init(&d->selector, last->first_cell + last->cells, classes) < 0 ||
        npud_sigmoid_init(&d->sigmoid) < 0)
        return -1;
    if (d->multi_label && npud_labels_init(&d->labels, last->first_cell + last->cells,
                                           d->selector.max_detections, classes) < 0)
        return -1;
    for (int i = 0; i < d->levels_used; i++)
        if (init_level(d, &d->levels[i]) < 0)
            return -1;
    return 0;
}

void npud_decoder_free(npud_decoder *d)
{
    for (int i = 0; i < d->levels_used; i++) {
        free(d->levels[i].cls.thresholds);
        free(d->levels[i].gate.thresholds);
    }
    for (int i = 0; i < d->tensors_used; i++) {
        free(d->tensors[i].scales);
        free(d->tensors[i].zero_points);
        free(d->tensors[i].exp);
        free(d->tensors[i].sigmoid);
    }
    npud_selector_free(&d->selector);
    npud_sigmoid_free(&d->sigmoid);
    npud_labels_free(&d->labels);
}
