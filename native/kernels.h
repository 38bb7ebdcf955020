/* Post-processing kernels: what they share.  No Python here; native/module.c is the only binding.
 *
 * What is computed is defined in postprocess/reference.py.  All float arithmetic is single
 * operations in the written order (build with -ffp-contract=off), so that every variant of a kernel
 * returns the same bytes.
 *
 * One frame: scan.c finds the candidates and writes a sort key for each, sort.c orders the keys,
 * select.c walks them, lets boxes.c decode a block at a time and keeps what NMS leaves. */
#ifndef NPUD_KERNELS_H
#define NPUD_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    NPUD_MAX_LEVELS = 6,
    NPUD_MAX_OUTPUTS = 32,
    NPUD_MAX_BINS = 64,
    NPUD_MAX_CLASSES = 4095,  /* class 4095 marks an end2end row whose class is none */
    NPUD_MAX_CELLS = 1 << 20, /* 12 + 20 bits fill the lower half of a key */
    NPUD_LANES = 8,           /* kept boxes are padded to whole vectors of this many */
    NPUD_BLOCK = 32,          /* candidates decoded at a time */
    NPUD_SCAN_BLOCK = 256,    /* cells scanned at a time */
};

typedef enum { NPUD_DFL, NPUD_LTRB, NPUD_FLAT, NPUD_END2END, NPUD_HEADS } npud_head;
typedef enum { NPUD_NMS_CLASS, NPUD_NMS_AGNOSTIC, NPUD_NMS_NONE, NPUD_NMS_MODES } npud_nms_mode;
typedef enum { NPUD_FLOAT32 } npud_dtype;

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

/* Up to NPUD_BLOCK boxes, xyxy in pixels. */
typedef struct {
    float x1[NPUD_BLOCK], y1[NPUD_BLOCK], x2[NPUD_BLOCK], y2[NPUD_BLOCK];
} npud_boxes;

typedef struct {
    float x1, y1, x2, y2, area;
} npud_box;

/* A list of boxes as arrays, readable up to the next multiple of NPUD_LANES. */
typedef struct {
    const float *x1, *y1, *x2, *y2, *area;
} npud_box_list;

/* The channels of one candidate's box: bins of left, top, right, bottom. */
typedef struct {
    const float *first;
    size_t channel_stride;
    int bins;
} npud_dfl_cell;

/* A cell whose best class value reaches the threshold. */
typedef struct {
    uint32_t cell; /* within the block */
    float best;
} npud_hit;

/* The inner loops; one table per instruction set, chosen once by npud_kernels_best(). */
typedef struct {
    const char *name;
    /* The cells whose largest of planes[c * stride + i], c < channels, is ≥ threshold, ascending;
     * NaN never counts.  cells ≤ NPUD_SCAN_BLOCK; returns the number of hits. */
    size_t (*scan_planes_f32)(const float *planes, size_t stride, int channels, size_t cells,
                              float threshold, npud_hit *hits);
    /* The same for cells that lie row by row: rows[i * stride + c]. */
    size_t (*scan_rows_f32)(const float *rows, size_t stride, int channels, size_t cells,
                            float threshold, npud_hit *hits);
    /* distances[i] = the four expected bins Σ b·e_b / Σ e_b, e_b = exp(x_b - max x), both sums in
     * ascending order of b. */
    void (*dfl_f32)(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
    /* Whether IoU(box, any of the first `count`) > threshold. */
    int (*overlaps)(const npud_box_list *kept, size_t count, const npud_box *box, float threshold);
} npud_kernels;

extern const npud_kernels npud_kernels_portable;
const npud_kernels *npud_kernels_best(void);

/* Sigmoid of float32: a table on [-10, 10], or the exact polynomial where steps is 0. */
typedef struct {
    int steps;
    float *table; /* steps + 1 values */
} npud_sigmoid;

int npud_sigmoid_init(npud_sigmoid *sigmoid, int steps); /* 0, or -1 without memory */
void npud_sigmoid_free(npud_sigmoid *sigmoid);
float npud_sigmoid_at(const npud_sigmoid *sigmoid, float x);

/* Candidates as 64-bit keys whose ascending order is: rank descending, class, cell ascending. */
static inline uint64_t npud_key(float rank, unsigned class_id, uint32_t cell)
{
    float positive_zero = rank + 0.0f; /* -0 and 0 are equal */
    uint32_t bits;
    memcpy(&bits, &positive_zero, sizeof bits);
    bits ^= (bits >> 31) ? 0u : 0x7fffffffu;
    return (uint64_t)bits << 32 | (uint64_t)class_id << 20 | cell;
}

static inline float npud_key_rank(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float rank;
    bits ^= (bits >> 31) ? 0u : 0x7fffffffu;
    memcpy(&rank, &bits, sizeof rank);
    return rank;
}

static inline unsigned npud_key_class(uint64_t key) { return (unsigned)(key >> 20) & 0xfffu; }
static inline uint32_t npud_key_cell(uint64_t key) { return (uint32_t)key & 0xfffffu; }

/* Sort ascending; spare has room for as many keys. */
void npud_sort(uint64_t *keys, uint64_t *spare, size_t count);

/* Decodes the boxes of up to NPUD_BLOCK candidates. */
typedef void (*npud_box_source)(const void *context, const uint64_t *keys, size_t count,
                                npud_boxes *boxes);

/* Greedy NMS in the order of the keys. */
typedef struct {
    npud_nms_mode mode;
    float iou_threshold;
    size_t max_detections, capacity, classes;
    const npud_kernels *kernels;
    uint64_t *keys, *spare;                  /* capacity each */
    uint32_t *start, *kept;                  /* per class: first slot, number of boxes kept */
    float *x1, *y1, *x2, *y2, *area;         /* kept boxes, every class from a whole vector on */
    uint64_t nonfinite;                      /* dropped candidates, counted up */
} npud_selector;

int npud_selector_init(npud_selector *selector, size_t capacity, size_t classes);
void npud_selector_free(npud_selector *selector);
/* Sorts selector->keys[0..count), calls keep(target, key, box) for each survivor in order. */
typedef void (*npud_keep)(void *target, size_t index, uint64_t key, const npud_box *box);
size_t npud_select(npud_selector *selector, size_t count, npud_box_source boxes,
                   const void *context, npud_keep keep, void *target);

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
