/* Thresholds in the stored type of a tensor. */
#include "decoder.h"

static const int32_t LEAST[NPUD_DTYPES] = {0, 0, INT8_MIN, 0, INT16_MIN, INT32_MIN};
static const int32_t LARGEST[NPUD_DTYPES] = {0, 0, INT8_MAX, UINT8_MAX, INT16_MAX, INT32_MAX};

/* The least half that is not below x; for all x > 65504: infinity. */
static float half_at_least(float x)
{
    int low = -0x7c00, high = 0x7c00; /* halves in order: negative ones count down from 0 */
    while (low < high) {
        int middle = (low + high) >> 1;
        if (npud_half((uint16_t)(middle < 0 ? 0x8000 - middle : middle)) >= x)
            high = middle;
        else
            low = middle + 1;
    }
    return npud_half((uint16_t)(low < 0 ? 0x8000 - low : low));
}

float npud_least_real(npud_dtype dtype, float threshold)
{
    double t = threshold, slack = (t < 0.0 ? -t : t) / 4194304.0; /* two float32 steps */
    int exact = dtype <= NPUD_FLOAT16 || t - t != 0.0;            /* infinity stays */
    return exact ? threshold : (float)(t - slack);
}

npud_value npud_stored_threshold(npud_dtype dtype, const npud_quant *quant, size_t channel,
                                 float least, int *never)
{
    *never = 0;
    if (dtype == NPUD_FLOAT32)
        return (npud_value){.real = least};
    if (dtype == NPUD_FLOAT16)
        return (npud_value){.real = half_at_least(least)};
    int64_t low = LEAST[dtype], high = LARGEST[dtype];
    *never = !(npud_dequantize(quant, channel, (int32_t)high) >= least);
    while (low < high) {
        int64_t middle = (low + high) >> 1;
        if (npud_dequantize(quant, channel, (int32_t)middle) >= least)
            high = middle;
        else
            low = middle + 1;
    }
    return (npud_value){.integer = (int32_t)low};
}
