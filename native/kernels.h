/* The kernels that each instruction set writes anew, and the ordering and NMS that use them.
 * No Python here.
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
    NPUD_MAX_BINS = 64,
    NPUD_MAX_CLASSES = 4095,  /* class 4095 marks an end2end row whose class is none */
    NPUD_MAX_CELLS = 1 << 20, /* 12 + 20 bits fill the lower half of a key */
    NPUD_LANES = 8,           /* kept boxes lie in chunks of this many */
    NPUD_BLOCK = 32,          /* candidates decoded at a time */
    NPUD_SCAN_BLOCK = 512,    /* cells scanned at a time */
};

typedef enum { NPUD_NMS_CLASS, NPUD_NMS_AGNOSTIC, NPUD_NMS_NONE, NPUD_NMS_MODES } npud_nms_mode;

/* Types of stored elements; each is aligned to its own size and no more. */
typedef enum {
    NPUD_FLOAT32,
    NPUD_FLOAT16,
    NPUD_INT8,
    NPUD_UINT8,
    NPUD_INT16,
    NPUD_INT32,
    NPUD_DTYPES
} npud_dtype;

/* A stored value: `real` of float32 and float16, `integer` of the others (not dequantized). */
typedef union {
    float real;
    int32_t integer;
} npud_value;

/* A cell whose largest class value reaches the threshold. */
typedef struct {
    uint32_t cell;     /* counted from the first cell of the call */
    uint32_t class_id; /* the lowest of those with the largest value */
    npud_value best;   /* -0 and 0 are equal: either may stand here */
} npud_hit;

/* The cells whose largest of `channels` values is ≥ threshold, ascending; NaN never counts.
 * cells ≤ NPUD_SCAN_BLOCK, channels ≥ 1, `hits` has room for all cells; returns the number of hits.
 * The threshold is a value of the type (of float16: a float that is exactly a half, or ±Inf).
 * All strides are in elements.  Nothing outside of the named elements is read. */
typedef size_t (*npud_scan_kernel)(const void *first, size_t stride, int channels, size_t cells,
                                   npud_value threshold, npud_hit *hits);

/* The same for the cells of `listed` only, which ascend; channels lie plane by plane, and `cells` is
 * how many can be read from `first` on. */
typedef size_t (*npud_listed_kernel)(const void *first, size_t stride, int channels, size_t cells,
                                     npud_value threshold, const npud_hit *listed, size_t count,
                                     npud_hit *hits);

/* The lowest class with the largest of values[c * stride], c < channels, and that value; NaN never
 * counts; -1 where all are NaN. */
typedef int (*npud_best_kernel)(const void *values, size_t stride, int channels, npud_value *best);

/* real = (float)(stored - zero_point) * scale; of channel c: scale[c * step], zero_point[c * step].
 * exp (int8 and uint8 with step 0, else NULL): exp[d] = e^(-d * scale), d = 0 … 255. */
typedef struct {
    const float *scale;
    const int32_t *zero_point;
    size_t step; /* 0: one for all channels; 1: one per channel */
    const float *exp;
} npud_quant;

/* The channels of one candidate's box: bins of left, top, right, bottom, each `bins` values. */
typedef struct {
    const void *first;
    size_t channel_stride;
    int bins;
    int differences_fit; /* stored - zero point cannot overflow 32 bits in any channel */
    npud_quant quant;    /* of integers; channel 0 is *first */
} npud_dfl_cell;

/* distances[i] = the four expected bins Σ b·e_b / Σ e_b, both sums in ascending order of b, with
 *   e_b = quant.exp[max q - q_b]             where there is an exp table (q: stored)
 *   e_b = npud_exp_f32(x_b - max x)          else (x: real values in float32)
 * A NaN among the x gives NaN. */
typedef void (*npud_dfl_kernel)(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);

