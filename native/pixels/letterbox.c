/* One pass over the rows of the tensor. */
#include "letterbox.h"

static inline uint8_t *plus(uint8_t *p, size_t bytes) { return p + bytes; }

/* ---- elements ---- */

static void look_up_8(const uint16_t *table, const uint8_t *in, size_t n, size_t step, uint8_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[step * j] = (uint8_t)table[in[step * j]];
}

static void look_up_16(const uint16_t *table, const uint8_t *in, size_t n, size_t step,
                       uint16_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[step * j] = table[in[step * j]];
}

/* n bytes of channel c, `step` apart, as elements of the tensor. */
static void convert(const npud_letterbox *box, int c, const uint8_t *in, size_t n, size_t step,
                    uint8_t *out)
{
    const npud_form *f = &box->form;
    if (f->element == NPUD_TABLE_8) {
        look_up_8(f->table[c], in, n, step, out);
    } else if (f->element == NPUD_TABLE_16) {
        look_up_16(f->table[c], in, n, step, (uint16_t *)(void *)out);
    } else if (step == 1) {
        box->kernels->floats(in, f->gain[c], f->offset[c], n, (float *)(void *)out);
    } else {
        float *to = (float *)(void *)out;
        for (size_t j = 0; j < n; j++)
            to[step * j] = (float)in[step * j] * f->gain[c] + f->offset[c];
    }
}

static void shift_bytes(uint8_t *bytes, size_t n, int shift)
{
    for (size_t j = 0; j < n; j++)
        bytes[j] = (uint8_t)(bytes[j] + shift);
}

/* ---- RGB and BGR ---- */

/* The colours of inner row y, as planes in the tensor's order. */
static void make_planes(npud_letterbox *box, const uint8_t *source, size_t y, uint8_t *const out[3])
{
    const size_t n = box->form.inner_width;
    if (box->form.source == NPUD_BGR) {
        npud_plane_row(&box->planes[0], source, y, box->mixed);
        box->kernels->split(box->mixed, n, out);
        return;
    }
    const int16_t *yuv[3];
    for (int k = 0; k < 3; k++)
        yuv[k] = npud_plane_row16(&box->planes[k], source, y, box->scratch[k]);
    uint8_t *const bgr[3] = {out[box->form.rgb ? 2 : 0], out[1], out[box->form.rgb ? 0 : 2]};
    box->kernels->to_bgr(&box->to_bgr, yuv, n, bgr);
}

static void make_pixels(npud_letterbox *box, const uint8_t *source, size_t y, uint8_t *out)
{
    if (box->form.source == NPUD_BGR) {
        npud_plane_row(&box->planes[0], source, y, out);
        return;
    }
    make_planes(box, source, y, box->colours);
    const uint8_t *const planes[3] = {box->colours[0], box->colours[1], box->colours[2]};
    box->kernels->join(planes, box->form.inner_width, out);
}

static void planes_row(npud_letterbox *box, const uint8_t *source, size_t y, uint8_t *const rows[3])
{
    const npud_form *f = &box->form;
    uint8_t *out[3];
    int direct = f->element == NPUD_BYTES || box->shift >= 0;
    for (int c = 0; c < 3; c++)
        out[c] = direct ? plus(rows[c], f->left) : box->colours[c];
    make_planes(box, source, y, out);
    for (int c = 0; c < 3; c++)
        if (!direct)
            convert(box, c, out[c], f->inner_width, 1, plus(rows[c], f->left * box->itemsize));
        else if (box->shift > 0)
            shift_bytes(out[c], f->inner_width, box->shift);
}

static void pixels_row(npud_letterbox *box, const uint8_t *source, size_t y, uint8_t *row)
{
    const npud_form *f = &box->form;
    uint8_t *to = plus(row, 3 * f->left * box->itemsize);
    if (f->element == NPUD_BYTES || box->shift >= 0) {
        make_pixels(box, source, y, to);
        if (box->shift > 0)
            shift_bytes(to, 3 * f->inner_width, box->shift);
        return;
    }
    make_pixels(box, source, y, box->mixed);
    for (int c = 0; c < 3; c++)
        convert(box, c, box->mixed + c, f->inner_width, 3, plus(to, (size_t)c * box->itemsize));
}

