/* The decoder of one model: how its tensors are read, and the memory for all frames. */
#ifndef NPUD_DECODER_H
#define NPUD_DECODER_H

#include "element.h"

enum { NPUD_MAX_LEVELS = 32, NPUD_MAX_OUTPUTS = 32 };

typedef enum {
    NPUD_DFL,
    NPUD_LTRB,
    NPUD_ANCHOR,
    NPUD_YOLOX,
    NPUD_FLAT,
    NPUD_BOXES_SCORES,
    NPUD_END2END,
    NPUD_HEADS
} npud_head;

/* One output.  Of integers, `quant` points at `scales` and `zero_points`. */
typedef struct {
    const void *data; /* set per frame */
    npud_dtype dtype;
    npud_quant quant;
    size_t channels; /* entries of scales and zero_points: 1, or one per channel */
    float *scales, *exp;
    int32_t *zero_points;
    float *sigmoid; /* of every stored value, by its bits; NULL: computed from the real value */
} npud_tensor;

/* Where one role lies in output `tensor` (< 0: there is none).  Channel c of the role is channel
 * k = first + c of the tensor; element (row, column, k) is
 *   offset + row * row_stride + column * cell_stride + k * channel_stride
 * or, with blocks of `block` channels (NC1HWC2), k % block instead of k and k / block *
 * block_stride on top.  All in elements. */
typedef struct {
    int tensor;
    size_t offset, row_stride, cell_stride, channel_stride, first, block, block_stride;
    float least;          /* the least real value that passes */
    npud_value threshold; /* the least stored value that passes */
    int never;            /* no stored value passes */
    int32_t *thresholds;  /* one per channel where the quantization is per channel, else NULL */
} npud_view;

/* One stride of a head (of `anchor`: one anchor of one stride); flat heads have a single one.
 * gate: the objectness, the score of end2end rows, or a score sum. */
typedef struct {
    int rows, columns, bins, gate_is_sum;
    float stride, anchor_width, anchor_height;
    uint32_t first_cell, cells;
    npud_view box, cls, gate;
    int box_is_even;     /* all channels of the box lie evenly … */
    size_t box_first;    /* … from this offset on */
    npud_dfl_cell dfl;   /* all of it but `first` */
} npud_level;

typedef enum { NPUD_LINEAR, NPUD_NEAREST, NPUD_EXACT, NPUD_SIGMOIDS } npud_sigmoid_mode;

/* Sigmoid of real numbers: a table on [-range, range], or the polynomial (no table). */
typedef struct {
    npud_sigmoid_mode mode;
    int steps;
    float range;
    double steps_per_unit;
    float *table; /* steps + 1 values */
} npud_sigmoid;

int npud_sigmoid_init(npud_sigmoid *sigmoid); /* mode, steps, range are set; -1 without memory */
void npud_sigmoid_free(npud_sigmoid *sigmoid);
float npud_sigmoid_at(const npud_sigmoid *sigmoid, float x);
float npud_sigmoid_exact(float x); /* the polynomial, whatever the mode */
/* Entries of a table of all stored values of a type; 0 where there are too many. */
size_t npud_sigmoid_entries(npud_dtype dtype);
/* table[bits of stored] = σ(real value), rounded once. */
void npud_sigmoid_fill(npud_dtype dtype, const npud_quant *quant, float *table);
double npud_exp_double(double x); /* for |x| ≤ 104 */

/* Memory for all labels of the cells kept; `keys` is NULL where each cell gives its best label. */
typedef struct {
    size_t most;
    npud_box *boxes;    /* of the cells kept, in their order */
    uint32_t *cells;    /* their numbers */
    uint32_t *ordinals; /* where among them a cell is; only of those kept */
    float *values;      /* classes of one cell */
    uint64_t *keys, *spare;
} npud_labels;

int npud_labels_init(npud_labels *labels, size_t cells, size_t most, size_t classes);
void npud_labels_free(npud_labels *labels);

/* Everything known before the first frame, and the memory for all frames. */
typedef struct {
    npud_head head;
    int num_classes, logits, tensors_used, levels_used;
    float threshold;   /* the score threshold in the domain of the class tensor */
    float score_floor; /* the score threshold; no score is reported below it */
    npud_level levels[NPUD_MAX_LEVELS];
    npud_tensor tensors[NPUD_MAX_OUTPUTS];
    npud_sigmoid sigmoid;
    npud_selector selector;
    int multi_label;
    npud_labels labels;
    const npud_kernels *kernels;
    uint64_t contradictions; /* frames with a probability that cannot be one */
} npud_decoder;

