/* Real values and probabilities of single cells. */
#include "decoder.h"

void npud_view_reals(const npud_decoder *d, const npud_view *view, size_t cell_offset, size_t count,
                     float *values)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    size_t first = cell_offset + npud_channel_offset(view, 0), stride = view->channel_stride;
    if (view->block || tensor->quant.step) {
        for (size_t c = 0; c < count; c++)
            values[c] = npud_view_real(d, view, cell_offset, c);
        return;
    }
    switch (tensor->dtype) {
    case NPUD_FLOAT32:
        for (size_t c = 0; c < count; c++)
            values[c] = ((const float *)tensor->data)[first + c * stride];
        break;
    case NPUD_INT8: {
        int32_t zero_point = *tensor->quant.zero_point;
        float scale = *tensor->quant.scale;
        for (size_t c = 0; c < count; c++) {
            int64_t stored = ((const int8_t *)tensor->data)[first + c * stride];
            values[c] = (float)(stored - zero_point) * scale;
        }
        break;
    }
    default:
        for (size_t c = 0; c < count; c++)
            values[c] = npud_real(tensor->dtype, &tensor->quant, tensor->data, first + c * stride, 0);
    }
}

/* σ of an element of a tensor that has a table of all its values. */
static inline float looked_up(const npud_tensor *tensor, size_t element)
{
    if (npud_itemsize(tensor->dtype) == 1)
        return tensor->sigmoid[((const uint8_t *)tensor->data)[element]];
    return tensor->sigmoid[((const uint16_t *)tensor->data)[element]];
}

float npud_view_probability(const npud_decoder *d, const npud_view *view, size_t cell_offset,
                            size_t channel)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    if (!d->logits)
        return npud_view_real(d, view, cell_offset, channel);
    if (tensor->sigmoid)
        return looked_up(tensor, cell_offset + npud_channel_offset(view, channel));
    return npud_sigmoid_at(&d->sigmoid, npud_view_real(d, view, cell_offset, channel));
}

void npud_view_probabilities(const npud_decoder *d, const npud_view *view, size_t cell_offset,
                             size_t count, float *values)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    if (d->logits && tensor->sigmoid) {
        for (size_t c = 0; c < count; c++)
            values[c] = looked_up(tensor, cell_offset + npud_channel_offset(view, c));
        return;
    }
    npud_view_reals(d, view, cell_offset, count, values);
    for (size_t c = 0; d->logits && c < count; c++)
        values[c] = npud_sigmoid_exact(values[c]);
}
