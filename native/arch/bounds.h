/* Thresholds as the bits that the filter of scan_vectors.h compares. */
#ifndef NPUD_BOUNDS_H
#define NPUD_BOUNDS_H

#include "halves.h"

static inline int32_t bits_of(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* -0 and 0 are the same threshold, and -0 has the larger bits. */
static inline int32_t float_bound(float threshold)
{
    return threshold == 0.0f ? INT32_MIN : bits_of(threshold);
}

static inline int16_t half_bound(float threshold)
{
    int16_t key = npud_half_threshold(threshold);
    return key > 0 ? key : (int16_t)(0x8000 - key);
}

#endif
