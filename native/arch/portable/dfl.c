/* Expected bins of DFL boxes, in portable C. */
#include "exp.h"
#include "portable.h"

enum { SIDES = 4 };

static const float INF = 1.0f / 0.0f;

static inline float larger(float a, float b) { return a > b ? a : b; } /* b where a is NaN */

/* From the weights e[SIDES * bin + side]. */
static void expected_bins(const float *e, int bins, float *distances)
{
    float sum[SIDES] = {0}, weighted[SIDES] = {0};
    for (int b = 0; b < bins; b++)
        for (int k = 0; k < SIDES; k++) {
            sum[k] += e[SIDES * b + k];
            weighted[k] += e[SIDES * b + k] * (float)b;
        }
    for (int k = 0; k < SIDES; k++)
        distances[k] = weighted[k] / sum[k];
}

/* e^(x - max of the side) in place. */
static void exponentials(float *x, int bins)
{
    float top[SIDES] = {-INF, -INF, -INF, -INF};
    for (int b = 0; b < bins; b++)
        for (int k = 0; k < SIDES; k++)
            top[k] = larger(x[SIDES * b + k], top[k]);
    for (int b = 0; b < bins; b++)
        for (int k = 0; k < SIDES; k++)
            x[SIDES * b + k] -= top[k];
    for (int j = 0; j < SIDES * bins; j++)
        x[j] = npud_exp_f32(x[j]);
}

static inline void from_reals(npud_dtype dtype, const npud_dfl_cell *cells, size_t count,
                              float (*distances)[4])
{
    float x[NPUD_MAX_BINS * SIDES];
    for (size_t i = 0; i < count; i++) {
        const npud_dfl_cell *cell = &cells[i];
        for (int k = 0; k < SIDES; k++)
            for (int b = 0; b < cell->bins; b++) {
                size_t channel = (size_t)(k * cell->bins + b);
                x[SIDES * b + k] = npud_real(dtype, &cell->quant, cell->first,
                                             channel * cell->channel_stride, channel);
            }
        exponentials(x, cell->bins);
        expected_bins(x, cell->bins, distances[i]);
    }
}

static inline void from_table(npud_dtype dtype, const npud_dfl_cell *cell, float *distances)
{
    float e[NPUD_MAX_BINS * SIDES];
    for (int k = 0; k < SIDES; k++) {
        size_t first = (size_t)(k * cell->bins);
        int32_t top = INT32_MIN;
        for (int b = 0; b < cell->bins; b++) {
            int32_t q = npud_integer(dtype, cell->first, (first + (size_t)b) * cell->channel_stride);
            top = q > top ? q : top;
        }
        for (int b = 0; b < cell->bins; b++) {
            int32_t q = npud_integer(dtype, cell->first, (first + (size_t)b) * cell->channel_stride);
            e[SIDES * b + k] = cell->quant.exp[top - q];
        }
    }
    expected_bins(e, cell->bins, distances);
}

static inline void from_bytes(npud_dtype dtype, const npud_dfl_cell *cells, size_t count,
                              float (*distances)[4])
{
    for (size_t i = 0; i < count; i++)
        if (cells[i].quant.exp)
            from_table(dtype, &cells[i], distances[i]);
        else
            from_reals(dtype, &cells[i], 1, &distances[i]);
}

void npud_portable_dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    from_reals(NPUD_FLOAT32, cells, count, distances);
}

void npud_portable_dfl_f16(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    from_reals(NPUD_FLOAT16, cells, count, distances);
}

void npud_portable_dfl_i8(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    from_bytes(NPUD_INT8, cells, count, distances);
}

void npud_portable_dfl_u8(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    from_bytes(NPUD_UINT8, cells, count, distances);
}

void npud_portable_dfl_i16(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    from_reals(NPUD_INT16, cells, count, distances);
}

void npud_portable_dfl_i32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    from_reals(NPUD_INT32, cells, count, distances);
}
