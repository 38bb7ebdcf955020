/* Halves as integers that compare as the numbers do. */
#ifndef NPUD_HALVES_H
#define NPUD_HALVES_H

#include "element.h"

/* Halves compare as integers: 0 and -0 are 0, negative numbers go down from there, NaN is below all. */
static inline int16_t npud_half_key(uint16_t half)
{
    int16_t magnitude = (int16_t)(half & 0x7fffu);
    int16_t key = half & 0x8000u ? (int16_t)-magnitude : magnitude;
    return magnitude > 0x7c00 ? INT16_MIN : key;
}

static inline float npud_half_value(int16_t key)
{
    return npud_half((uint16_t)(key < 0 ? 0x8000 - key : key));
}

/* The key of a float that is exactly a half. */
static inline int16_t npud_half_threshold(float value)
{
    const float least_normal = 6.103515625e-5f, steps = 16777216.0f; /* 2^-14, 2^24 */
    float size = value < 0.0f ? -value : value;
    int32_t bits, magnitude;
    memcpy(&bits, &size, sizeof bits);
    if (size < least_normal)
        magnitude = (int32_t)(size * steps);
    else
        magnitude = bits < 0x7f800000 ? (bits >> 13) - (112 << 10) : 0x7c00;
    return (int16_t)(value < 0.0f ? -magnitude : magnitude);
}

#endif
