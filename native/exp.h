/* exp in float32 for x ≤ 0, in a fixed order of single operations: the same bytes on every CPU.
 *
 * Cody-Waite reduction to |r| ≤ ln2/2 and the degree-5 polynomial of Cephes' expf; relative error
 * ≤ 2e-7.  Below -87 it stays at exp(-87) = 1.6e-38; NaN stays NaN. */
#ifndef NPUD_EXP_H
#define NPUD_EXP_H

#include <stdint.h>
#include <string.h>

static inline float npud_exp_f32(float x)
{
    const float shift = 12582912.0f; /* 1.5 · 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + shift;
    float n = shifted - shift;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000u + 127u) << 23; /* 2^n */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#endif
