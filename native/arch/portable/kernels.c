/* Portable C, written so that compilers vectorise the inner loops. */
#include "exp.h"
#include "kernels.h"

enum { PLANES = 8, SIDES = 4 };

static const float INF = 1.0f / 0.0f;

static inline float larger(float a, float b) { return a > b ? a : b; } /* b where a is NaN */
static inline float smaller(float a, float b) { return a < b ? a : b; }

/* Eight planes at a time: one load and store of `best` for eight values compared. */
static void max_planes_f32(const float *planes, size_t stride, int channels, size_t cells,
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

static float max_row(const float *row, int channels)
{
    enum { WIDTH = 16 };
    float m[WIDTH];
    float best = -INF;
    int c = 0;
    for (int k = 0; k < WIDTH; k++)
        m[k] = -INF;
    for (; c + WIDTH <= channels; c += WIDTH)
        for (int k = 0; k < WIDTH; k++)
            m[k] = larger(row[c + k], m[k]);
    for (; c < channels; c++)
        best = larger(row[c], best);
    for (int half = WIDTH / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            m[k] = larger(m[k + half], m[k]);
    return larger(m[0], best);
}

static void max_rows_f32(const float *rows, size_t stride, int channels, size_t cells, float *best)
{
    for (size_t i = 0; i < cells; i++)
        best[i] = max_row(rows + i * stride, channels);
}

static void dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    for (size_t i = 0; i < count; i++) {
        const npud_dfl_cell *cell = &cells[i];
        float x[NPUD_MAX_BINS][SIDES], top[SIDES], sum[SIDES], weighted[SIDES];
        for (int k = 0; k < SIDES; k++)
            top[k] = -INF, sum[k] = weighted[k] = 0.0f;
        for (int k = 0; k < SIDES; k++)
            for (int b = 0; b < cell->bins; b++)
                x[b][k] = cell->first[(size_t)(k * cell->bins + b) * cell->channel_stride];
        for (int b = 0; b < cell->bins; b++)
            for (int k = 0; k < SIDES; k++)
                top[k] = larger(x[b][k], top[k]);
        for (int b = 0; b < cell->bins; b++)
            for (int k = 0; k < SIDES; k++) {
                float e = npud_exp_f32(x[b][k] - top[k]);
                sum[k] = sum[k] + e;
                weighted[k] = weighted[k] + e * (float)b;
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
    "portable", max_planes_f32, max_rows_f32, dfl_f32, overlaps,
};