/* Up to NPUD_BLOCK boxes, xyxy in pixels; select.c fills in the area. */
typedef struct {
    float x1[NPUD_BLOCK], y1[NPUD_BLOCK], x2[NPUD_BLOCK], y2[NPUD_BLOCK], area[NPUD_BLOCK];
} npud_boxes;

typedef struct {
    float x1, y1, x2, y2, area;
} npud_box;

/* Kept boxes, a vector of each coordinate together; unused lanes are all 0. */
typedef struct {
    float x1[NPUD_LANES], y1[NPUD_LANES], x2[NPUD_LANES], y2[NPUD_LANES], area[NPUD_LANES];
} npud_chunk;

typedef struct {
    uint32_t next, count; /* count: boxes in the chunk */
} npud_link;

/* Lists of boxes are chains of chunks, the newest first; chunk 0 ends a chain.  The links lie apart,
 * dense, because walking a chain waits for them. */
typedef struct {
    npud_chunk *chunks; /* aligned to 64 bytes */
    npud_link *links;
    uint32_t used;
} npud_pool;

/* The inner loops; one table per instruction set, chosen once by npud_kernels_best(). */
typedef struct {
    const char *name;
    /* Channels lie plane by plane: value (cell, channel) is first[channel * stride + cell].  Also
     * used with one channel: the objectness or score sum of each cell. */
    npud_scan_kernel scan_planes[NPUD_DTYPES];
    /* Cells lie row by row: value (cell, channel) is first[cell * stride + channel].  Also used
     * with one channel and a stride of many. */
    npud_scan_kernel scan_rows[NPUD_DTYPES];
    npud_listed_kernel scan_listed[NPUD_DTYPES];
    npud_best_kernel best[NPUD_DTYPES];
    npud_dfl_kernel dfl[NPUD_DTYPES];
    /* Whether the IoU of boxes[at] with any box of the chains that begin at `heads` is > threshold:
     * inter > threshold * union in float32, inter = width * height, union = (area + kept area) -
     * inter.  All areas are finite and > 0. */
    int (*overlaps)(const npud_pool *pool, const uint32_t *heads, size_t count,
                    const npud_boxes *boxes, size_t at, float threshold);
} npud_kernels;

/* dispatch.c: the variants this CPU can run, the fastest first, NULL after the last. */
const npud_kernels *npud_kernels_at(size_t index);
/* The variant of that name, NULL where this CPU has none; the fastest for "auto". */
const npud_kernels *npud_kernels_named(const char *name);
const npud_kernels *npud_kernels_best(void);

/* The tables, one per instruction set; those of other CPUs are not compiled in. */
extern const npud_kernels npud_kernels_scalar, npud_kernels_avx2, npud_kernels_neon;

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

/* The kept boxes of one class: a chain, and a grid of chains where there are many (grid.h). */
typedef struct {
    uint32_t head, kept, grid; /* grid 0: none */
} npud_list;

typedef struct npud_grid npud_grid;

/* Greedy NMS in the order of the keys. */
typedef struct {
    npud_nms_mode mode;
    float iou_threshold;
    size_t max_detections, capacity, classes;
    const npud_kernels *kernels;
    void *memory;           /* holds all that follows */
    uint64_t *keys, *spare; /* capacity each */
    npud_pool pool;
    npud_list *lists; /* one per class */
    npud_grid *grids;
    uint32_t grids_used, grids_most;
    uint64_t nonfinite; /* dropped candidates, counted up */
} npud_selector;

int npud_selector_init(npud_selector *selector, size_t capacity, size_t classes);
void npud_selector_free(npud_selector *selector);
/* Sorts selector->keys[0..count), calls keep(target, key, box) for each survivor in order. */
typedef void (*npud_keep)(void *target, size_t index, uint64_t key, const npud_box *box);
size_t npud_select(npud_selector *selector, size_t count, npud_box_source boxes,
                   const void *context, npud_keep keep, void *target);

#endif
