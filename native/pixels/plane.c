/* A plane's rows, resampled; the two source rows last used are kept. */
#include "pixels.h"

#include <stdlib.h>

int npud_plane_init(npud_plane *plane, const npud_pixel_kernels *kernels,
                    const npud_plane_form *form)
{
    *plane = (npud_plane){.kernels = kernels, .first_byte = form->first_byte, .pitch = form->pitch};
    if (npud_taps_init(&plane->taps, kernels, form->from_width, form->to_width, form->pitch,
                       form->step, form->offsets, form->channels) < 0)
        return -1;
    plane->rows = npud_rows_make(form->from_height, form->to_height);
    for (int i = 0; i < 2; i++)
        plane->cache[i] = malloc((plane->taps.count + NPUD_SLACK) * sizeof(int16_t));
    plane->bytes = malloc(plane->taps.count);
    return plane->rows && plane->bytes && plane->cache[0] && plane->cache[1] ? 0 : -1;
}

void npud_plane_free(npud_plane *plane)
{
    npud_taps_free(&plane->taps);
    free(plane->rows);
    free(plane->bytes);
    free(plane->cache[0]);
    free(plane->cache[1]);
    *plane = (npud_plane){0};
}

void npud_plane_begin(npud_plane *plane) { plane->cached[0] = plane->cached[1] = -1; }

static const uint8_t *row_at(const npud_plane *plane, const uint8_t *source, uint32_t y)
{
    return source + plane->first_byte + y * plane->pitch;
}

/* The same as `along` where all weights are 0. */
static void pick16(npud_plane *plane, const uint8_t *row, int16_t *restrict out)
{
    const uint8_t *restrict bytes = plane->bytes;
    plane->kernels->pick(&plane->taps, row, plane->bytes);
    for (size_t j = 0; j < plane->taps.count; j++)
        out[j] = (int16_t)(bytes[j] * 128);
}

/* Source row y along, in the cache; `kept` stays there. */
static const int16_t *along(npud_plane *plane, const uint8_t *source, uint32_t y, uint32_t kept)
{
    for (int i = 0; i < 2; i++)
        if (plane->cached[i] == y)
            return plane->cache[i];
    int slot = plane->cached[0] == kept;
    if (plane->taps.picks)
        pick16(plane, row_at(plane, source, y), plane->cache[slot]);
    else
        plane->kernels->along(&plane->taps, row_at(plane, source, y), plane->cache[slot]);
    plane->cached[slot] = y;
    return plane->cache[slot];
}

void npud_plane_row(npud_plane *plane, const uint8_t *source, size_t y, uint8_t *out)
{
    const npud_rows *rows = &plane->rows[y];
    if (plane->taps.picks && rows->weight == 0) {
        plane->kernels->pick(&plane->taps, row_at(plane, source, rows->first), out);
        return;
    }
    if (plane->taps.halves && rows->weight == 1024) {
        const uint8_t *second = row_at(plane, source, rows->second);
        plane->kernels->mean(&plane->taps, row_at(plane, source, rows->first), second, out);
        return;
    }
    uint32_t other = rows->weight ? rows->second : rows->first;
    const int16_t *first = along(plane, source, rows->first, other);
    const int16_t *second = along(plane, source, other, rows->first);
    plane->kernels->between(first, second, rows->weight, plane->taps.count, out);
}

const int16_t *npud_plane_row16(npud_plane *plane, const uint8_t *source, size_t y,
                                int16_t *scratch)
{
    const npud_rows *rows = &plane->rows[y];
    uint32_t other = rows->weight ? rows->second : rows->first;
    const int16_t *first = along(plane, source, rows->first, other);
    if (other == rows->first)
        return first;
    const int16_t *second = along(plane, source, other, rows->first);
    plane->kernels->between16(first, second, rows->weight, plane->taps.count, scratch);
    return scratch;
}
