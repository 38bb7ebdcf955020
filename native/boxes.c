/* Boxes of candidates, xyxy in pixels of the model's input. */
#include "decoder.h"

static const npud_level *level_of(const npud_decoder *d, uint32_t cell)
{
    const npud_level *level = d->levels;
    while (cell >= level->first_cell + level->cells)
        level++;
    return level;
}

/* xyxy = ((column, row) + 0.5 ∓ ltrb) · stride */
static void from_distances(const npud_level *level, uint32_t cell, const float *ltrb, size_t step,
                           npud_boxes *boxes, size_t i)
{
    uint32_t local = cell - level->first_cell, row = local / (uint32_t)level->columns;
    float x = (float)(local - row * (uint32_t)level->columns) + 0.5f, y = (float)row + 0.5f;
    boxes->x1[i] = (x - ltrb[0]) * level->stride;
    boxes->y1[i] = (y - ltrb[step]) * level->stride;
    boxes->x2[i] = (x + ltrb[2 * step]) * level->stride;
    boxes->y2[i] = (y + ltrb[3 * step]) * level->stride;
}

/* centre and size, or the corners as they are */
static void from_pixels(npud_head head, const float *box, size_t step, npud_boxes *boxes, size_t i)
{
    float a = box[0], b = box[step], c = box[2 * step], d = box[3 * step];
    if (head == NPUD_END2END) {
        boxes->x1[i] = a;
        boxes->y1[i] = b;
        boxes->x2[i] = c;
        boxes->y2[i] = d;
        return;
    }
    float half_width = c * 0.5f, half_height = d * 0.5f;
    boxes->x1[i] = a - half_width;
    boxes->y1[i] = b - half_height;
    boxes->x2[i] = a + half_width;
    boxes->y2[i] = b + half_height;
}

static void decode_dfl(const npud_decoder *d, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    npud_dfl_cell cells[NPUD_BLOCK] = {{0}};
    const npud_level *levels[NPUD_BLOCK];
    float distances[NPUD_BLOCK][4];
    for (size_t i = 0; i < count; i++) {
        uint32_t cell = npud_key_cell(keys[i]);
        const npud_level *level = levels[i] = level_of(d, cell);
        size_t local = cell - level->first_cell;
        cells[i] = (npud_dfl_cell){
            .first = npud_view_f32(d, &level->box) + local * level->box.cell_stride,
            .channel_stride = level->box.channel_stride,
            .bins = level->bins,
        };
    }
    d->kernels->dfl[NPUD_FLOAT32](cells, count, distances);
    for (size_t i = 0; i < count; i++)
        from_distances(levels[i], npud_key_cell(keys[i]), distances[i], 1, boxes, i);
}

void npud_decode_boxes(const void *context, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    const npud_decoder *d = context;
    if (d->head == NPUD_DFL) {
        decode_dfl(d, keys, count, boxes);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t cell = npud_key_cell(keys[i]);
        const npud_level *level = level_of(d, cell);
        size_t local = cell - level->first_cell;
        const float *box = npud_view_f32(d, &level->box) + local * level->box.cell_stride;
        if (d->head == NPUD_LTRB)
            from_distances(level, cell, box, level->box.channel_stride, boxes, i);
        else
            from_pixels(d->head, box, level->box.channel_stride, boxes, i);
    }
}
