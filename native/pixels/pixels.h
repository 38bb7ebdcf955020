/* Letterbox, colour conversion and layout in one pass.  No Python here.
 *
 * A source plane is resampled row by row: along a row into numbers of 7 more bits (row kernels), then
 * between two such rows.  All arithmetic is of integers, so that every variant gives the same bytes:
 *
 *   along     h = 128 · s0 + floor((s1 - s0) · a / 16)           a = 0 … 2047 parts of 2048
 *   between   u8  v = ((h0 · (2048 - b) >> 16) + (h1 · b >> 16) + 2) >> 2
 *             16  v = h0 + mul(h1 - h0, 16 · b)                   (where a conversion follows)
 *   mul(x, k) = (x · k + 2^14) >> 15
 *
 * The first is what OpenCV computes for 8 bits (imgproc/resize.cpp: HResizeLinear, VResizeLinear with
 * INTER_RESIZE_COEF_BITS 11), bit for bit.  Scaling down by an odd number has weights of 0 only (picking), by an even one of 1024 only:
 * then h = 64 · (s0 + s1), and where b = 1024 as well, v is the mean of four, (sum + 2) >> 2. */
#ifndef NPUD_PIXELS_H
#define NPUD_PIXELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    NPUD_GROUP = 16,       /* bytes that vectors make at a time */
    NPUD_MOST_WINDOWS = 16, /* vectors of source bytes that a group may be picked from */
    NPUD_SLACK = 64,       /* bytes that kernels may touch behind a row of scratch memory */
    NPUD_MOST_SIDE = 32768,
};

/* A group of NPUD_GROUP bytes: the first of the source row that it may be picked from, and where it
 * begins in the output row. */
typedef struct {
    uint32_t base, start;
} npud_spot;

/* Where the bytes of an output row come from: byte j between row[left[j]] and row[right[j]].
 * The last group is moved back to end with the row.  Each is picked from `windows` vectors, which
 * all lie within the row; 0 windows: no groups. */
typedef struct {
    size_t count;
    int picks;  /* all weights are 0 */
    int halves; /* all weights are 1024 */
    uint32_t *left, *right;
    int16_t *weight; /* of the right one, 0 … 2047 */
    size_t groups, windows;
    npud_spot *spots; /* of the groups, and the last one once more */
    void *packed; /* the groups as the variant wants them, aligned to 32 bytes */
} npud_taps;

/* The rows that an output row lies between; weight of the second, 0 … 2047. */
typedef struct {
    uint32_t first, second;
    int weight;
} npud_rows;

/* From Y, U, V times 128 to B, G, R times 32; sums end with `bias`. */
typedef struct {
    int16_t y, bu, gu, gv, rv, bias;
} npud_to_bgr;

/* From B, G, R times 128 to Y, U, V times 128. */
typedef struct {
    int16_t factor[3][3], bias[3];
} npud_to_yuv;

/* The inner loops; one table per instruction set.  Rows may lie anywhere; `out` is written up to its
 * end and no further, scratch rows up to NPUD_SLACK further. */
typedef struct {
    const char *name;
    /* Size of taps->packed; fills it where `to` is not NULL. */
    size_t (*pack)(const npud_taps *taps, uint8_t *to);
    void (*pick)(const npud_taps *taps, const uint8_t *row, uint8_t *out);
    /* Not where taps->picks. */
    void (*along)(const npud_taps *taps, const uint8_t *row, int16_t *scratch);
    /* The mean of four where taps->halves. */
    void (*mean)(const npud_taps *taps, const uint8_t *first, const uint8_t *second, uint8_t *out);
    void (*between)(const int16_t *first, const int16_t *second, int weight, size_t n, uint8_t *out);
    void (*between16)(const int16_t *first, const int16_t *second, int weight, size_t n,
                      int16_t *scratch);
    /* out[c] = (sum + 16) >> 5 within 0 … 255, c: B, G, R. */
    void (*to_bgr)(const npud_to_bgr *m, const int16_t *const yuv[3], size_t n,
                   uint8_t *const out[3]);
    /* out = (mul(in, factor) + bias + 32) >> 6 within 0 … 255. */
    void (*rescale)(const int16_t *in, int factor, int bias, size_t n, uint8_t *out);
    /* Two rows of n (even) BGR pixels: two of luma, one of chroma from the sums of 2×2. */
    void (*to_nv12)(const npud_to_yuv *m, const uint8_t *const bgr[2], size_t n,
                    uint8_t *const luma[2], uint8_t *chroma);
    /* Pixels of three bytes to three planes, and back. */
    void (*split)(const uint8_t *pixels, size_t n, uint8_t *const out[3]);
    void (*join)(const uint8_t *const planes[3], size_t n, uint8_t *out);
    /* in · gain + offset, two roundings. */
    void (*floats)(const uint8_t *in, float gain, float offset, size_t n, float *out);
} npud_pixel_kernels;

/* dispatch.c: the variants this CPU can run, the fastest first, NULL after the last. */
const npud_pixel_kernels *npud_pixel_kernels_at(size_t index);
/* The variant of that name, NULL where this CPU has none; the fastest for "auto". */
const npud_pixel_kernels *npud_pixel_kernels_named(const char *name);

extern const npud_pixel_kernels npud_pixels_scalar, npud_pixels_avx2, npud_pixels_neon;

/* taps.c */

/* Geometry of OpenCV's INTER_LINEAR along one axis: `to` pairs of neighbours of `from` pixels. */
void npud_axis(size_t from, size_t to, uint32_t *index, int16_t *weight);
/* `channels` bytes for each of `to` pixels, at `offsets` in pixels of `step` bytes of which a row of
 * row_bytes has `from`; -1: no memory. */
int npud_taps_init(npud_taps *taps, const npud_pixel_kernels *kernels, size_t from, size_t to,
                   size_t row_bytes, size_t step, const size_t *offsets, size_t channels);
void npud_taps_free(npud_taps *taps);
/* `to` entries from malloc, or NULL. */
npud_rows *npud_rows_make(size_t from, size_t to);

/* plane.c: a part of the source that is resampled by itself, with the two rows last used. */
typedef struct {
    const npud_pixel_kernels *kernels;
    npud_taps taps;
    npud_rows *rows;
    size_t first_byte, pitch; /* of the plane in the source, of its rows */
    uint8_t *bytes; /* a row as it was picked */
    int16_t *cache[2];
    int64_t cached[2]; /* source row in it; -1: none */
} npud_plane;

typedef struct {
    size_t from_width, from_height, to_width, to_height; /* in pixels of the plane */
    size_t first_byte, pitch, step;
    size_t offsets[3], channels;
} npud_plane_form;

int npud_plane_init(npud_plane *plane, const npud_pixel_kernels *kernels,
                    const npud_plane_form *form);
void npud_plane_free(npud_plane *plane);
/* A new frame: nothing that is cached is its. */
void npud_plane_begin(npud_plane *plane);
void npud_plane_row(npud_plane *plane, const uint8_t *source, size_t y, uint8_t *out);
/* The same times 128: in `scratch` or in the cache, until the next call. */
const int16_t *npud_plane_row16(npud_plane *plane, const uint8_t *source, size_t y,
                                int16_t *scratch);

#endif
