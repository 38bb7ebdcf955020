/* Find the candidates: cells whose best class value reaches the threshold, in the tensor's type. */
#include "decoder.h"

enum { DENSE = 8 }; /* from 1 of 8 cells on, whole planes are scanned; below, single cells */

static int is_float(const npud_tensor *tensor) { return tensor->dtype <= NPUD_FLOAT16; }

/* Cells from `first` on that lie evenly in the view, at most NPUD_SCAN_BLOCK. */
static size_t even_cells(const npud_level *level, const npud_view *view, uint32_t first)
{
    uint32_t columns = (uint32_t)level->columns, left = level->cells - first;
    if (level->rows > 1 && view->row_stride != columns * view->cell_stride)
        left = columns - first % columns;
    return left < NPUD_SCAN_BLOCK ? left : NPUD_SCAN_BLOCK;
}

/* Hits among `channels` channels, from `channel` on, that lie evenly. */
static size_t scan_even(const npud_decoder *d, const npud_view *view, int channel, int channels,
                        size_t cell_offset, size_t cells, npud_hit *hits)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    const void *first = npud_at(tensor, cell_offset + npud_channel_offset(view, (size_t)channel));
    if (view->cell_stride == 1)
        return d->kernels->scan_planes[tensor->dtype](first, view->channel_stride, channels, cells,
                                                      view->threshold, hits);
    return d->kernels->scan_rows[tensor->dtype](first, view->cell_stride, channels, cells,
                                                view->threshold, hits);
}

static int is_larger(const npud_tensor *tensor, npud_value a, npud_value b)
{
    return is_float(tensor) ? a.real > b.real : a.integer > b.integer;
}

/* Both lists ascend by cell; of a cell in both, the larger value, else that of `hits`, is kept. */
static size_t merge(const npud_tensor *tensor, npud_hit *hits, size_t count, const npud_hit *more,
                    size_t more_count)
{
    npud_hit merged[NPUD_SCAN_BLOCK];
    size_t i = 0, j = 0, n = 0;
    while (i < count || j < more_count) {
        if (j == more_count || (i < count && hits[i].cell < more[j].cell)) {
            merged[n++] = hits[i++];
        } else if (i == count || more[j].cell < hits[i].cell) {
            merged[n++] = more[j++];
        } else {
            merged[n++] = is_larger(tensor, more[j].best, hits[i].best) ? more[j] : hits[i];
            i++;
            j++;
        }
    }
    memcpy(hits, merged, n * sizeof *hits);
    return n;
}

/* Hits among all classes of cells that lie evenly. */
static size_t scan_view(const npud_decoder *d, const npud_level *level, const npud_view *view,
                        int channels, uint32_t first, size_t cells, npud_hit *hits)
{
    if (view->never)
        return 0;
    size_t offset = npud_cell_offset(level, view, first);
    int channel = npud_even_channels(view, 0, channels);
    size_t found = scan_even(d, view, 0, channel, offset, cells, hits);
    while (channel < channels) {
        npud_hit more[NPUD_SCAN_BLOCK];
        int even = npud_even_channels(view, channel, channels);
        size_t more_found = scan_even(d, view, channel, even, offset, cells, more);
        for (size_t i = 0; i < more_found; i++)
            more[i].class_id += (uint32_t)channel;
        found = merge(&d->tensors[view->tensor], hits, found, more, more_found);
        channel += even;
    }
    return found;
}

/* The value of a hit of the class tensor as a real number. */
static float rank_of(const npud_decoder *d, const npud_level *level, npud_value best)
{
    const npud_tensor *tensor = &d->tensors[level->cls.tensor];
    if (is_float(tensor) || level->cls.thresholds)
        return best.real;
    return npud_dequantize(&tensor->quant, 0, best.integer);
}

static size_t scan_classes(const npud_decoder *d, const npud_level *level, uint32_t first,
                           size_t cells, npud_hit *hits)
{
    if (level->cls.thresholds)
        return npud_scan_per_channel(d, level, first, cells, hits);
    return scan_view(d, level, &level->cls, d->num_classes, first, cells, hits);
}