/* The padding of a row of `pixel` bytes a pixel: all of it, or left and right of the picture. */
static void pad_row(const npud_form *f, const uint8_t *pad, size_t pixel, int inside, uint8_t *row)
{
    size_t right = f->left + f->inner_width;
    if (!inside) {
        memcpy(row, pad, f->width * pixel);
        return;
    }
    memcpy(row, pad, f->left * pixel);
    memcpy(row + right * pixel, pad, (f->width - right) * pixel);
}

static void run_colours(npud_letterbox *box, const uint8_t *source, uint8_t *target)
{
    const npud_form *f = &box->form;
    const size_t planes = f->layout == NPUD_PLANES ? 3 : 1;
    const size_t pixel = box->itemsize * (3 / planes), row_bytes = f->width * pixel;
    for (size_t y = 0; y < f->height; y++) {
        int inside = y >= f->top && y < f->top + f->inner_height;
        uint8_t *rows[3];
        for (size_t c = 0; c < planes; c++) {
            rows[c] = target + (c * f->height + y) * row_bytes;
            pad_row(f, box->pad_rows + c * row_bytes, pixel, inside, rows[c]);
        }
        if (inside && planes == 3)
            planes_row(box, source, y - f->top, rows);
        else if (inside)
            pixels_row(box, source, y - f->top, rows[0]);
    }
}

/* ---- NV12 ---- */

static void run_bgr_to_nv12(npud_letterbox *box, const uint8_t *source, uint8_t *target)
{
    const npud_form *f = &box->form;
    uint8_t *chroma = target + f->width * f->height, *pad = box->pad_rows;
    for (size_t y = 0; y < f->height; y += 2, chroma += f->width) {
        const uint8_t *rows[2];
        uint8_t *const luma[2] = {target + y * f->width, target + (y + 1) * f->width};
        int inside = 0;
        for (size_t k = 0; k < 2; k++) {
            rows[k] = pad + 2 * f->width; /* a padded row of the canvas */
            if (y + k < f->top || y + k >= f->top + f->inner_height)
                continue;
            npud_plane_row(&box->planes[0], source, y + k - f->top, box->canvas[k] + 3 * f->left);
            rows[k] = box->canvas[k];
            inside = 1;
        }
        if (inside) {
            box->kernels->to_nv12(&box->to_yuv, rows, f->width, luma, chroma);
            continue;
        }
        memcpy(luma[0], pad, f->width);
        memcpy(luma[1], pad, f->width);
        memcpy(chroma, pad + f->width, f->width);
    }
}

static void plane_to_nv12(npud_letterbox *box, int index, const uint8_t *source, size_t y,
                          uint8_t *out)
{
    npud_plane *plane = &box->planes[index];
    if (!box->rescales) {
        npud_plane_row(plane, source, y, out);
        return;
    }
    const int16_t *row = npud_plane_row16(plane, source, y, box->scratch[index]);
    box->kernels->rescale(row, box->factor[index], box->bias[index], plane->taps.count, out);
}

static void run_yuv_to_nv12(npud_letterbox *box, const uint8_t *source, uint8_t *target)
{
    const npud_form *f = &box->form;
    uint8_t *chroma = target + f->width * f->height;
    for (size_t y = 0; y < f->height; y++) {
        uint8_t *row = target + y * f->width;
        int inside = y >= f->top && y < f->top + f->inner_height;
        pad_row(f, box->pad_rows, 1, inside, row);
        if (inside)
            plane_to_nv12(box, 0, source, y - f->top, row + f->left);
    }
    /* Every chroma sample that the picture touches is the picture's. */
    const size_t top = f->top / 2, end = (f->top + f->inner_height + 1) / 2;
    npud_form half = *f;
    half.left = f->left / 2;
    half.inner_width = (f->left + f->inner_width + 1) / 2 - half.left;
    half.width = f->width / 2;
    for (size_t y = 0; y < f->height / 2; y++, chroma += f->width) {
        int inside = y >= top && y < end;
        pad_row(&half, box->pad_rows + f->width, 2, inside, chroma);
        if (inside)
            plane_to_nv12(box, 1, source, y - top, chroma + 2 * half.left);
    }
}

void npud_letterbox_run(npud_letterbox *box, const uint8_t *source, uint8_t *target)
{
    for (int i = 0; i < box->planes_used; i++)
        npud_plane_begin(&box->planes[i]);
    if (box->form.layout != NPUD_TO_NV12)
        run_colours(box, source, target);
    else if (box->form.source == NPUD_BGR)
        run_bgr_to_nv12(box, source, target);
    else
        run_yuv_to_nv12(box, source, target);
}
