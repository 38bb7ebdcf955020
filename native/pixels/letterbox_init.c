/* What is computed once per geometry. */
#include "letterbox.h"

#include <math.h>
#include <stdlib.h>

/* ---- is it possible ---- */

static int side_is_fine(size_t side) { return side >= 1 && side <= NPUD_MOST_SIDE; }

static int is_possible(const npud_form *f)
{
    int halved = f->source == NPUD_NV12, wide = f->source == NPUD_YUYV, nv12 = f->layout == NPUD_TO_NV12;
    return f->source < NPUD_SOURCES && f->layout < NPUD_LAYOUTS && f->element < NPUD_ELEMENTS &&
           side_is_fine(f->source_width) && side_is_fine(f->source_height) &&
           side_is_fine(f->width) && side_is_fine(f->height) && side_is_fine(f->inner_width) &&
           side_is_fine(f->inner_height) && f->left <= f->width && f->top <= f->height &&
           f->left + f->inner_width <= f->width && f->top + f->inner_height <= f->height &&
           !((halved || wide) && f->source_width % 2) && !(halved && f->source_height % 2) &&
           !(nv12 && (f->width % 2 || f->height % 2 || f->element != NPUD_BYTES));
}

static int is_finite(const npud_form *f)
{
    for (int k = 0; k < 12; k++)
        if (!isfinite(f->matrix[k / 4][k % 4]))
            return 0;
    return 1;
}

/* ---- numbers ---- */

static int16_t fixed(double x, double one)
{
    double scaled = nearbyint(x * one);
    return (int16_t)(scaled < -32767 ? -32767 : scaled > 32767 ? 32767 : scaled);
}

static void fix_matrices(npud_letterbox *box)
{
    const double(*m)[4] = (const double(*)[4])box->form.matrix;
    const double one = 32768.0;
    /* Chroma enters less 128: its share of the constant is taken out, the same for all rows. */
    box->to_bgr = (npud_to_bgr){
        .y = fixed(m[0][0] / 4, one),
        .bu = fixed(m[0][1] / 4, one),
        .gu = fixed(m[1][1] / 4, one),
        .gv = fixed(m[1][2] / 4, one),
        .rv = fixed(m[2][2] / 4, one),
        .bias = fixed(m[0][3] + 128 * m[0][1], 32),
    };
    box->rescales = 0;
    for (int k = 0; k < 3; k++) {
        for (int c = 0; c < 3; c++)
            box->to_yuv.factor[k][c] = fixed(m[k][c], one);
        box->to_yuv.bias[k] = fixed(m[k][3], 128);
        box->factor[k] = fixed(m[k][k] / 2, one);
        box->bias[k] = fixed(m[k][3], 64);
        box->rescales |= m[k][k] != 1.0 || m[k][3] != 0.0;
    }
    box->shift = box->form.element == NPUD_TABLE_8 ? box->form.table[0][0] & 255 : -1;
    for (int c = 0; c < 3 && box->shift >= 0; c++)
        for (int p = 0; p < 256; p++)
            if ((uint8_t)box->form.table[c][p] != (uint8_t)(p + box->shift)) {
                box->shift = -1;
                break;
            }
}

/* ---- planes ---- */

static npud_plane_form whole(const npud_form *f, size_t step, size_t channels)
{
    return (npud_plane_form){
        .from_width = f->source_width,
        .from_height = f->source_height,
        .to_width = f->inner_width,
        .to_height = f->inner_height,
        .pitch = f->source_width * (f->source == NPUD_NV12 ? 1 : step),
        .step = step,
        .channels = channels,
    };
}

/* U, V or both of NV12 and YUYV, at full size or at half the size for NV12. */
static npud_plane_form chroma(const npud_form *f, size_t first, size_t channels)
{
    int nv12 = f->source == NPUD_NV12;
    npud_plane_form form = whole(f, 2, channels);
    form.from_width /= 2;
    form.from_height = nv12 ? f->source_height / 2 : f->source_height;
    form.first_byte = nv12 ? f->source_width * f->source_height : 0;
    form.step = nv12 ? 2 : 4;
    for (size_t c = 0; c < channels; c++)
        form.offsets[c] = nv12 ? first + c : 1 + 2 * (first + c);
    if (f->layout == NPUD_TO_NV12) {
        form.to_width = (f->left + f->inner_width + 1) / 2 - f->left / 2;
        form.to_height = (f->top + f->inner_height + 1) / 2 - f->top / 2;
    }
    return form;
}

