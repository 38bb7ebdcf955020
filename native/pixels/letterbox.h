/* From a frame to a model's input tensor.  No Python here. */
#ifndef NPUD_LETTERBOX_H
#define NPUD_LETTERBOX_H

#include "pixels.h"

/* BGR (H, W, 3); NV12 (H·3/2, W): luma, then U and V side by side; YUYV (H, W, 2): Y U Y V. */
typedef enum { NPUD_BGR, NPUD_NV12, NPUD_YUYV, NPUD_SOURCES } npud_source;

/* Colours of the tensor: (3, H, W), (H, W, 3), or NV12 (H·3/2, W). */
typedef enum { NPUD_PLANES, NPUD_PIXELS, NPUD_TO_NV12, NPUD_LAYOUTS } npud_layout;

/* Elements: bytes as they are; byte · gain + offset; an entry of a table of 256 per channel. */
typedef enum { NPUD_BYTES, NPUD_FLOATS, NPUD_TABLE_8, NPUD_TABLE_16, NPUD_ELEMENTS } npud_element;

typedef struct {
    npud_source source;
    size_t source_width, source_height; /* even where the chroma is halved */
    npud_layout layout;
    npud_element element;             /* NPUD_BYTES for NV12 */
    int rgb;                          /* order of the channels (not of NV12) */
    size_t width, height;             /* of the tensor; even for NV12 */
    size_t inner_width, inner_height; /* of the picture in it, whose corner is at left, top */
    size_t left, top;
    uint8_t pad[3]; /* in the tensor's order; of BGR → NV12 the canvas's B, G, R */
    /* target = matrix · (source, 1): B, G, R of Y, U, V, or Y, U, V of B, G, R, or Y, U, V of
     * Y, U, V (diagonal; the identity copies).  Not used from BGR to BGR or RGB. */
    double matrix[3][4];
    float gain[3], offset[3]; /* in the tensor's order */
    uint16_t table[3][256];   /* in the tensor's order; bytes in the lower half */
} npud_form;

typedef struct {
    npud_form form;
    const npud_pixel_kernels *kernels;
    size_t source_size, target_size; /* bytes */
    size_t itemsize;
    int planes_used, rescales, shift; /* shift: table[c][p] = p + shift, -1: another table */
    npud_plane planes[3];             /* BGR; or Y, U, V; or Y, UV */
    npud_to_bgr to_bgr;
    npud_to_yuv to_yuv;
    int16_t factor[3], bias[3]; /* Y, U, V where the range changes */
    uint8_t *pad_rows;          /* a row of padding as elements: per plane, or of pixels; luma, chroma */
    uint8_t *canvas[2];         /* rows of BGR, padded */
    uint8_t *colours[3], *mixed;
    int16_t *scratch[3];
} npud_letterbox;

/* -1: no memory, -2: the form contradicts itself; either way to be freed. */
int npud_letterbox_init(npud_letterbox *box, const npud_form *form,
                        const npud_pixel_kernels *kernels);
void npud_letterbox_free(npud_letterbox *box);
/* Reads source_size bytes and writes target_size bytes, aligned to the itemsize. */
void npud_letterbox_run(npud_letterbox *box, const uint8_t *source, uint8_t *target);

#endif
