/* Stored elements of any type as real numbers. */
#ifndef NPUD_ELEMENT_H
#define NPUD_ELEMENT_H

#include "kernels.h"

/* A half as float, exactly: normal numbers by moving the exponent, the others by subtraction. */
static inline float npud_half(uint16_t half)
{
    const float tiny = 5.9604644775390625e-8f; /* 2^-24, the smallest half */
    uint32_t magnitude = half & 0x7fffu, bits;
    float value;
    if (magnitude < 0x400u) {
        value = (float)magnitude * tiny;
        return half & 0x8000u ? -value : value;
    }
    bits = (magnitude << 13) + (magnitude < 0x7c00u ? 112u << 23 : 224u << 23);
    bits |= (uint32_t)(half & 0x8000u) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int32_t npud_integer(npud_dtype dtype, const void *data, size_t index)
{
    switch (dtype) {
    case NPUD_INT8:
        return ((const int8_t *)data)[index];
    case NPUD_UINT8:
        return ((const uint8_t *)data)[index];
    case NPUD_INT16:
        return ((const int16_t *)data)[index];
    default:
        return ((const int32_t *)data)[index];
    }
}

static inline float npud_dequantize(const npud_quant *quant, size_t channel, int32_t stored)
{
    size_t c = channel * quant->step;
    return (float)((int64_t)stored - quant->zero_point[c]) * quant->scale[c];
}

/* The real value of data[index], which is of channel `channel` of the quantization. */
static inline float npud_real(npud_dtype dtype, const npud_quant *quant, const void *data,
                              size_t index, size_t channel)
{
    if (dtype == NPUD_FLOAT32)
        return ((const float *)data)[index];
    if (dtype == NPUD_FLOAT16)
        return npud_half(((const uint16_t *)data)[index]);
    return npud_dequantize(quant, channel, npud_integer(dtype, data, index));
}

static inline size_t npud_itemsize(npud_dtype dtype)
{
    static const size_t sizes[NPUD_DTYPES] = {4, 2, 1, 1, 2, 4};
    return sizes[dtype];
}

#endif
