/* Boxes of candidates, xyxy in pixels of the model's input. */
#include "decoder.h"
#include "exp.h"

enum { SIDES = 4 };

typedef struct {
    const npud_decoder *decoder;
    const npud_level *level;
    uint32_t cell; /* counted in its level */
} candidate;

static candidate candidate_of(const npud_decoder *d, uint64_t key)
{
    uint32_t cell = npud_key_cell(key);
    const npud_level *level = npud_level_of(d, cell);
    return (candidate){d, level, cell - level->first_cell};
}

/* xyxy = ((column, row) + 0.5 ∓ ltrb) · stride */
static void from_distances(const candidate *c, const float *ltrb, npud_boxes *boxes, size_t i)
{
    const npud_level *level = c->level;
    uint32_t row = c->cell / (uint32_t)level->columns;
    float x = (float)(c->cell - row * (uint32_t)level->columns) + 0.5f, y = (float)row + 0.5f;
    boxes->x1[i] = (x - ltrb[0]) * level->stride;
    boxes->y1[i] = (y - ltrb[1]) * level->stride;
    boxes->x2[i] = (x + ltrb[2]) * level->stride;
    boxes->y2[i] = (y + ltrb[3]) * level->stride;
}

static void from_centre(float x, float y, float width, float height, npud_boxes *boxes, size_t i)
{
    float half_width = width * 0.5f, half_height = height * 0.5f;
    boxes->x1[i] = x - half_width;
    boxes->y1[i] = y - half_height;
    boxes->x2[i] = x + half_width;
    boxes->y2[i] = y + half_height;
}

/* centre = (2σ(t) - 0.5 + (column, row)) · stride, size = (2σ(t))² · anchor; box: the four σ(t) */
static void from_anchor(const candidate *c, const float *box, npud_boxes *boxes, size_t i)
{
    const npud_level *level = c->level;
    uint32_t row = c->cell / (uint32_t)level->columns;
    float column = (float)(c->cell - row * (uint32_t)level->columns);
    float width = 2.0f * box[2], height = 2.0f * box[3];
    from_centre((2.0f * box[0] - 0.5f + column) * level->stride,
                (2.0f * box[1] - 0.5f + (float)row) * level->stride,
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
static void from_grid(const candidate *c, const float *t, npud_boxes *boxes, size_t i)
{
    const npud_level *level = c->level;
    uint32_t row = c->cell / (uint32_t)level->columns;
    float column = (float)(c->cell - row * (uint32_t)level->columns);
    from_centre((t[0] + column) * level->stride, (t[1] + (float)row) * level->stride,
                exponential(t[2]) * level->stride, exponential(t[3]) * level->stride, boxes, i);
}

static void from_corners(const float *box, npud_boxes *boxes, size_t i)
{
    boxes->x1[i] = box[0];
    boxes->y1[i] = box[1];
    boxes->x2[i] = box[2];
    boxes->y2[i] = box[3];
}

static void read_box(const candidate *c, float *box)
{
    const npud_view *view = &c->level->box;
    size_t offset = npud_cell_offset(c->level, view, c->cell);
    int through_sigmoid = c->decoder->head == NPUD_ANCHOR;
    for (size_t k = 0; k < SIDES; k++)
        box[k] = through_sigmoid ? npud_view_probability(c->decoder, view, offset, k)
                                 : npud_view_real(c->decoder, view, offset, k);
}

static void decode_one(const candidate *c, npud_boxes *boxes, size_t i)
{
    float box[SIDES];
    read_box(c, box);
    switch (c->decoder->head) {
    case NPUD_LTRB:
        from_distances(c, box, boxes, i);
        break;
    case NPUD_ANCHOR:
        from_anchor(c, box, boxes, i);
        break;
    case NPUD_YOLOX:
        from_grid(c, box, boxes, i);
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

static const void *copy_bins(const candidate *c, size_t offset, void *copy)
{
    const npud_view *view = &c->level->box;
    const npud_tensor *tensor = &c->decoder->tensors[view->tensor];
    size_t size = npud_itemsize(tensor->dtype);
    int channels = SIDES * c->level->bins, even;
    for (int k = 0; k < channels; k += even) {
        even = npud_even_channels(view, k, channels);
        for (int e = 0; e < even; e++)
            memcpy((char *)copy + (size_t)(k + e) * size,
                   npud_at(tensor, offset + npud_channel_offset(view, (size_t)(k + e))), size);
    }
    return copy;
}

static npud_dfl_cell dfl_cell(const candidate *c, void *copy)
{
    const npud_view *view = &c->level->box;
    const npud_tensor *tensor = &c->decoder->tensors[view->tensor];
    size_t offset = npud_cell_offset(c->level, view, c->cell), channels = SIDES * (size_t)c->level->bins;
    int even = (size_t)npud_even_channels(view, 0, (int)channels) == channels;
    npud_dfl_cell cell = {
        .first = even ? npud_at(tensor, offset + npud_channel_offset(view, 0))
                      : copy_bins(c, offset, copy),
        .channel_stride = even ? view->channel_stride : 1,
        .bins = c->level->bins,
        .quant = tensor->quant,
    };
    if (tensor->quant.step) {
        cell.quant.scale += view->first;
        cell.quant.zero_point += view->first;
    }
    return cell;
}

static void decode_dfl(const npud_decoder *d, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    npud_dfl_cell cells[NPUD_BLOCK] = {{0}};
    npud_dtype dtypes[NPUD_BLOCK];
    candidate candidates[NPUD_BLOCK];
    float distances[NPUD_BLOCK][SIDES];
    copies copied;
    size_t end;
    for (size_t i = 0; i < count; i++) {
        candidates[i] = candidate_of(d, keys[i]);
        cells[i] = dfl_cell(&candidates[i], copied.words[i]);
        dtypes[i] = d->tensors[candidates[i].level->box.tensor].dtype;
    }
    for (size_t start = 0; start < count; start = end) { /* nearly always one run of one type */
        for (end = start + 1; end < count && dtypes[end] == dtypes[start]; end++)
            ;
        d->kernels->dfl[dtypes[start]](cells + start, end - start, distances + start);
    }
    for (size_t i = 0; i < count; i++)
        from_distances(&candidates[i], distances[i], boxes, i);
}

void npud_decode_boxes(const void *context, const uint64_t *keys, size_t count, npud_boxes *boxes)
{
    const npud_decoder *d = context;
    if (d->head == NPUD_DFL) {
        decode_dfl(d, keys, count, boxes);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        candidate c = candidate_of(d, keys[i]);
        decode_one(&c, boxes, i);
    }
}