static int make_source_planes(npud_letterbox *box)
{
    const npud_form *f = &box->form;
    npud_plane_form forms[3] = {whole(f, f->source == NPUD_YUYV ? 2 : 1, 1), chroma(f, 0, 1),
                                chroma(f, 1, 1)};
    int count = 3;
    if (f->source == NPUD_BGR) {
        forms[0] = whole(f, 3, 3);
        int turned = f->layout != NPUD_TO_NV12 && f->rgb;
        for (size_t c = 0; c < 3; c++)
            forms[0].offsets[c] = turned ? 2 - c : c;
        count = 1;
    } else if (f->layout == NPUD_TO_NV12) {
        forms[1] = chroma(f, 0, 2);
        count = 2;
    }
    for (int i = 0; i < count; i++) {
        box->planes_used = i + 1;
        if (npud_plane_init(&box->planes[i], box->kernels, &forms[i]) < 0)
            return -1;
    }
    return 0;
}

/* ---- rows ---- */

static void fill_pad_rows(npud_letterbox *box)
{
    const npud_form *f = &box->form;
    for (size_t c = 0; c < 3; c++)
        for (size_t x = 0; x < f->width; x++) {
            size_t at = f->layout == NPUD_PIXELS ? 3 * x + c : c * f->width + x;
            uint8_t *to = box->pad_rows + at * box->itemsize;
            float value = (float)f->pad[c] * f->gain[c] + f->offset[c];
            uint16_t entry = f->table[c][f->pad[c]];
            if (f->element == NPUD_FLOATS)
                memcpy(to, &value, sizeof value);
            else if (f->element == NPUD_TABLE_16)
                memcpy(to, &entry, sizeof entry);
            else
                *to = f->element == NPUD_BYTES ? f->pad[c] : (uint8_t)entry;
        }
}

/* A row of luma, one of chroma, and for BGR one of the canvas. */
static void fill_nv12_rows(npud_letterbox *box)
{
    const npud_form *f = &box->form;
    uint8_t *luma = box->pad_rows, *chroma_row = luma + f->width, *canvas = luma + 2 * f->width;
    for (size_t x = 0; x < f->width; x++) {
        luma[x] = f->pad[0];
        chroma_row[x] = f->pad[1 + x % 2];
        memcpy(canvas + 3 * x, f->pad, 3);
    }
    if (f->source != NPUD_BGR)
        return;
    const uint8_t *const rows[2] = {canvas, canvas};
    uint8_t *const lumas[2] = {luma, luma};
    npud_pixels_scalar.to_nv12(&box->to_yuv, rows, f->width, lumas, chroma_row);
    memcpy(box->canvas[0], canvas, 3 * f->width);
    memcpy(box->canvas[1], canvas, 3 * f->width);
}

static int make_rows(npud_letterbox *box)
{
    const size_t width = box->form.width, slack = NPUD_SLACK;
    box->pad_rows = malloc(5 * width * box->itemsize);
    box->mixed = malloc(3 * width + slack);
    int made = box->pad_rows && box->mixed;
    for (int c = 0; c < 3; c++) {
        box->colours[c] = malloc(width + slack);
        box->scratch[c] = malloc((2 * width + slack) * sizeof(int16_t));
        made = made && box->colours[c] && box->scratch[c];
    }
    for (int k = 0; k < 2; k++) {
        box->canvas[k] = malloc(3 * width + slack);
        made = made && box->canvas[k];
    }
    return made ? 0 : -1;
}

int npud_letterbox_init(npud_letterbox *box, const npud_form *form,
                        const npud_pixel_kernels *kernels)
{
    static const size_t sizes[NPUD_ELEMENTS] = {1, 4, 1, 2};
    *box = (npud_letterbox){.form = *form, .kernels = kernels};
    if (!is_possible(form) || !is_finite(form))
        return -2;
    box->itemsize = sizes[form->element];
    size_t area = form->source_width * form->source_height, cells = form->width * form->height;
    box->source_size = form->source == NPUD_BGR    ? 3 * area
                       : form->source == NPUD_YUYV ? 2 * area
                                                   : area / 2 * 3;
    box->target_size = form->layout == NPUD_TO_NV12 ? cells / 2 * 3 : 3 * cells * box->itemsize;
    fix_matrices(box);
    if (make_source_planes(box) < 0 || make_rows(box) < 0)
        return -1;
    if (form->layout == NPUD_TO_NV12)
        fill_nv12_rows(box);
    else
        fill_pad_rows(box);
    return 0;
}

void npud_letterbox_free(npud_letterbox *box)
{
    for (int i = 0; i < box->planes_used; i++)
        npud_plane_free(&box->planes[i]);
    for (int c = 0; c < 3; c++) {
        free(box->colours[c]);
        free(box->scratch[c]);
    }
    free(box->canvas[0]);
    free(box->canvas[1]);
    free(box->mixed);
    free(box->pad_rows);
    *box = (npud_letterbox){0};
}
