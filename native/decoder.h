/* The decoder of one model: how its tensors are read, and the memory for all frames. */
#ifndef NPUD_DECODER_H
#define NPUD_DECODER_H

#include "element.h"

enum { NPUD_MAX_LEVELS = 6, NPUD_MAX_OUTPUTS = 32 };

typedef enum { NPUD_DFL, NPUD_LTRB, NPUD_FLAT, NPUD_END2END, NPUD_HEADS } npud_head;

/* The memory of one output; real value = (stored - zero_point) * scale where it is quantized. */
typedef struct {
    const void *data;
    npud_dtype dtype;
    float scale;
    int32_t zero_point;
} npud_tensor;

/* Where one role lies: element (cell, channel) is offset + cell * cell_stride +
 * channel * channel_stride of output `tensor`; tensor < 0: there is none. */
typedef struct {
    int tensor;
    size_t offset, cell_stride, channel_stride;
} npud_view;

/* One stride of a head; flat and end2end have a single one.  obj: flat's objectness, end2end's
 * score. */
typedef struct {
    int rows, columns, bins;
    float stride;
    uint32_t first_cell, cells;
    npud_view box, cls, obj;
} npud_level;

/* Sigmoid of float32: a table on [-10, 10], or the exact polynomial where steps is 0. */
typedef struct {
    int steps;
    float *table; /* steps + 1 values */
} npud_sigmoid;

int npud_sigmoid_init(npud_sigmoid *sigmoid, int steps); /* 0, or -1 without memory */
void npud_sigmoid_free(npud_sigmoid *sigmoid);
float npud_sigmoid_at(const npud_sigmoid *sigmoid, float x);

/* A decoder: everything known before the first frame, and the memory for all frames. */
typedef struct {
    npud_head head;
    int num_classes, logits, levels_used;
    float threshold;   /* in the domain of the class tensor */
    float score_floor; /* the score threshold; no score is reported below it */
    npud_level levels[NPUD_MAX_LEVELS];
    npud_tensor tensors[NPUD_MAX_OUTPUTS]; /* data set per frame */
    npud_sigmoid sigmoid;
    npud_selector selector;
    const npud_kernels *kernels;
} npud_decoder;

typedef struct {
    float *boxes;       /* (M, 4) */
    float *scores;      /* (M,) */
    int32_t *class_ids; /* (M,) */
} npud_detections;

/* Number of detections of the frame in decoder->tensors; `out` has room for max_detections. */
size_t npud_decode(npud_decoder *decoder, const npud_detections *out);
/* Writes the keys of all candidates into selector.keys; returns their number. */
size_t npud_scan(npud_decoder *decoder);
/* An npud_box_source; context is the npud_decoder. */
void npud_decode_boxes(const void *context, const uint64_t *keys, size_t count, npud_boxes *boxes);

static inline const float *npud_view_f32(const npud_decoder *decoder, const npud_view *view)
{
    return (const float *)decoder->tensors[view->tensor].data + view->offset;
}

#endif