static size_t scan_all(const npud_decoder *d, const npud_level *level, uint64_t *keys)
{
    npud_hit hits[NPUD_SCAN_BLOCK];
    size_t count = 0, cells;
    for (uint32_t first = 0; first < level->cells; first += (uint32_t)cells) {
        cells = even_cells(level, &level->cls, first);
        size_t found = scan_classes(d, level, first, cells, hits);
        for (size_t i = 0; i < found; i++)
            keys[count++] = npud_key(rank_of(d, level, hits[i].best), hits[i].class_id,
                                     level->first_cell + first + hits[i].cell);
    }
    return count;
}

/* The best class of one cell, whatever the threshold; -1 where all are NaN. */
static int best_class(const npud_decoder *d, const npud_level *level, uint32_t cell,
                      npud_value *best)
{
    const npud_view *view = &level->cls;
    const npud_tensor *tensor = &d->tensors[view->tensor];
    size_t offset = npud_cell_offset(level, view, cell);
    int class_id = -1, even;
    if (view->thresholds)
        return npud_best_real(d, level, cell, &best->real);
    for (int channel = 0; channel < d->num_classes; channel += even) {
        npud_value value;
        even = npud_even_channels(view, channel, d->num_classes);
        const void *first = npud_at(tensor, offset + npud_channel_offset(view, (size_t)channel));
        int found = d->kernels->best[tensor->dtype](first, view->channel_stride, even, &value);
        if (found >= 0 && (class_id < 0 || is_larger(tensor, value, *best))) {
            *best = value;
            class_id = channel + found;
        }
    }
    return class_id;
}

/* Channel `channel` of a cell, whose value is known, as a probability. */
static float probability_of(const npud_decoder *d, const npud_level *level, const npud_view *view,
                            uint32_t cell, uint32_t channel, npud_value value)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    if (!d->logits && is_float(tensor))
        return value.real;
    if (!d->logits && !tensor->quant.step)
        return npud_dequantize(&tensor->quant, 0, value.integer);
    if (tensor->sigmoid && npud_itemsize(tensor->dtype) == 1)
        return tensor->sigmoid[(uint8_t)value.integer];
    return npud_view_probability(d, view, npud_cell_offset(level, view, cell), channel);
}

/* The key of a cell whose gate and best class pass; 0 or 1: with an objectness, the product of both
 * must pass too. */
static size_t key_of_cell(const npud_decoder *d, const npud_level *level, uint32_t cell,
                          npud_value gate, const npud_hit *hit, uint64_t *key)
{
    float rank;
    if (level->gate_is_sum) {
        rank = rank_of(d, level, hit->best);
    } else {
        rank = probability_of(d, level, &level->gate, cell, 0, gate) *
               probability_of(d, level, &level->cls, cell, hit->class_id, hit->best);
        if (!(rank >= d->score_floor))
            return 0;
    }
    *key = npud_key(rank, hit->class_id, level->first_cell + cell);
    return 1;
}

/* end2end: a row has one score and one class. */
static size_t key_of_row(const npud_decoder *d, const npud_level *level, uint32_t cell,
                         uint64_t *key)
{
    float score = npud_view_real(d, &level->gate, npud_cell_offset(level, &level->gate, cell), 0);
    float value = npud_view_real(d, &level->cls, npud_cell_offset(level, &level->cls, cell), 0);
    unsigned class_id = NPUD_MAX_CLASSES;
    if (value >= 0.0f && value < (float)NPUD_MAX_CLASSES && value == (float)(int)value)
        class_id = (unsigned)value;
    *key = npud_key(score, class_id, level->first_cell + cell);
    return 1;
}

