/* Class tensors with a scale per channel: every channel has its threshold; the best class is found
 * among real values, for the few cells where one passes. */
#include "decoder.h"

/* mark[i] |= any of the channels of cell i reaches its threshold. */
#define DEFINE_MARK(name, type)                                                                     \
    static void name(const void *first, size_t cell_stride, size_t channel_stride, int channels,    \
                     size_t cells, const int32_t *thresholds, uint8_t *mark)                        \
    {                                                                                               \
        for (int c = 0; c < channels; c++) {                                                        \
            const type *values = (const type *)first + (size_t)c * channel_stride;                  \
            int32_t threshold = thresholds[c];                                                      \
            if (cell_stride == 1)                                                                   \
                for (size_t i = 0; i < cells; i++)                                                  \
                    mark[i] |= values[i] >= threshold;                                              \
            else                                                                                    \
                for (size_t i = 0; i < cells; i++)                                                  \
                    mark[i] |= values[i * cell_stride] >= threshold;                                \
        }                                                                                           \
    }

DEFINE_MARK(mark_i8, int8_t)
DEFINE_MARK(mark_u8, uint8_t)
DEFINE_MARK(mark_i16, int16_t)
DEFINE_MARK(mark_i32, int32_t)

typedef void (*marker)(const void *first, size_t cell_stride, size_t channel_stride, int channels,
                       size_t cells, const int32_t *thresholds, uint8_t *mark);

int npud_best_real(const npud_decoder *d, const npud_level *level, uint32_t cell, float *best)
{
    size_t offset = npud_cell_offset(level, &level->cls, cell);
    int class_id = -1;
    for (int c = 0; c < d->num_classes; c++) {
        float value = npud_view_real(d, &level->cls, offset, (size_t)c);
        if (class_id < 0 || value > *best) {
            *best = value;
            class_id = c;
        }
    }
    return class_id;
}

size_t npud_scan_per_channel(const npud_decoder *d, const npud_level *level, uint32_t first,
                             size_t cells, npud_hit *hits)
{
    static const marker markers[NPUD_DTYPES] = {0, 0, mark_i8, mark_u8, mark_i16, mark_i32};
    const npud_view *view = &level->cls;
    const npud_tensor *tensor = &d->tensors[view->tensor];
    size_t offset = npud_cell_offset(level, view, first), found = 0;
    uint8_t mark[NPUD_SCAN_BLOCK] = {0};
    int even;
    if (view->never)
        return 0;
    for (int c = 0; c < d->num_classes; c += even) {
        even = npud_even_channels(view, c, d->num_classes);
        markers[tensor->dtype](npud_at(tensor, offset + npud_channel_offset(view, (size_t)c)),
                               view->cell_stride, view->channel_stride, even, cells,
                               view->thresholds + c, mark);
    }
    for (size_t i = 0; i < cells; i++) {
        float best;
        int class_id;
        if (!mark[i])
            continue;
        class_id = npud_best_real(d, level, first + (uint32_t)i, &best);
        if (best >= view->least)
            hits[found++] = (npud_hit){(uint32_t)i, (uint32_t)class_id, {.real = best}};
    }
    return found;
}
