/* Portable C, written so that compilers vectorise the inner loops. */
#include "exp.h"
#include "kernels.h"

enum { PLANES = 8, SIDES = 4 };

static const float INF = 1.0f / 0.0f;

static inline float larger(float a, float b) { return a > b ? a : b; } /* b where a is NaN */
static inline float smaller(float a, float b) { return a < b ? a : b; }

/* Eight planes at a time: one load and store of `best` for eight values compared. */
static void max_planes(const float *planes, size_t stride, int channels, size_t cells,
                       float *restrict best)
{
    for (size_t i = 0; i < cells; i++)
        best[i] = -INF;
    int c = 0;
    for (; c + PLANES <= channels; c += PLANES) {
        const float *p = planes + (size_t)c * stride;
        for (size_t i = 0; i < cells; i++) {
            const float *q = p + i;
            float m = larger(q[0], best[i]);
            m = larger(q[stride], m);
            m = larger(q[2 * stride], m);
            m = larger(q[3 * stride], m);
            m = larger(q[4 * stride], m);
            m = larger(q[5 * stride], m);
            m = larger(q[6 * stride], m);
            best[i] = larger(q[7 * stride], m);
        }
    }
    for (; c < channels; c++) {
        const float *p = planes + (size_t)c * stride;
        for (size_t i = 0; i < cells; i++)
            best[i] = larger(p[i], best[i]);
    }
}

static size_t scan_planes_f32(const float *planes, size_t stride, int channels, size_t cells,
                              float threshold, npud_hit *hits)
{
    enum { STEP = 16 };
    float best[NPUD_SCAN_BLOCK];
    size_t found = 0;
    max_planes(planes, stride, channels, cells, best);
    for (size_t first = 0; first < cells; first += STEP) {
        size_t end = first + STEP < cells ? first + STEP : cells;
        int any = 0;
        for (size_t i = first; i < end; i++)
            any |= best[i] >= threshold;
        for (size_t i = first; any && i < end; i++)
            if (best[i] >= threshold)
                hits[found++] = (npud_hit){(uint32_t)i, best[i]};
    }
    return found;
}

/* Counting is a sum of integers, which compilers vectorise; a maximum of floats is not. */
static size_t scan_rows_f32(const float *rows, size_t stride, int channels, size_t cells,
                            float threshold, npud_hit *hits)
{
    size_t found = 0;
    for (size_t i = 0; i < cells; i++) {
        const float *row = rows + i * stride;
        int passing = 0;
        for (int c = 0; c < channels; c++)
            passing += row[c] >= threshold;
        if (!passing)
            continue;
        float best = -INF;
        for (int c = 0; c < channels; c++)
            best = larger(row[c], best);
        hits[found++] = (npud_hit){(uint32_t)i, best};
    }
    return found;
}

/* The bins of the four sides side by side: x[4 * bin + side], less each side's maximum. */
static void gather_bins(const npud_dfl_cell *cell, float *x)
{
    float top[SIDES];
    for (int k = 0; k < SIDES; k++) {
        const float *side = cell->first + (size_t)(k * cell->bins) * cell->channel_stride;
        top[k] = -INF;
        for (int b = 0; b < cell->bins; b++) {
            float value = side[(size_t)b * cell->channel_stride];
            top[k] = larger(value, top[k]);
            x[SIDES * b + k] = value;
        }
    }
    for (int b = 0; b < cell->bins; b++)
        for (int k = 0; k < SIDES; k++)
            x[SIDES * b + k] -= top[k];
}

static void dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    float x[NPUD_MAX_BINS * SIDES];
    for (size_t i = 0; i < count; i++) {
        int bins = cells[i].bins;
        float sum[SIDES] = {0}, weighted[SIDES] = {0};
        gather_bins(&cells[i], x);
        for (int j = 0; j < SIDES * bins; j++)
            x[j] = npud_exp_f32(x[j]);
        for (int b = 0; b < bins; b++)
            for (int k = 0; k < SIDES; k++) {
                sum[k] += x[SIDES * b + k];
                weighted[k] += x[SIDES * b + k] * (float)b;
            }
        for (int k = 0; k < SIDES; k++)
            distances[i][k] = weighted[k] / sum[k];
    }
}

static int overlaps(const npud_box_list *kept, size_t count, const npud_box *box, float threshold)
{
    const npud_box b = *box;
    for (size_t first = 0; first < count; first += NPUD_LANES) {
        int over[NPUD_LANES], any = 0;
        for (size_t k = 0; k < NPUD_LANES; k++) {
            size_t i = first + k;
            float left = larger(kept->x1[i], b.x1), right = smaller(kept->x2[i], b.x2);
            float top = larger(kept->y1[i], b.y1), bottom = smaller(kept->y2[i], b.y2);
            float width = larger(right - left, 0.0f), height = larger(bottom - top, 0.0f);
            float inter = width * height;
            float joined = (b.area + kept->area[i]) - inter;
            over[k] = inter > threshold * joined;
        }
        for (int k = 0; k < NPUD_LANES; k++)
            any |= over[k];
        if (any)
            return 1;
    }
    return 0;
}

const npud_kernels npud_kernels_portable = {
    "portable", scan_planes_f32, scan_rows_f32, dfl_f32, overlaps,
};