/* Many cells close together: scan the planes from the first to the last. */
static size_t hits_of_span(const npud_decoder *d, const npud_level *level, uint32_t first,
                           const npud_hit *gated, size_t count, npud_hit *hits)
{
    uint32_t start = gated[0].cell, cells = gated[count - 1].cell + 1 - start;
    size_t found = scan_classes(d, level, first + start, cells, hits);
    for (size_t i = 0; i < found; i++)
        hits[i].cell += start;
    return found;
}

/* Whether that costs less than looking at single cells. */
static int is_dense(const npud_hit *gated, size_t count)
{
    return count * DENSE > gated[count - 1].cell - gated[0].cell;
}

static size_t hits_of_cells(const npud_decoder *d, const npud_level *level, uint32_t first,
                            const npud_hit *gated, size_t count, npud_hit *hits)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        npud_value best;
        int class_id = best_class(d, level, first + gated[i].cell, &best);
        if (class_id >= 0 && rank_of(d, level, best) >= level->cls.least)
            hits[found++] = (npud_hit){gated[i].cell, (uint32_t)class_id, best};
    }
    return found;
}

/* The hits among the classes: of all cells whose gate passes, perhaps of some others too. */
static size_t gated_classes(const npud_decoder *d, const npud_level *level, uint32_t first,
                            size_t cells, const npud_hit *gated, size_t count, npud_hit *hits)
{
    const npud_view *view = &level->cls;
    const npud_tensor *tensor = &d->tensors[view->tensor];
    if (view->cell_stride != 1 || even_cells(level, view, first) < cells)
        return hits_of_cells(d, level, first, gated, count, hits);
    if (is_dense(gated, count))
        return hits_of_span(d, level, first, gated, count, hits);
    if (view->thresholds || npud_even_channels(view, 0, d->num_classes) < d->num_classes)
        return hits_of_cells(d, level, first, gated, count, hits);
    if (view->never)
        return 0;
    size_t offset = npud_cell_offset(level, view, first) + npud_channel_offset(view, 0);
    return d->kernels->scan_listed[tensor->dtype](npud_at(tensor, offset), view->channel_stride,
                                                  d->num_classes, cells, view->threshold, gated,
                                                  count, hits);
}

static size_t keys_of_gated(const npud_decoder *d, const npud_level *level, uint32_t first,
                            size_t cells, const npud_hit *gated, size_t count, uint64_t *keys)
{
    npud_hit hits[NPUD_SCAN_BLOCK];
    size_t hit_count = gated_classes(d, level, first, cells, gated, count, hits), found = 0, j = 0;
    for (size_t i = 0; i < hit_count; i++) {
        while (gated[j].cell < hits[i].cell) /* ends: the last one is no less */
            j++;
        if (gated[j].cell == hits[i].cell)
            found += key_of_cell(d, level, first + hits[i].cell, gated[j].best, &hits[i],
                                 keys + found);
    }
    return found;
}

/* Where there is an objectness, a score or a score sum: only cells are looked at where it passes. */
static size_t scan_gated(const npud_decoder *d, const npud_level *level, uint64_t *keys)
{
    npud_hit hits[NPUD_SCAN_BLOCK];
    size_t count = 0, cells;
    for (uint32_t first = 0; first < level->cells; first += (uint32_t)cells) {
        cells = even_cells(level, &level->gate, first);
        size_t found = scan_view(d, level, &level->gate, 1, first, cells, hits);
        if (d->head == NPUD_END2END)
            for (size_t i = 0; i < found; i++)
                count += key_of_row(d, level, first + hits[i].cell, keys + count);
        else if (found)
            count += keys_of_gated(d, level, first, cells, hits, found, keys + count);
    }
    return count;
}

size_t npud_scan(npud_decoder *d)
{
    size_t count = 0;
    for (int i = 0; i < d->levels_used; i++) {
        const npud_level *level = &d->levels[i];
        uint64_t *keys = d->selector.keys + count;
        count += level->gate.tensor >= 0 ? scan_gated(d, level, keys) : scan_all(d, level, keys);
    }
    return count;
}
