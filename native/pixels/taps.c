/* Tables of where output bytes come from. */
#include "pixels.h"

#include <math.h>
#include <stdlib.h>

enum { ONE = 2048 };

/* The position of output pixel `at`, as OpenCV rounds it: pixel and weight of the next, 0 … 2048. */
static int64_t position(size_t from, size_t to, size_t at, int *weight)
{
    double scale = 1.0 / ((double)to / (double)from);
    float x = (float)(((double)at + 0.5) * scale - 0.5);
    float below = floorf(x);
    *weight = (int)lrintf((x - below) * (float)ONE);
    return (int64_t)below;
}

void npud_axis(size_t from, size_t to, uint32_t *index, int16_t *weight)
{
    for (size_t i = 0; i < to; i++) {
        int parts;
        int64_t at = position(from, to, i, &parts);
        if (at < 0 || at >= (int64_t)from - 1) {
            at = at < 0 ? 0 : (int64_t)from - 1;
            parts = 0;
        } else if (parts == ONE) {
            at++;
            parts = 0;
        }
        index[i] = (uint32_t)at;
        weight[i] = (int16_t)parts;
    }
}

/* Unlike along a row, OpenCV repeats the row at an edge and keeps the weights. */
npud_rows *npud_rows_make(size_t from, size_t to)
{
    npud_rows *rows = malloc(to * sizeof *rows);
    const int64_t last = (int64_t)from - 1;
    for (size_t i = 0; rows && i < to; i++) {
        int parts;
        int64_t at = position(from, to, i, &parts);
        int64_t first = at < 0 ? 0 : at > last ? last : at;
        int64_t second = at + 1 < 0 ? 0 : at + 1 > last ? last : at + 1;
        if (parts == ONE) {
            first = second;
            parts = 0;
        }
        rows[i] = (npud_rows){(uint32_t)first, (uint32_t)second, parts};
    }
    return rows;
}

static void span_of(const npud_taps *taps, size_t start, uint32_t *low, uint32_t *high)
{
    *low = UINT32_MAX;
    *high = 0;
    for (size_t j = start; j < start + NPUD_GROUP; j++) {
        *low = taps->left[j] < *low ? taps->left[j] : *low;
        uint32_t far = taps->picks ? taps->left[j] : taps->right[j];
        *high = far > *high ? far : *high;
    }
}

static int find_groups(npud_taps *taps, size_t row_bytes)
{
    uint32_t low, high, widest = 0;
    if (taps->count < NPUD_GROUP)
        return 0;
    const size_t groups = (taps->count + NPUD_GROUP - 1) / NPUD_GROUP, last = taps->count - NPUD_GROUP;
    taps->spots = malloc((groups + 1) * sizeof *taps->spots);
    if (!taps->spots)
        return -1;
    for (size_t g = 0; g <= groups; g++) {
        size_t start = g * NPUD_GROUP < last ? g * NPUD_GROUP : last;
        span_of(taps, start, &low, &high);
        widest = high - low > widest ? high - low : widest;
        taps->spots[g] = (npud_spot){low, (uint32_t)start};
    }
    size_t windows = widest / NPUD_GROUP + 1;
    if (windows > NPUD_MOST_WINDOWS || windows * NPUD_GROUP > row_bytes)
        return 0;
    const uint32_t most = (uint32_t)(row_bytes - windows * NPUD_GROUP);
    for (size_t g = 0; g <= groups; g++)
        taps->spots[g].base = taps->spots[g].base < most ? taps->spots[g].base : most;
    taps->groups = groups;
    taps->windows = windows;
    return 0;
}

int npud_taps_init(npud_taps *taps, const npud_pixel_kernels *kernels, size_t from, size_t to,
                   size_t row_bytes, size_t step, const size_t *offsets, size_t channels)
{
    *taps = (npud_taps){.count = to * channels, .picks = 1, .halves = 1};
    uint32_t *index = malloc(to * sizeof *index);
    int16_t *weight = malloc(to * sizeof *weight);
    taps->left = malloc(taps->count * sizeof *taps->left);
    taps->right = malloc(taps->count * sizeof *taps->right);
    taps->weight = malloc(taps->count * sizeof *taps->weight);
    int failed = !index || !weight || !taps->left || !taps->right || !taps->weight;
    if (!failed)
        npud_axis(from, to, index, weight);
    for (size_t j = 0; !failed && j < taps->count; j++) {
        size_t i = j / channels, next = index[i] + (index[i] + 1 < from);
        taps->left[j] = (uint32_t)(index[i] * step + offsets[j % channels]);
        taps->right[j] = (uint32_t)(next * step + offsets[j % channels]);
        taps->weight[j] = weight[i];
        taps->picks &= weight[i] == 0;
        taps->halves &= weight[i] == ONE / 2;
    }
    free(index);
    free(weight);
    if (failed || find_groups(taps, row_bytes) < 0)
        return -1;
    size_t size = taps->windows ? kernels->pack(taps, NULL) : 0;
    if (size == 0)
        return 0;
    taps->packed = aligned_alloc(32, (size + 31) / 32 * 32);
    if (!taps->packed)
        return -1;
    kernels->pack(taps, taps->packed);
    return 0;
}

void npud_taps_free(npud_taps *taps)
{
    free(taps->left);
    free(taps->right);
    free(taps->weight);
    free(taps->spots);
    free(taps->packed);
    *taps = (npud_taps){0};
}