typedef struct {
    float *boxes;       /* (M, 4) */
    float *scores;      /* (M,) */
    int32_t *class_ids; /* (M,) */
} npud_detections;

void npud_labels_keep(npud_labels *labels, size_t index, uint64_t key, const npud_box *box);
/* Writes the keys of the best pairs into labels.keys, in order; returns their number. */
size_t npud_labels_pairs(npud_decoder *decoder, size_t kept);

/* Makes tables and thresholds of a decoder whose other fields are set; -1 without memory. */
int npud_decoder_init(npud_decoder *decoder);
void npud_decoder_free(npud_decoder *decoder);
/* Number of detections of the frame in decoder->tensors; `out` has room for max_detections. */
size_t npud_decode(npud_decoder *decoder, const npud_detections *out);
/* Writes the keys of all candidates into selector.keys; returns their number. */
size_t npud_scan(npud_decoder *decoder);
/* scan_planes and scan_rows for class tensors with a scale per channel: hits with real values. */
size_t npud_scan_per_channel(const npud_decoder *decoder, const npud_level *level, uint32_t first,
                             size_t cells, npud_hit *hits);
/* The class with the largest real value of a cell, lowest first, whatever the quantization. */
int npud_best_real(const npud_decoder *decoder, const npud_level *level, uint32_t cell, float *best);
/* An npud_box_source; context is the npud_decoder. */
void npud_decode_boxes(const void *context, const uint64_t *keys, size_t count, npud_boxes *boxes);

/* The threshold of real values: of integers a trifle lower, as scale and product are rounded. */
float npud_least_real(npud_dtype dtype, float threshold);
/* The least stored value whose real value is ≥ `least`; *never where there is none. */
npud_value npud_stored_threshold(npud_dtype dtype, const npud_quant *quant, size_t channel,
                                 float least, int *never);

static inline size_t npud_channel_offset(const npud_view *view, size_t channel)
{
    size_t k = view->first + channel;
    if (!view->block)
        return k * view->channel_stride;
    return k / view->block * view->block_stride + k % view->block * view->channel_stride;
}

/* The element of a cell (counted in its level) before any channel. */
static inline size_t npud_cell_offset(const npud_level *level, const npud_view *view, uint32_t cell)
{
    uint32_t row = cell / (uint32_t)level->columns, column = cell - row * (uint32_t)level->columns;
    return view->offset + row * view->row_stride + column * view->cell_stride;
}

/* Channels from `channel` on that lie evenly, at most `channels` - channel. */
static inline int npud_even_channels(const npud_view *view, int channel, int channels)
{
    if (!view->block)
        return channels - channel;
    size_t left = view->block - (view->first + (size_t)channel) % view->block;
    return left < (size_t)(channels - channel) ? (int)left : channels - channel;
}

static inline const void *npud_at(const npud_tensor *tensor, size_t element)
{
    return (const char *)tensor->data + element * npud_itemsize(tensor->dtype);
}

static inline float npud_view_real(const npud_decoder *d, const npud_view *view, size_t cell_offset,
                                   size_t channel)
{
    const npud_tensor *tensor = &d->tensors[view->tensor];
    return npud_real(tensor->dtype, &tensor->quant, tensor->data,
                     cell_offset + npud_channel_offset(view, channel), view->first + channel);
}

/* Channels 0 … count - 1 of a cell as real values, and these through σ where they are logits: from a
 * table of all stored values or the polynomial, since steps of a table would show in pixels. */
void npud_view_reals(const npud_decoder *decoder, const npud_view *view, size_t cell_offset,
                     size_t count, float *values);
void npud_view_probabilities(const npud_decoder *decoder, const npud_view *view, size_t cell_offset,
                             size_t count, float *values);
/* One of them. */
float npud_view_probability(const npud_decoder *decoder, const npud_view *view, size_t cell_offset,
                            size_t channel);

static inline const npud_level *npud_level_of(const npud_decoder *d, uint32_t cell)
{
    const npud_level *level = d->levels;
    while (cell >= level->first_cell + level->cells)
        level++;
    return level;
}

#endif
