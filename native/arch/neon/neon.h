/* Kernels for NEON, which every aarch64 has. */
#ifndef NPUD_NEON_H
#define NPUD_NEON_H

#include "kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#define NPUD_NEON

void npud_neon_dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_neon_dfl_f16(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_neon_dfl_i8(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_neon_dfl_u8(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_neon_dfl_i16(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_neon_dfl_i32(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
int npud_neon_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                       const npud_boxes *boxes, size_t at, float threshold);
#endif
#endif
