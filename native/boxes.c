/* Boxes of candidates, xyxy in pixels of the model's input. */
#include "decoder.h"
#include "exp.h"

enum { SIDES = 4 };

/* Where a candidate lies: in its level, and in the output of its box. */
typedef struct {
    const npud_level *level;
    float column, row;
    size_t offset;
} place;

static inline place place_of(const npud_decoder *d, uint64_t key)
{
    uint32_t cell = npud_key_cell(key);
    const npud_level *level = npud_level_of(d, cell);
    const npud_view *view = &level->box;
    uint32_t local = cell - level->first_cell, row = local / (uint32_t)level->columns;
    uint32_t column = local - row * (uint32_t)level->columns;
    size_t offset = view->offset + row * view->row_stride + column * view->cell_stride;
    return (place){level, (float)column, (float)row, offset};
}

/* xyxy = ((column, row) + 0.5 ∓ ltrb) · stride */
static inline void from_distances(const place *p, const float *ltrb, npud_boxes *boxes, size_t i)
{
    float x = p->column + 0.5f, y = p->row + 0.5f, stride = p->level->stride;
    boxes->x1[i] = (x - ltrb[0]) * stride;
    boxes->y1[i] = (y - ltrb[1]) * stride;
    boxes->x2[i] = (x + ltrb[2]) * stride;
    boxes->y2[i] = (y + ltrb[3]) * stride;
}

static inline void from_centre(float x, float y, float width, float height, npud_boxes *boxes,
                               size_t i)
{
    float half_width = width * 0.5f, half_height = height * 0.5f;
    boxes->x1[i] = x - half_width;
    boxes->y1[i] = y - half_height;
    boxes->x2[i] = x + half_width;
    boxes->y2[i] = y + half_height;
}

/* centre = (2σ(t) - 0.5 + (column, row)) · stride, size = (2σ(t))² · anchor; box: the four σ(t) */
static inline void from_anchor(const place *p, const float *box, npud_boxes *boxes, size_t i)
{
    const npud_level *level = p->level;
    float width = 2.0f * box[2], height = 2.0f * box[3];
    from_centre((2.0f * box[0] - 0.5f + p->column) * level->stride,
                (2.0f * box[1] - 0.5f + p->row) * level->stride,
                width * width * level->anchor_width, height * height * level->anchor_height, boxes,
                i);
}

/* e^t, infinite from 89 on */
static float exponential(float t)
{
    if (t != t)
        return t;
    return (float)npud_exp_double(t > 100.0f ? 100.0 : t < -100.0f ? -100.0 : (double)t);
}

/* centre = (t + (column, row)) · stride, size = e^t · stride */
static void from_grid(const place *p, const float *t, npud_boxes *boxes, size_t i)
{
    float stride = p->level->stride;
    from_centre((t[0] + p->column) * stride, (t[1] + p->row) * stride, exponential(t[2]) * stride,
                exponential(t[3]) * stride, boxes, i);
}

static inline void from_corners(const float *box, npud_boxes *boxes, size_t i)
{
    boxes->x1[i] = box[0];
    boxes->y1[i] = box[1];
    boxes->x2[i] = box[2];
    boxes->y2[i] = box[3];
}

static inline void decode_one(const npud_decoder *d, uint64_t key, npud_boxes *boxes, size_t i)
{
    float box[SIDES];
    place p = place_of(d, key);
    if (d->head == NPUD_ANCHOR)
        npud_view_probabilities(d, &p.level->box, p.offset, SIDES, box);
    else
        npud_view_reals(d, &p.level->box, p.offset, SIDES, box);
    switch (d->head) {
    case NPUD_LTRB:
        from_distances(&p, box, boxes, i);
        break;
    case NPUD_ANCHOR:
        from_anchor(&p, box, boxes, i);
        break;
    case NPUD_YOLOX:
        from_grid(&p, box, boxes, i);
        break;
    case NPUD_FLAT:
        from_centre(box[0], box[1], box[2], box[3], boxes, i);
        break;
    default:
        from_corners(box, boxes, i);
    }
}

/* The bins of candidates whose channels do not lie evenly, side by side. */
typedef struct {
    uint32_t words[NPUD_BLOCK][SIDES * NPUD_MAX_BINS]; /* aligned for every type */
} copies;

static const void *copy_bins(const npud_decoder *d, const place *p, void *copy)
{
    const npud_view *view = &p->level->box;
    const npud_tensor *tensor = &d->tensors[view->tensor];
    size_t size = npud_itemsize(tensor->dtype), channels = SIDES * (size_t)p->level->bins;
    for (size_t k = 0; k < channels; k++)
        memcpy((char *)copy + k * size,
               npud_at(tensor, p->offset + npud_channel_offset(view, k)), size);
    return copy;
}

static void decode_dfl(const npud_decoder *d, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    npud_dfl_cell cells[NPUD_BLOCK];
    npud_dtype dtypes[NPUD_BLOCK];
    place places[NPUD_BLOCK];
    float distances[NPUD_BLOCK][SIDES];
    copies copied;
    size_t end;
    cells[0] = d->levels[0].dfl;
    for (size_t i = 0; i < count; i++) {
        const npud_level *level = (places[i] = place_of(d, keys[i])).level;
        const npud_tensor *tensor = &d->tensors[level->box.tensor];
        cells[i] = level->dfl;
        cells[i].first = level->box_is_even ? npud_at(tensor, places[i].offset + level->box_first)
                                            : copy_bins(d, &places[i], copied.words[i]);
        dtypes[i] = tensor->dtype;
    }
    for (size_t start = 0; start < count; start = end) { /* nearly always one run of one type */
        for (end = start + 1; end < count && dtypes[end] == dtypes[start]; end++)
            ;
        d->kernels->dfl[dtypes[start]](cells + start, end - start, distances + start);
    }
    for (size_t i = 0; i < count; i++)
        from_distances(&places[i], distances[i], boxes, i);
}

void npud_decode_boxes(const void *context, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    const npud_decoder *d = context;
    if (d->head == NPUD_DFL) {
        decode_dfl(d, keys, count, boxes);
        return;
    }
    for (size_t i = 0; i < count; i++)
        decode_one(d, keys[i], boxes, i);
}
