/* The kernels in portable C, which the others end their rows with. */
#ifndef NPUD_PIXELS_SCALAR_H
#define NPUD_PIXELS_SCALAR_H

#include "pixels.h"

void npud_scalar_pick(const npud_taps *taps, const uint8_t *row, uint8_t *out);
void npud_scalar_along(const npud_taps *taps, const uint8_t *row, int16_t *scratch);
void npud_scalar_mean(const npud_taps *taps, const uint8_t *first, const uint8_t *second,
                      uint8_t *out);
void npud_scalar_between(const int16_t *first, const int16_t *second, int weight, size_t n,
                         uint8_t *out);
void npud_scalar_between16(const int16_t *first, const int16_t *second, int weight, size_t n,
                           int16_t *scratch);
void npud_scalar_to_bgr(const npud_to_bgr *m, const int16_t *const yuv[3], size_t n,
                        uint8_t *const out[3]);
void npud_scalar_rescale(const int16_t *in, int factor, int bias, size_t n, uint8_t *out);
void npud_scalar_to_nv12(const npud_to_yuv *m, const uint8_t *const bgr[2], size_t n,
                         uint8_t *const luma[2], uint8_t *chroma);
void npud_scalar_split(const uint8_t *pixels, size_t n, uint8_t *const out[3]);
void npud_scalar_join(const uint8_t *const planes[3], size_t n, uint8_t *out);
void npud_scalar_floats(const uint8_t *in, float gain, float offset, size_t n, float *out);

#endif
